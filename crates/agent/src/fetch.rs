//! Fetching an artifact: which request to send, and what an answer means.
//!
//! The judgement of an answer's head is pure; one thread per fetch does the reading and hands pieces over a
//! bounded channel. A fetch never carries the device's credential: its link is a credential of its own.

use crate::assignment::{LinkError, check_link};
use crate::session::Wanted;
use std::io::Read;
use std::time::{Duration, Instant};
use updraft_wire::Reason;
use ureq::http::header::{self, HeaderMap};
use ureq::http::uri::Uri;
use ureq::{Body, http::Response};

/// Most redirects of one fetch: a load balancer and a store behind it need two.
pub const REDIRECTS_MAX: u32 = 3;
/// How much is read at once, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes per second below which a server counts as stalled. The slowest cellular links in use reach ten times
/// that.
pub const RATE_MIN_BYTES_PER_S: u64 = 256;
/// How long a slow answer is watched before it is judged.
pub const RATE_WINDOW: Duration = Duration::from_secs(30);

/// Why a fetch ended before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchError {
    /// Worth another try, going on from where it broke off.
    Retry(String),
    /// The link is refused: the next check-in brings a fresh one.
    LinkRefused(String),
    /// The bytes so far are of no use any more: worth another try from the first byte.
    Anew(String),
    /// Of no use, however often it is tried.
    Fatal(Reason, String),
}

/// What a fetch hands over.
#[derive(Debug)]
pub enum FetchPart {
    /// The server serves the artifact from this byte on.
    Begun {
        /// 0, or the byte asked for.
        offset: u64,
        /// The strong entity tag, if there is one.
        etag: Option<String>,
    },
    /// The next bytes.
    Bytes(Vec<u8>),
    /// The end: all of it handed over, or not.
    Ended(Result<(), FetchError>),
}

