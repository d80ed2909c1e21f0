//! Artifacts: immutable bytes named by their SHA-256, kept in an object store, handed out over signed links.
//!
//! What is here is complete or absent: an object appears under its name when its last byte is durable, never before.
//! Deliberately absent: which release uses an artifact, and who may have it; the caller decides that.

mod answer;
pub mod body;
pub mod chunk;
pub mod credential;
pub mod digest;
mod keyring;
pub mod link;
pub mod range;
mod refusal;
pub mod serve;
pub mod short_link;
pub mod temporary_key;
pub mod upload;

use std::fs;
use std::io;
use std::path::{Path as FolderPath, PathBuf};
use std::sync::Arc;

use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt};

pub use credential::{Credential, CredentialClaims, CredentialError};
pub use digest::Digest;
pub use keyring::{KeyFileError, LINK_LIFE_SECONDS_MAX};
pub(crate) use keyring::{MODE_PUBLIC, MODE_SECRET, write_durable, write_private};
pub use link::{LinkClaims, LinkError, LinkSigner};
pub use short_link::{SHORT_LINK_BYTES_MAX, ShortClaims};
pub use upload::{PutError, UploadLimits};

/// The folder of artifacts within the data folder.
pub const ARTIFACTS_FOLDER: &str = "artifacts";
/// The file of keys that sign links, within the data folder.
pub const LINK_KEYS_FILE: &str = "link.keys";

/// Prefix of the finished artifacts: `sha256/ab/abcd…`, cut after two digits so that no folder holds them all.
const FINISHED: &str = "sha256";
/// Prefix of uploads under way; what a crash leaves is only here.
const INCOMING: &str = "incoming";

/// What is known of stored bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The name: SHA-256 of the bytes.
    pub sha256: Digest,
    /// Length in bytes; at least 1.
    pub size: u64,
    /// MD5 of the bytes, for contracts that ask for it; never for security.
    pub md5: [u8; 16],
}

/// An artifact as a listing shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredArtifact {
    /// Its name.
    pub sha256: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// Why the folder of the artifacts could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or entered.
    #[error("cannot use {} for artifacts; check its owner and mode", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The object store refused.
    #[error("cannot open the store of the artifacts")]
    Store(#[source] object_store::Error),
}

/// Why an artifact could not be read, listed or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is none of that name.
    #[error("there is no artifact {0}")]
    Unknown(Digest),
    /// The object store failed.
    #[error("the store of the artifacts failed")]
    Store(#[source] object_store::Error),
}

/// The artifacts of one server. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Artifacts {
    store: Arc<dyn ObjectStore>,
    /// Where a local store stages uploads, for what its interface cannot remove.
    incoming: Option<Arc<FolderPath>>,
}

impl Artifacts {
    /// Opens the folder, making it if it is not there, and removes what uploads left that a crash cut short. One
    /// process at a time may hold the folder.
    ///
    /// # Errors
    /// The folder cannot be made, entered or cleaned.
    pub fn open_folder(folder: &FolderPath) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Folder { path: folder.into(), source };
        let incoming = folder.join(INCOMING);
        // By name, not over the store's listing, which hides the files it stages into.
        match fs::remove_dir_all(&incoming) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        fs::create_dir_all(&incoming).map_err(failed)?;
        fs::create_dir_all(folder.join(FINISHED)).map_err(failed)?;
        fs::File::open(folder).and_then(|opened| opened.sync_all()).map_err(failed)?;
        // with_fsync: file, then folder, before `complete` and `rename` return. The store's default is neither.
        let local = LocalFileSystem::new_with_prefix(folder).map_err(OpenError::Store)?.with_fsync(true);
        Ok(Self { store: Arc::new(local), incoming: Some(incoming.into()) })
    }

    /// Uses an object store as it is. It must make `complete` durable and `rename` all-or-nothing to readers.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, incoming: None }
    }

    /// Removes what uploads left that a crash cut short. [`open_folder`](Self::open_folder) has done it for a folder;
    /// on a shared store call it only while no other process uploads.
    ///
    /// # Errors
    /// The store cannot list or delete.
    pub async fn sweep(&self) -> Result<usize, ReadError> {
        let leftovers: Vec<_> =
            self.store.list(Some(&Path::from(INCOMING))).try_collect().await.map_err(ReadError::Store)?;
        for leftover in &leftovers {
            self.store.delete(&leftover.location).await.map_err(ReadError::Store)?;
        }
        Ok(leftovers.len())
    }

    /// Opens an artifact for reading.
    ///
    /// # Errors
    /// It is not there, or the store failed.
    pub async fn open(&self, sha256: &Digest) -> Result<GetResult, ReadError> {
        self.store.get(&location(sha256)).await.map_err(|error| read_error(sha256, error))
    }

    /// Opens `range` (start inclusive, end exclusive, in bytes) of an artifact.
    ///
    /// # Errors
    /// It is not there, is shorter than that, or the store failed.
    pub async fn open_range(
        &self,
        sha256: &Digest,
        range: std::ops::Range<u64>,
    ) -> Result<GetResult, ReadError> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let opened = self.store.get_opts(&location(sha256), options).await;
        opened.map_err(|error| read_error(sha256, error))
    }

    /// The length in bytes, or nothing if there is no such artifact.
    ///
    /// # Errors
    /// The store failed.
    pub async fn size(&self, sha256: &Digest) -> Result<Option<u64>, ReadError> {
        match self.store.head(&location(sha256)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(ReadError::Store(error)),
        }
    }

    /// Whether there is such an artifact.
    ///
    /// # Errors
    /// The store failed.
    pub async fn exists(&self, sha256: &Digest) -> Result<bool, ReadError> {
        Ok(self.size(sha256).await?.is_some())
    }

    /// Deletes an artifact and says whether it was there. Downloads under way go on to their end.
    ///
    /// # Errors
    /// The store failed.
    pub async fn delete(&self, sha256: &Digest) -> Result<bool, ReadError> {
        match self.store.delete(&location(sha256)).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(ReadError::Store(error)),
        }
    }

    /// All artifacts, ordered by name. Files that carry no artifact's name are passed over.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list(&self) -> Result<Vec<StoredArtifact>, ReadError> {
        let found: Vec<_> =
            self.store.list(Some(&Path::from(FINISHED))).try_collect().await.map_err(ReadError::Store)?;
        let mut artifacts: Vec<_> = found
            .iter()
            .filter_map(|meta| {
                let sha256: Digest = meta.location.filename()?.parse().ok()?;
                (location(&sha256) == meta.location).then_some(StoredArtifact { sha256, size: meta.size })
            })
            .collect();
        artifacts.sort_unstable_by_key(|artifact| artifact.sha256);
        Ok(artifacts)
    }
}

fn location(sha256: &Digest) -> Path {
    let name = sha256.to_string();
    Path::from_iter([FINISHED, &name[..2], &name])
}

fn read_error(sha256: &Digest, error: object_store::Error) -> ReadError {
    if matches!(error, object_store::Error::NotFound { .. }) {
        ReadError::Unknown(*sha256)
    } else {
        ReadError::Store(error)
    }
}
