//! A whole server in this process, in a folder of its own, and an operator's hands on it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use updraft_server::auth::OPERATOR_TOKEN_FILE;
use updraft_server::config::Config;
use updraft_server::listen::{ShutdownTrigger, shutdown};
use updraft_server::pki::CA_FILE;
use updraft_server::serve::{Addresses, Server};
use updraft_wire::operator::device::Device;
use updraft_wire::operator::rollout::Status;

use crate::wire::{Answer, Wire, post};

/// The product of the tests.
pub(crate) const PRODUCT: &str = "thermostat";
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A server that is drained when dropped.
pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) addresses: Addresses,
    pub(crate) tls: Arc<ClientConfig>,
    config: Config,
    operator_token: String,
    trigger: ShutdownTrigger,
    thread: Option<thread::JoinHandle<()>>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A stage with settings of its own.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { data: Some(folder.path().join("data")), ..Config::default() };
        config.device.listen = ANY_PORT;
        config.device.plain_listen = Some(ANY_PORT);
        config.operator.listen = ANY_PORT;
        config.protocols.mqtt.listen = ANY_PORT;
        config.protocols.lwm2m.listen = ANY_PORT;
        change(&mut config);
        config.check().unwrap();
        let (addresses, trigger, thread) = start(config.clone());
        let data = folder.path().join("data");
        let operator_token =
            std::fs::read_to_string(data.join(OPERATOR_TOKEN_FILE)).unwrap().trim().to_owned();
        let tls = trusting(&data.join(CA_FILE));
        Self { folder, addresses, tls, config, operator_token, trigger, thread: Some(thread) }
    }

    /// The data folder.
    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// Stops the server in good order and starts it again on the same folder.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let (addresses, trigger, thread) = start(self.config.clone());
        (self.addresses, self.trigger, self.thread) = (addresses, trigger, Some(thread));
    }

    fn stop(&mut self) {
        self.trigger.ask();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok(), "the server ended well");
        }
    }

    /// A connection to the devices' listener, over TLS.
    pub(crate) fn tls(&self) -> Wire {
        Wire::tls(self.addresses.device, &self.tls)
    }

    /// A connection to the devices' listener for the lab.
    pub(crate) fn plain(&self) -> Wire {
        Wire::plain(self.addresses.device_plain.unwrap())
    }

    /// What a device says on a connection of its own.
    pub(crate) fn say(&self, path: &str, token: &str, body: impl AsRef<[u8]>) -> Answer {
        self.plain().say(&post(path, &format!("Authorization: Bearer {token}\r\n"), body))
    }

    /// A native check-in.
    pub(crate) fn check_in(&self, token: &str, body: &Value) -> Answer {
        self.say("/v1/check-in", token, body.to_string())
    }

    /// A request of the operator.
    pub(crate) fn operate(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let head = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
            self.operator_token,
            body.len()
        );
        Wire::plain(self.addresses.operator).say(&[head.as_bytes(), body].concat())
    }

    fn done<T: DeserializeOwned>(&self, method: &str, path: &str, body: &[u8]) -> T {
        let answer = self.operate(method, path, body);
        assert!(answer.status < 300, "{method} {path}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// A new token: its ID, for revoking, and its text.
    pub(crate) fn token(&self, kind: &str, name: &str) -> (String, String) {
        let created: Value = self.done("POST", "/tokens", json!({ kind: name }).to_string().as_bytes());
        (created["id"].as_str().unwrap().to_owned(), created["token"].as_str().unwrap().to_owned())
    }

    /// A device's token.
    pub(crate) fn device_token(&self, id: &str) -> String {
        self.token("device", id).1
    }

    pub(crate) fn operator_token(&self) -> &str {
        &self.operator_token
    }

    pub(crate) fn revoke(&self, token_id: &str) {
        let _: Value = self.done("POST", &format!("/tokens/{token_id}/revoke"), b"");
    }

    /// Adds a release for everyone below it.
    pub(crate) fn release(&self, version: &str, image: &[u8]) {
        let _: Value = self.done("PUT", &format!("/products/{PRODUCT}/releases/{version}"), image);
    }

    /// Adds a release with a policy, already encoded for a query.
    pub(crate) fn release_for(&self, version: &str, policy: &str, image: &[u8]) {
        let path = format!("/products/{PRODUCT}/releases/{version}?policy={policy}");
        let _: Value = self.done("PUT", &path, image);
    }

    /// Starts a rollout with the standard plan; its ID.
    pub(crate) fn rollout(&self, version: &str) -> String {
        self.rollout_with(json!({ "product": PRODUCT, "version": version }))
    }

    /// Starts a rollout; its ID.
    pub(crate) fn rollout_with(&self, start: Value) -> String {
        let rollout: Value = self.done("POST", "/rollouts", start.to_string().as_bytes());
        rollout["id"].as_str().unwrap().to_owned()
    }

    /// Adds a release and starts its rollout; the rollout's ID.
    pub(crate) fn publish(&self, version: &str, image: &[u8]) -> String {
        self.release(version, image);
        self.rollout(version)
    }

    pub(crate) fn abort(&self, rollout: &str) {
        let _: Value = self.done("POST", &format!("/rollouts/{rollout}/abort"), b"{}");
    }

    pub(crate) fn status(&self, rollout: &str) -> Status {
        self.done("GET", &format!("/rollouts/{rollout}/status"), b"")
    }

    pub(crate) fn device(&self, id: &str) -> Device {
        self.done("GET", &format!("/devices/{id}"), b"")
    }

    /// Where the device stands in its latest execution: the state, and the reason if it failed.
    pub(crate) fn stands(&self, id: &str) -> (String, Option<String>) {
        let device = self.device(id);
        let latest = device.executions.first().expect("the device has an execution");
        (latest.state.clone(), latest.reason.clone())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop();
    }
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

/// A client that trusts the server's own authority, and nothing else.
fn trusting(ca: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// Bytes of which no two runs of eight are alike.
pub(crate) fn image(bytes: usize) -> Vec<u8> {
    (0..bytes.div_ceil(8) as u64)
        .flat_map(|word| (word.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5555).to_le_bytes())
        .take(bytes)
        .collect()
}
