//! A factory device, and what its bootstrap server does with it.

use super::*;
use crate::bootstrap::{Ask, BootstrapSequence, SecurityMode};

fn security(uri: &str) -> Security {
    let mode = SecurityMode::NoSec;
    Security { uri: uri.into(), mode, identity: Vec::new(), server_key: Vec::new(), secret: Vec::new() }
}

fn factory_device() -> World {
    let mut world = World::new(Config { bootstrap: Some(security("coap://127.0.0.1:1")), ..config() });
    world.client.start_bootstrap(world.now);
    world.settle();
    world
}

/// An instance of object 0 or 1, written.
fn write(world: &mut World, instance: Path, values: &[(u16, crate::Value)]) -> Code {
    let at =
        |resource| Path::resource(instance.object_id().unwrap(), instance.instance_id().unwrap(), resource);
    let entries: Vec<Entry> = values.iter().map(|(id, value)| Entry::new(at(*id), value.clone())).collect();
    let body = content::encode(ContentFormat::TLV, &instance, &entries).unwrap();
    let request = Request::new(Method::Put, &instance.to_string());
    world.ask(request.with_payload(ContentFormat::TLV.0, body)).code
}

fn write_account(world: &mut World) {
    use crate::Value::{Boolean, Integer, Opaque, Text};
    let none = || Opaque(Vec::new());
    let security = [
        (0, Text("coap://127.0.0.1:2".into())),
        (1, Boolean(false)),
        (2, Integer(3)),
        (3, none()),
        (4, none()),
        (5, none()),
        (10, Integer(42)),
    ];
    assert_eq!(write(world, Path::instance(0, 1), &security), Code::CHANGED);
    let server = [
        (0, Integer(42)),
        (1, Integer(120)),
        (2, Integer(4)),
        (3, Integer(40)),
        (5, Integer(400)),
        (6, Boolean(false)),
        (7, Text("U".into())),
    ];
    assert_eq!(write(world, Path::instance(1, 0), &server), Code::CHANGED);
}

#[test]
fn a_factory_device_asks_is_written_an_account_and_registers_with_it() {
    let mut world = factory_device();
    assert_eq!(world.actions, [Action::Connect { target: Target::Bootstrap, session: Session::Any }]);
    assert_eq!(world.asks(), ["Post /bs ep=device-1&pct=112"]);
    world.answer(Response::new(Code::CHANGED));
    assert_eq!(world.ask(Request::new(Method::Delete, "/")).code, Code::DELETED);
    write_account(&mut world);
    assert_eq!(world.post("/bs"), Code::CHANGED);
    let account = world
        .actions
        .iter()
        .find_map(|action| if let Action::Bootstrapped(account) = action { Some(account) } else { None });
    assert_eq!(
        account.map(|account| (account.security.uri.as_str(), account.ssid)),
        Some(("coap://127.0.0.1:2", 42))
    );
    assert!(world.actions.contains(&Action::Connect { target: Target::Server, session: Session::Any }));
    assert_eq!(world.asks(), ["Post /rd ep=device-1&lwm2m=1.1&lt=120"]);
}

#[test]
fn the_bootstrap_sequence_of_the_servers_end_brings_a_device_to_its_server() {
    let mut world = factory_device();
    world.answer(Response::new(Code::CHANGED));
    let account = ServerAccount::new(security("coap://127.0.0.1:3"), 9);
    let mut sequence = BootstrapSequence::new(vec![account], Some(ContentFormat::SENML_CBOR));
    while let Some(ask) = sequence.poll_ask() {
        let request = match ask {
            Ask::Discover => Request::new(Method::Get, "/").with_accept(40),
            Ask::Delete(path) => Request::new(Method::Delete, &path.to_string()),
            Ask::Write { path, format, body } => {
                Request::new(Method::Put, &path.to_string()).with_payload(format.0, body)
            }
            Ask::Finish => Request::new(Method::Post, "/bs"),
        };
        let response = world.ask(request);
        sequence.handle_answer(response.code.0, &response.payload);
    }
    assert_eq!(sequence.outcome(), Some(Ok(())));
    assert_eq!(world.asks(), ["Post /rd ep=device-1&lwm2m=1.1&lt=86400"]);
}

