//! What a device says, in the domain's words.

use crate::attributes::Attributes;
use crate::id::{ProductName, RolloutId};
use crate::state::FailureReason;

/// Longest explanation kept of a device, in bytes.
pub const DETAIL_BYTES_MAX: usize = 512;

/// What a device says at one time. Protocols that can say only one of the two leave out the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What it is and runs.
    pub description: Option<Description>,
    /// How it stands with an assignment.
    pub progress: Option<Progress>,
}

/// What a device is and runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The product it is.
    pub product: ProductName,
    /// The version it runs, as written.
    pub version: String,
    /// How often it has started; `None` where the protocol cannot tell.
    pub boot: Option<u64>,
    /// Everything it said of itself, `id`, `product` and `version` among it, as policies read it.
    pub attributes: Attributes,
}

/// How a device stands with an assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The assignment's rollout.
    pub rollout: RolloutId,
    /// The assignment's attempt.
    pub attempt: u32,
    /// How far it is.
    pub word: Word,
    /// Percent of the current step, 0 to 100.
    pub percent: Option<u8>,
    /// A sentence for the person who asks why; at most [`DETAIL_BYTES_MAX`] bytes are kept.
    pub detail: String,
}

/// How far a device says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Seen by the server, not said by the device: it began the download from its first byte.
    Fetching,
    /// Fetching the artifact.
    Downloading,
    /// Fetched and verified.
    Downloaded,
    /// Writing or activating.
    Installing,
    /// Installed; about to restart into the new version, or the restart is outstanding.
    Rebooting,
    /// Runs the new version, not yet confirmed.
    Trial,
    /// Says it is done; believed only with the version.
    Succeeded,
    /// Gave up.
    Failed(FailureReason),
    /// Will not take it.
    Rejected,
}

impl Word {
    /// The word as text, for history.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetching => "fetching",
            Self::Downloading => "downloading",
            Self::Downloaded => "downloaded",
            Self::Installing => "installing",
            Self::Rebooting => "rebooting",
            Self::Trial => "trial",
            Self::Succeeded => "succeeded",
            Self::Failed(reason) => reason.as_str(),
            Self::Rejected => "rejected",
        }
    }

    /// Whether the device is done with the assignment.
    #[must_use]
    pub fn is_settled(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed(_) | Self::Rejected => true,
            Self::Fetching
            | Self::Downloading
            | Self::Downloaded
            | Self::Installing
            | Self::Rebooting
            | Self::Trial => false,
        }
    }
}
