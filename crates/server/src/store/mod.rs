//! The server's memory: one SQLite database in the data folder.
//!
//! [`SqliteStore`] is the fleet's store and the one writer of its rows; [`Views`] reads lists for people, on
//! connections of its own; [`Tokens`] keeps credentials; [`backup`] writes and reads the backup file. The data
//! folder is locked for as long as any of them lives.
//!
//! Absent: decisions. What a row means is the domain's business; here it is kept.

pub mod backup;
mod folder;
mod last_seen;
mod lwm2m;
mod row;
mod schema;
mod sessions;
mod snapshot;
mod sqlite;
mod tokens;
mod views;

pub use folder::DATABASE_FILE;
pub use last_seen::PAGE_DEVICES;
pub use lwm2m::Lwm2mBooks;
pub use schema::MigrateError;
pub use sessions::Sessions;
pub use snapshot::SnapshotError;
pub use sqlite::SqliteStore;
pub use tokens::{PskRow, TokenForm, TokenKind, TokenRow, Tokens};
pub use views::{
    DeviceDetail, DeviceFilter, DeviceLine, DevicePage, Facts, PAGE_ROWS_MAX, RolloutLine, SCAN_ROWS_MAX,
    TallyMismatch, VersionCount, Views,
};

use folder::DataLock;
use rusqlite::{Connection, OpenFlags, ffi};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;
use updraft_core::store::StoreError;

/// Page cache of the fleet's connection, in KiB. With the operating system's cache behind it a larger one gains little,
/// and it counts towards the server's resident memory.
const FLEET_CACHE_KIB: u32 = 8 * 1024;
/// Page cache of each other connection, in KiB: lists are short.
const SIDE_CACHE_KIB: u32 = 4 * 1024;
/// Page cache of the connection for LwM2M's books, in KiB: they are read from one end to the other once, at the start, and
/// then written a row here and there.
const BOOKS_CACHE_KIB: u32 = 256;
/// How long a writer waits for another one. Writers here hold the database for milliseconds; a migration or a
/// checkpoint on a slow disk takes seconds.
const BUSY: Duration = Duration::from_secs(10);
/// The write-ahead log is folded into the database once it has this many pages (4 KiB each): 16 MiB. The larger it is,
/// the more often a page is rewritten in the log before it is written home once, and the longer a start after a crash.
const CHECKPOINT_PAGES: u32 = 4_096;
/// What the log may keep on disk after it was folded in, in bytes; a long read may have let it grow beyond.
const WAL_BYTES_KEPT: u32 = 64 * 1024 * 1024;
/// Prepared statements kept per connection: all there are.
const STATEMENTS_MAX: usize = 64;

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data folder could not be made or its lock file not be opened.
    #[error("cannot use the data folder {}: check that it is writable for this user", .folder.display())]
    Folder {
        /// The data folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the folder.
    #[error("the data folder {} is in use by another updraft process; stop it, or name another folder", .0.display())]
    InUse(PathBuf),
    /// The file is there and is something else, or damaged.
    #[error(
        "{} is damaged or not a database of updraft; restore a backup, or move the file away to begin anew",
        .file.display()
    )]
    NotADatabase {
        /// The file.
        file: PathBuf,
        /// What SQLite says; `None` if it is a sound database of some other program.
        #[source]
        source: Option<rusqlite::Error>,
    },
    /// The database could not be brought to this program's form.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// SQLite could not open it or take its settings.
    #[error("cannot open the database {}", .file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

/// What kind of trouble a failed operation was in, for those who must answer a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The disk takes no more: full, over quota, or failing to write.
    Full,
    /// The rows contradict a rule of the schema: a mistake of ours.
    Refused,
    /// Another writer held the database too long.
    Busy,
    /// The file is damaged.
    Corrupt,
    /// Anything else.
    Other,
}

/// What kind of trouble a [`StoreError`] of this store came from.
#[must_use]
pub fn cause(error: &StoreError) -> Cause {
    error.source.downcast_ref().map_or(Cause::Other, sqlite_cause)
}

fn sqlite_cause(error: &rusqlite::Error) -> Cause {
    let rusqlite::Error::SqliteFailure(failure, _) = error else { return Cause::Other };
    // The low byte is the result code, the rest says more (https://sqlite.org/rescode.html).
    match failure.extended_code & 0xff {
        ffi::SQLITE_FULL => Cause::Full,
        ffi::SQLITE_IOERR if failure.extended_code == ffi::SQLITE_IOERR_WRITE => Cause::Full,
        ffi::SQLITE_CONSTRAINT => Cause::Refused,
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => Cause::Busy,
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => Cause::Corrupt,
        _ => Cause::Other,
    }
}

/// An open database. Clones and everything made from it share the folder's lock.
#[derive(Debug, Clone)]
pub struct Database {
    place: Arc<Place>,
}

#[derive(Debug)]
enum Place {
    /// A folder, locked.
    Folder { folder: PathBuf, backup: Mutex<()>, _lock: Option<DataLock> },
    /// Memory, for as long as the connection is open.
    Memory { uri: String, _keeper: Mutex<Connection> },
}

