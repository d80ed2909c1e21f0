//! Datagrams of nobody's, and of somebody else's.

use std::net::SocketAddr;
use std::time::Duration;

use updraft_dtls::{Client, Event, Failure, Sessions};

use crate::world::{Way, World, address, client_config, server_config};

/// A source of numbers from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }
}

/// The first ClientHello of a device.
fn first_hello(world: &World) -> Vec<u8> {
    let mut client = Client::new(&client_config("device-1")).unwrap();
    client.connect(world.now).unwrap();
    client.poll_transmit().unwrap()
}

fn answers(world: &mut World, from: SocketAddr, datagram: &[u8]) -> Vec<Vec<u8>> {
    world.server.handle_datagram(world.now, from, datagram);
    std::iter::from_fn(|| world.server.poll_transmit())
        .map(|(to, datagram)| {
            assert_eq!(to, from, "an answer to somebody else");
            datagram
        })
        .collect()
}

#[test]
fn keepalives_and_noise_are_dropped_without_a_word() {
    let mut world = World::psk();
    let session = world.device(1);
    for datagram in [&[][..], &[0], &[0; 13], &[0xff; 100], b"GET / HTTP/1.1\r\n\r\n", &[0x40, 1, 0, 1]] {
        for from in [address(1), address(666)] {
            assert_eq!(answers(&mut world, from, datagram), Vec::<Vec<u8>>::new());
        }
    }
    assert!(world.speaks(address(1), b"up") && world.answers(session, b"down"));
}

#[test]
fn a_record_of_an_unknown_peer_is_dropped_without_a_word() {
    let mut world = World::psk();
    world.device(1);
    world.speaks(address(1), b"x");
    for (_, datagram) in world.sent.clone() {
        // Its ClientHellos are somebody's at another address, who is asked for a cookie. All else is nobody's.
        if datagram[0] != 22 || datagram[13] != 1 {
            let mut of_a_stranger = datagram.clone();
            if datagram[0] == 25 {
                of_a_stranger[12] ^= 0xff;
            }
            assert_eq!(answers(&mut world, address(666), &of_a_stranger), Vec::<Vec<u8>>::new());
        }
    }
}

#[test]
fn a_client_hello_without_a_cookie_leaves_nothing_behind_and_is_not_amplified() {
    let mut world = World::psk();
    let hello = first_hello(&world);
    for number in 0..10_000 {
        let answer = answers(&mut world, address(number), &hello);
        assert_eq!(answer.len(), 1);
        assert!(answer[0].len() <= hello.len(), "{} bytes for {}", answer[0].len(), hello.len());
        assert_eq!(answer[0][13], 3, "HelloVerifyRequest");
    }
    assert_eq!(world.server.counts(), Default::default());
    assert_eq!(world.server.poll_timeout(), None, "there is nothing to wait for");
    assert_eq!(world.server.poll_event(), None);
}

/// The ClientHello that brings the cookie back, from this address.
fn hello_with_cookie(world: &mut World, from: SocketAddr) -> (Client, Vec<u8>) {
    let mut client = Client::new(&client_config("device-1")).unwrap();
    client.connect(world.now).unwrap();
    let hello = client.poll_transmit().unwrap();
    for answer in answers(world, from, &hello) {
        client.handle_datagram(world.now, &answer);
    }
    let second = client.poll_transmit().unwrap();
    (client, second)
}

#[test]
fn a_cookie_is_good_at_its_own_address_only() {
    let mut world = World::psk();
    let (_, hello) = hello_with_cookie(&mut world, address(1));
    for elsewhere in [address(2), "127.0.0.2:10001".parse().unwrap(), "[::1]:10001".parse().unwrap()] {
        let answer = answers(&mut world, elsewhere, &hello);
        assert_eq!((answer.len(), answer[0][13]), (1, 3), "another HelloVerifyRequest");
        assert_eq!(world.server.counts().half_open, 0);
    }
    assert!(!answers(&mut world, address(1), &hello).is_empty());
    assert_eq!(world.server.counts().half_open, 1);
}

#[test]
fn a_cookie_is_good_for_a_minute_only() {
    let mut world = World::psk();
    let (_, hello) = hello_with_cookie(&mut world, address(1));
    world.now += Duration::from_secs(62);
    let answer = answers(&mut world, address(1), &hello);
    assert_eq!((answer.len(), answer[0][13]), (1, 3), "another HelloVerifyRequest");
    assert_eq!(world.server.counts().half_open, 0);
}

