//! From a selection of bytes to status, headers and body segments (RFC 9110 §14, §15.3.7). Pure.

use std::ops::Range;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

use super::body::Segment;
use super::digest::Digest;
use super::range::Selection;

/// All of an answer but its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) segments: Vec<Segment>,
}

/// Whether the answer begins at byte 0 of the artifact.
pub(super) fn starts_at_zero(selection: &Selection) -> bool {
    match selection {
        Selection::Whole => true,
        Selection::One(range) => range.start == 0,
        Selection::Many(ranges) => ranges.iter().any(|range| range.start == 0),
        Selection::NotModified | Selection::PreconditionFailed | Selection::Unsatisfiable => false,
    }
}

/// How many bytes of the artifact the answer carries.
pub(super) fn content_bytes(selection: &Selection, size: u64) -> u64 {
    match selection {
        Selection::Whole => size,
        Selection::One(range) => range.end - range.start,
        Selection::Many(ranges) => ranges.iter().map(|range| range.end - range.start).sum(),
        Selection::NotModified | Selection::PreconditionFailed | Selection::Unsatisfiable => 0,
    }
}

/// Lays out the answer for an artifact of `size` bytes.
pub(super) fn plan(selection: Selection, sha256: &Digest, size: u64) -> Plan {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::ETAG, text(format!("\"{sha256}\"")));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // The link is one device's, and a proxy that recompresses would break hash and ranges.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-transform"));
    let (status, segments) = match selection {
        Selection::Whole => (StatusCode::OK, vec![Segment::Content(0..size)]),
        Selection::One(range) => {
            headers.insert(header::CONTENT_RANGE, text(content_range(&range, size)));
            (StatusCode::PARTIAL_CONTENT, vec![Segment::Content(range)])
        }
        Selection::Many(ranges) => (StatusCode::PARTIAL_CONTENT, multipart(&ranges, sha256, size)),
        Selection::NotModified => {
            return Plan { status: StatusCode::NOT_MODIFIED, headers, segments: Vec::new() };
        }
        Selection::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, Vec::new()),
        Selection::Unsatisfiable => {
            headers.insert(header::CONTENT_RANGE, text(format!("bytes */{size}")));
            (StatusCode::RANGE_NOT_SATISFIABLE, Vec::new())
        }
    };
    let content_type = if segments.len() > 1 {
        text(format!("multipart/byteranges; boundary={sha256}"))
    } else {
        HeaderValue::from_static("application/octet-stream")
    };
    headers.insert(header::CONTENT_TYPE, content_type);
    let length: u64 = segments.iter().map(Segment::length).sum();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Plan { status, headers, segments }
}

/// RFC 9110 §14.6. The boundary is the artifact's own digest: bytes that hold their own SHA-256 are as hard to find
/// as a collision, and 64 digits are within the 70 that RFC 2046 §5.1.1 allows.
fn multipart(ranges: &[Range<u64>], sha256: &Digest, size: u64) -> Vec<Segment> {
    let mut segments = Vec::with_capacity(ranges.len() * 2 + 1);
    for range in ranges {
        let lead = if segments.is_empty() { "" } else { "\r\n" };
        let head = format!(
            "{lead}--{sha256}\r\nContent-Type: application/octet-stream\r\nContent-Range: {}\r\n\r\n",
            content_range(range, size)
        );
        segments.push(Segment::Text(Bytes::from(head)));
        segments.push(Segment::Content(range.clone()));
    }
    segments.push(Segment::Text(Bytes::from(format!("\r\n--{sha256}--\r\n"))));
    segments
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}

fn text(value: String) -> HeaderValue {
    HeaderValue::try_from(value).expect("digits, hex and fixed words are valid in a header")
}

/// A small JSON answer that no cache may keep.
pub(super) fn json(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
