use super::World;
use super::hub::{HubWorld, entry};
use axum::body::Body;
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use crate::api::Lwm2m;
use crate::protocols::lwm2m::books::ORDERS_MAX;
use crate::protocols::lwm2m::desk::{
    ARGUMENT_BYTES_MAX, DESK_MAX, Desk, DeskError, Operation, Outcome, Value,
};
use std::sync::Arc;

const ORDERS: &str = "/devices/cam-0001/lwm2m/orders";

/// One entry of each type.
fn tree() -> Vec<crate::protocols::lwm2m::desk::Entry> {
    vec![
        entry("/3/0/0", "Acme"),
        entry("/3/0/6/1", -5),
        entry("/1/0/1", Value::Unsigned(u64::MAX)),
        entry("/3303/0/5700", Value::Float(0.5)),
        entry("/3303/0/5701", Value::Float(f64::NAN)),
        entry("/1/0/6", true),
        entry("/5/0/0", vec![0, 0xff]),
        entry("/3/0/13", Value::Time(1_772_366_400)),
        entry("/2/0/0", Value::ObjectLink(3, 0)),
        entry("/25/0/3", Value::CoreLink("</3>".to_owned())),
    ]
}

#[tokio::test]
async fn each_outcome_of_an_order_is_told() {
    let hub = HubWorld::new("cam-0001", |order| {
        Ok(Some(match &order.operation {
            Operation::Read => Outcome::Content(tree()),
            Operation::Observe => Outcome::Content(Vec::new()),
            Operation::Discover => Outcome::Links("</3/0>;pmin=1".to_owned()),
            Operation::Ignore => Outcome::NoAnswer("it did not answer within 93 s".to_owned()),
            Operation::Write(_) => Outcome::Refused("4.05".to_owned(), String::new()),
            Operation::Execute(None) => Outcome::Done,
            Operation::Execute(Some(_)) => Outcome::Refused("4.99".to_owned(), "odd".to_owned()),
        }))
    });
    let content = json!({"result": "content", "tree": [
        {"path": "/3/0/0", "name": "Manufacturer", "type": "text", "value": "Acme"},
        {"path": "/3/0/6/1", "name": "Available Power Sources", "type": "integer", "value": -5},
        {"path": "/1/0/1", "name": "Lifetime", "type": "unsigned", "value": u64::MAX},
        {"path": "/3303/0/5700", "type": "float", "value": 0.5},
        {"path": "/3303/0/5701", "type": "float", "value": "NaN"},
        {"path": "/1/0/6", "name": "Notification Storing When Disabled or Offline", "type": "boolean", "value": true},
        {"path": "/5/0/0", "name": "Package", "type": "opaque", "value": "AP8="},
        {"path": "/3/0/13", "name": "Current Time", "type": "time", "value": 1_772_366_400},
        {"path": "/2/0/0", "name": "Object ID", "type": "object_link", "value": "3:0"},
        {"path": "/25/0/3", "type": "core_link", "value": "</3>"},
    ]});
    let cases = [
        (json!({"operation": "read", "path": "/3"}), content),
        (json!({"operation": "observe", "path": "/3/0"}), json!({"result": "content", "tree": []})),
        (
            json!({"operation": "discover", "path": "/3/0"}),
            json!({"result": "links", "links": "</3/0>;pmin=1"}),
        ),
        (
            json!({"operation": "ignore", "path": "/3/0"}),
            json!({"result": "no_answer", "message": "it did not answer within 93 s"}),
        ),
        (
            json!({"operation": "write", "path": "/3/0/0", "value": "Other"}),
            json!({
                "result": "refused",
                "code": "4.05",
                "message": "method not allowed: this cannot be done to it"
            }),
        ),
        (json!({"operation": "execute", "path": "/3/0/4"}), json!({"result": "done"})),
        (
            json!({"operation": "execute", "path": "/3/0/4", "arguments": "0='x',1"}),
            json!({"result": "refused", "code": "4.99", "message": "odd"}),
        ),
    ];
    for (number, (body, outcome)) in (1..).zip(cases) {
        let (status, answer) = hub.world.post(ORDERS, &body).await;
        let expected = json!({"number": number, "waits": false, "outcome": outcome});
        assert_eq!((status, answer), (200, expected), "{body}");
    }
    let taken = hub.taken.lock().unwrap().clone();
    assert!(taken.iter().all(|order| order.by == "ann" && order.at.as_millis() > 0));
    assert_eq!(taken[6].operation, Operation::Execute(Some("0='x',1".to_owned())));
    hub.end().await;
}

