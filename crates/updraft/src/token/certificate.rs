//! The files of a device's certificate.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Mode of the key: for its owner alone.
const MODE_SECRET: u32 = 0o600;
/// Mode of the certificate: for all to read.
const MODE_PUBLIC: u32 = 0o644;
/// Largest signing request that is read, in bytes; the server takes no larger one.
const REQUEST_BYTES_MAX: u64 = 16 * 1024;

/// Where a certificate, and its key unless the device has it, will be. They are there, and empty, before the server is
/// asked: a certificate is shown once, and must not be lost to a folder that cannot be written.
pub(super) struct Files {
    certificate: (PathBuf, File),
    key: Option<(PathBuf, File)>,
}

impl Files {
    /// Makes `{device}.pem` and `{device}.key`; none may be there.
    pub(super) fn open(folder: &Path, device: &str, has_key: bool) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(|source| failed("make the folder", folder, source))?;
        let key = has_key.then(|| make(folder.join(format!("{device}.key")), MODE_SECRET)).transpose()?;
        match make(folder.join(format!("{device}.pem")), MODE_PUBLIC) {
            Ok(certificate) => Ok(Self { certificate, key }),
            Err(error) => {
                key.iter().for_each(|(path, _)| remove(path));
                Err(error)
            }
        }
    }

    pub(super) fn write(mut self, certificate: &str, key: Option<&str>) -> Result<(), Error> {
        let parts = [(self.key.as_mut(), key), (Some(&mut self.certificate), Some(certificate))];
        for (file, text) in parts {
            if let (Some((path, file)), Some(text)) = (file, text) {
                let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
                written.map_err(|source| failed("write", path, source))?;
            }
        }
        Ok(())
    }
}

impl Drop for Files {
    /// Takes away what nothing was written to: the server made no certificate.
    fn drop(&mut self) {
        for (path, file) in [Some(&self.certificate), self.key.as_ref()].into_iter().flatten() {
            if file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
                remove(path);
            }
        }
    }
}

/// Reads a signing request.
pub(super) fn read_request(path: &Path) -> Result<String, Error> {
    let read = || {
        if fs::metadata(path)?.len() > REQUEST_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large for a signing request"));
        }
        fs::read_to_string(path)
    };
    read().map_err(|source| failed("read", path, source))
}

fn make(path: PathBuf, mode: u32) -> Result<(PathBuf, File), Error> {
    match OpenOptions::new().write(true).create_new(true).mode(mode).open(&path) {
        Ok(file) => Ok((path, file)),
        Err(source) => Err(failed("make", &path, source)),
    }
}

fn remove(path: &Path) {
    // An empty file that stays is in the way of the next try, which then says so.
    let _ = fs::remove_file(path);
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { operation, path: path.to_owned(), source }
}
