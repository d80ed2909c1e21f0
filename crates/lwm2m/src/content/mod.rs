//! Content: how a tree of values is written in a body, in each of the formats that LwM2M knows (Core §7.4).
//!
//! A body is read by the format its sender names, whatever was asked for: devices answer TLV to every Accept. Types come
//! from [`crate::model`] where a format has none. All limits stand before any allocation they limit.
//!
//! Deliberately absent: links (Register, Discover), which are [`crate::link`]'s, and firmware images, which are streams.

mod cbor;
mod lwm2m_cbor;
mod oma_json;
mod senml;
mod senml_cbor;
mod senml_json;
mod text;
mod tlv;
mod typed;

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use crate::path::{Path, PathError};
use crate::value::Entry;

pub use senml::Sample;

/// The most bytes a body may have: what block-wise reassembly keeps of a stranger's body. The largest object instances of
/// the registry take some kilobytes.
pub const BODY_BYTES_MAX: usize = 65_536;

/// The most leaves a body may have. A leaf takes at least two bytes on the wire and 40 in memory: without a limit a body
/// would grow to 1.3 MB.
pub const ENTRIES_MAX: usize = 4_096;

/// A content format (RFC 7252 §12.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentFormat(pub u16);

impl ContentFormat {
    /// Plain text: one resource (Core §7.4.1).
    pub const TEXT: Self = Self(0);
    /// CoRE links (RFC 6690).
    pub const LINK: Self = Self(40);
    /// Bytes: one opaque resource (Core §7.4.2).
    pub const OPAQUE: Self = Self(42);
    /// CBOR: one resource (Core §7.4.3).
    pub const CBOR: Self = Self(60);
    /// SenML in JSON (RFC 8428, Core §7.4.5).
    pub const SENML_JSON: Self = Self(110);
    /// SenML in CBOR (RFC 8428, Core §7.4.6).
    pub const SENML_CBOR: Self = Self(112);
    /// OMA's TLV (Core §7.4.4).
    pub const TLV: Self = Self(11_542);
    /// OMA's JSON of LwM2M 1.0 (1.0 §6.4.4); is read, never written.
    pub const OMA_JSON: Self = Self(11_543);
    /// LwM2M CBOR of 1.2.
    pub const LWM2M_CBOR: Self = Self(11_544);

    /// The format this number means: drafts of 1.0 had numbers of their own, which devices still send.
    #[must_use]
    pub fn current(self) -> Self {
        match self.0 {
            1_541 => Self::TEXT,
            1_542 => Self::TLV,
            1_543 => Self::OMA_JSON,
            1_544 => Self::OPAQUE,
            _ => self,
        }
    }
}

impl fmt::Display for ContentFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::TEXT => "text",
            Self::LINK => "links",
            Self::OPAQUE => "opaque",
            Self::CBOR => "CBOR",
            Self::SENML_JSON => "SenML JSON",
            Self::SENML_CBOR => "SenML CBOR",
            Self::TLV => "TLV",
            Self::OMA_JSON => "OMA JSON",
            Self::LWM2M_CBOR => "LwM2M CBOR",
            Self(number) => return write!(f, "format {number}"),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for ContentFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a body cannot be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FormatError {
    /// The format is none that values come in.
    #[error("values do not come in the format {0}")]
    Unsupported(ContentFormat),
    /// The body has more than [`BODY_BYTES_MAX`] bytes.
    #[error("the body is larger than {BODY_BYTES_MAX} bytes")]
    TooBig,
    /// There are more than [`ENTRIES_MAX`] leaves.
    #[error("the body has more than {ENTRIES_MAX} values")]
    TooMany,
    /// The bytes are not the format's.
    #[error("the body is malformed: {0}")]
    Malformed(&'static str),
    /// A name is not a path.
    #[error("the body names what is no path")]
    Name(#[from] PathError),
    /// A path is not within what the body is about, or is no leaf.
    #[error("{0} is out of place in the body")]
    Outside(Path),
    /// A leaf is there twice, or is in another leaf.
    #[error("{0} is twice in the body")]
    Twice(Path),
    /// A value has not the type of its resource.
    #[error("the value of {0} has a wrong type")]
    Type(Path),
    /// A number is beyond what its type holds, or not finite.
    #[error("the value of {0} is out of range")]
    Range(Path),
    /// The format carries exactly one resource, and this is not one.
    #[error("this format carries one resource")]
    Single,
}

impl FormatError {
    /// The CoAP code that a request with such a body is answered with: 4.15, 4.13 or 4.00 (Transport §6.4.4).
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Unsupported(_) => 0x8f,
            Self::TooBig | Self::TooMany => 0x8d,
            Self::Malformed(_)
            | Self::Name(_)
            | Self::Outside(_)
            | Self::Twice(_)
            | Self::Type(_)
            | Self::Range(_)
            | Self::Single => 0x80,
        }
    }
}

/// Reads a body about `base`, in the format its sender named. The entries come by path. Of values with times (Send), the
/// newest of each leaf.
///
/// # Errors
/// The body is malformed, beyond a limit, or about something else.
pub fn decode(format: ContentFormat, base: &Path, body: &[u8]) -> Result<Vec<Entry>, FormatError> {
    let samples = decode_samples(format, base, body)?;
    let mut newest: BTreeMap<Path, Sample> = BTreeMap::new();
    for sample in samples {
        let path = sample.entry.path;
        match newest.get(&path) {
            Some(other) if other.age_key() == sample.age_key() => return Err(FormatError::Twice(path)),
            Some(other) if other.age_key() > sample.age_key() => {}
            Some(_) | None => {
                newest.insert(path, sample);
            }
        }
    }
    let entries: Vec<Entry> = newest.into_values().map(|sample| sample.entry).collect();
    check_leaves(entries.iter())?;
    Ok(entries)
}

