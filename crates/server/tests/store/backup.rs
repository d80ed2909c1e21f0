//! A backup gives back what was there, and nothing but a sound one is taken.

use crate::fleet::{at, device, entry, execution, id, rollout, save};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::Path;
use tar::{Builder, EntryType, Header};
use updraft_core::attributes::Attributes;
use updraft_core::policy::Policy;
use updraft_core::release::{Artifact, Release};
use updraft_core::state::ExecutionState;
use updraft_core::store::{Changes, Store};
use updraft_core::version::Version;
use updraft_server::store::Database;
use updraft_server::store::backup::{self, BackupError, RestoreError, Summary};

const IMAGE: &[u8] = b"an image of some bytes";

fn artifact_path(sha256: &str) -> String {
    format!("artifacts/sha256/{}/{sha256}", &sha256[..2])
}

fn release(image: &[u8]) -> Release {
    let size = image.len() as u64;
    Release {
        product: "p".parse().unwrap(),
        version: Version::parse("1.1.0").unwrap(),
        policy: Policy::compile("true").unwrap(),
        artifact: Artifact { sha256: hex::encode(Sha256::digest(image)), md5: "0".repeat(32), size },
        attributes: Attributes::new(),
        created: at(1),
    }
}

/// A data folder with keys, an artifact, a device on an update.
fn fill(folder: &Path) -> Database {
    let database = Database::open(folder).unwrap();
    let release = release(IMAGE);
    let path = folder.join(artifact_path(&release.artifact.sha256));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, IMAGE).unwrap();
    for (name, content) in [("ca.pem", "a certificate"), ("ca.key", "a key"), ("link.keys", "more keys")] {
        fs::write(folder.join(name), content).unwrap();
    }
    let changes = Changes {
        devices: vec![device("d1", "p"), device("d2", "p")],
        rollouts: vec![rollout("r1")],
        executions: vec![execution("r1", "d1", ExecutionState::Queued)],
        history: vec![entry("r1", "d1", None, ExecutionState::Queued)],
        releases: vec![release],
        ..Changes::default()
    };
    save(&mut database.fleet().unwrap(), &changes);
    database
}

fn back_up(database: &Database) -> (Vec<u8>, Summary) {
    let mut file = Vec::new();
    let summary = backup::write(database, at(9_000), &mut file, &mut |_| ()).unwrap();
    (file, summary)
}

fn restore(mut file: &[u8], folder: &Path) -> Result<Summary, RestoreError> {
    backup::restore(&mut file, folder, &mut |_| ())
}

#[test]
fn a_restored_folder_holds_what_was_backed_up() {
    let home = tempfile::tempdir().unwrap();
    let (old, new) = (home.path().join("old"), home.path().join("new"));
    let database = fill(&old);
    let (file, written) = back_up(&database);
    // What happens afterwards is not in it.
    save(&mut database.fleet().unwrap(), &Changes { devices: vec![device("d3", "p")], ..Changes::default() });
    assert_eq!(restore(&file, &new).unwrap(), written);
    for name in ["ca.pem", "ca.key", "link.keys", &artifact_path(&release(IMAGE).artifact.sha256)] {
        assert_eq!(fs::read(new.join(name)).unwrap(), fs::read(old.join(name)).unwrap(), "{name}");
    }
    let restored = Database::open(&new).unwrap();
    let ids = ["d1", "d2"].map(id);
    let (mut before, mut after) = (database.fleet().unwrap(), restored.fleet().unwrap());
    assert_eq!(before.load(&ids).unwrap(), after.load(&ids).unwrap());
    assert!(after.load(&[id("d3")]).unwrap()[0].device.is_none());
    assert_eq!(restored.views().unwrap().device(&ids[0], 9).unwrap().unwrap().history.len(), 1);
    assert_eq!(after.catalogue().unwrap().releases.len(), 1);
    let left = |folder: &Path| fs::read_dir(folder).unwrap().count();
    assert_eq!(left(home.path()), 2, "nothing is left beside the two folders");
    assert!(!old.join("backup.part").exists());
}

#[test]
fn a_backup_is_of_one_moment_while_the_server_writes() {
    let home = tempfile::tempdir().unwrap();
    let (old, new) = (home.path().join("old"), home.path().join("new"));
    let database = fill(&old);
    let mut store = database.fleet().unwrap();
    let many = (0..2_000).map(|index| device(&format!("m{index:05}"), "p")).collect();
    save(&mut store, &Changes { devices: many, ..Changes::default() });
    let (mut file, mut count) = (Vec::new(), 0);
    // Each word of progress is a moment at which the fleet goes on: both halves of every pair are written together.
    backup::write(&database, at(1), &mut file, &mut |_| {
        count += 1;
        let pair = [format!("a{count}"), format!("z{count}")].map(|id| device(&id, "p"));
        save(&mut store, &Changes { devices: pair.into(), ..Changes::default() });
    })
    .unwrap();
    assert!(count > 0);
    restore(&file, &new).unwrap();
    let mut restored = Database::open(&new).unwrap().fleet().unwrap();
    for index in 1..=count {
        let records =
            restored.load(&[format!("a{index}"), format!("z{index}")].map(|text| id(&text))).unwrap();
        assert_eq!(records[0].device.is_some(), records[1].device.is_some(), "pair {index}");
    }
}

