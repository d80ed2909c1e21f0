//! Our side of a body that goes block by block (RFC 7959 §2.5): which block is next, and what an answer to one means.

use super::block::{BLOCKS_MAX, Block, BlockSize};
use super::event::Failure;
use super::message::Code;
use super::request::Response;

/// How far a body has been taken by the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upload {
    total: u64,
    offset: u64,
    size: BlockSize,
    /// `Whole` until the body is too long for a block, or the peer asks for blocks.
    shape: Shape,
    restarts: u8,
}

/// Whether a body goes in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// In one message, without a Block1 option.
    Whole,
    /// With Block1.
    Blocks,
}

/// What comes after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The block at the offset, which has moved on, or back to the beginning.
    Next,
    /// It is the answer to the request.
    Answered,
    /// The request has failed.
    Failed(Failure),
}

impl Upload {
    /// A body of `total` bytes; `None` where it has too many blocks.
    pub(super) fn new(total: u64, size: BlockSize) -> Option<Self> {
        let shape = if total > size.bytes() as u64 { Shape::Blocks } else { Shape::Whole };
        (total <= size.body_bytes_max()).then_some(Self { total, offset: 0, size, shape, restarts: 0 })
    }

    /// Where the next block begins.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the whole body.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// Bytes of the next block.
    pub(super) fn length(&self) -> usize {
        let rest = usize::try_from(self.total - self.offset).unwrap_or(usize::MAX);
        match self.shape {
            Shape::Whole => rest,
            Shape::Blocks => rest.min(self.size.bytes()),
        }
    }

    /// The Block1 option of the next block; `None` where the body goes whole.
    pub(super) fn block(&self) -> Option<Block> {
        match self.shape {
            Shape::Whole => None,
            Shape::Blocks => Block::at(self.offset, !self.is_last(), self.size),
        }
    }

    /// Takes the answer to the block at the offset.
    pub(super) fn handle_response(&mut self, response: &Response, restarts_max: u8) -> Step {
        let code = response.code;
        if code == Code::REQUEST_ENTITY_TOO_LARGE && self.offset == 0 {
            return match self.smaller_size(response) {
                Some(size) => self.restart(size, code, restarts_max),
                None => Step::Answered,
            };
        }
        if self.shape == Shape::Whole {
            return Step::Answered;
        }
        if code == Code::REQUEST_ENTITY_INCOMPLETE {
            return self.restart(self.size, code, restarts_max);
        }
        if !code.is_success() || self.is_last() {
            return Step::Answered;
        }
        // §2.3: an answer to a block alone has the Block1 option; without it, it can only be 2.31, or the last word.
        let Some(echoed) = response.block1() else {
            return if code == Code::CONTINUE { self.advance(self.size) } else { Step::Answered };
        };
        if echoed.offset() != self.offset && self.block().is_some_and(|sent| sent.number != echoed.number) {
            return Step::Failed(Failure::Incomprehensible);
        }
        self.advance(echoed.size.min(self.size))
    }

    /// The peer has the block: the next begins behind it, in the peer's size (RFC 7959 §2.5: NUM counts in the size used).
    fn advance(&mut self, size: BlockSize) -> Step {
        self.offset += self.length() as u64;
        self.resize(size)
    }

    /// Begins again, in blocks of `size`.
    fn restart(&mut self, size: BlockSize, code: Code, restarts_max: u8) -> Step {
        if self.restarts >= restarts_max {
            return Step::Failed(Failure::Restarts(code));
        }
        self.restarts += 1;
        (self.offset, self.shape) = (0, Shape::Blocks);
        self.resize(size)
    }

    fn resize(&mut self, size: BlockSize) -> Step {
        self.size = size;
        if self.total.div_ceil(size.bytes() as u64) > BLOCKS_MAX {
            return Step::Failed(Failure::TooManyBlocks);
        }
        Step::Next
    }

    /// The smaller size that a 4.13 asks for (RFC 7959 §2.9.3): by its Block1, or, from peers that mean it so, by a Size1 of
    /// less than was sent.
    fn smaller_size(&self, response: &Response) -> Option<BlockSize> {
        let sent = self.length() as u64;
        let asked = match (response.block1(), response.size1()) {
            (Some(block), _) => block.size,
            (None, Some(bytes)) if bytes as usize >= BlockSize::MIN.bytes() => {
                BlockSize::at_most(bytes.into())
            }
            (None, _) => return None,
        };
        ((asked.bytes() as u64) < sent).then_some(asked)
    }

    fn is_last(&self) -> bool {
        self.offset + self.length() as u64 >= self.total
    }
}
