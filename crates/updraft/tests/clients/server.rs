//! A server of the real program in a folder of its own, on ports that the system chose, and its operator's verbs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

const UPDRAFT: &str = env!("CARGO_BIN_EXE_updraft");

/// What a server of these tests has in its configuration. `{ca}` is an authority that the test made.
const CONFIG: &str = r#"
[device]
listen = "127.0.0.1:0"
[operator]
listen = "127.0.0.1:0"
[protocols.lwm2m]
listen = "127.0.0.1:0"
plain_listen = "127.0.0.1:0"
[protocols.mqtt]
listen = "127.0.0.1:0"
plain_listen = "127.0.0.1:0"
"#;

pub(crate) struct Server {
    folder: TempDir,
    child: Child,
    /// The line it printed when it was ready.
    ready: String,
}

impl Server {
    /// Starts one. `imported` is the certificate of an authority of another's whose devices it lets in.
    pub(crate) fn start(imported: Option<&Path>) -> Self {
        let client_ca = imported.map(|path| format!("client_ca = {path:?}\n")).unwrap_or_default();
        Self::with(&format!("{CONFIG}{client_ca}"))
    }

    /// Starts one with more in its configuration.
    pub(crate) fn also_with(more: &str) -> Self {
        Self::with(&format!("{CONFIG}{more}"))
    }

    /// Starts one with more in its section on LwM2M.
    pub(crate) fn with_lwm2m(more: &str) -> Self {
        Self::with(&CONFIG.replace("[protocols.lwm2m]\n", &format!("[protocols.lwm2m]\n{more}")))
    }

    fn with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("updraft.toml"), config).unwrap();
        let (child, ready) = spawn(folder.path());
        let server = Self { folder, child, ready };
        assert!(server.ready.starts_with("ready"), "{:?}\n{}", server.ready, server.log());
        server
    }

    /// Ends it, as politely as told, and starts it again on the ports that it had.
    pub(crate) fn restart(&mut self, signal: Signal) {
        let config = fs::read_to_string(self.path("updraft.toml")).unwrap();
        let mut ports =
            ["devices https://", "operators http://", "coaps://", "coap://", "mqtts://", "mqtt://"]
                .map(|words| self.port(words))
                .into_iter();
        let mut pieces = config.split("127.0.0.1:0\"");
        let mut pinned = pieces.next().unwrap().to_owned();
        for piece in pieces {
            pinned.push_str(&format!("127.0.0.1:{}\"{piece}", ports.next().unwrap()));
        }
        fs::write(self.path("updraft.toml"), pinned).unwrap();
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
        self.child.wait().unwrap();
        (self.child, self.ready) = spawn(self.folder.path());
        assert!(self.ready.starts_with("ready"), "{:?}\n{}", self.ready, self.log());
    }

    /// The port after some words of the line printed at the start.
    pub(crate) fn port(&self, words: &str) -> u16 {
        let rest = self.ready.split_once(words).unwrap_or_else(|| panic!("{words:?} in {:?}", self.ready)).1;
        let address: SocketAddr = rest.split([',', ' ', '\n']).next().unwrap().parse().unwrap();
        address.port()
    }

    /// What it wrote down.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn operator_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port("operators http://"))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(UPDRAFT)
            .args(arguments)
            .args(["--json", "--url", &self.operator_url()])
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs a verb with `--json`; `None` if it fails.
    pub(crate) fn verb_if(&self, arguments: &[&str]) -> Option<Value> {
        let output = self.run(arguments);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// Runs a verb with `--json`, which must succeed.
    pub(crate) fn verb(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {error}\n{}", self.log());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Asks it to stop, waits until it has, and holds that it wrote no error down.
    pub(crate) fn end(mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        let log = self.log();
        assert!(!log.contains(" ERROR ") && !log.contains("panicked"), "{log}");
    }
}

/// Starts the program in its folder; it, and the line that it prints when it is ready.
fn spawn(folder: &Path) -> (Child, String) {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("server.log")).unwrap();
    let mut child = Command::new(UPDRAFT)
        .args(["serve", "--config", "updraft.toml", "--data", "updraft-data"])
        .current_dir(folder)
        .env("UPDRAFT_LOG", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    (child, ready)
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what the server wrote down:\n{}", self.log());
        }
        // After a failed assertion the server must not outlive the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
