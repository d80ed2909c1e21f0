//! Short links: what opens an artifact where a device has room for 255 bytes (LwM2M's Package URI).
//!
//! `{base}/f/{device}/{job}/{seal}`. The seal is 24 bytes in base64url (RFC 4648 §5), 32 characters whatever it says: the ID
//! of the signing key, the end in seconds since 1970, and the signature over the path and both, cut to 128 bits. Which
//! artifact it opens is not said: that of the device's open execution of that job, so a link cannot outlive it. Host and
//! scheme are not signed: the same path may be asked for by HTTP and by CoAP.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac;
use updraft_core::id::DeviceId;
use updraft_wire::JobId;

use super::keyring::{LINK_LIFE_SECONDS_MAX, absorb};
use super::link::{LinkError, LinkSigner, SignError};
use crate::config::is_authority;

/// Longest short link, in bytes: the range of `/5/0/1` (OMA LwM2M registry, object 5, resource 1).
pub const SHORT_LINK_BYTES_MAX: usize = 255;
/// First segment of the path of every short link.
pub const SHORT_LINK_SEGMENT: &str = "f";
/// What a short link may begin with: the ways by which this server gives out artifacts.
const SCHEMES: [&str; 4] = ["https://", "http://", "coaps://", "coap://"];
/// Keeps a short link from being taken for a link, or for a credential.
const SHORT_LINK_CONTEXT: &[u8] = b"updraft short link v1\n";
const KEY_ID_BYTES: usize = 4;
const END_BYTES: usize = 4;
/// Bytes of the signature that are kept: half of it, the least that RFC 2104 §5 recommends.
const TAG_BYTES: usize = 16;
const SEAL_BYTES: usize = KEY_ID_BYTES + END_BYTES + TAG_BYTES;
/// Characters of a seal. Three bytes are four characters, with nothing left over, so a seal has one spelling.
const SEAL_CHARS: usize = SEAL_BYTES / 3 * 4;

/// What a short link says: who may fetch what its job brings, until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortClaims {
    /// The device it is for.
    pub device: DeviceId,
    /// The job it belongs to, which determines the artifact.
    pub job: JobId,
    /// When it ends, in seconds since 1970; it does not open at this second.
    pub expires: u64,
}

impl LinkSigner {
    /// The signed URL. `base` is a scheme and a host with an optional port, of `http`, `https`, `coap` or `coaps`. `now` and
    /// `claims.expires` are in seconds since 1970.
    ///
    /// # Errors
    /// The claims make a link too long or too long-lived, or the base is none.
    pub fn sign_short(&self, base: &str, claims: &ShortClaims, now: u64) -> Result<String, SignError> {
        if claims.expires > now.saturating_add(LINK_LIFE_SECONDS_MAX) {
            return Err(SignError::LifeTooLong);
        }
        // From 2106 on no link is short.
        let expires = u32::try_from(claims.expires).map_err(|_| SignError::LifeTooLong)?;
        let base = base.strip_suffix('/').unwrap_or(base);
        if !SCHEMES.iter().any(|scheme| base.strip_prefix(scheme).is_some_and(is_authority)) {
            return Err(SignError::ShortBase);
        }
        let keys = self.keyring();
        let (key_id, mac) = keys.signing();
        let mut seal = [0; SEAL_BYTES];
        let (head, tag) = seal.split_at_mut(KEY_ID_BYTES + END_BYTES);
        hex::decode_to_slice(key_id, &mut head[..KEY_ID_BYTES]).expect("a key's ID is 8 hex digits");
        head[KEY_ID_BYTES..].copy_from_slice(&expires.to_be_bytes());
        let path = signed_path(claims);
        let whole = absorb(mac, &[SHORT_LINK_CONTEXT, path.as_bytes(), head]).finalize().into_bytes();
        tag.copy_from_slice(&whole[..TAG_BYTES]);
        let url = format!("{base}{path}{}", URL_SAFE_NO_PAD.encode(seal));
        if url.len() <= SHORT_LINK_BYTES_MAX { Ok(url) } else { Err(SignError::ShortTooLong) }
    }

    /// Checks the segments of a path and says what they claim. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Anything but an untouched short link of this server that is still good.
    pub fn verify_short(&self, path: &[&str], now: u64) -> Result<ShortClaims, LinkError> {
        let (claims, seal) = parse(path).ok_or(LinkError::Malformed)?;
        let (head, tag) = seal.split_at(KEY_ID_BYTES + END_BYTES);
        let key_id = hex::encode(&head[..KEY_ID_BYTES]);
        let mac = self.keyring().verifying(&key_id).ok_or(LinkError::UnknownKey)?;
        let path = signed_path(&claims);
        absorb(mac, &[SHORT_LINK_CONTEXT, path.as_bytes(), head])
            .verify_truncated_left(tag)
            .map_err(|_| LinkError::Altered)?;
        if now >= claims.expires { Err(LinkError::Expired) } else { Ok(claims) }
    }
}

/// The path up to the seal. Names and jobs hold only characters that stand in a path as they are (RFC 3986 §3.3).
fn signed_path(claims: &ShortClaims) -> String {
    format!("/{SHORT_LINK_SEGMENT}/{}/{}/", claims.device, claims.job)
}

/// Takes the segments of a path apart, not yet believed. A device and a job have one spelling each, so what was signed can
/// be written again from them.
fn parse(path: &[&str]) -> Option<(ShortClaims, [u8; SEAL_BYTES])> {
    let [SHORT_LINK_SEGMENT, device, job, seal] = path else { return None };
    if seal.len() != SEAL_CHARS {
        return None;
    }
    let seal: [u8; SEAL_BYTES] = URL_SAFE_NO_PAD.decode(seal).ok()?.try_into().ok()?;
    let expires = seal[KEY_ID_BYTES..].first_chunk().copied().map(u32::from_be_bytes)?;
    let claims =
        ShortClaims { device: device.parse().ok()?, job: job.parse().ok()?, expires: u64::from(expires) };
    Some((claims, seal))
}

/// Takes the segments of a path apart without believing them; `None` if they have not the shape of a short link. For the
/// fuzzer, which wants the parser without a key.
#[doc(hidden)]
#[must_use]
pub fn parse_short_unchecked(path: &[&str]) -> Option<ShortClaims> {
    parse(path).map(|(claims, _)| claims)
}
