//! Live tokens in memory: from a digest to whom it stands for.
//!
//! A check-in asks this before anything else, a hundred thousand times per second, and a fleet of a million devices has
//! a million tokens. So a token costs 24 bytes and its subject's name, and a lookup takes a shared lock, a binary search
//! over a few thousand neighbours and no I/O. SHA-256 spreads evenly, so its first byte picks the shard.
//!
//! A pre-shared key that a device was made with is here too, behind its subject's name: it is asked for within a handshake,
//! which cannot wait for the database.
//!
//! Deliberately absent: the tokens themselves, and what only lists need (IDs, notes, revoked ones); the database has it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{PoisonError, RwLock};

use sha2::{Digest as _, Sha256};
use updraft_core::id::DeviceId;
use updraft_core::time::Timestamp;

use super::{Kind, Principal};
use crate::store::TokenForm;

/// How many shards: a token made or revoked moves a 256th of the slots at most, and writers block few readers.
const SHARDS: usize = 256;
/// Bytes of the digest that are kept. To be taken for one of a million tokens by chance or by search takes 2^108
/// tries; the full digest is in the database.
const KEY_BYTES: usize = 16;
/// The expiry of a token that has none, in seconds since 1970: the year 2106.
const NEVER: u32 = u32::MAX;
/// A shard's names are packed again when more than this many bytes of them are dead, and more than half.
const DEAD_BYTES_MIN: usize = 512;

const KINDS: [Kind; 3] = [Kind::Device, Kind::Product, Kind::Operator];

/// A SHA-256.
pub(super) type Digest = [u8; 32];

#[derive(Debug)]
struct Slot {
    key: [u8; KEY_BYTES],
    expires: u32,
    name_at: u32,
}

/// Slots sorted by key, and the names they point to: form and kind, length, bytes; and for a pre-shared key its own length
/// and bytes, none if it follows from its identity.
#[derive(Debug, Default)]
struct Shard {
    slots: Vec<Slot>,
    names: Vec<u8>,
    dead_bytes: usize,
}

/// A device's ID in eight bytes, of which no two meet by chance.
fn short(device: &DeviceId) -> u64 {
    let digest = Sha256::digest(device.as_str().as_bytes());
    u64::from_be_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))
}

