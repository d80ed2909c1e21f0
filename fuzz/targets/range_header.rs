//! Any text as a `Range` header: what is selected lies within the artifact, does not overlap, and is never more than
//! the whole.
//!
//! The input is the size as text, a NUL, and the header's value.
#![no_main]

use axum::http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use updraft_server::artifacts::Digest;
use updraft_server::artifacts::range::{RANGES_MAX, Selection, select};

fuzz_target!(|input: &[u8]| {
    let mut halves = input.splitn(2, |byte| *byte == 0);
    let size = halves.next().and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok()).unwrap_or(1000);
    let Some(value) = halves.next().and_then(|value| HeaderValue::from_bytes(value).ok()) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(header::RANGE, value);
    let sha256 = Digest::from_bytes([7; 32]);
    assert_eq!(select(&headers, &sha256, size, true), Selection::Whole);
    let mut ranges = match select(&headers, &sha256, size, false) {
        Selection::Whole | Selection::Unsatisfiable => return,
        Selection::One(range) => vec![range],
        Selection::Many(ranges) => ranges,
        Selection::NotModified | Selection::PreconditionFailed => panic!("no condition was given"),
    };
    assert!(ranges.len() <= RANGES_MAX);
    assert!(ranges.iter().all(|range| range.start < range.end && range.end <= size), "{ranges:?} of {size}");
    ranges.sort_unstable_by_key(|range| range.start);
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "{ranges:?} overlap");
});
