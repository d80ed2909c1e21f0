//! A device, as it described itself.

use crate::attributes::Attributes;
use crate::id::{DeviceId, ProductName};
use crate::time::Timestamp;
use crate::version::Version;

/// One updatable thing.
///
/// When it was last heard of is not here: that changes with every word, while this changes only when the device
/// says something else than before.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Device {
    /// Its ID.
    pub id: DeviceId,
    /// The product it says it is.
    pub product: ProductName,
    /// The version it says it runs, as written; it need not be SemVer.
    pub version: String,
    /// How often it has started, where its protocol tells; else 0.
    pub boot: u64,
    /// Everything it said of itself, `id`, `product` and `version` among it, as policies read it.
    pub attributes: Attributes,
    /// When it was first heard of.
    pub first_seen: Timestamp,
    /// When its description last changed.
    pub changed: Timestamp,
}

impl Device {
    /// The version it runs, if that is SemVer.
    #[must_use]
    pub fn semver(&self) -> Option<Version> {
        Version::parse(&self.version).ok()
    }

    /// Whether it runs a version, by SemVer precedence.
    #[must_use]
    pub fn runs(&self, version: &Version) -> bool {
        self.semver().is_some_and(|own| own == *version)
    }
}
