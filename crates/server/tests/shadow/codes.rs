//! What is refused, with which code and sentence; and that refusing changes nothing.

use crate::stage::{START, Stage};
use serde_json::{Value, json};
use updraft_core::shadow::{NAMED_SHADOWS_MAX, SHADOW_BYTES_MAX};
use updraft_server::shadow::{CLIENT_TOKEN_BYTES_MAX, REQUEST_BYTES_MAX};

const UPDATE: &str = "$aws/things/d1/shadow/update";
const GET: &str = "$aws/things/d1/shadow/get";

/// Checks that a publish has one answer, rejected with this code and sentence, and returns that answer.
#[track_caller]
fn check_at(stage: &mut Stage, topic: &str, payload: impl AsRef<[u8]>, code: u16, message: &str) -> Value {
    let published = stage.publish(topic, payload);
    let [(answered, body)] = &published[..] else {
        panic!("one answer, and no other message: {published:?}")
    };
    assert_eq!(*answered, format!("{topic}/rejected"));
    assert_eq!((&body["code"], &body["message"]), (&json!(code), &json!(message)));
    assert_eq!(body["timestamp"], START);
    body.clone()
}

#[track_caller]
fn check(payload: impl AsRef<[u8]>, code: u16, message: &str) -> Value {
    let mut stage = Stage::new();
    let body = check_at(&mut stage, UPDATE, payload, code, message);
    assert!(!stage.fleet.has_changes());
    check_at(&mut stage, GET, "", 404, "No shadow exists with name: 'd1'");
    body
}

