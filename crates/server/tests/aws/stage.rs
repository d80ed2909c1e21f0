//! A whole server in this process, in a folder of its own, and the hands of operators and devices on it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use updraft_server::auth::OPERATOR_TOKEN_FILE;
use updraft_server::config::Config;
use updraft_server::listen::{ShutdownTrigger, shutdown};
use updraft_server::serve::{Addresses, Server};

use crate::sign::{self, Key, Unsigned};

/// The product of the tests.
pub(crate) const PRODUCT: &str = "thermostat";
/// How long a test waits for bytes that must come.
const PATIENCE: Duration = Duration::from_secs(40);
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A server that is drained when dropped.
pub(crate) struct Stage {
    folder: TempDir,
    pub(crate) addresses: Addresses,
    operator_token: String,
    trigger: ShutdownTrigger,
    thread: Option<thread::JoinHandle<()>>,
}

/// Which listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Operators,
    Devices,
}

/// How a request proves its caller.
#[derive(Debug, Clone)]
pub(crate) enum By {
    Nobody,
    Token(String),
    /// A key, and the service it signs for.
    Key(Key, &'static str),
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// All that came before the connection closed.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body: bytes[end + 4..].to_vec() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The exception, by the header in which clients look for it.
    pub(crate) fn exception(&self) -> &str {
        let line = self.head.split("\r\n").find(|line| line.to_lowercase().starts_with("x-amzn-errortype: "));
        line.unwrap_or_else(|| panic!("an exception: {self:?}")).split_once(": ").unwrap().1
    }

    /// The sentence of a refusal.
    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().expect("a refusal says why").to_owned()
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16, exception: &str) {
        assert_eq!((self.status, self.exception()), (status, exception), "{}", self.message());
    }
}

impl Stage {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { data: Some(folder.path().join("data")), ..Config::default() };
        config.device.listen = ANY_PORT;
        config.device.plain_listen = Some(ANY_PORT);
        config.operator.listen = ANY_PORT;
        config.protocols.mqtt.listen = ANY_PORT;
        config.protocols.lwm2m.listen = ANY_PORT;
        config.check().unwrap();
        let (addresses, trigger, thread) = start(config);
        let token = folder.path().join("data").join(OPERATOR_TOKEN_FILE);
        let operator_token = std::fs::read_to_string(token).unwrap().trim().to_owned();
        Self { folder, addresses, operator_token, trigger, thread: Some(thread) }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn operator_token(&self) -> &str {
        &self.operator_token
    }

    pub(crate) fn address(&self, at: At) -> SocketAddr {
        match at {
            At::Operators => self.addresses.operator,
            At::Devices => self.addresses.device_plain.unwrap(),
        }
    }

    /// A request and its answer, on a connection of its own.
    pub(crate) fn ask(&self, at: At, by: &By, method: &str, target: &str, body: &[u8]) -> Answer {
        self.ask_at(at, by, jiff::Timestamp::now(), method, target, body)
    }

    /// A request signed at a time.
    pub(crate) fn ask_at(
        &self,
        at: At,
        by: &By,
        time: jiff::Timestamp,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> Answer {
        let address = self.address(at);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let host = address.to_string();
        let proof = match by {
            By::Nobody => String::new(),
            By::Token(token) => format!("Authorization: Bearer {token}\r\n"),
            By::Key(key, service) => {
                sign::headers(key, service, time, Unsigned { method, path, query, host: &host, body })
            }
        };
        exchange(address, &format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{proof}"), body)
    }

    /// A request of the operator's own API.
    pub(crate) fn operate(&self, method: &str, path: &str, body: &[u8]) -> Value {
        let by = By::Token(self.operator_token.clone());
        let answer = self.ask(At::Operators, &by, method, &format!("/api/v1{path}"), body);
        assert!(answer.status < 300, "{method} {path}: {answer:?}");
        answer.json()
    }

    /// A new token of a kind (`device`, `product`, `operator`).
    pub(crate) fn token(&self, kind: &str, name: &str) -> By {
        let created = self.operate("POST", "/tokens", json!({ kind: name }).to_string().as_bytes());
        By::Token(created["token"].as_str().unwrap().to_owned())
    }

    /// A new access key of a kind (`device`, `operator`).
    pub(crate) fn key(&self, kind: &str, name: &str) -> Key {
        let body = json!({ kind: name, "form": "access_key" });
        let created = self.operate("POST", "/tokens", body.to_string().as_bytes());
        let text = |field: &str| created[field].as_str().unwrap().to_owned();
        Key { id: text("accessKeyId"), secret: text("secretAccessKey"), token: None }
    }

    /// Makes a device known: it checks in once.
    pub(crate) fn device(&self, id: &str, attributes: Value) -> By {
        let by = self.token("device", id);
        let body =
            json!({ "id": id, "product": PRODUCT, "version": "1.0.0", "boot": 1, "attributes": attributes });
        let answer = self.ask(At::Devices, &by, "POST", "/v1/check-in", body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        by
    }

    /// Adds a release.
    pub(crate) fn release(&self, version: &str, image: &[u8]) {
        self.operate("PUT", &format!("/products/{PRODUCT}/releases/{version}"), image);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.trigger.ask();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok(), "the server ended well");
        }
    }
}

/// Sends the head of a request, its length and its body; the answer.
pub(crate) fn exchange(address: SocketAddr, head: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // A server that refuses a body may close before it has come.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    assert!(!answer.is_empty(), "an answer to {head}: {read:?}");
    Answer::parse(&answer)
}

fn start(config: Config) -> (Addresses, ShutdownTrigger, thread::JoinHandle<()>) {
    let (trigger, stop) = shutdown::shutdown();
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::open(&config).await.unwrap();
            sender.send(server.addresses()).unwrap();
            server.serve(stop).await;
        });
    });
    (receiver.recv().expect("the server starts"), trigger, thread)
}
