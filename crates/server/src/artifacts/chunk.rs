//! The buffers of the download path: a bounded number of large ones, used again and again, and small ones for the rest.
//!
//! Read inline, 64 KiB cost no more per byte than 1 MiB, and they stay in the second-level cache of the core, where
//! encryption and the copy to the socket find them: over TLS on one connection that is 1.5 times what nginx makes of a
//! CPU-second, and 256 KiB were 0.85 (`download` benchmark, a core with 512 KiB of that cache, shared). A thousand slow
//! readers must not hold a thousand of those, so readers that are slow, and readers that come when all are lent out,
//! get by with small ones: memory depends on neither file size nor pace.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Size of a large buffer, in bytes.
pub const LARGE_CHUNK_BYTES: usize = 64 << 10;
/// Most large buffers: 16 MiB in all, two for each of 128 fast downloads at a time.
pub const LARGE_CHUNKS_MAX: usize = 256;
/// Size of a small buffer, in bytes: one TLS record (RFC 8446 §5.1).
pub const SMALL_CHUNK_BYTES: usize = 16 << 10;

/// Which buffer a reader deserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkSize {
    /// [`LARGE_CHUNK_BYTES`], if one is free.
    Large,
    /// [`SMALL_CHUNK_BYTES`].
    Small,
}

/// The large buffers of one server.
#[derive(Debug, Default)]
pub struct ChunkPool {
    buffers: Mutex<Buffers>,
}

#[derive(Debug, Default)]
struct Buffers {
    free: Vec<Vec<u8>>,
    made: usize,
}

/// A filled buffer; a large one goes back to its pool when the last user of its bytes lets go.
struct Chunk {
    buffer: Vec<u8>,
    filled: usize,
    pool: Option<Arc<ChunkPool>>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            let buffer = std::mem::take(&mut self.buffer);
            pool.buffers.lock().unwrap_or_else(PoisonError::into_inner).free.push(buffer);
        }
    }
}

impl ChunkPool {
    /// Reads up to `remaining` bytes of the file from `offset` on, as many as the buffer holds.
    ///
    /// # Errors
    /// The file cannot be read, or ends before the buffer is full.
    pub fn read(
        self: &Arc<Self>,
        file: &File,
        offset: u64,
        remaining: u64,
        size: ChunkSize,
    ) -> io::Result<Bytes> {
        let wanted = usize::try_from(remaining).unwrap_or(usize::MAX);
        let pooled = match size {
            ChunkSize::Large if wanted > SMALL_CHUNK_BYTES => self.lend(),
            ChunkSize::Large | ChunkSize::Small => None,
        };
        let pool = pooled.is_some().then(|| Arc::clone(self));
        let buffer = pooled.unwrap_or_else(|| vec![0; wanted.min(SMALL_CHUNK_BYTES)]);
        let filled = wanted.min(buffer.len());
        let mut chunk = Chunk { buffer, filled, pool };
        file.read_exact_at(&mut chunk.buffer[..filled], offset)?;
        Ok(Bytes::from_owner(chunk))
    }

    fn lend(&self) -> Option<Vec<u8>> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let free = buffers.free.pop();
        if free.is_none() && buffers.made < LARGE_CHUNKS_MAX {
            buffers.made += 1;
            return Some(vec![0; LARGE_CHUNK_BYTES]);
        }
        free
    }

    /// How many large buffers are lent out.
    #[must_use]
    pub fn lent(&self) -> usize {
        let buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.made - buffers.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(bytes: usize) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(bytes as u64).unwrap();
        file
    }

    #[test]
    fn large_buffers_are_bounded_and_come_back() {
        let pool = Arc::new(ChunkPool::default());
        let file = file_of(LARGE_CHUNK_BYTES);
        let read = || pool.read(&file, 0, LARGE_CHUNK_BYTES as u64, ChunkSize::Large).unwrap();
        let held: Vec<_> = (0..LARGE_CHUNKS_MAX).map(|_| read()).collect();
        assert!(held.iter().all(|chunk| chunk.len() == LARGE_CHUNK_BYTES));
        assert_eq!(read().len(), SMALL_CHUNK_BYTES);
        drop(held);
        assert_eq!(pool.lent(), 0);
        assert_eq!(read().len(), LARGE_CHUNK_BYTES);
    }

    #[test]
    fn a_file_that_is_shorter_than_promised_is_an_error() {
        let pool = Arc::new(ChunkPool::default());
        let file = file_of(10);
        assert!(pool.read(&file, 0, 11, ChunkSize::Small).is_err());
        assert!(pool.read(&file, 0, LARGE_CHUNK_BYTES as u64, ChunkSize::Large).is_err());
        assert_eq!(pool.lent(), 0);
    }
}
