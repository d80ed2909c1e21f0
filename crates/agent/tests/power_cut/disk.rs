//! A disk that can lose its power: what is durable, what is pending, and every disk that a cut may leave.
//!
//! The model: bytes are durable after a sync of their file, names after a sync of their folder, in whatever order
//! between files and folders; within one folder names keep their order. Files are inodes: a name made durable
//! before its bytes leads to a file that is empty, half or garbage.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use updraft_agent::storage::{FileKind, Storage};

/// Room on the disk, in bytes.
const ROOM_BYTES: u64 = 64 * 1024 * 1024;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Content {
    /// Shared between the many disks that hold the same.
    File(Rc<Vec<u8>>),
    Link(PathBuf),
}

/// A disk at rest, as seen by its paths.
pub(crate) type Contents = BTreeMap<PathBuf, Content>;

/// Faults that can be built in, to test the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Faults {
    /// Images are not synced.
    pub(crate) image_sync_skipped: bool,
    /// Records are not synced.
    pub(crate) record_sync_skipped: bool,
    /// Folders are not synced.
    pub(crate) folder_sync_skipped: bool,
    /// A record is written over the old one in place.
    pub(crate) records_in_place: bool,
    /// Making an image's file clears its folder first.
    pub(crate) folder_cleared: bool,
}

type Inode = u32;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(Inode),
    Link(PathBuf),
}

#[derive(Debug, Clone, Default)]
struct Platter {
    files: BTreeMap<Inode, Rc<Vec<u8>>>,
    names: BTreeMap<PathBuf, Node>,
}

#[derive(Debug, Clone)]
enum Op {
    Write { inode: Inode, offset: usize, bytes: Vec<u8> },
    Names { folder: PathBuf, changes: Vec<(PathBuf, Option<Node>)> },
}

/// What becomes of a pending operation in a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Lost,
    Kept,
    Half,
    Garbage,
}

impl Platter {
    fn apply(&mut self, op: &Op, fate: Fate) {
        match op {
            Op::Write { inode, offset, bytes } => {
                let file = Rc::make_mut(self.files.entry(*inode).or_default());
                let kept = match fate {
                    Fate::Lost => 0,
                    Fate::Half => bytes.len() / 2,
                    Fate::Kept | Fate::Garbage => bytes.len(),
                };
                if kept == 0 {
                    return;
                }
                if file.len() < offset + kept {
                    file.resize(offset + kept, 0);
                }
                file[*offset..offset + kept].copy_from_slice(&bytes[..kept]);
                if fate == Fate::Garbage {
                    file[*offset..offset + kept].fill(0xA5);
                }
            }
            Op::Names { changes, .. } if fate != Fate::Lost => {
                for (path, node) in changes {
                    match node {
                        Some(node) => self.names.insert(path.clone(), node.clone()),
                        None => self.names.remove(path),
                    };
                }
            }
            Op::Names { .. } => {}
        }
    }

    fn contents(&self) -> Contents {
        let content = |node: &Node| match node {
            Node::File(inode) => Content::File(self.files.get(inode).cloned().unwrap_or_default()),
            Node::Link(target) => Content::Link(target.clone()),
        };
        self.names.iter().map(|(path, node)| (path.clone(), content(node))).collect()
    }
}

#[derive(Debug, Default)]
struct State {
    durable: Platter,
    live: Platter,
    pending: Vec<Op>,
    inodes: Inode,
    /// Changes so far.
    changes: u64,
    /// The change at which the power goes.
    cut_at: Option<u64>,
    is_cut: bool,
    faults: Faults,
    /// Which moment of the world it is, for those who ask later.
    moment: usize,
    /// What a cut at each change would leave, and in which moment; `None` where nobody asks.
    cuts: Option<Vec<(usize, BTreeSet<Contents>)>>,
}

/// The disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Rc<RefCell<State>>);

impl Disk {
    /// A disk that holds this, durably.
    pub(crate) fn holding(contents: &Contents, faults: Faults) -> Self {
        let mut platter = Platter::default();
        let mut inodes = 0;
        for (path, content) in contents {
            let node = match content {
                Content::File(bytes) => {
                    inodes += 1;
                    platter.files.insert(inodes, bytes.clone());
                    Node::File(inodes)
                }
                Content::Link(target) => Node::Link(target.clone()),
            };
            platter.names.insert(path.clone(), node);
        }
        Self(Rc::new(RefCell::new(State {
            live: platter.clone(),
            durable: platter,
            inodes,
            faults,
            ..State::default()
        })))
    }

