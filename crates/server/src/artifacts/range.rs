//! Which bytes of an artifact an answer carries: `Range`, `If-Range`, `If-Match`, `If-None-Match` (RFC 9110 §13, §14).
//!
//! Pure. An artifact never changes, so there is no `Last-Modified`, and a date in `If-Range` matches nothing.

use std::ops::Range;

use axum::http::{HeaderMap, header};

use super::digest::Digest;

/// Most ranges that one request may ask for. Clients that rebuild an image from the chunks they lack ask for up to
/// 256 at once; a header with more is ignored, which RFC 9110 §14.2 allows, and the whole is sent.
pub const RANGES_MAX: usize = 256;

/// What the answer to a `GET` or `HEAD` carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// 200: all of it.
    Whole,
    /// 206 with one part: these bytes.
    One(Range<u64>),
    /// 206 as `multipart/byteranges`: two or more parts, none overlapping another.
    Many(Vec<Range<u64>>),
    /// 304: the client has it.
    NotModified,
    /// 412: `If-Match` names another artifact.
    PreconditionFailed,
    /// 416: no range touches it.
    Unsatisfiable,
}

/// Decides what to send, in the order of RFC 9110 §13.2.2. `size` is the artifact's length in bytes; `is_head` means
/// a `HEAD`, for which ranges do not exist (§14.2).
#[must_use]
pub fn select(headers: &HeaderMap, sha256: &Digest, size: u64, is_head: bool) -> Selection {
    let etag = format!("\"{sha256}\"");
    if headers.contains_key(header::IF_MATCH)
        && !any_tag(headers, &header::IF_MATCH, &etag, Comparison::Strong)
    {
        return Selection::PreconditionFailed;
    }
    if any_tag(headers, &header::IF_NONE_MATCH, &etag, Comparison::Weak) {
        return Selection::NotModified;
    }
    let mut ranges = headers.get_all(header::RANGE).iter();
    let (Some(range), None, false) = (ranges.next(), ranges.next(), is_head) else {
        return Selection::Whole;
    };
    // §13.1.5: an If-Range that does not match strongly turns the request into one for the whole.
    if headers.get(header::IF_RANGE).is_some_and(|value| value.as_bytes() != etag.as_bytes()) {
        return Selection::Whole;
    }
    match range.to_str().ok().and_then(parse) {
        Some(specs) => resolve(&specs, size),
        None => Selection::Whole,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// RFC 9110 §8.8.3.2 over a list of tags or `*`. A tag of ours holds no comma, so splitting at commas is safe.
fn any_tag(headers: &HeaderMap, name: &header::HeaderName, etag: &str, comparison: Comparison) -> bool {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.split(',').map(str::trim).any(|tag| {
            let weak = tag.strip_prefix("W/").filter(|_| comparison == Comparison::Weak);
            tag == "*" || weak.unwrap_or(tag) == etag
        })
    })
}

/// One range as asked for (RFC 9110 §14.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeSpec {
    /// `first-last` or `first-`.
    From {
        /// First byte.
        first: u64,
        /// Last byte, inclusive; the end if absent.
        last: Option<u64>,
    },
    /// `-length`: the last so many bytes.
    Suffix(u64),
}

/// Reads a `Range` value. `None` for another unit, wrong syntax, or more than [`RANGES_MAX`]: such a header is ignored
/// (§14.2). A number too large for 64 bits is past every end, so it counts as the largest.
#[must_use]
pub fn parse(value: &str) -> Option<Vec<RangeSpec>> {
    let (unit, set) = value.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = Vec::new();
    // §5.6.1.2: empty list elements are to be skipped.
    for spec in set.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty()) {
        if specs.len() == RANGES_MAX {
            return None;
        }
        specs.push(parse_spec(spec)?);
    }
    (!specs.is_empty()).then_some(specs)
}

fn parse_spec(spec: &str) -> Option<RangeSpec> {
    let (first, last) = spec.split_once('-')?;
    match (first.is_empty(), last.is_empty()) {
        (true, true) => None,
        (true, false) => Some(RangeSpec::Suffix(number(last)?)),
        (false, true) => Some(RangeSpec::From { first: number(first)?, last: None }),
        (false, false) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(RangeSpec::From { first, last: Some(last) })
        }
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

fn resolve(specs: &[RangeSpec], size: u64) -> Selection {
    let mut ranges: Vec<Range<u64>> = specs.iter().filter_map(|spec| clamp(*spec, size)).collect();
    if overlaps(&ranges) {
        // §14.2 and §15.3.7.2: overlapping ranges are merged, so no request makes the server send more than the whole.
        ranges = merge(ranges);
    }
    match ranges.len() {
        0 => Selection::Unsatisfiable,
        1 => Selection::One(ranges.swap_remove(0)),
        _ => Selection::Many(ranges),
    }
}

/// The bytes a spec means in an artifact of `size` bytes, if any.
fn clamp(spec: RangeSpec, size: u64) -> Option<Range<u64>> {
    let range = match spec {
        RangeSpec::From { first, last } => first..last.map_or(size, |last| last.saturating_add(1).min(size)),
        RangeSpec::Suffix(length) => size.saturating_sub(length)..size,
    };
    (range.start < range.end).then_some(range)
}

fn overlaps(ranges: &[Range<u64>]) -> bool {
    let mut sorted: Vec<_> = ranges.iter().collect();
    sorted.sort_unstable_by_key(|range| range.start);
    sorted.windows(2).any(|pair| pair[1].start < pair[0].end)
}

fn merge(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            Some(_) | None => merged.push(range),
        }
    }
    merged
}
