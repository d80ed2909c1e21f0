//! A device's flash: files that survive a power cut only as far as they were synced.
//!
//! Bytes are kept by file (inode), names by folder, each as it is seen and as it would be found after a cut. A cut keeps
//! of each file the synced bytes, the written ones or a torn mix, and of each folder's changes of names the first so
//! many: what journalling file systems promise, and no more. Absent: cutting at every single step, which the agent's own
//! power-cut suite does; here the cut comes at a random one, in the middle of everything else.

use crate::random::Random;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use updraft_agent::storage::{FileKind, Storage};

/// Room on a device, in bytes: several of the largest images and all records.
const CAPACITY_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Debug, Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    seen: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    File(usize),
    Link(PathBuf),
}

/// A change of a name that the folder has not been synced for.
#[derive(Debug, Clone)]
enum NameChange {
    Set(PathBuf, Entry),
    Removed(PathBuf),
}

#[derive(Debug, Default)]
struct Chip {
    inodes: Vec<Inode>,
    seen: BTreeMap<PathBuf, Entry>,
    durable: BTreeMap<PathBuf, Entry>,
    pending: BTreeMap<PathBuf, Vec<NameChange>>,
    /// Changes left until the power goes; `None`: it stays.
    changes_left: Option<u64>,
    is_cut: bool,
    /// A defect for the checkers to find: `sync` reports success and does nothing.
    syncs_lie: bool,
}

/// A handle on a device's flash. Clones share the chip, as a boot and the one after it do.
#[derive(Debug, Clone, Default)]
pub(super) struct Flash(Rc<RefCell<Chip>>);

impl Flash {
    pub(super) fn new(syncs_lie: bool) -> Self {
        let flash = Self::default();
        flash.0.borrow_mut().syncs_lie = syncs_lie;
        flash
    }

    /// The power will go in the middle of the `changes`-th change from here.
    pub(super) fn cut_after(&self, changes: u64) {
        self.0.borrow_mut().changes_left = Some(changes);
    }

    /// Whether the power is gone.
    pub(super) fn is_cut(&self) -> bool {
        self.0.borrow().is_cut
    }

    /// What a cut leaves, and power again.
    pub(super) fn lose_power(&self, random: &mut Random) {
        let chip = &mut *self.0.borrow_mut();
        for inode in &mut chip.inodes {
            if inode.seen != inode.durable {
                inode.durable = torn(&inode.durable, &inode.seen, random);
                inode.seen.clone_from(&inode.durable);
            }
        }
        for changes in std::mem::take(&mut chip.pending).into_values() {
            let kept = random.index(changes.len() + 1);
            for change in changes.into_iter().take(kept) {
                change.apply(&mut chip.durable);
            }
        }
        chip.seen.clone_from(&chip.durable);
        chip.changes_left = None;
        chip.is_cut = false;
    }

    /// Erases everything, as somebody does who flashes a device by hand.
    pub(super) fn erase(&self) {
        let chip = &mut *self.0.borrow_mut();
        *chip = Chip { syncs_lie: chip.syncs_lie, ..Chip::default() };
    }

    /// A file's bytes, for an onlooker.
    pub(super) fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let chip = self.0.borrow();
        chip.file(path).map(|inode| chip.inodes[inode].seen.clone())
    }
}

/// The bytes found after a cut while `seen` was being written over `durable`.
fn torn(durable: &[u8], seen: &[u8], random: &mut Random) -> Vec<u8> {
    match random.below(3) {
        0 => durable.to_vec(),
        1 => seen.to_vec(),
        _ => {
            let kept = random.index(seen.len() + 1);
            let mut bytes = seen[..kept].to_vec();
            bytes.extend(durable.get(kept..).unwrap_or_default());
            bytes
        }
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<PathBuf, Entry>) {
        match self {
            Self::Set(path, entry) => {
                names.insert(path, entry);
            }
            Self::Removed(path) => {
                names.remove(&path);
            }
        }
    }
}

fn power() -> io::Error {
    io::Error::other("the power is gone")
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_owned()
}

impl Chip {
    fn alive(&self) -> io::Result<()> {
        if self.is_cut { Err(power()) } else { Ok(()) }
    }