#[test]
fn what_is_no_json_object_is_refused() {
    for payload in
        ["", " ", "{", "[]", "1", "null", "\"x\"", "{} {}", r#"{"state":{}"#, "{state:{}}", "\u{feff}{}"]
    {
        check(payload, 400, "Invalid JSON");
    }
}

#[test]
fn what_is_not_utf_8_is_refused_before_it_is_read() {
    let sentence = "Unsupported documented encoding; supported encoding is UTF-8";
    check(b"{\"state\":{\"desired\":{\"a\":\"\xff\"}}}", 415, sentence);
    check(
        "{\"state\":{}}".encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>(),
        400,
        "Invalid JSON",
    );
}

#[test]
fn each_part_of_the_wrong_kind_is_refused_by_its_name() {
    check("{}", 400, "Missing required node: state");
    check(r#"{"desired": {}}"#, 400, "Missing required node: state");
    for state in ["null", "1", "[]", "\"x\"", "true"] {
        check(format!(r#"{{"state": {state}}}"#), 400, "State node must be an object");
    }
    for section in ["1", "[]", "\"x\"", "true"] {
        let with = |part: &str| format!(r#"{{"state": {{"{part}": {section}}}}}"#);
        check(with("desired"), 400, "Desired node must be an object");
        check(with("reported"), 400, "Reported node must be an object");
    }
}

#[test]
fn a_state_with_other_nodes_or_null_in_an_array_is_refused_and_the_node_named() {
    check(r#"{"state": {"delta": {}}}"#, 400, "State contains an invalid node: 'delta'");
    check(r#"{"state": {"desired": {}, "foo": 1}}"#, 400, "State contains an invalid node: 'foo'");
    check(r#"{"state": {"desired": {"l": [1, null]}}}"#, 400, "State contains an invalid node: 'l'");
}

#[test]
fn a_version_that_is_no_whole_number_is_refused_and_one_in_quotes_is_taken() {
    for version in
        ["-1", "1.5", "1.0", "true", "[]", "{}", "\"\"", "\"x\"", "\"-1\"", "1e400", "99999999999999999999"]
    {
        let sentence = if version == "1e400" { "Invalid JSON" } else { "Invalid version" };
        check(format!(r#"{{"state": {{}}, "version": {version}}}"#), 400, sentence);
    }
    for version in ["0", "\"0\"", "null"] {
        let published = Stage::new().publish(UPDATE, format!(r#"{{"state": {{}}, "version": {version}}}"#));
        assert_eq!(published[0].1["version"], 1, "{version}");
    }
}

#[test]
fn a_client_token_is_a_text_of_64_bytes_at_most_and_comes_back_with_a_refusal() {
    let with = |token: Value| json!({"state": 1, "clientToken": token}).to_string();
    for token in
        [json!(1), json!(["x"]), json!("x".repeat(CLIENT_TOKEN_BYTES_MAX + 1)), json!("ä".repeat(33))]
    {
        let body = check(with(token), 400, "Invalid clientToken");
        assert_eq!(body.get("clientToken"), None);
    }
    let longest = "ä".repeat(CLIENT_TOKEN_BYTES_MAX / 2);
    let body = check(with(json!(longest)), 400, "State node must be an object");
    assert_eq!(body["clientToken"], longest);
    let body = check(with(json!(null)), 400, "State node must be an object");
    assert_eq!(body.get("clientToken"), None);
}

#[test]
fn nesting_is_refused_beyond_six_levels_and_beyond_what_the_reader_follows() {
    let sentence = "JSON contains too many levels of nesting; maximum is 6";
    for levels in [7, 100, 1_000, 5_000] {
        let nested = format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        check(format!(r#"{{"state":{{"desired":{nested}}}}}"#), 400, sentence);
    }
}

#[test]
fn what_is_too_large_is_refused_by_request_and_by_shadow() {
    let sentence = "The payload exceeds the maximum size allowed";
    check(vec![b' '; REQUEST_BYTES_MAX + 1], 413, sentence);
    check(vec![0xff; 1024 * 1024], 413, sentence);
    check(json!({"state": {"desired": {"a": "x".repeat(SHADOW_BYTES_MAX)}}}).to_string(), 413, sentence);
}

#[test]
fn an_update_for_another_version_is_refused_with_409_and_changes_nothing() {
    let mut stage = Stage::new();
    stage.publish(UPDATE, r#"{"state": {"desired": {"a": 1}}}"#);
    let stale = r#"{"state": {"desired": {"a": 2}}, "version": 0, "clientToken": "t"}"#;
    let body = check_at(&mut stage, UPDATE, stale, 409, "Version conflict");
    assert_eq!(body["clientToken"], "t");
    let published = stage.publish(GET, "");
    assert_eq!(
        (&published[0].1["version"], &published[0].1["state"]["desired"]["a"]),
        (&json!(1), &json!(1))
    );
}

#[test]
fn a_shadow_that_is_not_there_is_refused_with_404_by_its_name() {
    let mut stage = Stage::new();
    for operation in ["get", "delete"] {
        let classic = format!("$aws/things/d1/shadow/{operation}");
        let body = check_at(
            &mut stage,
            &classic,
            r#"{"clientToken": "t"}"#,
            404,
            "No shadow exists with name: 'd1'",
        );
        assert_eq!(body["clientToken"], "t");
        let named = format!("$aws/things/d1/shadow/name/n/{operation}");
        check_at(&mut stage, &named, "", 404, "No shadow exists with name: 'n'");
    }
}

#[test]
fn one_more_named_shadow_than_a_device_may_have_is_refused() {
    let mut stage = Stage::new();
    let topic = |number| format!("$aws/things/d1/shadow/name/n{number}/update");
    for number in 0..NAMED_SHADOWS_MAX {
        assert_eq!(stage.publish(&topic(number), r#"{"state": {}}"#)[0].1["version"], 1);
    }
    let sentence = "Too many named shadows; maximum is 64";
    check_at(&mut stage, &topic(NAMED_SHADOWS_MAX), r#"{"state": {}}"#, 400, sentence);
}

#[test]
fn a_get_that_says_something_wrong_is_refused_and_a_delete_is_not_read() {
    let mut stage = Stage::new();
    stage.publish(UPDATE, r#"{"state": {}}"#);
    check_at(&mut stage, GET, "x", 400, "Invalid JSON");
    check_at(&mut stage, GET, r#"{"clientToken": 1}"#, 400, "Invalid clientToken");
    check_at(&mut stage, GET, [0xff], 415, "Unsupported documented encoding; supported encoding is UTF-8");
    for payload in [&b"\xff"[..], b"{", b"{\"clientToken\": 1}", &vec![b'x'; REQUEST_BYTES_MAX + 1]] {
        let published = stage.publish("$aws/things/d1/shadow/delete", payload);
        assert_eq!(published[0].0, "$aws/things/d1/shadow/delete/accepted");
        stage.publish(UPDATE, r#"{"state": {}}"#);
    }
}
