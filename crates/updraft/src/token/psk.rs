//! The file with a device's pre-shared key.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::Error;

/// Largest key file that is read, in bytes: 64 bytes in hexadecimal digits and a line end, with room for an editor's habits.
const FILE_BYTES_MAX: u64 = 256;

/// Reads a key, in hexadecimal digits; the server says whether it is one.
pub(super) fn read_key(path: &Path) -> Result<String, Error> {
    let read = || {
        let mut text = String::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large for a pre-shared key"));
        }
        Ok(text.trim_ascii().to_owned())
    };
    read().map_err(|source| Error::File { operation: "read", path: path.to_owned(), source })
}
