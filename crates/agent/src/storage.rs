//! Everything the agent keeps on disk goes through one trait, so that a test can cut the power between any two
//! of its calls.
//!
//! The trait speaks of what survives a power cut: bytes are safe after [`Storage::sync`], names after
//! [`Storage::sync_folder`]. It has no call that promises both; `record` builds that from these.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Who may do what with a file that the agent creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A record: readable by its owner only, since links in it open artifacts.
    Private,
    /// An artifact: readable and executable by all, as system images are.
    Executable,
}

impl FileKind {
    fn mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Executable => 0o755,
        }
    }
}

/// A place that keeps files across a power cut, if told to.
pub trait Storage {
    /// A whole file of at most `bytes_max` bytes, or `None` if there is none.
    ///
    /// # Errors
    /// Any failure of the device below, and a file that is longer.
    fn read(&mut self, path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>>;
    /// Reads at `offset` into `buffer`; fewer bytes than asked only at the end.
    ///
    /// # Errors
    /// Any failure of the device below.
    fn read_at(&mut self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// A file's length in bytes, or `None` if there is none.
    ///
    /// # Errors
    /// Any failure of the device below.
    fn len(&mut self, path: &Path) -> io::Result<Option<u64>>;
    /// Makes an empty file under this name. A file that had the name keeps its bytes for whoever has it open.
    ///
    /// # Errors
    /// Any failure of the device below.
    fn create(&mut self, path: &Path, kind: FileKind) -> io::Result<()>;
    /// Writes at `offset` of an existing file.
    ///
    /// # Errors
    /// Any failure of the device below.
    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes a file's bytes survive a power cut.
    ///
    /// # Errors
    /// Any failure of the device below. The bytes are then in doubt.
    fn sync(&mut self, path: &Path) -> io::Result<()>;
    /// Gives a file another name in the same folder, replacing what had it.
    ///
    /// # Errors
    /// Any failure of the device below.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file or symbolic link; none there is no error.
    ///
    /// # Errors
    /// Any failure of the device below.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    /// Makes a symbolic link; the name must be free.
    ///
    /// # Errors
    /// Any failure of the device below.
    fn link(&mut self, target: &Path, name: &Path) -> io::Result<()>;
    /// Where a symbolic link points, or `None` if there is none.
    ///
    /// # Errors
    /// Any failure of the device below.
    fn read_link(&mut self, name: &Path) -> io::Result<Option<PathBuf>>;
    /// Makes a folder and those above it; one already there is no error.
    ///
    /// # Errors
    /// Any failure of the device below.
    fn create_folder(&mut self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder survive a power cut.
    ///
    /// # Errors
    /// Any failure of the device below.
    fn sync_folder(&mut self, path: &Path) -> io::Result<()>;
    /// Bytes that may still be written below a folder.
    ///
    /// # Errors
    /// Any failure of the device below.
    fn available(&mut self, folder: &Path) -> io::Result<u64>;
}

/// The file system of this machine.
#[derive(Debug, Default)]
pub struct FileStorage {
    /// The file last read or written, kept open: an image arrives in thousands of pieces.
    open: Option<(PathBuf, File)>,
}

impl FileStorage {
    /// Storage on this machine's file system.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn opened(&mut self, path: &Path) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(held, _)| held != path) {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            self.open = Some((path.to_owned(), file));
        }
        self.open.as_ref().map(|(_, file)| file).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn forget(&mut self, path: &Path) {
        self.open.take_if(|(held, _)| held == path);
    }
}

/// Turns "there is none" into `None`.
fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Storage for FileStorage {
    fn read(&mut self, path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(metadata) = optional(fs::metadata(path))? else { return Ok(None) };
        if metadata.len() > bytes_max {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        optional(fs::read(path))
    }

    fn read_at(&mut self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = self.opened(path)?;
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    fn len(&mut self, path: &Path) -> io::Result<Option<u64>> {
        Ok(optional(fs::metadata(path))?.map(|metadata| metadata.len()))
    }

    fn create(&mut self, path: &Path, kind: FileKind) -> io::Result<()> {
        self.remove(path)?;
        // create_new: never through a symbolic link, never into a file that something runs from.
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(kind.mode()).open(path)?;
        self.open = Some((path.to_owned(), file));
        Ok(())
    }

    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.opened(path)?.write_all_at(bytes, offset)
    }

    fn sync(&mut self, path: &Path) -> io::Result<()> {
        self.opened(path)?.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.forget(from);
        self.forget(to);
        fs::rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.forget(path);
        optional(fs::remove_file(path)).map(|_| ())
    }

    fn link(&mut self, target: &Path, name: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, name)
    }

    fn read_link(&mut self, name: &Path) -> io::Result<Option<PathBuf>> {
        match fs::read_link(name) {
            // Something else has the name: not a link of ours.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
            result => optional(result),
        }
    }

    fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn available(&mut self, folder: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}
