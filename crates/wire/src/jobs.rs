//! Jobs over MQTT, as AWS IoT Jobs has them: topics, the JSON bodies on them, and our document inside a job.
//!
//! The contract's own words stand here: a *thing* is a device, a *job execution* is an execution. Times are whole
//! seconds since 1970. Unknown fields are ignored on both sides.

mod body;
mod document;
#[cfg(test)]
mod tests;
mod topic;

pub use body::*;
pub use document::{
    FotaDocument, OPERATION_FOTA, OPERATION_UPDATE, UpdateDocument, detail, failure, heard, said,
};
pub use topic::{NEXT, ROOT, Topic};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest job ID, in bytes.
pub const JOB_ID_BYTES_MAX: usize = 64;
/// Longest value of a status detail, in characters.
pub const DETAIL_CHARS_MAX: usize = 1024;
/// Most status details of one execution.
pub const DETAILS_MAX: usize = 10;
/// Largest job document, in characters.
pub const DOCUMENT_CHARS_MAX: usize = 32_768;

/// How an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Waits for the device.
    Queued,
    /// The device works on it.
    InProgress,
    /// The device says that it is done.
    Succeeded,
    /// The device says that it is not done.
    Failed,
    /// A timer ended it.
    TimedOut,
    /// The device does not take it.
    Rejected,
    /// Its device is no longer a target.
    Removed,
    /// An operator ended it.
    Canceled,
}

impl Status {
    /// Whether it has ended.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Queued | Self::InProgress => false,
            Self::Succeeded
            | Self::Failed
            | Self::TimedOut
            | Self::Rejected
            | Self::Removed
            | Self::Canceled => true,
        }
    }
}

/// Short texts beside a status, by name.
pub type Details = BTreeMap<String, String>;
