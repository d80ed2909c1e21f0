//! `device:update`: what the embedding program hears, by callback in a Rust program and as JSON lines from
//! `updraft-agent watch` in any other.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use updraft_wire::UpdateStatus;

/// The events' file in the state folder.
pub const EVENTS_NAME: &str = "events.jsonl";
/// The file before it.
const EVENTS_OLD_NAME: &str = "events.old.jsonl";
/// Largest events file, in bytes: thousands of updates, and no burden for a small device. Twice that is kept.
pub const EVENTS_BYTES_MAX: u64 = 1024 * 1024;

/// A step of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceUpdate {
    /// Always `device:update`.
    pub event: String,
    /// When.
    pub time: Timestamp,
    /// The boot in which it happened.
    pub boot: u64,
    /// The version that the update is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The verified image, as it is handed over to be installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Which job, how far, and why it ended.
    #[serde(flatten)]
    pub status: UpdateStatus,
}

/// Appends events to the file that `watch` follows. No part of the agent's memory: an event lost in a power cut is
/// lost, and the state it told of is not.
#[derive(Debug)]
pub struct EventLog {
    folder: PathBuf,
}

impl EventLog {
    /// A log in the state folder.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { folder: state.to_owned() }
    }

    /// Appends one event as a line.
    ///
    /// # Errors
    /// Any failure of the file system.
    pub fn append(&self, event: &DeviceUpdate) -> io::Result<()> {
        let path = self.folder.join(EVENTS_NAME);
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() >= EVENTS_BYTES_MAX) {
            fs::rename(&path, self.folder.join(EVENTS_OLD_NAME))?;
        }
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        let mut file: File = OpenOptions::new().append(true).create(true).open(&path)?;
        // One write, so that a reader sees whole lines.
        file.write_all(&line)
    }
}
