//! Bodies and paths as a test writes them.

use updraft_lwm2m::Path;

/// These hexadecimal digits, and whatever stands between them left out.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|char| char.to_digit(16)).collect();
    assert!(digits.len().is_multiple_of(2));
    digits.chunks(2).map(|two| u8::try_from(two[0] << 4 | two[1]).expect("in range")).collect()
}

/// The path that is written so.
pub(crate) fn path(text: &str) -> Path {
    text.parse().expect("a path")
}
