//! A consistent copy of the database while it is in use.

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, TransactionBehavior};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Pages copied between two words of progress: 16 MiB.
const STEP_PAGES: i32 = 4_096;

/// Why the copy could not be made. A partial file may be left.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The database could not be read, or the copy not be written.
    #[error("cannot copy the database to {}", .to.display())]
    Copy {
        /// The copy.
        to: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The copy could not be made durable.
    #[error("cannot write {} to the disk", .to.display())]
    Sync {
        /// The copy.
        to: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Copies the database as it is at one moment to a file, and waits until it is on the disk. Writers go on meanwhile;
/// what they write is not in the copy, and waits in the write-ahead log. A file of that name is replaced. `progress` is told pages done and in all.
pub(super) fn write(
    connection: &mut Connection,
    to: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), SnapshotError> {
    // What an interrupted copy left would be taken for a database.
    if let Err(source) = std::fs::remove_file(to)
        && source.kind() != ErrorKind::NotFound
    {
        return Err(SnapshotError::Sync { to: to.to_owned(), source });
    }
    copy(connection, to, progress).map_err(|source| SnapshotError::Copy { to: to.to_owned(), source })?;
    std::fs::File::open(to)
        .and_then(|file| file.sync_all())
        .map_err(|source| SnapshotError::Sync { to: to.to_owned(), source })
}

fn copy(connection: &mut Connection, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> rusqlite::Result<()> {
    // A read transaction pins the moment: without it each commit of another connection would begin the copy anew.
    let moment = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    moment.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let mut copy = Connection::open(to)?;
    // The file is new and is synced once it is whole: a journal would only double the writing.
    copy.pragma_update(None, "journal_mode", "off")?;
    copy.pragma_update(None, "synchronous", "off")?;
    let backup = Backup::new(&moment, &mut copy)?;
    while backup.step(STEP_PAGES)? != StepResult::Done {
        let now = backup.progress();
        let pages = |count: i32| u64::try_from(count).unwrap_or(0);
        progress(pages(now.pagecount - now.remaining), pages(now.pagecount));
    }
    Ok(())
}
