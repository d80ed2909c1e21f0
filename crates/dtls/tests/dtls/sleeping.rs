//! Sessions that sleep, and wake by themselves.

use std::time::Duration;

use updraft_dtls::{CloseReason, Event, SessionId, Sessions};

use crate::world::{World, address, server_config};

const SLEEP_AFTER: Duration = Duration::from_secs(60);

/// A device whose session sleeps.
fn asleep() -> (World, SessionId) {
    let mut config = server_config();
    config.sleep_after = SLEEP_AFTER;
    config.forget_after = Duration::from_secs(1_000_000);
    let mut world = World::new(config);
    let session = world.device(1);
    world.speaks(address(1), b"x");
    world.pass(SLEEP_AFTER + Duration::from_secs(1));
    assert_eq!((world.server.counts().awake, world.server.counts().asleep), (0, 1));
    (world, session)
}

#[test]
fn a_session_that_is_silent_sleeps_and_is_woken_by_its_device() {
    let (mut world, session) = asleep();
    assert!(world.speaks(address(1), b"good morning"));
    assert_eq!(world.server.counts().awake, 1);
    assert!(world.answers(session, b"to you too"));
}

#[test]
fn a_session_that_sleeps_is_woken_by_data_to_send() {
    let (mut world, session) = asleep();
    assert!(world.answers(session, b"good morning"));
    assert!(world.speaks(address(1), b"to you too"));
}

#[test]
fn a_session_that_sleeps_follows_its_device_to_another_port() {
    let (mut world, session) = asleep();
    world.moves(address(1), address(2));
    assert!(world.speaks(address(2), b"I have moved"));
    assert_eq!(world.server.address(session), Some(address(2)));
}

#[test]
fn a_session_sleeps_and_wakes_again_and_again() {
    let (mut world, session) = asleep();
    for round in 0..20 {
        assert!(world.speaks(address(1), format!("{round} up").as_bytes()));
        assert!(world.answers(session, format!("{round} down").as_bytes()));
        world.pass(SLEEP_AFTER + Duration::from_secs(1));
        assert_eq!(world.server.counts().asleep, 1, "round {round}");
    }
}

#[test]
fn forged_and_replayed_records_do_not_keep_a_session_awake() {
    let (mut world, _) = asleep();
    let (_, replay) = world.sent.last().unwrap().clone();
    let mut forged = replay.clone();
    forged[10] = forged[10].wrapping_add(9);
    for datagram in [replay, forged] {
        for from in [address(1), address(666)] {
            world.server.handle_datagram(world.now, from, &datagram);
            assert_eq!((world.server.counts().awake, world.server.counts().asleep), (0, 1));
        }
    }
    assert!(world.speaks(address(1), b"I do"));
}

#[test]
fn a_replay_from_before_the_sleep_is_ignored_after_it() {
    let (mut world, _) = asleep();
    let (_, replay) = world.sent.last().unwrap().clone();
    assert!(world.speaks(address(1), b"awake"));
    let before = world.events.len();
    world.server.handle_datagram(world.now, address(1), &replay);
    world.collect();
    assert_eq!(world.events.len(), before);
}

#[test]
fn a_device_that_has_not_spoken_yet_can_still_be_told_again_that_it_is_connected() {
    let mut config = server_config();
    config.sleep_after = SLEEP_AFTER;
    let mut world = World::new(config);
    let session = world.device(1);
    world.pass(SLEEP_AFTER * 3);
    assert_eq!(world.server.counts().awake, 1, "its last flight may have to be repeated");
    assert!(world.speaks(address(1), b"x") && world.answers(session, b"y"));
    world.pass(SLEEP_AFTER * 3);
    assert_eq!(world.server.counts().asleep, 1);
}

#[test]
fn a_session_that_is_silent_for_long_is_forgotten_awake_or_asleep() {
    let mut config = server_config();
    config.sleep_after = SLEEP_AFTER;
    config.forget_after = Duration::from_secs(3600);
    let mut world = World::new(config);
    let (silent, spoke) = (world.device(1), world.device(2));
    world.speaks(address(2), b"x");
    world.pass(Duration::from_secs(3500));
    assert_eq!(world.server.sessions().count(), 2);
    world.pass(Duration::from_secs(200));
    assert_eq!(world.server.sessions().count(), 0);
    for session in [silent, spoke] {
        assert!(world.events.contains(&Event::Closed { session, reason: CloseReason::Forgotten }));
    }
    assert_eq!(world.server.poll_timeout(), None);
}
