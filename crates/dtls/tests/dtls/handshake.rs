//! Handshakes with pre-shared keys, on good and bad networks.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use updraft_dtls::{
    ClientCredential, ClientEvent, CloseReason, Error, Event, Failure, Identity, PreSharedKey, Sessions,
};

use crate::world::{World, address, client_config, server_config};

#[test]
fn a_device_with_the_right_key_connects_and_both_ends_speak() {
    let mut world = World::psk();
    let session = world.device(1);
    let identity = Identity::Psk(b"device-1".to_vec());
    assert_eq!(world.events, [Event::Connected { session, address: address(1), identity: identity.clone() }]);
    assert_eq!(world.client_events, [(address(1), ClientEvent::Connected)]);
    assert_eq!(world.server.identity(session), Some(&identity));
    assert!(world.speaks(address(1), b"up"));
    assert!(world.answers(session, b"down"));
    assert!(world.speaks(address(1), &[7; 1152]), "the longest message that CoAP recommends");
    assert!(world.answers(session, &[8; 1152]));
}

#[test]
fn a_wrong_key_is_refused_and_both_ends_know_why() {
    let mut world = World::psk();
    let mut config = client_config("device-1");
    config.credential =
        ClientCredential::Psk(PreSharedKey { identity: b"device-1".to_vec(), key: b"another".to_vec() });
    world.connect(address(1), &config);
    assert_eq!(world.failures(), [Failure::WrongKey]);
    assert_eq!(world.refusals(), [Failure::Alert(20)], "bad_record_mac");
    assert_eq!(world.server.counts(), Default::default());
}

#[test]
fn an_unknown_identity_is_told_so() {
    let mut world = World::psk();
    world.connect(address(1), &client_config("stranger"));
    assert_eq!(world.failures(), [Failure::UnknownIdentity]);
    assert_eq!(world.refusals(), [Failure::Alert(115)], "unknown_psk_identity");
    let claimed = Some(Identity::Psk(b"stranger".to_vec()));
    assert!(matches!(&world.events[0], Event::Refused { claimed: who, .. } if *who == claimed));
}

#[test]
fn a_key_that_cannot_be_looked_up_now_is_answered_with_silence() {
    let mut world = World::psk();
    world.connect(address(1), &client_config("later-1"));
    assert_eq!(world.failures(), [Failure::Unavailable]);
    world.pass(Duration::from_secs(300));
    assert_eq!(world.refusals(), [Failure::Timeout], "the device was not told that it is unknown");
}

#[test]
fn a_key_of_a_length_that_cannot_be_is_answered_with_silence_and_named() {
    for length in [0, updraft_dtls::KEY_BYTES_MAX + 1, 100] {
        let config =
            updraft_dtls::ServerConfig::psk(Box::new(move |_| updraft_dtls::Lookup::Key(vec![1; length])));
        let mut world = World::new(config);
        world.connect(address(1), &client_config("device-1"));
        assert_eq!(world.failures(), [Failure::KeyLength], "{length}");
        assert_eq!(world.refusals(), [], "{length}");
    }
}

#[test]
fn the_longest_key_and_the_longest_identity_are_good() {
    assert_eq!(updraft_dtls::KEY_BYTES_MAX, 64, "LwM2M Transport 1.1.1 §5.2.8");
    let (identity, key) = (vec![0xff; 128], vec![1; updraft_dtls::KEY_BYTES_MAX]);
    let known = key.clone();
    let config = updraft_dtls::ServerConfig::psk(Box::new(move |_| updraft_dtls::Lookup::Key(known.clone())));
    let mut world = World::new(config);
    let mut client = client_config("device-1");
    client.credential = ClientCredential::Psk(PreSharedKey { identity: identity.clone(), key });
    world.connect(address(1), &client);
    let session = world.session_at(address(1)).unwrap();
    assert_eq!(world.server.identity(session), Some(&Identity::Psk(identity)));
}

