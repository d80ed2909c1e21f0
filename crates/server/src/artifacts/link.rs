//! Signed, expiring links to one artifact for one device.
//!
//! The signature covers the exact text of the path and the query, so a link has one spelling and each character
//! counts. Verification is pure: the time and the client's address are arguments. Absent on purpose: state. A link
//! that must stop working before its end is refused by the [`Gatekeeper`](super::serve::Gatekeeper).

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ipnet::IpNet;

use super::digest::Digest;
use super::keyring::{KeyFileError, Keyring, LINK_LIFE_SECONDS_MAX, tag_matches, tag_of};
use super::short_link::SHORT_LINK_BYTES_MAX;

/// Longest link, in bytes. The C updater reads its check-in answer into 4,096 bytes and other clients keep links in
/// 2 KiB buffers.
pub const LINK_BYTES_MAX: usize = 2000;
/// Path of every artifact, up to its digest.
pub const ARTIFACTS_PATH: &str = "/v1/artifacts/";
/// Keeps a signed link from being taken for a credential and the other way round.
const LINK_CONTEXT: &[u8] = b"updraft link v1\nGET ";

/// What a link says: who may fetch what, until when, from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkClaims {
    /// The artifact it opens.
    pub sha256: Digest,
    /// The device it is for.
    pub device: String,
    /// The job it belongs to: opaque text, may be empty.
    pub job: String,
    /// When it ends, in seconds since 1970; it does not open at this second.
    pub expires: u64,
    /// The only addresses that may use it, if it is bound.
    pub net: Option<IpNet>,
    /// Close the connection after the answer, for clients that read until it closes.
    pub close: bool,
}

/// Why no link could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The whole would pass [`LINK_BYTES_MAX`].
    #[error("the link would be longer than {LINK_BYTES_MAX} bytes; shorten the public URL or the job ID")]
    TooLong,
    /// It would outlive the key that signs it.
    #[error("a link may live at most {LINK_LIFE_SECONDS_MAX} seconds")]
    LifeTooLong,
    /// The public URL cannot stand in a JSON text as it is, or is no `http` URL.
    #[error("public_url must start with http:// or https:// and hold only characters of a URL")]
    PublicUrl,
    /// The whole would pass [`SHORT_LINK_BYTES_MAX`].
    #[error(
        "the link would be longer than {SHORT_LINK_BYTES_MAX} bytes, the room that devices have; shorten the address of the server"
    )]
    ShortTooLong,
    /// A short link was to begin with something else than a scheme and a host.
    #[error(
        "a short link must start with http://, https://, coap:// or coaps:// and a host, with an optional port"
    )]
    ShortBase,
}

/// Why a link opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Its time is over.
    #[error("the link has expired; check in again for another one")]
    Expired,
    /// The signature does not fit the text.
    #[error("the link is not as the server made it")]
    Altered,
    /// It is bound to other addresses.
    #[error("the link is for another network address")]
    WrongAddress,
    /// It was signed with a key this server does not have.
    #[error("the link is signed with a key this server does not know; check in again for another one")]
    UnknownKey,
    /// It does not have the shape of a link.
    #[error("the link is incomplete or not in its proper form")]
    Malformed,
    /// The caller is a device, and not the one of the link.
    #[error("the link is for another device")]
    WrongDevice,
}

impl LinkError {
    /// The stable code of the error body.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Expired => "link_expired",
            Self::Altered => "link_altered",
            Self::WrongAddress => "link_wrong_address",
            Self::UnknownKey => "link_unknown_key",
            Self::Malformed => "link_malformed",
            Self::WrongDevice => "link_wrong_device",
        }
    }
}

/// Makes and checks links and temporary credentials with the keys of one file.
pub struct LinkSigner {
    path: PathBuf,
    keys: RwLock<Arc<Keyring>>,
}

impl LinkSigner {
    /// Opens the key file, making it (mode 0600, one key) if it is not there. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// The file cannot be read or written, is readable by others, or holds something else.
    pub fn open(path: &Path, now: u64) -> Result<Self, KeyFileError> {
        let keys = RwLock::new(Arc::new(Keyring::open(path, now)?));
        Ok(Self { path: path.into(), keys })
    }

