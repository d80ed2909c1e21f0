//! Pieces of images in memory: devices that are sent, or fetch, the same image share them.

use crate::artifacts::Digest;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};

/// Length of a piece, in bytes: 64 blocks of the largest size, so that one read of the store serves many.
pub(super) const PIECE_BYTES: u64 = 64 * 1024;
/// Pieces kept: 16 MiB, whatever the images' sizes and however many devices are at it.
const PIECES_MAX: usize = 256;

/// Which piece of which image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Piece {
    /// The image.
    pub image: Digest,
    /// Its place: the piece begins at this many times [`PIECE_BYTES`].
    pub index: u64,
}

impl Piece {
    /// The piece that holds a byte.
    pub(super) fn at(image: Digest, offset: u64) -> Self {
        Self { image, index: offset / PIECE_BYTES }
    }

    /// Where it begins.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.index * PIECE_BYTES
    }

    /// How many bytes it has, of an image of `size`.
    #[must_use]
    pub fn length(&self, size: u64) -> u64 {
        PIECE_BYTES.min(size.saturating_sub(self.offset()))
    }
}

/// The pieces used last, and who waits for which that is being read.
#[derive(Debug)]
pub(super) struct Images<W> {
    kept: HashMap<Piece, (Bytes, u64)>,
    by_use: BTreeMap<u64, Piece>,
    uses: u64,
    waiting: HashMap<Piece, Vec<W>>,
}

impl<W> Images<W> {
    pub(super) fn new() -> Self {
        Self { kept: HashMap::new(), by_use: BTreeMap::new(), uses: 0, waiting: HashMap::new() }
    }

    /// The bytes of an image from `offset`, if they are here. Blocks never cross the edge of a piece: both are powers of two,
    /// aligned.
    pub(super) fn get(&mut self, image: &Digest, offset: u64, length: usize) -> Option<Vec<u8>> {
        let piece = Piece::at(*image, offset);
        let (bytes, used) = self.kept.get_mut(&piece)?;
        self.by_use.remove(used);
        self.uses += 1;
        *used = self.uses;
        let from = usize::try_from(offset - piece.offset()).unwrap_or(usize::MAX);
        let found = bytes.get(from..from.saturating_add(length)).unwrap_or_default().to_vec();
        self.by_use.insert(self.uses, piece);
        Some(found)
    }

    /// Has somebody wait for a piece; whether it is the first, for whom it must be read.
    pub(super) fn wait(&mut self, piece: &Piece, waiter: W) -> bool {
        let waiters = self.waiting.entry(piece.clone()).or_default();
        waiters.push(waiter);
        waiters.len() == 1
    }

    /// A piece was read, or could not be: who has waited for it.
    pub(super) fn put(&mut self, piece: Piece, bytes: Option<Bytes>) -> Vec<W> {
        let waiters = self.waiting.remove(&piece).unwrap_or_default();
        if let Some(bytes) = bytes {
            self.uses += 1;
            self.by_use.insert(self.uses, piece.clone());
            if let Some((_, before)) = self.kept.insert(piece, (bytes, self.uses)) {
                self.by_use.remove(&before);
            }
            while self.kept.len() > PIECES_MAX {
                let Some((_, oldest)) = self.by_use.pop_first() else { break };
                self.kept.remove(&oldest);
            }
        }
        waiters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(byte: u8) -> Digest {
        hex::encode([byte; 32]).parse().unwrap()
    }

    #[test]
    fn a_piece_is_read_once_for_all_who_wait_for_it() {
        let mut images = Images::new();
        let piece = Piece::at(image(1), 70_000);
        assert_eq!(images.get(&image(1), 70_000, 4), None);
        assert!(images.wait(&piece, "a"));
        assert!(!images.wait(&Piece::at(image(1), 65_536), "b"));
        assert!(images.wait(&Piece::at(image(2), 70_000), "c"));
        assert_eq!((piece.offset(), piece.length(70_010)), (65_536, 4_474));
        let bytes: Vec<u8> = (0..4_474_u32).map(|n| n as u8).collect();
        assert_eq!(images.put(piece, Some(bytes.clone().into())), ["a", "b"]);
        assert_eq!(images.get(&image(1), 70_000, 4), Some(bytes[4_464..4_468].to_vec()));
    }

    #[test]
    fn memory_does_not_grow_with_images_and_what_is_used_stays() {
        let mut images = Images::<()>::new();
        for n in 0..u64::try_from(3 * PIECES_MAX).unwrap() {
            images.get(&image(7), 0, 1);
            images.put(Piece::at(image(7), 0), Some(vec![7].into()));
            images.put(Piece { image: image(1), index: n }, Some(vec![1].into()));
            assert!(images.kept.len() <= PIECES_MAX && images.by_use.len() == images.kept.len());
        }
        assert_eq!(images.get(&image(7), 0, 1), Some(vec![7]));
    }

    #[test]
    fn who_waits_for_a_piece_that_cannot_be_read_is_told() {
        let mut images = Images::new();
        let piece = Piece::at(image(1), 0);
        images.wait(&piece, "a");
        assert_eq!(images.put(piece.clone(), None), ["a"]);
        assert!(images.wait(&piece, "a"), "the next try reads anew");
    }
}
