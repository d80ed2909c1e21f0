//! A release: a version of a product, and for whom it is.

use crate::attributes::Attributes;
use crate::id::ProductName;
use crate::policy::Policy;
use crate::time::Timestamp;
use crate::version::Version;

/// The distribution policy of a release that names none.
pub const DEFAULT_POLICY: &str = "device.version < update.version";

/// Immutable bytes, named by their digest.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Artifact {
    /// SHA-256, 64 lower-case hex digits.
    pub sha256: String,
    /// MD5, 32 lower-case hex digits; for contracts that ask for it, never for trust.
    pub md5: String,
    /// Size in bytes.
    pub size: u64,
}

/// A SemVer version of a product. Never changed once added.
#[derive(Debug, Clone)]
pub struct Release {
    /// The product.
    pub product: ProductName,
    /// The version; within a product no two releases have the same precedence.
    pub version: Version,
    /// For which devices it is.
    pub policy: Policy,
    /// What to install.
    pub artifact: Artifact,
    /// What policies read as `update.*`: `product`, `version` and the operator's own.
    pub attributes: Attributes,
    /// When it was added.
    pub created: Timestamp,
}