    /// Counts a change down; the one at which the power goes is not made.
    fn change(&mut self) -> io::Result<()> {
        self.alive()?;
        match &mut self.changes_left {
            None => Ok(()),
            Some(0) => {
                self.is_cut = true;
                Err(power())
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn file(&self, path: &Path) -> Option<usize> {
        match self.seen.get(path)? {
            Entry::File(inode) => Some(*inode),
            Entry::Link(_) => None,
        }
    }

    fn existing(&self, path: &Path) -> io::Result<usize> {
        self.file(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn rename_to(&mut self, change: NameChange, folder: PathBuf) {
        change.clone().apply(&mut self.seen);
        self.pending.entry(folder).or_default().push(change);
    }
}

impl Storage for Flash {
    fn read(&mut self, path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        self.0.borrow().alive()?;
        match self.bytes(path) {
            Some(bytes) if bytes.len() as u64 > bytes_max => {
                Err(io::Error::from(io::ErrorKind::FileTooLarge))
            }
            bytes => Ok(bytes),
        }
    }

    fn read_at(&mut self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let chip = self.0.borrow();
        chip.alive()?;
        let bytes = &chip.inodes[chip.existing(path)?].seen;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let length = buffer.len().min(bytes.len() - start);
        buffer[..length].copy_from_slice(&bytes[start..start + length]);
        Ok(length)
    }

    fn len(&mut self, path: &Path) -> io::Result<Option<u64>> {
        let chip = self.0.borrow();
        chip.alive()?;
        Ok(chip.file(path).map(|inode| chip.inodes[inode].seen.len() as u64))
    }

    fn create(&mut self, path: &Path, _: FileKind) -> io::Result<()> {
        let chip = &mut *self.0.borrow_mut();
        chip.change()?;
        chip.inodes.push(Inode::default());
        let entry = Entry::File(chip.inodes.len() - 1);
        chip.rename_to(NameChange::Set(path.to_owned(), entry), folder_of(path));
        Ok(())
    }

    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let chip = &mut *self.0.borrow_mut();
        chip.change()?;
        let inode = chip.existing(path)?;
        let seen = &mut chip.inodes[inode].seen;
        let start = usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let end = start + bytes.len();
        if seen.len() < end {
            seen.resize(end, 0);
        }
        seen[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, path: &Path) -> io::Result<()> {
        let chip = &mut *self.0.borrow_mut();
        chip.change()?;
        let inode = chip.existing(path)?;
        if !chip.syncs_lie {
            let Inode { durable, seen } = &mut chip.inodes[inode];
            durable.clone_from(seen);
        }
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let chip = &mut *self.0.borrow_mut();
        chip.change()?;
        let entry = chip.seen.get(from).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        // One change for whoever finds it after a cut: the new name is there, or nothing happened. The old name may be
        // found beside it, which no reader of a temporary name minds.
        chip.rename_to(NameChange::Set(to.to_owned(), entry), folder_of(to));
        chip.rename_to(NameChange::Removed(from.to_owned()), folder_of(from));
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let chip = &mut *self.0.borrow_mut();
        chip.change()?;
        if chip.seen.contains_key(path) {
            chip.rename_to(NameChange::Removed(path.to_owned()), folder_of(path));
        }
        Ok(())
    }

    fn link(&mut self, target: &Path, name: &Path) -> io::Result<()> {
        let chip = &mut *self.0.borrow_mut();
        chip.change()?;
        if chip.seen.contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        chip.rename_to(NameChange::Set(name.to_owned(), Entry::Link(target.to_owned())), folder_of(name));
        Ok(())
    }

    fn read_link(&mut self, name: &Path) -> io::Result<Option<PathBuf>> {
        let chip = self.0.borrow();
        chip.alive()?;
        Ok(match chip.seen.get(name) {
            Some(Entry::Link(target)) => Some(target.clone()),
            Some(Entry::File(_)) | None => None,
        })
    }

    fn create_folder(&mut self, _: &Path) -> io::Result<()> {
        self.0.borrow_mut().change()
    }

    fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        let chip = &mut *self.0.borrow_mut();
        chip.change()?;
        if !chip.syncs_lie {
            for change in chip.pending.remove(path).unwrap_or_default() {
                change.apply(&mut chip.durable);
            }
        }
        Ok(())
    }

    fn available(&mut self, _: &Path) -> io::Result<u64> {
        let chip = self.0.borrow();
        let used: u64 = chip
            .seen
            .values()
            .map(|entry| match entry {
                Entry::File(inode) => chip.inodes[*inode].seen.len() as u64,
                Entry::Link(_) => 0,
            })
            .sum();
        Ok(CAPACITY_BYTES.saturating_sub(used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_every_cut_and_what_was_not_survives_some() {
        let path = Path::new("/state/record");
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let mut flash = Flash::new(false);
            flash.create(path, FileKind::Private).unwrap();
            flash.write_at(path, 0, b"old!").unwrap();
            flash.sync(path).unwrap();
            flash.sync_folder(Path::new("/state")).unwrap();
            flash.write_at(path, 0, b"new!").unwrap();
            flash.lose_power(&mut Random::new(seed));
            outcomes.insert(flash.bytes(path).unwrap());
        }
        assert!(outcomes.contains(b"old!".as_slice()) && outcomes.contains(b"new!".as_slice()));
        assert!(outcomes.iter().all(|bytes| bytes.len() == 4));
    }

    #[test]
    fn after_the_cut_nothing_works_until_power_comes_back() {
        let mut flash = Flash::new(false);
        flash.cut_after(1);
        assert!(flash.create(Path::new("/a"), FileKind::Private).is_ok());
        assert!(flash.create(Path::new("/b"), FileKind::Private).is_err());
        assert!(flash.is_cut() && flash.read(Path::new("/a"), 9).is_err());
        flash.lose_power(&mut Random::new(1));
        assert!(!flash.is_cut() && flash.read(Path::new("/a"), 9).is_ok());
    }
}
