//! What strangers send, in quantity: nothing of it stays, and nothing of ours can be guessed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use updraft_lwm2m::Moment;
use updraft_lwm2m::coap::option::{View, number};
use updraft_lwm2m::coap::{
    Block, BlockSize, Code, Config, Event, Message, MessageType, Method, Peer, Request, Response, Room, Token,
};

use super::pair::{End, Pair, Weather};

/// A request of a number, without options.
fn numbered(id: u16) -> Vec<u8> {
    let token = Token::new(&id.to_be_bytes()).expect("2 bytes");
    let (kind, code) = (MessageType::Confirmable, Method::Get.code());
    Message { kind, code, id, token, options: View::EMPTY, payload: &[] }.encode()
}

#[test]
fn malformed_messages_leave_nothing_behind() {
    // What other implementations leaked or overran by (CVE-2019-9004, CVE-2020-12883, -12886, -12887, CVE-2021-41040).
    let bodies: [&[u8]; 9] = [
        &[0xe0, 0xff, 0xff],                   // an option number that wraps
        &[0xe0, 0xfe, 0x00, 0xe0, 0x01, 0x00], // by the second step
        &[0xbd, 0xff, b'x'],                   // an option longer than the message
        &[0xbe, 0xff, 0xff, b'x'],             // by a length of two bytes
        &[0xbe, 0xff],                         // whose length is cut off
        &[0xb1],                               // without its byte
        &[0xf1, b'x'],                         // reserved steps and lengths
        &[0x1f, b'x'],
        &[0xff], // a marker and nothing
    ];
    let mut pair = Pair::fair();
    for round in 0..2_000_u16 {
        let [high, low] = round.to_be_bytes();
        for body in bodies {
            for kind in [0x40, 0x50, 0x60, 0x70] {
                for code in [0x01, 0x02, 0x45] {
                    let datagram = [&[kind, code, high, low][..], body].concat();
                    assert!(Message::parse(&datagram).is_err(), "{datagram:02x?}");
                    pair.deliver(End::Far, &datagram);
                }
            }
            // A token that is longer than what follows, and lengths that are reserved (or extended, by RFC 8974).
            for length in [8, 9, 13, 14, 15] {
                pair.deliver(End::Far, &[&[0x40 | length, 0x01, high, low][..], body].concat());
            }
        }
    }
    assert!(pair.said_by(End::Far).iter().all(|said| said.kind == MessageType::Reset));
    assert!(pair.said.len() <= 8, "{} resets within a second", pair.said.len());
    assert_eq!((pair.far.held_bytes(), pair.far.poll_timeout(), pair.events_now()), (0, None, None));
    // And it hears as before.
    pair.near.request(pair.now, Request::new(Method::Get, "/3")).expect("taken");
    assert!(matches!(pair.next_event(), Some((End::Far, Event::Request { .. }))));
}

#[test]
fn only_the_last_messages_of_a_peer_are_remembered() {
    let mut pair = Pair::fair();
    let most = u16::try_from(Config::default().recent_max).expect("few");
    let told = |pair: &mut Pair, id: u16| {
        pair.deliver(End::Far, &numbered(id));
        let Some((End::Far, Event::Request { exchange, .. })) = pair.events_now() else { return false };
        pair.far.respond(pair.now, exchange, Response::content(0, vec![7; 100]));
        pair.collect();
        true
    };
    for id in 0..1_000 {
        assert!(told(&mut pair, id), "{id}");
    }
    assert!(pair.far.held_bytes() < 4_096, "{}", pair.far.held_bytes());
    for id in 1_000 - most..1_000 {
        assert!(!told(&mut pair, id), "{id} is remembered, and answered again without being told");
    }
    assert!(told(&mut pair, 1_000 - most - 1), "what is older than those is another message");
}

