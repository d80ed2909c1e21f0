//! When to try again. Jitter is a stable hash, so that a fleet spreads and each device keeps its place.

use sha2::{Digest, Sha256};
use std::time::Duration;

/// Pause after the first failed check-in; doubles.
pub const CHECK_IN_PAUSE_MIN: Duration = Duration::from_secs(5);
/// Longest pause between failed check-ins.
pub const CHECK_IN_PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
/// Shortest time between two check-ins, whatever the server or a bug asks for.
pub const CHECK_IN_EVERY_MIN: Duration = Duration::from_millis(500);
/// Longest time between two check-ins, whatever the server asks for: a device must be reachable within a day.
pub const CHECK_IN_EVERY_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Pause after the first failed fetch; doubles.
pub const FETCH_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause between failed fetches.
pub const FETCH_PAUSE_MAX: Duration = Duration::from_secs(5 * 60);
/// Failed fetches without progress in between, before the update is given up: with the pauses above, more than
/// half an hour.
pub const FETCHES_FAILED_MAX: u32 = 14;
/// Progress that makes earlier failures forgotten, in bytes: a link that carries this much at a time gets there.
pub const FETCH_PROGRESS_BYTES: u64 = 64 * 1024;

/// The pause after the `failures`-th failure in a row, from 1: doubling from `min` to `max`, plus up to a quarter by
/// the device's hash.
#[must_use]
pub fn pause(id: &str, failures: u32, min: Duration, max: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    let base = min.saturating_mul(1 << doublings).min(max);
    base + spread(id, &failures.to_string(), base / 4)
}

/// A device's place in `0..width`: the same for the same device and occasion.
#[must_use]
pub fn spread(id: &str, occasion: &str, width: Duration) -> Duration {
    let digest = Sha256::digest(format!("{id}\0{occasion}"));
    let share = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    width.mul_f64(f64::from(share) / (f64::from(u32::MAX) + 1.0))
}
