//! Times and sizes for people: "3 min ago", "12.3 MB". Programs get the exact ones with `--json`.

use jiff::Timestamp;

/// How long ago an RFC 3339 time was, or how far ahead it is; the text itself if it is no such time.
pub fn ago(time: &str) -> String {
    relative(time, Timestamp::now())
}

fn relative(time: &str, now: Timestamp) -> String {
    let Ok(time) = time.parse::<Timestamp>() else { return time.to_owned() };
    let seconds = now.as_second() - time.as_second();
    match seconds {
        0..=1 => "just now".to_owned(),
        2.. => format!("{} ago", span(seconds.unsigned_abs())),
        ..0 => format!("in {}", span(seconds.unsigned_abs())),
    }
}

/// A length of time in its largest fitting unit.
fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(2 * 86_400, "d"), (2 * 3_600, "h"), (120, "min"), (0, "s")];
    const SECONDS: [u64; 4] = [86_400, 3_600, 60, 1];
    let unit = UNITS.iter().position(|(from, _)| seconds >= *from).unwrap_or(UNITS.len() - 1);
    format!("{} {}", seconds / SECONDS[unit], UNITS[unit].1)
}

/// A number of bytes in a decimal unit.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_its_largest_fitting_unit() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        for (time, expected) in [
            ("2026-03-01T11:59:59.5Z", "just now"),
            ("2026-03-01T11:58:30Z", "90 s ago"),
            ("2026-03-01T11:57:00Z", "3 min ago"),
            ("2026-03-01T09:00:00Z", "3 h ago"),
            ("2026-02-20T12:00:00Z", "9 d ago"),
            ("2026-03-01T12:10:00Z", "in 10 min"),
            ("never", "never"),
        ] {
            assert_eq!(relative(time, now), expected, "{time}");
        }
    }

    #[test]
    fn a_size_is_told_in_a_decimal_unit() {
        for (bytes, expected) in [(0, "0 B"), (999, "999 B"), (12_345_678, "12.3 MB"), (16 << 30, "17.2 GB")]
        {
            assert_eq!(size(bytes), expected);
        }
    }
}