    /// A disk that holds these files.
    pub(crate) fn with(files: &[(&str, &[u8])]) -> Self {
        let contents =
            files.iter().map(|(path, bytes)| (PathBuf::from(path), Content::File(Rc::new(bytes.to_vec()))));
        Self::holding(&contents.collect(), Faults::default())
    }

    /// Lets the power go at the `at`-th change from here, counted from 0.
    pub(crate) fn cut_at(&self, at: u64) {
        let mut state = self.0.borrow_mut();
        state.cut_at = Some(state.changes + at);
    }

    /// Notes from here on what a cut at each change would leave.
    pub(crate) fn note_cuts(&self) {
        self.0.borrow_mut().cuts = Some(Vec::new());
    }

    /// Says which moment of the world it is.
    pub(crate) fn set_moment(&self, moment: usize) {
        self.0.borrow_mut().moment = moment;
    }

    /// What was noted.
    pub(crate) fn noted_cuts(&self) -> Vec<(usize, BTreeSet<Contents>)> {
        self.0.borrow_mut().cuts.take().unwrap_or_default()
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.0.borrow().is_cut
    }

    pub(crate) fn changes(&self) -> u64 {
        self.0.borrow().changes
    }

    /// The disk as a program sees it.
    pub(crate) fn live(&self) -> Contents {
        self.0.borrow().live.contents()
    }

    /// Every disk that a cut at this moment may leave.
    pub(crate) fn after_cut(&self) -> BTreeSet<Contents> {
        self.0.borrow().after_cut()
    }

    fn change(&self, op: Op) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.count()?;
        state.live.apply(&op, Fate::Kept);
        state.pending.push(op);
        Ok(())
    }

    fn inode(&self, path: &Path) -> io::Result<Inode> {
        match self.0.borrow().live.names.get(path) {
            Some(Node::File(inode)) => Ok(*inode),
            Some(Node::Link(_)) | None => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }
}

impl State {
    fn after_cut(&self) -> BTreeSet<Contents> {
        let fates = fates(&self.pending);
        fates.into_iter().map(|fates| survivor(&self.durable, &self.pending, &fates)).collect()
    }

    /// Counts a change, or lets the power go.
    fn count(&mut self) -> io::Result<()> {
        if self.cut_at == Some(self.changes) {
            self.is_cut = true;
        }
        if self.is_cut {
            return Err(io::Error::other("the power is gone"));
        }
        self.changes += 1;
        if self.cuts.is_some() {
            let left = (self.moment, self.after_cut());
            self.cuts.get_or_insert_default().push(left);
        }
        Ok(())
    }

    fn make_durable(&mut self, is_meant: impl Fn(&Op) -> bool) {
        let (meant, rest): (Vec<Op>, Vec<Op>) = self.pending.drain(..).partition(|op| is_meant(op));
        self.pending = rest;
        for op in meant {
            self.durable.apply(&op, Fate::Kept);
        }
    }
}

/// Which operations survive: none, all, each alone, each missing, every prefix; and each of these with one write
/// torn.
fn fates(pending: &[Op]) -> BTreeSet<Vec<Fate>> {
    let count = pending.len();
    let mut all = BTreeSet::from([vec![Fate::Lost; count], vec![Fate::Kept; count]]);
    for i in 0..count {
        let prefix = |end: usize| (0..count).map(move |j| if j < end { Fate::Kept } else { Fate::Lost });
        let mut alone = vec![Fate::Lost; count];
        alone[i] = Fate::Kept;
        let mut missing = vec![Fate::Kept; count];
        missing[i] = Fate::Lost;
        let whole = [alone, missing, prefix(i).collect(), prefix(i + 1).collect()];
        if matches!(pending[i], Op::Write { .. }) {
            for torn in [Fate::Half, Fate::Garbage] {
                for fates in [vec![Fate::Kept; count], vec![Fate::Lost; count], prefix(i).collect()] {
                    let mut fates: Vec<Fate> = fates;
                    fates[i] = torn;
                    all.insert(fates);
                }
            }
        }
        all.extend(whole);
    }
    all
}

