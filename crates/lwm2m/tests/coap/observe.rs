//! Observing, both ways (RFC 7641).

use super::pair::{End, Pair, Weather};
use std::time::Duration;
use updraft_lwm2m::coap::option::number;
use updraft_lwm2m::coap::{
    Code, Config, Event, Message, MessageType, Method, Observe, Observer, Options, Refused, Reliability,
    Request, RequestId, Response, Token,
};

/// The near end observes "/5/0/3" at the far end.
fn observed(pair: &mut Pair) -> (RequestId, Observer) {
    let request = Request::new(Method::Get, "/5/0/3").with_observe(Observe::Register);
    let id = pair.near.request(pair.now, request).expect("taken");
    let Some((End::Far, Event::Request { exchange, request })) = pair.next_event() else { panic!() };
    assert_eq!(request.observe(), Some(Observe::Register));
    let state = Response::content(0, b"0".to_vec());
    let observer = pair.far.accept_observer(pair.now, exchange, state).expect("kept");
    let Some((End::Near, Event::Response { id: answered, response })) = pair.next_event() else { panic!() };
    assert!(answered == id && response.observe().is_some());
    (id, observer)
}

fn notify(pair: &mut Pair, observer: Observer, state: &[u8], reliability: Reliability) {
    let response = Response::content(0, state.to_vec());
    pair.far.notify(pair.now, observer, response, reliability).expect("taken");
}

/// The states the near end is told until nothing happens any more.
fn told(pair: &mut Pair, of: RequestId) -> Vec<Vec<u8>> {
    let mut states = Vec::new();
    while let Some((end, event)) = pair.next_event() {
        let Event::Notification { id, response } = event else { panic!("{event:?}") };
        assert_eq!((end, id), (End::Near, of));
        states.push(response.payload);
    }
    states
}

/// A notification by hand.
fn notification(kind: MessageType, id: u16, token: Token, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut options = Options::new();
    options.push_uint(number::OBSERVE, sequence);
    Message { kind, code: Code::CONTENT, id, token, options: options.view(), payload }.encode()
}

#[test]
fn changes_are_told_in_either_way() {
    for reliability in [Reliability::Confirmable, Reliability::NonConfirmable] {
        let mut pair = Pair::fair();
        let (id, observer) = observed(&mut pair);
        notify(&mut pair, observer, b"1", reliability);
        assert_eq!(told(&mut pair, id), [b"1"]);
        notify(&mut pair, observer, b"2", reliability);
        assert_eq!(told(&mut pair, id), [b"2"]);
    }
}

#[test]
fn the_last_state_is_always_told_and_never_an_older_one_after_it_in_any_weather() {
    for seed in 0..60 {
        let weather = Weather { lost: 60, ..Weather::FOUL };
        let mut pair = Pair::new(seed, Weather::FAIR, Config::default(), Config::default());
        let (id, observer) = observed(&mut pair);
        pair.weather = weather;
        let mut states = Vec::new();
        for state in 1..=30_u8 {
            let reliability =
                if state % 3 == 0 { Reliability::Confirmable } else { Reliability::NonConfirmable };
            notify(&mut pair, observer, &[state], reliability);
            pair.pass(Duration::from_millis(300));
        }
        while let Some((_, event)) = pair.next_event() {
            if event == (Event::Unobserved { observer }) {
                // Five messages lost in a row: then it has ended.
                states.push(30);
                continue;
            }
            let Event::Notification { id: of, response } = event else { panic!("{event:?}") };
            assert_eq!(of, id);
            states.push(response.payload[0]);
        }
        assert!(states.is_sorted(), "seed {seed}: {states:?}");
        assert_eq!(states.last(), Some(&30), "seed {seed}: {states:?}");
    }
}

