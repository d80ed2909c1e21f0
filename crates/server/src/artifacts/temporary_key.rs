//! Temporary access keys: what a device signs its requests with for an hour, in exchange for its own credential.
//!
//! Signed with the keys of the links; nothing is stored. The token says whose it is and until when; the key's ID and its
//! secret follow from the token and the signing key, so who has the token alone, from a log say, cannot sign.

use std::fmt;
use std::str::FromStr;

use hmac::Hmac;
use sha2::Sha256;
use updraft_core::id::DeviceId;

use super::credential::CredentialError;
use super::keyring::{tag_matches, tag_of};
use super::link::{LinkSigner, decimal};

/// Shortest life of a temporary access key, in seconds (AWS IoT's credential provider).
pub const TEMPORARY_KEY_SECONDS_MIN: u64 = 900;
/// Longest life, in seconds (AWS IoT's credential provider): 12 hours.
pub const TEMPORARY_KEY_SECONDS_MAX: u64 = 43_200;
/// What the ID of a temporary access key begins with.
pub const TEMPORARY_KEY_PREFIX: &str = "UPDT";
/// First word of every token.
const TOKEN_PREFIX: &str = "updraft-session.";
/// Longest token that is looked at, in bytes: a name of 128 bytes in hex, the tag, two numbers.
const TOKEN_BYTES_MAX: usize = 512;
/// Keep a token, its ID and its secret from being taken for each other, or for a link.
const TOKEN_CONTEXT: &[u8] = b"updraft session v1\n";
const ID_CONTEXT: &[u8] = b"updraft session id v1\n";
const SECRET_CONTEXT: &[u8] = b"updraft session secret v1\n";
/// Hex digits of an ID after its prefix: it is then as long as those of AWS.
const ID_DIGITS: usize = 16;

/// A temporary access key. Printing it for debugging does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct TemporaryKey {
    /// Whose it is.
    pub device: DeviceId,
    /// When it ends, in seconds since 1970; it is of no use at this second.
    pub expires: u64,
    /// The key's ID.
    pub access_key_id: String,
    /// What requests are signed with.
    pub secret: String,
    /// What is sent along with each request.
    pub token: String,
}

impl fmt::Debug for TemporaryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporaryKey")
            .field("device", &self.device)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Makes a temporary access key with the newest signing key. A life outside its limits is brought within them. `now` is
/// in seconds since 1970.
#[must_use]
pub fn issue(signer: &LinkSigner, device: &DeviceId, now: u64, life: u64) -> TemporaryKey {
    let keys = signer.keyring();
    let (key_id, mac) = keys.signing();
    let expires = now.saturating_add(life.clamp(TEMPORARY_KEY_SECONDS_MIN, TEMPORARY_KEY_SECONDS_MAX));
    let signed = format!("{TOKEN_PREFIX}{key_id}.{expires}.{}", hex::encode(device.as_str()));
    let tag = tag_of(mac.clone(), &[TOKEN_CONTEXT, signed.as_bytes()]);
    let token = format!("{signed}.{tag}");
    derive(mac, &signed, device.clone(), expires, token)
}

/// What follows from the signed part of a token.
fn derive(mac: Hmac<Sha256>, signed: &str, device: DeviceId, expires: u64, token: String) -> TemporaryKey {
    let id = tag_of(mac.clone(), &[ID_CONTEXT, signed.as_bytes()]);
    let access_key_id = format!("{TEMPORARY_KEY_PREFIX}{}", id[..ID_DIGITS].to_ascii_uppercase());
    let secret = tag_of(mac, &[SECRET_CONTEXT, signed.as_bytes()]);
    TemporaryKey { device, expires, access_key_id, secret, token }
}

/// The temporary access key that a token belongs to. `now` is in seconds since 1970.
///
/// # Errors
/// Anything but an untouched token of this server that is still good.
pub fn open(signer: &LinkSigner, token: &str, now: u64) -> Result<TemporaryKey, CredentialError> {
    let (signed, tag) = token
        .rsplit_once('.')
        .filter(|_| token.len() <= TOKEN_BYTES_MAX)
        .ok_or(CredentialError::Malformed)?;
    let (key, expires, device) = parse(signed).ok_or(CredentialError::Malformed)?;
    let mac = signer.keyring().verifying(key).ok_or(CredentialError::UnknownKey)?;
    if !tag_matches(mac.clone(), &[TOKEN_CONTEXT, signed.as_bytes()], tag) {
        return Err(CredentialError::Altered);
    }
    if now >= expires {
        return Err(CredentialError::Expired);
    }
    Ok(derive(mac, signed, device, expires, token.to_owned()))
}

fn parse(signed: &str) -> Option<(&str, u64, DeviceId)> {
    let mut fields = signed.strip_prefix(TOKEN_PREFIX)?.split('.');
    let (key, expires) = (fields.next()?, decimal(fields.next()?)?);
    let device = String::from_utf8(hex::decode(fields.next()?).ok()?).ok()?;
    let device = DeviceId::from_str(&device).ok()?;
    fields.next().is_none().then_some((key, expires, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_772_366_400;

    fn signer(folder: &tempfile::TempDir) -> LinkSigner {
        LinkSigner::open(&folder.path().join("keys"), NOW).unwrap()
    }

    #[test]
    fn a_token_gives_back_the_key_it_was_made_with_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let signer = signer(&folder);
        let key = issue(&signer, &"d-1".parse().unwrap(), NOW, 3_600);
        assert_eq!(key.expires, NOW + 3_600);
        assert_eq!(key.access_key_id.len(), 20);
        assert_eq!(open(&signer, &key.token, NOW + 3_599), Ok(key.clone()));
        assert_eq!(open(&signer, &key.token, NOW + 3_600), Err(CredentialError::Expired));
        signer.rotate(NOW).unwrap();
        assert_eq!(open(&signer, &key.token, NOW), Ok(key.clone()), "a rotation takes no key away");
        let another = LinkSigner::open(&folder.path().join("others"), NOW).unwrap();
        assert_eq!(open(&another, &key.token, NOW), Err(CredentialError::UnknownKey));
        let shown = format!("{key:?}");
        assert!(!shown.contains(&key.secret) && !shown.contains(&key.token));
        assert!(!key.token.contains(&key.secret));
    }

    #[test]
    fn a_token_with_another_device_or_end_is_altered() {
        let folder = tempfile::tempdir().unwrap();
        let signer = signer(&folder);
        let key = issue(&signer, &"d-1".parse().unwrap(), NOW, 3_600);
        for (from, to) in [("642d31", "642d32"), (&(NOW + 3_600).to_string(), &(NOW + 9_999).to_string())] {
            let altered = key.token.replace(from, to);
            assert_ne!(altered, key.token);
            assert_eq!(open(&signer, &altered, NOW), Err(CredentialError::Altered));
        }
        for malformed in ["", "updraft-session.", "updraft-session.a.b.c.d", &"x".repeat(10_000), "Bearer x"]
        {
            assert_eq!(open(&signer, malformed, NOW), Err(CredentialError::Malformed), "{malformed:.40}");
        }
    }

    #[test]
    fn a_life_is_brought_within_its_limits() {
        let folder = tempfile::tempdir().unwrap();
        let signer = signer(&folder);
        for (asked, given) in [(0, 900), (900, 900), (43_200, 43_200), (u64::MAX, 43_200)] {
            let key = issue(&signer, &"d".parse().unwrap(), NOW, asked);
            assert_eq!(key.expires - NOW, given);
        }
    }
}
