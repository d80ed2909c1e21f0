//! The Ioto agent's time words: cron windows and durations, with its aliases and its units.

use jiff::civil::DateTime;
use jiff::{ToSpan, Zoned};
use std::str::FromStr;
use std::time::Duration;

/// How far ahead an open minute is looked for, in days. A schedule may name 29 February.
const LOOK_AHEAD_DAYS: i64 = 4 * 366 + 1;

/// Five cron fields: minute, hour, day of month, month, day of week (0 and 7 are Sunday). A minute is open if all
/// five agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    is_never: bool,
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let fields = match text {
            "anytime" => "* * * * *",
            "never" | "unscheduled" => return Ok(Self { is_never: true, ..Self::always() }),
            "day" => "* 6-17 * * *",
            "weekdays" => "* * * * 1-5",
            "workhours" => "* 9-17 * * 1-5",
            "midnight" => "* 0 * * *",
            "night" => "* 0-5,18-23 * * *",
            other => other,
        };
        let parts: Vec<&str> = fields.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = parts[..] else {
            return Err(format!("{text:?} has {} fields, not five", parts.len()));
        };
        let weekdays = field(weekdays, 0, 7)?;
        Ok(Self {
            minutes: field(minutes, 0, 59)?,
            hours: field(hours, 0, 23)?,
            days: field(days, 1, 31)?,
            months: field(months, 1, 12)?,
            // Sunday has two numbers.
            weekdays: weekdays | (weekdays >> 7),
            is_never: false,
        })
    }
}

/// One field: a list of `*`, numbers and ranges, each with an optional step, as a set of bits.
fn field(text: &str, min: u32, max: u32) -> Result<u64, String> {
    let invalid = || format!("{text:?} is no list of numbers and ranges from {min} to {max}");
    let mut bits = 0;
    for item in text.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, step.parse::<usize>().map_err(|_| invalid())?),
            None => (item, 1),
        };
        let number = |digits: &str| digits.parse::<u32>().map_err(|_| invalid());
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None if range == "*" => (min, max),
            None => (number(range)?, if step > 1 { max } else { number(range)? }),
        };
        if first < min || last > max || first > last || step == 0 {
            return Err(invalid());
        }
        for bit in (first..=last).step_by(step) {
            bits |= 1 << bit;
        }
    }
    Ok(bits)
}

impl Schedule {
    /// Always open.
    #[must_use]
    pub fn always() -> Self {
        Self {
            minutes: u64::MAX,
            hours: u64::MAX,
            days: u64::MAX,
            months: u64::MAX,
            weekdays: u64::MAX,
            is_never: false,
        }
    }

    fn has_day(&self, time: DateTime) -> bool {
        has(self.months, time.month())
            && has(self.days, time.day())
            && has(self.weekdays, time.weekday().to_sunday_zero_offset())
    }

    /// Whether it is open in this minute.
    #[must_use]
    pub fn is_open(&self, time: DateTime) -> bool {
        !self.is_never
            && self.has_day(time)
            && has(self.hours, time.hour())
            && has(self.minutes, time.minute())
    }

    /// Time until it is open, zero if it is now; `None` if it never is.
    #[must_use]
    pub fn until_open(&self, now: &Zoned) -> Option<Duration> {
        if self.is_never {
            return None;
        }
        let start = now.datetime();
        if self.is_open(start) {
            return Some(Duration::ZERO);
        }
        let last = start.checked_add(LOOK_AHEAD_DAYS.days()).ok()?;
        let mut time = start.with().second(0).subsec_nanosecond(0).build().ok()?;
        while time <= last {
            time = if !self.has_day(time) {
                time.date().at(0, 0, 0, 0).checked_add(1.day()).ok()?
            } else if !has(self.hours, time.hour()) {
                time.with().minute(0).build().ok()?.checked_add(1.hour()).ok()?
            } else if !has(self.minutes, time.minute()) {
                time.checked_add(1.minute()).ok()?
            } else {
                let open = time.to_zoned(now.time_zone().clone()).ok()?;
                return Some(Duration::try_from(now.duration_until(&open)).unwrap_or(Duration::ZERO));
            };
        }
        None
    }
}

fn has(bits: u64, bit: i8) -> bool {
    u32::try_from(bit).is_ok_and(|bit| bits >> bit & 1 == 1)
}