#[test]
fn a_cookie_of_another_server_is_good_for_nothing() {
    let mut other = World::psk();
    let (_, hello) = hello_with_cookie(&mut other, address(1));
    let mut world = World::psk();
    answers(&mut world, address(1), &hello);
    assert_eq!(world.server.counts().half_open, 0);
}

#[test]
fn a_client_hello_hidden_behind_another_record_is_treated_as_any() {
    let mut world = World::psk();
    let session = world.device(1);
    world.speaks(address(1), b"x");
    let mut datagram = world.sent.last().unwrap().1.clone();
    datagram.extend(hello_with_cookie(&mut world, address(1)).1);
    world.server.handle_datagram(world.now, address(1), &datagram);
    world.settle();
    assert_eq!(world.server.counts().half_open, 1);
    assert!(world.speaks(address(1), b"still here") && world.answers(session, b"so am I"));
}

#[test]
fn malformed_datagrams_end_nothing_and_leave_nothing() {
    let mut world = World::psk();
    let session = world.device(1);
    world.speaks(address(1), b"up");
    world.answers(session, b"down");
    let samples: Vec<_> =
        world.sent.iter().chain(&world.answered).map(|(_, datagram)| datagram.clone()).collect();
    let mut random = Random(7);
    for round in 0..20_000 {
        let mut datagram = samples[random.below(samples.len())].clone();
        for _ in 0..=random.below(4) {
            match random.below(3) {
                0 => {
                    let at = random.below(datagram.len().max(1));
                    datagram.truncate(at.max(1));
                }
                1 => {
                    let at = random.below(datagram.len());
                    datagram[at] = u8::try_from(random.below(256)).unwrap();
                }
                _ => datagram.extend(samples[random.below(samples.len())].clone()),
            }
        }
        // Some from the device's own address, some from others.
        let from =
            if round % 3 == 0 { address(1) } else { address(100 + u16::try_from(random.below(50)).unwrap()) };
        world.server.handle_datagram(world.now, from, &datagram);
        while world.server.poll_transmit().is_some() {}
    }
    world.collect();
    world.clients.retain(|at, _| *at == address(1));
    assert!(world.server.sessions().any(|known| known == session), "the session was ended by noise");
    assert!(world.speaks(address(1), b"still here"));
    world.pass(Duration::from_secs(100));
    assert_eq!(world.server.counts().half_open, 0);
}

#[test]
fn malformed_answers_do_not_end_a_device() {
    let mut world = World::psk();
    let session = world.device(1);
    world.answers(session, b"down");
    let samples: Vec<_> = world.answered.iter().map(|(_, datagram)| datagram.clone()).collect();
    let mut random = Random(11);
    let now = world.now;
    for _ in 0..20_000 {
        let mut datagram = samples[random.below(samples.len())].clone();
        let at = random.below(datagram.len());
        datagram[at] ^= u8::try_from(1 + random.below(255)).unwrap();
        let cut = random.below(datagram.len() * 2).clamp(1, datagram.len());
        world.clients.get_mut(&address(1)).unwrap().handle_datagram(now, &datagram[..cut]);
    }
    world.settle();
    assert!(world.answers(session, b"still here"));
}

#[test]
fn failed_handshakes_are_not_counted_for_ever() {
    let mut config = server_config();
    config.half_open_max = 4;
    let mut world = World::new(config);
    for round in 0..20 {
        // Wrong keys, strangers, and those who fall silent halfway: more than there is room for.
        world.connect(address(1), &client_config("stranger"));
        world.network = Box::new(|way, datagram| way == Way::ToClient || datagram[13] == 1);
        for number in 2..8 {
            world.connect(address(number), &client_config("device-1"));
        }
        assert_eq!(world.server.counts().half_open, 4, "round {round}");
        world.network = Box::new(|_, _| true);
        world.clients.clear();
        world.pass(Duration::from_secs(90));
        assert_eq!(world.server.counts().half_open, 0, "round {round}");
    }
    let timeouts = world.failures().iter().filter(|failure| **failure == Failure::Timeout).count();
    assert_eq!(timeouts, 80);
    world.device(9);
}

#[test]
fn an_alert_of_nobodys_ends_no_session() {
    let mut world = World::psk();
    let session = world.device(1);
    for epoch in 0..3 {
        let forged = [21, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 1, 0, 0, 2, 2, 40];
        world.server.handle_datagram(world.now, address(1), &forged);
    }
    world.settle();
    assert!(!world.events.iter().any(|event| matches!(event, Event::Closed { .. })));
    assert!(world.speaks(address(1), b"up") && world.answers(session, b"down"));
}
