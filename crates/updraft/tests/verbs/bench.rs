//! A server of the real program on free ports, and the verbs run against it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const UPDRAFT: &str = env!("CARGO_BIN_EXE_updraft");
const CONFIG: &str = "\
[device]
listen = \"127.0.0.1:0\"
plain_listen = \"127.0.0.1:0\"
[operator]
listen = \"127.0.0.1:0\"
[protocols.mqtt]
listen = \"127.0.0.1:0\"
[protocols.lwm2m]
listen = \"127.0.0.1:0\"
";

/// What a verb did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a verb in a folder, with nothing set that a person may have set.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(UPDRAFT);
    for name in ["UPDRAFT_URL", "UPDRAFT_TOKEN", "UPDRAFT_DATA", "UPDRAFT_CA"] {
        command.env_remove(name);
    }
    let output = command.current_dir(folder).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// An address where nobody listens.
pub(crate) fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(crate) struct Bench {
    folder: TempDir,
    server: Child,
    /// The line it printed when it was ready.
    ready: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("updraft.toml"), CONFIG).unwrap();
        let mut server = Command::new(UPDRAFT)
            .args(["serve", "--config", "updraft.toml", "--data", "updraft-data"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.starts_with("ready"), "{ready:?}");
        Self { folder, server, ready }
    }

    /// The address after some words of the line printed at the start.
    fn address(&self, words: &str) -> SocketAddr {
        let rest = self.ready.split_once(words).unwrap_or_else(|| panic!("{words:?} in {:?}", self.ready)).1;
        rest.split([',', ' ', '\n']).next().unwrap().parse().unwrap()
    }

    pub(crate) fn device_address(&self) -> SocketAddr {
        self.address("devices https://")
    }

    /// A path in the folder that holds the data folder.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn file(&self, name: &str, content: &[u8]) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let url = format!("--url=http://{}", self.address("operators http://"));
        let is_local = arguments[0] == "restore";
        let arguments: Vec<&str> =
            arguments.iter().copied().chain((!is_local).then_some(url.as_str())).collect();
        run(self.folder.path(), &arguments)
    }

    /// Runs a verb with `--json`, which must succeed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let ran = self.run(&arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        serde_json::from_str(&ran.out).unwrap()
    }

    /// Adds a release of the product `cam` and starts its rollout.
    pub(crate) fn rollout(&self, version: &str) -> String {
        let file = self.file("image.bin", version.as_bytes());
        self.json(&["release", "add", "--product", "cam", "--version", version, "--file", &file]);
        let rollout = self.json(&["rollout", "start", "--product", "cam", "--version", version]);
        rollout["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn device_token(&self, id: &str) -> String {
        self.json(&["token", "create", "--device", id])["token"].as_str().unwrap().to_owned()
    }

    /// A device of the product `cam` checks in.
    pub(crate) fn check_in(&self, token: &str, id: &str, version: &str) {
        let url = format!("http://{}/v1/check-in", self.address("without TLS http://"));
        let body = serde_json::json!({"id": id, "product": "cam", "version": version, "boot": 1});
        let answer =
            ureq::post(url).header("authorization", format!("Bearer {token}")).send_json(body).unwrap();
        assert_eq!(answer.status(), 200);
    }

    /// Asks the server to stop, and waits until it has.
    pub(crate) fn end(mut self) {
        let id = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        assert!(self.server.wait().unwrap().success());
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // After a failed assertion the server must not outlive the test.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
