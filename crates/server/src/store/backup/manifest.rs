//! The list of what a backup holds, as its last entry: a backup without it was cut short.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Its name in the tar.
pub(super) const MANIFEST_NAME: &str = "manifest.json";
/// The form of backups written here. A reader takes this form only.
pub(super) const FORM: u32 = 1;
/// Most files of one backup: releases are thousands at most, and the manifest is held in memory.
pub(super) const FILES_MAX: usize = 100_000;
/// Largest manifest, in bytes: room for that many entries.
pub(super) const MANIFEST_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// [`FORM`].
    pub(super) form: u32,
    /// The version of the program that wrote it.
    pub(super) program: String,
    /// When, in milliseconds since 1970.
    pub(super) created: i64,
    /// The files, by name.
    pub(super) files: BTreeMap<String, FileFacts>,
}

/// What must be true of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileFacts {
    /// Its size in bytes.
    pub(super) size: u64,
    /// Its SHA-256, 64 lower-case hex digits.
    pub(super) sha256: String,
}
