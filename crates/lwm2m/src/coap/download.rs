//! A file read from a server block by block (RFC 7959 §2.4), never held whole, resumed where it stopped.
//!
//! Deliberately absent: sending, waiting and repeating, which are the `Peer`'s; and where the bytes go.

use super::block::{Block, BlockSize};
use super::message::Code;
use super::option::number;
use super::request::{Request, Response};

/// How often a file is begun again because it changed while it was read.
const RESTARTS_MAX: u8 = 3;

/// How far a file is read.
#[derive(Debug, Clone)]
pub struct Download {
    request: Request,
    size: BlockSize,
    offset: u64,
    etag: Option<Vec<u8>>,
    total: Option<u64>,
    restarts: u8,
    /// A block of this file was heard, so the server's size is known, and that the file goes on.
    heard: bool,
}

/// What a response brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The next bytes; more follow: go on with `next_request`. Empty where a resumed download has only found its place.
    Bytes(Vec<u8>),
    /// The last bytes; none where a resumed file was whole already.
    Last(Vec<u8>),
    /// The file is another one than before: what came is of no use. Go on with `next_request`, from the beginning.
    Restarted,
    /// The server refuses, with this code; the same request may do later.
    Refused(Response),
    /// The blocks contradict each other, or there are more than 2^20, or the file changes too often.
    Broken,
}

impl Download {
    /// A file from its beginning. `request` is a GET without Block2.
    #[must_use]
    pub const fn new(request: Request, size: BlockSize) -> Self {
        Self { request, size, offset: 0, etag: None, total: None, restarts: 0, heard: false }
    }

    /// A file from `offset` on, of which the bytes before came with this entity tag.
    #[must_use]
    pub const fn resume(request: Request, size: BlockSize, offset: u64, etag: Vec<u8>) -> Self {
        Self { request, size, offset, etag: Some(etag), total: None, restarts: 0, heard: false }
    }

    /// Where the next bytes begin.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the whole file, once the server has said it.
    #[must_use]
    pub const fn total(&self) -> Option<u64> {
        self.total
    }

    /// The file's entity tag: with it and the offset, a download may be resumed.
    #[must_use]
    pub fn etag(&self) -> Option<&[u8]> {
        self.etag.as_deref()
    }

    /// The request for the block with the next byte; `None` where no block option can name it.
    #[must_use]
    pub fn next_request(&self) -> Option<Request> {
        let bytes = self.size.bytes() as u64;
        // A resumed download may be whole already: its last byte is asked for again, for past the end there is only an error.
        let next = if self.heard { self.offset } else { self.offset.saturating_sub(1) };
        let block = Block::at(next / bytes * bytes, false, self.size)?;
        let mut request = self.request.clone().with_block2(block);
        if self.total.is_none() {
            // RFC 7959 §4: zero asks for the size.
            request.options.set_uint(number::SIZE2, 0);
        }
        Some(request)
    }

    /// Takes the answer to the last `next_request`.
    pub fn handle_response(&mut self, response: Response) -> Progress {
        if !response.code.is_success() {
            // Past the end of what the file is by now: another file, then.
            let past = response.code == Code::BAD_REQUEST || response.code == Code::BAD_OPTION;
            return if past && self.offset > 0 { self.restart() } else { Progress::Refused(response) };
        }
        let changed = self.etag.is_some() && self.etag.as_deref() != response.etag();
        let grown =
            self.total.is_some() && response.size2().is_some_and(|size| Some(size.into()) != self.total);
        if changed || grown {
            return self.restart();
        }
        let has_option = response.options.view().has(number::BLOCK2);
        let block = match response.block2() {
            Some(block) => block,
            None if has_option => return Progress::Broken,
            // A server without blocks: the whole file, which fits a datagram.
            None => return self.take(0, false, response),
        };
        let length = response.payload.len();
        if length > block.size.bytes() || (block.more && length != block.size.bytes()) {
            return Progress::Broken;
        }
        self.size = self.size.min(block.size);
        self.take(block.offset(), block.more, response)
    }

    /// Takes bytes that begin at `from`.
    fn take(&mut self, from: u64, more: bool, response: Response) -> Progress {
        let end = from + response.payload.len() as u64;
        self.total = self.total.or(response.size2().map(u64::from));
        let ends_well = more || self.total.is_none_or(|total| total == end);
        let finds_place = more && !self.heard && end <= self.offset;
        let goes_on = self.offset < end || (self.offset == end && !more);
        if from > self.offset || !ends_well || !(goes_on || finds_place) {
            return Progress::Broken;
        }
        self.heard = true;
        if self.etag.is_none() {
            self.etag = response.etag().map(<[u8]>::to_vec);
        }
        if finds_place {
            return Progress::Bytes(Vec::new());
        }
        // Less than a block, or than a datagram.
        let known = (self.offset - from) as usize;
        self.offset = end;
        let mut bytes = response.payload;
        bytes.drain(..known);
        if more { Progress::Bytes(bytes) } else { Progress::Last(bytes) }
    }

    fn restart(&mut self) -> Progress {
        if self.restarts >= RESTARTS_MAX {
            return Progress::Broken;
        }
        self.restarts += 1;
        (self.offset, self.etag, self.total, self.heard) = (0, None, None, false);
        Progress::Restarted
    }
}
