//! A record on disk: JSON with a checksum in front, replaced as a whole.
//!
//! The order is the one that survives a power cut on every file system: bytes into a temporary file, sync, rename
//! over the old record, sync the folder. The checksum is for the file systems and flash chips that break the
//! promise: a torn record is recognised, never half believed.

use crate::storage::{FileKind, Storage};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::io;
use std::path::{Path, PathBuf};

/// Largest record, in bytes. The largest holds an assignment (at most 128 KiB as an answer) and the reports that
/// wait (8 of less than 1 KiB); doubled for JSON that takes more room when written anew.
pub const RECORD_BYTES_MAX: u64 = 256 * 1024;

/// First word of every record, with its framing's version.
const MAGIC: &str = "updraft-record 1 ";

/// What a failed read or write was about.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The record could not be read.
    #[error("cannot read the record {}", path.display())]
    Read {
        /// Which record.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The record could not be written.
    #[error("cannot write the record {}", path.display())]
    Write {
        /// Which record.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What was found where a record should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<T> {
    /// A whole record.
    Whole(T),
    /// Nothing.
    Absent,
    /// Something that is no whole record.
    Torn,
}

impl<T> Found<T> {
    /// The record, if it is whole.
    pub fn whole(self) -> Option<T> {
        match self {
            Self::Whole(value) => Some(value),
            Self::Absent | Self::Torn => None,
        }
    }
}

/// Reads a record.
///
/// # Errors
/// [`RecordError::Read`] if the device fails; a damaged record is [`Found::Torn`], no error.
pub fn load<T: DeserializeOwned>(storage: &mut dyn Storage, path: &Path) -> Result<Found<T>, RecordError> {
    match storage.read(path, RECORD_BYTES_MAX) {
        Ok(None) => Ok(Found::Absent),
        Ok(Some(bytes)) => Ok(parse(&bytes).map_or(Found::Torn, Found::Whole)),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(Found::Torn),
        Err(source) => Err(RecordError::Read { path: path.to_owned(), source }),
    }
}

/// Replaces a record, so that after a power cut at any moment the old or the new one is there, whole.
///
/// # Errors
/// [`RecordError::Write`]; which of the two is there is then unknown until it is read.
pub fn store<T: Serialize>(storage: &mut dyn Storage, path: &Path, value: &T) -> Result<(), RecordError> {
    store_steps(storage, path, value).map_err(|source| RecordError::Write { path: path.to_owned(), source })
}

fn store_steps<T: Serialize>(storage: &mut dyn Storage, path: &Path, value: &T) -> io::Result<()> {
    let bytes = framed(value)?;
    let temporary = path.with_extension("tmp");
    storage.create(&temporary, FileKind::Private)?;
    storage.write_at(&temporary, 0, &bytes)?;
    storage.sync(&temporary)?;
    storage.rename(&temporary, path)?;
    storage.sync_folder(path.parent().unwrap_or(Path::new(".")))
}

fn framed<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(value)?;
    let mut bytes = format!("{MAGIC}{}\n", hex::encode(Sha256::digest(&json))).into_bytes();
    bytes.extend_from_slice(&json);
    if bytes.len() as u64 > RECORD_BYTES_MAX {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let rest = bytes.strip_prefix(MAGIC.as_bytes())?;
    let (checksum, rest) = rest.split_at_checked(64)?;
    let json = rest.strip_prefix(b"\n")?;
    if hex::encode(Sha256::digest(json)).as_bytes() != checksum {
        return None;
    }
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::FileStorage;

    #[test]
    fn a_record_with_any_bit_flipped_or_cut_at_any_byte_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.rec");
        let mut storage = FileStorage::new();
        store(&mut storage, &path, &vec![1_u32, 2, 3]).unwrap();
        assert_eq!(load(&mut storage, &path).unwrap(), Found::Whole(vec![1_u32, 2, 3]));
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            assert_eq!(parse::<Vec<u32>>(&whole[..cut]), None, "cut at {cut}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse::<Vec<u32>>(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn no_record_is_no_torn_record() {
        let folder = tempfile::tempdir().unwrap();
        let found = load::<u32>(&mut FileStorage::new(), &folder.path().join("none.rec")).unwrap();
        assert_eq!(found, Found::Absent);
    }
}
