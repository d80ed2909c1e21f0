//! A device on disk and the real agent on it.

use crate::stub::{PATIENCE, PRODUCT, Stub};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use updraft_agent::boot::BootControl;
use updraft_agent::file_slots::FileSlots;
use updraft_agent::slots::{SlotName, SlotRecord, Slots};
use updraft_agent::storage::FileStorage;

/// The version a device leaves the factory with.
pub(crate) const FACTORY: &str = "1.0.0";
/// The token every device has.
pub(crate) const TOKEN: &str = "token-of-the-device";

/// A device.
pub(crate) struct Device {
    pub(crate) folder: TempDir,
}

/// An agent that runs; killed when dropped.
pub(crate) struct Running {
    child: Child,
}

/// What an agent logs, line by line.
#[cfg(feature = "lwm2m")]
pub(crate) struct Log(std::sync::mpsc::Receiver<String>);

#[cfg(feature = "lwm2m")]
impl Log {
    /// Waits for a line with these words; the line, up to where it says when it is tried again.
    pub(crate) fn until(&self, words: &str) -> String {
        loop {
            let line = self.0.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("waited in vain for a word of {words:?}"));
            if line.contains(words) {
                return line.split("; again in").next().unwrap().to_owned();
            }
        }
    }
}

impl Device {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The agent's command line, with a health check that always passes unless `more` says otherwise.
    pub(crate) fn arguments(&self, stub: &Stub, more: &[&str]) -> Vec<String> {
        self.arguments_at(&stub.url(), more)
    }

    fn arguments_at(&self, server: &str, more: &[&str]) -> Vec<String> {
        let text = |path: PathBuf| path.display().to_string();
        let mut arguments: Vec<String> =
            ["run", "--server", server, "--id", "device-1"].map(Into::into).into();
        arguments.extend(["--product", PRODUCT, "--token", TOKEN, "--version", FACTORY].map(String::from));
        arguments.extend(["--state".into(), text(self.path("state"))]);
        if !more.contains(&"--script") {
            arguments.extend(["--slots".into(), text(self.path("slots"))]);
        }
        arguments.extend(["--checkpoint-kib", "64"].map(String::from));
        if !more.contains(&"--interval") {
            arguments.extend(["--interval", "1s"].map(String::from));
        }
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        arguments
    }

    pub(crate) fn command(&self, stub: &Stub, more: &[&str]) -> Command {
        self.command_at(&stub.url(), more)
    }

    /// The agent, for a server at this address.
    pub(crate) fn command_at(&self, server: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_updraft-agent"));
        command
            .args(self.arguments_at(server, more))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.env_remove("UPDRAFT_TOKEN");
        command
    }

    pub(crate) fn run(&self, stub: &Stub, more: &[&str]) -> Running {
        Running { child: self.command(stub, more).spawn().unwrap() }
    }

    /// Runs the agent for a server at this address.
    #[cfg(any(feature = "mqtt", feature = "lwm2m"))]
    pub(crate) fn run_at(&self, server: &str, more: &[&str]) -> Running {
        Running { child: self.command_at(server, more).spawn().unwrap() }
    }

    /// Runs the agent until nothing is left to do; says what it logged.
    pub(crate) fn run_once(&self, stub: &Stub, more: &[&str]) -> (bool, String) {
        let more: Vec<&str> = more.iter().copied().chain(["--once"]).collect();
        let output = self.command(stub, &more).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Runs a verb of the agent's; says whether it went well, and what it said.
    pub(crate) fn verb(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_updraft-agent"));
        command.arg(arguments[0]).arg("--state").arg(self.path("state")).args(&arguments[1..]);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    fn slots(&self) -> FileSlots {
        FileSlots::open(&mut FileStorage::new(), &self.path("slots"), FACTORY, false).unwrap()
    }

    pub(crate) fn slot(&self, slot: SlotName) -> Option<SlotRecord> {
        self.slots().record(slot).cloned()
    }

    /// The version that the records say starts.
    pub(crate) fn active_version(&self) -> String {
        let slots = self.slots();
        let record = slots.active().and_then(|slot| slots.record(slot));
        record.map_or_else(|| FACTORY.to_owned(), |record| record.version.clone())
    }

    /// What `current` leads to: the image's bytes, or none where the system of the factory runs.
    pub(crate) fn current_image(&self) -> Option<Vec<u8>> {
        let link = std::fs::read_link(self.path("slots").join("current")).ok()?;
        Some(std::fs::read(self.path("slots").join(link).join("image")).unwrap())
    }

    /// Holds the disk to its promise: the active slot's bytes are those of its manifest, and `current` leads there.
    pub(crate) fn assert_startable(&self) {
        let slots = self.slots();
        let Some(active) = slots.active() else {
            assert_eq!(self.current_image(), None);
            return;
        };
        let link = std::fs::read_link(self.path("slots").join("current")).unwrap();
        assert_eq!(link, Path::new(active.as_str()));
        let manifest = slots.record(active).unwrap().manifest.clone().unwrap();
        let found = hex::encode(Sha256::digest(self.current_image().unwrap()));
        assert_eq!(found, manifest.artifacts[0].sha256);
    }

    /// Holds the disk to its promise right after a kill: what `current` leads to has the bytes of its manifest, and
    /// was started before or is ready to be.
    pub(crate) fn assert_startable_or_repairable(&self, context: &str) {
        let Ok(link) = std::fs::read_link(self.path("slots").join("current")) else { return };
        let slot = SlotName::ALL.into_iter().find(|slot| link == Path::new(slot.as_str())).unwrap();
        let manifest = self.slot(slot).and_then(|record| record.manifest).unwrap();
        let found = hex::encode(Sha256::digest(self.current_image().unwrap()));
        assert_eq!(found, manifest.artifacts[0].sha256, "{context}");
    }

    /// A program on the device.
    pub(crate) fn program(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }
}

impl Running {
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What it logs from now on.
    #[cfg(feature = "lwm2m")]
    pub(crate) fn log(&mut self) -> Log {
        use std::io::BufRead;
        let lines = std::io::BufReader::new(self.child.stderr.take().unwrap()).lines();
        let (sender, received) = std::sync::mpsc::channel();
        // It ends with the agent, or when nobody listens any more.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Log(received)
    }

    /// Ends the agent as a service manager does; says how it ended and what it logged.
    pub(crate) fn terminate(mut self) -> (ExitStatus, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.wait()
    }

    /// Waits for the agent's end.
    pub(crate) fn wait(&mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap(), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so that only the disk tells.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < give_up, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
