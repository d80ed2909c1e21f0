//! Who is let in, and where: signatures, tokens and temporary keys at the doors.

use serde_json::json;
use updraft_server::artifacts::{LINK_KEYS_FILE, LinkSigner, temporary_key};

use crate::sign::Key;
use crate::stage::{At, By, PRODUCT, Stage, exchange};

/// Doors of each kind: listener, method, target, and the service that signs for it.
const DOORS: [(At, &str, &str, &str); 6] = [
    (At::Devices, "GET", "/things/d-1/jobs", "iot-jobs-data"),
    (At::Devices, "PUT", "/things/d-1/jobs/$next", "iot-jobs-data"),
    (At::Devices, "GET", "/things/d-1/shadow", "iotdata"),
    (At::Devices, "GET", "/api/things/shadow/ListNamedShadowsForThing/d-1", "iotdata"),
    (At::Operators, "GET", "/jobs", "iot"),
    (At::Operators, "GET", "/things/d-1/jobs", "iot"),
];

fn seconds_ago(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds)
}

#[test]
fn a_request_without_a_credential_or_with_an_unknown_one_is_refused_at_every_door() {
    let stage = Stage::new();
    let unknown = Key { id: "UPDK0123456789ABCDEF".to_owned(), secret: "0".repeat(64), token: None };
    for (at, method, target, service) in DOORS {
        let ask = |by: &By| stage.ask(at, by, method, target, b"");
        ask(&By::Nobody).is(403, "MissingAuthenticationTokenException");
        ask(&By::Token(format!("updt_{}", "0".repeat(64)))).is(403, "UnrecognizedClientException");
        ask(&By::Key(unknown.clone(), service)).is(403, "UnrecognizedClientException");
    }
}

#[test]
fn a_wrong_secret_an_old_time_and_a_changed_body_are_refused() {
    let stage = Stage::new();
    let key = stage.key("operator", "planner");
    let wrong = Key { secret: "0".repeat(64), ..key.clone() };
    let signed = |key: &Key| By::Key(key.clone(), "iot");
    let list = |by: &By, time| stage.ask_at(At::Operators, by, time, "GET", "/jobs", b"");
    assert_eq!(list(&signed(&key), seconds_ago(0)).status, 200);
    assert_eq!(list(&signed(&key), seconds_ago(290)).status, 200);
    list(&signed(&wrong), seconds_ago(0)).is(403, "InvalidSignatureException");
    for seconds in [310, -310] {
        list(&signed(&key), seconds_ago(seconds)).is(403, "InvalidSignatureException");
    }
    let address = stage.address(At::Operators);
    let host = address.to_string();
    let unsigned =
        crate::sign::Unsigned { method: "PUT", path: "/jobs/j", query: "", host: &host, body: b"{}" };
    let head = crate::sign::headers(&key, "iot", jiff::Timestamp::now(), unsigned);
    let head = format!("PUT /jobs/j HTTP/1.1\r\nHost: {host}\r\n{head}");
    exchange(address, &head, b"{ }").is(403, "InvalidSignatureException");
    exchange(address, &head, b"{}").is(400, "InvalidRequestException");
}

#[test]
fn a_signature_for_another_service_is_refused_and_says_which_it_should_be() {
    let stage = Stage::new();
    stage.device("d-1", json!({}));
    let key = stage.key("operator", "planner");
    for (at, method, target, service) in DOORS {
        // The two paths that are in both planes are told apart by the service; a third one is neither.
        let wrong = if service == "iotdata" { "iot" } else { "iotdata" };
        let answer = stage.ask(at, &By::Key(key.clone(), wrong), method, target, b"");
        answer.is(403, "InvalidSignatureException");
        assert!(answer.message().contains("should be scoped"), "{target}: {}", answer.message());
    }
}

