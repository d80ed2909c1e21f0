//! Any sequence of datagrams, moments, losses and commands between two CoAP peers, and from a stranger in between: nothing
//! panics, every request of ours ends once, what a peer holds is bounded, and all of it comes to rest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use updraft_lwm2m::Moment;
use updraft_lwm2m::coap::{
    BlockSize, Code, Config, Event, Exchange, Method, Observe, Observer, Peer, Reliability, Request,
    RequestId, Response,
};

/// Smaller than in service: what is larger is found to be so by the same code.
const BODY_BYTES_MAX: usize = 512;
/// What a peer may hold: two bodies, its queue, its recent answers, and what it has to say.
const HELD_BYTES_MAX: usize = 64 * 1024;
/// Moments after which everything has come to rest.
const STEPS_MAX: usize = 20_000;

/// What an application answers when it has nothing to give.
const CODES: [Code; 4] =
    [Code::CHANGED, Code::NOT_FOUND, Code::REQUEST_ENTITY_INCOMPLETE, Code::REQUEST_ENTITY_TOO_LARGE];

/// One of the two, and its application.
struct Side {
    peer: Peer,
    open: BTreeSet<RequestId>,
    asked: VecDeque<Exchange>,
    observers: Vec<Observer>,
    inbox: VecDeque<Vec<u8>>,
}

impl Side {
    fn new(seed: u8) -> Self {
        let config = Config {
            request_bytes_max: BODY_BYTES_MAX,
            response_bytes_max: BODY_BYTES_MAX,
            block_size: BlockSize::at_most(64),
            streamed: vec!["/5/0/0".to_owned()],
            ..Config::default()
        };
        Self {
            peer: Peer::new([seed; 32], Arc::new(config)),
            open: BTreeSet::new(),
            asked: VecDeque::new(),
            observers: Vec::new(),
            inbox: VecDeque::new(),
        }
    }

    /// Takes what there is to tell; gives what there is to send.
    fn collect(&mut self, now: Moment) -> Vec<Vec<u8>> {
        while let Some(event) = self.peer.poll_event() {
            match event {
                Event::Request { exchange, request } => {
                    assert!(request.payload.len() <= BODY_BYTES_MAX.max(1024));
                    self.asked.push_back(exchange);
                }
                Event::Response { id, response } => {
                    assert!(self.open.remove(&id), "ended once");
                    assert!(response.payload.len() <= 2048);
                }
                Event::Failed { id, .. } | Event::Pong { id } => assert!(self.open.remove(&id), "ended once"),
                Event::WantBlock { id, offset, length } => {
                    assert!(self.open.contains(&id) && length <= 64);
                    self.peer.supply(now, id, &vec![offset as u8; length]).expect("wanted");
                }
                Event::Notification { response, .. } => assert!(response.payload.len() <= 2048),
                Event::Unobserved { observer } => self.observers.retain(|kept| *kept != observer),
            }
        }
        assert!(self.peer.held_bytes() <= HELD_BYTES_MAX, "{}", self.peer.held_bytes());
        std::iter::from_fn(|| self.peer.poll_transmit()).collect()
    }

    /// A command of the application's.
    fn command(&mut self, now: Moment, verb: u8, size: u8) {
        let length = usize::from(size) * 8;
        let id = match verb % 10 {
            0 => self.peer.request(now, Request::new(Method::Get, "/3")),
            1 => self.peer.request(now, Request::new(Method::Get, "/3").with_observe(Observe::Register)),
            2 => {
                self.peer.request(now, Request::new(Method::Post, "/rd").with_payload(40, vec![size; length]))
            }
            3 => self.peer.push(now, Request::new(Method::Put, "/5/0/0"), length as u64),
            4 => self.peer.ping(now),
            5 => return self.answer(now, Response::content(0, vec![size; length])),
            6 => return self.answer(now, Response::new(Code::CONTINUE)),
            7 => return self.answer(now, Response::new(CODES[usize::from(size) % CODES.len()])),
            8 => return self.notify(now, Response::content(0, vec![size; length]), size),
            _ => {
                if let Some(id) = self.open.pop_first() {
                    self.peer.cancel(now, id);
                }
                return;
            }
        };
        self.open.extend(id);
    }

    fn answer(&mut self, now: Moment, response: Response) {
        if let Some(exchange) = self.asked.pop_front() {
            self.observers.extend(self.peer.accept_observer(now, exchange, response));
        }
    }

    fn notify(&mut self, now: Moment, response: Response, size: u8) {
        let reliability =
            if size.is_multiple_of(2) { Reliability::Confirmable } else { Reliability::NonConfirmable };
        if let Some(observer) = self.observers.first() {
            let _full = self.peer.notify(now, *observer, response, reliability);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut now = Moment(1);
    let mut sides = [Side::new(1), Side::new(2)];
    let mut rest = bytes;
    while let [verb, size, after @ ..] = rest {
        rest = after;
        let side = usize::from(verb >> 7);
        match verb & 0x7F {
            // What was said is heard, lost, or heard again later.
            0..40 => hear(&mut sides[side], now),
            40..48 => drop(sides[side].inbox.pop_front()),
            48..56 => {
                let again = sides[side].inbox.front().cloned();
                sides[side].inbox.extend(again);
            }
            // A stranger's bytes, or one of theirs with a byte changed.
            56..72 => {
                let (forged, after) = rest.split_at(usize::from(*size).min(rest.len()));
                rest = after;
                sides[side].peer.handle_datagram(now, forged);
            }
            72..80 => {
                if let Some(byte) = sides[side].inbox.front_mut().and_then(|next| next.last_mut()) {
                    *byte ^= *size;
                }
            }
            80..96 => {
                now = now.plus(Duration::from_millis(u64::from(*size) * 40));
                sides.iter_mut().for_each(|side| side.peer.handle_timeout(now));
            }
            command => sides[side].command(now, command, *size),
        }
        exchange(&mut sides, now);
    }
    rest_at_last(sides, now);
});

/// One end hears the next datagram.
fn hear(side: &mut Side, now: Moment) {
    if let Some(datagram) = side.inbox.pop_front() {
        side.peer.handle_datagram(now, &datagram);
    }
}

/// What each end says goes to the other's inbox.
fn exchange(sides: &mut [Side; 2], now: Moment) {
    let [near, far] = sides;
    far.inbox.extend(near.collect(now));
    near.inbox.extend(far.collect(now));
    // A network that keeps no more than this loses the rest.
    near.inbox.truncate(64);
    far.inbox.truncate(64);
}

/// Nobody asks or hears any more: everything ends, and nothing is left.
fn rest_at_last(mut sides: [Side; 2], mut now: Moment) {
    for side in &mut sides {
        for _ in 0..STEPS_MAX {
            side.collect(now);
            let Some(due) = side.peer.poll_timeout() else { break };
            now = now.max(due);
            side.peer.handle_timeout(now);
        }
        assert_eq!(side.peer.poll_timeout(), None, "it comes to rest");
        assert!(side.open.is_empty(), "all that was asked has ended");
        assert!(side.peer.is_idle());
    }
}