#[tokio::test]
async fn an_order_for_a_device_that_sleeps_waits_under_a_number() {
    let hub = HubWorld::new("cam-0001", |_| Ok(None));
    for number in 1..=2 {
        let (status, answer) = hub.world.post(ORDERS, &json!({"operation": "read", "path": "/3/0/9"})).await;
        assert_eq!((status, answer), (202, json!({"number": number, "waits": true})));
    }
    hub.end().await;
}

#[tokio::test]
async fn what_the_desk_does_not_take_is_told_apart() {
    let hub = HubWorld::new("cam-0001", |order| {
        Err(match order.operation {
            Operation::Read => DeskError::TooMany,
            Operation::Observe => DeskError::NotRegistered,
            Operation::Ignore | Operation::Discover | Operation::Write(_) | Operation::Execute(_) => {
                DeskError::Busy
            }
        })
    });
    hub.world.report("cam-0001", "1.0.0", &json!({})).await;
    hub.world.report("cam-0002", "1.0.0", &json!({})).await;
    let discover = r#"{"operation": "discover", "path": "/3"}"#;
    hub.world
        .check(&[
            ("POST", ORDERS, r#"{"operation": "read", "path": "/3"}"#, 429, "orders_too_many"),
            ("POST", ORDERS, discover, 503, "busy"),
            ("POST", ORDERS, r#"{"operation": "observe", "path": "/3"}"#, 404, "device_not_registered"),
            ("POST", "/devices/cam-0002/lwm2m/orders", discover, 404, "device_not_registered"),
            ("GET", "/devices/cam-0002/lwm2m", "", 404, "device_not_registered"),
            ("POST", "/devices/cam-0003/lwm2m/orders", discover, 404, "device_unknown"),
            ("GET", "/devices/cam-0003/lwm2m", "", 404, "device_unknown"),
            ("GET", "/devices/cam-0003/lwm2m/orders", "", 404, "device_unknown"),
            ("GET", "/devices/a%2Fb/lwm2m", "", 400, "name_invalid"),
            ("PUT", ORDERS, "", 405, "method_not_allowed"),
        ])
        .await;
    let (_, answer) = hub.world.get("/devices/cam-0003/lwm2m").await;
    assert_eq!(answer["near"], json!(["cam-0001", "cam-0002"]));
    assert!(hub.taken.lock().unwrap().is_empty());
    hub.end().await;
}

#[tokio::test]
async fn an_order_that_makes_no_sense_reaches_no_device() {
    let hub = HubWorld::new("cam-0001", |_| Ok(Some(Outcome::Done)));
    let mut table = Vec::new();
    for (operation, path) in [
        ("read", ""),
        ("read", "/"),
        ("read", "3/0/9"),
        ("read", "/3/0/"),
        ("read", "/65535"),
        ("read", "/1/2/3/4/5"),
        ("read", "/rd"),
        ("read", "/3/0/9?pmin=1"),
        ("observe", "/"),
        ("ignore", "/"),
        ("discover", "/"),
        ("discover", "/3/0/6/1"),
        ("execute", "/3/0"),
        ("execute", "/3/0/6/1"),
    ] {
        table.push((json!({"operation": operation, "path": path}), "path_invalid"));
    }
    table.push((json!({"operation": "write", "path": "/3/0", "value": "1"}), "path_invalid"));
    for (operation, path, value) in [
        ("read", "/3/0/9", "1"),
        ("execute", "/3/0/4", "1"),
        ("write", "/1/0/1", "-1"),
        ("write", "/1/0/1", ""),
        ("write", "/1/0/1", "1e3"),
        ("write", "/1/0/6", "true"),
        ("write", "/5/0/0", "not base64!"),
        ("write", "/3/0/13", "2026-03-01T12:00:00Z"),
        ("write", "/1/0/1", "99999999999999999999"),
    ] {
        table.push((json!({"operation": operation, "path": path, "value": value}), "value_invalid"));
    }
    table.push((json!({"operation": "write", "path": "/1/0/1"}), "value_invalid"));
    for operation in ["read", "discover"] {
        let body = json!({"operation": operation, "path": "/3/0/4", "arguments": "0"});
        table.push((body, "arguments_invalid"));
    }
    let body = json!({"operation": "write", "path": "/3/0/15", "value": "UTC", "arguments": "0"});
    table.push((body, "arguments_invalid"));
    for body in [
        json!({"operation": "delete", "path": "/3/0"}),
        json!({"operation": "read"}),
        json!({"path": "/3"}),
        json!({"operation": "read", "path": "/3", "device": "cam-0002"}),
        json!({"operation": "write", "path": "/1/0/1", "value": 60}),
        json!([]),
    ] {
        table.push((body, "body_invalid"));
    }
    for (body, code) in table {
        let (status, answer) = hub.world.post(ORDERS, &body).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some(code)), "{body}: {answer}");
    }
    assert!(hub.taken.lock().unwrap().is_empty());
    hub.end().await;
}

