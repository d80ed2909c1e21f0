//! Pre-shared keys: an identity that is sent, and a key that is not, by which a device and the server know each other in a
//! DTLS handshake (RFC 4279; LwM2M Transport 1.1.1 §5.2.8).
//!
//! The keys that the server makes follow from their identity and the master key, as the secrets of access keys do, so a copy
//! of the database alone lets nobody in. A key that a device was made with follows from nothing: it is in the database until
//! it is revoked, and in memory, because a handshake waits for no database.

use std::fmt;
use std::str::FromStr;

use updraft_core::id::DeviceId;
use updraft_core::time::Timestamp;

use super::access_key::{MasterKey, MasterKeyError};
use super::{Auth, AuthError, NewToken, Principal, digest};
use crate::store::{PskRow, TokenForm, TokenRow};

/// What every identity that the server makes begins with, so that people know one when they see it.
pub const PSK_IDENTITY_PREFIX: &str = "UPDP";
/// Longest identity, in bytes: what LwM2M Transport 1.1.1 §5.2.8 has every end support.
pub const PSK_IDENTITY_BYTES_MAX: usize = 128;
/// Length of the keys that the server makes: 128 random bits. The suites that every LwM2M device has encrypt with AES-128,
/// so a longer key would make nothing stronger, and there are devices that hold no longer one.
pub const PSK_BYTES: usize = 16;
/// Longest key that a device may have been made with, in bytes: a longer one would be taken in here and fail in each handshake.
pub const PSK_BYTES_MAX: usize = updraft_dtls::KEY_BYTES_MAX;

/// Random bytes of an identity: no secret, and must only never be given twice.
const IDENTITY_RANDOM_BYTES: usize = 8;
/// Keeps a pre-shared key from being an access key's secret: those follow from an ID alone, and no ID holds a blank.
const CONTEXT: &[u8] = b"updraft psk v1\n";

/// Why a text is no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an identity must be 1 to {PSK_IDENTITY_BYTES_MAX} printable ASCII characters")]
pub struct InvalidIdentity;

/// The name that a pre-shared key goes by: printable ASCII, so that it reads the same in a list, on a label and in a device's
/// configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PskIdentity(String);

impl PskIdentity {
    /// The identity as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Draws an identity.
    fn draw() -> Result<Self, MasterKeyError> {
        let mut bytes = [0; IDENTITY_RANDOM_BYTES];
        getrandom::fill(&mut bytes).map_err(|_| MasterKeyError::Random)?;
        Ok(Self(format!("{PSK_IDENTITY_PREFIX}{}", hex::encode_upper(bytes))))
    }
}

impl FromStr for PskIdentity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let is_printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let fits = (1..=PSK_IDENTITY_BYTES_MAX).contains(&text.len());
        if fits && is_printable { Ok(Self(text.to_owned())) } else { Err(InvalidIdentity) }
    }
}

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pre-shared key must be 1 to {PSK_BYTES_MAX} bytes in hexadecimal digits")]
pub struct InvalidPsk;

/// A pre-shared key. Printing it for debugging does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PskKey(Vec<u8>);

impl PskKey {
    /// The secret bytes, 1 to [`PSK_BYTES_MAX`] of them.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for PskKey {
    type Err = InvalidPsk;

    /// Reads hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, InvalidPsk> {
        let bytes = hex::decode(text).map_err(|_| InvalidPsk)?;
        if (1..=PSK_BYTES_MAX).contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(InvalidPsk) }
    }
}

impl fmt::Debug for PskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PskKey(…)")
    }
}

/// A live pre-shared key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Psk {
    /// Whose it is.
    pub device: DeviceId,
    /// The key.
    pub key: PskKey,
}

impl MasterKey {
    /// The pre-shared key that goes by this identity.
    fn psk(&self, identity: &[u8]) -> PskKey {
        PskKey(self.tag(&[CONTEXT, identity])[..PSK_BYTES].to_vec())
    }
}

impl Auth {
    /// The pre-shared key that a peer names; `None` if there is none of that identity, or it is revoked or expired. That the
    /// peer has it is not known yet. Costs a SHA-256 or two and one lookup in memory, and waits for nothing.
    #[must_use]
    pub fn psk(&self, identity: &[u8], now: Timestamp) -> Option<Psk> {
        if identity.len() > PSK_IDENTITY_BYTES_MAX {
            return None;
        }
        let (device, kept) = self.shared.index.find_psk(&digest(identity), now)?;
        Some(Psk { device, key: kept.map_or_else(|| self.shared.master.psk(identity), PskKey) })
    }

    /// Whose the pre-shared key of an identity is, to be asked about a peer that has proved to have it; `None` as for
    /// [`Auth::psk`].
    #[must_use]
    pub fn device_of_psk(&self, identity: &[u8], now: Timestamp) -> Option<DeviceId> {
        if identity.len() > PSK_IDENTITY_BYTES_MAX {
            return None;
        }
        self.shared.index.find_psk(&digest(identity), now).map(|(device, _)| device)
    }

    /// Whether a device has a pre-shared key that is not revoked. Who has one proves it.
    #[must_use]
    pub fn has_psk(&self, device: &DeviceId) -> bool {
        self.shared.index.has_psk(device)
    }

    /// Makes a pre-shared key for a device, which goes by the identity in the row. When this returns it is durable, and found
    /// from then on. Blocks on the database.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn create_psk(&self, new: NewToken, now: Timestamp) -> Result<(PskKey, TokenRow), AuthError> {
        let identity = PskIdentity::draw()?;
        let key = self.shared.master.psk(identity.as_str().as_bytes());
        let row = self.add_psk(PskRow { identity: identity.0, key: None }, new, now)?;
        Ok((key, row))
    }

    /// Takes in a pre-shared key that a device was made with. As [`Auth::create_psk`] otherwise.
    ///
    /// # Errors
    /// [`AuthError`]; [`AuthError::IdentityTaken`] if a key that is not revoked goes by that identity.
    pub fn import_psk(
        &self,
        identity: PskIdentity,
        key: PskKey,
        new: NewToken,
        now: Timestamp,
    ) -> Result<TokenRow, AuthError> {
        self.add_psk(PskRow { identity: identity.0, key: Some(key.0) }, new, now)
    }

    fn add_psk(&self, psk: PskRow, new: NewToken, now: Timestamp) -> Result<TokenRow, AuthError> {
        match new.principal {
            Principal::Device(_) => {}
            Principal::Product(_) | Principal::Operator(_) => return Err(AuthError::NotADevice),
        }
        self.add(TokenForm::Psk, digest(psk.identity.as_bytes()), Some(psk), new, now)
    }
}

#[cfg(test)]
mod tests;
