//! The servers, each a process of its own on one processor.

use crate::{Outcome, backend, certificates, cost, fleet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use updraft_server::auth::OPERATOR_TOKEN_FILE;
use updraft_server::config::Config;
use updraft_server::listen::shutdown;
use updraft_server::serve::Server;

/// Where what is measured runs, and where the load does.
const SERVER_CPU: &str = "0";
const LOAD_CPU: &str = "1";
/// Connections that a server here takes.
pub(crate) const CONNECTIONS_MAX: usize = 100_000;
/// How long a server may take to be ready.
const START_TIME: Duration = Duration::from_secs(20);

/// Moves this process to the load's processor, and lets it open as many files as it may.
pub(crate) fn prepare() -> Outcome<()> {
    let pid = std::process::id().to_string();
    run(Command::new("taskset").args(["-a", "-p", "-c", LOAD_CPU, &pid]).stdout(Stdio::null()))?;
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line =
        limits.lines().find(|line| line.starts_with("Max open files")).ok_or("no limit of open files")?;
    let hard = line.split_whitespace().nth(4).ok_or("no hard limit of open files")?;
    run(Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={hard}:{hard}")]))
}

fn run(command: &mut Command) -> Outcome<()> {
    let status = command.status().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    if status.success() { Ok(()) } else { Err(format!("{:?}: {status}", command.get_program()).into()) }
}

/// The child: the server, until its input ends, which is when its parent ends.
pub(crate) async fn serve(folder: &Path) -> Outcome<()> {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config { data: Some(folder.to_owned()), ..Config::default() };
    config.device.listen = any_port;
    config.operator.listen = any_port;
    config.protocols.mqtt.listen = any_port;
    config.protocols.lwm2m.listen = any_port;
    config.protocols.mqtt.plain_listen = Some(any_port);
    let imported = folder.join(certificates::CA_FILE);
    config.protocols.mqtt.client_ca = imported.exists().then_some(imported);
    let server = Server::open(&config).await?;
    let addresses = server.addresses();
    let (tls, plain) = (addresses.mqtt.ok_or("no TLS")?, addresses.mqtt_plain.ok_or("no plain listener")?);
    println!("{plain} {tls} {}", addresses.operator);
    let (trigger, stop) = shutdown::shutdown();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        trigger.ask();
    });
    server.serve(stop).await;
    Ok(())
}

/// A running server, or a backend.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    _output: Option<BufReader<ChildStdout>>,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    operator: Option<SocketAddr>,
}

impl Process {
    /// This program again, in another of its roles.
    fn start_own(cpu: &str, arguments: &[&str]) -> Outcome<(Self, String)> {
        let mut command = Command::new("taskset");
        command.args(["-c", cpu]).arg(std::env::current_exe()?).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        if line.is_empty() {
            return Err("a process did not start".into());
        }
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let own = Self { child, input, _output: Some(output), plain: unknown, tls: unknown, operator: None };
        Ok((own, line.trim().to_owned()))
    }

    pub(crate) fn start_ours(folder: &Path) -> Outcome<Self> {
        let path = folder.to_str().ok_or("the folder's name is no text")?;
        let (mut own, line) = Self::start_own(SERVER_CPU, &["--updraft", path])?;
        let mut addresses = line.split(' ').map(str::parse);
        let mut next =
            || Ok::<SocketAddr, Box<dyn std::error::Error>>(addresses.next().ok_or("no address")??);
        (own.plain, own.tls, own.operator) = (next()?, next()?, Some(next()?));
        Ok(own)
    }

    pub(crate) fn start_bare() -> Outcome<Self> {
        let (mut own, line) = Self::start_own(SERVER_CPU, &["--bare"])?;
        own.plain = line.parse()?;
        Ok(own)
    }

    /// The backend of a broker, beside the load.
    pub(crate) fn start_backend(broker: &Self) -> Outcome<Self> {
        Ok(Self::start_own(LOAD_CPU, &["--backend", &broker.plain.to_string()])?.0)
    }

    pub(crate) fn start_mosquitto(folder: &Path) -> Outcome<Self> {
        let (plain, tls) = (free_port()?, free_port()?);
        let path = folder.join("mosquitto.conf");
        fs::write(&path, mosquitto_config(folder, plain.port(), tls.port()))?;
        let mut command = Command::new("taskset");
        // It ends with its parent, however that ends.
        let under = ["-c", SERVER_CPU, "setpriv", "--pdeathsig", "KILL", "mosquitto", "-c"];
        command.args(under).arg(&path).stdin(Stdio::null());
        let child = command.spawn()?;
        let own = Self { child, input: None, _output: None, plain, tls, operator: None };
        let begun = Instant::now();
        while TcpStream::connect(tls).is_err() {
            if begun.elapsed() > START_TIME {
                return Err("mosquitto did not start; install it: apt-get install mosquitto".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(own)
    }

    /// Says a word to a process of this program.
    pub(crate) fn send_to_each(&mut self, count: u32) -> Outcome<()> {
        let input = self.input.as_mut().ok_or("no input")?;
        writeln!(input, "{} {count}", backend::SEND)?;
        Ok(input.flush()?)
    }

    /// A token for all devices of the fleet, and the operator's.
    pub(crate) fn tokens(&self, folder: &Path) -> Outcome<(String, String)> {
        let operator = fs::read_to_string(folder.join(OPERATOR_TOKEN_FILE))?.trim().to_owned();
        let url = format!("http://{}/api/v1/tokens", self.operator.ok_or("no operator listener")?);
        let mut answer = ureq::post(&url)
            .header("authorization", format!("Bearer {operator}"))
            .send_json(serde_json::json!({ "product": fleet::PRODUCT }))?;
        let answer: serde_json::Value = answer.body_mut().read_json()?;
        Ok((answer["token"].as_str().ok_or("no token")?.to_owned(), operator))
    }

    pub(crate) fn cpu_time(&self) -> Outcome<Duration> {
        cost::cpu_time(self.child.id())
    }

    pub(crate) fn resident_kib(&self) -> Outcome<u64> {
        cost::memory_kib(self.child.id(), "VmRSS")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.input.take().is_none() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn free_port() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// Without the limits by which it would drop what the backend has not read yet.
fn mosquitto_config(folder: &Path, plain: u16, tls: u16) -> String {
    let folder = folder.display();
    let (ca, own, key) = (certificates::CA_FILE, certificates::SERVER_FILE, certificates::KEY_FILE);
    format!(
        "user root
persistence false
max_inflight_messages 0
max_queued_messages 0
log_dest none
set_tcp_nodelay true
listener {plain} 127.0.0.1
allow_anonymous true
listener {tls} 127.0.0.1
cafile {folder}/{ca}
certfile {folder}/{own}
keyfile {folder}/{key}
require_certificate true
use_identity_as_username true
tls_version tlsv1.3
"
    )
}