impl Database {
    /// Opens the database in a data folder: takes the folder's lock, makes what is missing and migrates an older
    /// database. Takes no longer for more devices.
    ///
    /// # Errors
    /// [`OpenError`]; the database is then as it was.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        Self::open_with(folder, Some(DataLock::take(folder)?))
    }

    /// Opens the database in a folder whose lock the caller holds for as long.
    fn open_locked(folder: &Path) -> Result<Self, OpenError> {
        Self::open_with(folder, None)
    }

    fn open_with(folder: &Path, lock: Option<DataLock>) -> Result<Self, OpenError> {
        folder::sweep(folder)?;
        let place = Place::Folder { folder: folder.to_owned(), backup: Mutex::new(()), _lock: lock };
        let database = Self { place: Arc::new(place) };
        let file = folder.join(DATABASE_FILE);
        let mut connection = database.connect(FLEET_CACHE_KIB).map_err(|source| open_error(&file, source))?;
        schema::migrate(&mut connection, &file, &schema::MIGRATIONS)?;
        Ok(database)
    }

    /// A database in memory, gone when the last handle is: for tests and the simulator.
    ///
    /// # Errors
    /// [`OpenError`], when memory is short.
    pub fn in_memory() -> Result<Self, OpenError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let uri = format!("file:/updraft-{}-{count}?vfs=memdb", std::process::id());
        let file = PathBuf::from(&uri);
        let mut keeper =
            connect_memory(&uri).map_err(|source| OpenError::Open { file: file.clone(), source })?;
        schema::migrate(&mut keeper, &file, &schema::MIGRATIONS)?;
        Ok(Self { place: Arc::new(Place::Memory { uri, _keeper: Mutex::new(keeper) }) })
    }

    /// The fleet's store. There must be one at a time: it is the one writer of the fleet's rows.
    ///
    /// # Errors
    /// [`OpenError::Open`].
    pub fn fleet(&self) -> Result<SqliteStore, OpenError> {
        Ok(SqliteStore::new(self.clone(), self.connection(FLEET_CACHE_KIB)?))
    }

    /// Lists for people, on a connection that cannot write.
    ///
    /// # Errors
    /// [`OpenError::Open`].
    pub fn views(&self) -> Result<Views, OpenError> {
        let connection = self.connection(SIDE_CACHE_KIB)?;
        connection.pragma_update(None, "query_only", true).map_err(|source| self.error(source))?;
        Ok(Views::new(self.clone(), connection))
    }

    /// Credentials.
    ///
    /// # Errors
    /// [`OpenError::Open`].
    pub fn tokens(&self) -> Result<Tokens, OpenError> {
        Ok(Tokens::new(self.clone(), self.connection(SIDE_CACHE_KIB)?))
    }

    /// MQTT sessions.
    ///
    /// # Errors
    /// [`OpenError::Open`].
    pub fn sessions(&self) -> Result<Sessions, OpenError> {
        Ok(Sessions::new(self.clone(), self.connection(SIDE_CACHE_KIB)?))
    }

    /// Registrations and orders of LwM2M.
    ///
    /// # Errors
    /// [`OpenError::Open`].
    pub fn lwm2m(&self) -> Result<Lwm2mBooks, OpenError> {
        Ok(Lwm2mBooks::new(self.clone(), self.connection(BOOKS_CACHE_KIB)?))
    }

    /// The data folder; `None` in memory.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match &*self.place {
            Place::Folder { folder, .. } => Some(folder),
            Place::Memory { .. } => None,
        }
    }

    /// The right to write a backup; `None` while another is being written.
    fn backup_turn(&self) -> Option<MutexGuard<'_, ()>> {
        match &*self.place {
            Place::Folder { backup, .. } => match backup.try_lock() {
                Ok(turn) => Some(turn),
                // A backup that panicked left nothing behind that the next one would mind.
                Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            },
            Place::Memory { .. } => None,
        }
    }

    fn connection(&self, cache_kib: u32) -> Result<Connection, OpenError> {
        self.connect(cache_kib).map_err(|source| self.error(source))
    }

    fn connect(&self, cache_kib: u32) -> rusqlite::Result<Connection> {
        match &*self.place {
            Place::Folder { folder, .. } => connect_file(&folder.join(DATABASE_FILE), cache_kib),
            Place::Memory { uri, .. } => connect_memory(uri),
        }
    }

    fn error(&self, source: rusqlite::Error) -> OpenError {
        let file = match &*self.place {
            Place::Folder { folder, .. } => folder.join(DATABASE_FILE),
            Place::Memory { uri, .. } => PathBuf::from(uri),
        };
        OpenError::Open { file, source }
    }
}

fn open_error(file: &Path, source: rusqlite::Error) -> OpenError {
    let file = file.to_owned();
    if sqlite_cause(&source) == Cause::Corrupt {
        OpenError::NotADatabase { file, source: Some(source) }
    } else {
        OpenError::Open { file, source }
    }
}

fn connect_file(file: &Path, cache_kib: u32) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(file, flags)?;
    configure(&connection)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // Every commit reaches the disk before it is answered; the log alone without this may lose the last ones.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    Ok(connection)
}

fn connect_memory(uri: &str) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags)?;
    configure(&connection)?;
    connection.pragma_update(None, "journal_mode", "memory")?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "foreign_keys", true)?;
    // A schema that an attacker wrote into a backup must not run anything beyond what SQL itself can do.
    connection.pragma_update(None, "trusted_schema", false)
}