#[test]
fn an_account_that_fits_nothing_is_refused_and_the_server_may_mend_it() {
    let mut world = factory_device();
    world.answer(Response::new(Code::CHANGED));
    assert_eq!(world.post("/bs"), Code::NOT_ACCEPTABLE);
    assert_eq!(write(&mut world, Path::instance(3, 0), &[(14, "+01:00".into())]), Code::METHOD_NOT_ALLOWED);
    assert_eq!(world.get("/0/0", None).code, Code::METHOD_NOT_ALLOWED);
    write_account(&mut world);
    assert_eq!(world.post("/bs"), Code::CHANGED);
}

#[test]
fn a_bootstrap_server_that_falls_silent_is_asked_anew() {
    let mut world = factory_device();
    world.answer(Response::new(Code::CHANGED));
    world.pass(Duration::from_secs(246));
    assert_eq!(world.asks(), [""; 0]);
    world.pass(Duration::from_secs(100));
    assert!(world.actions.contains(&Action::BootstrapFailed(None)));
    assert_eq!(world.asks(), ["Post /bs ep=device-1&pct=112"]);
}

#[test]
fn a_device_that_cannot_register_asks_its_bootstrap_server() {
    let retry = Retry { attempts: 1, ..Retry::default() };
    let bootstrap = Some(security("coap://127.0.0.1:1"));
    let mut world = World::new(Config { bootstrap, retry, ..config() });
    world.client.start(world.now);
    world.settle();
    world.answer(Response::new(Code::FORBIDDEN));
    assert_eq!(world.asks(), ["Post /bs ep=device-1&pct=112"]);
}

#[test]
fn a_server_cannot_bootstrap_a_device_that_did_not_ask() {
    let mut world = World::registered();
    assert_eq!(world.post("/bs"), Code::NOT_FOUND);
    assert_eq!(world.ask(Request::new(Method::Delete, "/0/1")).code, Code::UNAUTHORIZED);
}

/// A device with an account and a bootstrap server, refused by its server as often as it takes.
fn device_with_both(refusals: u32) -> World {
    let retry = Retry { refusals, attempts: 100, ..Retry::default() };
    let mut world = World::new(Config { bootstrap: Some(security("coap://127.0.0.1:1")), retry, ..config() });
    world.client.start(world.now);
    world.settle();
    world
}

/// Lets time pass until the device asks somebody; how long it took, in seconds.
fn asks_after(world: &mut World) -> u64 {
    let began = world.now;
    while world.asked.is_empty() {
        world.pass(Duration::from_secs(1));
    }
    world.now.since(began).as_secs()
}

#[test]
fn a_device_that_its_server_refuses_often_enough_asks_its_bootstrap_server() {
    let mut world = device_with_both(3);
    for _ in 0..3 {
        assert_eq!(world.asks(), ["Post /rd ep=device-1&lwm2m=1.1&lt=300"]);
        world.answer(Response::new(Code::FORBIDDEN));
        asks_after(&mut world);
    }
    assert_eq!(world.asks(), ["Post /bs ep=device-1&pct=112"]);
}

#[test]
fn a_session_that_is_refused_counts_as_a_refusal_and_one_that_is_not_had_does_not() {
    let mut world = device_with_both(2);
    let bootstraps = |world: &World| {
        world.actions.contains(&Action::Connect { target: Target::Bootstrap, session: Session::Any })
    };
    world.is_connected = false;
    world.client.connection_failed(world.now);
    world.settle();
    world.pass(Duration::from_secs(7_200));
    assert!(!bootstraps(&world), "a server that is not heard may be back at any time");
    world.is_refusing = true;
    world.pass(Duration::from_secs(3_600 * 5 / 4));
    assert!(!bootstraps(&world), "once may be a mistake");
    world.pass(Duration::from_secs(3_600 * 5 / 4));
    assert!(bootstraps(&world), "{:?}", world.actions);
}

