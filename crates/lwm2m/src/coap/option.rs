//! CoAP options (RFC 7252 §3.1, §5.10): their numbers, and lists of them in their wire form.
//!
//! A list is kept as it is on the wire: reading a message copies nothing, and keeping its options is one allocation.

/// The most options a message may have: real ones have fewer than 20; more only costs time.
pub const OPTIONS_MAX: usize = 64;
/// The longest segment of a path, and the longest query (RFC 7252 §5.10, table 4).
pub const SEGMENT_BYTES_MAX: usize = 255;

/// The longest value that the wire form can say: 14 means two bytes and 269 more.
const VALUE_BYTES_MAX: usize = 269 + u16::MAX as usize;

/// The option numbers in use (RFC 7252 §12.2, RFC 7641, RFC 7959, RFC 9175).
pub mod number {
    /// If-Match: 0 to 8 bytes.
    pub const IF_MATCH: u16 = 1;
    /// Uri-Host: 1 to 255 bytes.
    pub const URI_HOST: u16 = 3;
    /// ETag: 1 to 8 bytes.
    pub const ETAG: u16 = 4;
    /// If-None-Match: empty.
    pub const IF_NONE_MATCH: u16 = 5;
    /// Observe: an integer of up to 3 bytes.
    pub const OBSERVE: u16 = 6;
    /// Uri-Port: an integer of up to 2 bytes.
    pub const URI_PORT: u16 = 7;
    /// Location-Path: a segment, repeatable.
    pub const LOCATION_PATH: u16 = 8;
    /// Uri-Path: a segment, repeatable.
    pub const URI_PATH: u16 = 11;
    /// Content-Format: an integer of up to 2 bytes.
    pub const CONTENT_FORMAT: u16 = 12;
    /// Max-Age: an integer of up to 4 bytes, seconds.
    pub const MAX_AGE: u16 = 14;
    /// Uri-Query: `name` or `name=value`, repeatable.
    pub const URI_QUERY: u16 = 15;
    /// Accept: an integer of up to 2 bytes.
    pub const ACCEPT: u16 = 17;
    /// Location-Query: repeatable.
    pub const LOCATION_QUERY: u16 = 20;
    /// Block2: which block of the response's body.
    pub const BLOCK2: u16 = 23;
    /// Block1: which block of the request's body.
    pub const BLOCK1: u16 = 27;
    /// Size2: bytes of the response's body.
    pub const SIZE2: u16 = 28;
    /// Proxy-Uri: asks for a proxy, which nothing here is.
    pub const PROXY_URI: u16 = 35;
    /// Proxy-Scheme: asks for a proxy, which nothing here is.
    pub const PROXY_SCHEME: u16 = 39;
    /// Size1: bytes of the request's body, or the most that is taken.
    pub const SIZE1: u16 = 60;
    /// Echo (RFC 9175 §2): 1 to 40 bytes.
    pub const ECHO: u16 = 252;
    /// Request-Tag (RFC 9175 §3): 0 to 8 bytes; which body a block belongs to.
    pub const REQUEST_TAG: u16 = 292;
}

/// Whether a message with this option must be refused where the option is not understood (RFC 7252 §5.4.1).
#[must_use]
pub const fn is_critical(number: u16) -> bool {
    number & 1 == 1
}

/// Why bytes are no list of options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OptionError {
    /// They end inside an option.
    Truncated,
    /// A delta or length of 15.
    Nibble,
    /// A number beyond 65535.
    Number,
    /// More than `OPTIONS_MAX`.
    Count,
}

/// Options as they lie in a datagram, already checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct View<'a>(&'a [u8]);

impl<'a> View<'a> {
    /// No options.
    pub const EMPTY: Self = Self(&[]);

    /// Reads options up to the end or to `marker`; gives them and what follows, marker first.
    pub(super) fn parse(bytes: &'a [u8], marker: u8) -> Result<(Self, &'a [u8]), OptionError> {
        let (mut rest, mut number, mut count) = (bytes, 0, 0);
        while let Some(&first) = rest.first()
            && first != marker
        {
            let (option, after) = split_option(rest, number)?;
            (number, rest, count) = (option.0, after, count + 1);
            if count > OPTIONS_MAX {
                return Err(OptionError::Count);
            }
        }
        Ok((Self(&bytes[..bytes.len() - rest.len()]), rest))
    }

    /// Every option in order of its number: number and value.
    pub fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let (mut rest, mut number) = (self.0, 0);
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (option, after) = split_option(rest, number).ok()?;
            (number, rest) = (option.0, after);
            Some(option)
        })
    }

    /// The values of the options with this number.
    pub fn all(self, number: u16) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(found, _)| *found == number).map(|(_, value)| value)
    }

    /// The value of the first option with this number.
    #[must_use]
    pub fn get(self, number: u16) -> Option<&'a [u8]> {
        self.all(number).next()
    }

    /// The integer in the first option with this number; `None` also where it has more than 4 bytes.
    #[must_use]
    pub fn uint(self, number: u16) -> Option<u32> {
        self.get(number).and_then(decode_uint)
    }

    /// Whether there is an option with this number.
    #[must_use]
    pub fn has(self, number: u16) -> bool {
        self.get(number).is_some()
    }

    /// The wire form.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// These options, kept.
    #[must_use]
    pub fn to_owned(self) -> Options {
        Options { wire: self.0.to_vec() }
    }
}

