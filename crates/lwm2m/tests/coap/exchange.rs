//! Requests, answers, retransmission, duplicates, resets: the message layer between two peers.

use super::pair::{End, Pair, Weather};
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
fn a_device_that_counts_from_the_same_number_after_a_reboot_is_heard() {
    let mut pair = Pair::fair();
    let with_token = |token: &[u8]| {
        let (options, token) = (updraft_lwm2m::coap::option::View::EMPTY, Token::new(token).expect("short"));
        let (kind, code) = (MessageType::Confirmable, Method::Post.code());
        Message { kind, code, id: 1, token, options, payload: &[] }.encode()
    };
    for token in [b"before", b"since "] {
        pair.deliver(End::Far, &with_token(token));
        let (_, exchange, _) = asked(&mut pair);
        pair.far.respond(pair.now, exchange, Response::new(Code::CREATED));
        pair.collect();
        assert_eq!(pair.said_by(End::Far).last().expect("answered").token.as_bytes(), token);
    }
}

#[test]
fn a_request_the_application_forgets_is_forgotten() {
    let mut pair = Pair::fair();
    for kind in [MessageType::Confirmable, MessageType::NonConfirmable] {
        pair.deliver(End::Far, &get(kind, 1));
        let (_, exchange, _) = asked(&mut pair);
        pair.pass(Duration::from_secs(300));
        assert_eq!((pair.far.held_bytes(), pair.far.poll_timeout()), (0, None));
        let said = pair.said.len();
        pair.far.respond(pair.now, exchange, Response::new(Code::CONTENT));
        pair.collect();
        assert_eq!(pair.said.len(), said);
    }
}

#[test]
fn a_ping_is_answered_with_a_reset() {
    let mut pair = Pair::fair();
    let id = pair.near.ping(pair.now).expect("taken");
    assert_eq!(pair.next_event(), Some((End::Near, Event::Pong { id })));
    assert_eq!(pair.said_by(End::Far)[0].kind, MessageType::Reset);
}

#[test]
fn a_lost_acknowledgement_is_made_up_for_by_the_answer_that_follows() {
    let mut pair = Pair::fair();
    let id = pair.near.request(pair.now, Request::new(Method::Post, "/5/0/2")).expect("taken");
    let (_, exchange, _) = asked(&mut pair);
    pair.weather.lost = 1000;
    pair.pass(Duration::from_millis(600));
    pair.weather.lost = 0;
    pair.far.respond(pair.now, exchange, Response::new(Code::CHANGED));
    let Some((End::Near, Event::Response { id: answered, .. })) = pair.next_event() else { panic!() };
    assert_eq!(answered, id);
    assert_eq!(pair.next_event(), None);
    // The request once or twice, the acknowledgement of the answer once.
    assert!(pair.said_by(End::Near).len() <= 3);
}

#[test]
fn an_answer_that_never_comes_is_waited_for_93_seconds() {
    let mut pair = Pair::fair();
    let begun = pair.now;
    let id = pair.near.request(pair.now, Request::new(Method::Post, "/5/0/2")).expect("taken");
    asked(&mut pair);
    assert_eq!(pair.next_event(), Some((End::Near, Event::Failed { id, failure: Failure::Unanswered })));
    assert!((93..95).contains(&pair.now.since(begun).as_secs()));
}

#[test]
fn an_answer_to_nothing_that_is_under_way_is_ignored() {
    let mut pair = Pair::fair();
    let id = pair.near.request(pair.now, Request::new(Method::Get, "/3")).expect("taken");
    let (_, exchange, _) = asked(&mut pair);
    pair.near.cancel(pair.now, id);
    pair.far.respond(pair.now, exchange, Response::new(Code::CONTENT));
    pair.far.respond(pair.now, exchange, Response::new(Code::CONTENT));
    assert_eq!(pair.next_event(), None);
    assert_eq!(pair.said.len(), 2, "late, twice, and answered by nothing");
}