#[test]
fn accounts_that_bring_no_registration_are_asked_for_at_longer_and_longer_intervals() {
    let mut world = device_with_both(1);
    let mut pauses = Vec::new();
    for _ in 0..5 {
        world.answer(Response::new(Code::FORBIDDEN));
        pauses.push(asks_after(&mut world));
        assert_eq!(world.asks(), ["Post /bs ep=device-1&pct=112"]);
        world.answer(Response::new(Code::CHANGED));
        write_account(&mut world);
        assert_eq!(world.post("/bs"), Code::CHANGED);
        assert_eq!(world.asks(), ["Post /rd ep=device-1&lwm2m=1.1&lt=120"]);
    }
    let at_least = [0, 60, 120, 240, 480];
    for (pause, at_least) in pauses.iter().zip(at_least) {
        assert!((at_least..=at_least * 5 / 4 + 1).contains(pause), "{pauses:?}");
    }
    world.answer(Response::new(Code::CREATED).with_location("/rd/1"));
    world.client.start(world.now);
    world.settle();
    world.answer(Response::new(Code::FORBIDDEN));
    assert_eq!(asks_after(&mut world), 0, "a registration in between makes them forgotten");
}

#[test]
fn a_device_whose_bootstrap_server_is_gone_goes_back_to_its_server_and_asks_less_and_less_often() {
    let mut world = device_with_both(1);
    let mut holds = Vec::new();
    for _ in 0..4 {
        assert_eq!(world.asks(), ["Post /rd ep=device-1&lwm2m=1.1&lt=300"]);
        world.answer(Response::new(Code::FORBIDDEN));
        holds.push(asks_after(&mut world));
        for _ in 0..3 {
            assert_eq!(world.asks(), ["Post /bs ep=device-1&pct=112"]);
            world.answer(Response::new(Code::INTERNAL_SERVER_ERROR));
            assert!(asks_after(&mut world) >= 60);
        }
    }
    let at_least = [0, 60, 120, 240];
    for (hold, at_least) in holds.iter().zip(at_least) {
        assert!((at_least..=at_least * 5 / 4 + 1).contains(hold), "{holds:?}");
    }
    world.answer(Response::new(Code::CREATED).with_location("/rd/1"));
    assert_eq!(world.client.location(), Some("/rd/1"), "the server takes it again");
    assert!(!world.actions.iter().any(|action| matches!(action, Action::Bootstrapped(_))));
}

#[test]
fn a_device_without_an_account_asks_its_bootstrap_server_for_ever() {
    let mut world = factory_device();
    for _ in 0..20 {
        assert_eq!(world.asks(), ["Post /bs ep=device-1&pct=112"]);
        world.answer(Response::new(Code::FORBIDDEN));
        assert!((60..=3_600 * 5 / 4 + 1).contains(&asks_after(&mut world)));
    }
}

#[test]
fn a_busy_bootstrap_server_is_left_alone_for_as_long_as_it_says() {
    let mut world = factory_device();
    world.answer(Response::new(Code::SERVICE_UNAVAILABLE).with_max_age(600));
    assert!(world.actions.contains(&Action::BootstrapFailed(Some(Code::SERVICE_UNAVAILABLE))));
    assert!((600..=751).contains(&asks_after(&mut world)));
}

#[test]
fn the_bootstrap_trigger_is_answered_on_the_session_that_it_came_by() {
    let mut world = World::new(Config { bootstrap: Some(security("coap://127.0.0.1:1")), ..config() });
    world.client.start(world.now);
    world.settle();
    world.answer(Response::new(Code::CREATED).with_location("/rd/1"));
    assert_eq!(world.post("/1/0/9"), Code::CHANGED);
    assert_eq!(world.asks(), ["Post /bs ep=device-1&pct=112"]);
}

#[test]
fn a_new_account_begins_with_settings_of_its_own() {
    let mut world = World::new(Config { bootstrap: Some(security("coap://127.0.0.1:1")), ..config() });
    world.client.start(world.now);
    world.settle();
    world.answer(Response::new(Code::CREATED).with_location("/rd/1"));
    assert_eq!(world.put("/1/0/2", "30"), Code::CHANGED);
    assert_eq!(world.post("/1/0/9"), Code::CHANGED);
    world.answer(Response::new(Code::CHANGED));
    write_account(&mut world);
    assert_eq!(world.post("/bs"), Code::CHANGED);
    let server = world.client.server();
    assert_eq!((server.short_id, server.lifetime), (42, Lifetime::Seconds(120)));
    assert_eq!((server.pmin_s, server.pmax_s, server.disable_s), (4, Some(40), Some(400)));
}
