//! Devices that are quiet for long: nothing is kept of the line to them, and nothing is lost.

use crate::lone_hub::{NOW, World};
use std::sync::Arc;
use std::time::Duration;
use updraft_core::time::Timestamp;
use updraft_lwm2m::coap::{Code, Config, Method, Peer, Request};
use updraft_lwm2m::content::ContentFormat;
use updraft_lwm2m::{Moment, Path};
use updraft_server::protocols::lwm2m::desk::{Operation, Order};
use updraft_server::protocols::lwm2m::hub::{Action, LineId};

/// Longer than a line is kept after its last word (EXCHANGE_LIFETIME, twice).
const LONG: Duration = Duration::from_secs(500);

/// When a question that is not answered is given up, at the latest (MAX_TRANSMIT_WAIT, RFC 7252 §4.8.2).
const GIVEN_UP: Duration = Duration::from_secs(93);
/// The code of a GET (RFC 7252 §12.1.1).
const GET: u8 = 1;
/// When a device is read again that did not answer, at the latest (10 minutes, and a look).
const AGAIN: Duration = Duration::from_secs(620);

/// A world with one device, of which nothing was heard for long.
fn quiet() -> (World, LineId) {
    let mut world = World::new();
    let (device, answer) = world.register(1, [192, 0, 2, 1]);
    assert_eq!(answer.code, Code::CREATED);
    assert!(world.hub.has_line(device.line));
    world.hub.handle_timeout(NOW.plus(LONG));
    assert!(!world.hub.has_line(device.line), "it is left out");
    (world, device.line)
}

fn actions(world: &mut World) -> Vec<Action> {
    std::iter::from_fn(|| world.hub.poll_action()).collect()
}

#[test]
fn a_line_that_was_left_out_is_made_again_to_ask_the_device() {
    let (mut world, line) = quiet();
    actions(&mut world);
    let order = Order {
        number: 0,
        device: "d1".parse().unwrap(),
        operation: Operation::Read,
        path: Path::resource(3, 0, 3),
        by: "somebody".to_owned(),
        at: Timestamp::from_millis(i64::try_from(NOW.0).unwrap()),
    };
    world.hub.handle_order(NOW.plus(LONG), 1, order);
    let sent = actions(&mut world);
    assert!(sent.iter().any(|action| matches!(action, Action::Send(to, _) if *to == line)), "{sent:?}");
}

#[test]
fn a_device_whose_line_was_left_out_is_heard_as_before() {
    let mut world = World::new();
    let (mut device, answer) = world.register(1, [192, 0, 2, 1]);
    let location = answer.location().unwrap();
    let later = NOW.plus(LONG);
    world.hub.handle_timeout(later);
    assert!(!world.hub.has_line(device.line));
    world.connect(1, [192, 0, 2, 1]);
    let answer = device.ask(&mut world, later, Request::new(Method::Post, &location));
    assert_eq!(answer.code, Code::CHANGED);
}

#[test]
fn who_is_revoked_is_cut_off_though_the_line_was_left_out() {
    let (mut world, line) = quiet();
    actions(&mut world);
    world.hub.handle_revoked(NOW.plus(LONG), &"d1".parse().unwrap());
    let ended = actions(&mut world);
    assert!(
        ended.iter().any(|action| matches!(action, Action::Close(closed) if *closed == line)),
        "{ended:?}"
    );
    assert!(!world.hub.standing(NOW.plus(LONG), &"d1".parse().unwrap()).unwrap().is_awake);
}

#[test]
fn a_device_that_did_not_answer_is_not_described_and_is_read_again_after_a_while() {
    let mut world = World::new();
    let line = world.connect(1, [192, 0, 2, 1]);
    let mut peer = Peer::new([1; 32], Arc::new(Config::default()));
    let request = Request::new(Method::Post, "rd")
        .with_query("ep=d1")
        .with_query("lwm2m=1.1")
        .with_payload(ContentFormat::LINK.0, b"</3/0>".to_vec());
    peer.request(NOW, request).unwrap();
    world.hub.handle_datagram(NOW, line, &peer.poll_transmit().unwrap());
    let reads = |world: &mut World| {
        let sent = |action: &Action| matches!(action, Action::Send(_, datagram) if datagram[1] == GET);
        actions(world).iter().filter(|action| sent(action)).count()
    };
    assert_eq!(reads(&mut world), 1, "it is read at once");
    let mut now = NOW;
    let mut pass = |world: &mut World, until: Moment| {
        while world.hub.poll_timeout().is_some_and(|due| due <= until) {
            now = now.max(world.hub.poll_timeout().unwrap());
            world.hub.handle_timeout(now);
        }
    };
    pass(&mut world, NOW.plus(GIVEN_UP));
    let all = actions(&mut world);
    assert!(!all.iter().any(|action| matches!(action, Action::Describe(..))), "by nothing: {all:?}");
    pass(&mut world, NOW.plus(GIVEN_UP + AGAIN));
    assert!(reads(&mut world) > 0, "and again");
}
