//! `docs/protocols/check-in.md`: each example is sent, each answer compared.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::stage::Stage;
use crate::wire::Answer;

/// Blocks of the page, at least: fewer means that they were not found.
const BLOCKS_MIN: usize = 15;

struct Block<'a> {
    /// What stands after ```` ```http ````.
    kind: &'a str,
    /// The first line within.
    head: &'a str,
    body: String,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    page.split("\n```http ")
        .skip(1)
        .map(|rest| {
            let block = rest.split("\n```").next().unwrap();
            let mut lines = block.lines();
            let (kind, head) = (lines.next().unwrap(), lines.next().unwrap());
            Block { kind, head, body: lines.collect::<Vec<_>>().join("\n") }
        })
        .collect()
}

/// Whether an answer is as the page has it. `<…>` stands for anything; `<job>` is kept for the requests that follow.
fn check(shown: &Value, found: &Value, kept: &mut BTreeMap<String, String>) {
    match (shown, found) {
        (Value::String(place), _) if place.starts_with('<') => {
            assert!(place != "<seconds>" || found.is_u64(), "{found}");
            assert!(place != "<url>" || found.as_str().unwrap().starts_with("http"), "{found}");
            assert!(place != "<sha256>" || found.as_str().unwrap().len() == 64, "{found}");
            if let Some(found) = found.as_str() {
                kept.insert(place.clone(), found.to_owned());
            }
        }
        (Value::Object(shown), Value::Object(found)) => {
            let names = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(shown), names(found));
            shown.iter().for_each(|(name, shown)| check(shown, &found[name], kept));
        }
        (Value::Array(shown), Value::Array(found)) => {
            assert_eq!(shown.len(), found.len());
            shown.iter().zip(found).for_each(|(shown, found)| check(shown, found, kept));
        }
        (shown, found) => assert_eq!(shown, found),
    }
}

#[test]
fn the_page_on_the_check_in_is_true() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocols/check-in.md");
    let page = std::fs::read_to_string(path).unwrap();
    let blocks = blocks(&page);
    assert!(blocks.len() >= BLOCKS_MIN, "{}", blocks.len());
    let stage = Stage::new();
    let mut tokens = BTreeMap::from([("none", String::from("updt_none"))]);
    let mut kept: BTreeMap<String, String> = BTreeMap::new();
    let mut last: Option<Answer> = None;
    for Block { kind, head, body } in &blocks {
        println!("{kind} {head}");
        if let Some(token) = kind.strip_prefix("request token=") {
            let token = tokens.entry(token).or_insert_with(|| stage.device_token(token));
            let body = kept.iter().fold(body.clone(), |body, (place, value)| body.replace(place, value));
            last = Some(stage.say(head.strip_prefix("POST ").unwrap(), token, body));
        } else if *kind == "operator" {
            let (method, path) = head.split_once(' ').unwrap();
            let answer = stage.operate(method, path, body.as_bytes());
            assert!(answer.status < 300, "{head}: {}", answer.text());
        } else {
            assert_eq!(*kind, "answer");
            let answer = last.take().expect("an answer follows a request");
            assert_eq!(answer.status.to_string(), *head, "{}", answer.text());
            check(&serde_json::from_str(body).unwrap(), &answer.json(), &mut kept);
        }
    }
}
