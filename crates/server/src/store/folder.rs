//! The data folder, and the lock that keeps a second server out of it.

use super::OpenError;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// The database's name within the data folder.
pub const DATABASE_FILE: &str = "updraft.db";
/// The lock's name within the data folder. The file stays; what counts is who holds it.
pub(super) const LOCK_FILE: &str = "lock";
/// The database as a backup is taken of it, in the data folder. One at a time; left behind only by a crash.
pub(super) const SNAPSHOT_FILE: &str = "backup.part";

/// How long the lock is waited for. A process on its way out holds it for moments more, and so does a child that another
/// thread has just forked, until it runs its own program.
const LOCK_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long is waited between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Removes the copy of the database that a backup cut short by a crash left. The folder's lock must be held.
pub(super) fn sweep(folder: &Path) -> Result<(), OpenError> {
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::remove_file(folder.join(format!("{SNAPSHOT_FILE}{suffix}"))) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(OpenError::Folder { folder: folder.to_owned(), source });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// The right to use a data folder, held for life. The system gives it back when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct DataLock {
    _file: File,
}

impl DataLock {
    /// Makes the folder if it is missing, readable for its owner only, and takes its lock.
    pub(super) fn take(folder: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Folder { folder: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(folder.join(LOCK_FILE)).map_err(failed)?;
        let waiting = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if waiting.elapsed() < LOCK_WAIT_MAX => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(folder.to_owned())),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
    }
}
