//! What a test tells a client program: who it is, where the server is, and what it may take.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::certificate::{Authority, Certificate};
use crate::program::{Kind, must_hold, node_clients};
use crate::server::Server;

/// The device of each test.
pub(crate) const DEVICE: &str = "sensor-7";
pub(crate) const PRODUCT: &str = "sensor";
/// The version that its rollout brings.
pub(crate) const VERSION: &str = "1.1.0";
/// Size of the image, in bytes: more than one TLS record and one socket buffer.
const IMAGE_BYTES: usize = 300_000;
/// The operator whose program listens and asks.
const APPLICATION: &str = "backend";

/// How a device proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// By a token as password.
    Token,
    /// By a certificate that the server made, with an EC key.
    OwnCertificate,
    /// By a certificate of an imported authority, with an RSA key.
    FactoryCertificate,
}

/// A server, a device of it, and what both are told.
pub(crate) struct Case {
    pub(crate) server: Server,
    facts: serde_json::Map<String, Value>,
    /// Kept for as long as its certificates are in use.
    _authority: Option<Authority>,
}

impl Case {
    pub(crate) fn new(proof: Proof) -> Self {
        let authority = (proof == Proof::FactoryCertificate).then(Authority::make);
        let server = Server::start(authority.as_ref().map(Authority::certificate).as_deref());
        let certificate = match (&authority, proof) {
            (Some(authority), _) => Some(Certificate::of_factory(authority, DEVICE)),
            (None, Proof::OwnCertificate) => Some(Certificate::of_server(&server, DEVICE)),
            (None, Proof::Token | Proof::FactoryCertificate) => None,
        };
        let mut case = Self { server, facts: serde_json::Map::new(), _authority: authority };
        case.tell_where();
        match certificate {
            Some(Certificate { certificate, key }) => {
                case.tell("certificate", json!(certificate));
                case.tell("key", json!(key));
            }
            None => {
                let token = case.server.verb(&["token", "create", "--device", DEVICE]);
                case.tell("token", token["token"].clone());
            }
        }
        case.add_application();
        case
    }

    fn tell_where(&mut self) {
        let server = &self.server;
        let facts = json!({
            "device": DEVICE,
            "host": "localhost",
            "mqtt_port": server.port("mqtts://"),
            "plain_port": server.port("mqtt://"),
            "wss_port": server.port("devices https://"),
            "ca": server.path("updraft-data/ca.pem"),
            "updraft": env!("CARGO_BIN_EXE_updraft"),
            "operator_url": server.operator_url(),
            "folder": server.folder(),
            "clients": node_clients(),
            "product": PRODUCT,
            "version": VERSION,
        });
        self.facts.extend(facts.as_object().unwrap().clone());
    }

    fn add_application(&mut self) {
        let token = self.server.verb(&["token", "create", "--operator", APPLICATION]);
        self.tell("application", json!({ "name": APPLICATION, "token": token["token"] }));
    }

    /// Gives its programs an operator's access key.
    pub(crate) fn with_access_key(mut self) -> Self {
        let key = self.server.verb(&["token", "create", "--operator", "planner", "--access-key"]);
        self.tell("access_key", json!({ "id": key["accessKeyId"], "secret": key["secretAccessKey"] }));
        self.tell("control_url", json!(self.server.operator_url()));
        self
    }

    /// Adds a release whose rollout has not begun.
    pub(crate) fn with_release(mut self) -> Self {
        let image: Vec<u8> = (0..IMAGE_BYTES).map(|index| (index % 251) as u8).collect();
        let file = self.server.path("image.bin");
        fs::write(&file, image).unwrap();
        let file = file.to_str().unwrap();
        let add = ["release", "add", "--product", PRODUCT, "--version", VERSION, "--file", file];
        let release = self.server.verb(&add);
        self.tell("image_sha256", release["sha256"].clone());
        self
    }

    /// One more thing that its programs are told.
    pub(crate) fn tell(&mut self, name: &str, value: Value) {
        self.facts.insert(name.to_owned(), value);
    }

    pub(crate) fn fact(&self, name: &str) -> &Value {
        self.facts.get(name).unwrap_or_else(|| panic!("{name} is in the case"))
    }

    /// Writes down what the programs are told; the file's path.
    pub(crate) fn write(&self) -> PathBuf {
        let path = self.server.path("case.json");
        fs::write(&path, serde_json::to_vec(&self.facts).unwrap()).unwrap();
        path
    }

    /// Runs a program, for which all must hold.
    pub(crate) fn run(&self, kind: Kind, program: &str, words: &[&str]) {
        let path = self.write();
        let mut command = kind.command(program, self.server.folder());
        command.arg(path).args(words);
        must_hold(command);
    }

    /// How the server counts the one rollout there is.
    pub(crate) fn counts(&self) -> Value {
        let rollouts = self.server.verb(&["rollout", "ls"]);
        assert_eq!(rollouts.as_array().unwrap().len(), 1, "{rollouts}");
        self.server.verb(&["rollout", "status", rollouts[0]["id"].as_str().unwrap()])["counts"].clone()
    }

    /// Holds that the server counts one success of its one rollout, and has the version that the device runs.
    pub(crate) fn is_updated(&self) {
        assert_eq!(self.counts()["succeeded"], 1);
        assert_eq!(self.server.verb(&["device", "show", DEVICE])["version"], VERSION);
    }
}
