//! An assignment's bytes on their way to the target: written as they come, hashed as they come, never more than
//! announced, and read back at the end.

use crate::ledger::Position;
use crate::package::PACKAGE_BYTES_MAX;
use crate::storage::{FileKind, Storage};
use sha2::{Digest, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use updraft_wire::Manifest;

/// How much is read back at once, in bytes: large enough to keep the device busy, small beside the smallest
/// device's memory.
const READ_BACK_BYTES: usize = 128 * 1024;

/// One artifact on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its announced size, in bytes.
    pub size: u64,
    /// Its announced SHA-256, in lower-case hex; empty for a package, of which nothing is announced.
    pub sha256: String,
}

/// The files that a manifest's artifacts become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// In the manifest's order; at least one.
    pub files: Vec<ImageFile>,
}

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file could not be written, read or synced.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More bytes came than were announced; the surplus was not written.
    #[error("more than the {announced} bytes announced")]
    TooLong {
        /// The announced size.
        announced: u64,
    },
    /// The bytes' digest is not the announced one.
    #[error("the SHA-256 is {found}, announced was {announced}")]
    Digest {
        /// What was announced.
        announced: String,
        /// What the bytes give.
        found: String,
    },
    /// A file on disk has another length than it should.
    #[error("{} has {found} bytes, not {expected}", path.display())]
    Length {
        /// Which file.
        path: PathBuf,
        /// What it should have.
        expected: u64,
        /// What it has.
        found: u64,
    },
}

impl Image {
    /// The files of a manifest's artifacts, each under its own name in a folder. Artifact names never start with a
    /// dot, so the folder's own records cannot be overwritten.
    #[must_use]
    pub fn in_folder(folder: &Path, manifest: &Manifest) -> Self {
        let files = manifest
            .artifacts
            .iter()
            .map(|artifact| ImageFile {
                path: folder.join(&artifact.name),
                size: artifact.size,
                sha256: artifact.sha256.clone(),
            })
            .collect();
        Self { files }
    }

    /// Bytes of all artifacts together; saturates.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// Reads every file back and compares it with what was announced.
    ///
    /// # Errors
    /// [`ImageError`] naming the first file that differs.
    pub fn verify(&self, storage: &mut dyn Storage) -> Result<(), ImageError> {
        for file in &self.files {
            let length = storage.len(&file.path).map_err(|source| file.failed("read", source))?;
            let found = length.unwrap_or(0);
            if found != file.size {
                return Err(ImageError::Length { path: file.path.clone(), expected: file.size, found });
            }
            let hash = file.hash_prefix(storage, file.size)?;
            file.check_digest(hash)?;
        }
        Ok(())
    }
}

impl ImageFile {
    /// Whether neither size nor digest is announced.
    #[must_use]
    pub fn is_package(&self) -> bool {
        self.sha256.is_empty()
    }

    /// The most bytes that are taken.
    fn bytes_max(&self) -> u64 {
        if self.is_package() { PACKAGE_BYTES_MAX } else { self.size }
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> ImageError {
        ImageError::File { operation, path: self.path.clone(), source }
    }

    fn check_digest(&self, hash: Sha256) -> Result<(), ImageError> {
        let found = hex::encode(hash.finalize());
        if found == self.sha256 {
            Ok(())
        } else {
            Err(ImageError::Digest { announced: self.sha256.clone(), found })
        }
    }

    fn hash_prefix(&self, storage: &mut dyn Storage, length: u64) -> Result<Sha256, ImageError> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; READ_BACK_BYTES];
        let mut offset = 0;
        while offset < length {
            let wanted = usize::try_from(length - offset).map_or(READ_BACK_BYTES, |n| n.min(READ_BACK_BYTES));
            let read = storage
                .read_at(&self.path, offset, &mut buffer[..wanted])
                .map_err(|source| self.failed("read", source))?;
            if read == 0 {
                return Err(ImageError::Length { path: self.path.clone(), expected: length, found: offset });
            }
            hash.update(&buffer[..read]);
            offset += read as u64;
        }
        Ok(hash)
    }
}

/// What a piece of bytes did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Written; more is to come.
    More,
    /// So much has been written since the last checkpoint that another is due.
    CheckpointDue,
    /// The artifact is whole and right; the next one begins.
    ArtifactDone,
    /// The last artifact is whole and right, and all bytes are safe.
    ImageDone,
}

/// Writes an image as its bytes come.
#[derive(Debug)]
pub struct Intake {
    image: Image,
    position: Position,
    hash: Sha256,
    /// How far the current artifact is known to be safe.
    safe: u64,
    checkpoint_bytes: u64,
}

impl Intake {
    /// Begins at the first byte: makes the first file.
    ///
    /// # Errors
    /// [`ImageError::File`].
    pub fn begin(storage: &mut dyn Storage, image: Image, checkpoint_bytes: u64) -> Result<Self, ImageError> {
        let position = Position::default();
        let intake = Self { image, position, hash: Sha256::new(), safe: 0, checkpoint_bytes };
        intake.create_file(storage)?;
        Ok(intake)
    }

