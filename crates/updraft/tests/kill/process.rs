//! A server process in a folder of its own, killed when dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for bytes that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"
[device]
listen = "127.0.0.1:0"
plain_listen = "127.0.0.1:0"

[operator]
listen = "127.0.0.1:0"

[protocols.mqtt]
listen = "127.0.0.1:0"
plain_listen = "127.0.0.1:0"

[protocols.lwm2m]
listen = "127.0.0.1:0"
plain_listen = "127.0.0.1:0"
"#;

/// A server that runs, and what it needs to run again.
pub(crate) struct Process {
    folder: TempDir,
    child: Child,
    pub(crate) devices: SocketAddr,
    pub(crate) mqtt: SocketAddr,
    operators: SocketAddr,
}

/// Where a server is, as it says when it is ready.
struct Addresses {
    devices: SocketAddr,
    mqtt: SocketAddr,
    operators: SocketAddr,
}

impl Process {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("updraft.toml"), CONFIG).unwrap();
        let (child, Addresses { devices, mqtt, operators }) = spawn(folder.path());
        Self { folder, child, devices, mqtt, operators }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// SIGKILL, at whatever it is doing.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        let (child, Addresses { devices, mqtt, operators }) = spawn(self.folder.path());
        (self.child, self.devices, self.mqtt, self.operators) = (child, devices, mqtt, operators);
    }

    /// A request of the operator that succeeds.
    pub(crate) fn operate(&self, method: &str, path: &str, body: &[u8]) -> Value {
        self.operate_at(method, &format!("/api/v1{path}"), body)
    }

    /// A request of the operator that succeeds, whatever its contract.
    pub(crate) fn operate_at(&self, method: &str, path: &str, body: &[u8]) -> Value {
        let token = std::fs::read_to_string(self.data().join("operator.token")).unwrap();
        let mut line = Line::to(self.operators).unwrap();
        let (status, answer) = line.ask(method, path, token.trim(), body).unwrap();
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the server and waits for its `ready`. SIGXFSZ is ignored, so that a limit on file sizes looks like a full
/// disk and not like a mistake of the program.
fn spawn(folder: &Path) -> (Child, Addresses) {
    let mut child = Command::new("bash")
        .args(["-c", "trap '' XFSZ; exec \"$0\" serve --config \"$1\" --data \"$2\""])
        .arg(env!("CARGO_BIN_EXE_updraft"))
        .args([folder.join("updraft.toml"), folder.join("data")])
        .env("UPDRAFT_LOG", "error")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("ready"), "the server starts: {line:?}");
    let after = |mark: &str| {
        let rest = &line[line.find(mark).unwrap() + mark.len()..];
        rest.split(',').next().unwrap().trim().parse().unwrap()
    };
    let addresses = Addresses {
        devices: after("without TLS http://"),
        mqtt: after("without TLS mqtt://"),
        operators: after("operators http://"),
    };
    (child, addresses)
}

/// A keep-alive connection.
pub(crate) struct Line {
    stream: TcpStream,
}

impl Line {
    pub(crate) fn to(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream })
    }

    /// One request and its answer.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        token: &str,
        body: &[u8],
    ) -> std::io::Result<(u16, Value)> {
        let bytes = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: {bytes}\r\n\r\n"
        );
        self.stream.write_all(&[head.as_bytes(), body].concat())?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(status != 503 || head.contains("\r\nRetry-After: "), "it says when to come again: {head}");
        let length = head.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.stream.read_exact(&mut body)?;
        Ok((status, serde_json::from_slice(&body).unwrap()))
    }
}