/// All live tokens.
#[derive(Debug)]
pub(super) struct Index {
    shards: Vec<RwLock<Shard>>,
    /// How many pre-shared keys each device has, by a digest of its ID.
    psk_devices: RwLock<HashMap<u64, u32>>,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| RwLock::default()).collect(), psk_devices: RwLock::default() }
    }

    /// Adds a token, in place of one with the same digest.
    pub(super) fn insert(
        &self,
        digest: &Digest,
        form: TokenForm,
        principal: &Principal,
        expires: Option<Timestamp>,
    ) {
        let rest: &[&[u8]] = match form {
            TokenForm::Text | TokenForm::Certificate | TokenForm::AccessKey => &[],
            // It follows from its identity.
            TokenForm::Psk => &[&[0]],
        };
        self.put(digest, tag(form, principal.kind()), principal.name().as_bytes(), rest, expires);
    }

    /// Adds a pre-shared key of a device by its identity's digest; with its bytes, unless they follow from the identity.
    pub(super) fn insert_psk(
        &self,
        digest: &Digest,
        device: &DeviceId,
        bytes: Option<&[u8]>,
        expires: Option<Timestamp>,
    ) {
        let bytes = bytes.unwrap_or_default();
        let length = [u8::try_from(bytes.len()).expect("a pre-shared key has at most 64 bytes")];
        let tag = tag(TokenForm::Psk, Kind::Device);
        if self.find_psk(digest, Timestamp::from_millis(0)).is_none() {
            let mut devices = self.psk_devices.write().unwrap_or_else(PoisonError::into_inner);
            *devices.entry(short(device)).or_default() += 1;
        }
        self.put(digest, tag, device.as_str().as_bytes(), &[&length, bytes], expires);
    }

    fn put(&self, digest: &Digest, tag: u8, name: &[u8], rest: &[&[u8]], expires: Option<Timestamp>) {
        let length = u8::try_from(name.len()).expect("names have at most 128 bytes");
        let mut entry = vec![tag, length];
        entry.extend_from_slice(name);
        rest.iter().for_each(|part| entry.extend_from_slice(part));
        let expires = expires.map_or(NEVER, seconds);
        self.write(digest, |shard| shard.insert(key(digest), &entry, expires));
    }

    /// Removes a token; a lookup that begins after this returned does not find it.
    pub(super) fn remove(&self, digest: &Digest) {
        if let Some((device, _)) = self.find_psk(digest, Timestamp::from_millis(0)) {
            let mut devices = self.psk_devices.write().unwrap_or_else(PoisonError::into_inner);
            if let Entry::Occupied(mut held) = devices.entry(short(&device)) {
                *held.get_mut() -= 1;
                if *held.get() == 0 {
                    held.remove();
                }
            }
        }
        self.write(digest, |shard| shard.remove(&key(digest)));
    }

    /// Whom a token stands for, if it is live at `now` and was presented in its own form.
    ///
    /// The comparison may take longer the more bytes agree. That tells an attacker about digests, and to have a digest
    /// that shares its first bytes with a token's is of no use: the token is not nearer for it.
    pub(super) fn find(&self, digest: &Digest, form: TokenForm, now: Timestamp) -> Option<Principal> {
        self.read(digest, now, |shard, name_at| shard.principal(name_at, form))
    }

    /// Whose a pre-shared key is, if it is live at `now`, and its bytes, unless they follow from its identity.
    pub(super) fn find_psk(&self, digest: &Digest, now: Timestamp) -> Option<(DeviceId, Option<Vec<u8>>)> {
        self.read(digest, now, |shard, name_at| {
            let Principal::Device(device) = shard.principal(name_at, TokenForm::Psk)? else { return None };
            let bytes = shard.psk(name_at);
            Some((device, (!bytes.is_empty()).then(|| bytes.to_vec())))
        })
    }

    /// Whether a device has a pre-shared key that is not revoked, be it expired.
    pub(super) fn has_psk(&self, device: &DeviceId) -> bool {
        self.psk_devices.read().unwrap_or_else(PoisonError::into_inner).contains_key(&short(device))
    }

    /// Reads what a slot points to, if there is one and it is live at `now`.
    fn read<T>(
        &self,
        digest: &Digest,
        now: Timestamp,
        take: impl FnOnce(&Shard, u32) -> Option<T>,
    ) -> Option<T> {
        let shard = self.shards[usize::from(digest[0])].read().unwrap_or_else(PoisonError::into_inner);
        let at = shard.slots.binary_search_by_key(&key(digest), |slot| slot.key).ok()?;
        let slot = &shard.slots[at];
        if slot.expires > seconds(now) { take(&shard, slot.name_at) } else { None }
    }

    /// How many tokens there are, expired ones that nobody removed among them.
    pub(super) fn len(&self) -> usize {
        let count = |shard: &RwLock<Shard>| shard.read().unwrap_or_else(PoisonError::into_inner).slots.len();
        self.shards.iter().map(count).sum()
    }

    /// Gives back memory that growing left over; for the end of loading.
    pub(super) fn shrink(&self) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.slots.shrink_to_fit();
            shard.names.shrink_to_fit();
        }
    }

    fn write(&self, digest: &Digest, change: impl FnOnce(&mut Shard)) {
        // A shard is whole between any two of its statements that can panic, so a poisoned lock hides nothing broken.
        let mut shard = self.shards[usize::from(digest[0])].write().unwrap_or_else(PoisonError::into_inner);
        change(&mut shard);
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        let bytes = |shard: &Shard| shard.slots.capacity() * size_of::<Slot>() + shard.names.capacity();
        self.shards.iter().map(|shard| bytes(&shard.read().unwrap())).sum()
    }
}

