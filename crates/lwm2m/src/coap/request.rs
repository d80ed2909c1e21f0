//! Requests and responses as an application sees them: owned, without message IDs, tokens or datagrams.

use super::block::Block;
use super::message::Code;
use super::option::{Options, number};

/// What a request asks for (RFC 7252 §5.8, RFC 8132).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// 0.01: a representation.
    Get,
    /// 0.02: processing of what it carries.
    Post,
    /// 0.03: replacement.
    Put,
    /// 0.04: deletion.
    Delete,
    /// 0.05: a part, chosen by what it carries.
    Fetch,
    /// 0.06: a partial change.
    Patch,
    /// 0.07: a partial change which may be repeated.
    Ipatch,
}

impl Method {
    /// The method of this code; `None` where no method has it.
    #[must_use]
    pub fn from_code(code: Code) -> Option<Self> {
        let all = [Self::Get, Self::Post, Self::Put, Self::Delete, Self::Fetch, Self::Patch, Self::Ipatch];
        all.into_iter().find(|method| method.code() == code)
    }

    /// The code of this method.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Get => Code::new(0, 1),
            Self::Post => Code::new(0, 2),
            Self::Put => Code::new(0, 3),
            Self::Delete => Code::new(0, 4),
            Self::Fetch => Code::new(0, 5),
            Self::Patch => Code::new(0, 6),
            Self::Ipatch => Code::new(0, 7),
        }
    }

    /// Whether it changes nothing (RFC 7252 §5.1).
    #[must_use]
    pub const fn is_safe(self) -> bool {
        match self {
            Self::Get | Self::Fetch => true,
            Self::Post | Self::Put | Self::Delete | Self::Patch | Self::Ipatch => false,
        }
    }
}

/// A request: ours to a peer, or a peer's to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it asks for.
    pub method: Method,
    /// Its options.
    pub options: Options,
    /// Its body, whole unless it has a Block1 option.
    pub payload: Vec<u8>,
}

/// A response: a peer's to us, or ours to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// How it went.
    pub code: Code,
    /// Its options.
    pub options: Options,
    /// Its body, whole unless it has a Block2 option.
    pub payload: Vec<u8>,
}

