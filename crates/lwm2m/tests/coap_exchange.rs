//! Requests, answers, retransmission, duplicates, resets: the message layer between two peers.

mod coap_pair;

use coap_pair::{End, Pair, Weather};
use std::time::Duration;
use updraft_lwm2m::coap::{
    Code, Config, Event, Exchange, Failure, Message, MessageType, Method, Refused, Request, Response, Token,
};

/// A GET of "/3/0/3" with a token of its own, as a datagram.
fn get(kind: MessageType, id: u16) -> Vec<u8> {
    let request = Request::new(Method::Get, "/3/0/3");
    let token = Token::new(&id.to_be_bytes()).expect("2 bytes");
    let options = request.options.view();
    Message { kind, code: Method::Get.code(), id, token, options, payload: &[] }.encode()
}

/// The next event, which is a request.
fn asked(pair: &mut Pair) -> (End, Exchange, Request) {
    match pair.next_event() {
        Some((end, Event::Request { exchange, request })) => (end, exchange, request),
        other => panic!("not a request: {other:?}"),
    }
}

/// Lets the far end answer what it is asked with the path of the request, until the near end hears a response or a failure.
fn echo_until_answered(pair: &mut Pair) -> Event {
    loop {
        match pair.next_event() {
            Some((End::Far, Event::Request { exchange, request })) => {
                let (now, answer) = (pair.now, Response::content(0, request.path().into_bytes()));
                pair.far.respond(now, exchange, answer);
            }
            Some((End::Near, event)) => return event,
            other => panic!("neither a request nor an answer: {other:?}"),
        }
    }
}

#[test]
fn a_request_is_answered_in_its_acknowledgement() {
    let mut pair = Pair::fair();
    let id = pair.near.request(pair.now, Request::new(Method::Get, "/3/0/3")).expect("taken");
    let Event::Response { id: answered, response } = echo_until_answered(&mut pair) else {
        panic!("no answer")
    };
    assert_eq!((answered, response.payload.as_slice()), (id, b"/3/0/3".as_slice()));
    assert_eq!(pair.said.len(), 2);
    assert_eq!(pair.said_by(End::Far)[0].kind, MessageType::Acknowledgement);
    assert_eq!(pair.next_event(), None);
}

#[test]
fn an_answer_that_takes_long_comes_in_a_message_of_its_own() {
    let mut pair = Pair::fair();
    let id = pair.near.request(pair.now, Request::new(Method::Post, "/5/0/2")).expect("taken");
    let (end, exchange, _) = asked(&mut pair);
    assert_eq!(end, End::Far);
    // Longer than the delay of an acknowledgement.
    pair.pass(Duration::from_secs(20));
    pair.far.respond(pair.now, exchange, Response::new(Code::CHANGED));
    let Some((End::Near, Event::Response { id: answered, response })) = pair.next_event() else { panic!() };
    assert_eq!((answered, response.code), (id, Code::CHANGED));
    let kinds: Vec<_> = pair.said_by(End::Far).iter().map(|message| (message.kind, message.code)).collect();
    assert_eq!(
        kinds,
        [(MessageType::Acknowledgement, Code::EMPTY), (MessageType::Confirmable, Code::CHANGED)]
    );
    assert_eq!(pair.next_event(), None);
}

#[test]
fn requests_go_one_at_a_time_and_in_order_and_no_more_wait_than_may() {
    let mut pair = Pair::fair();
    let config = Config::default();
    let ids: Vec<_> = (0..=config.queue_max)
        .map(|at| pair.near.request(pair.now, Request::new(Method::Get, &format!("/{at}"))).expect("taken"))
        .collect();
    assert_eq!(pair.near.request(pair.now, Request::new(Method::Get, "/x")), Err(Refused::Full));
    assert_eq!(pair.near.ping(pair.now), Err(Refused::Full));
    pair.collect();
    assert_eq!(pair.said.len(), 1);
    for expected in ids {
        let Event::Response { id, .. } = echo_until_answered(&mut pair) else { panic!("no answer") };
        assert_eq!(id, expected);
    }
    assert!(pair.near.is_idle());
}

#[test]
fn a_silent_peer_is_asked_five_times_with_growing_waits_and_then_given_up() {
    let mut pair =
        Pair::new(3, Weather { lost: 1000, ..Weather::FAIR }, Config::default(), Config::default());
    let begun = pair.now;
    let id = pair.near.request(pair.now, Request::new(Method::Get, "/")).expect("taken");
    assert_eq!(pair.next_event(), Some((End::Near, Event::Failed { id, failure: Failure::Silent })));
    assert_eq!(pair.said.len(), 5);
    let took = pair.now.since(begun).as_secs();
    // MAX_TRANSMIT_WAIT (RFC 7252 §4.8.2): 62 s without the random factor, 93 s with the most of it.
    assert!((62..=93).contains(&took), "{took}");
    assert!(pair.near.is_idle());
}

#[test]
fn a_repeated_request_is_told_once_and_answered_the_same_again() {
    let mut pair = Pair::fair();
    let datagram = get(MessageType::Confirmable, 77);
    pair.deliver(End::Far, &datagram);
    pair.deliver(End::Far, &datagram);
    let (_, exchange, _) = asked(&mut pair);
    assert!(pair.said.is_empty(), "not answered yet");
    pair.far.respond(pair.now, exchange, Response::content(0, vec![1]));
    pair.collect();
    pair.deliver(End::Far, &datagram);
    pair.deliver(End::Far, &datagram);
    assert_eq!(pair.said.len(), 3);
    assert!(pair.said.iter().all(|said| *said == pair.said[0]));
    assert!(!matches!(pair.next_event(), Some((End::Far, _))));
    // After EXCHANGE_LIFETIME the same ID is another message.
    pair.now = pair.now.plus(Duration::from_secs(248));
    pair.deliver(End::Far, &datagram);
    asked(&mut pair);
}

#[test]
fn a_ping_is_answered_with_a_reset() {
    let mut pair = Pair::fair();
    let id = pair.near.ping(pair.now).expect("taken");
    assert_eq!(pair.next_event(), Some((End::Near, Event::Pong { id })));
    assert_eq!(pair.said_by(End::Far)[0].kind, MessageType::Reset);
}
