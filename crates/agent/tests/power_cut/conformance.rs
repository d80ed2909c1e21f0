//! The simulated disk and the real one answer alike, or the model would check something else than the product.

use crate::disk::Disk;
use std::path::Path;
use updraft_agent::storage::{FileKind, FileStorage, Storage};

/// What the agent asks of a storage, and what it gets.
fn answers(storage: &mut dyn Storage, root: &Path) -> Vec<String> {
    let mut answers = Vec::new();
    let (a, b, link) = (root.join("a.rec"), root.join("b.rec"), root.join("current"));
    let mut note = |what: &str, answer: String| answers.push(format!("{what}: {answer}"));
    let kind = |result: std::io::Result<()>| format!("{:?}", result.map_err(|error| error.kind()));
    note("read none", format!("{:?}", storage.read(&a, 10).unwrap()));
    note("length of none", format!("{:?}", storage.len(&a).unwrap()));
    note("remove none", kind(storage.remove(&a)));
    note("write none", kind(storage.write_at(&a, 0, b"x")));
    note("create", kind(storage.create(&a, FileKind::Private)));
    note("write", kind(storage.write_at(&a, 0, b"hello")));
    note("write beyond", kind(storage.write_at(&a, 7, b"you")));
    note("sync", kind(storage.sync(&a)));
    note("read", format!("{:?}", storage.read(&a, 10).unwrap()));
    note("read too long", format!("{:?}", storage.read(&a, 9).unwrap_err().kind()));
    let mut buffer = [0; 4];
    note("read at the end", format!("{:?}", storage.read_at(&a, 8, &mut buffer).unwrap()));
    note("rename", kind(storage.rename(&a, &b)));
    note("after rename", format!("{:?} {:?}", storage.len(&a).unwrap(), storage.len(&b).unwrap()));
    note("rename none", kind(storage.rename(&a, &b)));
    note("create over", kind(storage.create(&b, FileKind::Executable)));
    note("is empty", format!("{:?}", storage.len(&b).unwrap()));
    note("no link", format!("{:?}", storage.read_link(&link).unwrap()));
    note("file is no link", format!("{:?}", storage.read_link(&b).unwrap()));
    note("link", kind(storage.link(Path::new("a"), &link)));
    note("link over", kind(storage.link(Path::new("b"), &link)));
    note("read link", format!("{:?}", storage.read_link(&link).unwrap()));
    note("sync folder", kind(storage.sync_folder(root)));
    note("remove", kind(storage.remove(&b)));
    note("remove link", kind(storage.remove(&link)));
    note("all gone", format!("{:?} {:?}", storage.len(&b).unwrap(), storage.read_link(&link).unwrap()));
    answers
}

#[test]
fn the_simulated_disk_answers_as_the_real_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let real = answers(&mut FileStorage::new(), folder.path());
    let simulated = answers(&mut Disk::default(), Path::new("/root"));
    assert_eq!(real, simulated);
}
