//! A device's shadow: what it was last heard to be (`reported`), what it should be (`desired`), and the difference.
//!
//! It follows the AWS IoT Device Shadow service (Developer Guide, "Device Shadow service documents"): partial updates
//! merge, null removes, every update moves the version, and each value carries the time when it was set. A device has one
//! shadow without a name, and any number up to [`NAMED_SHADOWS_MAX`] with one.
//!
//! What is desired here decides nothing: what a device should install is the fleet's business.

mod section;
mod update;

use crate::time::Timestamp;
pub use section::{Metadata, Node, Section, State};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
pub use update::{InvalidUpdate, Part, SectionUpdate, Update};

/// Most bytes of desired and reported state together, as compact JSON; metadata do not count (Developer Guide,
/// "Diagnosing problems with shadows").
pub const SHADOW_BYTES_MAX: usize = 8 * 1024;
/// Deepest nesting: how many objects and arrays may be around a value, the section itself among them. The service's own
/// message says "maximum is 6". It bounds the recursion of every walk over a shadow.
pub const NESTING_MAX: usize = 6;
/// Longest name of a shadow, in bytes.
pub const SHADOW_NAME_BYTES_MAX: usize = 64;
/// Most named shadows of one device, those deleted within [`VERSION_KEPT`] among them. The service names no limit; this
/// one keeps a device that makes up names from filling the disk: 64 shadows of 8 KiB are half a megabyte.
pub const NAMED_SHADOWS_MAX: usize = 64;
/// How long a deleted shadow's version is kept, so that one made anew goes on counting and a device that was away does
/// not take it for old (Developer Guide, "Deleting a shadow").
pub const VERSION_KEPT: Duration = Duration::from_secs(48 * 3600);

const NAME_RULE: &str = "a shadow's name must be 1 to 64 of A-Z a-z 0-9 $ : _ -";

/// Why a text is no shadow's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{NAME_RULE}")]
pub struct InvalidShadowName;

/// Names one of a device's shadows. The classic shadow has no name; it sorts first. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ShadowName(Option<Arc<str>>);

impl ShadowName {
    /// The one shadow without a name.
    pub const CLASSIC: Self = Self(None);

    /// Whether it is the shadow without a name.
    #[must_use]
    pub fn is_classic(&self) -> bool {
        self.0.is_none()
    }

    /// The name; empty for the classic shadow.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl FromStr for ShadowName {
    type Err = InvalidShadowName;

    /// Reads a name. The empty text is none: who means the classic shadow says so.
    fn from_str(text: &str) -> Result<Self, InvalidShadowName> {
        let fits = (1..=SHADOW_NAME_BYTES_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'$' | b':' | b'_' | b'-'));
        if fits { Ok(Self(Some(text.into()))) } else { Err(InvalidShadowName) }
    }
}

impl fmt::Display for ShadowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ShadowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// One shadow of one device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// What the device should be; empty is the same as absent.
    pub desired: Section,
    /// What the device said it is; empty is the same as absent.
    pub reported: Section,
    /// One more with every update; 0 before the first.
    pub version: u64,
}

/// What is kept under a shadow's name.
#[derive(Debug, Clone, PartialEq)]
pub enum ShadowEntry {
    /// A shadow.
    Live(Shadow),
    /// The version of one that was deleted.
    Deleted {
        /// Its last version.
        version: u64,
        /// When it was deleted.
        at: Timestamp,
    },
}

/// What there is under a name, without its content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShadowHead {
    /// The name.
    pub name: ShadowName,
    /// When it was deleted; `None`: it was not.
    pub deleted: Option<Timestamp>,
}

/// What an update made of a shadow.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowChange {
    /// As it was: empty if there was none, with the version that goes on counting.
    pub previous: Shadow,
    /// As it is.
    pub current: Shadow,
}

/// Why a sound update was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShadowRefused {
    /// The update is for another version than the shadow has.
    #[error("the update is for another version than the shadow's, {current}")]
    VersionConflict {
        /// The shadow's version.
        current: u64,
    },
    /// The shadow would be larger than [`SHADOW_BYTES_MAX`].
    #[error("the shadow would have {bytes} bytes; at most {SHADOW_BYTES_MAX} are allowed")]
    TooLarge {
        /// How large it would be.
        bytes: usize,
    },
    /// The device has [`NAMED_SHADOWS_MAX`] named shadows.
    #[error("the device has {NAMED_SHADOWS_MAX} named shadows, the most there may be")]
    TooMany,
}

impl Shadow {
    /// The shadow after an update. All of it is taken, or nothing.
    ///
    /// # Errors
    /// [`ShadowRefused::VersionConflict`], [`ShadowRefused::TooLarge`].
    pub fn apply(&self, now: Timestamp, update: &Update) -> Result<Self, ShadowRefused> {
        if update.version.is_some_and(|version| version != self.version) {
            return Err(ShadowRefused::VersionConflict { current: self.version });
        }
        let mut next = self.clone();
        next.version = self.version.saturating_add(1);
        next.desired.update(&update.desired, now);
        next.reported.update(&update.reported, now);
        let bytes = next.bytes();
        if bytes > SHADOW_BYTES_MAX { Err(ShadowRefused::TooLarge { bytes }) } else { Ok(next) }
    }

    /// What is desired and not reported, every difference of it: nested values under their path, arrays whole, each with the
    /// time when it was desired. What is only reported is not in it.
    #[must_use]
    pub fn delta(&self) -> Section {
        self.desired.beyond(&self.reported)
    }

    /// How much of [`SHADOW_BYTES_MAX`] it has used.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.desired.bytes() + self.reported.bytes()
    }
}

impl ShadowEntry {
    /// What an update makes of what is kept under a name, `None` being nothing.
    ///
    /// # Errors
    /// See [`Shadow::apply`].
    pub fn update(
        entry: Option<&Self>,
        now: Timestamp,
        update: &Update,
    ) -> Result<ShadowChange, ShadowRefused> {
        let previous = match entry {
            Some(Self::Live(shadow)) => shadow.clone(),
            Some(Self::Deleted { version, at }) if !is_forgotten(*at, now) => {
                Shadow { version: *version, ..Shadow::default() }
            }
            Some(Self::Deleted { .. }) | None => Shadow::default(),
        };
        let current = previous.apply(now, update)?;
        Ok(ShadowChange { previous, current })
    }

    /// The shadow, if it is not deleted.
    #[must_use]
    pub fn live(&self) -> Option<&Shadow> {
        match self {
            Self::Live(shadow) => Some(shadow),
            Self::Deleted { .. } => None,
        }
    }

    /// When it was deleted, if it was.
    #[must_use]
    pub fn deleted(&self) -> Option<Timestamp> {
        match self {
            Self::Live(_) => None,
            Self::Deleted { at, .. } => Some(*at),
        }
    }
}

/// Whether the version of a shadow deleted at `deleted` need not be kept.
pub(crate) fn is_forgotten(deleted: Timestamp, now: Timestamp) -> bool {
    now.since(deleted) >= VERSION_KEPT
}
