//! The demonstration's real agents: `updraft-agent run`, each with its own slots on disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::carrier::Carrier;
use super::process::Child;
use super::server::DemoServer;
use super::{FACTORY, FIRST, Failure, PRODUCT, SECOND};

/// One of the cast: what an agent is called, how it reaches the server, and whether the second update becomes healthy on it.
struct Part {
    id: &'static str,
    carrier: Carrier,
    is_failing: bool,
}

/// For each way to the server an agent that takes both updates, and one that falls back from the second.
const CAST: [Part; 10] = [
    Part { id: "http-1", carrier: Carrier::Http, is_failing: false },
    Part { id: "http-2", carrier: Carrier::Http, is_failing: true },
    Part { id: "replica-1", carrier: Carrier::Replica, is_failing: false },
    Part { id: "replica-2", carrier: Carrier::Replica, is_failing: true },
    Part { id: "jobs-1", carrier: Carrier::Jobs, is_failing: false },
    Part { id: "jobs-2", carrier: Carrier::Jobs, is_failing: true },
    Part { id: "pulled-1", carrier: Carrier::Pulled, is_failing: false },
    Part { id: "pulled-2", carrier: Carrier::Pulled, is_failing: true },
    Part { id: "pushed-1", carrier: Carrier::Pushed, is_failing: false },
    Part { id: "pushed-2", carrier: Carrier::Pushed, is_failing: true },
];

/// A real agent.
pub(super) struct Agent {
    pub(super) id: &'static str,
    pub(super) carrier: Carrier,
    /// Whether the second update does not become healthy on it.
    pub(super) is_failing: bool,
    pub(super) process: Child,
    slots: PathBuf,
    /// The slot it ran from when it was last looked at.
    slot: Option<String>,
}

/// Starts all agents.
pub(super) fn start_all(
    folder: &Path,
    program: &Path,
    server: &DemoServer,
    token: &str,
) -> Result<Vec<Agent>, Failure> {
    CAST.iter().map(|part| Agent::start(part, folder, program, server, token)).collect()
}

impl Agent {
    fn start(
        part: &Part,
        folder: &Path,
        program: &Path,
        server: &DemoServer,
        token: &str,
    ) -> Result<Self, Failure> {
        let Part { id, carrier, is_failing } = *part;
        let folder = folder.join(id);
        let slots = folder.join("slots");
        std::fs::create_dir_all(&folder)?;
        let health = health_check(is_failing, &folder)?;
        let mut command = Command::new(program);
        command
            .args(["run", "--id", id, "--product", PRODUCT, "--version", FACTORY])
            .args(["--server", carrier.url(server)])
            .args(carrier.options())
            .args(["--health-every", "200ms", "--trial-time", "6s"])
            .arg("--health-cmd")
            .arg(&health)
            // For the connection and, over MQTT too, for the links to images, which are https.
            .arg("--ca")
            .arg(&server.ca)
            .arg("--state")
            .arg(folder.join("state"))
            .arg("--slots")
            .arg(&slots);
        if carrier.has_key() {
            let (identity, key) = server.device_key(id)?;
            let file = folder.join("psk.hex");
            std::fs::write(&file, key)?;
            command.args(["--psk-identity", &identity]).arg("--psk-key-file").arg(file);
        } else {
            command.env("UPDRAFT_TOKEN", token);
        }
        let process = Child::start("an agent", command, &folder.join("agent.log"))?;
        Ok(Self { id, carrier, is_failing, process, slots, slot: None })
    }

    /// The version on which it should end.
    pub(super) fn version_expected(&self) -> &'static str {
        if self.is_failing { FIRST } else { SECOND }
    }

    /// The slot that `current` names; `None` before the first update.
    pub(super) fn current(&self) -> Option<String> {
        let target = std::fs::read_link(self.slots.join("current")).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// A line when the agent has moved to another slot.
    pub(super) fn news(&mut self) -> Option<String> {
        let slot = self.current();
        if slot == self.slot {
            return None;
        }
        let line = match (&self.slot, &slot) {
            (None, Some(slot)) => format!("  {:9}  boots slot {slot}", self.id),
            (Some(before), Some(slot)) => format!("  {:9}  boots slot {slot} (was {before})", self.id),
            (_, None) => format!("  {:9}  has no slot", self.id),
        };
        self.slot = slot;
        Some(line)
    }

    /// The version that the image in the current slot says it is, read from its last line.
    pub(super) fn version_on_disk(&self) -> Result<String, Failure> {
        let slot = self.slots.join("current");
        for entry in std::fs::read_dir(&slot)? {
            let image = std::fs::read(entry?.path())?;
            let tail = &image[image.len().saturating_sub(64)..];
            let marker = format!("\n{PRODUCT} ");
            if let Some((_, version)) = String::from_utf8_lossy(tail).rsplit_once(&marker) {
                return Ok(version.trim().to_owned());
            }
        }
        Err(format!("{}: no image in {}", self.id, slot.display()).into())
    }
}

/// What each version must pass on its trial: its program runs. On a failing agent the second version does not.
fn health_check(is_failing: bool, folder: &Path) -> Result<PathBuf, Failure> {
    use std::os::unix::fs::PermissionsExt;
    let mut script = String::from("#!/bin/sh\nset -e\n\"$UPDRAFT_IMAGE\" --version\n");
    if is_failing {
        script.push_str(&format!("test \"$UPDRAFT_VERSION\" != {SECOND}\n"));
    }
    let path = folder.join("health.sh");
    std::fs::write(&path, script)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
