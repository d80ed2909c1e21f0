//! The backup file: a tar that holds all a server knows, and unpacks into a data folder.
//!
//! It holds the database as of one moment, the artifacts its releases name, the keys and certificates, and last a
//! manifest with the SHA-256 of each. The manifest finds damage, not forgery: whoever can write the file can write the
//! manifest. It holds secrets and is to be kept like the data folder.

mod entry;
mod manifest;
mod restore;
mod write;

pub use restore::{RestoreError, restore};
pub use write::{BackupError, write};

/// What was backed up or restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Files, without the manifest.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// How far a backup or restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The database is being copied aside: pages done, and in all.
    Copying {
        /// Pages done.
        done: u64,
        /// Pages in all.
        total: u64,
    },
    /// Files are being written: bytes done, and in all where that is known.
    Writing {
        /// Bytes done.
        done: u64,
        /// Bytes in all; `None` while restoring.
        total: Option<u64>,
    },
}
