//! The `[check_in]` section of the configuration.

use crate::artifacts::LINK_LIFE_SECONDS_MAX;
use crate::interval::Interval;
use serde::Deserialize;
use std::time::Duration;

/// Shortest interval between check-ins that may be asked for: below it, a fleet is a load test.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Longest interval between check-ins that may be asked for.
pub const INTERVAL_MAX: Duration = Duration::from_secs(366 * 86_400);

/// The `[check_in]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckInConfig {
    /// How often a device with nothing to do is asked to come.
    pub interval: Interval,
    /// How often a device with an update under way is asked to come.
    pub interval_updating: Interval,
    /// How long a link works: the longest a download may take, resumptions included, before the device must ask again.
    pub link_life: Interval,
}

impl Default for CheckInConfig {
    fn default() -> Self {
        Self {
            interval: Interval(Duration::from_secs(15 * 60)),
            interval_updating: Interval(Duration::from_secs(30)),
            // The Ioto agent gives a download four hours, and checks in only once a day.
            link_life: Interval(Duration::from_secs(24 * 3600)),
        }
    }
}

impl CheckInConfig {
    /// Checks each value against its limits.
    ///
    /// # Errors
    /// A sentence naming the key and what it may be.
    pub fn check(&self) -> Result<(), String> {
        for (key, interval) in [
            ("interval", &self.interval),
            ("interval_updating", &self.interval_updating),
            ("link_life", &self.link_life),
        ] {
            if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval.0) {
                return Err(format!("[check_in] {key} must be between 1s and 366d"));
            }
        }
        if self.link_life.0.as_secs() > LINK_LIFE_SECONDS_MAX {
            let days = LINK_LIFE_SECONDS_MAX / 86_400;
            return Err(format!(
                "[check_in] link_life must be at most {days}d: links must not outlive their key"
            ));
        }
        Ok(())
    }
}