#[test]
fn tokens_are_eight_bytes_that_follow_from_nothing_that_was_said() {
    let (mut tokens, mut firsts) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..50 {
        let mut pair = Pair::new(seed, Weather::FAIR, Config::default(), Config::default());
        for _ in 0..20 {
            let id = pair.near.request(pair.now, Request::new(Method::Get, "/3")).expect("taken");
            pair.collect();
            pair.near.cancel(pair.now, id);
        }
        let said = pair.said_by(End::Near);
        assert_eq!(said.len(), 20);
        firsts.insert(said[0].id);
        for message in said {
            assert_eq!(message.token.as_bytes().len(), 8, "RFC 7252 §5.3.1 asks for 32 random bits at least");
            tokens.insert(message.token.as_bytes().to_vec());
        }
    }
    assert_eq!(tokens.len(), 1_000, "none came twice");
    for at in 0..8 {
        let values: BTreeSet<u8> = tokens.iter().map(|token| token[at]).collect();
        assert!(values.len() > 200, "byte {at} takes {} values of 256", values.len());
    }
    assert!(firsts.len() > 45, "message IDs begin somewhere: {} of 50", firsts.len());
}

#[test]
fn a_peer_that_asks_without_end_costs_no_more_than_one_that_asks_a_little() {
    let mut pair = Pair::fair();
    let mut most = 0;
    for id in 0..20_000_u16 {
        pair.deliver(End::Far, &numbered(id));
        most = most.max(pair.far.held_bytes());
    }
    assert!(most < 10_000, "{most}");
    // What the application has not answered is forgotten in time.
    pair.pass(Duration::from_secs(300));
    assert_eq!((pair.far.held_bytes(), pair.far.poll_timeout()), (0, None));
    let refused = pair.said_by(End::Far).iter().filter(|said| said.code == Code::SERVICE_UNAVAILABLE).count();
    assert!(refused > 19_000, "{refused}");
}

#[test]
fn unfinished_bodies_of_all_peers_together_have_only_so_much_room() {
    let config = Arc::new(Config { bodies: Room::new(100), ..Config::default() });
    let mut peers: Vec<_> = (0..5).map(|seed| Peer::new([seed; 32], config.clone())).collect();
    let mut id = 0;
    let mut says = |peers: &mut Vec<Peer>, at: usize, now: u64, number: u32, more: bool| {
        let mut options = Request::new(Method::Post, "/rd").options;
        options.push_uint(number::BLOCK1, Block { number, more, size: BlockSize::MIN }.value());
        id += 1;
        let (kind, code, token) = (MessageType::Confirmable, Method::Post.code(), Token::EMPTY);
        let message = Message { kind, code, id, token, options: options.view(), payload: &[7; 16] };
        let now = Moment(now);
        peers[at].handle_timeout(now);
        peers[at].handle_datagram(now, &message.encode());
        let answer = peers[at].poll_transmit();
        answer.map(|answer| Message::parse(&answer).expect("a message").code)
    };
    for number in 0..3 {
        for at in 0..2 {
            assert_eq!(says(&mut peers, at, 1, number, true), Some(Code::CONTINUE));
        }
    }
    assert_eq!(config.bodies.taken(), 96);
    assert_eq!(says(&mut peers, 2, 1, 0, true), Some(Code::SERVICE_UNAVAILABLE), "there are four bytes left");
    assert_eq!(says(&mut peers, 2, 1, 1, true), Some(Code::REQUEST_ENTITY_INCOMPLETE), "it is not kept");
    // Whoever was let in comes to an end, and gives back what it took; so does who begins again, falls silent, or goes.
    assert_eq!(says(&mut peers, 0, 1, 3, false), None, "the application is asked");
    assert!(
        matches!(peers[0].poll_event(), Some(Event::Request { request, .. }) if request.payload.len() == 64)
    );
    assert_eq!(config.bodies.taken(), 48);
    assert_eq!(says(&mut peers, 1, 1, 0, true), Some(Code::CONTINUE));
    assert_eq!(config.bodies.taken(), 16);
    assert_eq!(says(&mut peers, 2, 1, 0, true), Some(Code::CONTINUE));
    assert_eq!(says(&mut peers, 3, 200_000, 0, true), Some(Code::CONTINUE));
    peers[1].handle_timeout(Moment(248_000));
    peers[2].handle_timeout(Moment(248_000));
    assert_eq!(config.bodies.taken(), 16);
    drop(peers);
    assert_eq!(config.bodies.taken(), 0);
}
