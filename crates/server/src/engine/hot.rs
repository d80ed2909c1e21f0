//! Check-ins that need no decision: the same device says the same thing, and nothing has changed for it.
//!
//! A cache in front of the fleet, keyed by what the device sent, byte for byte. An entry says: these bytes were taken
//! in, are in the store, and led to "nothing to do", which holds while the fleet's generation stays and until a time.
//! Losing an entry costs one look by the engine; nothing depends on its being there.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A shard is locked for the time of one lookup; this many make collisions of a few threads rare.
const SHARDS: usize = 64;
/// Most entries in all: one per device, and a bound on memory should there be more.
const ENTRIES_MAX: usize = 8_000_000;

/// Names what a device sent: 128 bits of SHA-256 over the contract, the credential and the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Key([u8; 16]);

impl Key {
    /// The key of a check-in.
    #[must_use]
    pub fn of(contract: u8, credential: &str, body: &[u8]) -> Self {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        hash.update([contract]);
        // The length keeps credential and body apart.
        hash.update((credential.len() as u64).to_le_bytes());
        hash.update(credential.as_bytes());
        hash.update(body);
        let digest = hash.finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        Self(key)
    }

    fn word(self, index: usize) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.0[index * 8..][..8]);
        u64::from_le_bytes(word)
    }
}

/// What is known of a device that has nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The device's number in the store.
    pub number: u32,
    /// The fleet's generation at which nothing was to do; only the low 32 bits, which come round after four billion
    /// changes of rollouts.
    pub generation: u32,
    /// Until when time alone changes nothing: seconds since 1970.
    pub until_s: u32,
    /// The device's place in the check-in interval, 0 to 9999.
    pub position: u16,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.word(0));
    }
}

/// A digest needs no hashing: its words are as good as any hash of them.
#[derive(Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a key hashes as one word");
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Shard = HashMap<Key, Settled, BuildHasherDefault<DigestHasher>>;

/// The cache, shared by all threads.
pub struct Hot {
    shards: Box<[Mutex<Shard>]>,
}

impl Default for Hot {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Hot {
    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        // The second word, since the first places the entry within the shard.
        let index = usize::try_from(key.word(1) % SHARDS as u64).unwrap_or(0);
        // A panic while a shard was locked cannot leave it torn: every change is one call on the map.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the device that sent this, if it still holds.
    #[must_use]
    pub fn get(&self, key: Key, generation: u32, now_s: u32) -> Option<Settled> {
        let settled = *self.shard(key).get(&key)?;
        (settled.generation == generation && now_s < settled.until_s).then_some(settled)
    }

    pub(super) fn insert(&self, key: Key, settled: Settled) {
        let mut shard = self.shard(key);
        if shard.len() < ENTRIES_MAX / SHARDS || shard.contains_key(&key) {
            shard.insert(key, settled);
        }
    }

    pub(super) fn remove(&self, key: Key) {
        self.shard(key).remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLED: Settled = Settled { number: 7, generation: 3, until_s: 100, position: 42 };

    #[test]
    fn an_entry_holds_for_its_generation_and_its_time_only() {
        let hot = Hot::default();
        let key = Key::of(1, "token", b"{}");
        hot.insert(key, SETTLED);
        assert_eq!(hot.get(key, 3, 99), Some(SETTLED));
        assert_eq!(hot.get(key, 4, 99), None);
        assert_eq!(hot.get(key, 3, 100), None);
        hot.remove(key);
        assert_eq!(hot.get(key, 3, 99), None);
    }

    #[test]
    fn contract_credential_and_body_each_make_another_key() {
        let keys =
            [Key::of(1, "ab", b"c"), Key::of(2, "ab", b"c"), Key::of(1, "a", b"bc"), Key::of(1, "ab", b"d")];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key));
        }
    }
}