/// A list of options of our own, in its wire form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    wire: Vec<u8>,
}

impl Options {
    /// No options.
    #[must_use]
    pub const fn new() -> Self {
        Self { wire: Vec::new() }
    }

    /// These options, to read.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View(&self.wire)
    }

    /// Adds an option after those with the same or a lower number.
    pub fn push(&mut self, number: u16, value: &[u8]) {
        let last = self.view().iter().last().map_or(0, |(number, _)| number);
        if number >= last {
            append(&mut self.wire, number - last, value);
            return;
        }
        let old = std::mem::take(&mut self.wire);
        let options: Vec<_> = View(&old).iter().collect();
        let at = options.partition_point(|(found, _)| *found <= number);
        let (before, after) = options.split_at(at);
        self.wire = encode(before.iter().chain([&(number, value)]).chain(after).copied());
    }

    /// Adds an option with an integer, in as few bytes as hold it (RFC 7252 §3.2).
    pub fn push_uint(&mut self, number: u16, value: u32) {
        let bytes = value.to_be_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        self.push(number, &bytes[zeros..]);
    }

    /// Removes every option with this number.
    pub fn remove(&mut self, number: u16) {
        if self.view().has(number) {
            self.wire = encode(self.view().iter().filter(|(found, _)| *found != number));
        }
    }

    /// Puts an option in the place of all with its number.
    pub fn set(&mut self, number: u16, value: &[u8]) {
        self.remove(number);
        self.push(number, value);
    }

    /// Puts an integer in the place of all options with this number.
    pub fn set_uint(&mut self, number: u16, value: u32) {
        self.remove(number);
        self.push_uint(number, value);
    }
}

/// The integer in an option's value: big endian, up to 4 bytes, leading zeros allowed (RFC 7252 §3.2).
#[must_use]
pub fn decode_uint(value: &[u8]) -> Option<u32> {
    (value.len() <= 4).then(|| value.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
}

/// An option's number and value.
type Numbered<'a> = (u16, &'a [u8]);

/// Takes the first option off `bytes`, which follow an option with the number `previous`.
fn split_option(bytes: &[u8], previous: u16) -> Result<(Numbered<'_>, &[u8]), OptionError> {
    let (&first, rest) = bytes.split_first().ok_or(OptionError::Truncated)?;
    let (delta, rest) = extended(first >> 4, rest)?;
    let (length, rest) = extended(first & 0x0F, rest)?;
    let number = u16::try_from(u32::from(previous) + delta).map_err(|_| OptionError::Number)?;
    let length = usize::try_from(length).map_err(|_| OptionError::Truncated)?;
    let (value, rest) = rest.split_at_checked(length).ok_or(OptionError::Truncated)?;
    Ok(((number, value), rest))
}

/// A nibble and the bytes that extend it (RFC 7252 §3.1): 13 is one byte more, 14 two, 15 reserved.
fn extended(nibble: u8, rest: &[u8]) -> Result<(u32, &[u8]), OptionError> {
    match (nibble, rest) {
        (0..=12, _) => Ok((u32::from(nibble), rest)),
        (13, [byte, rest @ ..]) => Ok((u32::from(*byte) + 13, rest)),
        (14, [high, low, rest @ ..]) => Ok((u32::from(u16::from_be_bytes([*high, *low])) + 269, rest)),
        (13 | 14, _) => Err(OptionError::Truncated),
        _ => Err(OptionError::Nibble),
    }
}

/// The wire form of options in order of their numbers.
fn encode<'a>(options: impl Iterator<Item = Numbered<'a>>) -> Vec<u8> {
    let (mut wire, mut previous) = (Vec::new(), 0);
    for (number, value) in options {
        append(&mut wire, number - previous, value);
        previous = number;
    }
    wire
}

/// Writes an option whose number is `delta` above that of the one before.
fn append(wire: &mut Vec<u8>, delta: u16, value: &[u8]) {
    assert!(value.len() <= VALUE_BYTES_MAX, "an option's value fits its length");
    let (delta_nibble, delta_rest) = nibble(usize::from(delta));
    let (length_nibble, length_rest) = nibble(value.len());
    wire.push(delta_nibble << 4 | length_nibble);
    wire.extend(delta_rest);
    wire.extend(length_rest);
    wire.extend(value);
}

/// The nibble of a delta or length, and the bytes that extend it.
fn nibble(value: usize) -> (u8, Vec<u8>) {
    match value {
        0..=12 => (value as u8, Vec::new()),
        13..=268 => (13, vec![(value - 13) as u8]),
        _ => (14, ((value - 269) as u16).to_be_bytes().to_vec()),
    }
}