#[test]
fn a_folder_that_holds_anything_or_is_in_use_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let (old, new) = (home.path().join("old"), home.path().join("new"));
    let (file, _) = back_up(&fill(&old));
    fs::create_dir(&new).unwrap();
    fs::write(new.join("mine"), "precious").unwrap();
    assert!(matches!(restore(&file, &new), Err(RestoreError::NotEmpty(_))));
    assert_eq!(fs::read(new.join("mine")).unwrap(), b"precious");
    fs::remove_file(new.join("mine")).unwrap();
    let server = Database::open(&new).unwrap();
    assert!(matches!(restore(&file, &new), Err(RestoreError::InUse(_))));
    drop(server);
    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    restore(&file, &empty).unwrap();
}

#[test]
fn a_backup_cut_short_anywhere_is_refused_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (old, new) = (home.path().join("old"), home.path().join("new"));
    let (file, _) = back_up(&fill(&old));
    let end = file.iter().rposition(|byte| *byte != 0).unwrap();
    for length in (0..end).step_by(4_099) {
        assert!(restore(&file[..length], &new).is_err(), "{length} of {} bytes", file.len());
        assert!(!new.exists());
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    restore(&file, &new).unwrap();
}

#[test]
fn a_backup_with_a_changed_byte_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (old, new) = (home.path().join("old"), home.path().join("new"));
    let (file, _) = back_up(&fill(&old));
    let find = |needle: &[u8]| file.windows(needle.len()).position(|window| window == needle).unwrap();
    let places = [
        find(IMAGE),
        find(b"a certificate"),
        find(b"SQLite format 3"),
        find(b"\"sha256\": \"") + 12,
        find(b"ustar"),
    ];
    for place in places {
        let mut changed = file.clone();
        changed[place] ^= 1;
        assert!(restore(&changed, &new).is_err(), "byte {place}");
        assert!(!new.exists());
    }
}

/// A tar of one entry after those of a sound backup would be too late; this one stands alone.
fn tar_of(name: &[u8], kind: EntryType, link: &str) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(if link.is_empty() { 4 } else { 0 });
    if !link.is_empty() {
        header.set_link_name(link).unwrap();
    }
    header.set_mode(0o4777);
    header.set_cksum();
    let mut tar = Builder::new(Vec::new());
    tar.append(&header, if link.is_empty() { &b"evil"[..] } else { &[] }).unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn an_entry_that_reaches_beyond_the_folder_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let new = home.path().join("new");
    let digest = "a".repeat(64);
    let wrong_folder = format!("artifacts/sha256/bb/{digest}");
    let upper = format!("artifacts/sha256/AA/{}", "A".repeat(64));
    let names = [
        "../evil",
        "/etc/evil",
        "artifacts/../../evil",
        "./ca.pem",
        "ca.pem/",
        "artifacts",
        "lock",
        "evil",
        "updraft.db-wal",
        "CA.PEM",
        "ca.pem\\x",
        &wrong_folder,
        &upper,
    ];
    for name in names {
        let file = tar_of(name.as_bytes(), EntryType::Regular, "");
        assert!(matches!(restore(&file, &new), Err(RestoreError::Foreign(_))), "{name}");
    }
    let kinds = [EntryType::Symlink, EntryType::Link, EntryType::Directory, EntryType::Fifo, EntryType::Char];
    for kind in kinds {
        let file = tar_of(b"ca.pem", kind, "/etc/passwd");
        assert!(matches!(restore(&file, &new), Err(RestoreError::Foreign(_))), "{kind:?}");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn the_same_name_twice_or_anything_after_the_manifest_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (old, new) = (home.path().join("old"), home.path().join("new"));
    let (file, _) = back_up(&fill(&old));
    let end = file.len() - 1024;
    let extra = tar_of(b"server.key", EntryType::Regular, "");
    for file in [[&file[..end], &extra].concat(), [&extra[..1024], &extra].concat()] {
        assert!(matches!(restore(&file, &new), Err(RestoreError::Foreign(_))));
    }
}

#[test]
fn a_missing_or_damaged_artifact_stops_the_backup_and_is_named() {
    let home = tempfile::tempdir().unwrap();
    let database = fill(home.path());
    let path = home.path().join(artifact_path(&release(IMAGE).artifact.sha256));
    fs::write(&path, b"an image of other data").unwrap();
    let attempt = || backup::write(&database, at(1), &mut Vec::new(), &mut |_| ()).unwrap_err();
    let damaged = attempt();
    assert!(matches!(&damaged, BackupError::Damaged { path: named } if *named == path), "{damaged}");
    fs::remove_file(&path).unwrap();
    assert!(matches!(attempt(), BackupError::Read { path: named, .. } if named == path));
    assert!(!home.path().join("backup.part").exists());
}

#[test]
fn two_backups_at_once_do_not_disturb_each_other() {
    let home = tempfile::tempdir().unwrap();
    let database = fill(home.path());
    let mut refused = 0;
    let mut out = Vec::new();
    backup::write(&database, at(1), &mut out, &mut |_| {
        let second = backup::write(&database, at(1), &mut std::io::sink(), &mut |_| ());
        refused += u32::from(matches!(second, Err(BackupError::InProgress)));
    })
    .unwrap();
    assert!(refused > 0);
    out.flush().unwrap();
    restore(&out, &home.path().join("new")).unwrap();
}
