//! A body put together from its blocks, in order (RFC 7959 §2.3).

use super::block::Block;

/// A body, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    body: Vec<u8>,
}

/// What a block was to a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It was added, and more blocks follow.
    More,
    /// It was the last: the body is whole.
    Whole,
    /// It is there already.
    Repeated,
    /// Another one is next.
    Gap,
    /// With it the body would be too long.
    TooLarge,
    /// It is not as long as a block of its size is.
    Uneven,
}

impl Assembly {
    /// Adds the next block of a body of at most `bytes_max`.
    pub(super) fn add(&mut self, block: Block, payload: &[u8], bytes_max: usize) -> Fit {
        if payload.len() > block.size.bytes() || (block.more && payload.len() != block.size.bytes()) {
            return Fit::Uneven;
        }
        let length = self.body.len() as u64;
        if block.offset() > length {
            return Fit::Gap;
        }
        if block.offset() < length {
            // It fits in the body, so the offset fits in memory.
            let there = self.body.get(block.offset() as usize..).unwrap_or_default();
            return if block.more && there.starts_with(payload) { Fit::Repeated } else { Fit::Gap };
        }
        if self.body.len() + payload.len() > bytes_max {
            return Fit::TooLarge;
        }
        self.body.extend(payload);
        if block.more { Fit::More } else { Fit::Whole }
    }

    /// Bytes so far: where the next block begins.
    pub(super) const fn len(&self) -> usize {
        self.body.len()
    }

    /// Bytes of memory.
    pub(super) const fn held_bytes(&self) -> usize {
        self.body.capacity()
    }

    /// The body.
    pub(super) fn into_body(self) -> Vec<u8> {
        self.body
    }
}