impl Request {
    /// A request for `path`, written with slashes ("/5/0/0", "rd"); empty segments are left out.
    #[must_use]
    pub fn new(method: Method, path: &str) -> Self {
        let mut options = Options::new();
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            options.push(number::URI_PATH, segment.as_bytes());
        }
        Self { method, options, payload: Vec::new() }
    }

    /// With one more query: `name`, or `name=value`.
    #[must_use]
    pub fn with_query(mut self, query: &str) -> Self {
        self.options.push(number::URI_QUERY, query.as_bytes());
        self
    }

    /// With this body in this content format.
    #[must_use]
    pub fn with_payload(mut self, content_format: u16, payload: Vec<u8>) -> Self {
        self.options.set_uint(number::CONTENT_FORMAT, content_format.into());
        self.payload = payload;
        self
    }

    /// With the content format wished for the response.
    #[must_use]
    pub fn with_accept(mut self, content_format: u16) -> Self {
        self.options.set_uint(number::ACCEPT, content_format.into());
        self
    }

    /// With the wish to be told of changes (`true`), or to be told no more (RFC 7641 §2).
    #[must_use]
    pub fn with_observe(mut self, observe: Observe) -> Self {
        self.options.set_uint(number::OBSERVE, observe.value());
        self
    }

    /// With the wish for one block of the response: the peer then gives that block alone.
    #[must_use]
    pub fn with_block2(mut self, block: Block) -> Self {
        self.options.set_uint(number::BLOCK2, block.value());
        self
    }

    /// With what a challenge asked to be echoed (RFC 9175 §2).
    #[must_use]
    pub fn with_echo(mut self, challenge: &[u8]) -> Self {
        self.options.set(number::ECHO, challenge);
        self
    }

    /// The segments of its path. A segment that is no UTF-8 reads as U+FFFD; a `Peer` refuses those.
    pub fn path_segments(&self) -> impl Iterator<Item = &str> {
        self.options.view().all(number::URI_PATH).map(text)
    }

    /// Its path, with a slash before each segment; "/" where there is none.
    #[must_use]
    pub fn path(&self) -> String {
        join(self.path_segments())
    }

    /// Its queries: `name`, or `name=value`.
    pub fn queries(&self) -> impl Iterator<Item = &str> {
        self.options.view().all(number::URI_QUERY).map(text)
    }

    /// The value of the first query `name=value`; an empty text for a query of only `name`.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.queries().find_map(|query| match query.split_once('=') {
            Some((found, value)) => (found == name).then_some(value),
            None => (query == name).then_some(""),
        })
    }

    /// The format of its body.
    #[must_use]
    pub fn content_format(&self) -> Option<u16> {
        uint16(&self.options, number::CONTENT_FORMAT)
    }

    /// The format wished for the response.
    #[must_use]
    pub fn accept(&self) -> Option<u16> {
        uint16(&self.options, number::ACCEPT)
    }

    /// Whether it asks to observe; `None` where it does not speak of that.
    #[must_use]
    pub fn observe(&self) -> Option<Observe> {
        self.options.view().uint(number::OBSERVE).and_then(Observe::from_value)
    }

    /// Which block of its body this is.
    #[must_use]
    pub fn block1(&self) -> Option<Block> {
        self.options.view().uint(number::BLOCK1).and_then(Block::from_value)
    }

    /// Which block of the response it asks for.
    #[must_use]
    pub fn block2(&self) -> Option<Block> {
        self.options.view().uint(number::BLOCK2).and_then(Block::from_value)
    }

    /// How many bytes its whole body has.
    #[must_use]
    pub fn size1(&self) -> Option<u32> {
        self.options.view().uint(number::SIZE1)
    }

    /// The entity tags it would take "still the same" for (RFC 7252 §5.10.6.2).
    pub fn etags(&self) -> impl Iterator<Item = &[u8]> {
        self.options.view().all(number::ETAG)
    }

    /// What it echoes of an earlier challenge (RFC 9175 §2).
    #[must_use]
    pub fn echo(&self) -> Option<&[u8]> {
        self.options.view().get(number::ECHO)
    }
}

impl Response {
    /// A response of this code without a body.
    #[must_use]
    pub const fn new(code: Code) -> Self {
        Self { code, options: Options::new(), payload: Vec::new() }
    }

    /// 2.05 with this body in this content format.
    #[must_use]
    pub fn content(content_format: u16, payload: Vec<u8>) -> Self {
        Self::new(Code::CONTENT).with_payload(content_format, payload)
    }

    /// An error with words for a person (RFC 7252 §5.5.2).
    #[must_use]
    pub fn diagnostic(code: Code, words: &str) -> Self {
        Self { code, options: Options::new(), payload: words.as_bytes().to_vec() }
    }

    /// With this body in this content format.
    #[must_use]
    pub fn with_payload(mut self, content_format: u16, payload: Vec<u8>) -> Self {
        self.options.set_uint(number::CONTENT_FORMAT, content_format.into());
        self.payload = payload;
        self
    }

