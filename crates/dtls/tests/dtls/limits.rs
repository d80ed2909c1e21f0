//! Limits: handshakes, sessions, those of one source.

use std::net::SocketAddr;
use std::time::Duration;

use updraft_dtls::{CloseReason, Event, Identity, Plain, SendError, Sessions};

use crate::world::{Way, World, address, client_config, server_config};

/// Lets only ClientHellos and answers pass, so that handshakes stay halfway.
fn only_hellos(world: &mut World) {
    world.network = Box::new(|way, datagram| way == Way::ToClient || datagram[13] == 1);
}

#[test]
fn one_source_can_hold_its_share_of_handshakes_only() {
    let mut config = server_config();
    config.half_open_per_source_max = 3;
    let mut world = World::new(config);
    only_hellos(&mut world);
    for number in 1..10 {
        world.connect(address(number), &client_config("device-1"));
    }
    assert_eq!(world.server.counts().half_open, 3);
    let elsewhere: SocketAddr = "127.0.0.9:9".parse().unwrap();
    world.connect(elsewhere, &client_config("device-2"));
    assert_eq!(world.server.counts().half_open, 4);
    world.network = Box::new(|_, _| true);
    world.pass(Duration::from_secs(3));
    assert!(world.clients[&elsewhere].is_connected());
}

#[test]
fn one_source_can_begin_only_so_many_handshakes_and_the_rest_come_again_later() {
    let mut config = server_config();
    (config.handshakes_per_second_and_source, config.handshakes_at_once_per_source) = (1, 5);
    let mut world = World::new(config);
    for number in 1..=8 {
        world.connect(address(number), &client_config(&format!("device-{number}")));
    }
    assert_eq!(world.server.counts().awake, 5);
    assert!(world.answered.len() < 100, "whoever has to wait is not asked for a cookie again and again");
    let elsewhere: SocketAddr = "127.0.0.9:9".parse().unwrap();
    world.connect(elsewhere, &client_config("device-9"));
    assert_eq!(world.server.counts().awake, 6, "another source is another's");
    world.pass(Duration::from_secs(30));
    assert_eq!(world.server.counts().awake, 9, "those who came too fast have come again");
}

#[test]
fn strangers_without_a_cookie_do_not_use_up_a_sources_share() {
    let mut config = server_config();
    (config.handshakes_per_second_and_source, config.handshakes_at_once_per_source) = (1, 1);
    let mut world = World::new(config);
    let mut client = updraft_dtls::Client::new(&client_config("device-1")).unwrap();
    client.connect(world.now).unwrap();
    let hello = client.poll_transmit().unwrap();
    for number in 100..200 {
        world.server.handle_datagram(world.now, address(number), &hello);
    }
    while world.server.poll_transmit().is_some() {}
    world.device(1);
}

#[test]
fn a_handshake_that_takes_too_long_gives_its_place_back() {
    let mut config = server_config();
    config.handshake_timeout = Duration::from_secs(20);
    let mut world = World::new(config);
    only_hellos(&mut world);
    world.connect(address(1), &client_config("device-1"));
    world.clients.clear();
    world.pass(Duration::from_secs(19));
    assert_eq!(world.server.counts().half_open, 1);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.server.counts().half_open, 0);
    assert_eq!(world.server.poll_timeout(), None);
}

#[test]
fn one_session_too_many_closes_that_which_was_silent_for_longest() {
    let mut config = server_config();
    config.sessions_max = 3;
    let mut world = World::new(config);
    let sessions: Vec<_> = (1..=3)
        .map(|number| {
            world.now += Duration::from_secs(1);
            world.device(number)
        })
        .collect();
    world.now += Duration::from_secs(1);
    world.speaks(address(1), b"I am awake");
    let newest = world.device(4);
    assert!(world.events.contains(&Event::Closed { session: sessions[1], reason: CloseReason::Evicted }));
    assert_eq!(world.server.sessions().count(), 3);
    assert!(world.speaks(address(1), b"up") && world.answers(newest, b"down"));
}

#[test]
fn one_device_cannot_crowd_out_another() {
    let mut config = server_config();
    (config.sessions_max, config.sessions_per_identity_max) = (10, 3);
    let mut world = World::new(config);
    let other = world.device(1);
    for number in 100..200 {
        world.now += Duration::from_secs(1);
        world.connect(address(number), &client_config("device-2"));
    }
    assert_eq!(world.server.sessions().count(), 4);
    assert!(world.speaks(address(1), b"still here") && world.answers(other, b"so am I"));
    for number in [197, 198, 199] {
        assert!(world.speaks(address(number), b"the newest of its own are there"));
    }
}

#[test]
fn one_session_too_many_awake_puts_that_to_sleep_which_was_silent_for_longest() {
    let mut config = server_config();
    config.awake_max = 2;
    let mut world = World::new(config);
    for number in 1..=5 {
        world.now += Duration::from_secs(1);
        world.device(number);
        world.speaks(address(number), b"x");
    }
    assert_eq!((world.server.counts().awake, world.server.counts().asleep), (2, 3));
    for number in 1..=5 {
        assert!(world.speaks(address(number), b"woken"), "{number}");
        assert!(world.server.counts().awake <= 2);
    }
    assert_eq!(world.server.sessions().count(), 5);
}

#[test]
fn one_datagram_is_looked_at_for_a_few_records_only() {
    let mut world = World::psk();
    let session = world.device(1);
    let client = world.clients.get_mut(&address(1)).unwrap();
    let mut datagram = Vec::new();
    for number in 0..40 {
        client.send(world.now, &[number]).unwrap();
        datagram.extend(client.poll_transmit().unwrap());
    }
    world.server.handle_datagram(world.now, address(1), &datagram);
    world.collect();
    let received = world.events.iter().filter(|event| matches!(event, Event::Received { .. })).count();
    assert_eq!(received, 16);
    assert!(world.answers(session, b"still here"));
}

#[test]
fn without_security_each_address_is_a_session_of_nobody_known_and_there_are_only_so_many() {
    let mut plain = Plain::new(2);
    for number in 1..=3_u16 {
        let now = Duration::from_secs(u64::from(number));
        plain.handle_datagram(now, address(number), b"hello");
        plain.handle_datagram(now, address(1), b"again");
        let Some(Event::Connected { session, identity, .. }) = plain.poll_event() else {
            assert_eq!(number, 3, "the first address is known already");
            continue;
        };
        assert_eq!(identity, Identity::Unproven);
        assert_eq!(plain.identity(session), Some(&Identity::Unproven));
        while plain.poll_event().is_some() {}
        plain.send(now, session, b"answer").unwrap();
        assert_eq!(plain.poll_transmit(), Some((address(number), b"answer".to_vec())));
    }
    assert_eq!(plain.len(), 2);
    let gone = updraft_dtls::SessionId(2);
    assert_eq!(plain.send(Duration::ZERO, gone, b"x"), Err(SendError::NoSession));
    assert_eq!(plain.address(gone), None, "the second was silent for longest");
}
