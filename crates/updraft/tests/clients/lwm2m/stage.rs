//! A server, devices that run as programs, and the releases they are given.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::program::Kind;
use crate::server::Server;

/// Longest wait for anything: what is waited for comes within seconds on an idle machine.
const TIME_MAX: Duration = Duration::from_secs(100);
/// How often it is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Waits until something is there.
pub(super) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < TIME_MAX, "no {what} within {TIME_MAX:?}");
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// An image as the simulated devices read it: a line with its version and the digest of the rest, and the rest.
fn image(version: &str, bytes: usize) -> Vec<u8> {
    let body: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8 ^ (at / 1024) as u8).collect();
    let mut image = format!("{version} {}\n", hex(&Sha256::digest(&body))).into_bytes();
    image.extend(body);
    image
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Server {
    /// Where devices find it without security, as the URI of object 0.
    pub(super) fn coap(&self) -> String {
        format!("coap://127.0.0.1:{}", self.port("coap://"))
    }

    /// Where devices find it with DTLS.
    pub(super) fn coaps(&self) -> String {
        format!("coaps://127.0.0.1:{}", self.port("coaps://"))
    }

    /// Gives a device a key; its identity, and the key in hexadecimal digits.
    pub(super) fn give_key(&self, device: &str) -> (String, String) {
        let token = self.verb(&["token", "create", "--device", device, "--psk"]);
        let text =
            |name: &str| token[name].as_str().unwrap_or_else(|| panic!("{name} in {token}")).to_owned();
        (text("identity"), text("key"))
    }

    /// Adds a release with an image of so many bytes, and starts its rollout; the rollout's ID.
    pub(super) fn roll_out(&self, product: &str, version: &str, bytes: usize) -> String {
        self.roll_out_image(product, version, &image(version, bytes))
    }

    /// The same with an image that no simulated device can read.
    pub(super) fn roll_out_unreadable(&self, product: &str, version: &str) -> String {
        self.roll_out_image(product, version, b"unreadable\n")
    }

    pub(super) fn roll_out_image(&self, product: &str, version: &str, image: &[u8]) -> String {
        fs::write(self.path("image.bin"), image).unwrap();
        self.verb(&["release", "add", "--product", product, "--version", version, "--file", "image.bin"]);
        let started = self.verb(&["rollout", "start", "--product", product, "--version", version]);
        started["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the rollout's one execution is in this state.
    pub(super) fn await_count(&self, rollout: &str, state: &str) {
        until(&format!("execution that {state}"), || {
            let counts = &self.verb(&["rollout", "status", rollout])["counts"];
            (counts[state] == 1).then_some(())
        });
    }

    /// Waits until a device is registered; how it stands.
    pub(super) fn await_standing(&self, device: &str) -> Value {
        until(&format!("registration of {device}"), || self.verb_if(&["lwm2m", "show", device]))
    }

    /// Waits until a device is registered no more.
    pub(super) fn await_absence(&self, device: &str) {
        until(&format!("end of {device}'s registration"), || {
            self.verb_if(&["lwm2m", "show", device]).is_none().then_some(())
        });
    }

    /// What the server says of the device.
    pub(super) fn device(&self, device: &str) -> Value {
        self.verb(&["device", "show", device])
    }

    /// Reads a path on a device; what came of it.
    pub(super) fn read(&self, device: &str, path: &str) -> Value {
        let placed = self.verb(&["lwm2m", "read", device, path, "--wait", "60"]);
        placed["outcome"].clone()
    }
}

/// A device that runs as a program of its own; it is killed when this is dropped.
pub(super) struct Device {
    group: Pid,
    child: Child,
    output: PathBuf,
}

impl Device {
    /// Starts a program of a kind with words of the form `name=value`.
    pub(super) fn start(server: &Server, kind: Kind, program: &str, words: &[String]) -> Self {
        let output = server.path(&format!("{program}-{}.out", words[0]));
        let mut command: Command = kind.command(program, server.folder());
        let file = fs::File::create(&output).unwrap();
        command.args(words).stdout(file.try_clone().unwrap()).stderr(file).stdin(Stdio::null());
        let child = command.spawn().unwrap();
        Self { group: Pid::from_child(&child), child, output }
    }

    /// What it has printed.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    /// Waits until it has printed something so often.
    pub(super) fn await_words(&self, words: &str, times: usize) {
        until(words, || (self.said().matches(words).count() >= times).then_some(()));
    }

    /// Asks it to end, which it does by saying goodbye to the server.
    pub(super) fn leave(mut self) {
        let _ = kill_process_group(self.group, Signal::TERM);
        until("end of the device", || self.child.try_wait().unwrap());
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what the device said:\n{}", self.said());
        }
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}
