//! Our agent at a server of another's: Leshan's demo server, as it comes.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::program::{Kind, Running};

use super::stage::until;

/// The agent's ID.
pub(super) const DEVICE: &str = "agent-1";
/// Its product.
pub(super) const PRODUCT: &str = "cam";

/// Leshan's server, by its REST interface.
pub(super) struct Leshan {
    _running: Running,
    api: String,
    coap_port: u16,
    pub(super) coaps_port: u16,
}

impl Leshan {
    fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    /// Starts it with more on its command line.
    pub(super) fn start_with(folder: &Path, words: &[String]) -> Self {
        let udp = || UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (coap_port, coaps_port) = (udp(), udp());
        let web_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Kind::Jar.command("leshan-server-demo.jar", folder);
        for (word, port) in [("-lp", coap_port), ("-slp", coaps_port), ("-wp", web_port)] {
            command.args([word, &port.to_string()]);
        }
        command.args(["-lh", "127.0.0.1", "-slh", "127.0.0.1", "-wh", "127.0.0.1"]);
        command.args(words);
        let api = format!("http://127.0.0.1:{web_port}/api");
        let leshan = Self { _running: Running::start(command), api, coap_port, coaps_port };
        until("answer of Leshan's", || leshan.get("").map(drop));
        leshan
    }

    /// Tells it that a device will come with a certificate.
    pub(super) fn expect_certificate(&self, device: &str) {
        let body = json!({ "endpoint": device, "x509": true }).to_string();
        let request = ureq::put(format!("{}/security/clients", self.api));
        request.header("Content-Type", "application/json").send(body).unwrap();
    }

    /// What it knows of a device; `None` where it has no good answer.
    pub(super) fn get(&self, path: &str) -> Option<Value> {
        let text =
            ureq::get(format!("{}/clients{path}", self.api)).call().ok()?.body_mut().read_to_string().ok()?;
        serde_json::from_str(&text).ok()
    }

    /// What a device answers to a read.
    pub(super) fn read(&self, path: &str) -> Option<Value> {
        self.get(&format!("/{DEVICE}{path}?timeout=5")).map(|answer| answer["content"].clone())
    }

    fn write(&self, path: &str, resource: u16, value: &str) -> Value {
        let body = json!({ "id": resource, "value": value }).to_string();
        let request = ureq::put(format!("{}/clients/{DEVICE}{path}?timeout=5&format=TEXT", self.api));
        let text = request
            .header("Content-Type", "application/json")
            .send(body)
            .unwrap()
            .body_mut()
            .read_to_string()
            .unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

/// The agent, which `cargo test --workspace` builds, with more words; `None` where it is not built.
pub(super) fn agent(folder: &Path, words: &[&str]) -> Option<Running> {
    let path = Path::new(env!("CARGO_BIN_EXE_updraft")).parent().unwrap().join("updraft-agent");
    if !path.is_file() {
        let told = "needs the agent: cargo build -p updraft-agent";
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{told}");
        eprintln!("skipped: {told}");
        return None;
    }
    let mut command = Command::new(path);
    command.args(["run", "--transport", "lwm2m", "--id", DEVICE, "--product", PRODUCT]);
    command.args(["--version", "1.0.0", "--state", "state", "--slots", "slots", "--start-delay", "0s"]);
    command.args(words);
    command.current_dir(folder).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Some(Running::start(command))
}

#[test]
fn our_agent_registers_at_leshans_server_is_read_and_fetches_what_it_is_told_to() {
    if !Kind::Jar.is_present() || !Kind::Python.is_present() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let leshan = Leshan::start(folder.path());
    let server = format!("coap://127.0.0.1:{}", leshan.coap_port);
    let Some(_agent) = agent(folder.path(), &["--server", &server, "--lifetime", "30s"]) else { return };
    let known = until("registration", || leshan.get(&format!("/{DEVICE}")));
    assert_eq!((&known["lwM2mVersion"], &known["lifetime"]), (&json!("1.1"), &json!(30)), "{known}");
    let device = until("object 3", || leshan.read("/3/0")).to_string();
    assert!(device.contains(r#"{"id":3,"value":"1.0.0"}"#), "{device}");
    let served = folder.path().join("served");
    fs::create_dir(&served).unwrap();
    fs::write(served.join("image.bin"), vec![7; 50_000]).unwrap();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut files = Kind::Python.command("fileserver.py", folder.path());
    files.args(["--bind", &format!("127.0.0.1:{port}")]).arg(&served);
    let _files = Running::start(files);
    let written = leshan.write("/5/0/1", 1, &format!("coap://127.0.0.1:{port}/image.bin"));
    assert_eq!(written["status"], "CHANGED(204)", "{written}");
    until("download", || (leshan.read("/5/0/3")?["value"] == "2").then_some(()));
}
