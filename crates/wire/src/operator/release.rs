//! Releases.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A release, as it was added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// The product.
    pub product: String,
    /// The version, SemVer 2.0.
    pub version: String,
    /// SHA-256 of the artifact, 64 lower-case hex digits.
    pub sha256: String,
    /// MD5 of the artifact, 32 lower-case hex digits; for contracts that ask for it, never for trust.
    pub md5: String,
    /// Size of the artifact, in bytes.
    pub size: u64,
    /// The distribution policy, as written.
    pub policy: String,
    /// What policies read as `update.*`: product, version and the operator's own.
    pub attributes: Map<String, Value>,
    /// When it was added.
    pub created: String,
}