#[test]
fn a_device_cannot_speak_for_another_by_key_token_or_temporary_key() {
    let stage = Stage::new();
    let token = stage.device("d-1", json!({}));
    stage.device("d-2", json!({}));
    let temporary = exchanged(&stage, &token);
    let key = stage.key("device", "d-1");
    for (method, target, service) in [
        ("GET", "/things/d-2/jobs", "iot-jobs-data"),
        ("PUT", "/things/d-2/jobs/$next", "iot-jobs-data"),
        ("GET", "/things/d-2/jobs/j", "iot-jobs-data"),
        ("POST", "/things/d-2/jobs/j", "iot-jobs-data"),
        ("GET", "/things/d-2/shadow", "iotdata"),
        ("POST", "/things/d-2/shadow", "iotdata"),
        ("DELETE", "/things/d-2/shadow", "iotdata"),
        ("GET", "/things/d-3/shadow", "iotdata"),
        ("GET", "/api/things/shadow/ListNamedShadowsForThing/d-2", "iotdata"),
    ] {
        for by in [By::Key(key.clone(), service), token.clone(), By::Key(temporary.clone(), service)] {
            for at in [At::Devices, At::Operators] {
                let body = if method == "POST" { &br#"{"status":"SUCCEEDED","state":{}}"#[..] } else { b"" };
                stage.ask(at, &by, method, target, body).is(403, "ForbiddenException");
            }
        }
    }
}

#[test]
fn a_products_token_speaks_for_its_devices_and_gets_no_temporary_key() {
    let stage = Stage::new();
    stage.device("d-1", json!({}));
    let list = "/api/things/shadow/ListNamedShadowsForThing/";
    let own = stage.token("product", PRODUCT);
    let other = stage.token("product", "boiler");
    let ask = |by: &By, device: &str| stage.ask(At::Devices, by, "GET", &format!("{list}{device}"), b"");
    assert_eq!(ask(&own, "d-1").status, 200);
    ask(&own, "d-9").is(403, "ForbiddenException");
    ask(&other, "d-1").is(403, "ForbiddenException");
    stage.ask(At::Devices, &own, "GET", "/role-aliases/any/credentials", b"").is(403, "ForbiddenException");
    stage.ask(At::Devices, &own, "POST", "/topics/state%2Fd-1%2Fupdate", b"{}").is(403, "ForbiddenException");
}

#[test]
fn devices_cannot_operate_and_operators_only_do_at_their_own_listener() {
    let stage = Stage::new();
    let device = stage.device("d-1", json!({}));
    let (key, of_device) = (stage.key("operator", "planner"), stage.key("device", "d-1"));
    for (method, target) in [
        ("GET", "/jobs"),
        ("PUT", "/jobs/j"),
        ("GET", "/jobs/j"),
        ("PATCH", "/jobs/j"),
        ("DELETE", "/jobs/j"),
        ("PUT", "/jobs/j/cancel"),
        ("POST", "/jobs/j/targets"),
        ("GET", "/jobs/j/job-document"),
        ("GET", "/jobs/j/things"),
        ("PUT", "/things/d-1/jobs/j/cancel"),
        ("DELETE", "/things/d-1/jobs/j/executionNumber/1"),
    ] {
        let ask = |at, by: &By| stage.ask(at, by, method, target, b"");
        ask(At::Operators, &device).is(403, "ForbiddenException");
        ask(At::Operators, &By::Key(of_device.clone(), "iot")).is(403, "ForbiddenException");
        let at_devices = ask(At::Devices, &By::Key(key.clone(), "iot"));
        at_devices.is(403, "ForbiddenException");
        assert!(at_devices.message().contains("operators' listener"), "{}", at_devices.message());
    }
}

fn exchanged(stage: &Stage, by: &By) -> Key {
    let answer = stage.ask(At::Devices, by, "GET", "/role-aliases/updates/credentials", b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    let credentials = answer.json()["credentials"].clone();
    let text = |field: &str| credentials[field].as_str().unwrap().to_owned();
    let ends: jiff::Timestamp = text("expiration").parse().unwrap();
    let left = ends.as_second() - jiff::Timestamp::now().as_second();
    assert!((3590..=3600).contains(&left), "{left}");
    Key { id: text("accessKeyId"), secret: text("secretAccessKey"), token: Some(text("sessionToken")) }
}

#[test]
fn a_device_exchanges_its_credential_for_a_temporary_key_of_its_own() {
    let stage = Stage::new();
    let token = stage.device("d-1", json!({}));
    let key = exchanged(&stage, &token);
    let list = "/api/things/shadow/ListNamedShadowsForThing/d-1";
    let ask = |key: &Key| stage.ask(At::Devices, &By::Key(key.clone(), "iotdata"), "GET", list, b"");
    let answer = ask(&key);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["results"], json!([]));
    // Each part alone is worth nothing.
    ask(&Key { token: None, ..key.clone() }).is(403, "UnrecognizedClientException");
    ask(&Key { token: Some("updraft-session.x".to_owned()), ..key.clone() })
        .is(403, "UnrecognizedClientException");
    ask(&Key { id: "UPDT0000000000000000".to_owned(), ..key.clone() }).is(403, "UnrecognizedClientException");
    ask(&Key { secret: "0".repeat(64), ..key.clone() }).is(403, "InvalidSignatureException");
    let as_token = By::Token(key.token.clone().unwrap());
    stage.ask(At::Devices, &as_token, "GET", list, b"").is(403, "UnrecognizedClientException");
    // It cannot make itself permanent.
    let again = By::Key(key, "iotdata");
    stage.ask(At::Devices, &again, "GET", "/role-aliases/a/credentials", b"").is(403, "ForbiddenException");
}

#[test]
fn an_expired_temporary_key_is_refused_as_such() {
    let stage = Stage::new();
    stage.device("d-1", json!({}));
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
    let signer = LinkSigner::open(&stage.data().join(LINK_KEYS_FILE), now).unwrap();
    let ended = temporary_key::issue(&signer, &"d-1".parse().unwrap(), now - 901, 900);
    let key = Key { id: ended.access_key_id, secret: ended.secret, token: Some(ended.token) };
    let by = By::Key(key, "iotdata");
    stage.ask(At::Devices, &by, "GET", "/things/d-1/shadow", b"").is(403, "ExpiredTokenException");
}

#[test]
fn a_device_that_names_another_thing_gets_no_temporary_key() {
    let stage = Stage::new();
    let By::Token(token) = stage.device("d-1", json!({})) else { unreachable!("a token was made") };
    let ask = |alias: &str, thing: &str| {
        let head = format!(
            "GET /role-aliases/{alias}/credentials HTTP/1.1\r\nHost: d\r\nAuthorization: Bearer {token}\r\nx-amzn-iot-thingname: {thing}\r\n"
        );
        exchange(stage.address(At::Devices), &head, b"")
    };
    assert_eq!(ask("updates", "d-1").status, 200);
    for thing in ["d-2", "", "../d-1", "D-1"] {
        ask("updates", thing).is(403, "ForbiddenException");
    }
    for alias in ["a%20b", "a%2Fb", &"x".repeat(129)] {
        ask(alias, "d-1").is(400, "InvalidRequestException");
    }
    let operator = By::Token(stage.operator_token().to_owned());
    let answer = stage.ask(At::Devices, &operator, "GET", "/role-aliases/a/credentials", b"");
    answer.is(403, "ForbiddenException");
}

#[test]
fn a_body_too_large_a_query_too_long_and_a_method_too_many_are_refused() {
    let stage = Stage::new();
    let device = stage.device("d-1", json!({}));
    let ask = |method: &str, target: &str, body: &[u8]| stage.ask(At::Devices, &device, method, target, body);
    for (target, bytes) in [
        ("/things/d-1/shadow", 32 * 1024 + 1),
        ("/things/d-1/jobs/j", 64 * 1024 + 1),
        ("/topics/state%2Fd-1%2Fupdate", 128 * 1024 + 1),
    ] {
        ask("POST", target, &vec![b' '; bytes]).is(413, "RequestEntityTooLargeException");
    }
    ask("GET", "/things/d-1/jobs", b"{}").is(413, "RequestEntityTooLargeException");
    let long = format!("/things/d-1/jobs?a={}", "x".repeat(5_000));
    ask("GET", &long, b"").is(400, "InvalidRequestException");
    ask("GET", "/things/d-1/jobs?status=QUEUED", b"").is(400, "InvalidRequestException");
    ask("GET", "/things/d-1/shadow?name=a&name=b", b"").is(400, "InvalidRequestException");
    ask("GET", "/things/d-1/shadow?name=%ff", b"").is(400, "InvalidRequestException");
    ask("GET", "/things/.hidden/shadow", b"").is(400, "InvalidRequestException");
    ask("PATCH", "/things/d-1/shadow", b"").is(405, "MethodNotAllowedException");
    ask("PUT", "/things/d-1/jobs/j", b"{}").is(405, "MethodNotAllowedException");
    ask("POST", "/topics/state%2F%23", b"{}").is(400, "InvalidRequestException");
    ask("POST", "/topics/state%2Fd-1%2Fupdate?qos=2", b"{}").is(400, "InvalidRequestException");
    ask("POST", "/topics/state%2Fd-1%2Fupdate?retain=true", b"{}").is(400, "InvalidRequestException");
    ask("POST", "/things/d-1/jobs/a%2Fb", b"{}").is(400, "InvalidRequestException");
    ask("PUT", "/things/d-1/jobs/$next", &deep()).is(400, "InvalidRequestException");
    ask("PUT", "/things/d-1/jobs/$next", b"{\"statusDetails\":[]}").is(400, "InvalidRequestException");
    ask("PUT", "/things/d-1/jobs/$next", b"{\"stepTimeoutInMinutes\":{}}").is(400, "InvalidRequestException");
    ask("POST", "/things/d-1/jobs/j", &deep()).is(400, "InvalidRequestException");
    ask("POST", "/things/d-1/jobs/j", b"\xff\xfe").is(400, "InvalidRequestException");
}

fn deep() -> Vec<u8> {
    format!("{{\"statusDetails\":{{\"a\":{}{}}}}}", "[".repeat(5_000), "]".repeat(5_000)).into_bytes()
}
