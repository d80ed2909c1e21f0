//! The examples of the operating guide's API page, in order, against one server.
//!
//! An example is an `http` block and the `json STATUS` block after it. Values that differ from run to run are compared
//! by type; where the page shows one again, in a later path or body, the one that really came stands in for it.

use std::collections::BTreeMap;

use super::hub::{HubWorld, entry};
use serde_json::{Value, json};

use crate::protocols::lwm2m::desk::{Operation, Outcome};

const PAGE: &str = include_str!("../../../../../docs/operating/api.md");
/// The program's version, as the page shows it.
const SHOWN_VERSION: &str = "0.1.0";
/// Fields whose values differ from run to run.
const VOLATILE: [&str; 16] = [
    "id",
    "token",
    "created",
    "state_since",
    "starts",
    "at",
    "since",
    "opened",
    "changed",
    "deadline",
    "first_seen",
    "expires",
    "revoked",
    "now",
    "link",
    "why",
];
/// Fields that come some time later, at the server's pace.
const LATER: [&str; 3] = ["due", "surveyed", "last_seen"];

struct Example<'a> {
    method: &'a str,
    path: &'a str,
    body: &'a str,
    status: u16,
    answer: Value,
}

/// The page's examples.
fn examples() -> Vec<Example<'static>> {
    let mut blocks = PAGE.split("\n```").skip(1).step_by(2);
    let mut examples = Vec::new();
    while let Some(block) = blocks.next() {
        let Some(request) = block.strip_prefix("http\n") else { continue };
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let (method, path) = head.split_once(' ').unwrap();
        let answer = blocks.next().and_then(|block| block.strip_prefix("json ")).expect(head);
        let (status, answer) = answer.split_once('\n').unwrap();
        let answer = serde_json::from_str(answer).unwrap_or_else(|error| panic!("{head}: {error}"));
        let path = path.strip_prefix("/api/v1").unwrap();
        examples.push(Example { method, path, body, status: status.parse().unwrap(), answer });
    }
    examples
}

/// The text with what really came in place of what the page shows.
fn real(learnt: &BTreeMap<String, String>, text: &str) -> String {
    learnt.iter().fold(text.to_owned(), |text, (shown, real)| text.replace(shown, real))
}

/// Compares an answer with the page's, and learns which value stands for which.
fn compare(place: &str, key: &str, shown: &Value, found: &Value, learnt: &mut BTreeMap<String, String>) {
    match (shown, found) {
        (Value::Object(shown), Value::Object(found)) => {
            let is_at_once = |name: &&String| !LATER.contains(&name.as_str());
            let names = |object: &serde_json::Map<String, Value>| -> Vec<String> {
                object.keys().filter(is_at_once).cloned().collect()
            };
            assert_eq!(names(shown), names(found), "{place}: the fields");
            for (name, shown) in shown.iter().filter(|(name, _)| is_at_once(name)) {
                compare(&format!("{place}.{name}"), name, shown, &found[name], learnt);
            }
        }
        (Value::Array(shown), Value::Array(found)) => {
            assert_eq!(shown.len(), found.len(), "{place}: {found:?}");
            for (shown, found) in shown.iter().zip(found) {
                compare(place, key, shown, found, learnt);
            }
        }
        (Value::String(shown), Value::String(found)) if VOLATILE.contains(&key) => {
            if shown != found && key == "id" {
                learnt.insert(shown.clone(), found.clone());
            }
        }
        // What the page shows with values learnt before must come with them.
        (Value::String(shown), Value::String(found)) => {
            assert_eq!(&real(learnt, shown), found, "{place}");
        }
        (shown, found) => assert_eq!(shown, found, "{place}"),
    }
}

#[tokio::test]
async fn the_examples_of_the_api_page_are_true() {
    // The device answers what it is asked first, and then sleeps.
    let hub = HubWorld::new("cam-0001", |order| {
        let is_read = order.operation == Operation::Read;
        Ok(is_read.then(|| Outcome::Content(vec![entry("/3/0/9", 87)])))
    });
    let world = &hub.world;
    world.report("cam-0001", "1.0.0", &json!({"region": "eu"})).await;
    let version = (SHOWN_VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let mut learnt = BTreeMap::from([version]);
    let examples = examples();
    assert!(examples.len() >= 15, "the page has examples");
    for Example { method, path, body, status, answer } in examples {
        let place = format!("{method} {path}");
        let (found_status, found) = world.call(method, &real(&learnt, path), real(&learnt, body)).await;
        assert_eq!(found_status, status, "{place}: {found}");
        compare(&place, "", &answer, &found, &mut learnt);
        if path == "/rollouts" && method == "POST" {
            // The device comes by, as the page says.
            world.report("cam-0001", "1.0.0", &json!({"region": "eu"})).await;
        }
    }
    hub.end().await;
}