    /// With the path of what was created ("/rd/5a3f").
    #[must_use]
    pub fn with_location(mut self, path: &str) -> Self {
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            self.options.push(number::LOCATION_PATH, segment.as_bytes());
        }
        self
    }

    /// With the time after which it may be asked for again, or is no longer fresh.
    #[must_use]
    pub fn with_max_age(mut self, seconds: u32) -> Self {
        self.options.set_uint(number::MAX_AGE, seconds);
        self
    }

    /// With an entity tag of 1 to 8 bytes.
    #[must_use]
    pub fn with_etag(mut self, tag: &[u8]) -> Self {
        self.options.set(number::ETAG, tag);
        self
    }

    /// As one block of a body of `size` bytes.
    #[must_use]
    pub fn with_block2(mut self, block: Block, size: Option<u32>) -> Self {
        self.options.set_uint(number::BLOCK2, block.value());
        if let Some(size) = size {
            self.options.set_uint(number::SIZE2, size);
        }
        self
    }

    /// With a challenge to prove an address (RFC 9175 §2): 1 to 40 bytes.
    #[must_use]
    pub fn with_echo(mut self, challenge: &[u8]) -> Self {
        self.options.set(number::ECHO, challenge);
        self
    }

    /// The format of its body.
    #[must_use]
    pub fn content_format(&self) -> Option<u16> {
        uint16(&self.options, number::CONTENT_FORMAT)
    }

    /// The path of what was created, with a slash before each segment; `None` where it has none.
    #[must_use]
    pub fn location(&self) -> Option<String> {
        let view = self.options.view();
        view.has(number::LOCATION_PATH).then(|| join(view.all(number::LOCATION_PATH).map(text)))
    }

    /// The segments of the path of what was created.
    pub fn location_segments(&self) -> impl Iterator<Item = &str> {
        self.options.view().all(number::LOCATION_PATH).map(text)
    }

    /// Its entity tag.
    #[must_use]
    pub fn etag(&self) -> Option<&[u8]> {
        self.options.view().get(number::ETAG)
    }

    /// The sequence number of a notification.
    #[must_use]
    pub fn observe(&self) -> Option<u32> {
        self.options.view().uint(number::OBSERVE)
    }

    /// Which block of the request's body it answers.
    #[must_use]
    pub fn block1(&self) -> Option<Block> {
        self.options.view().uint(number::BLOCK1).and_then(Block::from_value)
    }

    /// Which block of its body this is.
    #[must_use]
    pub fn block2(&self) -> Option<Block> {
        self.options.view().uint(number::BLOCK2).and_then(Block::from_value)
    }

    /// How many bytes of a request's body would be taken.
    #[must_use]
    pub fn size1(&self) -> Option<u32> {
        self.options.view().uint(number::SIZE1)
    }

    /// How many bytes its whole body has.
    #[must_use]
    pub fn size2(&self) -> Option<u32> {
        self.options.view().uint(number::SIZE2)
    }

    /// Seconds for which it is fresh, or after which to ask again (RFC 7252 §5.10.5, §5.9.3.4).
    #[must_use]
    pub fn max_age(&self) -> Option<u32> {
        self.options.view().uint(number::MAX_AGE)
    }

    /// The challenge to answer (RFC 9175 §2).
    #[must_use]
    pub fn echo(&self) -> Option<&[u8]> {
        self.options.view().get(number::ECHO)
    }
}

/// What a request says of observing (RFC 7641 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observe {
    /// 0: tell me of changes.
    Register,
    /// 1: tell me no more.
    Deregister,
}

impl Observe {
    /// What this value says; `None` for values without a meaning.
    #[must_use]
    pub const fn from_value(value: u32) -> Option<Self> {
        match value {
            0 => Some(Self::Register),
            1 => Some(Self::Deregister),
            _ => None,
        }
    }

    /// The option's value.
    #[must_use]
    pub const fn value(self) -> u32 {
        match self {
            Self::Register => 0,
            Self::Deregister => 1,
        }
    }
}

/// An option's value as text.
fn text(value: &[u8]) -> &str {
    str::from_utf8(value).unwrap_or("\u{FFFD}")
}

/// Segments as one path.
fn join<'a>(segments: impl Iterator<Item = &'a str>) -> String {
    let path: String = segments.flat_map(|segment| ["/", segment]).collect();
    if path.is_empty() { "/".to_owned() } else { path }
}

/// An option of up to 2 bytes.
fn uint16(options: &Options, number: u16) -> Option<u16> {
    options.view().uint(number).and_then(|value| u16::try_from(value).ok())
}
