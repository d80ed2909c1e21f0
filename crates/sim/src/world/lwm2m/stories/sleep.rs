//! Devices that sleep between their words.

use super::*;
use updraft_core::time::Timestamp;
use updraft_lwm2m::Path;
use updraft_server::protocols::lwm2m::desk::{Operation, Order, Outcome, Taken};

/// A device that wakes every few minutes.
const SLEEPER: Nature = Nature { is_queued: true, lifetime_s: 1_800, ..Nature::PLAIN };

fn is_asleep(world: &World) -> bool {
    let now = updraft_lwm2m::Moment(world.now);
    constrained(world, 0).client.as_ref().is_some_and(|client| client.is_asleep(now))
}

fn order(story: &mut Story, ticket: u64, operation: Operation, path: Path) {
    let order = Order {
        number: 0,
        device: "device-0".parse().unwrap(),
        operation,
        path,
        by: "an operator".to_owned(),
        at: Timestamp::from_millis(i64::try_from(story.world.moment().0).unwrap()),
    };
    let now = story.world.moment();
    story.world.with_hub(|hub| hub.handle_order(now, ticket, order));
}

#[test]
fn a_push_waits_for_a_device_that_sleeps_and_is_done_when_it_wakes() {
    for prefer in [Preference::Push, Preference::Pull] {
        let mut story = Story::new(prefer, [SLEEPER]);
        story.until(5 * MINUTE, "the device is known", are_known);
        story.until(5 * MINUTE, "the device sleeps", is_asleep);
        let sent = story.world.host.datagrams;
        story.release(NEW, IMAGE_BYTES, 0);
        story.until(MINUTE, "the update is open", |world| world.books.in_flight(&rollout(NEW)) == 1);
        story.pass(5 * MINUTE);
        assert_eq!(story.world.host.datagrams, sent, "nothing is sent to a device that sleeps");
        story.rest(2 * HOUR);
        story.all_succeeded(1);
    }
}

#[test]
fn orders_wait_for_a_device_that_sleeps_and_outlive_the_server() {
    for is_killed in [false, true] {
        let mut story = Story::new(Preference::Push, [SLEEPER]);
        story.until(5 * MINUTE, "the device is known", are_known);
        story.until(5 * MINUTE, "the device sleeps", is_asleep);
        order(&mut story, 1, Operation::Read, "/3/0/1".parse().unwrap());
        order(&mut story, 2, Operation::Execute(None), "/3/0/12".parse().unwrap());
        let told: Vec<_> = story.world.host.told.drain(..).collect();
        assert_eq!(told, [(1, Ok(Taken::Waits(1))), (2, Ok(Taken::Waits(2)))]);
        story.pass(MINUTE);
        if is_killed {
            story.restart_server(false);
        }
        story.until(HOUR, "both orders are done", |world| {
            world.host.orders().iter().all(|order| order.outcome.is_some())
        });
        let outcomes: Vec<_> = story.world.host.orders().into_iter().map(|order| order.outcome).collect();
        let Some(Outcome::Content(entries)) = &outcomes[0] else { panic!("{outcomes:?}") };
        assert_eq!(entries[0].value.as_text(), Some("pump"));
        assert_eq!(outcomes[1], Some(Outcome::Done));
    }
}

#[test]
fn a_device_that_falls_asleep_in_the_middle_of_a_push_goes_on_when_it_wakes() {
    let mut story = Story::new(Preference::Push, [SLEEPER]);
    story.until(5 * MINUTE, "the device is known", are_known);
    story.release(NEW, IMAGE_BYTES, 0);
    story.until(HOUR, "half is there", |world| has_bytes(world, 0, IMAGE_BYTES / 2));
    story.cut_off(0, 5 * MINUTE);
    story.rest(4 * HOUR);
    story.all_succeeded(ATTEMPTS_MAX);
    assert_eq!(story.count("installations"), 1);
}

#[test]
fn an_order_for_a_device_that_never_wakes_ends_after_a_week() {
    let mut story = Story::new(Preference::Push, [Nature { lifetime_s: 30 * 86_400, ..SLEEPER }]);
    story.until(5 * MINUTE, "the device is known", are_known);
    story.until(5 * MINUTE, "the device sleeps", is_asleep);
    order(&mut story, 1, Operation::Read, "/3/0/1".parse().unwrap());
    story.world.truth.devices[0].is_silent = true;
    story.pass(8 * DAY);
    let orders = story.world.host.orders();
    assert!(matches!(orders[0].outcome, Some(Outcome::NoAnswer(_))), "{orders:?}");
}
