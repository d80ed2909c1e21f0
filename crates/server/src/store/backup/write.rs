//! Writing a backup, beside a server at work.

use super::entry::{Kind, Measure, SMALL_FILES, artifact_name};
use super::manifest::{FILES_MAX, FORM, FileFacts, MANIFEST_NAME, Manifest};
use super::{Progress, Summary};
use crate::store::folder::SNAPSHOT_FILE;
use crate::store::sqlite::all;
use crate::store::{DATABASE_FILE, Database, OpenError, SnapshotError, snapshot};
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};
use updraft_core::time::Timestamp;

/// Why there is no backup. What was written of it is to be thrown away.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database lives in memory only.
    #[error("a database in memory cannot be backed up")]
    InMemory,
    /// Another backup is being written.
    #[error("another backup is being written; wait until it has ended")]
    InProgress,
    /// The database could not be opened once more.
    #[error("cannot open the database for a backup")]
    Open(#[from] OpenError),
    /// The database could not be copied aside.
    #[error("cannot copy the database aside for a backup; is there room for it in the data folder?")]
    Snapshot(#[from] SnapshotError),
    /// The copy could not be read.
    #[error("cannot read which artifacts belong into the backup")]
    Artifacts(#[source] rusqlite::Error),
    /// There are more files than a backup may hold.
    #[error("more than {FILES_MAX} files to back up")]
    TooMany,
    /// A file of the data folder could not be read.
    #[error("cannot read {} for a backup", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An artifact is not what it was when it was added.
    #[error("the artifact {} is damaged: delete its release or restore an earlier backup", .path.display())]
    Damaged {
        /// The artifact.
        path: PathBuf,
    },
    /// The backup could not be written.
    #[error("cannot write the backup")]
    Write(#[source] std::io::Error),
}

/// Removes the copy of the database, whatever happens.
struct Snapshot(PathBuf);

impl Drop for Snapshot {
    fn drop(&mut self) {
        // What stays behind is removed at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Writes a backup of a database and what belongs to it. The server may go on working; the backup is as of one moment
/// after the call. Needs room for a copy of the database in the data folder, and constant memory.
///
/// # Errors
/// [`BackupError`].
pub fn write(
    database: &Database,
    now: Timestamp,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, BackupError> {
    let folder = database.folder().ok_or(BackupError::InMemory)?;
    let _turn = database.backup_turn().ok_or(BackupError::InProgress)?;
    let snapshot = Snapshot(folder.join(SNAPSHOT_FILE));
    let mut views = database.views()?;
    snapshot::write(&mut views.connection, &snapshot.0, &mut |done, total| {
        progress(Progress::Copying { done, total });
    })?;
    drop(views);
    let sources = sources(folder, &snapshot.0)?;
    let total = sources.iter().map(|source| source.size).sum();
    let mut done = 0;
    let mut passed = |bytes| {
        done += bytes;
        progress(Progress::Writing { done, total: Some(total) });
    };
    let mut tar = Builder::new(out);
    let mut files = BTreeMap::new();
    for source in &sources {
        files.insert(source.name.clone(), append(&mut tar, source, now, &mut passed)?);
    }
    let program = env!("CARGO_PKG_VERSION").to_owned();
    let manifest = Manifest { form: FORM, program, created: now.as_millis(), files };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| BackupError::Write(error.into()))?;
    let mut header = header(text.len() as u64, now);
    tar.append_data(&mut header, MANIFEST_NAME, text.as_slice()).map_err(BackupError::Write)?;
    tar.into_inner().and_then(|out| out.flush()).map_err(BackupError::Write)?;
    Ok(Summary { files: sources.len() as u64, bytes: total })
}

/// A file to back up.
struct Source {
    name: String,
    path: PathBuf,
    size: u64,
}

/// All that belongs to a snapshot. The keys come first: they are few, and lost keys are the worst loss.
fn sources(folder: &Path, snapshot: &Path) -> Result<Vec<Source>, BackupError> {
    let mut sources = Vec::new();
    for name in SMALL_FILES {
        match source(name.to_owned(), folder.join(name)) {
            Err(BackupError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            found => sources.push(found?),
        }
    }
    sources.push(source(DATABASE_FILE.to_owned(), snapshot.to_owned())?);
    for sha256 in artifacts(snapshot).map_err(BackupError::Artifacts)? {
        if sources.len() == FILES_MAX {
            return Err(BackupError::TooMany);
        }
        let name = artifact_name(&sha256);
        let path = folder.join(&name);
        sources.push(source(name, path)?);
    }
    Ok(sources)
}

fn source(name: String, path: PathBuf) -> Result<Source, BackupError> {
    match std::fs::metadata(&path) {
        Ok(metadata) => Ok(Source { name, path, size: metadata.len() }),
        Err(source) => Err(BackupError::Read { path, source }),
    }
}

fn artifacts(snapshot: &Path) -> rusqlite::Result<Vec<String>> {
    let connection = Connection::open_with_flags(snapshot, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    all(
        &connection,
        "SELECT DISTINCT sha256 FROM release WHERE length(sha256) = 64 ORDER BY sha256",
        [],
        |row| row.get(0),
    )
}

fn append(
    tar: &mut Builder<&mut dyn Write>,
    source: &Source,
    now: Timestamp,
    passed: &mut dyn FnMut(u64),
) -> Result<FileFacts, BackupError> {
    let Source { name, path, size } = source;
    let failed = |source| BackupError::Read { path: path.clone(), source };
    let file = File::open(path).map_err(failed)?;
    let mut content = Measure::new(std::io::Read::take(file, *size), passed);
    tar.append_data(&mut header(*size, now), name, &mut content).map_err(BackupError::Write)?;
    let facts = content.finish();
    let is_whole = facts.size == *size;
    let is_itself = Kind::of(name) != Some(Kind::Artifact) || name.ends_with(&facts.sha256);
    if is_whole && is_itself { Ok(facts) } else { Err(BackupError::Damaged { path: path.clone() }) }
}

fn header(size: u64, now: Timestamp) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o600);
    header.set_mtime(u64::try_from(now.as_millis() / 1_000).unwrap_or(0));
    header
}
