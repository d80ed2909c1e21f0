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

/// Pause after the first failed connection; doubles.
pub const CONNECT_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause between failed connections, before the jitter that may double it: a trial that waits for the server has
/// five minutes.
pub const CONNECT_PAUSE_MAX: Duration = Duration::from_secs(2 * 60);

/// How long after its start a machine counts as just switched on: other devices may have been, at the same moment.
const POWER_UP: Duration = Duration::from_secs(5 * 60);
/// How long the kernel has run, in seconds, as the first word.
const UPTIME_PATH: &str = "/proc/uptime";

/// Over which time the first connections of a fleet are spread: not at all, unless this machine was just switched on.
#[must_use]
pub fn start_delay(delay: Duration) -> Duration {
    let uptime = std::fs::read_to_string(UPTIME_PATH).unwrap_or_default();
    delay_after(&uptime, delay)
}

fn delay_after(uptime: &str, delay: Duration) -> Duration {
    let seconds = uptime.split_whitespace().next().and_then(|seconds| seconds.parse::<f64>().ok());
    // Where nothing is known of it, each start may be a fleet's.
    let is_power_up = seconds.is_none_or(|seconds| seconds < POWER_UP.as_secs_f64());
    if is_power_up { delay } else { Duration::ZERO }
}

/// The pause before connecting again, after the `failures`-th connection in a row that failed or soon ended: doubling,
/// plus up to as much again by the device's hash. A server that restarts loses all devices at one moment, and must not
/// get them back at one.
#[must_use]
pub fn connect_pause(id: &str, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    let base = CONNECT_PAUSE_MIN.saturating_mul(1 << doublings).min(CONNECT_PAUSE_MAX);
    base + spread(id, &format!("connect {failures}"), base)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_machine_that_was_just_switched_on_holds_its_registration_back() {
        let delay = Duration::from_secs(30);
        for (uptime, expected) in [
            ("12.34 40.00\n", delay),
            ("299.99 1.00\n", delay),
            ("300.00 1.00\n", Duration::ZERO),
            ("37451.07 1.00\n", Duration::ZERO),
            ("", delay),
        ] {
            assert_eq!(delay_after(uptime, delay), expected, "{uptime:?}");
        }
    }

    #[test]
    fn a_fleet_that_lost_its_server_at_one_moment_comes_back_spread_and_each_device_at_its_own_place() {
        let pauses: Vec<_> = (0..1000).map(|n| connect_pause(&format!("device-{n}"), 4)).collect();
        let (base, width) = (CONNECT_PAUSE_MIN * 8, 8);
        for tenth in 0..10 {
            let from = base + CONNECT_PAUSE_MIN * width * tenth / 10;
            let in_it = pauses
                .iter()
                .filter(|at| (from..from + CONNECT_PAUSE_MIN * width / 10).contains(*at))
                .count();
            assert!((60..140).contains(&in_it), "{in_it} of 1000 devices in tenth {tenth}");
        }
        assert_eq!(connect_pause("device-1", 4), pauses[1]);
        assert!(connect_pause("device-1", u32::MAX) <= 2 * CONNECT_PAUSE_MAX);
    }
}
