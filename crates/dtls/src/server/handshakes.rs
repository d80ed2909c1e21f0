//! Handshakes under way. How many there are is counted by what is there, so that none is counted for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::pace::source_of;
use crate::mbed::{Context, Seen};
use crate::record::{Cid, Hello};

/// A handshake under way, of a peer that has shown that it hears at its address.
pub(super) struct Handshake {
    pub(super) context: Context,
    /// The connection ID that it will have.
    pub(super) cid: Cid,
    /// How it began: the same again is a repetition.
    pub(super) hello: Hello,
    pub(super) seen: Seen,
    /// When it has taken too long.
    pub(super) ends_ms: u64,
}

impl Handshake {
    fn due_ms(&self) -> u64 {
        self.context.due_ms().map_or(self.ends_ms, |due| due.min(self.ends_ms))
    }
}

/// Handshakes under way, one for each address.
#[derive(Default)]
pub(super) struct Handshakes {
    by_address: BTreeMap<SocketAddr, (u64, Handshake)>,
    due: BTreeSet<(u64, SocketAddr)>,
}

impl Handshakes {
    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Whether a source has as many as it may. Ordered by address, those of one source stand together.
    pub(super) fn is_full_for(&self, address: SocketAddr, max: usize) -> bool {
        if self.len() < max {
            return false;
        }
        let (first, last) = source_of(address);
        self.by_address.range(first..=last).take(max).count() >= max
    }

    pub(super) fn get(&self, address: SocketAddr) -> Option<&Handshake> {
        self.by_address.get(&address).map(|(_, handshake)| handshake)
    }

    /// Takes one out: to go on with it, or for good.
    pub(super) fn take(&mut self, address: SocketAddr) -> Option<Handshake> {
        let (due, handshake) = self.by_address.remove(&address)?;
        self.due.remove(&(due, address));
        Some(handshake)
    }

    /// Puts one in, in the place of any before it.
    pub(super) fn put(&mut self, address: SocketAddr, handshake: Handshake) {
        let due = handshake.due_ms();
        if let Some((before, _)) = self.by_address.insert(address, (due, handshake)) {
            self.due.remove(&(before, address));
        }
        self.due.insert((due, address));
    }

    /// When something is to be done next.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due, _)| *due)
    }

    /// For whom something is to be done.
    pub(super) fn due(&self, now_ms: u64) -> Vec<SocketAddr> {
        self.due.iter().take_while(|(due, _)| *due <= now_ms).map(|(_, address)| *address).collect()
    }
}
