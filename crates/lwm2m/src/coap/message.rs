//! The CoAP message on the wire (RFC 7252 §3), read strictly and without a copy.
//!
//! Deliberately absent: what the options mean (`option.rs`, `request.rs`), and any state (`peer.rs`).

use super::option::{OptionError, View};
use std::fmt;

/// Bytes of the fixed header: version, type, token length, code, message ID.
pub const HEADER_BYTES: usize = 4;
/// The longest token (RFC 7252 §3; longer ones are RFC 8974's, which is not spoken here).
pub const TOKEN_BYTES_MAX: usize = 8;
/// The only version there is.
const VERSION: u8 = 1;
/// Stands between options and payload.
const PAYLOAD_MARKER: u8 = 0xFF;

/// What a message is to the message layer (RFC 7252 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageType {
    /// Is retransmitted until it is acknowledged.
    Confirmable,
    /// Is sent once.
    NonConfirmable,
    /// Acknowledges a confirmable message, and may carry the response.
    Acknowledgement,
    /// Says that a message made no sense.
    Reset,
}

impl MessageType {
    /// The type of these two bits.
    fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0 => Self::Confirmable,
            1 => Self::NonConfirmable,
            2 => Self::Acknowledgement,
            _ => Self::Reset,
        }
    }

    /// The two bits of this type.
    const fn bits(self) -> u8 {
        match self {
            Self::Confirmable => 0,
            Self::NonConfirmable => 1,
            Self::Acknowledgement => 2,
            Self::Reset => 3,
        }
    }
}

/// A method or response code, written `class.detail` (RFC 7252 §3, §12.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u8);

impl Code {
    /// 0.00, a message without request or response.
    pub const EMPTY: Self = Self(0);
    /// 2.01 Created.
    pub const CREATED: Self = Self::new(2, 1);
    /// 2.02 Deleted.
    pub const DELETED: Self = Self::new(2, 2);
    /// 2.03 Valid.
    pub const VALID: Self = Self::new(2, 3);
    /// 2.04 Changed.
    pub const CHANGED: Self = Self::new(2, 4);
    /// 2.05 Content.
    pub const CONTENT: Self = Self::new(2, 5);
    /// 2.31 Continue (RFC 7959 §2.9.1): the block is taken, send the next.
    pub const CONTINUE: Self = Self::new(2, 31);
    /// 4.00 Bad Request.
    pub const BAD_REQUEST: Self = Self::new(4, 0);
    /// 4.01 Unauthorized.
    pub const UNAUTHORIZED: Self = Self::new(4, 1);
    /// 4.02 Bad Option.
    pub const BAD_OPTION: Self = Self::new(4, 2);
    /// 4.03 Forbidden.
    pub const FORBIDDEN: Self = Self::new(4, 3);
    /// 4.04 Not Found.
    pub const NOT_FOUND: Self = Self::new(4, 4);
    /// 4.05 Method Not Allowed.
    pub const METHOD_NOT_ALLOWED: Self = Self::new(4, 5);
    /// 4.06 Not Acceptable.
    pub const NOT_ACCEPTABLE: Self = Self::new(4, 6);
    /// 4.08 Request Entity Incomplete (RFC 7959 §2.9.2).
    pub const REQUEST_ENTITY_INCOMPLETE: Self = Self::new(4, 8);
    /// 4.09 Conflict.
    pub const CONFLICT: Self = Self::new(4, 9);
    /// 4.12 Precondition Failed.
    pub const PRECONDITION_FAILED: Self = Self::new(4, 12);
    /// 4.13 Request Entity Too Large (RFC 7959 §2.9.3).
    pub const REQUEST_ENTITY_TOO_LARGE: Self = Self::new(4, 13);
    /// 4.15 Unsupported Content-Format.
    pub const UNSUPPORTED_CONTENT_FORMAT: Self = Self::new(4, 15);
    /// 4.29 Too Many Requests (RFC 8516).
    pub const TOO_MANY_REQUESTS: Self = Self::new(4, 29);
    /// 5.00 Internal Server Error.
    pub const INTERNAL_SERVER_ERROR: Self = Self::new(5, 0);
    /// 5.01 Not Implemented.
    pub const NOT_IMPLEMENTED: Self = Self::new(5, 1);
    /// 5.03 Service Unavailable.
    pub const SERVICE_UNAVAILABLE: Self = Self::new(5, 3);
    /// 5.05 Proxying Not Supported.
    pub const PROXYING_NOT_SUPPORTED: Self = Self::new(5, 5);

    /// The code `class.detail`; bits beyond three and five are dropped.
    #[must_use]
    pub const fn new(class: u8, detail: u8) -> Self {
        Self((class & 0x07) << 5 | (detail & 0x1F))
    }

    /// The part before the dot.
    #[must_use]
    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    /// The part after the dot.
    #[must_use]
    pub const fn detail(self) -> u8 {
        self.0 & 0x1F
    }

    /// Whether this is a method (0.01 to 0.31).
    #[must_use]
    pub const fn is_request(self) -> bool {
        self.class() == 0 && self.0 != 0
    }

    /// Whether this is a response code (2.xx, 4.xx, 5.xx).
    #[must_use]
    pub const fn is_response(self) -> bool {
        matches!(self.class(), 2 | 4 | 5)
    }

