//! An image on its way into a slot, known by its MD5 alone.
//!
//! MD5 is what the contract announces. It finds what the network or the flash has broken; against somebody who means harm
//! there is only TLS. What was read back once is held by its SHA-256 from then on, as everything in a slot is.

use crate::fetch::{FetchError, FetchPart, fetch};
use crate::file_slots::FileSlots;
use crate::pace;
use crate::session::Wanted;
use crate::slots::{Intent, SlotName, Slots};
use crate::storage::{FileKind, FileStorage, Storage};
use crate::zerynth::FotaError;
use md5::Md5;
use sha2::{Digest, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use updraft_wire::jobs::FotaDocument;
use updraft_wire::manifest::MANIFEST_FORMAT;
use updraft_wire::{ArtifactEntry, JobId, Manifest, Reason};

/// The image's name in its slot.
const IMAGE_NAME: &str = "image";
/// What a slot is for while its SHA-256 is not known: no bytes have it.
const SHA256_UNKNOWN: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Tries to fetch one image. With the pauses between them about a minute: the caller waits.
const FETCHES_MAX: u32 = 5;
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How much is read back at once, in bytes.
const READ_BACK_BYTES: usize = 64 * 1024;
/// Room left free beside an image, in bytes: the slot's record, twice while it is replaced.
const ROOM_RESERVED_BYTES: u64 = 2 * crate::record::RECORD_BYTES_MAX;

/// Whether a slot's manifest is that of a document's image.
pub(super) fn is_of(manifest: &Manifest, document: &FotaDocument) -> bool {
    manifest.artifacts.first().is_some_and(|held| {
        held.md5.as_deref() == Some(document.bc_crc.as_str()) && held.size == document.bc_size
    })
}

/// Downloads an image into a slot, reads it back, and marks the slot as ready.
pub(super) fn write(
    storage: &mut FileStorage,
    slots: &mut FileSlots,
    slot: SlotName,
    document: &FotaDocument,
    client: &ureq::Agent,
    plain_links: bool,
) -> Result<(), FotaError> {
    let manifest = manifest(document, SHA256_UNKNOWN);
    // The image names itself: two jobs for the same bytes are the same to the slot.
    let job = JobId::new(&document.bc_crc, 1).map_err(|error| FotaError::Document(error.to_string()))?;
    check_room(storage, slots, slot, document.bc_size)?;
    slots.invalidate(storage, slot, Intent { job: &job, manifest: &manifest, boot: 0, settled: None })?;
    let path = slots.folder(slot).join(IMAGE_NAME);
    let result = download(storage, &path, document, client, plain_links)
        .and_then(|()| read_back(storage, &path, document));
    match result {
        Ok(sha256) => {
            slots.describe(storage, slot, self::manifest(document, &sha256))?;
            slots.mark_ready(storage, slot)?;
            Ok(())
        }
        Err(error) => {
            slots.discard(storage, slot)?;
            Err(error)
        }
    }
}

fn manifest(document: &FotaDocument, sha256: &str) -> Manifest {
    let entry = ArtifactEntry {
        name: IMAGE_NAME.to_owned(),
        size: document.bc_size,
        sha256: sha256.to_owned(),
        md5: Some(document.bc_crc.clone()),
    };
    // The document names no version: the image's MD5 stands for it.
    let version = format!("{}+{}", crate::config::VERSION_UNKNOWN, document.bc_crc);
    Manifest { format: MANIFEST_FORMAT, product: "zerynth".into(), version, artifacts: vec![entry] }
}

fn check_room(
    storage: &mut FileStorage,
    slots: &FileSlots,
    slot: SlotName,
    size: u64,
) -> Result<(), FotaError> {
    let reclaimable = slots.reclaimable(storage, slot)?;
    let folder = slots.folder(slot);
    let available =
        storage.available(&folder).map_err(|source| failed("look for room in", &folder, &source))?;
    let needed = size.saturating_add(ROOM_RESERVED_BYTES);
    match needed.checked_sub(available.saturating_add(reclaimable)) {
        None | Some(0) => Ok(()),
        Some(missing) => {
            let detail = format!("{missing} bytes of storage are missing");
            Err(FotaError::Image { reason: Reason::InsufficientStorage, detail })
        }
    }
}

fn failed(operation: &str, path: &Path, source: &io::Error) -> FotaError {
    let is_full = source.kind() == io::ErrorKind::StorageFull;
    let reason = if is_full { Reason::InsufficientStorage } else { Reason::InstallFailed };
    FotaError::Image { reason, detail: format!("cannot {operation} {}: {source}", path.display()) }
}

/// Bytes on their way: each download has its own count.
struct Intake<'a> {
    storage: &'a mut FileStorage,
    path: PathBuf,
    wanted: Wanted,
    error: Option<FotaError>,
}

