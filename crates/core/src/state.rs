//! The states of an execution, and how many stand where.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How far an execution in progress is. Steps only go forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Fetching the artifact.
    Downloading,
    /// Fetched and verified.
    Downloaded,
    /// Writing or activating.
    Installing,
    /// Restarting into the new version, or on trial with it.
    Rebooting,
}

/// Why an execution failed: the update results of LwM2M's Firmware Update object (OMA LwM2M core 1.2, appendix
/// E.6, resource 5), and what only the server or an A/B device can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// Result 2.
    InsufficientStorage,
    /// Result 3.
    OutOfMemory,
    /// Result 4.
    ConnectionLost,
    /// Result 5.
    IntegrityCheckFailed,
    /// Result 6.
    UnsupportedPackage,
    /// Result 7.
    InvalidUri,
    /// Result 8.
    InstallFailed,
    /// Result 9.
    UnsupportedProtocol,
    /// Result 10.
    Cancelled,
    /// Result 11.
    Deferred,
    /// The new version did not prove itself, or the device came back from a restart on the old one.
    RolledBack,
    /// The device keeps coming with its old version and says nothing of the offers it was made.
    VersionUnchanged,
    /// The device began the download again and again.
    DownloadLoop,
}

impl FailureReason {
    /// Whether another attempt may end better with nothing changed.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            Self::InsufficientStorage
            | Self::OutOfMemory
            | Self::ConnectionLost
            | Self::IntegrityCheckFailed
            | Self::InvalidUri
            | Self::Cancelled
            | Self::Deferred => true,
            Self::UnsupportedPackage
            | Self::InstallFailed
            | Self::UnsupportedProtocol
            | Self::RolledBack
            | Self::VersionUnchanged
            | Self::DownloadLoop => false,
        }
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InsufficientStorage => "insufficient_storage",
            Self::OutOfMemory => "out_of_memory",
            Self::ConnectionLost => "connection_lost",
            Self::IntegrityCheckFailed => "integrity_check_failed",
            Self::UnsupportedPackage => "unsupported_package",
            Self::InvalidUri => "invalid_uri",
            Self::InstallFailed => "install_failed",
            Self::UnsupportedProtocol => "unsupported_protocol",
            Self::Cancelled => "cancelled",
            Self::Deferred => "deferred",
            Self::RolledBack => "rolled_back",
            Self::VersionUnchanged => "version_unchanged",
            Self::DownloadLoop => "download_loop",
        }
    }
}

/// Where an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionState {
    /// Offered; no sign yet that the device took it.
    Queued,
    /// Under way.
    InProgress(Step),
    /// The device reported that it runs the target version.
    Succeeded,
    /// Ended badly.
    Failed(FailureReason),
    /// No word before the phase's deadline.
    TimedOut,
    /// The device declined.
    Rejected,
    /// Ended by the rollout's end or an operator.
    Canceled,
    /// The device left the groups that the rollout is for.
    Removed,
}

/// An execution's state without its particulars: what is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateKind {
    /// See [`ExecutionState::Queued`].
    Queued,
    /// See [`Step::Downloading`].
    Downloading,
    /// See [`Step::Downloaded`].
    Downloaded,
    /// See [`Step::Installing`].
    Installing,
    /// See [`Step::Rebooting`].
    Rebooting,
    /// See [`ExecutionState::Succeeded`].
    Succeeded,
    /// See [`ExecutionState::Failed`].
    Failed,
    /// See [`ExecutionState::TimedOut`].
    TimedOut,
    /// See [`ExecutionState::Rejected`].
    Rejected,
    /// See [`ExecutionState::Canceled`].
    Canceled,
    /// See [`ExecutionState::Removed`].
    Removed,
}

impl StateKind {
    /// All of them, in the order of a good life.
    pub const ALL: [Self; 11] = [
        Self::Queued,
        Self::Downloading,
        Self::Downloaded,
        Self::Installing,
        Self::Rebooting,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Rejected,
        Self::Canceled,
        Self::Removed,
    ];

    /// Whether an execution counted here is still open.
    #[must_use]
    pub fn is_open(self) -> bool {
        self <= Self::Rebooting
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Downloading => "downloading",
            Self::Downloaded => "downloaded",
            Self::Installing => "installing",
            Self::Rebooting => "rebooting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Rejected => "rejected",
            Self::Canceled => "canceled",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ExecutionState {
    /// What this state is counted as.
    #[must_use]
    pub fn kind(self) -> StateKind {
        match self {
            Self::Queued => StateKind::Queued,
            Self::InProgress(Step::Downloading) => StateKind::Downloading,
            Self::InProgress(Step::Downloaded) => StateKind::Downloaded,
            Self::InProgress(Step::Installing) => StateKind::Installing,
            Self::InProgress(Step::Rebooting) => StateKind::Rebooting,
            Self::Succeeded => StateKind::Succeeded,
            Self::Failed(_) => StateKind::Failed,
            Self::TimedOut => StateKind::TimedOut,
            Self::Rejected => StateKind::Rejected,
            Self::Canceled => StateKind::Canceled,
            Self::Removed => StateKind::Removed,
        }
    }

    /// Whether it can still change.
    #[must_use]
    pub fn is_open(self) -> bool {
        self.kind().is_open()
    }

    /// Why it failed, if it did.
    #[must_use]
    pub fn reason(self) -> Option<FailureReason> {
        match self {
            Self::Failed(reason) => Some(reason),
            Self::Queued
            | Self::InProgress(_)
            | Self::Succeeded
            | Self::TimedOut
            | Self::Rejected
            | Self::Canceled
            | Self::Removed => None,
        }
    }

    /// The step it is at, while in progress.
    pub(crate) fn step(self) -> Option<Step> {
        match self {
            Self::InProgress(step) => Some(step),
            Self::Queued
            | Self::Succeeded
            | Self::Failed(_)
            | Self::TimedOut
            | Self::Rejected
            | Self::Canceled
            | Self::Removed => None,
        }
    }
}

/// How many executions of a rollout stand where: one per device, its latest attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally([u64; StateKind::ALL.len()]);

impl Tally {
    /// How many stand at `kind`.
    #[must_use]
    pub fn count(&self, kind: StateKind) -> u64 {
        self.0[kind as usize]
    }

    /// Sets how many stand at `kind`.
    pub fn set(&mut self, kind: StateKind, count: u64) {
        self.0[kind as usize] = count;
    }

    /// How many are open.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        StateKind::ALL.iter().filter(|kind| kind.is_open()).map(|kind| self.count(*kind)).sum()
    }

    /// Moves one execution from where it stood, if it stood anywhere, to where it stands.
    pub(crate) fn shift(&mut self, from: Option<StateKind>, to: StateKind) {
        if let Some(from) = from {
            self.0[from as usize] = self.0[from as usize].saturating_sub(1);
        }
        self.0[to as usize] += 1;
    }
}