    /// Whether this says that the request was understood and done (2.xx).
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.class() == 2
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.class(), self.detail())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Ties a response to its request: up to 8 bytes, which only the requester understands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Token {
    length: u8,
    bytes: [u8; TOKEN_BYTES_MAX],
}

impl Token {
    /// The token of no bytes.
    pub const EMPTY: Self = Self { length: 0, bytes: [0; TOKEN_BYTES_MAX] };

    /// These bytes as a token; `None` where there are more than 8.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut token = Self { length: u8::try_from(bytes.len()).ok()?, bytes: [0; TOKEN_BYTES_MAX] };
        token.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(token)
    }

    /// The token's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One message, its options and payload still in the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is to the message layer.
    pub kind: MessageType,
    /// Method or response code; `Code::EMPTY` where it carries neither.
    pub code: Code,
    /// Finds duplicates, and ties acknowledgements to messages.
    pub id: u16,
    /// Ties responses to requests.
    pub token: Token,
    /// The options.
    pub options: View<'a>,
    /// The payload; empty where there is none.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a datagram: all of RFC 7252 §3 and nothing beside it.
    ///
    /// # Errors
    /// What is wrong with it, and whether it asks for a Reset.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let (&[first, code, id_high, id_low], rest) =
            datagram.split_first_chunk().ok_or(Malformed { flaw: Flaw::Short, reset: None })?;
        if first >> 6 != VERSION {
            // §3: messages of other versions are ignored, so they are not reset either.
            return Err(Malformed { flaw: Flaw::Version, reset: None });
        }
        let (kind, id) = (MessageType::from_bits(first >> 4), u16::from_be_bytes([id_high, id_low]));
        let reset = (kind == MessageType::Confirmable).then_some(id);
        let malformed = |flaw| Malformed { flaw, reset };
        let code = Code(code);
        let token_length = usize::from(first & 0x0F);
        if token_length > TOKEN_BYTES_MAX {
            return Err(malformed(Flaw::TokenLength));
        }
        if code == Code::EMPTY {
            return if datagram.len() == HEADER_BYTES && token_length == 0 {
                Ok(Self { kind, code, id, token: Token::EMPTY, options: View::default(), payload: &[] })
            } else {
                Err(malformed(Flaw::Empty))
            };
        }
        if !code.is_request() && !code.is_response() {
            return Err(malformed(Flaw::Class));
        }
        let (token, rest) = rest.split_at_checked(token_length).ok_or(malformed(Flaw::Truncated))?;
        let token = Token::new(token).ok_or(malformed(Flaw::TokenLength))?;
        let (options, rest) = View::parse(rest, PAYLOAD_MARKER).map_err(|error| malformed(error.into()))?;
        let payload = match rest {
            [] => rest,
            [_marker] => return Err(malformed(Flaw::MarkerWithoutPayload)),
            [_marker, payload @ ..] => payload,
        };
        Ok(Self { kind, code, id, token, options, payload })
    }

    /// The bytes of this message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let token = self.token.as_bytes();
        let payload_length = if self.payload.is_empty() { 0 } else { 1 + self.payload.len() };
        let options = self.options.as_bytes();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + token.len() + options.len() + payload_length);
        bytes.push(VERSION << 6 | self.kind.bits() << 4 | self.token.length);
        bytes.push(self.code.0);
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(token);
        bytes.extend(options);
        if !self.payload.is_empty() {
            bytes.push(PAYLOAD_MARKER);
            bytes.extend(self.payload);
        }
        bytes
    }

    /// An empty message: an acknowledgement or a Reset of the message `id`, or a ping.
    #[must_use]
    pub const fn empty(kind: MessageType, id: u16) -> Message<'static> {
        Message { kind, code: Code::EMPTY, id, token: Token::EMPTY, options: View::EMPTY, payload: &[] }
    }
}

/// Why a datagram is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {flaw}")]
pub struct Malformed {
    /// The first thing wrong with it.
    pub flaw: Flaw,
    /// The ID to send a Reset for: the header could be read, and the message was confirmable (RFC 7252 §4.2).
    pub reset: Option<u16>,
}

/// What can be wrong with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Fewer bytes than a header has.
    #[error("shorter than a header")]
    Short,
    /// Not version 1.
    #[error("another version")]
    Version,
    /// A token of 9 or more bytes.
    #[error("a token too long")]
    TokenLength,
    /// A code of class 1, 3, 6 or 7.
    #[error("a reserved class")]
    Class,
    /// An empty message (0.00) with a token, options or a payload.
    #[error("an empty message which is not empty")]
    Empty,
    /// It ends inside its token or an option.
    #[error("truncated")]
    Truncated,
    /// An option's delta or length is 15.
    #[error("a reserved option nibble")]
    OptionNibble,
    /// An option number beyond 65535.
    #[error("an option number out of range")]
    OptionNumber,
    /// More options than a message may have here.
    #[error("too many options")]
    OptionCount,
    /// The payload marker is the last byte.
    #[error("a payload marker without payload")]
    MarkerWithoutPayload,
}

impl From<OptionError> for Flaw {
    fn from(error: OptionError) -> Self {
        match error {
            OptionError::Truncated => Self::Truncated,
            OptionError::Nibble => Self::OptionNibble,
            OptionError::Number => Self::OptionNumber,
            OptionError::Count => Self::OptionCount,
        }
    }
}
