//! A whole server in this process whose devices are at a broker of another's, and its operator's hands.

use std::path::PathBuf;
use std::thread;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use updraft_server::auth::OPERATOR_TOKEN_FILE;
use updraft_server::config::Config;
use updraft_server::listen::{ShutdownTrigger, shutdown};
use updraft_server::protocols::mqtt::config::Broker as Carrier;
use updraft_server::protocols::mqtt::external::config::{Applications, ExternalConfig};
use updraft_server::serve::{Addresses, ServeError, Server};

use crate::broker::{Broker, SERVER};

pub(crate) const PRODUCT: &str = "sensor";
pub(crate) const VERSION: &str = "1.1.0";
const ANY_PORT: &str = "127.0.0.1:0";

/// How the server of these tests reaches a broker.
pub(crate) fn external(broker: &Broker) -> ExternalConfig {
    ExternalConfig {
        url: Some(format!("mqtt://127.0.0.1:{}", broker.port)),
        username: Some(SERVER.to_owned()),
        password_file: Some(broker.password_file()),
        applications: Applications::WhoeverSetsDesiredState,
        ..ExternalConfig::default()
    }
}

/// Runs what waits, to its end.
pub(crate) fn on_runtime<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test)
}

pub(crate) struct Stage {
    folder: TempDir,
    pub(crate) addresses: Addresses,
    trigger: ShutdownTrigger,
    thread: Option<thread::JoinHandle<()>>,
}

impl Stage {
    pub(crate) fn new(external: ExternalConfig) -> Self {
        Self::open(external).unwrap()
    }

    pub(crate) fn open(external: ExternalConfig) -> Result<Self, ServeError> {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { data: Some(folder.path().join("data")), ..Config::default() };
        config.device.listen = ANY_PORT.parse().unwrap();
        config.device.plain_listen = Some(ANY_PORT.parse().unwrap());
        config.operator.listen = ANY_PORT.parse().unwrap();
        config.protocols.lwm2m.enabled = false;
        config.protocols.mqtt.broker = Carrier::External;
        config.protocols.mqtt.external = external;
        config.check().unwrap();
        let (trigger, stop) = shutdown::shutdown();
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                match Server::open(&config).await {
                    Ok(server) => {
                        sender.send(Ok(server.addresses())).unwrap();
                        server.serve(stop).await;
                    }
                    Err(error) => sender.send(Err(error)).unwrap(),
                }
            });
        });
        let addresses = receiver.recv().unwrap()?;
        Ok(Self { folder, addresses, trigger, thread: Some(thread) })
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Stops in good order.
    pub(crate) fn stop(mut self) {
        self.trigger.ask();
        self.thread.take().unwrap().join().unwrap();
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1{path}", self.addresses.operator)
    }

    fn authorization(&self) -> String {
        let token = std::fs::read_to_string(self.data().join(OPERATOR_TOKEN_FILE)).unwrap();
        format!("Bearer {}", token.trim())
    }

    /// Adds the release; the digest of its image.
    pub(crate) fn add_release(&self) -> String {
        let image: Vec<u8> = (0..100_000_u32).map(|index| (index % 251) as u8).collect();
        let url = self.url(&format!("/products/{PRODUCT}/releases/{VERSION}"));
        ureq::put(&url).header("authorization", self.authorization()).send(&image[..]).unwrap();
        hex::encode(Sha256::digest(&image))
    }

    /// Brings the release to the whole fleet at once; the rollout's ID.
    pub(crate) fn start_rollout(&self) -> String {
        let body = serde_json::json!({ "product": PRODUCT, "version": VERSION });
        let mut answer = ureq::post(self.url("/rollouts"))
            .header("authorization", self.authorization())
            .send_json(body)
            .unwrap();
        let rollout: Value = answer.body_mut().read_json().unwrap();
        rollout["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn read(&self, path: &str) -> Value {
        let answer = ureq::get(self.url(path)).header("authorization", self.authorization()).call();
        answer.unwrap().body_mut().read_json().unwrap()
    }

    /// The digest of what a link leads to.
    pub(crate) fn download(&self, link: &str) -> String {
        // The same server, where no certificate is in the way.
        let (_, path) = link.strip_prefix("https://").unwrap().split_once('/').unwrap();
        let url = format!("http://{}/{path}", self.addresses.device_plain.unwrap());
        let bytes = ureq::get(&url).call().unwrap().body_mut().read_to_vec().unwrap();
        hex::encode(Sha256::digest(&bytes))
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
