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

/// A ClientHello that asks to go on with a session that there was, by its number and by a ticket (RFC 5246 §7.4.1.2, RFC 5077).
fn resuming(hello: &[u8]) -> Vec<u8> {
    const BODY_AT: usize = 13 + 12;
    let number_at = BODY_AT + 2 + 32;
    assert_eq!(hello[number_at], 0, "this end never asks so itself");
    let mut resuming = hello[..number_at].to_vec();
    resuming.push(32);
    resuming.extend([0xab; 32]);
    let rest = &hello[number_at + 1..];
    let suites_at = 1 + usize::from(rest[0]);
    let compressions_at =
        suites_at + 2 + usize::from(u16::from_be_bytes([rest[suites_at], rest[suites_at + 1]]));
    let extensions_at = compressions_at + 1 + usize::from(rest[compressions_at]);
    let ticket = [&[0, 35, 0, 100][..], &[0xcd; 100]].concat();
    let extensions = u16::from_be_bytes([rest[extensions_at], rest[extensions_at + 1]]) + 104;
    resuming.extend(&rest[..extensions_at]);
    resuming.extend(extensions.to_be_bytes());
    resuming.extend(&rest[extensions_at + 2..]);
    resuming.extend(ticket);
    let body = u16::try_from(resuming.len() - BODY_AT).unwrap();
    resuming[11..13].copy_from_slice(&(body + 12).to_be_bytes());
    for length_at in [14, 22] {
        resuming[length_at + 1..length_at + 3].copy_from_slice(&body.to_be_bytes());
    }
    resuming
}

#[test]
fn a_client_hello_that_asks_to_resume_is_asked_for_a_cookie_and_shakes_hands_in_full() {
    // Californium answered such a one with its whole flight, to whatever address it named (CVE-2022-2576).
    let mut world = World::psk();
    world.device(1);
    world.speaks(address(1), b"x");
    let first = resuming(&first_hello(&world));
    for number in 2..1_000 {
        let answer = answers(&mut world, address(number), &first);
        assert_eq!(answer.len(), 1);
        assert!(answer[0].len() <= first.len(), "{} bytes for {}", answer[0].len(), first.len());
        assert_eq!(answer[0][13], 3, "HelloVerifyRequest");
        assert_eq!(world.server.counts().half_open, 0);
    }
    let (_, second) = hello_with_cookie(&mut world, address(2));
    let answer = answers(&mut world, address(2), &resuming(&second)).concat();
    assert_eq!((answer[0], answer[13], world.server.counts().half_open), (22, 2, 1), "ServerHello");
    assert_ne!(
        answer[13 + 12 + 2 + 32..][..33],
        [&[32][..], &[0xab; 32]].concat(),
        "of a session of its own"
    );
    assert!(
        !answer.windows(13).any(|record| record[..5] == [20, 0xfe, 0xfd, 0, 0]),
        "and nothing is skipped"
    );
}

/// A record that nobody protected.
fn forged(kind: u8, epoch: u16, number: u64, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind, 0xfe, 0xfd][..], &epoch.to_be_bytes(), &number.to_be_bytes()[2..], &length, body].concat()
}

/// The largest number a record can have.
const NUMBER_MAX: u64 = (1 << 48) - 1;

#[test]
fn a_forged_record_of_a_far_epoch_or_number_shuts_no_session_out() {
    // tinydtls took the word of such records, and heard its peers no more (CVE-2021-42141, CVE-2021-42142).
    let mut world = World::psk();
    let session = world.device(1);
    world.speaks(address(1), b"x");
    let of_device = world.sent.last().unwrap().1.clone();
    for epoch in [0, 1, 2, 3, u16::MAX] {
        for number in [0, 1, 1 << 20, NUMBER_MAX] {
            for kind in [20, 21, 22, 23] {
                for body in [&[1][..], &[0; 12], &[0; 64]] {
                    let datagram = forged(kind, epoch, number, body);
                    world.server.handle_datagram(world.now, address(1), &datagram);
                }
            }
            // With the session's connection ID, which whoever listens on the way has seen.
            let mut with_cid = of_device.clone();
            with_cid[3..5].copy_from_slice(&epoch.to_be_bytes());
            with_cid[5..11].copy_from_slice(&number.to_be_bytes()[2..]);
            if with_cid != of_device {
                world.server.handle_datagram(world.now, address(1), &with_cid);
                world.server.handle_datagram(world.now, address(666), &with_cid);
            }
        }
    }
    world.settle();
    assert_eq!(world.server.address(session), Some(address(1)));
    assert!(world.speaks(address(1), b"up") && world.answers(session, b"down"));
}

#[test]
fn records_of_an_epoch_that_has_not_begun_do_not_end_a_handshake() {
    let mut world = World::psk();
    world.network = Box::new(|way, datagram| way == Way::ToClient || datagram[13] == 1);
    world.connect(address(1), &client_config("device-1"));
    assert_eq!(world.server.counts().half_open, 1);
    for epoch in [1, 2, u16::MAX] {
        for number in [0, 1, NUMBER_MAX] {
            for kind in [20, 21, 22, 23] {
                world.server.handle_datagram(world.now, address(1), &forged(kind, epoch, number, &[1; 40]));
            }
        }
    }
    world.network = Box::new(|_, _| true);
    world.pass(Duration::from_secs(3));
    assert!(world.session_at(address(1)).is_some(), "{:?}", world.events);
    assert!(world.speaks(address(1), b"up"));
}

#[test]
fn a_handshake_that_was_spoilt_from_outside_is_begun_again() {
    // Until it is proven who is who, anybody who knows a device's address can speak for it: it costs an attempt, no more.
    for number in [50, NUMBER_MAX] {
        let mut world = World::psk();
        world.network = Box::new(|way, datagram| way == Way::ToClient || datagram[13] == 1);
        world.connect(address(1), &client_config("device-1"));
        for kind in [20, 21, 22] {
            world.server.handle_datagram(world.now, address(1), &forged(kind, 0, number, &[2; 40]));
        }
        world.settle();
        world.network = Box::new(|_, _| true);
        world.connect(address(1), &client_config("device-1"));
        assert!(world.speaks(address(1), b"up"), "{number}: {:?}", world.events);
        assert_eq!(world.server.counts().half_open, 0);
    }
}
