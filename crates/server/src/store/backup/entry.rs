//! What may be in a backup: names, and bytes counted and hashed as they pass.

use crate::pki::{CA_FILE, CA_KEY_FILE, SERVER_FILE, SERVER_KEY_FILE};
use crate::store::DATABASE_FILE;
use sha2::{Digest, Sha256};
use std::io::Read;

use super::manifest::FileFacts;

/// The data folder's small files: keys, certificates, the operator's token. Those missing are not missed.
pub(super) const SMALL_FILES: [&str; 7] = [
    CA_FILE,
    CA_KEY_FILE,
    SERVER_FILE,
    SERVER_KEY_FILE,
    crate::artifacts::LINK_KEYS_FILE,
    crate::auth::OPERATOR_TOKEN_FILE,
    crate::auth::access_key::ACCESS_KEY_FILE,
];
/// Largest of the small files, in bytes; real ones have a few thousand.
pub(super) const SMALL_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// One file of a backup. Nothing else may be in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The database.
    Database,
    /// One of [`SMALL_FILES`].
    Small,
    /// An artifact.
    Artifact,
}

impl Kind {
    /// What a name stands for; `None` if a backup cannot hold such a name. There is no path to resolve: names are
    /// compared whole.
    pub(super) fn of(name: &str) -> Option<Self> {
        if name == DATABASE_FILE {
            return Some(Self::Database);
        }
        if SMALL_FILES.contains(&name) {
            return Some(Self::Small);
        }
        let digest = name.rsplit('/').next()?;
        let is_digest =
            digest.len() == 64 && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (is_digest && artifact_name(digest) == name).then_some(Self::Artifact)
    }
}

/// Where the artifact of a digest (64 lower-case hex digits) is, below the data folder.
pub(super) fn artifact_name(sha256: &str) -> String {
    format!("{}/sha256/{}/{sha256}", crate::artifacts::ARTIFACTS_FOLDER, &sha256[..2])
}

/// Counts and hashes what passes, and tells how far it is.
pub(super) struct Measure<'a, T> {
    inner: T,
    hash: Sha256,
    bytes: u64,
    passed: &'a mut dyn FnMut(u64),
}

impl<'a, T> Measure<'a, T> {
    /// Tells `passed` the bytes of each piece.
    pub(super) fn new(inner: T, passed: &'a mut dyn FnMut(u64)) -> Self {
        Self { inner, hash: Sha256::new(), bytes: 0, passed }
    }

    /// What passed.
    pub(super) fn finish(self) -> FileFacts {
        FileFacts { size: self.bytes, sha256: hex::encode(self.hash.finalize()) }
    }
}

impl<T: Read> Read for Measure<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.bytes += count as u64;
        (self.passed)(count as u64);
        Ok(count)
    }
}
