//! Room for bodies that come block by block: one peer's is bounded by its length, those of all peers by this.

use super::config::Config;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes of unfinished bodies the peers of one endpoint may hold together. It counts in the `Config` that they share.
#[derive(Debug)]
pub struct Room {
    bytes_max: usize,
    taken: AtomicUsize,
}

impl Room {
    /// Room for so many bytes.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, taken: AtomicUsize::new(0) }
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        // Only ever a count: nothing else is ordered by it.
        self.taken.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let more = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= self.bytes_max);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// As much room for other peers, and nothing in it.
impl Clone for Room {
    fn clone(&self) -> Self {
        Self::new(self.bytes_max)
    }
}

/// Alike if as much fits: what is in it is not a setting.
impl PartialEq for Room {
    fn eq(&self, other: &Self) -> bool {
        self.bytes_max == other.bytes_max
    }
}

impl Eq for Room {}

/// The room that one body takes, until it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    config: Arc<Config>,
    bytes: usize,
}

impl Lease {
    /// No room yet.
    pub(super) fn new(config: &Arc<Config>) -> Self {
        Self { config: config.clone(), bytes: 0 }
    }

    /// Takes what is missing to so many bytes; whether there was so much.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let grows = self.config.bodies.take(bytes.saturating_sub(self.bytes));
        if grows {
            self.bytes = self.bytes.max(bytes);
        }
        grows
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.config.bodies.give_back(self.bytes);
    }
}
