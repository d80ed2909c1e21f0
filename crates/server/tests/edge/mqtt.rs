//! A whole server in this process with its MQTT doors, an operator's hands on it, and a client that says one CONNECT.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tempfile::TempDir;
use updraft_server::auth::OPERATOR_TOKEN_FILE;
use updraft_server::config::Config;
use updraft_server::listen::{ShutdownTrigger, shutdown};
use updraft_server::pki::CA_FILE;
use updraft_server::serve::{Addresses, Server};

use super::served::PATIENCE;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// CONNACK's codes of MQTT 3.1.1.
pub(crate) const ACCEPTED: u8 = 0;
pub(crate) const NOT_AUTHORIZED: u8 = 5;

pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) addresses: Addresses,
    trigger: ShutdownTrigger,
    thread: Option<thread::JoinHandle<()>>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(tempfile::tempdir().unwrap(), |_| {})
    }

    pub(crate) fn with(folder: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { data: Some(folder.path().join("data")), ..Config::default() };
        config.device.listen = ANY_PORT;
        config.operator.listen = ANY_PORT;
        config.protocols.mqtt.listen = ANY_PORT;
        config.protocols.lwm2m.listen = ANY_PORT;
        change(&mut config);
        config.check().unwrap();
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
        Self { folder, addresses: receiver.recv().unwrap(), trigger, thread: Some(thread) }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn ask_to_stop(&self) {
        self.trigger.ask();
    }

    /// Stops in good order.
    pub(crate) fn stop(mut self) {
        self.trigger.ask();
        self.thread.take().unwrap().join().unwrap();
    }

    fn operate(&self, path: &str, body: &Value) -> Value {
        let token = std::fs::read_to_string(self.data().join(OPERATOR_TOKEN_FILE)).unwrap();
        let url = format!("http://{}/api/v1{path}", self.addresses.operator);
        let mut answer = ureq::post(&url)
            .header("authorization", format!("Bearer {}", token.trim()))
            .send_json(body)
            .unwrap();
        answer.body_mut().read_json().unwrap()
    }

    /// A new token in any form.
    pub(crate) fn create(&self, body: &Value) -> Value {
        self.operate("/tokens", body)
    }

    /// A device's token as a text.
    pub(crate) fn token(&self, device: &str) -> String {
        self.create(&json!({ "device": device }))["token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn revoke(&self, made: &Value) {
        self.operate(&format!("/tokens/{}/revoke", made["id"].as_str().unwrap()), &json!({}));
    }

    /// What a device has that trusts the server, and shows a certificate if it has one (chain and key in PEM).
    pub(crate) fn trusting(&self, shown: Option<(&str, &str)>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.data().join(CA_FILE)).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        match shown {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain.unwrap(), key).unwrap()
            }
        }
    }

    /// A connection to the MQTT listener by TLS.
    pub(crate) fn tls(&self, config: ClientConfig) -> Client {
        self.tls_again(&Arc::new(config)).0
    }

    /// As [`Stage::tls`], with a configuration that remembers earlier connections; and whether this one resumes one.
    pub(crate) fn tls_again(&self, config: &Arc<ClientConfig>) -> (Client, Option<HandshakeKind>) {
        secure_and_tell(self.addresses.mqtt.unwrap(), config)
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

/// A TLS connection.
pub(crate) fn secure(address: SocketAddr, config: &Arc<ClientConfig>) -> Client {
    secure_and_tell(address, config).0
}

/// A TLS connection, and whether it resumes an earlier one.
pub(crate) fn secure_and_tell(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> (Client, Option<HandshakeKind>) {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
    // A server that refuses is found out by who speaks next.
    let _ = session.complete_io(&mut tcp);
    let kind = session.handshake_kind();
    (Client(Box::new(StreamOwned::new(session, tcp))), kind)
}

pub(crate) trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

/// A client that speaks MQTT packet by packet.
pub(crate) struct Client(pub(crate) Box<dyn Duplex>);

impl Client {
    pub(crate) fn plain(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(Box::new(tcp))
    }

    /// Says a CONNECT; the code of the answer, or none if the server hung up.
    pub(crate) fn hello(&mut self, connect: &[u8]) -> Option<u8> {
        self.0.write_all(connect).ok()?;
        let packet = self.packet().ok().flatten()?;
        assert_eq!(packet[0] >> 4, 2, "a CONNACK: {packet:?}");
        Some(packet[3])
    }

    /// The next packet; none once the server has hung up in good order.
    pub(crate) fn packet(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut head = [0; 2];
        match self.0.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        assert!(head[1] < 0x80, "the packets of these tests are short");
        let mut packet = head.to_vec();
        packet.resize(2 + usize::from(head[1]), 0);
        self.0.read_exact(&mut packet[2..])?;
        Ok(Some(packet))
    }
}

/// A CONNECT with a clean session and a long keep-alive; `level` 4 is MQTT 3.1.1, 5 is MQTT 5.
pub(crate) fn connect(level: u8, client_id: &str, username: Option<&str>, password: Option<&str>) -> Vec<u8> {
    let text = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
    let flag = |is_there: bool, bit: u8| if is_there { bit } else { 0 };
    let flags = 0x02 | flag(username.is_some(), 0x80) | flag(password.is_some(), 0x40);
    let mut body = [&text("MQTT")[..], &[level, flags, 0x04, 0xb0]].concat();
    if level == 5 {
        body.push(0);
    }
    for part in [Some(client_id), username, password].into_iter().flatten() {
        body.extend(text(part));
    }
    let length = body.len();
    let length = if length < 0x80 {
        vec![u8::try_from(length).unwrap()]
    } else {
        vec![u8::try_from(length % 0x80).unwrap() | 0x80, u8::try_from(length / 0x80).unwrap()]
    };
    [&[0x10][..], &length, &body].concat()
}