/// Seconds per unit, longest name first where one begins another. `m` alone means mebi- and no minutes, as with the
/// Ioto agent, and is refused.
const UNITS: [(&str, u64); 18] = [
    ("secs", 1),
    ("sec", 1),
    ("seconds", 1),
    ("second", 1),
    ("", 1),
    ("mins", 60),
    ("min", 60),
    ("minutes", 60),
    ("minute", 60),
    ("hrs", 3600),
    ("hr", 3600),
    ("hours", 3600),
    ("hour", 3600),
    ("days", 86_400),
    ("day", 86_400),
    ("weeks", 604_800),
    ("week", 604_800),
    ("years", 31_536_000),
];

/// Reads a duration as the Ioto agent does: a number and a word, `24 hrs`, `90`, `never`.
///
/// # Errors
/// A sentence, if it is none.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let text = text.trim().to_ascii_lowercase();
    if matches!(text.as_str(), "never" | "forever" | "unlimited") {
        return Ok(Duration::MAX);
    }
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim();
    let seconds = match unit {
        "month" | "months" => Some(30 * 86_400),
        "year" => Some(31_536_000),
        _ => UNITS.iter().find(|(name, _)| *name == unit).map(|(_, seconds)| *seconds),
    };
    match (number.parse::<u64>(), seconds) {
        (Ok(number), Some(seconds)) => Ok(Duration::from_secs(number.saturating_mul(seconds))),
        _ => Err(format!("{text:?} is no duration: a number and sec, min, hr, day, week, month or year")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use jiff::tz::TimeZone;

    fn schedule(text: &str) -> Schedule {
        text.parse().unwrap()
    }

    #[test]
    fn a_minute_is_open_if_all_five_fields_agree() {
        // 14 November 2026 is a Saturday.
        let saturday = date(2026, 11, 14);
        for (text, hour, minute, is_open) in [
            ("* * * * *", 3, 30, true),
            ("anytime", 3, 30, true),
            ("never", 3, 30, false),
            ("day", 6, 0, true),
            ("day", 18, 0, false),
            ("workhours", 10, 0, false),
            ("midnight", 0, 59, true),
            ("midnight", 1, 0, false),
            ("night", 23, 0, true),
            ("night", 12, 0, false),
            ("30 3 14 11 6", 3, 30, true),
            ("30 3 14 11 0", 3, 30, false),
            ("*/15 * * * *", 3, 45, true),
            ("*/15 * * * *", 3, 46, false),
            ("0-10,40-50 * * * *", 3, 45, true),
        ] {
            let time = saturday.at(hour, minute, 0, 0);
            assert_eq!(schedule(text).is_open(time), is_open, "{text:?} at {hour}:{minute}");
        }
    }

    #[test]
    fn sunday_has_two_numbers() {
        let sunday = date(2026, 11, 15).at(0, 0, 0, 0);
        assert!(schedule("* * * * 0").is_open(sunday) && schedule("* * * * 7").is_open(sunday));
    }

    #[test]
    fn the_next_open_minute_is_found() {
        let now = date(2026, 11, 14).at(17, 59, 30, 0).to_zoned(TimeZone::UTC).unwrap();
        for (text, seconds) in [
            ("* * * * *", 0),
            ("0 18 * * *", 30),
            ("0 4 * * *", 10 * 3600 + 30),
            ("0 0 1 1 *", (30 + 86_400 * 47) + 6 * 3600),
            ("59 17 * * *", 0),
        ] {
            let until = schedule(text).until_open(&now).unwrap();
            assert_eq!(until, Duration::from_secs(seconds), "{text:?}");
        }
        assert!(schedule("0 0 29 2 *").until_open(&now).is_some(), "a leap day is not never");
        assert_eq!(schedule("0 0 31 2 *").until_open(&now), None);
        assert_eq!(schedule("never").until_open(&now), None);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "x * * * *",
        ] {
            assert!(text.parse::<Schedule>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn durations_are_read_as_the_ioto_agent_reads_them() {
        for (text, seconds) in [
            ("90", 90),
            ("24 hrs", 86_400),
            ("30 secs", 30),
            ("1min", 60),
            ("2 Weeks", 1_209_600),
            ("1 month", 2_592_000),
            ("1 year", 31_536_000),
        ] {
            assert_eq!(parse_span(text), Ok(Duration::from_secs(seconds)), "{text:?}");
        }
        assert_eq!(parse_span("never"), Ok(Duration::MAX));
        for text in ["", "5m", "5mb", "-1", "1.5 hrs", "hrs"] {
            assert!(parse_span(text).is_err(), "{text:?}");
        }
    }
}