/// Connects through a network that loses what `lost` says, and returns how many datagrams there were.
fn connects_although(lost: impl Fn(usize) -> bool + 'static, told: &str) -> usize {
    let mut world = World::psk();
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    world.network = Box::new(move |_, _| {
        counted.set(counted.get() + 1);
        !lost(counted.get() - 1)
    });
    world.connect(address(1), &client_config("device-1"));
    world.pass(Duration::from_secs(50));
    let session =
        world.session_at(address(1)).unwrap_or_else(|| panic!("{told}: no session, {:?}", world.events));
    let shaken = count.get();
    world.network = Box::new(|_, _| true);
    assert!(world.clients[&address(1)].is_connected(), "{told}");
    assert!(world.speaks(address(1), b"up") && world.answers(session, b"down"), "{told}");
    assert_eq!(world.server.counts().half_open, 0, "{told}");
    shaken
}

#[test]
fn a_handshake_completes_whichever_datagram_is_lost() {
    let count = connects_although(|_| false, "nothing lost");
    assert!(count >= 6, "{count} datagrams are too few for six flights");
    for nth in 0..count {
        connects_although(move |number| number == nth, &format!("datagram {nth} of {count} lost"));
    }
}

#[test]
fn a_handshake_completes_whichever_two_datagrams_are_lost() {
    let count = connects_although(|_| false, "nothing lost");
    for first in 0..count {
        for second in first + 1..count + 4 {
            let told = format!("datagrams {first} and {second} lost");
            connects_although(move |number| number == first || number == second, &told);
        }
    }
}

#[test]
fn repeated_datagrams_change_nothing() {
    let mut world = World::psk();
    world.device(1);
    let all: Vec<_> = world.sent.clone();
    for (from, datagram) in all {
        world.server.handle_datagram(world.now, from, &datagram);
    }
    world.settle();
    assert_eq!(world.server.counts().awake, 1);
    assert!(world.speaks(address(1), b"up"), "the session is still there");
}

#[test]
fn a_device_that_begins_anew_keeps_its_old_session_until_it_has_proved_itself() {
    let mut world = World::psk();
    let old = world.device(1);
    // The device restarts: another client at the same address. Its last flight does not arrive at first.
    let mut first = world.clients.remove(&address(1)).unwrap();
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    world.network = Box::new(move |way, _| {
        counted.set(counted.get() + usize::from(way == crate::world::Way::ToServer));
        counted.get() < 3
    });
    world.connect(address(1), &client_config("device-1"));
    assert_eq!(world.server.counts().half_open, 1);
    first.send(world.now, b"from before").unwrap();
    let datagram = first.poll_transmit().unwrap();
    world.server.handle_datagram(world.now, address(1), &datagram);
    world.collect();
    assert!(world.events.contains(&Event::Received { session: old, data: b"from before".to_vec() }));

    world.network = Box::new(|_, _| true);
    world.pass(Duration::from_secs(10));
    let new = world.session_at(address(1)).unwrap();
    assert_ne!(new, old);
    assert!(world.events.contains(&Event::Closed { session: old, reason: CloseReason::Replaced }));
    assert!(world.speaks(address(1), b"up"));
    assert_eq!(world.server.counts().awake, 1);
}

#[test]
fn a_client_hello_with_somebody_elses_key_does_not_end_a_session() {
    let mut world = World::psk();
    let session = world.device(1);
    let device = world.clients.remove(&address(1)).unwrap();
    world.connect(address(1), &client_config("stranger"));
    assert_eq!(world.failures(), [Failure::UnknownIdentity]);
    world.clients.insert(address(1), device);
    assert!(world.speaks(address(1), b"still here") && world.answers(session, b"so am I"));
}

#[test]
fn either_end_can_say_goodbye() {
    let mut world = World::psk();
    let session = world.device(1);
    world.server.close(world.now, session);
    world.settle();
    assert!(world.client_events.contains(&(address(1), ClientEvent::Closed(CloseReason::ByPeer))));
    assert!(world.events.contains(&Event::Closed { session, reason: CloseReason::Local }));
    assert!(world.server.send(world.now, session, b"too late").is_err());

    let session = world.device(2);
    world.clients.get_mut(&address(2)).unwrap().close(world.now);
    world.settle();
    assert!(world.events.contains(&Event::Closed { session, reason: CloseReason::ByPeer }));
    assert_eq!(world.server.counts(), Default::default());
}

