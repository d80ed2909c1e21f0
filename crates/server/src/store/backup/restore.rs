//! Reading a backup into a data folder that is not there yet.
//!
//! Everything is unpacked beside the data folder and checked; one rename makes it the data folder. A crash at any moment
//! leaves no data folder or the whole one.

use super::entry::{Kind, Measure, SMALL_FILE_BYTES_MAX};
use super::manifest::{FILES_MAX, FORM, FileFacts, MANIFEST_BYTES_MAX, MANIFEST_NAME, Manifest};
use super::{Progress, Summary};
use crate::store::folder::{DataLock, LOCK_FILE};
use crate::store::{DATABASE_FILE, Database, OpenError};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tar::{Archive, Entry, EntryType};
use updraft_core::store::StoreError;

/// Bytes read at a time: few enough to hold, enough that the disk is kept busy.
const PIECE_BYTES: usize = 256 * 1024;

/// Why nothing was restored. There is no data folder then, or the empty one that was there.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Something is there already.
    #[error("{} is not empty; name a folder that does not exist", .0.display())]
    NotEmpty(PathBuf),
    /// A server, or another restore, has the folder.
    #[error("{} is in use by another updraft process", .0.display())]
    InUse(PathBuf),
    /// The name stands for no folder that could be made.
    #[error("{} cannot be a data folder: give it a name", .0.display())]
    Unnamed(PathBuf),
    /// The file is not a tar, or ends early.
    #[error("the backup cannot be read: it is damaged, cut short, or no backup")]
    Read(#[source] io::Error),
    /// It holds what no backup holds.
    #[error("the backup holds {0:?}, which does not belong into one; nothing of it was used")]
    Foreign(String),
    /// It has no manifest.
    #[error("the backup is cut short: its manifest, the last entry, is missing")]
    NoManifest,
    /// The manifest cannot be read.
    #[error("the backup's manifest is damaged")]
    Manifest(#[source] serde_json::Error),
    /// It is of a form this program does not know.
    #[error("the backup is of form {0}, and this program reads form {FORM}: use the program that wrote it")]
    Form(u32),
    /// A file is not as the manifest says, or only one of the two has it.
    #[error("{0} in the backup is damaged or missing")]
    Damaged(String),
    /// A file could not be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The restored database does not open.
    #[error("the database in the backup cannot be used")]
    Database(#[from] OpenError),
    /// The restored database could not be checked.
    #[error("the database in the backup cannot be checked")]
    Check(#[from] StoreError),
    /// The restored database is unsound.
    #[error("the database in the backup is damaged: {0}")]
    Unsound(String),
}

/// Unpacks a backup into a data folder that does not exist or is empty. The folder is there when this returns, and
/// checked; an older database is migrated.
///
/// # Errors
/// [`RestoreError`].
pub fn restore(
    from: &mut dyn Read,
    folder: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, RestoreError> {
    check_empty(folder)?;
    let staging = Staging::make(folder)?;
    let found = unpack(from, &staging.path, progress)?;
    check_database(&staging.path)?;
    let summary = Summary { files: found.len() as u64, bytes: found.values().map(|facts| facts.size).sum() };
    staging.place(folder)?;
    Ok(summary)
}

fn check_empty(folder: &Path) -> Result<(), RestoreError> {
    let mut entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(RestoreError::Write { path: folder.to_owned(), source }),
    };
    if entries.next().is_none() {
        return Ok(());
    }
    if folder.join(LOCK_FILE).exists() && matches!(DataLock::take(folder), Err(OpenError::InUse(_))) {
        return Err(RestoreError::InUse(folder.to_owned()));
    }
    Err(RestoreError::NotEmpty(folder.to_owned()))
}

/// The folder beside the data folder where a backup is unpacked; gone unless it is put in place.
struct Staging {
    path: PathBuf,
    is_placed: bool,
    _lock: DataLock,
}

impl Staging {
    fn make(folder: &Path) -> Result<Self, RestoreError> {
        let name = folder.file_name().ok_or_else(|| RestoreError::Unnamed(folder.to_owned()))?;
        let mut staged = name.to_owned();
        staged.push(".restoring");
        let path = folder.with_file_name(staged);
        let lock = take(&path)?;
        // What a restore that was killed left. Its lock is ours by now, so nobody is at work there.
        let clear = fs::read_dir(&path).and_then(|entries| {
            entries.flatten().filter(|entry| entry.file_name() != LOCK_FILE).try_for_each(|entry| {
                let kind = entry.file_type()?;
                if kind.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }
            })
        });
        clear.map_err(|source| RestoreError::Write { path: path.clone(), source })?;
        Ok(Self { path, is_placed: false, _lock: lock })
    }

    /// Makes it the data folder, durably.
    fn place(mut self, folder: &Path) -> Result<(), RestoreError> {
        let failed = |source| RestoreError::Write { path: folder.to_owned(), source };
        sync_folders(&self.path).map_err(failed)?;
        // Over an empty folder, or none: the system refuses any other.
        fs::rename(&self.path, folder).map_err(failed)?;
        self.is_placed = true;
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new("."))).and_then(|parent| parent.sync_all()).map_err(failed)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_placed {
            // What stays behind is cleared by the next restore.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn take(path: &Path) -> Result<DataLock, RestoreError> {
    DataLock::take(path).map_err(|error| match error {
        OpenError::InUse(path) => RestoreError::InUse(path),
        OpenError::Folder { folder, source } => RestoreError::Write { path: folder, source },
        other @ (OpenError::NotADatabase { .. } | OpenError::Migrate(_) | OpenError::Open { .. }) => {
            RestoreError::Database(other)
        }
    })
}

fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}

/// Unpacks all files and holds them against the manifest.
fn unpack(
    from: &mut dyn Read,
    staging: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<BTreeMap<String, FileFacts>, RestoreError> {
    let mut found = BTreeMap::new();
    let mut manifest = None;
    let mut done = 0;
    let mut passed = |bytes| {
        done += bytes;
        progress(Progress::Writing { done, total: None });
    };
    let mut archive = Archive::new(from);
    for entry in archive.entries().map_err(RestoreError::Read)? {
        let mut entry = entry.map_err(RestoreError::Read)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let is_file = entry.header().entry_type() == EntryType::Regular;
        if manifest.is_some() || !is_file || found.contains_key(&name) || found.len() == FILES_MAX {
            return Err(RestoreError::Foreign(name));
        }
        if name == MANIFEST_NAME {
            manifest = Some(read_manifest(&mut entry)?);
            continue;
        }
        let kind = Kind::of(&name).ok_or_else(|| RestoreError::Foreign(name.clone()))?;
        let facts = unpack_file(&mut entry, staging, &name, kind, &mut passed)?;
        found.insert(name, facts);
    }
    compare(&manifest.ok_or(RestoreError::NoManifest)?, &found)?;
    Ok(found)
}

fn read_manifest(entry: &mut Entry<'_, &mut dyn Read>) -> Result<Manifest, RestoreError> {
    #[derive(serde::Deserialize)]
    struct Form {
        form: u32,
    }
    if entry.size() > MANIFEST_BYTES_MAX {
        return Err(RestoreError::Foreign(MANIFEST_NAME.to_owned()));
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(RestoreError::Read)?;
    let Form { form } = serde_json::from_slice(&text).map_err(RestoreError::Manifest)?;
    if form != FORM {
        return Err(RestoreError::Form(form));
    }
    serde_json::from_slice(&text).map_err(RestoreError::Manifest)
}

fn unpack_file(
    entry: &mut Entry<'_, &mut dyn Read>,
    staging: &Path,
    name: &str,
    kind: Kind,
    passed: &mut dyn FnMut(u64),
) -> Result<FileFacts, RestoreError> {
    if kind == Kind::Small && entry.size() > SMALL_FILE_BYTES_MAX {
        return Err(RestoreError::Foreign(name.to_owned()));
    }
    let path = staging.join(name);
    let size = entry.size();
    let failed = |source| RestoreError::Write { path: path.clone(), source };
    let parent = path.parent().unwrap_or(staging);
    DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    let mut content = Measure::new(entry, passed);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = content.read(&mut piece).map_err(RestoreError::Read)?;
        if count == 0 {
            break;
        }
        file.write_all(&piece[..count]).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    let facts = content.finish();
    let is_itself = kind != Kind::Artifact || name.ends_with(&facts.sha256);
    if is_itself && facts.size == size { Ok(facts) } else { Err(RestoreError::Damaged(name.to_owned())) }
}

fn compare(manifest: &Manifest, found: &BTreeMap<String, FileFacts>) -> Result<(), RestoreError> {
    let names = manifest.files.keys().chain(found.keys());
    for name in names {
        if manifest.files.get(name) != found.get(name) {
            return Err(RestoreError::Damaged(name.clone()));
        }
    }
    if found.contains_key(DATABASE_FILE) {
        Ok(())
    } else {
        Err(RestoreError::Damaged(DATABASE_FILE.to_owned()))
    }
}

/// Opens the database as a server would, and looks through all of it.
fn check_database(staging: &Path) -> Result<(), RestoreError> {
    let database = Database::open_locked(staging)?;
    let mut views = database.views()?;
    if let Some(fault) = views.faults()?.into_iter().next() {
        return Err(RestoreError::Unsound(fault));
    }
    match views.verify_tallies()?.first() {
        Some(wrong) => {
            Err(RestoreError::Unsound(format!("rollout {} miscounts its executions", wrong.rollout)))
        }
        None => Ok(()),
    }
}
