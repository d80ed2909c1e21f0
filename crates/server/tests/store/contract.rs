//! The SQLite store keeps the contract of every store, in memory and on disk.

use updraft_core::conformance;
use updraft_core::store::Store;
use updraft_server::store::Database;

#[test]
fn sqlite_in_memory_keeps_the_contract() {
    for (name, claim) in conformance::CLAIMS {
        println!("{name}");
        let database = Database::in_memory().unwrap();
        claim(&mut database.fleet().unwrap());
    }
}

#[test]
fn sqlite_on_disk_keeps_the_contract() {
    for (name, claim) in conformance::CLAIMS {
        println!("{name}");
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        claim(&mut database.fleet().unwrap());
    }
}

#[test]
fn what_a_process_saved_the_next_one_finds() {
    let folder = tempfile::tempdir().unwrap();
    let claim = conformance::a_device_is_loaded_as_it_was_saved;
    claim(&mut Database::open(folder.path()).unwrap().fleet().unwrap());
    let ids = ["rich", "extreme", "plain"].map(|id| id.parse().unwrap());
    let mut reopened = Database::open(folder.path()).unwrap().fleet().unwrap();
    assert!(reopened.load(&ids).unwrap().iter().all(|record| record.device.is_some()));
}