#[tokio::test]
async fn a_value_has_a_longest_length_and_may_have_it() {
    let hub = HubWorld::new("cam-0001", |_| Ok(Some(Outcome::Done)));
    for (length, status) in [(ARGUMENT_BYTES_MAX, 200), (ARGUMENT_BYTES_MAX + 1, 400)] {
        let text = "x".repeat(length);
        for body in [
            json!({"operation": "write", "path": "/3/0/15", "value": text}),
            json!({"operation": "execute", "path": "/3/0/4", "arguments": text}),
        ] {
            let (found, answer) = hub.world.post(ORDERS, &body).await;
            assert_eq!(found, status, "{answer}");
            let code = if status == 400 { json!("value_too_long") } else { Json::Null };
            assert_eq!(answer["code"], code);
        }
    }
    assert_eq!(hub.taken.lock().unwrap().len(), 2);
    hub.end().await;
}

#[tokio::test]
async fn a_value_of_an_unknown_resource_is_for_the_device_to_judge() {
    let hub = HubWorld::new("cam-0001", |_| Ok(Some(Outcome::Done)));
    for value in ["", "-1", "Ä", "not base64!"] {
        let body = json!({"operation": "write", "path": "/3311/0/5850/1", "value": value});
        assert_eq!(hub.world.post(ORDERS, &body).await.0, 200, "{value}");
    }
    hub.end().await;
}

#[tokio::test]
async fn how_a_device_stands_is_shown_with_the_registrys_names() {
    let hub = HubWorld::new("cam-0001", |_| Ok(None));
    let (status, answer) = hub.world.get("/devices/cam-0001/lwm2m").await;
    assert_eq!(status, 200);
    assert_eq!(answer["objects"], json!(["/1/0", "/3/0", "/5/0"]));
    let version = json!({"path": "/3/0/3", "name": "Firmware Version", "type": "text", "value": "1.0.0"});
    assert_eq!(answer["tree"][0], version);
    assert_eq!(
        (&answer["queue_mode"], &answer["awake"], &answer["lifetime_s"], &answer["heard"]),
        (&json!(true), &json!(true), &json!(3_600), &json!("2026-03-01T12:00:00Z"))
    );
    hub.end().await;
}

