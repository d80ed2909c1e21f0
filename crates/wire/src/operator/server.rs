//! The server about itself.

use serde::{Deserialize, Serialize};

/// That the server is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Always `ok`.
    pub status: String,
    /// The server's version.
    pub version: String,
}

/// What the server knows that helps to find a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The server's version.
    pub version: String,
    /// The server's clock.
    pub now: String,
    /// Where devices reach the server, as links say it.
    pub public_url: String,
    /// Devices known.
    pub devices: u64,
    /// Releases known.
    pub releases: u64,
    /// Rollouts known.
    pub rollouts: u64,
    /// Faults the database found in itself; empty: none.
    pub database_faults: Vec<String>,
    /// A link to the artifact of the latest release, good for a minute; absent without a release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}
