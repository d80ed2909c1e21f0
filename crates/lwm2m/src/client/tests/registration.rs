//! Registering, updating, leaving, and trying again.

use super::*;

#[test]
fn a_device_registers_with_its_name_lifetime_version_and_objects() {
    let mut world = World::new(config());
    world.client.start(world.now);
    world.settle();
    assert_eq!(world.asks(), ["Post /rd ep=device-1&lwm2m=1.1&lt=300"]);
    let request = world.answer(Response::new(Code::CREATED).with_location("/rd/1"));
    assert_eq!(request.content_format(), Some(40));
    assert_eq!(
        String::from_utf8(request.payload).unwrap(),
        "</>;rt=\"oma.lwm2m\";ct=112,</1>;ver=1.1,</1/0>,</3>;ver=1.1,</3/0>,</4/0>,</5>;ver=1.2,</5/0>"
    );
    assert!(world.actions.contains(&Action::Registered("/rd/1".into())));
}

#[test]
fn a_server_of_1_0_alone_is_registered_at_in_1_0() {
    let mut world = World::new(Config { is_queued: true, ..config() });
    world.client.start(world.now);
    world.settle();
    assert_eq!(world.asks(), ["Post /rd ep=device-1&lwm2m=1.1&lt=300&Q"]);
    world.answer(Response::new(Code::PRECONDITION_FAILED));
    assert_eq!(world.asks(), ["Post /rd ep=device-1&lwm2m=1.0&lt=300&b=UQ"]);
    world.answer(Response::new(Code::CREATED).with_location("/rd/1"));
    assert_eq!(world.get("/3/0", None).content_format(), Some(ContentFormat::TLV.0));
}

#[test]
fn the_registration_is_updated_at_half_its_lifetime_and_says_nothing_that_is_known() {
    let mut world = World::registered();
    world.pass(Duration::from_secs(134));
    assert_eq!(world.asks(), [""; 0]);
    world.pass(Duration::from_secs(16));
    assert_eq!(world.asks(), ["Post /rd/5a3f"]);
    let update = world.answer(Response::new(Code::CHANGED));
    assert!(update.payload.is_empty());
    assert!(world.actions.contains(&Action::Updated));
    world.pass(Duration::from_secs(150));
    assert_eq!(world.asks(), ["Post /rd/5a3f"], "and again");
}

#[test]
fn a_lifetime_that_the_server_writes_is_told_back_at_once_and_kept() {
    let mut world = World::registered();
    assert_eq!(world.put("/1/0/1", "600"), Code::CHANGED);
    assert_eq!(world.asks(), ["Post /rd/5a3f lt=600"]);
    let kept = world.actions.iter().any(
        |action| matches!(action, Action::ServerChanged(server) if server.lifetime == Lifetime::Seconds(600)),
    );
    assert!(kept);
}

#[test]
fn an_update_that_is_answered_4_04_is_followed_by_a_registration() {
    let mut world = World::registered();
    assert_eq!(world.observe("/5/0/3").code, Code::CONTENT);
    world.client.update(world.now);
    world.settle();
    world.answer(Response::new(Code::NOT_FOUND));
    assert_eq!(world.asks(), ["Post /rd ep=device-1&lwm2m=1.1&lt=300"]);
    assert_eq!(world.client.observations(), 0, "observations end with the registration");
    world.answer(Response::new(Code::CREATED).with_location("/rd/2"));
    assert_eq!(world.client.location(), Some("/rd/2"));
}

#[test]
fn the_update_trigger_makes_the_device_update() {
    let mut world = World::registered();
    assert_eq!(world.post("/1/0/8"), Code::CHANGED);
    assert_eq!(world.asks(), ["Post /rd/5a3f"]);
}

#[test]
fn a_disabled_device_says_goodbye_and_comes_back_after_the_time() {
    let mut world = World::registered();
    assert_eq!(world.put("/1/0/5", "100"), Code::CHANGED);
    assert_eq!(world.post("/1/0/4"), Code::CHANGED);
    assert_eq!(world.asks(), ["Delete /rd/5a3f"]);
    world.answer(Response::new(Code::DELETED));
    world.pass(Duration::from_secs(99));
    assert_eq!(world.asks(), [""; 0]);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.asks(), ["Post /rd ep=device-1&lwm2m=1.1&lt=300"]);
}

#[test]
fn a_device_that_stops_says_goodbye() {
    let mut world = World::registered();
    world.client.stop(world.now);
    world.settle();
    assert_eq!(world.asks(), ["Delete /rd/5a3f"]);
    world.answer(Response::new(Code::DELETED));
    assert_eq!(world.actions, [Action::Deregistered, Action::Disconnect]);
    world.pass(Duration::from_secs(86_400));
    assert_eq!(world.asks(), [""; 0]);
}

#[test]
fn a_refused_registration_is_tried_again_after_longer_and_longer_pauses() {
    let mut world = World::new(config());
    world.client.start(world.now);
    world.settle();
    let mut pauses = Vec::new();
    for _ in 0..5 {
        world.answer(Response::new(Code::FORBIDDEN));
        let refused_at = world.now;
        while world.asked.is_empty() {
            world.pass(Duration::from_secs(1));
        }
        pauses.push(world.now.since(refused_at).as_secs());
    }
    let at_least = [60, 120, 240, 480, 86_400];
    for (pause, at_least) in pauses.iter().zip(at_least) {
        assert!((at_least..=at_least + at_least / 4 + 1).contains(pause), "{pauses:?}");
    }
}

