//! The servers, each a process of its own on one processor.

use crate::running::{self, LOAD_CPU, Running, SERVER_CPU};
use crate::{Outcome, backend, certificates, fleet};
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use updraft_server::auth::OPERATOR_TOKEN_FILE;
use updraft_server::config::Config;

/// Connections that a server here takes.
pub(crate) const CONNECTIONS_MAX: usize = 100_000;
/// The address of what listens to nobody.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// How long a server may take to be ready.
const START_TIME: Duration = Duration::from_secs(20);

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
    running::serve(&config, |addresses| Some([addresses.mqtt_plain?, addresses.mqtt?])).await
}

/// A running server, or a backend.
pub(crate) struct Process {
    running: Running,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    operator: Option<SocketAddr>,
}

impl Process {
    pub(crate) fn start_ours(folder: &Path) -> Outcome<Self> {
        let path = folder.to_str().ok_or("the folder's name is no text")?;
        let (running, [plain, tls, operator]) = Running::start_server(&["--updraft", path])?;
        Ok(Self { running, plain, tls, operator: Some(operator) })
    }

    pub(crate) fn start_bare() -> Outcome<Self> {
        let (running, line) = Running::start_own(SERVER_CPU, &["--bare"])?;
        Ok(Self { running, plain: line.parse()?, tls: NOWHERE, operator: None })
    }

    /// The backend of a broker, beside the load.
    pub(crate) fn start_backend(broker: &Self) -> Outcome<Self> {
        let (running, _) = Running::start_own(LOAD_CPU, &["--backend", &broker.plain.to_string()])?;
        Ok(Self { running, plain: NOWHERE, tls: NOWHERE, operator: None })
    }

    pub(crate) fn start_mosquitto(folder: &Path) -> Outcome<Self> {
        let (plain, tls) = (free_port()?, free_port()?);
        let path = folder.join("mosquitto.conf");
        fs::write(&path, mosquitto_config(folder, plain.port(), tls.port()))?;
        let mut command = Command::new("taskset");
        // It ends with its parent, however that ends.
        let under = ["-c", SERVER_CPU, "setpriv", "--pdeathsig", "KILL", "mosquitto", "-c"];
        command.args(under).arg(&path).stdin(Stdio::null());
        let own = Self { running: Running::of(command.spawn()?), plain, tls, operator: None };
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
        let input = self.running.input.as_mut().ok_or("no input")?;
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
        self.running.cpu_time()
    }

    pub(crate) fn resident_kib(&self) -> Outcome<u64> {
        self.running.resident_kib()
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