#[test]
fn an_answer_with_another_token_or_message_id_is_somebody_elses() {
    let mut pair = Pair::fair();
    let id = pair.near.request(pair.now, Request::new(Method::Get, "/3")).expect("taken");
    pair.collect();
    let (token, message_id) = (pair.said_by(End::Near)[0].token, pair.said_by(End::Near)[0].id);
    let forged = |kind, id, token| {
        let options = updraft_lwm2m::coap::option::View::EMPTY;
        Message { kind, code: Code::CONTENT, id, token, options, payload: b"forged" }.encode()
    };
    let other = Token::new(&[1; 8]).expect("8 bytes");
    pair.deliver(End::Near, &forged(MessageType::Acknowledgement, message_id, other));
    pair.deliver(End::Near, &forged(MessageType::Acknowledgement, message_id.wrapping_add(1), token));
    pair.deliver(End::Near, &forged(MessageType::NonConfirmable, 9, other));
    let Event::Response { id: answered, response } = echo_until_answered(&mut pair) else {
        panic!("no answer")
    };
    assert_eq!((answered, response.payload.as_slice()), (id, b"/3".as_slice()));
    assert_eq!(pair.said_by(End::Near).len(), 1, "nothing was said of them");
    pair.deliver(End::Near, &forged(MessageType::Confirmable, 10, other));
    assert_eq!(pair.said_by(End::Near)[1].kind, MessageType::Reset);
}

