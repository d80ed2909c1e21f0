//! MQTT sessions as rows.

use updraft_server::protocols::mqtt::endpoint::{
    SavedSession, SavedSubscription, SessionChange, SessionKey, SessionStore,
};
use updraft_server::store::Database;

fn device(id: &str, filters: &[&str]) -> SavedSession {
    let subscription = |filter: &&str| SavedSubscription {
        filter: (*filter).to_owned(),
        qos: 1,
        identifier: None,
        no_local: false,
        retain_as_published: false,
    };
    SavedSession {
        key: SessionKey::Device(id.parse().unwrap()),
        expiry: 3_600,
        subscriptions: filters.iter().map(subscription).collect(),
    }
}

fn application(name: &str, client_id: &str) -> SavedSession {
    let mut session = device("D1", &["state/+/update/delta"]);
    session.key = SessionKey::Application { name: name.into(), client_id: client_id.into() };
    session.subscriptions[0].identifier = Some(7);
    session.subscriptions[0].no_local = true;
    session
}

#[test]
fn sessions_are_read_as_they_were_written_and_found_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    // Names that are the same in two kinds, and names that meet at a seam, are different sessions.
    let mut all = vec![
        application("ab", "c"),
        application("a", "bc"),
        application("D1", ""),
        device("D1", &["state/D1/update/delta", "$aws/things/D1/jobs/+/get/accepted"]),
        device("D2", &[]),
    ];
    let sessions = Database::open(folder.path()).unwrap().sessions().unwrap();
    sessions.apply(&all.iter().cloned().map(SessionChange::Save).collect::<Vec<_>>()).unwrap();
    drop(sessions);
    let sessions = Database::open(folder.path()).unwrap().sessions().unwrap();
    let mut found = sessions.load_all().unwrap();
    for list in [&mut all, &mut found] {
        list.sort_by(|one, other| one.key.cmp(&other.key));
    }
    assert_eq!(found, all);
}

#[test]
fn changes_are_made_in_order() {
    let sessions = Database::in_memory().unwrap().sessions().unwrap();
    let key = || SessionKey::Device("D1".parse().unwrap());
    sessions
        .apply(&[
            SessionChange::Save(device("D1", &["a"])),
            SessionChange::Delete(key()),
            SessionChange::Save(device("D1", &["b"])),
            SessionChange::Save(device("D1", &["c", "d"])),
        ])
        .unwrap();
    assert_eq!(sessions.load_all().unwrap(), [device("D1", &["c", "d"])]);
    sessions.apply(&[SessionChange::Delete(key()), SessionChange::Delete(key())]).unwrap();
    assert_eq!(sessions.load_all().unwrap(), []);
}