#[test]
fn a_client_whose_handshake_failed_can_try_again() {
    let mut world = World::psk();
    world.network = Box::new(|_, _| false);
    world.connect(address(1), &client_config("device-1"));
    world.pass(Duration::from_secs(300));
    assert_eq!(world.refusals(), [Failure::Timeout]);
    world.network = Box::new(|_, _| true);
    let now = world.now;
    world.clients.get_mut(&address(1)).unwrap().connect(now).unwrap();
    world.settle();
    assert!(world.speaks(address(1), b"up"));
}

#[test]
fn what_does_not_fit_in_a_datagram_is_not_sent() {
    let mut world = World::psk();
    let session = world.device(1);
    assert!(world.server.send(world.now, session, &[0; 1300]).is_err());
    assert!(world.clients.get_mut(&address(1)).unwrap().send(world.now, &[0; 1300]).is_err());
    assert!(world.speaks(address(1), b"up") && world.answers(session, b"down"), "the session goes on");
}

#[test]
fn an_end_without_a_usable_credential_is_none() {
    let nobody = updraft_dtls::ServerConfig::new();
    assert_eq!(updraft_dtls::Server::new(nobody).unwrap_err(), Error::NoCredential);
    for (identity, key, error) in [
        (&b"device"[..], &[][..], Error::KeyLength),
        (b"device", &[1; updraft_dtls::KEY_BYTES_MAX + 1], Error::KeyLength),
        (b"", &[1; 16], Error::IdentityLength),
        (&[b'x'; 129], &[1; 16], Error::IdentityLength),
    ] {
        let mut config = client_config("device-1");
        config.credential =
            ClientCredential::Psk(PreSharedKey { identity: identity.to_vec(), key: key.to_vec() });
        assert_eq!(updraft_dtls::Client::new(&config).unwrap_err(), error);
    }
    drop(server_config());
}

#[test]
fn many_devices_connect_through_a_network_that_loses_every_fifth_datagram() {
    const DEVICES: u16 = 200;
    let mut world = World::psk();
    let mut seed = 1_u64;
    world.network = Box::new(move |_, _| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        !(seed >> 33).is_multiple_of(5)
    });
    for number in 1..=DEVICES {
        world.connect(address(number), &client_config(&format!("device-{number}")));
    }
    world.pass(Duration::from_secs(200));
    world.network = Box::new(|_, _| true);
    let now = world.now;
    for client in world.clients.values_mut().filter(|client| !client.is_connected()) {
        client.connect(now).unwrap();
    }
    world.settle();
    for number in 1..=DEVICES {
        let session = world.session_at(address(number)).unwrap();
        assert_eq!(
            world.server.identity(session),
            Some(&Identity::Psk(format!("device-{number}").into_bytes()))
        );
        assert!(world.speaks(address(number), b"up"), "{number}");
    }
    assert_eq!((world.server.counts().half_open, world.server.counts().awake), (0, usize::from(DEVICES)));
}

#[test]
fn both_ends_may_move_to_another_thread_and_many_may_work_at_once() {
    let threads: Vec<_> = (1..=4)
        .map(|number| {
            let mut server = updraft_dtls::Server::new(server_config()).unwrap();
            let mut client = updraft_dtls::Client::new(&client_config("device-1")).unwrap();
            std::thread::spawn(move || {
                client.connect(Duration::ZERO).unwrap();
                while !client.is_connected() {
                    while let Some(datagram) = client.poll_transmit() {
                        server.handle_datagram(Duration::ZERO, address(number), &datagram);
                    }
                    let (_, datagram) =
                        server.poll_transmit().expect("nothing is lost, so there is an answer");
                    client.handle_datagram(Duration::ZERO, &datagram);
                }
                let sessions: Box<dyn Sessions + Send> = Box::new(server);
                sessions
            })
        })
        .collect();
    for (number, thread) in (1..).zip(threads) {
        let mut sessions = thread.join().unwrap();
        assert!(
            matches!(sessions.poll_event(), Some(Event::Connected { address: at, .. }) if at == address(number))
        );
    }
}