#[test]
fn a_critical_option_that_is_unknown_is_a_bad_option_or_silence() {
    let with = |kind, id, number: u16, value: &[u8]| {
        let mut request = Request::new(Method::Get, "/3");
        request.options.push(number, value);
        let (options, token) = (request.options.view(), Token::EMPTY);
        Message { kind, code: Method::Get.code(), id, token, options, payload: &[] }.encode()
    };
    // OSCORE, If-Match, Q-Block1 and 2, one of nobody's; lengths and repetitions that are not allowed; no UTF-8.
    let (long, accept) = ([b'x'; 256], 17);
    for (at, (number, value)) in [
        (9, &b""[..]),
        (1, b"a"),
        (19, b"a"),
        (31, b"a"),
        (65001, b""),
        (11, &long),
        (accept, b"abc"),
        (11, b"\xff"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut pair = Pair::fair();
        pair.deliver(End::Far, &with(MessageType::Confirmable, at as u16, number, value));
        assert_eq!(pair.said_by(End::Far)[0].code, Code::BAD_OPTION, "{number}");
        pair.deliver(End::Far, &with(MessageType::NonConfirmable, 99, number, value));
        assert_eq!((pair.said.len(), pair.events_now()), (1, None), "{number}");
    }
    let mut pair = Pair::fair();
    pair.deliver(End::Far, &with(MessageType::Confirmable, 1, 35, b"coap://elsewhere/"));
    assert_eq!(pair.said_by(End::Far)[0].code, Code::PROXYING_NOT_SUPPORTED);
    pair.deliver(End::Far, &with(MessageType::Confirmable, 2, 65000, b"elective"));
    asked(&mut pair);
}

#[test]
fn an_answer_with_a_critical_option_that_is_unknown_is_none() {
    let mut pair = Pair::fair();
    let id = pair.near.request(pair.now, Request::new(Method::Get, "/3")).expect("taken");
    let (_, exchange, _) = asked(&mut pair);
    let mut response = Response::new(Code::CONTENT);
    response.options.push(65001, b"");
    pair.far.respond(pair.now, exchange, response);
    assert_eq!(
        pair.next_event(),
        Some((End::Near, Event::Failed { id, failure: Failure::Incomprehensible }))
    );
}

#[test]
fn a_method_nobody_knows_is_not_allowed() {
    let mut pair = Pair::fair();
    let options = updraft_lwm2m::coap::option::View::EMPTY;
    let (kind, token) = (MessageType::Confirmable, Token::EMPTY);
    let message = Message { kind, code: Code::new(0, 31), id: 1, token, options, payload: &[] };
    pair.deliver(End::Far, &message.encode());
    assert_eq!(pair.said_by(End::Far)[0].code, Code::METHOD_NOT_ALLOWED);
}

#[test]
fn malformed_confirmable_messages_are_reset_and_not_as_fast_as_they_come() {
    let mut pair = Pair::fair();
    for id in 0..1000_u16 {
        let [high, low] = id.to_be_bytes();
        pair.deliver(End::Far, &[0x40, 0x01, high, low, 0xFF]);
        // The same malformation where nothing asks for an answer; a keepalive of a NAT; an unknown version.
        pair.deliver(End::Far, &[0x50, 0x01, high, low, 0xFF]);
        pair.deliver(End::Far, &[0]);
        pair.deliver(End::Far, &[0x80, 0x01, high, low]);
    }
    assert!(pair.said.len() <= 8, "{}", pair.said.len());
    assert!(pair.said_by(End::Far).iter().all(|said| said.kind == MessageType::Reset));
    pair.pass(Duration::from_secs(1));
    pair.deliver(End::Far, &[0x40, 0x01, 0, 0, 0xFF]);
    assert_eq!(pair.said_by(End::Far).len(), 9);
    assert_eq!((pair.events_now(), pair.far.poll_timeout()), (None, None));
}

#[test]
fn a_reset_ends_a_request() {
    let mut pair = Pair::fair();
    let id = pair.near.request(pair.now, Request::new(Method::Get, "/3")).expect("taken");
    pair.collect();
    let message_id = pair.said_by(End::Near)[0].id;
    pair.deliver(End::Near, &Message::empty(MessageType::Reset, message_id.wrapping_add(1)).encode());
    assert_eq!(pair.events_now(), None);
    pair.deliver(End::Near, &Message::empty(MessageType::Reset, message_id).encode());
    assert_eq!(pair.events_now(), Some((End::Near, Event::Failed { id, failure: Failure::Reset })));
}

#[test]
fn a_request_sent_once_is_answered_once() {
    let mut pair = Pair::fair();
    pair.deliver(End::Far, &get(MessageType::NonConfirmable, 5));
    let (_, exchange, _) = asked(&mut pair);
    pair.far.respond(pair.now, exchange, Response::new(Code::CONTENT));
    pair.deliver(End::Far, &get(MessageType::NonConfirmable, 5));
    assert_eq!(pair.said_by(End::Far)[0].kind, MessageType::NonConfirmable);
    assert_eq!((pair.said.len(), pair.events_now()), (1, None));
}

#[test]
fn more_requests_than_the_application_keeps_up_with_are_told_to_come_later() {
    let mut pair = Pair::fair();
    let most = Config::default().exchanges_max as u16;
    for id in 0..most + 100 {
        pair.deliver(End::Far, &get(MessageType::Confirmable, id));
    }
    let said = pair.said_by(End::Far);
    assert_eq!(said.len(), 100);
    assert!(said.iter().all(|said| said.code == Code::SERVICE_UNAVAILABLE && said.options.has(14)));
    assert!(pair.far.held_bytes() < 10_000, "{}", pair.far.held_bytes());
}

#[test]
fn an_unproven_address_gets_no_more_than_three_times_its_bytes() {
    let mut pair = Pair::fair();
    pair.far.limit_until_verified();
    let datagram = get(MessageType::Confirmable, 5);
    pair.deliver(End::Far, &datagram);
    let (_, exchange, _) = asked(&mut pair);
    pair.far.respond(pair.now, exchange, Response::content(0, vec![0; 3 * datagram.len()]));
    pair.far.request(pair.now, Request::new(Method::Get, "/1")).expect("taken");
    // Requests of ours are sent again and again, into nothing.
    pair.pass(Duration::from_secs(30));
    assert_eq!(pair.said.len(), 0);
    pair.deliver(End::Far, &datagram);
    let said: usize = pair.said.iter().map(|(_, datagram)| datagram.len()).sum();
    assert!(said > 0 && said <= 6 * datagram.len(), "{said}");
    assert!(!pair.far.is_verified());
    pair.far.verify();
    pair.collect();
    assert!(pair.said_by(End::Far).iter().any(|said| said.code.is_request()));
}

#[test]
fn a_challenge_is_echoed_as_it_was_given() {
    let mut pair = Pair::fair();
    pair.near.request(pair.now, Request::new(Method::Post, "/rd")).expect("taken");
    let (_, exchange, request) = asked(&mut pair);
    assert_eq!(request.echo(), None);
    pair.far.respond(pair.now, exchange, Response::new(Code::UNAUTHORIZED).with_echo(b"fresh"));
    let Some((_, Event::Response { response, .. })) = pair.next_event() else { panic!() };
    let again = Request::new(Method::Post, "/rd").with_echo(response.echo().expect("a challenge"));
    pair.near.request(pair.now, again).expect("taken");
    assert_eq!(asked(&mut pair).2.echo(), Some(b"fresh".as_slice()));
}

#[test]
fn options_that_no_message_can_carry_are_refused() {
    let mut pair = Pair::fair();
    let long = Request::new(Method::Get, &"x".repeat(256));
    assert_eq!(pair.near.request(pair.now, long), Err(Refused::Options));
    let many = Request::new(Method::Get, &"x/".repeat(64));
    assert_eq!(pair.near.request(pair.now, many), Err(Refused::Options));
}

#[test]
fn a_peer_that_is_only_registered_takes_less_than_500_bytes() {
    let mut pair = Pair::fair();
    for at in 0..100 {
        let update = Request::new(Method::Post, "/rd/5a3f").with_query(&format!("lt={at}"));
        pair.near.request(pair.now, update).expect("taken");
        let (_, exchange, _) = asked(&mut pair);
        pair.far.respond(pair.now, exchange, Response::new(Code::CHANGED));
        pair.next_event();
    }
    let busy = size_of_val(&pair.far) + pair.far.held_bytes();
    // What must be remembered of the last messages is forgotten after 247 s, and then nothing wakes it any more.
    pair.pass(Duration::from_secs(300));
    let idle = size_of_val(&pair.far) + pair.far.held_bytes();
    assert_eq!(pair.far.poll_timeout(), None);
    assert!(idle < 500 && busy < 1200, "idle {idle}, busy {busy}");
}

#[test]
fn every_request_is_answered_or_failed_once_in_any_weather_from_both_ends() {
    for seed in 0..150 {
        let weather = Weather { lost: 20 * (seed % 12), ..Weather::FOUL };
        let mut pair = Pair::new(seed, weather, Config::default(), Config::default());
        let mut open = std::collections::BTreeSet::new();
        for at in 0..8 {
            for end in [End::Near, End::Far] {
                let (now, request) = (pair.now, Request::new(Method::Post, &format!("/{at}")));
                open.insert((end, pair.peer(end).request(now, request).expect("taken")));
            }
        }
        let mut told = std::collections::BTreeMap::new();
        while let Some((end, event)) = pair.next_event() {
            match event {
                Event::Request { exchange, request } => {
                    *told.entry((end, request.path())).or_insert(0) += 1;
                    if pair.draw().is_multiple_of(4) {
                        pair.pass(Duration::from_secs(3));
                    }
                    let now = pair.now;
                    pair.peer(end).respond(now, exchange, Response::content(0, request.path().into_bytes()));
                }
                Event::Response { id, response } => {
                    assert!(open.remove(&(end, id)), "seed {seed}: answered twice");
                    assert!(response.payload.starts_with(b"/"));
                }
                Event::Failed { id, failure: Failure::Silent | Failure::Unanswered } => {
                    assert!(open.remove(&(end, id)), "seed {seed}: ended twice");
                }
                other @ (Event::Failed { .. }
                | Event::WantBlock { .. }
                | Event::Notification { .. }
                | Event::Unobserved { .. }
                | Event::Pong { .. }) => panic!("seed {seed}: {other:?}"),
            }
        }
        assert!(open.is_empty(), "seed {seed}: {open:?}");
        assert!(told.values().all(|times| *times == 1), "seed {seed}: done twice: {told:?}");
        assert!(pair.near.is_idle() && pair.far.is_idle());
        assert_eq!((pair.near.held_bytes(), pair.far.held_bytes()), (0, 0), "seed {seed}");
    }
}
