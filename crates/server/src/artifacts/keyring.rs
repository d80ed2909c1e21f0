//! The keys that sign links and temporary credentials, and their file.
//!
//! The newest key signs; every key in the file verifies, so a rotation breaks no link that is on its way. There is
//! no network key service here: the file in the data folder, mode 0600, is the secret.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Longest life of a link or a credential, in seconds: 30 days, so that a device that is switched on once a month
/// can still finish. Keys are kept this long after their successor was made.
pub const LINK_LIFE_SECONDS_MAX: u64 = 30 * 24 * 3600;
/// Most keys in the file: a rotation a day for a month, and one to spare. Rotation beyond that is refused, because
/// dropping a key early would break links that were promised.
pub(super) const KEYS_MAX: usize = 32;
/// Largest key file that is read, in bytes; [`KEYS_MAX`] keys take less than a quarter of it.
const KEY_FILE_BYTES_MAX: u64 = 32 * 1024;

/// Why the key file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file exists and cannot be read.
    #[error("cannot read the link keys in {}; check its owner and mode", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not what this server wrote.
    #[error(
        "{} does not hold link keys; restore it from a backup, or remove it to have a key made (open links then stop working)",
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
    #[error("cannot write the link keys to {}", path.display())]
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
    /// There were [`KEYS_MAX`] rotations within one link life.
    #[error("there are already {KEYS_MAX} link keys in use; rotate again when the oldest links have expired")]
    TooMany,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    id: String,
    created: u64,
    secret: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKeys {
    keys: Vec<StoredKey>,
}

struct Key {
    stored: StoredKey,
    mac: Hmac<Sha256>,
}

/// The keys, oldest first. Never empty.
pub(super) struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    /// Reads the file; makes it with one key if it is not there.
    pub(super) fn open(path: &Path, now: u64) -> Result<Self, KeyFileError> {
        let mode = match fs::metadata(path) {
            Ok(metadata) if metadata.len() > KEY_FILE_BYTES_MAX => {
                return Err(KeyFileError::Garbage { path: path.into() });
            }
            Ok(metadata) => metadata.permissions().mode() & 0o777,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let ring = Self { keys: vec![fresh_key(now)?] };
                ring.save(path)?;
                return Ok(ring);
            }
            Err(source) => return Err(KeyFileError::Read { path: path.into(), source }),
        };
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Exposed { path: path.into(), mode });
        }
        let text = fs::read(path).map_err(|source| KeyFileError::Read { path: path.into(), source })?;
        Self::parse(&text).ok_or_else(|| KeyFileError::Garbage { path: path.into() })
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let stored: StoredKeys = serde_json::from_slice(text).ok()?;
        let keys = stored.keys.into_iter().map(load_key).collect::<Option<Vec<_>>>()?;
        (!keys.is_empty() && keys.len() <= KEYS_MAX).then_some(Self { keys })
    }

    /// Adds a key and drops those whose links have all expired. Saved before it is returned.
    pub(super) fn rotated(&self, path: &Path, now: u64) -> Result<Self, KeyFileError> {
        let mut kept: Vec<StoredKey> = Vec::new();
        for (key, successor) in self.keys.iter().zip(self.keys.iter().skip(1)) {
            // A key stops signing when its successor is made; its last link lives one link life longer.
            if successor.stored.created.saturating_add(LINK_LIFE_SECONDS_MAX) > now {
                kept.push(key.stored.clone());
            }
        }
        kept.extend(self.keys.last().map(|key| key.stored.clone()));
        if kept.len() >= KEYS_MAX {
            return Err(KeyFileError::TooMany);
        }
        let mut keys: Vec<Key> = kept.into_iter().filter_map(load_key).collect();
        keys.push(fresh_key(now)?);
        let ring = Self { keys };
        ring.save(path)?;
        Ok(ring)
    }

    /// ID of the key that signs, and a MAC keyed with it.
    pub(super) fn signing(&self) -> (&str, Hmac<Sha256>) {
        let key = self.keys.last().expect("a key ring is never empty");
        (&key.stored.id, key.mac.clone())
    }

    /// A MAC keyed with the key of that ID.
    pub(super) fn verifying(&self, id: &str) -> Option<Hmac<Sha256>> {
        self.keys.iter().find(|key| key.stored.id == id).map(|key| key.mac.clone())
    }

    fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        let keys = self.keys.iter().map(|key| key.stored.clone()).collect();
        let text = serde_json::to_vec_pretty(&StoredKeys { keys }).expect("texts and numbers are JSON");
        write_private(path, &text).map_err(|source| KeyFileError::Write { path: path.into(), source })
    }
}

/// Mode of a file that only the server may read.
pub(crate) const MODE_SECRET: u32 = 0o600;
/// Mode of a file that all may read.
pub(crate) const MODE_PUBLIC: u32 = 0o644;

/// Replaces a file that only the server may read, as [`write_durable`] does.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    write_durable(path, content, MODE_SECRET)
}

/// Replaces a file so that a power cut leaves the old content or the new one.
pub(crate) fn write_durable(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".writing");
    let staged = folder.join(name);
    match fs::remove_file(&staged) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&staged)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&staged, path)?;
    fs::File::open(folder)?.sync_all()
}

fn fresh_key(now: u64) -> Result<Key, KeyFileError> {
    let mut random = [0; 36];
    getrandom::fill(&mut random).map_err(|_| KeyFileError::Random)?;
    let (id, secret) = random.split_at(4);
    let stored = StoredKey { id: hex::encode(id), created: now, secret: hex::encode(secret) };
    load_key(stored).ok_or(KeyFileError::Random)
}

fn load_key(stored: StoredKey) -> Option<Key> {
    let secret = hex::decode(&stored.secret).ok().filter(|secret| secret.len() == 32)?;
    let id_fits = stored.id.len() == 8 && stored.id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mac = Hmac::new_from_slice(&secret).ok()?;
    id_fits.then_some(Key { stored, mac })
}

/// Whether the tag is the MAC's, compared in constant time.
pub(super) fn tag_matches(mac: Hmac<Sha256>, message: &[&[u8]], tag_hex: &str) -> bool {
    let mut tag = [0; 32];
    let lower = !tag_hex.bytes().any(|byte| byte.is_ascii_uppercase());
    lower
        && hex::decode_to_slice(tag_hex, &mut tag).is_ok()
        && absorb(mac, message).verify_slice(&tag).is_ok()
}

/// The MAC of the message, as lower-case hex.
pub(super) fn tag_of(mac: Hmac<Sha256>, message: &[&[u8]]) -> String {
    hex::encode(absorb(mac, message).finalize().into_bytes())
}

/// Feeds a MAC with the parts of a message.
pub(super) fn absorb(mut mac: Hmac<Sha256>, message: &[&[u8]]) -> Hmac<Sha256> {
    for part in message {
        mac.update(part);
    }
    mac
}
