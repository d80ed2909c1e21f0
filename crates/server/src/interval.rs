//! Durations as people write them, in the configuration and in the operator API.

use serde::Deserialize;
use std::time::Duration;

/// A duration as people write it: `"15m"`, `"1h 30m"`, `"24h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval(pub Duration);

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Reads a duration as people write it.
///
/// # Errors
/// A sentence saying how durations are written.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    // Days are 24 hours here: a fleet's deadlines do not follow daylight saving.
    text.parse::<jiff::Span>()
        .ok()
        .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok())
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| {
            format!(
                "{text:?} is not a duration: write a number and a unit, such as \"15m\", \"24h\" or \"7d\""
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_people_write_them() {
        for (text, seconds) in [("15m", 900), ("1h 30m", 5_400), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "15", "-1m", "soon", "1y"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
