//! A broker of another's, in a process of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::authority::Authority;

/// How long a broker may take to answer.
const START_TIME_MAX: Duration = Duration::from_secs(20);
/// How often another port is tried: someone else may take one between its choice and its use.
const PORTS_MAX: usize = 5;
/// The server's user, and its password.
pub(crate) const SERVER: &str = "updraft";
pub(crate) const PASSWORD: &str = "a long secret";

/// The access rules of `docs/operating/external-broker.md`.
const RULES: &str = "
user updraft
topic readwrite state/#
topic readwrite $aws/things/#
topic readwrite updraft/probe/#

user shop
topic readwrite state/#

pattern readwrite state/%u/#
pattern readwrite $aws/things/%u/#
";

/// What each device may do at NATS, by the same guide; `NAME` is the device.
const NATS_USER: &str = r#"{ user: NAME, password: "PASSWORD", permissions: {
      publish: ["state.NAME.>", "$aws.things.NAME.>"]
      subscribe: ["state.NAME", "state.NAME.>", "$aws.things.NAME", "$aws.things.NAME.>", "$MQTT.sub.>"] } }
"#;

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Mosquitto, where everybody needs a password and is kept to its own topics.
    Mosquitto,
    /// NATS with JetStream: open to everybody, or each device is kept to its own topics if any are named.
    Nats,
}

impl Kind {
    fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Mosquitto => ("mosquitto", "/usr/sbin/mosquitto"),
            Self::Nats => ("nats-server", "/usr/sbin/nats-server"),
        }
    }

    /// Whether it is installed; says so if not, and fails where everything must be checked.
    pub(crate) fn is_present(self) -> bool {
        let (package, _) = self.program();
        let is_there = self.path().is_some();
        if !is_there {
            let line = format!("{package} is missing. To install: sudo apt-get install -y {package}");
            assert!(std::env::var_os("CI").is_none(), "{line}");
            eprintln!("{line}");
        }
        is_there
    }

    fn path(self) -> Option<PathBuf> {
        let (name, system) = self.program();
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let in_path = std::env::split_paths(&paths).map(|folder| folder.join(name));
        in_path.chain([PathBuf::from(system)]).find(|path| path.exists())
    }
}

/// A running broker.
pub(crate) struct Broker {
    kind: Kind,
    folder: TempDir,
    /// Where devices connect, without TLS.
    pub(crate) port: u16,
    /// Where the server connects by TLS, and shows a certificate.
    pub(crate) tls_port: Option<u16>,
    child: Child,
}

impl Broker {
    /// Starts one. Each of `devices` and the application `shop` have [`PASSWORD`] as well.
    pub(crate) fn start(kind: Kind, devices: &[String]) -> Self {
        Self::start_in(kind, tempfile::tempdir().unwrap(), devices, false)
    }

    /// Starts one that shows a certificate for `host` to whoever shows one of the authority's. With NATS devices must, too.
    pub(crate) fn start_with_tls(kind: Kind, devices: &[String], ca: &Authority, host: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own = ca.broker(host);
        fs::copy(ca.certificate(), folder.path().join("ca.pem")).unwrap();
        fs::copy(own.certificate, folder.path().join("own.pem")).unwrap();
        fs::copy(own.key, folder.path().join("own.key")).unwrap();
        Self::start_in(kind, folder, devices, true)
    }

    fn start_in(kind: Kind, folder: TempDir, devices: &[String], has_tls: bool) -> Self {
        if kind == Kind::Mosquitto {
            write_users(folder.path(), devices);
            write_rules(folder.path(), SERVER);
        } else {
            fs::write(folder.path().join("users.conf"), nats_users(devices)).unwrap();
        }
        for _ in 0..PORTS_MAX {
            let (port, tls_port) = (free_port(), has_tls.then(free_port));
            if let Some(child) = start(kind, folder.path(), port, tls_port) {
                return Self { kind, folder, port, tls_port, child };
            }
        }
        panic!("{kind:?} did not start: {}", log(folder.path()));
    }