fn survivor(durable: &Platter, pending: &[Op], fates: &[Fate]) -> Contents {
    let mut platter = durable.clone();
    let mut broken_folders = BTreeSet::new();
    for (op, fate) in pending.iter().zip(fates) {
        match op {
            // A folder's names keep their order: after one is lost, none follows.
            Op::Names { folder, .. } => {
                if *fate == Fate::Lost || broken_folders.contains(folder) {
                    broken_folders.insert(folder.clone());
                } else {
                    platter.apply(op, *fate);
                }
            }
            Op::Write { .. } => platter.apply(op, *fate),
        }
    }
    platter.contents()
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_owned()
}

fn is_record(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tmp" || extension == "rec")
}

impl Storage for Disk {
    fn read(&mut self, path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let Ok(inode) = self.inode(path) else { return Ok(None) };
        let bytes = self.0.borrow().live.files.get(&inode).map_or_else(Vec::new, |bytes| bytes.to_vec());
        if bytes.len() as u64 > bytes_max {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        Ok(Some(bytes))
    }

    fn read_at(&mut self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let inode = self.inode(path)?;
        let state = self.0.borrow();
        let bytes = state.live.files.get(&inode).map_or(&[][..], |bytes| bytes.as_slice());
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn len(&mut self, path: &Path) -> io::Result<Option<u64>> {
        let Ok(inode) = self.inode(path) else { return Ok(None) };
        Ok(Some(self.0.borrow().live.files.get(&inode).map_or(0, |bytes| bytes.len() as u64)))
    }

    fn create(&mut self, path: &Path, _kind: FileKind) -> io::Result<()> {
        let inode = {
            let mut state = self.0.borrow_mut();
            state.inodes += 1;
            state.inodes
        };
        let folder = folder_of(path);
        let mut changes = Vec::new();
        if self.0.borrow().faults.folder_cleared && !is_record(path) {
            let state = self.0.borrow();
            let cleared =
                state.live.names.keys().filter(|name| folder_of(name) == folder && !is_record(name));
            changes.extend(cleared.map(|name| (name.clone(), None)));
        }
        changes.push((path.to_owned(), Some(Node::File(inode))));
        self.change(Op::Names { folder, changes })
    }

    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let inode = self.inode(path)?;
        self.change(Op::Write { inode, offset: offset as usize, bytes: bytes.to_vec() })
    }

    fn sync(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.inode(path)?;
        let mut state = self.0.borrow_mut();
        state.count()?;
        let faults = state.faults;
        let is_skipped = if is_record(path) { faults.record_sync_skipped } else { faults.image_sync_skipped };
        if !is_skipped {
            state.make_durable(|op| matches!(op, Op::Write { inode: written, .. } if *written == inode));
        }
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.0.borrow().live.names.get(from).cloned();
        let node = node.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let in_place = self.0.borrow().faults.records_in_place && is_record(from);
        if let (true, Node::File(new), Ok(old)) = (in_place, &node, self.inode(to)) {
            let bytes = self.0.borrow().live.files.get(new).map_or_else(Vec::new, |bytes| bytes.to_vec());
            return self.change(Op::Write { inode: old, offset: 0, bytes });
        }
        let changes = vec![(from.to_owned(), None), (to.to_owned(), Some(node))];
        self.change(Op::Names { folder: folder_of(to), changes })
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        if !self.0.borrow().live.names.contains_key(path) {
            return Ok(());
        }
        self.change(Op::Names { folder: folder_of(path), changes: vec![(path.to_owned(), None)] })
    }

    fn link(&mut self, target: &Path, name: &Path) -> io::Result<()> {
        if self.0.borrow().live.names.contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let changes = vec![(name.to_owned(), Some(Node::Link(target.to_owned())))];
        self.change(Op::Names { folder: folder_of(name), changes })
    }

    fn read_link(&mut self, name: &Path) -> io::Result<Option<PathBuf>> {
        match self.0.borrow().live.names.get(name) {
            Some(Node::Link(target)) => Ok(Some(target.clone())),
            Some(Node::File(_)) | None => Ok(None),
        }
    }

    fn create_folder(&mut self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.count()?;
        if !state.faults.folder_sync_skipped {
            state.make_durable(|op| matches!(op, Op::Names { folder, .. } if folder == path));
        }
        Ok(())
    }

    fn available(&mut self, _folder: &Path) -> io::Result<u64> {
        Ok(ROOM_BYTES)
    }
}
