//! When a device is asked to come next.

use std::time::Duration;
use updraft_core::rollout::POSITIONS;
use updraft_core::time::Timestamp;

/// Seconds until a device should come again.
///
/// Each device has its own place in the interval, by a stable hash (`position`, 0 to 9999). It is sent to the next
/// occurrence of that place that is at least half an interval away: so a fleet that comes back all at once after an
/// outage has spread over the interval one check-in later, and stays spread.
#[must_use]
pub fn next_check_in_s(now: Timestamp, position: u16, interval: Duration) -> u64 {
    let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1_000);
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(0);
    let place_ms = (u128::from(interval_ms) * u128::from(position) / u128::from(POSITIONS)) as u64;
    let until_place_ms = (place_ms + interval_ms - now_ms % interval_ms) % interval_ms;
    let wait_ms =
        if until_place_ms < interval_ms / 2 { until_place_ms + interval_ms } else { until_place_ms };
    wait_ms.div_ceil(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(900);

    #[test]
    fn the_wait_is_between_a_half_and_one_and_a_half_intervals() {
        for now in (0..2_000_000).step_by(7_919) {
            for position in (0..POSITIONS).step_by(97) {
                let wait = next_check_in_s(Timestamp::from_millis(now), position, INTERVAL);
                assert!((450..=1350).contains(&wait), "{now} {position}: {wait}");
            }
        }
    }

    #[test]
    fn a_fleet_that_comes_at_once_is_spread_evenly_one_check_in_later() {
        let now = 1_700_000_000_000;
        let mut tenths = [0u32; 10];
        for position in 0..POSITIONS {
            let wait = next_check_in_s(Timestamp::from_millis(now), position, INTERVAL);
            let then = u64::try_from(now).unwrap() / 1000 + wait;
            tenths[usize::try_from(then % 900 / 90).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (900..=1_100).contains(count)), "{tenths:?}");
    }

    #[test]
    fn a_clock_before_1970_and_the_longest_interval_do_no_harm() {
        assert!(next_check_in_s(Timestamp::from_millis(-5), 9_999, INTERVAL) > 0);
        assert!(next_check_in_s(Timestamp::from_millis(5), 9_999, Duration::from_secs(366 * 86_400)) > 0);
    }
}
