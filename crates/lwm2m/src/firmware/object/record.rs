//! What a device remembers of an update over its restarts.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

use super::super::URI_BYTES_MAX;
use super::super::word::{Severity, State, UpdateResult};

/// The longest `ETag` (RFC 7252 §5.10.6). HTTP allows longer ones: a download with such a one begins at 0 again.
pub const ETAG_BYTES_MAX: usize = 8;

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The device fetches it.
    Uri {
        /// From here.
        uri: String,
        /// What the bytes at hand are a part of; empty while that is not known.
        etag: Vec<u8>,
        /// How many bytes are at hand, and durable.
        offset: u64,
    },
    /// The server sends it.
    Push,
}

/// What a device remembers of an update. It is durable before the answer leaves that rests on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Resource 3.
    pub state: State,
    /// Resource 5.
    pub result: UpdateResult,
    /// Counts downloads: words on an earlier one are late.
    pub attempt: u32,
    /// Where the image comes from; none in Idle.
    pub origin: Option<Origin>,
    /// Resource 6, of the downloaded image.
    pub package_name: Option<String>,
    /// Resource 7, of the downloaded image.
    pub package_version: Option<String>,
    /// Resource 11.
    pub severity: Severity,
    /// Resource 12, seconds since 1970, where the device knew the time.
    pub changed_s: Option<i64>,
    /// Resource 13, seconds; 0 forbids to put an update off.
    pub defer_max_s: u32,
    /// Resource 14.
    pub automatic: bool,
    /// What is left of the time for which the update was put off, in milliseconds, when this was written: a device may have
    /// no clock that survives a restart.
    pub defer_left_ms: Option<u64>,
    /// How often the installation was begun.
    pub installs: u8,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            state: State::Idle,
            result: UpdateResult::Initial,
            attempt: 0,
            origin: None,
            package_name: None,
            package_version: None,
            severity: Severity::Mandatory,
            changed_s: None,
            defer_max_s: 0,
            automatic: false,
            defer_left_ms: None,
            installs: 0,
        }
    }
}

/// The layout of a written record. A reader refuses others.
const LAYOUT: u8 = 1;
/// Its fields, the layout among them.
const FIELDS: u64 = 15;

impl Record {
    /// The record as bytes to keep: a CBOR array.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut Encoder::new(&mut bytes)).expect("a vector takes all bytes");
        bytes
    }

    fn write(
        &self,
        to: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        to.array(FIELDS)?.u8(LAYOUT)?.u8(self.state.code())?.u8(self.result.code())?.u32(self.attempt)?;
        match &self.origin {
            None => to.null()?.null()?.null()?,
            Some(Origin::Push) => to.bool(true)?.null()?.null()?,
            Some(Origin::Uri { uri, etag, offset }) => to.str(uri)?.bytes(etag)?.u64(*offset)?,
        };
        to.encode(&self.package_name)?.encode(&self.package_version)?.u8(self.severity.code())?;
        to.encode(self.changed_s)?.u32(self.defer_max_s)?.bool(self.automatic)?;
        to.encode(self.defer_left_ms)?.u8(self.installs)?;
        Ok(())
    }

    /// The record of bytes that were kept; none for bytes that are no record.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Decoder::new(bytes);
        let record = Self::parse(&mut from)?;
        (from.position() == bytes.len()).then_some(record)
    }

    fn parse(from: &mut Decoder<'_>) -> Option<Self> {
        if from.array().ok()?? != FIELDS || from.u8().ok()? != LAYOUT {
            return None;
        }
        Some(Self {
            state: State::from_code(from.u8().ok()?.into())?,
            result: UpdateResult::from_code(from.u8().ok()?.into()),
            attempt: from.u32().ok()?,
            origin: origin(from)?,
            package_name: from.decode().ok()?,
            package_version: from.decode().ok()?,
            severity: Severity::from_code(from.u8().ok()?.into())?,
            changed_s: from.decode().ok()?,
            defer_max_s: from.u32().ok()?,
            automatic: from.bool().ok()?,
            defer_left_ms: from.decode().ok()?,
            installs: from.u8().ok()?,
        })
    }
}

/// The three fields of the origin. None for what is no origin; the inner one for a record without.
#[expect(clippy::option_option, reason = "a missing origin and a broken one differ")]
fn origin(from: &mut Decoder<'_>) -> Option<Option<Origin>> {
    if from.datatype().ok()? == Type::String {
        let uri = from.str().ok()?.to_owned();
        let etag = from.bytes().ok()?.to_vec();
        let offset = from.u64().ok()?;
        let fits = uri.len() <= URI_BYTES_MAX && etag.len() <= ETAG_BYTES_MAX;
        return fits.then_some(Some(Origin::Uri { uri, etag, offset }));
    }
    let push: Option<bool> = from.decode().ok()?;
    from.null().ok()?;
    from.null().ok()?;
    Some(push.map(|_| Origin::Push))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Record {
        Record {
            state: State::Downloaded,
            result: UpdateResult::Deferred,
            attempt: 70_000,
            origin: Some(Origin::Uri { uri: "coap://h/i".to_owned(), etag: vec![1, 2], offset: 1 << 40 }),
            package_name: Some("fw".to_owned()),
            package_version: Some("2.0.0".to_owned()),
            severity: Severity::Optional,
            changed_s: Some(1_700_000_000),
            defer_max_s: 3600,
            automatic: true,
            defer_left_ms: Some(5000),
            installs: 2,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let push = Record { origin: Some(Origin::Push), state: State::Downloading, ..Record::default() };
        for record in [Record::default(), full(), push] {
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let whole = full().encode();
        for end in 0..whole.len() {
            assert_eq!(Record::decode(&whole[..end]), None, "cut at {end}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert_eq!(Record::decode(&longer), None);
        for (at, byte) in [(1, 2), (2, 9)] {
            let mut other = whole.clone();
            other[at] = byte;
            assert_eq!(Record::decode(&other), None, "layout or state");
        }
    }
}