/// Reads a body about `base`, with the time of each value, in the order of the body: what a Send of stored values has
/// (Core §6.4.7).
///
/// # Errors
/// The body is malformed, beyond a limit, or about something else.
pub fn decode_samples(format: ContentFormat, base: &Path, body: &[u8]) -> Result<Vec<Sample>, FormatError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(FormatError::TooBig);
    }
    let format = format.current();
    let samples = match format {
        ContentFormat::TEXT => untimed(vec![text::decode(base, body)?]),
        ContentFormat::OPAQUE => untimed(vec![text::decode_opaque(base, body)?]),
        ContentFormat::CBOR => untimed(vec![cbor::decode(base, body)?]),
        ContentFormat::TLV => untimed(tlv::decode(base, body)?),
        // A node without values is sent as nothing at all by some devices.
        ContentFormat::SENML_JSON
        | ContentFormat::SENML_CBOR
        | ContentFormat::OMA_JSON
        | ContentFormat::LWM2M_CBOR
            if body.is_empty() =>
        {
            Vec::new()
        }
        ContentFormat::SENML_JSON => senml::resolve(senml_json::decode(body)?, base)?,
        ContentFormat::SENML_CBOR => senml::resolve(senml_cbor::decode(body)?, base)?,
        ContentFormat::OMA_JSON => senml::resolve(oma_json::decode(base, body)?, base)?,
        ContentFormat::LWM2M_CBOR => untimed(lwm2m_cbor::decode(base, body)?),
        ContentFormat(_) => return Err(FormatError::Unsupported(format)),
    };
    Ok(samples)
}

/// Writes entries about `base`. Their order does not matter.
///
/// # Errors
/// An entry is not within `base`, is there twice, or cannot be written in the format.
pub fn encode(format: ContentFormat, base: &Path, entries: &[Entry]) -> Result<Vec<u8>, FormatError> {
    if entries.len() > ENTRIES_MAX {
        return Err(FormatError::TooMany);
    }
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by_key(|entry| entry.path);
    for entry in &sorted {
        typed::check_writable(entry)?;
        check_place(base, &entry.path)?;
    }
    check_leaves(sorted.iter().copied())?;
    let body = match format {
        ContentFormat::TEXT => text::encode(single(base, &sorted)?),
        ContentFormat::OPAQUE => text::encode_opaque(single(base, &sorted)?),
        ContentFormat::CBOR => Ok(cbor::encode(single(base, &sorted)?)),
        ContentFormat::SENML_JSON => Ok(senml_json::encode(base, &sorted)),
        ContentFormat::SENML_CBOR => Ok(senml_cbor::encode(base, &sorted)),
        ContentFormat::TLV => tlv::encode(base, &sorted),
        ContentFormat::LWM2M_CBOR => Ok(lwm2m_cbor::encode(base, &sorted)),
        ContentFormat(_) => Err(FormatError::Unsupported(format)),
    }?;
    if body.len() > BODY_BYTES_MAX { Err(FormatError::TooBig) } else { Ok(body) }
}

/// Reads the paths that a Read-Composite or Observe-Composite asks for: SenML records without values (Core §6.3.8).
///
/// # Errors
/// The body is malformed, beyond a limit, or in another format.
pub fn decode_paths(format: ContentFormat, body: &[u8]) -> Result<Vec<Path>, FormatError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(FormatError::TooBig);
    }
    match format {
        ContentFormat::SENML_JSON => senml::names(&senml_json::decode(body)?),
        ContentFormat::SENML_CBOR => senml::names(&senml_cbor::decode(body)?),
        ContentFormat(_) => Err(FormatError::Unsupported(format)),
    }
}

/// Writes the paths that a Read-Composite or Observe-Composite asks for.
///
/// # Errors
/// The format is not one of SenML.
pub fn encode_paths(format: ContentFormat, paths: &[Path]) -> Result<Vec<u8>, FormatError> {
    match format {
        ContentFormat::SENML_JSON => Ok(senml_json::encode_paths(paths)),
        ContentFormat::SENML_CBOR => Ok(senml_cbor::encode_paths(paths)),
        ContentFormat(_) => Err(FormatError::Unsupported(format)),
    }
}

fn untimed(entries: Vec<Entry>) -> Vec<Sample> {
    entries.into_iter().map(|entry| Sample { time: 0.0, entry }).collect()
}

/// The one entry of a body that carries one resource.
fn single<'a>(base: &Path, entries: &[&'a Entry]) -> Result<&'a Entry, FormatError> {
    match entries {
        [entry] if entry.path == *base => Ok(entry),
        _ => Err(FormatError::Single),
    }
}

/// A leaf is a resource or an instance of one, and within what the body is about.
fn check_place(base: &Path, path: &Path) -> Result<(), FormatError> {
    let placed = base.contains(path) && path.depth() >= 3;
    if placed { Ok(()) } else { Err(FormatError::Outside(*path)) }
}

/// No leaf twice, and none in another. In the tree's order, what is within a leaf follows it.
fn check_leaves<'a>(entries: impl Iterator<Item = &'a Entry>) -> Result<(), FormatError> {
    let mut last: Option<Path> = None;
    for entry in entries {
        if last.is_some_and(|last| last.contains(&entry.path)) {
            return Err(FormatError::Twice(entry.path));
        }
        last = Some(entry.path);
    }
    Ok(())
}

/// Appends a leaf, within the limit.
fn push(entries: &mut Vec<Entry>, entry: Entry) -> Result<(), FormatError> {
    if entries.len() == ENTRIES_MAX {
        return Err(FormatError::TooMany);
    }
    entries.push(entry);
    Ok(())
}
