//! Devices that are quiet for long: nothing is kept of the line to them, and nothing is lost.

use crate::lone_hub::{NOW, World};
use std::time::Duration;
use updraft_core::time::Timestamp;
use updraft_lwm2m::Path;
use updraft_lwm2m::coap::{Code, Method, Request};
use updraft_server::protocols::lwm2m::desk::{Operation, Order};
use updraft_server::protocols::lwm2m::hub::{Action, LineId};

/// Longer than a line is kept after its last word (EXCHANGE_LIFETIME, twice).
const LONG: Duration = Duration::from_secs(500);

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
