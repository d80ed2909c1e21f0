//! A SemVer 2.0 version: what orders the releases of a product.
//!
//! The text is kept as written and compared by precedence (SemVer 2.0 §11), never as text. There are no ranges
//! and no "close enough" forms (`v1.2.3`, `1.2`): a version that two programs read differently sends the wrong
//! image to a device.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU64;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest version accepted, in bytes. Real versions stay under 40; the bound keeps every copy in a row, a
/// header or a log line small.
pub const VERSION_BYTES_MAX: usize = 128;

/// A SemVer 2.0 version, cheap to clone.
///
/// `Eq`, `Ord` and `Hash` follow precedence, so build metadata does not count (SemVer 2.0 §10):
/// `1.0.0+a == 1.0.0+b`. Compare [`Version::as_str`] where the exact text matters.
#[derive(Clone)]
pub struct Version {
    text: Arc<str>,
}

/// Why a text is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// The text is empty.
    #[error("the version is empty; write it as MAJOR.MINOR.PATCH, for example 1.0.0")]
    Empty,
    /// The text is longer than [`VERSION_BYTES_MAX`].
    #[error("the version has {bytes} bytes; at most {VERSION_BYTES_MAX} are allowed")]
    TooLong {
        /// Length of the text, in bytes.
        bytes: usize,
    },
    /// The text starts with the letter `v`, a habit of tag names.
    #[error("{text:?} is not a SemVer version; leave out the leading `v`")]
    LeadingV {
        /// The text as given.
        text: String,
    },
    /// The text does not follow the grammar of SemVer 2.0.
    #[error(
        "{text:?} is not a SemVer 2.0 version; write it as MAJOR.MINOR.PATCH, for example 1.2.3 or 1.2.3-rc.1"
    )]
    Grammar {
        /// The text as given.
        text: String,
        /// What the grammar objected to.
        #[source]
        source: GrammarError,
    },
}

/// What the SemVer grammar objected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GrammarError(String);

impl Version {
    /// Reads a version.
    ///
    /// # Errors
    /// When the text is empty, too long, or not in the grammar of SemVer 2.0. A number beyond 64 bits counts as
    /// outside the grammar.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        if text.is_empty() {
            return Err(VersionError::Empty);
        }
        if text.len() > VERSION_BYTES_MAX {
            return Err(VersionError::TooLong { bytes: text.len() });
        }
        match semver::Version::parse(text) {
            Ok(_) => Ok(Self { text: text.into() }),
            Err(_) if text.strip_prefix(['v', 'V']).is_some_and(|rest| rank(rest).is_some()) => {
                Err(VersionError::LeadingV { text: text.to_owned() })
            }
            Err(error) => {
                let source = GrammarError(error.to_string());
                Err(VersionError::Grammar { text: text.to_owned(), source })
            }
        }
    }

    /// The version as it was written, build metadata included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is a pre-release, such as `2.0.0-rc.1` (SemVer 2.0 §9).
    #[must_use]
    pub fn is_prerelease(&self) -> bool {
        without_build(self.text.as_bytes()).contains(&b'-')
    }
}

/// A version as one number, as far as one can hold it: what orders nearly all pairs in one comparison.
///
/// From the top: one bit set, 15 of the major number, 16 of the minor, 31 of the patch, and one bit for "not a
/// pre-release". A version with larger numbers has [`Rank::UNKNOWN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rank(NonZeroU64);

impl Rank {
    /// Of a version whose numbers are too large: dates in place of a major number, for example.
    const UNKNOWN: Self = Self(NonZeroU64::MIN);

    /// The rank of a version, from its numbers.
    fn of(version: &semver::Version) -> Self {
        let semver::Version { major, minor, patch, .. } = *version;
        if major >= 1 << 15 || minor >= 1 << 16 || patch >= 1 << 31 {
            return Self::UNKNOWN;
        }
        let is_release = u64::from(version.pre.is_empty());
        let number = 1 << 63 | major << 48 | minor << 32 | patch << 1 | is_release;
        NonZeroU64::new(number).map_or(Self::UNKNOWN, Self)
    }

