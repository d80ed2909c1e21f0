//! Taking an upload in: hashed on the way, in constant memory, visible only when whole and durable.

use std::error::Error;
use std::fs;
use std::io;
use std::mem;

use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use md5::Md5;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::{Artifact, Artifacts, INCOMING, location};

/// Largest artifact by default, in bytes: 16 GiB holds a full image of the largest devices in the field.
pub const ARTIFACT_BYTES_MAX: u64 = 16 << 30;
/// Bytes held in memory per upload before they are written. 5 MiB is the smallest part that S3 takes; 16 GiB then
/// make 3,277 of the 10,000 parts it allows.
const PART_BYTES: usize = 5 << 20;

type BoxError = Box<dyn Error + Send + Sync>;

/// What an upload may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadLimits {
    /// Most bytes of one artifact.
    pub bytes_max: u64,
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self { bytes_max: ARTIFACT_BYTES_MAX }
    }
}

/// Why an upload made no artifact. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// There were no bytes.
    #[error("the upload is empty; an artifact has at least one byte")]
    Empty,
    /// It is larger than the limit.
    #[error("the artifact is larger than the limit of {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// The sender stopped or broke off.
    #[error("the upload broke off before its end")]
    Aborted(#[source] BoxError),
    /// The disk or the quota is full.
    #[error("there is no space left to store the artifact; free some in the data folder and upload again")]
    NoSpace(#[source] object_store::Error),
    /// The object store failed.
    #[error("the store of the artifacts failed")]
    Store(#[source] object_store::Error),
    /// The hashing task did not end.
    #[error("the upload was stopped with the server")]
    Stopped(#[source] tokio::task::JoinError),
    /// The system has no random bytes.
    #[error("the system's random source failed")]
    Random,
}

impl PutError {
    /// The HTTP status that says it: 507 for a full disk (RFC 4918 §11.5).
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Empty | Self::Aborted(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoSpace(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Store(_) | Self::Stopped(_) | Self::Random => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The stable code of the error body.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "artifact_empty",
            Self::TooLarge { .. } => "artifact_too_large",
            Self::Aborted(_) => "upload_aborted",
            Self::NoSpace(_) => "no_space",
            Self::Store(_) | Self::Stopped(_) | Self::Random => "artifact_store_failed",
        }
    }
}

/// The two hashes, fed off the async threads.
#[derive(Default)]
struct Hashes {
    sha256: Sha256,
    md5: Md5,
}

impl Hashes {
    fn feed(mut self, chunks: &[Bytes]) -> Self {
        for chunk in chunks {
            self.sha256.update(chunk);
            self.md5.update(chunk);
        }
        self
    }
}

impl Artifacts {
    /// Stores a stream of bytes under its SHA-256. When it returns, the artifact is durable; the same content twice,
    /// also at once, is one artifact. Memory is a few MiB however long the stream is.
    ///
    /// # Errors
    /// See [`PutError`]; nothing of the upload is left then, nor if this future is dropped.
    pub async fn put<S, E>(&self, body: S, limits: UploadLimits) -> Result<Artifact, PutError>
    where
        S: Stream<Item = Result<Bytes, E>>,
        E: Into<BoxError>,
    {
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(|_| PutError::Random)?;
        let name = hex::encode(name);
        let staged = Path::from_iter([INCOMING, &name]);
        let mut upload = self.store.put_multipart(&staged).await.map_err(store_error)?;
        let artifact = match take_in(upload.as_mut(), body, limits).await {
            Ok(artifact) => artifact,
            Err(error) => {
                // What abort cannot remove is swept at the next start; the first error is the one to tell.
                let _ = upload.abort().await;
                return Err(error);
            }
        };
        if let Err(error) = upload.complete().await {
            self.remove_staged(&name);
            return Err(store_error(error));
        }
        // Also over an artifact that is there: the bytes are the same, and a damaged file is made whole.
        match self.store.rename(&staged, &location(&artifact.sha256)).await {
            Ok(()) => Ok(artifact),
            Err(error) => {
                let _ = self.store.delete(&staged).await;
                Err(store_error(error))
            }
        }
    }
}

impl Artifacts {
    /// A local store that fails to sync or rename keeps the file it staged into, which would hold on to the space
    /// that a full disk lacks.
    fn remove_staged(&self, name: &str) {
        let entries = self.incoming.as_deref().and_then(|folder| fs::read_dir(folder).ok());
        for entry in entries.into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(name.as_bytes()) {
                // What cannot be removed is swept at the next start.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

async fn take_in<S, E>(
    upload: &mut dyn MultipartUpload,
    body: S,
    limits: UploadLimits,
) -> Result<Artifact, PutError>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<BoxError>,
{
    let mut body = std::pin::pin!(body);
    let mut hashes = Hashes::default();
    let (mut size, mut held, mut part) = (0_u64, 0, Vec::new());
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| PutError::Aborted(error.into()))?;
        size = size.saturating_add(chunk.len() as u64);
        if size > limits.bytes_max {
            return Err(PutError::TooLarge { bytes_max: limits.bytes_max });
        }
        held += chunk.len();
        part.push(chunk);
        if held >= PART_BYTES {
            hashes = write_part(upload, hashes, mem::take(&mut part)).await?;
            held = 0;
        }
    }
    if size == 0 {
        return Err(PutError::Empty);
    }
    if held > 0 {
        hashes = write_part(upload, hashes, part).await?;
    }
    let sha256 = Digest::from_bytes(hashes.sha256.finalize().into());
    Ok(Artifact { sha256, size, md5: hashes.md5.finalize().into() })
}

/// Writes a part and hashes it at the same time; both on threads that may block.
async fn write_part(
    upload: &mut dyn MultipartUpload,
    hashes: Hashes,
    part: Vec<Bytes>,
) -> Result<Hashes, PutError> {
    let payload = PutPayload::from_iter(part.iter().cloned());
    let hashing = tokio::task::spawn_blocking(move || hashes.feed(&part));
    upload.put_part(payload).await.map_err(store_error)?;
    hashing.await.map_err(PutError::Stopped)
}

fn store_error(error: object_store::Error) -> PutError {
    if is_out_of_space(&error) { PutError::NoSpace(error) } else { PutError::Store(error) }
}

fn is_out_of_space(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<io::Error>() {
            return matches!(
                io.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
            );
        }
        cause = current.source();
    }
    false
}
