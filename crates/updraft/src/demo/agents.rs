//! The demonstration's real agents: `updraft-agent run`, each with its own slots on disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::Child;
use super::server::DemoServer;
use super::{FACTORY, Failure, PRODUCT, SECOND};

/// The agent on which the second update does not become healthy.
pub(super) const FAILING: &str = "agent-3";
const HEALTHY: [&str; 2] = ["agent-1", "agent-2"];

/// A real agent.
pub(super) struct Agent {
    pub(super) id: &'static str,
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
    HEALTHY.into_iter().chain([FAILING]).map(|id| Agent::start(id, folder, program, server, token)).collect()
}

impl Agent {
    fn start(
        id: &'static str,
        folder: &Path,
        program: &Path,
        server: &DemoServer,
        token: &str,
    ) -> Result<Self, Failure> {
        let folder = folder.join(id);
        let slots = folder.join("slots");
        std::fs::create_dir_all(&folder)?;
        let health = health_check(id, &folder)?;
        let mut command = Command::new(program);
        command
            .args(["run", "--id", id, "--product", PRODUCT, "--version", FACTORY])
            .args(["--server", &server.device_url, "--interval", "2s"])
            .args(["--health-every", "200ms", "--trial-time", "6s"])
            .arg("--health-cmd")
            .arg(&health)
            .arg("--ca")
            .arg(&server.ca)
            .arg("--state")
            .arg(folder.join("state"))
            .arg("--slots")
            .arg(&slots)
            .env("UPDRAFT_TOKEN", token);
        let process = Child::start("an agent", command, &folder.join("agent.log"))?;
        Ok(Self { id, process, slots, slot: None })
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
            (None, Some(slot)) => format!("{}: boots slot {slot}", self.id),
            (Some(before), Some(slot)) => format!("{}: boots slot {slot} (was {before})", self.id),
            (_, None) => format!("{}: has no slot", self.id),
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

/// What each version must pass on its trial: its program runs. On the failing agent the second version does not.
fn health_check(id: &str, folder: &Path) -> Result<PathBuf, Failure> {
    use std::os::unix::fs::PermissionsExt;
    let mut script = String::from("#!/bin/sh\nset -e\n\"$UPDRAFT_IMAGE\" --version\n");
    if id == FAILING {
        script.push_str(&format!("test \"$UPDRAFT_VERSION\" != {SECOND}\n"));
    }
    let path = folder.join("health.sh");
    std::fs::write(&path, script)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