#[test]
fn a_busy_server_says_itself_when_to_come_again() {
    let mut world = World::new(config());
    world.client.start(world.now);
    world.settle();
    world.answer(Response::new(Code::SERVICE_UNAVAILABLE).with_max_age(8));
    world.pass(Duration::from_secs(7));
    assert_eq!(world.asks(), [""; 0]);
    world.pass(Duration::from_secs(4));
    assert_eq!(world.asks().len(), 1);
}

/// How long a device waits that was answered so, with everything that it sent before.
fn waits(world: &mut World, response: Response) -> u64 {
    world.answer(response);
    let told_at = world.now;
    while world.asked.is_empty() {
        world.pass(Duration::from_secs(1));
    }
    world.now.since(told_at).as_secs()
}

#[test]
fn a_device_told_5_03_waits_as_long_as_it_was_told() {
    let busy = || Response::new(Code::SERVICE_UNAVAILABLE);
    for (told, at_least) in [(Some(90), 90), (Some(7_200), 7_200), (None, 60), (Some(u32::MAX), 86_400)] {
        let answer = || told.map_or_else(busy, |seconds| busy().with_max_age(seconds));
        let mut registers = World::new(config());
        registers.client.start(registers.now);
        registers.settle();
        // However often it is told so, it is no failure, after which it would wait for a day.
        for _ in 0..6 {
            let waited = waits(&mut registers, answer());
            assert!((at_least..=at_least * 5 / 4 + 1).contains(&waited), "{told:?}: {waited} s");
            assert_eq!(registers.asks(), ["Post /rd ep=device-1&lwm2m=1.1&lt=300"]);
        }
        let mut updates = World::registered();
        updates.client.update(updates.now);
        updates.settle();
        let waited = waits(&mut updates, answer());
        assert!((at_least..=at_least * 5 / 4 + 1).contains(&waited), "{told:?}: {waited} s, with an update");
    }
}

#[test]
fn devices_that_were_sent_away_together_do_not_come_back_together() {
    let come_back = |name: &str| {
        let mut world = World::new(Config::new(name));
        world.client.start(world.now);
        world.settle();
        waits(&mut world, Response::new(Code::SERVICE_UNAVAILABLE).with_max_age(400))
    };
    let mut waits: Vec<u64> = (0..50).map(|n| come_back(&format!("device-{n}"))).collect();
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 20, "50 devices come at {waits:?}");
}

#[test]
fn a_fleet_that_is_switched_on_at_one_moment_registers_spread_over_the_delay() {
    let mut tenths = [0; 10];
    for n in 0..200 {
        let start_delay = Duration::from_secs(30);
        let mut world = World::new(Config { start_delay, ..Config::new(&format!("device-{n}")) });
        let switched_on = world.now;
        world.client.start(world.now);
        world.settle();
        while world.asked.is_empty() {
            world.pass(Duration::from_millis(100));
        }
        let waited = world.now.since(switched_on);
        tenths[usize::try_from(waited.as_secs() / 3).unwrap().min(9)] += 1;
        if n == 0 {
            // Whoever begins again does not wait: others have not begun with it.
            world.answer(Response::new(Code::CREATED).with_location("/rd/1"));
            world.client.start(world.now);
            world.settle();
            assert_eq!(world.asked.len(), 1);
        }
    }
    assert!(tenths.iter().all(|devices| (5..=40).contains(devices)), "{tenths:?}");
}

#[test]
fn a_server_that_is_not_heard_is_met_with_a_new_session() {
    let mut world = World::registered();
    world.is_connected = false;
    world.pass(Duration::from_secs(150 + 93 + 90));
    let fresh = Action::Connect { target: Target::Server, session: Session::Fresh };
    assert!(world.actions.contains(&fresh), "{:?}", world.actions);
    world.is_connected = true;
    world.pass(Duration::from_secs(300));
    assert_eq!(world.asks().last().unwrap(), "Post /rd ep=device-1&lwm2m=1.1&lt=300");
}

#[test]
fn a_request_that_overtakes_the_answer_to_register_waits_for_it() {
    let mut world = World::new(config());
    world.client.start(world.now);
    world.settle();
    world.server.request(world.now, Request::new(Method::Get, "/3/0/0")).unwrap();
    world.settle();
    assert!(world.answers.is_empty());
    world.answer(Response::new(Code::CREATED).with_location("/rd/1"));
    assert_eq!(text(&world.answers.pop_front().unwrap()), "Acme");
}

#[test]
fn in_queue_mode_the_device_sleeps_93_s_after_its_last_message() {
    let mut world = World::new(Config { is_queued: true, ..config() });
    world.client.start(world.now);
    world.settle();
    world.answer(Response::new(Code::CREATED).with_location("/rd/1"));
    world.pass(Duration::from_secs(50));
    assert_eq!(world.get("/3/0/0", None).code, Code::CONTENT);
    world.pass(Duration::from_secs(60));
    assert!(!world.client.is_asleep(world.now), "it was asked 60 s ago");
    world.pass(Duration::from_secs(33));
    assert!(world.client.is_asleep(world.now));
    world.client.update(world.now);
    world.settle();
    assert!(!world.client.is_asleep(world.now), "it wakes for its own messages");
}
