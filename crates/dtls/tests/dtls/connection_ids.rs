//! Sessions that outlive a change of the device's address (RFC 9146).

use updraft_dtls::{Event, Sessions};

use crate::world::{World, address};

fn moves_of(world: &World) -> Vec<&Event> {
    world.events.iter().filter(|event| matches!(event, Event::Moved { .. })).collect()
}

#[test]
fn a_session_follows_the_device_to_another_port() {
    let mut world = World::psk();
    let session = world.device(1);
    for number in 2..6 {
        world.moves(address(number - 1), address(number));
        assert!(world.speaks(address(number), b"from here"));
        assert_eq!(world.server.address(session), Some(address(number)));
        assert!(world.answers(session, b"to there"));
        assert_eq!(moves_of(&world).last(), Some(&&Event::Moved { session, address: address(number) }));
    }
    assert_eq!(world.server.counts().awake, 1);
}

#[test]
fn a_move_is_told_before_what_was_said_from_there() {
    let mut world = World::psk();
    let session = world.device(1);
    world.moves(address(1), address(2));
    world.speaks(address(2), b"x");
    let tail = &world.events[world.events.len() - 2..];
    assert_eq!(tail[0], Event::Moved { session, address: address(2) });
    assert_eq!(tail[1], Event::Received { session, data: b"x".to_vec() });
}

#[test]
fn records_to_the_server_carry_its_connection_id_and_those_to_the_device_none() {
    let mut world = World::psk();
    let session = world.device(1);
    world.speaks(address(1), b"up");
    world.answers(session, b"down");
    assert_eq!(world.sent.last().unwrap().1[0], 25, "tls12_cid");
    assert_eq!(world.answered.last().unwrap().1[0], 23, "application data, as ever");
}

#[test]
fn a_forged_record_with_the_right_connection_id_moves_nothing() {
    let mut world = World::psk();
    let session = world.device(1);
    world.speaks(address(1), b"true");
    let mut forged = world.sent.last().unwrap().1.clone();
    forged[10] = forged[10].wrapping_add(40); // A newer number …
    for last in 0..=255 {
        *forged.last_mut().unwrap() = last; // … and one guess at the tag after the other.
        world.server.handle_datagram(world.now, address(666), &forged);
    }
    world.settle();
    assert_eq!(moves_of(&world), Vec::<&Event>::new());
    assert_eq!(world.server.address(session), Some(address(1)));
    assert!(world.speaks(address(1), b"still here"));
}

#[test]
fn a_replayed_record_is_ignored_and_moves_nothing() {
    let mut world = World::psk();
    let session = world.device(1);
    world.speaks(address(1), b"once");
    let (_, replay) = world.sent.last().unwrap().clone();
    let before = world.events.len();
    world.server.handle_datagram(world.now, address(1), &replay);
    world.server.handle_datagram(world.now, address(666), &replay);
    world.settle();
    assert_eq!(world.events.len(), before);
    assert_eq!(world.server.address(session), Some(address(1)));
}

#[test]
fn an_authentic_record_that_is_older_than_another_is_taken_in_but_moves_nothing() {
    let mut world = World::psk();
    let session = world.device(1);
    let client = world.clients.get_mut(&address(1)).unwrap();
    client.send(world.now, b"first").unwrap();
    let older = client.poll_transmit().unwrap();
    assert!(world.speaks(address(1), b"second"));
    world.server.handle_datagram(world.now, address(666), &older);
    world.collect();
    assert!(world.events.contains(&Event::Received { session, data: b"first".to_vec() }));
    assert_eq!(world.server.address(session), Some(address(1)));
}

#[test]
fn an_unknown_connection_id_is_dropped_without_a_word() {
    let mut world = World::psk();
    world.device(1);
    world.speaks(address(1), b"x");
    let (_, mut datagram) = world.sent.last().unwrap().clone();
    let answers = world.answered.len();
    datagram[11] ^= 1;
    world.server.handle_datagram(world.now, address(1), &datagram);
    world.settle();
    assert_eq!(world.answered.len(), answers);
}

#[test]
fn a_device_that_moves_to_the_address_of_another_ends_the_other() {
    let mut world = World::psk();
    let (one, other) = (world.device(1), world.device(2));
    world.clients.remove(&address(2));
    world.moves(address(1), address(2));
    assert!(world.speaks(address(2), b"mine now"));
    assert_eq!(world.server.address(one), Some(address(2)));
    assert_eq!(world.server.address(other), None);
    assert!(world.answers(one, b"yours"));
}
