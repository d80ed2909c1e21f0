//! Which topic asks for what, which messages follow, and what is in them.

use crate::stage::{START, Stage};
use serde_json::{Value, json};
use std::time::Duration;
use updraft_core::shadow::{ShadowName, VERSION_KEPT};
use updraft_server::protocols::mqtt::shadow::{Route, delta_topic, is_answer_topic};
use updraft_server::shadow::{NAMES_PAGE_MAX, Operation, names};

const SHADOW: &str = "$aws/things/d1/shadow";

fn update(stage: &mut Stage, request: &Value) -> Vec<(String, Value)> {
    stage.publish(&format!("{SHADOW}/update"), request.to_string())
}

/// The last levels of the topics of what was published.
fn topics(published: &[(String, Value)]) -> Vec<&str> {
    published.iter().map(|(topic, _)| topic.strip_prefix(SHADOW).unwrap()).collect()
}

#[test]
fn only_get_update_and_delete_of_a_sound_name_are_requests() {
    let route = |levels| Route::parse(levels).map(|route| (route.name.to_string(), route.operation));
    assert_eq!(route("get"), Some((String::new(), Operation::Get)));
    assert_eq!(route("update"), Some((String::new(), Operation::Update)));
    assert_eq!(route("name/a:$_-9/delete"), Some(("a:$_-9".to_owned(), Operation::Delete)));
    let long = format!("name/{}/get", "x".repeat(65));
    for levels in [
        "",
        "gets",
        "get/",
        "/get",
        "get/accepted",
        "update/delta",
        "update/documents",
        "name/get",
        "name//get",
        "name/a",
        "name/a/",
        "name/a/get/accepted",
        "name/a.b/get",
        "name/+/get",
        "name/a/name/b/get",
        "names/a/get",
        "Name/a/get",
        &long,
    ] {
        assert_eq!(route(levels), None, "{levels}");
    }
}

#[test]
fn the_servers_own_topics_are_known_as_such() {
    for levels in [
        "update/accepted",
        "get/rejected",
        "name/n/delete/accepted",
        "update/documents",
        "name/n/update/delta",
    ] {
        assert!(is_answer_topic(levels), "{levels}");
        assert_eq!(Route::parse(levels), None, "{levels}");
    }
    for levels in
        ["update", "get/delta", "delete/documents", "accepted", "name//update/delta", "update/accepted/x"]
    {
        assert!(!is_answer_topic(levels), "{levels}");
    }
    assert_eq!(delta_topic("update/delta"), Some(ShadowName::CLASSIC));
    assert_eq!(delta_topic("name/n/update/delta"), Some("n".parse().unwrap()));
    assert_eq!(delta_topic("update/documents"), None);
}

#[test]
fn a_delta_follows_every_update_that_leaves_something_to_do_and_no_other() {
    let mut stage = Stage::new();
    let with_delta = ["/update/accepted", "/update/delta", "/update/documents"];
    let without = ["/update/accepted", "/update/documents"];
    let mut check = |state: Value, expected: &[&str]| {
        assert_eq!(topics(&update(&mut stage, &json!({ "state": state }))), expected, "{state}");
    };
    check(json!({"reported": {"a": 1}}), &without);
    check(json!({"desired": {"a": 2}}), &with_delta);
    check(json!({"reported": {"b": 1}}), &with_delta);
    check(json!({"reported": {"a": 2}}), &without);
    check(json!({"desired": {"b": 2}, "reported": {"b": 2}}), &without);
    check(json!({}), &without);
}

#[test]
fn times_are_whole_seconds_and_those_of_untouched_values_stay() {
    let mut stage = Stage::new();
    update(&mut stage, &json!({"state": {"desired": {"a": {"x": 1, "y": 1}}}}));
    stage.wait(Duration::from_secs(10));
    let published = update(&mut stage, &json!({"state": {"desired": {"a": {"y": 2}}}}));
    let stamp = |seconds| json!({ "timestamp": seconds });
    assert_eq!(published[0].1["timestamp"], START + 10);
    assert_eq!(published[0].1["metadata"], json!({"desired": {"a": {"y": stamp(START + 10)}}}));
    assert_eq!(published[1].1["metadata"], json!({"a": {"x": stamp(START), "y": stamp(START + 10)}}));
}

#[test]
fn an_accepted_update_echoes_what_was_said_nulls_and_all() {
    let mut stage = Stage::new();
    update(&mut stage, &json!({"state": {"desired": {"a": 1, "b": 2}, "reported": {"c": 3}}}));
    let said = json!({"desired": {"a": null, "l": []}, "reported": null});
    let published = update(&mut stage, &json!({"state": said, "clientToken": "t", "else": "ignored"}));
    let expected = json!({
        "state": said, "metadata": {"desired": {"l": []}}, "version": 2, "timestamp": START, "clientToken": "t",
    });
    assert_eq!(published[0].1, expected);
    assert_eq!(published[2].1["current"]["state"], json!({"desired": {"b": 2, "l": []}}));
}