#[test]
fn older_and_repeated_notifications_are_not_told_and_numbers_may_wrap() {
    let mut pair = Pair::fair();
    let (id, _) = observed(&mut pair);
    let token = pair.said_by(End::Near)[0].token;
    let non = MessageType::NonConfirmable;
    for (message_id, sequence) in
        [(1, 5), (2, 4), (3, 5), (1, 9), (4, 0x80_0004), (5, 0xFF_FFFF), (6, 2), (7, 0xFF_FFFE)]
    {
        pair.deliver(End::Near, &notification(non, message_id, token, sequence, &[message_id as u8]));
    }
    assert_eq!(told(&mut pair, id), [[1], [4], [5], [6]]);
    // RFC 7641 §3.4: whatever its number, 128 seconds later it is newer.
    pair.pass(Duration::from_secs(129));
    pair.deliver(End::Near, &notification(non, 8, token, 1, &[8]));
    assert_eq!(told(&mut pair, id), [[8]]);
}

#[test]
fn a_notification_of_what_is_not_observed_is_reset_however_it_was_sent() {
    let mut pair = Pair::fair();
    let token = Token::new(&[9; 8]).expect("8 bytes");
    pair.deliver(End::Near, &notification(MessageType::NonConfirmable, 1, token, 5, b"1"));
    pair.deliver(End::Near, &notification(MessageType::Confirmable, 2, token, 6, b"1"));
    let kinds: Vec<_> = pair.said_by(End::Near).iter().map(|said| (said.kind, said.id)).collect();
    assert_eq!(kinds, [(MessageType::Reset, 1), (MessageType::Reset, 2)]);
    assert_eq!(pair.events_now(), None);
}

#[test]
fn who_cancels_is_told_nothing_more_and_the_observed_end_learns_of_it() {
    for reliability in [Reliability::Confirmable, Reliability::NonConfirmable] {
        let mut pair = Pair::fair();
        let (id, observer) = observed(&mut pair);
        pair.near.cancel(pair.now, id);
        notify(&mut pair, observer, b"1", reliability);
        assert_eq!(pair.next_event(), Some((End::Far, Event::Unobserved { observer })));
        assert_eq!(pair.next_event(), None);
        let response = Response::content(0, b"2".to_vec());
        assert_eq!(pair.far.notify(pair.now, observer, response, reliability), Err(Refused::Unknown));
    }
}

#[test]
fn an_observation_is_ended_by_a_request_with_its_token() {
    let mut pair = Pair::fair();
    let (id, observer) = observed(&mut pair);
    let end = pair.near.unobserve(pair.now, id).expect("observed");
    assert_eq!(pair.near.unobserve(pair.now, id), Err(Refused::Unknown));
    assert_eq!(pair.next_event(), Some((End::Far, Event::Unobserved { observer })));
    let Some((End::Far, Event::Request { exchange, request })) = pair.next_event() else { panic!() };
    assert_eq!(request.observe(), Some(Observe::Deregister));
    assert_eq!(pair.said_by(End::Near)[0].token, pair.said_by(End::Near)[1].token);
    pair.far.respond(pair.now, exchange, Response::content(0, b"0".to_vec()));
    assert!(matches!(pair.next_event(), Some((End::Near, Event::Response { id, .. })) if id == end));
}

#[test]
fn who_does_not_acknowledge_a_notification_observes_no_more() {
    let mut pair = Pair::fair();
    let (_, observer) = observed(&mut pair);
    pair.weather.lost = 1000;
    notify(&mut pair, observer, b"1", Reliability::Confirmable);
    assert_eq!(pair.next_event(), Some((End::Far, Event::Unobserved { observer })));
}

#[test]
fn notifications_that_wait_are_replaced_by_the_newest() {
    let mut pair = Pair::fair();
    let (id, observer) = observed(&mut pair);
    let before = pair.said_by(End::Far).len();
    for state in 1..=200_u8 {
        notify(&mut pair, observer, &[state], Reliability::Confirmable);
    }
    assert_eq!(told(&mut pair, id), [[1], [200]]);
    assert_eq!(pair.said_by(End::Far).len() - before, 2);
}

