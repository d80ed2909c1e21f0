//! Lists for people, read beside the fleet's work: a reader never waits for the writer, nor the writer for it.
//!
//! Pages continue after the last key of the page before, so a list that changes meanwhile skips nothing and repeats
//! nothing. Each call is bounded, in rows given and in rows looked at. Absent: searches within device documents.

mod devices;
mod facts;
mod rollouts;
mod tasks;

pub use devices::{DeviceDetail, DeviceFilter, DeviceLine, DevicePage, SCAN_ROWS_MAX, VersionCount};
pub use facts::{Facts, TallyMismatch};
pub use rollouts::RolloutLine;

use super::Database;
use rusqlite::Connection;

/// Most rows of one page; a larger limit counts as this one. A page is held in memory as a whole.
pub const PAGE_ROWS_MAX: usize = 1_000;

/// A connection for reading. It may move between threads; several may read at once.
#[derive(Debug)]
pub struct Views {
    pub(super) connection: Connection,
    /// Keeps the folder locked while this is in use.
    _database: Database,
}

impl Views {
    pub(super) fn new(database: Database, connection: Connection) -> Self {
        Self { connection, _database: database }
    }
}

/// A page's limit as SQLite counts.
fn page(limit: usize) -> i64 {
    i64::try_from(limit.min(PAGE_ROWS_MAX)).expect("a page is small")
}