impl Shard {
    fn insert(&mut self, key: [u8; KEY_BYTES], entry: &[u8], expires: u32) {
        self.remove(&key);
        let name_at = u32::try_from(self.names.len()).expect("a shard's names are packed long before 4 GiB");
        self.names.extend_from_slice(entry);
        let at = self.slots.partition_point(|slot| slot.key < key);
        if self.slots.len() == self.slots.capacity() {
            // An eighth, not double: a million slots must not cost the memory of two.
            self.slots.reserve_exact(self.slots.len() / 8 + 8);
        }
        self.slots.insert(at, Slot { key, expires, name_at });
    }

    fn remove(&mut self, key: &[u8; KEY_BYTES]) {
        let Ok(at) = self.slots.binary_search_by_key(key, |slot| slot.key) else { return };
        let slot = self.slots.remove(at);
        self.dead_bytes += self.entry(slot.name_at).len();
        if self.dead_bytes > DEAD_BYTES_MIN && self.dead_bytes * 2 > self.names.len() {
            self.pack();
        }
    }

    /// The name with its tag and length, and what follows it.
    fn entry(&self, at: u32) -> &[u8] {
        let name = self.name(at);
        let rest = if is_psk(name[0]) { 1 + self.psk(at).len() } else { 0 };
        &self.names[at as usize..][..name.len() + rest]
    }

    /// The name with its tag and length.
    fn name(&self, at: u32) -> &[u8] {
        let name = &self.names[at as usize..];
        &name[..2 + usize::from(name[1])]
    }

    /// The bytes of a pre-shared key, which follow its name.
    fn psk(&self, at: u32) -> &[u8] {
        let rest = &self.names[at as usize + self.name(at).len()..];
        &rest[1..][..usize::from(rest[0])]
    }

    fn principal(&self, name_at: u32, form: TokenForm) -> Option<Principal> {
        let name = self.name(name_at);
        let kind = KINDS.into_iter().find(|kind| tag(form, *kind) == name[0])?;
        Principal::new(kind, std::str::from_utf8(&name[2..]).ok()?).ok()
    }

    /// Drops the names that no slot points to.
    fn pack(&mut self) {
        let mut names = Vec::with_capacity(self.names.len() - self.dead_bytes);
        for at in 0..self.slots.len() {
            let name_at = self.slots[at].name_at;
            self.slots[at].name_at = u32::try_from(names.len()).expect("packing makes no name longer");
            names.extend_from_slice(self.entry(name_at));
        }
        self.names = names;
        self.dead_bytes = 0;
    }
}

/// Form and kind in one byte.
fn tag(form: TokenForm, kind: Kind) -> u8 {
    let form = match form {
        TokenForm::Text => 0,
        TokenForm::Certificate => 1,
        TokenForm::AccessKey => 2,
        TokenForm::Psk => PSK,
    };
    form << 4 | kind as u8
}

/// The form of a pre-shared key in a tag.
const PSK: u8 = 3;

fn is_psk(tag: u8) -> bool {
    tag >> 4 == PSK
}

fn key(digest: &Digest) -> [u8; KEY_BYTES] {
    *digest.first_chunk().expect("a digest is longer than a key")
}

