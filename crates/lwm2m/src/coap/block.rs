//! Blocks of a body (RFC 7959 §2.2): the option's value, and one block of a file without any state.

use super::message::Code;
use super::request::Response;

/// The most blocks a body may have: NUM has 20 bits (RFC 7959 §2.2).
pub const BLOCKS_MAX: u64 = 1 << 20;

/// The size of a block: 16 to 1024 bytes, by powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockSize(u8);

impl BlockSize {
    /// 16 bytes.
    pub const MIN: Self = Self(0);
    /// 1024 bytes.
    pub const MAX: Self = Self(6);

    /// The size of this exponent (SZX); `None` for 7, which is reserved over UDP (RFC 7959 §2.2, RFC 8323 §6).
    #[must_use]
    pub const fn from_exponent(exponent: u8) -> Option<Self> {
        if exponent <= Self::MAX.0 { Some(Self(exponent)) } else { None }
    }

    /// The largest size of at most `bytes`; 16 where even that is more.
    #[must_use]
    pub fn at_most(bytes: u64) -> Self {
        (0..=Self::MAX.0).rev().map(Self).find(|size| size.bytes() as u64 <= bytes).unwrap_or(Self::MIN)
    }

    /// The exponent (SZX).
    #[must_use]
    pub const fn exponent(self) -> u8 {
        self.0
    }

    /// Bytes of a full block.
    #[must_use]
    pub const fn bytes(self) -> usize {
        1 << (self.0 + 4)
    }

    /// The longest body in blocks of this size: 16 MiB at 16 bytes, 1 GiB at 1024.
    #[must_use]
    pub const fn body_bytes_max(self) -> u64 {
        BLOCKS_MAX * self.bytes() as u64
    }
}

/// The value of a Block1 or Block2 option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Which block, counted in blocks of `size` from 0.
    pub number: u32,
    /// Whether more blocks follow.
    pub more: bool,
    /// The size of a block.
    pub size: BlockSize,
}

impl Block {
    /// The block of `size` which begins at `offset`; `None` where none begins there, or the number has more than 20 bits.
    #[must_use]
    pub fn at(offset: u64, more: bool, size: BlockSize) -> Option<Self> {
        let bytes = size.bytes() as u64;
        let number = u32::try_from(offset / bytes).ok()?;
        (offset.is_multiple_of(bytes) && u64::from(number) < BLOCKS_MAX).then_some(Self {
            number,
            more,
            size,
        })
    }

    /// The block this option's value means; `None` for the reserved size and for values of more than 3 bytes.
    #[must_use]
    pub fn from_value(value: u32) -> Option<Self> {
        let size = BlockSize::from_exponent((value & 0b111) as u8)?;
        let number = value >> 4;
        (u64::from(number) < BLOCKS_MAX).then_some(Self { number, more: value & 0b1000 != 0, size })
    }

    /// The option's value.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.number << 4 | (self.more as u32) << 3 | self.size.0 as u32
    }

    /// Where the block begins in the body.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.number as u64 * self.size.bytes() as u64
    }
}

/// One block of a file, to be read and sent: what `serve` decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub length: usize,
    /// The Block2 option of the response.
    pub block: Block,
    /// Bytes of the whole file, for Size2; said with the first block.
    pub size2: Option<u32>,
}

/// Which bytes of a file of `total` bytes answer a request with this Block2 option, in blocks of at most `largest`.
///
/// Nothing is remembered: any block may be asked at any time, in any size (RFC 7959 §2.4). Every response needs the file's
/// ETag, the same for each block and each server, so that a download may be resumed.
///
/// # Errors
/// 4.00 for a block that begins past the end; 5.00 where the file has more than 2^20 blocks of that size.
pub fn serve(asked: Option<Block>, total: u64, largest: BlockSize) -> Result<Slice, Code> {
    let offset = asked.map_or(0, Block::offset);
    let size = asked.map_or(largest, |asked| asked.size.min(largest));
    if offset > 0 && offset >= total {
        return Err(Code::BAD_REQUEST);
    }
    let length = usize::try_from(total - offset).unwrap_or(usize::MAX).min(size.bytes());
    let more = offset + (length as u64) < total;
    let block = Block::at(offset, more, size).ok_or(Code::INTERNAL_SERVER_ERROR)?;
    let size2 = if offset == 0 { u32::try_from(total).ok() } else { None };
    Ok(Slice { offset, length, block, size2 })
}

impl Slice {
    /// The response with this block's bytes.
    #[must_use]
    pub fn response(self, content_format: u16, etag: &[u8], bytes: Vec<u8>) -> Response {
        Response::content(content_format, bytes).with_etag(etag).with_block2(self.block, self.size2)
    }
}