    /// The order of two versions by their ranks; none where only the texts can tell: one has no rank, or both are
    /// pre-releases of the same release.
    #[inline]
    pub(crate) fn order(self, other: Self) -> Option<Ordering> {
        if self == Self::UNKNOWN || other == Self::UNKNOWN {
            return None;
        }
        let is_prerelease = self.0.get() & 1 == 0;
        if self == other && is_prerelease { None } else { Some(self.0.cmp(&other.0)) }
    }
}

/// The rank of a text that is a version, none of any other text; quick for texts that are not.
pub(crate) fn rank(text: &str) -> Option<Rank> {
    if !text.as_bytes().first().is_some_and(u8::is_ascii_digit) || text.len() > VERSION_BYTES_MAX {
        return None;
    }
    semver::Version::parse(text).ok().map(|version| Rank::of(&version))
}

/// Compares two texts that are known to be versions by precedence (SemVer 2.0 §11).
///
/// It reads the digits where they stand: a device's version needs no memory beyond its text, and the comparison
/// costs no more than the few bytes it looks at.
pub(crate) fn precedence(left: &[u8], right: &[u8]) -> Ordering {
    let (mut left, mut right) = (left, right);
    // §11.2: major, minor and patch, numerically.
    for _ in 0..3 {
        let ((left_number, left_rest), (right_number, right_rest)) = (number(left), number(right));
        match left_number.cmp(&right_number) {
            Ordering::Equal => (left, right) = (left_rest, right_rest),
            unequal @ (Ordering::Less | Ordering::Greater) => return unequal,
        }
    }
    prerelease_precedence(left, right)
}

/// The leading number, and the rest after the dot that may follow it.
fn number(text: &[u8]) -> (u64, &[u8]) {
    let mut value = 0_u64;
    for (index, byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')),
            b'.' => return (value, &text[index + 1..]),
            _ => return (value, &text[index..]),
        }
    }
    (value, &[])
}

/// Compares what follows the patch number: nothing, `-pre`, `+build` or `-pre+build`.
fn prerelease_precedence(left: &[u8], right: &[u8]) -> Ordering {
    match (left.first() == Some(&b'-'), right.first() == Some(&b'-')) {
        (false, false) => Ordering::Equal,
        // §11.3: a pre-release comes before its release.
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        // §11.4: field by field; all equal so far, the longer list is greater.
        (true, true) => {
            let fields = |text| without_build(text)[1..].split(|byte| *byte == b'.');
            let (mut left, mut right) = (fields(left), fields(right));
            loop {
                match (left.next(), right.next()) {
                    (None, None) => return Ordering::Equal,
                    (None, Some(_)) => return Ordering::Less,
                    (Some(_), None) => return Ordering::Greater,
                    (Some(left), Some(right)) => match identifier_precedence(left, right) {
                        Ordering::Equal => {}
                        unequal @ (Ordering::Less | Ordering::Greater) => return unequal,
                    },
                }
            }
        }
    }
}

/// Compares two pre-release identifiers (SemVer 2.0 §11.4.1 to §11.4.3).
fn identifier_precedence(left: &[u8], right: &[u8]) -> Ordering {
    let is_number = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    match (is_number(left), is_number(right)) {
        // Without leading zeros the longer number is the greater one, whatever its size.
        (true, true) => left.len().cmp(&right.len()).then_with(|| left.cmp(right)),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => left.cmp(right),
    }
}

/// The version without its build metadata.
fn without_build(text: &[u8]) -> &[u8] {
    text.iter().position(|byte| *byte == b'+').map_or(text, |plus| &text[..plus])
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        // The grammar allows no leading zeros, so equal precedence is equal text up to the build metadata.
        without_build(self.text.as_bytes()) == without_build(other.text.as_bytes())
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        without_build(self.text.as_bytes()).hash(state);
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        precedence(self.text.as_bytes(), other.text.as_bytes())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Version({})", self.text)
    }
}

impl std::str::FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl serde::de::Visitor<'_> for TextVisitor {
            type Value = Version;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a SemVer 2.0 version as text, for example \"1.2.3\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Version, E> {
                Version::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}