impl Intake<'_> {
    fn take(&mut self, part: FetchPart) -> Option<Result<(), FetchError>> {
        let result = match part {
            FetchPart::Begun { offset, etag } => {
                self.wanted.etag = etag;
                if offset > 0 && offset == self.wanted.offset {
                    return None;
                }
                self.wanted.offset = 0;
                self.storage.create(&self.path, FileKind::Executable)
            }
            FetchPart::Bytes(bytes) => {
                let offset = self.wanted.offset;
                self.wanted.offset += bytes.len() as u64;
                self.storage.write_at(&self.path, offset, &bytes)
            }
            FetchPart::Ended(end) => return Some(end),
        };
        if let Err(source) = result {
            self.error = Some(failed("write", &self.path, &source));
        }
        None
    }
}

fn download(
    storage: &mut FileStorage,
    path: &Path,
    document: &FotaDocument,
    client: &ureq::Agent,
    plain_links: bool,
) -> Result<(), FotaError> {
    let wanted =
        Wanted { link: document.bc_url.clone(), size: Some(document.bc_size), offset: 0, etag: None };
    let mut intake = Intake { storage, path: path.to_owned(), wanted, error: None };
    let mut last = String::new();
    for attempt in 1..=FETCHES_MAX {
        let wanted = intake.wanted.clone();
        let mut end = Ok(());
        fetch(client, &wanted, plain_links, |part| {
            end = intake.take(part).unwrap_or(Ok(()));
            intake.error.is_none()
        });
        if let Some(error) = intake.error.take() {
            return Err(error);
        }
        last = match end {
            Ok(()) => return make_safe(intake.storage, path),
            Err(FetchError::Fatal(reason, detail)) => return Err(FotaError::Image { reason, detail }),
            Err(FetchError::LinkRefused(detail)) => {
                return Err(FotaError::Image { reason: Reason::InvalidUri, detail });
            }
            Err(FetchError::Retry(detail)) => detail,
            Err(FetchError::Anew(detail)) => {
                (intake.wanted.offset, intake.wanted.etag) = (0, None);
                detail
            }
        };
        if attempt < FETCHES_MAX {
            std::thread::sleep(pace::pause(&document.bc_crc, attempt, pace::FETCH_PAUSE_MIN, PAUSE_MAX));
        }
    }
    Err(FotaError::Image { reason: Reason::ConnectionLost, detail: last })
}

fn make_safe(storage: &mut FileStorage, path: &Path) -> Result<(), FotaError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    storage
        .sync(path)
        .and_then(|()| storage.sync_folder(folder))
        .map_err(|source| failed("sync", path, &source))
}

/// Reads the image back; its SHA-256, if its length and MD5 are those announced.
fn read_back(storage: &mut FileStorage, path: &Path, document: &FotaDocument) -> Result<String, FotaError> {
    let broken = |detail: String| FotaError::Image { reason: Reason::IntegrityCheckFailed, detail };
    let (mut md5, mut sha256) = (Md5::new(), Sha256::new());
    let mut buffer = vec![0; READ_BACK_BYTES];
    let mut length = 0;
    loop {
        let read =
            storage.read_at(path, length, &mut buffer).map_err(|source| failed("read", path, &source))?;
        if read == 0 {
            break;
        }
        md5.update(&buffer[..read]);
        sha256.update(&buffer[..read]);
        length += read as u64;
    }
    if length != document.bc_size {
        return Err(broken(format!("{length} bytes, announced were {}", document.bc_size)));
    }
    let found = hex::encode(md5.finalize());
    if found != document.bc_crc {
        return Err(broken(format!("the MD5 is {found}, announced was {}", document.bc_crc)));
    }
    Ok(hex::encode(sha256.finalize()))
}
