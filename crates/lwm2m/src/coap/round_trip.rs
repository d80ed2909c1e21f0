//! How long an acknowledgement takes: the estimate of RFC 6298, with Karn's rule and a floor.

use super::config::Config;
use std::time::Duration;

/// The longest first wait: a path slower than this is away, whatever the estimate says.
const TIMEOUT_MS_MAX: u32 = 60_000;

/// The estimate towards one peer; all zero while nothing is known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RoundTrip {
    /// SRTT; 0 while unknown.
    smoothed_ms: u32,
    /// RTTVAR.
    variation_ms: u32,
    /// The wait that was long enough when the estimate was not; 0 while the estimate stands (RFC 6298 §5.7).
    backed_off_ms: u32,
}

impl RoundTrip {
    /// How long to wait for the acknowledgement of the next message, before the random factor.
    pub(super) fn timeout(&self, config: &Config) -> Duration {
        let estimate = match (self.backed_off_ms, self.smoothed_ms) {
            (0, 0) => return config.ack_timeout,
            (0, smoothed) => smoothed.saturating_add(self.variation_ms.saturating_mul(4)),
            (backed_off, _) => backed_off,
        };
        Duration::from_millis(estimate.min(TIMEOUT_MS_MAX).into()).max(config.ack_timeout_min)
    }

    /// A message sent once was acknowledged after `sample`.
    pub(super) fn handle_sample(&mut self, sample: Duration) {
        let sample = millis(sample).max(1);
        self.backed_off_ms = 0;
        if self.smoothed_ms == 0 {
            (self.smoothed_ms, self.variation_ms) = (sample, sample / 2);
            return;
        }
        // RFC 6298 §2.3: beta is 1/4, alpha is 1/8; the variation first.
        let error = self.smoothed_ms.abs_diff(sample);
        self.variation_ms = (self.variation_ms / 4).saturating_mul(3).saturating_add(error / 4);
        self.smoothed_ms = ((u64::from(self.smoothed_ms) * 7 + u64::from(sample)) / 8).max(1) as u32;
    }

    /// A message sent more than once was acknowledged, `since_last` after it was last sent; it had waited `waited` each time
    /// at last. No sample (Karn): but an answer sooner than a round trip answers an earlier copy, so the wait was too short.
    pub(super) fn handle_ambiguous(&mut self, since_last: Duration, waited: Duration) {
        if self.smoothed_ms == 0 || millis(since_last) < self.smoothed_ms / 2 {
            self.backed_off_ms = millis(waited).min(TIMEOUT_MS_MAX);
        }
    }
}

/// Whole milliseconds, at most what 32 bits hold.
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_first_wait_is_the_standards_and_later_ones_follow_the_estimate_down_to_the_floor() {
        let (config, mut round_trip) = (Config::default(), RoundTrip::default());
        assert_eq!(round_trip.timeout(&config), ms(2000));
        round_trip.handle_sample(ms(50));
        assert_eq!(round_trip.timeout(&config), ms(1000));
        let mut slow = RoundTrip::default();
        slow.handle_sample(ms(3000));
        assert_eq!(slow.timeout(&config), ms(9000));
        (0..50).for_each(|_| slow.handle_sample(ms(3000)));
        assert!((ms(3000)..ms(3200)).contains(&slow.timeout(&config)), "{:?}", slow.timeout(&config));
    }

    #[test]
    fn a_lost_message_does_not_lengthen_the_wait_but_a_wait_too_short_does() {
        let (config, mut round_trip) = (Config::default(), RoundTrip::default());
        round_trip.handle_sample(ms(50));
        round_trip.handle_ambiguous(ms(50), ms(2000));
        assert_eq!(round_trip.timeout(&config), ms(1000));
        round_trip.handle_ambiguous(ms(3), ms(2000));
        assert_eq!(round_trip.timeout(&config), ms(2000));
        round_trip.handle_sample(ms(50));
        assert_eq!(round_trip.timeout(&config), ms(1000));
    }
}
