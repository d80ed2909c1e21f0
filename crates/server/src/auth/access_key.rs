//! Access keys: an ID that is sent, and a secret that is not, with which a client signs its requests (AWS Signature
//! Version 4).
//!
//! To check a signature the server must know the secret, so a digest of it would not do. Instead of storing secrets, the
//! server derives each from the key's ID and one master key, which lies in a file beside the database: a copy of the
//! database alone lets nobody in.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Principal;
use crate::artifacts::write_private;

/// The file in the data folder with the master key of access keys and pre-shared keys, mode 0600.
pub const ACCESS_KEY_FILE: &str = "access.key";
/// What every access key's ID begins with, so that people and secret scanners know one when they see it.
pub const ACCESS_KEY_PREFIX: &str = "UPDK";
/// Length of an access key's ID: the prefix and 64 bits in hex, which makes it as long as those of AWS. It is no secret,
/// and must only never be given twice.
pub const ACCESS_KEY_ID_BYTES: usize = ACCESS_KEY_PREFIX.len() + 2 * ID_RANDOM_BYTES;

const ID_RANDOM_BYTES: usize = 8;
const MASTER_BYTES: usize = 32;
/// Largest master key file that is read, in bytes: 64 hex digits and a line end, with room for an editor's habits.
const FILE_BYTES_MAX: u64 = 128;

/// Why the master key could not be used.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file exists and cannot be read.
    #[error("cannot read the master key of access keys in {}; check its owner and mode", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not what this server wrote.
    #[error(
        "{} does not hold a master key; restore it from a backup, or remove it to have one made (the secrets of all access keys then change)",
        path.display()
    )]
    Garbage {
        /// The file.
        path: PathBuf,
    },
    /// Others may read the file.
    #[error("{} is readable by others (mode {mode:03o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file cannot be written.
    #[error("cannot write the master key of access keys to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system has no random bytes.
    #[error("the system's random source failed")]
    Random,
}

/// The key from which the secrets of all access keys follow, and the pre-shared keys that the server makes.
pub struct MasterKey {
    mac: Hmac<Sha256>,
}

impl MasterKey {
    /// Reads the file; makes it if it is not there.
    ///
    /// # Errors
    /// [`MasterKeyError`].
    pub fn open(path: &Path) -> Result<Self, MasterKeyError> {
        let garbage = || MasterKeyError::Garbage { path: path.into() };
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::make(path),
            Err(source) => return Err(MasterKeyError::Read { path: path.into(), source }),
        };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(MasterKeyError::Exposed { path: path.into(), mode });
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(garbage());
        }
        let text = fs::read(path).map_err(|source| MasterKeyError::Read { path: path.into(), source })?;
        let mut bytes = [0; MASTER_BYTES];
        hex::decode_to_slice(text.trim_ascii(), &mut bytes).map_err(|_| garbage())?;
        Ok(Self::of(&bytes))
    }

    fn make(path: &Path) -> Result<Self, MasterKeyError> {
        let bytes = random()?;
        let text = format!("{}\n", hex::encode(bytes));
        write_private(path, text.as_bytes())
            .map_err(|source| MasterKeyError::Write { path: path.into(), source })?;
        Ok(Self::of(&bytes))
    }

    /// A key that no file keeps: for a database that does not outlive the process either.
    ///
    /// # Errors
    /// [`MasterKeyError::Random`].
    pub fn draw() -> Result<Self, MasterKeyError> {
        Ok(Self::of(&random()?))
    }

    fn of(bytes: &[u8; MASTER_BYTES]) -> Self {
        Self { mac: Hmac::new_from_slice(bytes).expect("HMAC takes a key of any length") }
    }

    /// The secret of the access key with this ID.
    pub(super) fn secret(&self, id: &str) -> Secret {
        Secret(hex::encode(self.tag(&[id.as_bytes()])))
    }

    /// What follows from the parts of a message, one after the other. No two purposes may share a message: an access key's
    /// is its ID alone, and any other begins with words that no ID begins with.
    pub(super) fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.mac.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

fn random() -> Result<[u8; MASTER_BYTES], MasterKeyError> {
    let mut bytes = [0; MASTER_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| MasterKeyError::Random)?;
    Ok(bytes)
}

/// Draws an ID.
pub(super) fn draw_id() -> Result<String, MasterKeyError> {
    let mut bytes = [0; ID_RANDOM_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| MasterKeyError::Random)?;
    Ok(format!("{ACCESS_KEY_PREFIX}{}", hex::encode_upper(bytes)))
}

/// Whether a text may be an access key's ID at all.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == ACCESS_KEY_ID_BYTES && text.starts_with(ACCESS_KEY_PREFIX)
}

/// The secret of an access key. Printing it for debugging does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A live access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Whom it stands for.
    pub principal: Principal,
    /// What its requests are signed with.
    pub secret: Secret,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secrets_outlive_a_restart_and_differ_by_id_and_by_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ACCESS_KEY_FILE);
        let first = MasterKey::open(&path).unwrap().secret("UPDK0000000000000001");
        let again = MasterKey::open(&path).unwrap();
        assert_eq!(again.secret("UPDK0000000000000001"), first);
        assert_ne!(again.secret("UPDK0000000000000002"), first);
        assert_ne!(MasterKey::draw().unwrap().secret("UPDK0000000000000001"), first);
        assert_eq!(first.reveal().len(), 64);
        let kept = fs::read_to_string(&path).unwrap();
        assert!(!kept.contains(first.reveal()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{first:?} {again:?}").contains(&first.reveal()[..8]));
    }

    #[test]
    fn the_secret_is_the_mac_of_the_id() {
        // RFC 4231 §4.3, test case 2, has "Jefe" for a key; a longer one is padded the same way, with zero bytes.
        let mut key = [0; MASTER_BYTES];
        key[..4].copy_from_slice(b"Jefe");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(MasterKey::of(&key).secret("what do ya want for nothing?").reveal(), expected);
    }

    #[test]
    fn a_file_that_holds_something_else_or_that_others_may_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ACCESS_KEY_FILE);
        let huge = "0".repeat(1 << 20);
        for bad in ["", "00", "not hex at all", &"0".repeat(63), &"0".repeat(66), &huge] {
            write_private(&path, bad.as_bytes()).unwrap();
            let error = MasterKey::open(&path).unwrap_err();
            assert!(matches!(error, MasterKeyError::Garbage { .. }), "{error}");
            assert!(error.to_string().contains(ACCESS_KEY_FILE));
        }
        fs::remove_file(&path).unwrap();
        MasterKey::open(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(MasterKey::open(&path), Err(MasterKeyError::Exposed { mode: 0o644, .. })));
    }
}
