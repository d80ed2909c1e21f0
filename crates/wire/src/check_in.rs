//! The native check-in, `POST /v1/check-in`: what a device says, and what it is answered.
//!
//! Unknown fields are ignored on both sides, so that an older device understands a newer server and the other
//! way round.

use crate::{JobId, Manifest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Largest check-in body the server reads, in bytes.
pub const CHECK_IN_BYTES_MAX: usize = 64 * 1024;
/// Largest check-in answer a device reads, in bytes: a manifest and its links.
pub const ANSWER_BYTES_MAX: usize = 128 * 1024;
/// Longest `detail` kept of a device's explanation, in bytes.
pub const DETAIL_BYTES_MAX: usize = 512;

/// What a device says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckIn {
    /// The device's ID.
    pub id: String,
    /// The product it is.
    pub product: String,
    /// The version that runs as these words are spoken.
    pub version: String,
    /// How often the device has started. Lets the server tell words from before a restart from words after it.
    pub boot: u64,
    /// Whatever else describes the device; policies read it as `device.*`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub attributes: Map<String, Value>,
    /// How the device stands with the last assignment it took, until the server has heard the end of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateStatus>,
    /// The manifest of the release that runs, where the device knows it (a factory image may have none).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
}

/// How a device stands with an assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// Which assignment.
    pub job: JobId,
    /// How far it is.
    pub state: UpdateState,
    /// Percent of the current state's work, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// Why it ended, where it ended badly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// A sentence for the person who asks why; cut after [`DETAIL_BYTES_MAX`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How far a device is with an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    /// Fetching the artifact.
    Downloading,
    /// Fetched and verified.
    Downloaded,
    /// Being written to, or made bootable in, the inactive slot.
    Installing,
    /// About to restart into the new slot.
    Rebooting,
    /// Runs the new version, not yet confirmed. No success: a trial may still fall back.
    Trial,
    /// Runs the new version, confirmed.
    Succeeded,
    /// Gave up; the old version runs on.
    Failed,
    /// The new version ran and was not confirmed; the old one runs again.
    RolledBack,
    /// Will not take this assignment.
    Rejected,
}

impl UpdateState {
    /// Whether the device is done with the assignment, well or badly.
    #[must_use]
    pub fn is_settled(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::RolledBack | Self::Rejected => true,
            Self::Downloading | Self::Downloaded | Self::Installing | Self::Rebooting | Self::Trial => false,
        }
    }
}

/// Why an update ended badly: the update results of LwM2M's Firmware Update object (OMA LwM2M core 1.2,
/// appendix E.6, resource 5), and what only an A/B device can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Not enough storage for the artifact (result 2).
    InsufficientStorage,
    /// Out of memory while downloading (result 3).
    OutOfMemory,
    /// The connection was lost while downloading, and attempts ran out (result 4).
    ConnectionLost,
    /// Length or digest differ from what was announced (result 5).
    IntegrityCheckFailed,
    /// The device cannot install this kind of package (result 6).
    UnsupportedPackage,
    /// The link is no usable URL (result 7).
    InvalidUri,
    /// Writing or activating failed (result 8).
    InstallFailed,
    /// The link's scheme is not supported (result 9).
    UnsupportedProtocol,
    /// Cancelled before installation (result 10).
    Cancelled,
    /// Put off by the device or its user (result 11).
    Deferred,
    /// The new version did not become healthy and the old one was booted again.
    RolledBack,
    /// Older than the version the device has confirmed, and the assignment does not allow that.
    Downgrade,
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckInAnswer {
    /// When to come next, in seconds from now.
    pub next_check_in_s: u64,
    /// What to do now. Absent: nothing, and a download or a staged update of an earlier assignment that is
    /// not yet activated is to be dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Assignment>,
    /// The job whose end (`succeeded`, `failed`, `rolled_back`, `rejected`) this answer takes note of: the device
    /// need not repeat it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noted: Option<JobId>,
}

/// What a device should do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// Names this attempt; the device remembers the last one it settled and refuses to start it again.
    pub job: JobId,
    /// What to install.
    pub manifest: Manifest,
    /// Where the manifest's artifacts are, in its order: absolute URLs made for this device alone, that expire.
    pub links: Vec<String>,
    /// Whether a version below the confirmed one may be installed.
    #[serde(default)]
    pub allow_downgrade: bool,
}