    /// Goes on where a checkpoint says the bytes are safe. What lies beyond is written over.
    ///
    /// # Errors
    /// [`ImageError`] if the bytes are not there after all; the caller then begins anew.
    pub fn resume(
        storage: &mut dyn Storage,
        image: Image,
        position: Position,
        checkpoint_bytes: u64,
    ) -> Result<Self, ImageError> {
        let Some(file) = image.files.get(position.artifact) else {
            let path = image.files.first().map(|file| file.path.clone()).unwrap_or_default();
            return Err(ImageError::Length { path, expected: 0, found: 0 });
        };
        if position.offset > file.bytes_max() {
            return Err(ImageError::TooLong { announced: file.bytes_max() });
        }
        let hash = file.hash_prefix(storage, position.offset)?;
        let safe = position.offset;
        let intake = Self { image, position, hash, safe, checkpoint_bytes };
        if intake.position.offset == 0 {
            intake.create_file(storage)?;
        }
        Ok(intake)
    }

    fn create_file(&self, storage: &mut dyn Storage) -> Result<(), ImageError> {
        let file = self.file();
        storage.create(&file.path, FileKind::Executable).map_err(|source| file.failed("create", source))
    }

    fn file(&self) -> &ImageFile {
        &self.image.files[self.position.artifact]
    }

    /// Where the next byte goes, and under which entity tag those before it came.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Bytes of the current artifact, as announced.
    #[must_use]
    pub fn artifact_size(&self) -> u64 {
        self.file().size
    }

    /// Percent of the whole image that is written, 0 to 100.
    #[must_use]
    pub fn percent(&self) -> u8 {
        let before: u128 =
            self.image.files[..self.position.artifact].iter().map(|f| u128::from(f.size)).sum();
        let written = before + u128::from(self.position.offset);
        let whole: u128 = self.image.files.iter().map(|f| u128::from(f.size)).sum();
        u8::try_from(written * 100 / whole.max(1)).unwrap_or(100)
    }

    /// A server begins to serve the current artifact from its first byte, under this entity tag.
    ///
    /// # Errors
    /// [`ImageError::File`].
    pub fn restart(&mut self, storage: &mut dyn Storage, etag: Option<String>) -> Result<(), ImageError> {
        self.position.offset = 0;
        self.position.etag = etag;
        self.hash = Sha256::new();
        self.safe = 0;
        self.create_file(storage)
    }

    /// Takes the next bytes. Never writes past the announced size: a surplus is refused before a byte is written.
    ///
    /// # Errors
    /// [`ImageError`]; the artifact then has to begin anew, unless it is [`ImageError::File`].
    pub fn take(&mut self, storage: &mut dyn Storage, bytes: &[u8]) -> Result<Taken, ImageError> {
        let announced = self.file().bytes_max();
        if bytes.len() as u64 > announced - self.position.offset {
            return Err(ImageError::TooLong { announced });
        }
        let offset = self.position.offset;
        let file = self.file();
        let is_package = file.is_package();
        storage.write_at(&file.path, offset, bytes).map_err(|source| file.failed("write", source))?;
        self.hash.update(bytes);
        self.position.offset += bytes.len() as u64;
        if self.position.offset == announced && !is_package {
            return self.finish_artifact(storage);
        }
        Ok(if self.position.offset - self.safe >= self.checkpoint_bytes {
            Taken::CheckpointDue
        } else {
            Taken::More
        })
    }

    fn finish_artifact(&mut self, storage: &mut dyn Storage) -> Result<Taken, ImageError> {
        self.file().check_digest(self.hash.clone())?;
        self.make_safe(storage)?;
        if self.position.artifact + 1 == self.image.files.len() {
            return Ok(Taken::ImageDone);
        }
        self.position = Position { artifact: self.position.artifact + 1, offset: 0, etag: None };
        self.hash = Sha256::new();
        self.safe = 0;
        self.create_file(storage)?;
        Ok(Taken::ArtifactDone)
    }

    /// A package is whole: makes it safe, and says its size and digest.
    ///
    /// # Errors
    /// [`ImageError::File`].
    pub fn seal(&mut self, storage: &mut dyn Storage) -> Result<(u64, String), ImageError> {
        self.make_safe(storage)?;
        Ok((self.position.offset, hex::encode(self.hash.clone().finalize())))
    }

    /// Whether it is a package that is being written.
    #[must_use]
    pub fn is_package(&self) -> bool {
        self.file().is_package()
    }

    /// Where the current artifact is written.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file().path
    }

    /// Makes what is written safe, and says how far that is.
    ///
    /// # Errors
    /// [`ImageError::File`].
    pub fn make_safe(&mut self, storage: &mut dyn Storage) -> Result<Position, ImageError> {
        let file = self.file();
        let folder = file.path.parent().unwrap_or(Path::new("."));
        storage.sync(&file.path).map_err(|source| file.failed("sync", source))?;
        storage.sync_folder(folder).map_err(|source| file.failed("sync the folder of", source))?;
        self.safe = self.position.offset;
        Ok(self.position.clone())
    }
}