    /// Adds a key that signs from here on, and drops keys whose last link has expired.
    ///
    /// # Errors
    /// The file cannot be written, or too many keys are in use.
    pub fn rotate(&self, now: u64) -> Result<(), KeyFileError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        *keys = Arc::new(keys.rotated(&self.path, now)?);
        Ok(())
    }

    pub(super) fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The signed URL: `{public_url}/v1/artifacts/{sha256}?device=…&job=…&expires=…[&net=…][&close=1]&key=…&signature=…`.
    /// It needs no escaping in a JSON text. `now` and `claims.expires` are in seconds since 1970.
    ///
    /// # Errors
    /// The claims make a link too long or too long-lived, or the public URL is no URL.
    pub fn sign(&self, public_url: &str, claims: &LinkClaims, now: u64) -> Result<String, SignError> {
        if claims.expires > now.saturating_add(LINK_LIFE_SECONDS_MAX) {
            return Err(SignError::LifeTooLong);
        }
        let base = public_url.strip_suffix('/').unwrap_or(public_url);
        if !is_public_url(base) {
            return Err(SignError::PublicUrl);
        }
        let keys = self.keyring();
        let (key_id, mac) = keys.signing();
        let mut url = String::with_capacity(base.len() + 320);
        url.push_str(base);
        push_target(&mut url, claims, key_id);
        let tag = tag_of(mac, &[LINK_CONTEXT, &url.as_bytes()[base.len()..]]);
        url.push_str("&signature=");
        url.push_str(&tag);
        if url.len() < LINK_BYTES_MAX { Ok(url) } else { Err(SignError::TooLong) }
    }

    /// Checks the query of a request for `sha256` and says what it claims. `now` is in seconds since 1970; `client`
    /// is the address the request came from.
    ///
    /// # Errors
    /// Anything but an untouched link of this server that is still good. The text is checked before the time and the
    /// address, so the code never says more than the holder of the link knows.
    pub fn verify(
        &self,
        sha256: &Digest,
        query: &str,
        now: u64,
        client: Option<IpAddr>,
    ) -> Result<LinkClaims, LinkError> {
        let link = parse(sha256, query).ok_or(LinkError::Malformed)?;
        let mac = self.keyring().verifying(link.key).ok_or(LinkError::UnknownKey)?;
        let path = format!("{ARTIFACTS_PATH}{sha256}?");
        if !tag_matches(mac, &[LINK_CONTEXT, path.as_bytes(), link.signed.as_bytes()], link.signature) {
            return Err(LinkError::Altered);
        }
        if now >= link.claims.expires {
            return Err(LinkError::Expired);
        }
        match (link.claims.net, client) {
            (None, _) => Ok(link.claims),
            (Some(net), Some(address)) if net.contains(&address.to_canonical()) => Ok(link.claims),
            (Some(_), _) => Err(LinkError::WrongAddress),
        }
    }
}

/// A query taken apart, not yet believed.
struct UncheckedLink<'a> {
    claims: LinkClaims,
    key: &'a str,
    signed: &'a str,
    signature: &'a str,
}

/// Takes a query apart: the parameters in their order, each once, no other.
fn parse<'a>(sha256: &Digest, query: &'a str) -> Option<UncheckedLink<'a>> {
    if query.len() >= LINK_BYTES_MAX {
        return None;
    }
    let (signed, signature) = query.rsplit_once("&signature=")?;
    let mut parameters = signed.split('&').peekable();
    let device = decode(parameters.next()?.strip_prefix("device=")?)?;
    let job = decode(parameters.next()?.strip_prefix("job=")?)?;
    let expires = decimal(parameters.next()?.strip_prefix("expires=")?)?;
    let net = match parameters.peek()?.strip_prefix("net=") {
        Some(net) => {
            parameters.next();
            Some(decode(net)?.parse().ok()?)
        }
        None => None,
    };
    let close = parameters.next_if_eq(&"close=1").is_some();
    let key = parameters.next()?.strip_prefix("key=")?;
    if parameters.next().is_some() || device.is_empty() {
        return None;
    }
    Some(UncheckedLink {
        claims: LinkClaims { sha256: *sha256, device, job, expires, net, close },
        key,
        signed,
        signature,
    })
}

/// Takes a query apart without believing it; `None` if it has not the shape of a link. For the fuzzer, which wants
/// the parser without a key.
#[doc(hidden)]
#[must_use]
pub fn parse_unchecked(sha256: &Digest, query: &str) -> Option<LinkClaims> {
    parse(sha256, query).map(|link| link.claims)
}

fn push_target(url: &mut String, claims: &LinkClaims, key_id: &str) {
    let (sha256, expires) = (claims.sha256, claims.expires);
    write!(url, "{ARTIFACTS_PATH}{sha256}?device=").expect("a String takes all");
    encode(url, &claims.device);
    url.push_str("&job=");
    encode(url, &claims.job);
    write!(url, "&expires={expires}").expect("a String takes all");
    if let Some(net) = claims.net {
        write!(url, "&net={net}").expect("a String takes all");
    }
    if claims.close {
        url.push_str("&close=1");
    }
    url.push_str("&key=");
    url.push_str(key_id);
}

/// Whether a base URL can stand in compact JSON and in a request line as it is.
fn is_public_url(base: &str) -> bool {
    (base.starts_with("http://") || base.starts_with("https://"))
        && base
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'?' | b'#'))
}

/// RFC 3986 §3.4: a query may hold these as they are. Of its list only those are left in that mean nothing to
/// shells and form decoders.
const fn stays(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'@' | b'/')
}

/// RFC 3986 §2.1 percent-encoding, with upper-case digits.
fn encode(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if stays(byte) {
            url.push(char::from(byte));
        } else {
            write!(url, "%{byte:02X}").expect("a String takes all");
        }
    }
}

/// Undoes [`encode`]; `None` for anything it would not have written.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if stays(byte) {
            bytes.push(byte);
        } else if byte == b'%' {
            let decoded = (digit(rest.next()?)? << 4) | digit(rest.next()?)?;
            if stays(decoded) {
                return None;
            }
            bytes.push(decoded);
        } else {
            return None;
        }
    }
    String::from_utf8(bytes).ok()
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// A number as `Display` writes it: no sign, no leading zero.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    if canonical { text.parse().ok() } else { None }
}