#[test]
fn a_long_state_is_told_whole() {
    let mut pair = Pair::fair();
    let (id, observer) = observed(&mut pair);
    let tree: Vec<u8> = (0..5000_u32).map(|at| (at / 256 + at) as u8).collect();
    notify(&mut pair, observer, &tree, Reliability::NonConfirmable);
    assert_eq!(told(&mut pair, id), [tree]);
}

#[test]
fn an_error_ends_an_observation_at_both_ends() {
    let mut pair = Pair::fair();
    let (id, observer) = observed(&mut pair);
    let gone = Response::new(Code::NOT_FOUND);
    pair.far.notify(pair.now, observer, gone.clone(), Reliability::Confirmable).expect("taken");
    assert_eq!(pair.next_event(), Some((End::Near, Event::Notification { id, response: gone.clone() })));
    assert_eq!(pair.far.notify(pair.now, observer, gone, Reliability::Confirmable), Err(Refused::Unknown));
    assert_eq!(pair.near.unobserve(pair.now, id), Err(Refused::Unknown));
}

#[test]
fn a_peer_observes_no_more_than_it_may_and_the_same_once() {
    let far = Config { observers_max: 2, ..Config::default() };
    let mut pair = Pair::new(1, Weather::FAIR, Config::default(), far);
    let mut kept = Vec::new();
    for at in 0..5 {
        let request = Request::new(Method::Get, &format!("/3/0/{at}")).with_observe(Observe::Register);
        pair.near.request(pair.now, request).expect("taken");
        let Some((End::Far, Event::Request { exchange, .. })) = pair.next_event() else { panic!() };
        kept.extend(pair.far.accept_observer(pair.now, exchange, Response::content(0, vec![1])));
        let Some((End::Near, Event::Response { response, .. })) = pair.next_event() else { panic!() };
        assert_eq!(response.observe().is_some(), at < 2);
    }
    assert_eq!(kept.len(), 2);
    // The first asks again, with its token: one interest in the place of the other.
    let mut again = Message::parse(&pair.said[0].1).expect("a message");
    again.id = again.id.wrapping_add(1000);
    let again = again.encode();
    pair.deliver(End::Far, &again);
    let Some((End::Far, Event::Request { exchange, .. })) = pair.next_event() else { panic!() };
    let third = pair.far.accept_observer(pair.now, exchange, Response::content(0, vec![1]));
    assert!(third.is_some_and(|third| !kept.contains(&third)));
    assert_eq!(pair.events_now(), Some((End::Far, Event::Unobserved { observer: kept[0] })));
}

#[test]
fn what_was_observed_before_a_new_registration_is_forgotten() {
    let mut pair = Pair::fair();
    let (_, observer) = observed(&mut pair);
    pair.near.forget_observations();
    notify(&mut pair, observer, b"1", Reliability::NonConfirmable);
    assert_eq!(pair.next_event(), Some((End::Far, Event::Unobserved { observer })));
    assert_eq!(pair.next_event(), None);
}

#[test]
fn more_is_not_observed_at_a_peer_than_may_be() {
    let near = Config { observations_max: 1, ..Config::default() };
    let mut pair = Pair::new(1, Weather::FAIR, near, Config::default());
    observed(&mut pair);
    let (_, second) = observed(&mut pair);
    notify(&mut pair, second, b"1", Reliability::NonConfirmable);
    assert_eq!(pair.next_event(), Some((End::Far, Event::Unobserved { observer: second })));
}

#[test]
fn a_peer_that_is_observed_in_four_places_takes_less_than_700_bytes() {
    let mut pair = Pair::fair();
    for _ in 0..4 {
        observed(&mut pair);
    }
    pair.pass(Duration::from_secs(300));
    let server = size_of_val(&pair.near) + pair.near.held_bytes();
    let device = size_of_val(&pair.far) + pair.far.held_bytes();
    assert!(server < 700 && device < 700, "server {server}, device {device}");
}
