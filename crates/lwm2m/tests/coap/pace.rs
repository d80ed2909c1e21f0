//! How fast 1 MiB goes at a round trip of 50 ms, beside the standard's fixed waits, which other implementations keep.

use super::pair::{End, Pair, Weather};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use updraft_lwm2m::Moment;
use updraft_lwm2m::coap::block::serve;
use updraft_lwm2m::coap::option::View;
use updraft_lwm2m::coap::{
    BlockSize, Code, Config, Download, Event, Message, MessageType, Method, Peer, Progress, Request, Response,
};

const MIB: u64 = 1 << 20;

/// The waits of RFC 7252 §4.8 without an estimate.
fn fixed() -> Config {
    Config { ack_timeout_min: Duration::from_secs(2), ..Config::default() }
}

fn weather(lost: u64) -> Weather {
    Weather { lost, ..Weather::FAIR }
}

/// Seconds to push 1 MiB; a stalled block ends the process, for these losses are none.
fn push_seconds(lost: u64, near: Config) -> u64 {
    let far = Config { streamed: vec!["/5/0/0".to_owned()], ..Config::default() };
    let mut pair = Pair::new(lost, weather(lost), near, far);
    let begun = pair.now;
    let id = pair.near.push(pair.now, Request::new(Method::Put, "/5/0/0"), MIB).expect("taken");
    loop {
        match pair.next_event() {
            Some((End::Near, Event::WantBlock { length, .. })) => {
                pair.near.supply(pair.now, id, &vec![7; length]).expect("wanted");
            }
            Some((End::Far, Event::Request { exchange, request })) => {
                let more = request.block1().is_some_and(|block| block.more);
                let code = if more { Code::CONTINUE } else { Code::CHANGED };
                pair.far.respond(pair.now, exchange, Response::new(code));
            }
            Some((End::Near, Event::Response { response, .. })) => {
                assert_eq!(response.code, Code::CHANGED);
                return pair.now.since(begun).as_secs();
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Seconds to pull 1 MiB.
fn pull_seconds(lost: u64, near: Config) -> u64 {
    let mut pair = Pair::new(lost, weather(lost), near, Config::default());
    let begun = pair.now;
    let mut download = Download::new(Request::new(Method::Get, "/fw"), BlockSize::MAX);
    loop {
        pair.near.request(pair.now, download.next_request().expect("few")).expect("taken");
        let response = loop {
            match pair.next_event() {
                Some((End::Far, Event::Request { exchange, request })) => {
                    let slice = serve(request.block2(), MIB, BlockSize::MAX).expect("in the file");
                    let response = slice.response(42, &[1], vec![7; slice.length]);
                    pair.far.respond(pair.now, exchange, response);
                }
                Some((End::Near, Event::Response { response, .. })) => break response,
                other => panic!("{other:?}"),
            }
        };
        match download.handle_response(response) {
            Progress::Bytes(_) => {}
            Progress::Last(_) => return pair.now.since(begun).as_secs(),
            other @ (Progress::Restarted | Progress::Refused(_) | Progress::Broken) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_mebibyte_goes_as_fast_as_stop_and_wait_can_and_faster_than_with_fixed_waits_where_datagrams_are_lost() {
    for seconds in [push_seconds, pull_seconds] {
        // 1024 blocks of 50 ms.
        assert_eq!(seconds(0, Config::default()), 51);
        for lost in [20, 50] {
            let (ours, others) = (seconds(lost, Config::default()), seconds(lost, fixed()));
            assert!(ours * 4 < others * 3, "lost {lost}: {ours} s, with fixed waits {others} s");
        }
    }
}

/// Asks, and answers at once in the far end's name; gives the ID that was used, and when.
fn ask(peer: &mut Peer, now: &mut Moment) -> (u16, Moment) {
    peer.request(*now, Request::new(Method::Get, "/3")).expect("taken");
    let datagram = peer.poll_transmit().unwrap_or_else(|| {
        *now = peer.poll_timeout().expect("it pauses");
        peer.handle_timeout(*now);
        peer.poll_transmit().expect("it goes on")
    });
    let asked = Message::parse(&datagram).expect("a message");
    let (kind, code) = (MessageType::Acknowledgement, Code::CONTENT);
    let answer = Message { kind, code, options: View::EMPTY, ..asked }.encode();
    peer.handle_datagram(*now, &answer);
    assert!(matches!(peer.poll_event(), Some(Event::Response { .. })));
    (asked.id, *now)
}

#[test]
fn a_message_id_is_not_used_again_within_247_seconds_however_fast_the_network() {
    let mut peer = Peer::new([1; 32], Arc::new(Config::default()));
    let (mut now, mut used) = (Moment(1_000_000), BTreeMap::new());
    let begun = now;
    for _ in 0..70_000 {
        now = now.plus(Duration::from_millis(1));
        let (id, at) = ask(&mut peer, &mut now);
        let before: Option<Moment> = used.insert(id, at);
        assert!(before.is_none_or(|before| at.since(before) >= Duration::from_secs(247)));
    }
    assert!(now.since(begun) < Duration::from_secs(2 * 247));
}
