//! The servers, each a process of its own on one processor.

use crate::{Outcome, cost, fleet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use updraft_server::auth::OPERATOR_TOKEN_FILE;
use updraft_server::config::Config;
use updraft_server::listen::shutdown;
use updraft_server::serve::Server;

/// Where what is measured runs, and where the load does.
pub(crate) const SERVER_CPU: &str = "0";
pub(crate) const LOAD_CPU: &str = "1";
/// How often it is looked whether a process rests, and how little of its time that is.
const REST_LOOK: Duration = Duration::from_millis(500);
const REST_COST: Duration = Duration::from_millis(20);
/// Looks that a process must have rested at, in a row.
const REST_LOOKS: u32 = 3;

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
pub(crate) async fn serve(folder: &Path, plain: u16, secured: u16) -> Outcome<()> {
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let mut config = Config { data: Some(folder.to_owned()), ..Config::default() };
    config.device.listen = at(0);
    config.operator.listen = at(0);
    config.protocols.mqtt.enabled = false;
    config.protocols.lwm2m.listen = at(secured);
    config.protocols.lwm2m.plain_listen = Some(at(plain));
    let server = Server::open(&config).await?;
    let addresses = server.addresses();
    let secured = addresses.lwm2m.ok_or("no DTLS")?;
    let plain = addresses.lwm2m_plain.ok_or("no plain listener")?;
    println!("{plain} {secured} {}", addresses.operator);
    let (trigger, stop) = shutdown::shutdown();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        trigger.ask();
    });
    server.serve(stop).await;
    Ok(())
}

/// A server that runs.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    _output: Option<BufReader<ChildStdout>>,
    pub(crate) plain: SocketAddr,
    pub(crate) secured: SocketAddr,
    operator: Option<SocketAddr>,
}

impl Process {
    /// Updraft, in a data folder; at these ports, or at any.
    pub(crate) fn start_ours(folder: &Path, ports: (u16, u16)) -> Outcome<Self> {
        let path = folder.to_str().ok_or("the folder's name is no text")?;
        let mut command = Command::new("taskset");
        command.args(["-c", SERVER_CPU]).arg(std::env::current_exe()?);
        command.args(["--updraft", path, &ports.0.to_string(), &ports.1.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let mut addresses = line.trim().split(' ').map(str::parse);
        let mut next = || {
            Ok::<SocketAddr, Box<dyn std::error::Error>>(addresses.next().ok_or("the server did not start")??)
        };
        let (plain, secured, operator) = (next()?, next()?, Some(next()?));
        Ok(Self { child, input, _output: Some(output), plain, secured, operator })
    }

    /// Another program, which ends with this.
    pub(crate) fn of(child: Child, plain: SocketAddr, secured: SocketAddr) -> Self {
        Self { child, input: None, _output: None, plain, secured, operator: None }
    }

    /// Ends it in good order, and starts it again where it was.
    pub(crate) fn restart(self, folder: &Path) -> Outcome<Self> {
        let ports = (self.plain.port(), self.secured.port());
        drop(self);
        Self::start_ours(folder, ports)
    }

    /// Kills it, and starts it again.
    pub(crate) fn crash(mut self, folder: &Path) -> Outcome<Self> {
        self.child.kill()?;
        self.restart(folder)
    }

    /// Brings a version of the devices' product to all of them.
    pub(crate) fn roll_out(&self, folder: &Path, version: &str, image: &[u8]) -> Outcome<()> {
        let token = fs::read_to_string(folder.join(OPERATOR_TOKEN_FILE))?.trim().to_owned();
        let token = format!("Bearer {token}");
        let base = format!("http://{}/api/v1", self.operator.ok_or("no operator listener")?);
        let product = fleet::MODEL;
        ureq::put(&format!("{base}/products/{product}/releases/{version}"))
            .header("authorization", &token)
            .send(image)?;
        let plan = serde_json::json!({ "product": product, "version": version, "abort_percent": 101 });
        ureq::post(&format!("{base}/rollouts")).header("authorization", &token).send_json(plan)?;
        Ok(())
    }

    /// Its processor time once it rests: what is left to do of what was asked is part of the cost.
    pub(crate) async fn cpu_time(&self) -> Outcome<Duration> {
        let (mut before, mut rested) = (cost::cpu_time(self.child.id())?, 0);
        while rested < REST_LOOKS {
            tokio::time::sleep(REST_LOOK).await;
            let after = cost::cpu_time(self.child.id())?;
            rested = if after - before <= REST_COST { rested + 1 } else { 0 };
            before = after;
        }
        Ok(before)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn resident_kib(&self) -> Outcome<u64> {
        cost::memory_kib(self.child.id(), "VmRSS")
    }

    /// The most that was resident since [`Process::forget_peak`].
    pub(crate) fn peak_kib(&self) -> Outcome<u64> {
        cost::memory_kib(self.child.id(), "VmHWM")
    }

    /// Counts the most that is resident from here on (`proc(5)`, `clear_refs`).
    pub(crate) fn forget_peak(&self) -> Outcome<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?)
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

/// A port that nobody has at this moment.
pub(crate) fn free_port() -> Outcome<SocketAddr> {
    Ok(UdpSocket::bind(("127.0.0.1", 0))?.local_addr()?)
}