    /// From the next start on, the server's user has this name.
    pub(crate) fn rename_server(&self, name: &str) {
        write_rules(self.folder.path(), name);
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port, after [`Broker::kill`].
    pub(crate) fn restart(&mut self) {
        let child = start(self.kind, self.folder.path(), self.port, self.tls_port);
        self.child = child.unwrap_or_else(|| panic!("{:?}: {}", self.kind, log(self.folder.path())));
    }

    /// What it has written down.
    pub(crate) fn log(&self) -> String {
        log(self.folder.path())
    }

    /// A file with the server's password.
    pub(crate) fn password_file(&self) -> PathBuf {
        let path = self.folder.path().join("server.password");
        fs::write(&path, format!("{PASSWORD}\n")).unwrap();
        path
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Refused where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(kind: Kind, folder: &Path, port: u16, tls_port: Option<u16>) -> Option<Child> {
    let file = folder.join("broker.conf");
    fs::write(&file, configuration(kind, folder, port, tls_port)).unwrap();
    let output = fs::File::options().create(true).append(true).open(folder.join("broker.log")).unwrap();
    let mut child = Command::new(kind.path().unwrap())
        .arg("-c")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let end = Instant::now() + START_TIME_MAX;
    while Instant::now() < end && child.try_wait().unwrap().is_none() {
        // Mosquitto opens the port without TLS last; NATS has one.
        let port = if kind == Kind::Nats { tls_port.unwrap_or(port) } else { port };
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(child);
        }
        thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

fn configuration(kind: Kind, folder: &Path, port: u16, tls_port: Option<u16>) -> String {
    let folder = folder.display();
    match kind {
        Kind::Mosquitto => {
            let tls = tls_port.map(|port| {
                format!(
                    "listener {port} 127.0.0.1\ncafile {folder}/ca.pem\ncertfile {folder}/own.pem\n\
                     keyfile {folder}/own.key\nrequire_certificate true\nuse_identity_as_username true\n"
                )
            });
            format!(
                "{}listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {folder}/users\n\
                 acl_file {folder}/rules\nmessage_size_limit 131072\npersistence false\nlog_type all\n",
                tls.unwrap_or_default()
            )
        }
        Kind::Nats => {
            let tls = tls_port.map(|_| {
                format!(
                    "tls {{ ca_file: \"{folder}/ca.pem\", cert_file: \"{folder}/own.pem\", \
                     key_file: \"{folder}/own.key\", verify: true }}"
                )
            });
            format!(
                "host: 127.0.0.1\nport: -1\nserver_name: test\ninclude users.conf\n\
                 jetstream {{ store_dir: \"{folder}/jetstream\" }}\n\
                 mqtt {{ host: 127.0.0.1, port: {}\n {} }}\n",
                tls_port.unwrap_or(port),
                tls.unwrap_or_default()
            )
        }
    }
}

fn write_rules(folder: &Path, server: &str) {
    fs::write(folder.join("rules"), RULES.replace(&format!("user {SERVER}"), &format!("user {server}")))
        .unwrap();
}

fn write_users(folder: &Path, devices: &[String]) {
    let users = folder.join("users");
    let names = [SERVER, "shop"].into_iter().chain(devices.iter().map(String::as_str));
    let lines: String = names.map(|name| format!("{name}:{PASSWORD}\n")).collect();
    fs::write(&users, lines).unwrap();
    // -U makes hashes of the passwords of a whole file.
    let made = Command::new("mosquitto_passwd").arg("-U").arg(&users).status().unwrap();
    assert!(made.success());
}

fn nats_users(devices: &[String]) -> String {
    if devices.is_empty() {
        return String::new();
    }
    let all = format!(
        "{{ user: {SERVER}, password: \"{PASSWORD}\", permissions: {{ publish: \">\", subscribe: \">\" }} }}\n"
    );
    let each = devices.iter().map(|name| NATS_USER.replace("NAME", name).replace("PASSWORD", PASSWORD));
    format!("authorization {{ users = [\n{all}{} ] }}\n", each.collect::<String>())
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("broker.log")).unwrap_or_default()
}