/// Whole seconds since 1970, rounded down, so that a token ends up to a second early and never late.
fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_millis().max(0) / 1000).unwrap_or(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u32) -> Digest {
        Sha256::digest(number.to_le_bytes()).into()
    }

    fn device(number: u32) -> Principal {
        Principal::new(Kind::Device, &format!("DEV{number:07}")).unwrap()
    }

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn each_token_finds_its_own_device_and_a_removed_one_nobody() {
        let index = Index::new();
        for number in 0..20_000 {
            index.insert(&digest(number), TokenForm::Text, &device(number), None);
        }
        assert_eq!(index.len(), 20_000);
        for number in (0..20_000).filter(|number| number % 4 != 0) {
            index.remove(&digest(number));
        }
        assert_eq!(index.len(), 5_000);
        for number in 0..20_000 {
            let expected = (number % 4 == 0).then(|| device(number));
            assert_eq!(index.find(&digest(number), TokenForm::Text, NOW), expected, "{number}");
        }
        assert!(index.bytes() < 20_000 * 40, "the names of removed tokens are given back");
    }

    #[test]
    fn a_token_is_good_until_its_expiry_and_not_after() {
        let index = Index::new();
        let expires = NOW.plus(std::time::Duration::from_secs(10));
        index.insert(&digest(1), TokenForm::Text, &device(1), Some(expires));
        assert!(
            index
                .find(&digest(1), TokenForm::Text, Timestamp::from_millis(expires.as_millis() - 1_001))
                .is_some()
        );
        assert!(index.find(&digest(1), TokenForm::Text, expires).is_none());
        assert!(index.find(&digest(1), TokenForm::Text, Timestamp::from_millis(i64::MAX)).is_none());
    }

    #[test]
    fn a_token_presented_in_another_form_than_its_own_is_nobody() {
        let forms = [TokenForm::Text, TokenForm::Certificate, TokenForm::AccessKey, TokenForm::Psk];
        let index = Index::new();
        for (number, form) in (0..).zip(forms) {
            index.insert(&digest(number), form, &device(number), None);
        }
        for (number, form) in (0..).zip(forms) {
            for presented in forms {
                let expected = (presented == form).then(|| device(number));
                assert_eq!(index.find(&digest(number), presented, NOW), expected);
            }
        }
    }

    #[test]
    fn pre_shared_keys_keep_their_own_bytes_while_others_come_and_go() {
        let index = Index::new();
        let name = |number: u32| -> DeviceId { format!("DEV{number:07}").parse().unwrap() };
        let bytes = |number: u32| {
            let length = usize::try_from(number).unwrap() % 65;
            (length > 0).then(|| vec![number.to_le_bytes()[0]; length])
        };
        for number in 0..20_000 {
            index.insert_psk(&digest(number), &name(number), bytes(number).as_deref(), None);
            index.insert(&digest(number + 20_000), TokenForm::Text, &device(number), None);
        }
        for number in (0..20_000).filter(|number| number % 4 != 0) {
            index.remove(&digest(number));
        }
        for number in 0..20_000 {
            let expected = (number % 4 == 0).then(|| (name(number), bytes(number)));
            assert_eq!(index.find_psk(&digest(number), NOW), expected, "{number}");
            assert_eq!(index.find_psk(&digest(number + 20_000), NOW), None, "a text is no pre-shared key");
            let text = index.find(&digest(number + 20_000), TokenForm::Text, NOW);
            assert_eq!(text, Some(device(number)));
        }
    }

    #[test]
    fn a_hundred_thousand_pre_shared_keys_take_at_most_80_bytes_each() {
        let index = Index::new();
        for number in 0..100_000 {
            let name = format!("DEV{number:07}").parse().unwrap();
            index.insert_psk(&digest(number), &name, Some(&[7; 16]), None);
        }
        assert!(index.bytes() <= 100_000 * 80, "{} bytes", index.bytes());
        index.shrink();
        assert!(index.bytes() <= 100_000 * 56, "{} bytes", index.bytes());
    }

    #[test]
    fn a_hundred_thousand_tokens_take_at_most_64_bytes_each() {
        let index = Index::new();
        for number in 0..100_000 {
            index.insert(&digest(number), TokenForm::Text, &device(number), None);
        }
        assert!(index.bytes() <= 100_000 * 64, "{} bytes", index.bytes());
        index.shrink();
        assert!(index.bytes() <= 100_000 * 40, "{} bytes", index.bytes());
    }
}
