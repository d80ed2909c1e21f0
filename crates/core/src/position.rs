//! A device's place in a line: a stable hash that spreads devices evenly and is the same on every server.
//!
//! Waves, percentages and check-in jitter all cut this line, so a device keeps its turn when a server restarts,
//! another server answers, or the percentage grows: who was in at 10 % is in at 20 %. The hash is fixed for ever;
//! golden values in the tests hold it. It is no protection against a device that picks its own id to be early.

/// How many places the line has: hundredths of a percent.
pub const POSITIONS: u16 = 10_000;

/// The place of `device` in the line drawn by `salt` (a rollout's id, for example), in `0..10_000`.
///
/// Different salts give independent lines, so the same devices are not always the first ones.
#[must_use]
pub fn position(device: &str, salt: &str) -> u16 {
    scale(stable_hash(device, salt), POSITIONS)
}

/// A 64-bit hash of `text` and `salt` that never changes between builds, machines or versions of Updraft.
///
/// FNV-1a (64 bits) over the bytes of `text`, the byte `0xFF`, which no UTF-8 text contains, and the bytes of
/// `salt`; then the 64-bit finaliser of MurmurHash3, because the high bits of FNV-1a alone are not even for short
/// texts that differ in the last character.
#[must_use]
pub fn stable_hash(text: &str, salt: &str) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    const SEPARATOR: [u8; 1] = [0xFF];

    let mut hash = OFFSET_BASIS;
    for byte in text.as_bytes().iter().chain(&SEPARATOR).chain(salt.as_bytes()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    finalise(hash)
}

/// The finaliser of MurmurHash3 for 64 bits: every input bit changes every output bit with even odds.
fn finalise(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Maps a hash onto `0..places` by its high bits, without the bias of a remainder.
fn scale(hash: u64, places: u16) -> u16 {
    let place = (u128::from(hash) * u128::from(places)) >> 64;
    u16::try_from(place).expect("a product of places and a fraction below one is below places")
}