/// An answer's head, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// `Content-Length`, in bytes.
    pub content_length: Option<u64>,
    /// `Content-Range`.
    pub content_range: Option<String>,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Location`.
    pub location: Option<String>,
}

impl Head {
    fn of(response: &Response<Body>) -> Self {
        let headers = response.headers();
        Self {
            status: response.status().as_u16(),
            content_length: text(headers, header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            content_range: text(headers, header::CONTENT_RANGE),
            etag: text(headers, header::ETAG),
            content_encoding: text(headers, header::CONTENT_ENCODING),
            location: text(headers, header::LOCATION),
        }
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(|value| value.trim().to_owned())
}

/// What an answer's head means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// The bytes follow, from this one on.
    Serves {
        /// 0, or the byte asked for.
        offset: u64,
        /// The strong entity tag, if there is one.
        etag: Option<String>,
        /// How many bytes the whole has.
        size: u64,
    },
    /// Ask there instead.
    Moved(String),
}

/// Whether part of an artifact may be asked for: only where a strong entity tag says that the parts belong
/// together (RFC 9110, section 13.1.5).
#[must_use]
pub fn asks_for_range(wanted: &Wanted) -> bool {
    wanted.offset > 0 && wanted.etag.is_some()
}

/// Judges an answer's head.
///
/// # Errors
/// [`FetchError`] if no byte of the body is to be believed.
pub fn judge(wanted: &Wanted, head: &Head) -> Result<Meaning, FetchError> {
    let encoded =
        head.content_encoding.as_deref().filter(|encoding| !encoding.eq_ignore_ascii_case("identity"));
    match head.status {
        301 | 302 | 303 | 307 | 308 => match &head.location {
            Some(location) => Ok(Meaning::Moved(location.clone())),
            None => Err(FetchError::Retry("a redirect without a location".into())),
        },
        200 | 206 if encoded.is_some() => {
            let encoding = encoded.unwrap_or_default();
            Err(FetchError::Retry(format!("the bytes come with content-encoding {encoding:?}")))
        }
        200 => judge_whole(wanted, head),
        206 => judge_part(wanted, head),
        416 => Err(FetchError::Anew("the server does not serve the rest (416)".into())),
        401 | 403 | 404 | 410 => {
            Err(FetchError::LinkRefused(format!("the link was refused with status {}", head.status)))
        }
        status => Err(FetchError::Retry(format!("status {status}"))),
    }
}

fn judge_whole(wanted: &Wanted, head: &Head) -> Result<Meaning, FetchError> {
    let size = match (wanted.size, head.content_length) {
        (Some(size), Some(length)) if length != size => {
            let detail = format!("the server has {length} bytes, announced were {size}");
            return Err(FetchError::Fatal(Reason::IntegrityCheckFailed, detail));
        }
        (Some(size), _) | (None, Some(size)) => size,
        // Nobody could tell the end from a break.
        (None, None) => {
            return Err(FetchError::Fatal(Reason::InvalidUri, "the server does not say the length".into()));
        }
    };
    Ok(Meaning::Serves { offset: 0, etag: strong(head.etag.as_deref()), size })
}

fn judge_part(wanted: &Wanted, head: &Head) -> Result<Meaning, FetchError> {
    if !asks_for_range(wanted) {
        return Err(FetchError::Retry("a part (206) where the whole was asked for".into()));
    }
    let range = head.content_range.as_deref().and_then(ContentRange::parse);
    let Some(range) = range else {
        return Err(FetchError::Anew("a part (206) without a usable content-range".into()));
    };
    let Some(size) = wanted.size.or(range.size) else {
        return Err(FetchError::Anew("a part (206) of an unknown whole".into()));
    };
    if range.size.is_some_and(|said| said != size) {
        let detail = format!("the server has another size than the {size} bytes announced");
        return Err(FetchError::Fatal(Reason::IntegrityCheckFailed, detail));
    }
    if range.first != wanted.offset || range.last + 1 != size {
        return Err(FetchError::Anew("another part than asked for".into()));
    }
    if head.content_length.is_some_and(|length| length != size - wanted.offset) {
        return Err(FetchError::Anew("content-length and content-range disagree".into()));
    }
    let etag = strong(head.etag.as_deref());
    if etag.is_some() && etag != wanted.etag {
        return Err(FetchError::Anew("the entity tag has changed".into()));
    }
    Ok(Meaning::Serves { offset: wanted.offset, etag: wanted.etag.clone(), size })
}

/// A strong entity tag; a weak one does not say that bytes are the same.
fn strong(etag: Option<&str>) -> Option<String> {
    etag.filter(|tag| tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"')).map(str::to_owned)
}

/// `Content-Range: bytes first-last/size` (RFC 9110, section 14.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ContentRange {
    first: u64,
    last: u64,
    size: Option<u64>,
}

impl ContentRange {
    fn parse(text: &str) -> Option<Self> {
        let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let number = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| is_number)
        };
        let (first, last) = (number(first)?, number(last)?);
        let size = if size == "*" { None } else { Some(number(size)?) };
        let is_valid = first <= last && last < u64::MAX && size.is_none_or(|size| last < size);
        is_valid.then_some(Self { first, last, size })
    }
}

/// Fetches what is wanted and hands the parts to `give`, until the end or until `give` wants no more.
pub fn fetch(
    client: &ureq::Agent,
    wanted: &Wanted,
    plain_links: bool,
    mut give: impl FnMut(FetchPart) -> bool,
) {
    let result = open(client, wanted, plain_links).and_then(|(response, offset, etag, size)| {
        if give(FetchPart::Begun { offset, etag }) {
            read(response, size - offset, &mut give)
        } else {
            Ok(())
        }
    });
    give(FetchPart::Ended(result));
}

type Opened = (Response<Body>, u64, Option<String>, u64);

fn open(client: &ureq::Agent, wanted: &Wanted, plain_links: bool) -> Result<Opened, FetchError> {
    let refused = |error: LinkError| FetchError::Fatal(error.reason(), error.to_string());
    let mut uri = check_link(&wanted.link, plain_links).map_err(refused)?;
    for _ in 0..=REDIRECTS_MAX {
        let mut request = client.get(uri.clone());
        if let Some(etag) = wanted.etag.as_deref().filter(|_| asks_for_range(wanted)) {
            request = request.header("Range", format!("bytes={}-", wanted.offset)).header("If-Range", etag);
        }
        let response = request.call().map_err(|error| FetchError::Retry(error.to_string()))?;
        match judge(wanted, &Head::of(&response))? {
            Meaning::Serves { offset, etag, size } => return Ok((response, offset, etag, size)),
            Meaning::Moved(location) => {
                uri = check_link(&absolute(&uri, &location), plain_links).map_err(refused)?;
            }
        }
    }
    Err(FetchError::Fatal(Reason::InvalidUri, format!("more than {REDIRECTS_MAX} redirects")))
}

/// A redirect's target: as it is, or on the same host where it is a path.
fn absolute(from: &Uri, location: &str) -> String {
    match (from.scheme_str(), from.authority()) {
        (Some(scheme), Some(authority)) if location.starts_with('/') && !location.starts_with("//") => {
            format!("{scheme}://{authority}{location}")
        }
        (Some(scheme), _) if location.starts_with("//") => format!("{scheme}:{location}"),
        _ => location.to_owned(),
    }
}

/// Reads exactly `remaining` bytes. The last piece is held back until the body is known to end there, so that a
/// longer body never looks complete.
fn read(
    response: Response<Body>,
    mut remaining: u64,
    give: &mut impl FnMut(FetchPart) -> bool,
) -> Result<(), FetchError> {
    let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader();
    let mut window = (Instant::now(), 0_u64);
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(read) => read,
            Err(error) => {
                // What came before the break is good, unless it might be the end of something longer.
                if remaining > 0 {
                    give(FetchPart::Bytes(piece));
                }
                return Err(FetchError::Retry(error.to_string()));
            }
        };
        if read as u64 > remaining {
            return Err(too_long());
        }
        remaining -= read as u64;
        piece.extend_from_slice(&buffer[..read]);
        check_rate(&mut window, read, Instant::now())?;
        let is_end = read == 0;
        if is_end && remaining > 0 {
            give(FetchPart::Bytes(piece));
            return Err(FetchError::Retry(format!("the answer ended {remaining} bytes early")));
        }
        if (is_end || (remaining > 0 && piece.len() >= PIECE_BYTES / 2))
            && !give(FetchPart::Bytes(std::mem::take(&mut piece)))
        {
            return Ok(());
        }
        if is_end {
            return Ok(());
        }
    }
}

fn too_long() -> FetchError {
    FetchError::Fatal(Reason::IntegrityCheckFailed, "more bytes than announced".into())
}

/// `window` is since when how many bytes came.
fn check_rate(window: &mut (Instant, u64), read: usize, now: Instant) -> Result<(), FetchError> {
    window.1 += read as u64;
    let elapsed = now.saturating_duration_since(window.0);
    if elapsed < RATE_WINDOW {
        return Ok(());
    }
    if window.1 < RATE_MIN_BYTES_PER_S * elapsed.as_secs() {
        return Err(FetchError::Retry(format!("{} bytes in {} s is too slow", window.1, elapsed.as_secs())));
    }
    *window = (now, 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(offset: u64, etag: Option<&str>) -> Wanted {
        Wanted {
            link: "https://ota.example/i".into(),
            size: Some(100),
            offset,
            etag: etag.map(str::to_owned),
        }
    }

    fn part(range: &str, length: u64, etag: &str) -> Head {
        Head {
            status: 206,
            content_length: Some(length),
            content_range: Some(range.into()),
            etag: Some(etag.into()),
            ..Head::default()
        }
    }

    #[test]
    fn only_the_part_that_was_asked_for_is_gone_on_with() {
        let wanted = wanted(40, Some("\"1\""));
        let good = judge(&wanted, &part("bytes 40-99/100", 60, "\"1\""));
        assert_eq!(good, Ok(Meaning::Serves { offset: 40, etag: Some("\"1\"".into()), size: 100 }));
        for head in [
            part("bytes 41-99/100", 59, "\"1\""),
            part("bytes 40-98/100", 59, "\"1\""),
            part("bytes 40-99/100", 61, "\"1\""),
            part("bytes 40-99/100", 60, "\"2\""),
            part("bytes 99-40/100", 60, "\"1\""),
            part("bytes 40-99/50", 60, "\"1\""),
            part("bytes +40-99/100", 60, "\"1\""),
            part("bytes 40-18446744073709551615/*", 60, "\"1\""),
            part("lines 40-99/100", 60, "\"1\""),
            part("", 60, "\"1\""),
            Head { status: 416, ..Head::default() },
        ] {
            assert!(matches!(judge(&wanted, &head), Err(FetchError::Anew(_))), "{head:?}");
        }
        let other_size = judge(&wanted, &part("bytes 40-100/101", 61, "\"1\""));
        assert!(matches!(other_size, Err(FetchError::Fatal(Reason::IntegrityCheckFailed, _))));
    }

    #[test]
    fn a_part_is_asked_for_only_under_a_strong_entity_tag() {
        assert!(asks_for_range(&wanted(40, Some("\"1\""))));
        assert!(!asks_for_range(&wanted(0, Some("\"1\""))));
        assert!(!asks_for_range(&wanted(40, None)));
        assert_eq!(strong(Some("W/\"1\"")), None);
        assert_eq!(strong(Some("\"")), None);
    }

    #[test]
    fn a_trickle_is_cut_off_and_a_slow_link_is_not() {
        let start = Instant::now();
        let later = start + RATE_WINDOW;
        assert!(check_rate(&mut (start, 0), 30, later).is_err());
        assert!(check_rate(&mut (start, 0), 30, start + RATE_WINDOW / 2).is_ok(), "judged too early");
        let enough = usize::try_from(RATE_MIN_BYTES_PER_S * RATE_WINDOW.as_secs()).unwrap();
        assert!(check_rate(&mut (start, 0), enough, later).is_ok());
    }

    #[test]
    fn a_redirect_is_followed_as_it_is_written() {
        let from: Uri = "https://ota.example:8443/v1/x".parse().unwrap();
        for (location, target) in [
            ("/y", "https://ota.example:8443/y"),
            ("//store.example/y", "https://store.example/y"),
            ("http://store.example/y", "http://store.example/y"),
        ] {
            assert_eq!(absolute(&from, location), target);
        }
    }
}