#[tokio::test]
async fn orders_are_listed_with_what_came_of_them_page_by_page() {
    let hub = HubWorld::new("cam-0001", |order| {
        Ok(matches!(order.operation, Operation::Read).then(|| Outcome::Content(tree())))
    });
    hub.world.report("cam-0001", "1.0.0", &json!({})).await;
    assert_eq!(hub.world.get(ORDERS).await, (200, json!({"items": []})), "none yet");
    let read = json!({"operation": "read", "path": "/3"});
    for _ in 0..ORDERS_MAX - 2 {
        hub.world.post(ORDERS, &read).await;
    }
    let write = json!({"operation": "write", "path": "/1/0/1", "value": "60"});
    let execute = json!({"operation": "execute", "path": "/3/0/4", "arguments": "1"});
    for body in [&write, &execute, &read] {
        hub.world.post(ORDERS, body).await;
    }
    let (_, first) = hub.world.get(&format!("{ORDERS}?limit=30")).await;
    let numbers = |page: &Json| -> Vec<u64> {
        page["items"].as_array().unwrap().iter().map(|item| item["number"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(&first), (2..=31).collect::<Vec<_>>(), "order 1 made room");
    let (_, second) =
        hub.world.get(&format!("{ORDERS}?limit=30&after={}", first["next"].as_str().unwrap())).await;
    assert_eq!((numbers(&second), &second["next"]), (vec![32, 33], &Json::Null));
    let written = &first["items"][29];
    assert_eq!(
        (&written["operation"], &written["value"], &written["waits"], &written["by"]),
        (&json!("write"), &json!("60"), &json!(true), &json!("ann"))
    );
    assert_eq!((&written["outcome"], &written["arguments"]), (&Json::Null, &Json::Null));
    assert_eq!(second["items"][0]["arguments"], "1");
    let read = &second["items"][1];
    assert_eq!((&read["waits"], &read["outcome"]["tree"][0]["value"]), (&json!(false), &json!("Acme")));
    hub.world
        .check(&[
            ("GET", &format!("{ORDERS}?limit=0"), "", 400, "query_invalid"),
            ("GET", &format!("{ORDERS}?after=x"), "", 400, "query_invalid"),
            ("GET", &format!("{ORDERS}?state=waiting"), "", 400, "query_invalid"),
        ])
        .await;
    hub.end().await;
}

#[tokio::test]
async fn a_full_desk_and_one_that_nobody_serves_say_busy() {
    let (desk, calls) = Desk::new();
    let world = World::with(|database| {
        Some(Lwm2m { desk: desk.clone(), books: Arc::new(database.lwm2m().unwrap()) })
    });
    let mut waiting = JoinSet::new();
    for _ in 0..DESK_MAX {
        let desk = desk.clone();
        waiting.spawn(async move { desk.look("cam-0001".parse().unwrap()).await });
    }
    while calls.len() < DESK_MAX {
        tokio::task::yield_now().await;
    }
    let read = r#"{"operation": "read", "path": "/3"}"#;
    let busy = [("GET", "/devices/cam-0001/lwm2m", "", 503, "busy"), ("POST", ORDERS, read, 503, "busy")];
    world.check(&busy).await;
    drop(calls);
    assert!(waiting.join_all().await.iter().all(|answer| answer == &Err(DeskError::Busy)));
    world.check(&busy).await;
    world.end();
}

#[tokio::test]
async fn a_server_that_does_not_speak_lwm2m_says_so() {
    let world = World::new();
    world.report("cam-0001", "1.0.0", &json!({})).await;
    for (method, path) in [("GET", "/devices/cam-0001/lwm2m"), ("GET", ORDERS), ("POST", ORDERS)] {
        let body = Body::from(r#"{"operation": "read", "path": "/3"}"#);
        let (status, answer) = world.call(method, path, body).await;
        assert_eq!((status, answer["code"].as_str()), (404, Some("lwm2m_off")), "{method} {path}");
    }
    world.end();
}
