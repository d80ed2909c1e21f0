//! Sessions that outlive the server.

use std::time::Duration;

use updraft_dtls::{Error, Identity, Server, Sessions, Snapshot, SnapshotError};

use crate::world::{World, address, server_config};

/// A device that has spoken.
fn spoken() -> World {
    let mut world = World::psk();
    world.device(1);
    world.speaks(address(1), b"x");
    world
}

/// Puts all away, starts another server and takes all up again.
fn restart(world: &mut World) {
    let sessions: Vec<_> = world.server.sessions().collect();
    let stored: Vec<_> =
        sessions.iter().map(|session| world.server.save(*session).unwrap().into_bytes()).collect();
    assert_eq!(world.server.counts(), Default::default(), "what was put away is here no more");
    world.server = Server::new(server_config()).unwrap();
    for bytes in stored {
        world.server.restore(world.now, Snapshot::from_bytes(&bytes).unwrap()).unwrap();
    }
}

#[test]
fn a_session_goes_on_after_a_restart_without_a_handshake() {
    let mut world = spoken();
    let sent = world.sent.len();
    for round in 0..5 {
        restart(&mut world);
        let session = world.session_at(address(1)).unwrap();
        assert_eq!(world.server.identity(session), Some(&Identity::Psk(b"device-1".to_vec())));
        assert!(world.speaks(address(1), format!("{round} up").as_bytes()));
        assert!(world.answers(session, format!("{round} down").as_bytes()));
    }
    assert_eq!(world.sent.len(), sent + 5, "one datagram a round, and no handshake");
}

#[test]
fn a_device_that_moved_during_the_restart_is_found_by_its_connection_id() {
    let mut world = spoken();
    restart(&mut world);
    world.moves(address(1), address(2));
    assert!(world.speaks(address(2), b"here I am"));
}

#[test]
fn a_replay_from_before_the_restart_is_ignored_after_it() {
    let mut world = spoken();
    let (_, replay) = world.sent.last().unwrap().clone();
    restart(&mut world);
    let before = world.events.len();
    world.server.handle_datagram(world.now, address(1), &replay);
    world.collect();
    assert_eq!(world.events.len(), before);
}

#[test]
fn a_session_is_put_away_once_and_taken_up_once() {
    let mut world = spoken();
    let session = world.session_at(address(1)).unwrap();
    let snapshot = world.server.save(session).unwrap();
    assert!(world.server.save(session).is_none(), "it is there no more");
    let bytes = snapshot.into_bytes(); // Consumed: `snapshot` cannot be restored any more.
    let copy = Snapshot::from_bytes(&bytes).unwrap();
    let restored = world.server.restore(world.now, Snapshot::from_bytes(&bytes).unwrap()).unwrap();
    assert_ne!(restored, session, "numbers are not used twice");
    let again = world.server.restore(world.now, copy);
    assert_eq!(again.unwrap_err(), Error::AlreadyThere, "not while the first lives");
    assert!(world.speaks(address(1), b"up"));
}

#[test]
fn a_session_that_sleeps_is_put_away_as_well() {
    let mut world = spoken();
    world.pass(Duration::from_secs(601));
    assert_eq!(world.server.counts().asleep, 1);
    restart(&mut world);
    assert!(world.speaks(address(1), b"up"));
}

#[test]
fn a_session_is_not_put_away_before_its_device_has_spoken() {
    let mut world = World::psk();
    let session = world.device(1);
    assert!(world.server.save(session).is_none());
    assert!(world.speaks(address(1), b"up") && world.answers(session, b"down"), "it goes on");
}

#[test]
fn bytes_that_are_no_snapshot_are_refused() {
    let mut world = spoken();
    let session = world.session_at(address(1)).unwrap();
    let bytes = world.server.save(session).unwrap().into_bytes();
    assert!(bytes.len() < 320, "{} bytes", bytes.len());
    for length in 0..bytes.len() {
        assert_eq!(Snapshot::from_bytes(&bytes[..length]).unwrap_err(), SnapshotError);
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x80;
        assert_eq!(Snapshot::from_bytes(&changed).unwrap_err(), SnapshotError, "byte {at}");
    }
}

#[test]
fn a_snapshot_says_nothing_secret_when_it_is_printed() {
    let mut world = spoken();
    let session = world.session_at(address(1)).unwrap();
    let snapshot = world.server.save(session).unwrap();
    let told = format!("{snapshot:?}");
    assert!(told.contains("address") && !told.contains("state"), "{told}");
}
