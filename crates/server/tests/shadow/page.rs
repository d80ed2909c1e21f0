//! `docs/protocols/shadow.md`: each example is published, each message compared.

use crate::stage::Stage;
use serde_json::Value;
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

/// Blocks of the page, at least: fewer means that they were not found.
const BLOCKS_MIN: usize = 20;

struct Block<'a> {
    /// What stands after ```` ```mqtt ````.
    kind: &'a str,
    /// The first line within.
    topic: &'a str,
    body: String,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    page.split("\n```mqtt ")
        .skip(1)
        .map(|rest| {
            let block = rest.split("\n```").next().unwrap();
            let mut lines = block.lines();
            let (kind, topic) = (lines.next().unwrap(), lines.next().unwrap());
            Block { kind, topic, body: lines.collect::<Vec<_>>().join("\n") }
        })
        .collect()
}

#[test]
fn the_page_on_shadows_is_true() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocols/shadow.md");
    let page = std::fs::read_to_string(path).unwrap();
    let blocks = blocks(&page);
    assert!(blocks.len() >= BLOCKS_MIN, "{}", blocks.len());
    let mut stage = Stage::new();
    let mut messages: VecDeque<(String, Value)> = VecDeque::new();
    for Block { kind, topic, body } in &blocks {
        println!("{kind} {topic}");
        if *kind == "publish" {
            assert!(messages.is_empty(), "the page does not show {messages:?}");
            messages = stage.publish(topic, body).into();
            stage.wait(Duration::from_secs(1));
        } else {
            assert_eq!(*kind, "message");
            let (found, said) = messages.pop_front().expect("a message follows what was published");
            assert_eq!(found, *topic);
            assert_eq!(said, serde_json::from_str::<Value>(body).unwrap(), "{topic}");
        }
    }
    assert!(messages.is_empty(), "the page does not show {messages:?}");
}
