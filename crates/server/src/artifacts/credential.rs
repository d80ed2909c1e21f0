//! Temporary credentials: a short-lived bearer token that opens one artifact for one device.
//!
//! A device gets one in exchange for its own credential, so that the token on the download path (which a cache or a
//! proxy may see) is worth nothing elsewhere. Signed with the keys of the links; nothing is stored.

use std::fmt;

use super::digest::Digest;
use super::keyring::{LINK_LIFE_SECONDS_MAX, tag_matches, tag_of};
use super::link::{LinkSigner, decimal};

/// Life of a credential that a device asks for, in seconds: one hour. The device can always exchange again.
pub const CREDENTIAL_LIFE_SECONDS: u64 = 3600;
/// First word of every temporary credential; no device's own credential starts so.
pub const CREDENTIAL_PREFIX: &str = "updraft-temporary.";
/// Longest credential that is looked at, in bytes: names of 128 bytes in hex, digest, signature and the rest.
const CREDENTIAL_BYTES_MAX: usize = 1024;
/// Keeps a credential from being taken for a link.
const CREDENTIAL_CONTEXT: &[u8] = b"updraft credential v1\n";

/// What a temporary credential says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialClaims {
    /// The one artifact it opens.
    pub sha256: Digest,
    /// The device it was given to.
    pub device: String,
    /// The job it belongs to: opaque text, may be empty.
    pub job: String,
    /// When it ends, in seconds since 1970; it does not open at this second.
    pub expires: u64,
}

/// Why a temporary credential opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Its time is over.
    #[error("the temporary credential has expired; exchange the device's credential again")]
    Expired,
    /// The signature does not fit the text.
    #[error("the temporary credential is not as the server made it")]
    Altered,
    /// It opens another artifact.
    #[error("the temporary credential is for another artifact")]
    WrongArtifact,
    /// It was signed with a key this server does not have.
    #[error("the temporary credential is signed with a key this server does not know")]
    UnknownKey,
    /// It has not the shape of one.
    #[error("the credential is no temporary credential; exchange the device's credential for one")]
    Malformed,
}

impl CredentialError {
    /// The stable code of the error body.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Expired => "credential_expired",
            Self::Altered => "credential_altered",
            Self::WrongArtifact => "credential_wrong_artifact",
            Self::UnknownKey => "credential_unknown_key",
            Self::Malformed => "credential_malformed",
        }
    }
}

/// The text of a temporary credential, fit for `Authorization: Bearer` (RFC 6750 §2.1). Debug output hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(String);

impl Credential {
    /// The secret text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credential(hidden)")
    }
}

/// Makes a credential with the newest key. A life beyond the longest is cut to it. Times are in seconds since 1970.
#[must_use]
pub fn issue(signer: &LinkSigner, claims: &CredentialClaims, now: u64) -> Credential {
    let keys = signer.keyring();
    let (key_id, mac) = keys.signing();
    let CredentialClaims { sha256, device, job, expires } = claims;
    let expires = (*expires).min(now.saturating_add(LINK_LIFE_SECONDS_MAX));
    let (device, job) = (hex::encode(device), hex::encode(job));
    let mut text = format!("{CREDENTIAL_PREFIX}{key_id}.{expires}.{device}.{job}.{sha256}");
    let tag = tag_of(mac, &[CREDENTIAL_CONTEXT, text.as_bytes()]);
    text.push('.');
    text.push_str(&tag);
    Credential(text)
}

/// Checks a bearer token for one artifact. `now` is in seconds since 1970.
///
/// # Errors
/// Anything but an untouched credential of this server for this artifact that is still good.
pub fn verify(
    signer: &LinkSigner,
    token: &str,
    sha256: &Digest,
    now: u64,
) -> Result<CredentialClaims, CredentialError> {
    let (signed, tag, key, claims) = parse(token).ok_or(CredentialError::Malformed)?;
    let mac = signer.keyring().verifying(key).ok_or(CredentialError::UnknownKey)?;
    if !tag_matches(mac, &[CREDENTIAL_CONTEXT, signed.as_bytes()], tag) {
        return Err(CredentialError::Altered);
    }
    if now >= claims.expires {
        return Err(CredentialError::Expired);
    }
    if claims.sha256 != *sha256 {
        return Err(CredentialError::WrongArtifact);
    }
    Ok(claims)
}

fn parse(token: &str) -> Option<(&str, &str, &str, CredentialClaims)> {
    if token.len() > CREDENTIAL_BYTES_MAX {
        return None;
    }
    let (signed, tag) = token.rsplit_once('.')?;
    let mut fields = signed.strip_prefix(CREDENTIAL_PREFIX)?.split('.');
    let key = fields.next()?;
    let expires = decimal(fields.next()?)?;
    let device = name(fields.next()?)?;
    let job = name(fields.next()?)?;
    let sha256 = fields.next()?.parse().ok()?;
    if fields.next().is_some() {
        return None;
    }
    Some((signed, tag, key, CredentialClaims { sha256, device, job, expires }))
}

fn name(text: &str) -> Option<String> {
    String::from_utf8(hex::decode(text).ok()?).ok()
}
