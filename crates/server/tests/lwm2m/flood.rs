//! Devices that say too much, or all at once: the hub by itself, in a time of the test's own.

use crate::lone_hub::{DESCRIBING_MAX, Device, NOW, World};
use std::time::Duration;
use updraft_core::time::Timestamp;
use updraft_lwm2m::Moment;
use updraft_lwm2m::coap::option::number;
use updraft_lwm2m::coap::{Code, Event, Method, Observe, Observer, Reliability, Request, Response};
use updraft_lwm2m::content::ContentFormat;
use updraft_server::protocols::lwm2m::desk::{Operation, Order};

/// What one source may register at once, and a device say unasked: as the hub's own limits have it.
const REGISTRATIONS_AT_ONCE: u64 = 5_000;
const WORDS_AT_ONCE: usize = 32;

fn max_age(response: &Response) -> u32 {
    response.options.view().uint(number::MAX_AGE).unwrap()
}

#[test]
fn a_storm_of_registrations_is_answered_5_03_with_a_spread_max_age() {
    let mut world = World::new();
    for number in 0..REGISTRATIONS_AT_ONCE {
        let (_, answer) = world.register(number, [192, 0, 2, 1]);
        assert_eq!(answer.code, Code::CREATED, "{number}");
        for device in std::mem::take(&mut world.described) {
            world.hub.handle_described(&device, true);
        }
    }
    let refused: Vec<_> = (0..50)
        .map(|more| world.register(REGISTRATIONS_AT_ONCE + more, [192, 0, 2, 1]).1)
        .inspect(|answer| assert_eq!(answer.code, Code::SERVICE_UNAVAILABLE))
        .map(|answer| max_age(&answer))
        .collect();
    assert!(refused.iter().all(|away| (30..150).contains(away)), "{refused:?}");
    let differing: std::collections::BTreeSet<_> = refused.iter().collect();
    assert!(differing.len() > 20, "they do not come back together: {refused:?}");
    let (_, another) = world.register(1_000_000, [192, 0, 2, 2]);
    assert_eq!(another.code, Code::CREATED, "another network has its own");
}

#[test]
fn nobody_new_is_taken_while_the_fleet_is_behind() {
    let mut world = World::new();
    let mut taken = 0;
    // Each from a network of its own.
    let refused = loop {
        assert!(taken <= DESCRIBING_MAX as u64, "there is an end");
        let (_, answer) = world.register(taken, (0x0a00_0000 + taken as u32).to_be_bytes());
        if answer.code != Code::CREATED {
            break answer;
        }
        taken += 1;
    };
    assert_eq!((taken, refused.code), (DESCRIBING_MAX as u64, Code::SERVICE_UNAVAILABLE));
    let one = world.described.remove(0);
    world.hub.handle_described(&one, true);
    let (_, answer) = world.register(taken, [192, 0, 2, 1]);
    assert_eq!(answer.code, Code::CREATED, "as soon as it has caught up");
}

#[test]
fn a_flood_on_dp_is_refused_beyond_its_bucket() {
    let mut world = World::new();
    let (mut device, _) = world.register(1, [192, 0, 2, 1]);
    let battery = |percent: usize| {
        let body = format!(r#"[{{"n":"/3/0/9","v":{percent}}}]"#);
        Request::new(Method::Post, "dp").with_payload(ContentFormat::SENML_JSON.0, body.into_bytes())
    };
    for percent in 0..WORDS_AT_ONCE {
        assert_eq!(device.ask(&mut world, NOW, battery(percent)).code, Code::CHANGED);
    }
    let refused = device.ask(&mut world, NOW, battery(99));
    assert_eq!((refused.code, max_age(&refused)), (Code::TOO_MANY_REQUESTS, 3));
    let known = world.hub.standing(NOW, &"d1".parse().unwrap()).unwrap().known;
    let level = known.iter().find(|entry| entry.path.to_string() == "/3/0/9").unwrap();
    assert_eq!(format!("{:?}", level.value), format!("Integer({})", WORDS_AT_ONCE - 1));
    let later = NOW.plus(Duration::from_secs(3));
    assert_eq!(device.ask(&mut world, later, battery(50)).code, Code::CHANGED, "it is heard again");
}

/// Has an operator observe the battery's level of a device, and the device agree.
fn observed(world: &mut World, device: &mut Device) -> Observer {
    let order = Order {
        number: 0,
        device: "d1".parse().unwrap(),
        operation: Operation::Observe,
        path: "/3/0/9".parse().unwrap(),
        by: "an operator".to_owned(),
        at: Timestamp::from_millis(0),
    };
    world.hub.handle_order(NOW, 1, order);
    world.exchange(NOW, device.line, &mut device.peer);
    let Some(Event::Request { exchange, request }) = device.peer.poll_event() else { panic!("it is asked") };
    assert_eq!(request.observe(), Some(Observe::Register));
    let level = Response::content(ContentFormat::TEXT.0, b"0".to_vec());
    let observer = device.peer.accept_observer(NOW, exchange, level).unwrap();
    world.exchange(NOW, device.line, &mut device.peer);
    observer
}

#[test]
fn a_flood_of_notifications_is_dropped_beyond_its_bucket() {
    let mut world = World::new();
    let (mut device, _) = world.register(1, [192, 0, 2, 1]);
    let observer = observed(&mut world, &mut device);
    let mut tells = |world: &mut World, now: Moment, percent: usize| {
        let level = Response::content(ContentFormat::TEXT.0, percent.to_string().into_bytes());
        device.peer.notify(now, observer, level, Reliability::NonConfirmable).unwrap();
        world.exchange(now, device.line, &mut device.peer);
        let known = world.hub.standing(now, &"d1".parse().unwrap()).unwrap().known;
        let level = known.iter().find(|entry| entry.path.to_string() == "/3/0/9").unwrap();
        format!("{:?}", level.value)
    };
    for percent in 1..=WORDS_AT_ONCE {
        assert_eq!(tells(&mut world, NOW, percent), format!("Integer({percent})"));
    }
    for percent in WORDS_AT_ONCE + 1..100 {
        assert_eq!(tells(&mut world, NOW, percent), format!("Integer({WORDS_AT_ONCE})"), "passed over");
    }
    let later = NOW.plus(Duration::from_secs(3));
    assert_eq!(tells(&mut world, later, 7), "Integer(7)", "it is heard again");
}