#[test]
fn every_message_of_a_request_with_a_token_has_it_and_none_without() {
    let mut stage = Stage::new();
    for token in [None, Some("t")] {
        let request = json!({"state": {"desired": {"a": 1}}, "clientToken": token});
        for (topic, body) in update(&mut stage, &request) {
            assert_eq!(body.get("clientToken").and_then(Value::as_str), token, "{topic}");
        }
        for operation in ["get", "delete"] {
            let request = token.map_or(String::new(), |token| json!({ "clientToken": token }).to_string());
            let published = stage.publish(&format!("{SHADOW}/{operation}"), request);
            assert_eq!(topics(&published), [format!("/{operation}/accepted")]);
            assert_eq!(published[0].1.get("clientToken").and_then(Value::as_str), token);
        }
    }
}

#[test]
fn empty_sections_are_left_out() {
    let mut stage = Stage::new();
    let published = update(&mut stage, &json!({"state": {"desired": {}}}));
    assert_eq!(published[0].1["state"], json!({"desired": {}}), "what was said is echoed");
    let none = json!({"state": {}, "metadata": {}, "version": 1, "timestamp": START});
    assert_eq!(stage.publish(&format!("{SHADOW}/get"), "")[0].1, none);
}

#[test]
fn the_first_update_comes_after_an_empty_document_of_version_0() {
    let published = update(&mut Stage::new(), &json!({"state": {"reported": {"a": 1}}}));
    assert_eq!(published[1].1["previous"], json!({"state": {}, "metadata": {}, "version": 0}));
    let times = json!({"reported": {"a": {"timestamp": START}}});
    let current = json!({"state": {"reported": {"a": 1}}, "metadata": times, "version": 1});
    assert_eq!(published[1].1["current"], current);
}

#[test]
fn named_shadows_answer_on_their_own_topics_and_share_nothing() {
    let mut stage = Stage::new();
    update(&mut stage, &json!({"state": {"desired": {"a": 1}}}));
    let published = stage.publish(&format!("{SHADOW}/name/n/update"), r#"{"state": {"desired": {"b": 1}}}"#);
    let expected = ["/name/n/update/accepted", "/name/n/update/delta", "/name/n/update/documents"];
    assert_eq!(topics(&published), expected);
    assert_eq!((&published[1].1["version"], &published[1].1["state"]), (&json!(1), &json!({"b": 1})));
    stage.publish(&format!("{SHADOW}/delete"), "");
    assert_eq!(stage.publish(&format!("{SHADOW}/name/n/get"), "")[0].1["version"], 1);
}

#[test]
fn a_deleted_shadow_goes_on_counting_for_two_days() {
    let mut stage = Stage::new();
    let version = |stage: &mut Stage| update(stage, &json!({"state": {}}))[0].1["version"].clone();
    assert_eq!(version(&mut stage), 1);
    assert_eq!(version(&mut stage), 2);
    let deleted = stage.publish(&format!("{SHADOW}/delete"), "anything");
    assert_eq!(deleted[0].1, json!({"version": 2, "timestamp": START}));
    stage.wait(VERSION_KEPT - Duration::from_secs(1));
    assert_eq!(version(&mut stage), 3);
    stage.publish(&format!("{SHADOW}/delete"), "");
    stage.wait(VERSION_KEPT);
    assert_eq!(version(&mut stage), 1);
}

#[test]
fn the_list_of_names_comes_page_by_page() {
    let mut stage = Stage::new();
    for name in ["b", "a", "c"] {
        stage.publish(&format!("{SHADOW}/name/{name}/update"), r#"{"state": {}}"#);
    }
    update(&mut stage, &json!({"state": {}}));
    let device = "d1".parse().unwrap();
    let mut page = |after: Option<&str>, limit| -> Value {
        let after = after.map(|after| after.parse().unwrap());
        let body = names(&mut stage.fleet, stage.now, &device, after.as_ref(), limit).unwrap();
        serde_json::from_slice(&body).unwrap()
    };
    assert_eq!(page(None, 2), json!({"results": ["a", "b"], "nextToken": "b", "timestamp": START}));
    assert_eq!(page(Some("b"), 2), json!({"results": ["c"], "timestamp": START}));
    assert_eq!(page(None, 3), json!({"results": ["a", "b", "c"], "timestamp": START}));
    assert_eq!(page(None, 0)["results"], json!(["a"]), "a page has a name at least");
    assert_eq!(page(None, usize::MAX)["results"].as_array().unwrap().len(), 3.min(NAMES_PAGE_MAX));
}
