//! Observing: when the server is told.

use super::*;

fn signal(world: &mut World, dbm: i32) {
    world.client.set_connectivity(world.now, |link| link.signal_strength = dbm);
    world.settle();
}

fn told(world: &mut World) -> Vec<String> {
    world.notifications.drain(..).map(|response| text(&response)).collect()
}

#[test]
fn a_change_is_told_at_once_and_the_same_value_is_not() {
    let mut world = World::registered();
    assert_eq!(text(&world.observe("/4/0/2")), "-60");
    signal(&mut world, -70);
    signal(&mut world, -70);
    assert_eq!(told(&mut world), ["-70"]);
    world.client.set_device(world.now, |device| device.battery_percent = Some(1));
    world.settle();
    assert_eq!(told(&mut world), [""; 0], "another object's change");
}

#[test]
fn changes_within_pmin_are_told_once_when_it_is_over() {
    let mut world = World::registered();
    assert_eq!(world.attributes("/4/0/2", "pmin=10"), Code::CHANGED);
    world.observe("/4/0/2");
    for dbm in [-61, -62, -63] {
        signal(&mut world, dbm);
    }
    world.pass(Duration::from_secs(9));
    assert_eq!(told(&mut world), [""; 0]);
    world.pass(Duration::from_secs(1));
    assert_eq!(told(&mut world), ["-63"]);
}

#[test]
fn silence_is_broken_at_pmax() {
    let mut world = World::registered();
    assert_eq!(world.attributes("/5/0/3", "pmax=60"), Code::CHANGED);
    world.observe("/5/0/3");
    world.pass(Duration::from_secs(59));
    assert_eq!(told(&mut world), [""; 0]);
    world.pass(Duration::from_secs(62));
    assert_eq!(told(&mut world), ["0", "0"]);
}

#[test]
fn the_servers_default_periods_hold_where_no_attribute_says_otherwise() {
    let mut world = World::registered();
    assert_eq!(world.put("/1/0/3", "30"), Code::CHANGED);
    world.observe("/3/0/3");
    world.pass(Duration::from_secs(31));
    assert_eq!(told(&mut world), ["1.0.0"]);
}

#[test]
fn a_number_is_told_when_it_crosses_a_limit_or_steps_far_enough() {
    let mut world = World::registered();
    assert_eq!(world.attributes("/4/0/2", "lt=-100&st=20"), Code::CHANGED);
    world.observe("/4/0/2");
    for dbm in [-65, -79, -81, -95, -101, -99] {
        signal(&mut world, dbm);
    }
    assert_eq!(told(&mut world), ["-81", "-101", "-99"]);
    assert_eq!(world.attributes("/4/0/2", "gt=-110"), Code::BAD_REQUEST);
    assert_eq!(world.attributes("/9/0", "pmin=1"), Code::NOT_FOUND);
}

#[test]
fn notifications_are_sent_once_and_confirmed_once_a_day() {
    let mut world = World::registered();
    world.observe("/4/0/2");
    world.is_connected = false;
    let before = world.datagrams;
    signal(&mut world, -70);
    assert_eq!(world.datagrams, before + 1);
    world.pass(Duration::from_secs(90));
    assert_eq!(world.datagrams, before + 1, "not sent again");
    world.is_connected = true;
    let mut world = World::registered();
    world.observe("/4/0/2");
    let day = Duration::from_secs(86_400);
    let end = world.now.plus(day);
    while world.now < end {
        world.pass(Duration::from_secs(100));
        while !world.asked.is_empty() {
            world.answer(Response::new(Code::CHANGED));
        }
    }
    world.is_connected = false;
    let before = world.datagrams;
    signal(&mut world, -71);
    world.pass(Duration::from_secs(10));
    assert!(world.datagrams > before + 1, "it is sent until it is confirmed");
}

#[test]
fn an_observation_that_the_server_ends_is_told_no_more() {
    let mut world = World::registered();
    world.observe("/4/0/2");
    assert_eq!(world.client.observations(), 1);
    world.server.forget_observations();
    signal(&mut world, -70);
    assert_eq!(world.client.observations(), 0, "the server has reset it");
    signal(&mut world, -80);
    assert_eq!(told(&mut world), [""; 0]);
}

#[test]
fn several_paths_are_observed_at_once() {
    let mut world = World::registered();
    let paths = ["/3/0/3", "/4/0/2"].map(|path| path.parse().unwrap());
    let body = content::encode_paths(ContentFormat::SENML_CBOR, &paths).unwrap();
    let observe = Request::new(Method::Fetch, "/").with_payload(112, body).with_observe(Observe::Register);
    assert_eq!(world.ask(observe).code, Code::CONTENT);
    signal(&mut world, -70);
    let notification = world.notifications.pop_front().unwrap();
    assert_eq!(entries(&notification, "/").len(), 2);
}
