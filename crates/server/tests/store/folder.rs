//! What opening a data folder refuses, and what it keeps.

use crate::fleet::{device, id, save};
use rusqlite::Connection;
use std::fs;
use updraft_core::store::{Changes, Store};
use updraft_server::store::{DATABASE_FILE, Database, MigrateError, OpenError};

#[test]
fn a_second_server_on_one_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = Database::open(folder.path()).unwrap();
    let error = Database::open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)));
    assert!(error.to_string().contains("in use by another updraft process"), "{error}");
    // The folder stays taken for as long as anything made from it is in use.
    let views = first.views().unwrap();
    drop(first);
    assert!(matches!(Database::open(folder.path()), Err(OpenError::InUse(_))));
    drop(views);
    Database::open(folder.path()).unwrap();
}

#[test]
fn a_file_that_is_no_database_is_refused_and_kept() {
    let other = |setup: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        Connection::open(file.path()).unwrap().execute_batch(setup).unwrap();
        fs::read(file.path()).unwrap()
    };
    let mut headless = other("CREATE TABLE t (x)");
    headless[..16].fill(0);
    let cases = [
        ("a text", b"this is a shopping list, long enough for a header of SQLite or two\n".repeat(40)),
        ("a damaged header", headless),
        ("the database of another program", other("CREATE TABLE t (x)")),
        ("a form without our mark", other("PRAGMA user_version = 1; CREATE TABLE t (x)")),
        ("a form below zero", other("PRAGMA user_version = -1")),
    ];
    for (what, content) in cases {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(DATABASE_FILE);
        fs::write(&file, &content).unwrap();
        let error = Database::open(folder.path()).unwrap_err();
        assert!(matches!(error, OpenError::NotADatabase { .. }), "{what}: {error:?}");
        let kept = fs::read(&file).unwrap();
        assert_eq!(kept.len(), content.len(), "{what}");
    }
}

#[test]
fn a_database_of_a_newer_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(Database::open(folder.path()).unwrap());
    let file = folder.path().join(DATABASE_FILE);
    Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Database::open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::Migrate(MigrateError::Newer { found: 99, .. })), "{error:?}");
    assert!(error.to_string().contains("run the newer program"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Database::open(&file.join("data")).unwrap_err();
    assert!(matches!(error, OpenError::Folder { .. }), "{error:?}");
}

#[test]
fn last_seen_times_come_back_by_number() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Database::open(folder.path()).unwrap().fleet().unwrap();
    assert_eq!(store.last_seen().unwrap(), [0; 0]);
    let devices = (0..1_500).map(|index| device(&format!("d{index:04}"), "p")).collect();
    save(&mut store, &Changes { devices, ..Changes::default() });
    let number = store.number(&id("d1400")).unwrap().unwrap() as usize;
    let (page, place) = (number / 1024, number % 1024);
    let mut times = vec![0; place + 1];
    times[place] = u32::MAX;
    store.save_last_seen(&[(u32::try_from(page).unwrap(), &times), (0, &[7; 1024])]).unwrap();
    drop(store);
    let mut store = Database::open(folder.path()).unwrap().fleet().unwrap();
    let seen = store.last_seen().unwrap();
    assert_eq!(seen.len(), 1_501);
    assert_eq!((seen[1], seen[1023], seen[1024], seen[number]), (7, 7, 0, u32::MAX));
}

#[test]
fn a_devices_number_never_changes() {
    let mut store = Database::in_memory().unwrap().fleet().unwrap();
    let (first, second) = (device("b", "p"), device("a", "p"));
    save(&mut store, &Changes { devices: vec![first.clone()], ..Changes::default() });
    let number = store.number(&id("b")).unwrap();
    assert!(number.is_some());
    let mut moved = first;
    moved.product = "q".parse().unwrap();
    save(&mut store, &Changes { devices: vec![second, moved], ..Changes::default() });
    assert_eq!(store.number(&id("b")).unwrap(), number);
    assert_ne!(store.number(&id("a")).unwrap(), number);
    store.load(&[id("b")]).unwrap();
    assert_eq!(store.number(&id("b")).unwrap(), number);
    assert_eq!(store.number(&id("c")).unwrap(), None);
}
