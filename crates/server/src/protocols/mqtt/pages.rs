//! `docs/protocols/state-replica.md` and `jobs.md`: each example is published, each message compared.

use super::stage::{Stage, application, device};
use serde_json::Value;
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

/// Stands at the end of a text of which only the beginning is told.
const AND_SO_ON: char = '…';

fn page(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocols");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// Whether a message is as the page shows it.
fn is_as(said: &Value, shown: &Value) -> bool {
    match (said, shown) {
        (Value::Object(said), Value::Object(shown)) => {
            said.len() == shown.len()
                && shown.iter().all(|(name, shown)| said.get(name).is_some_and(|said| is_as(said, shown)))
        }
        (Value::Array(said), Value::Array(shown)) => {
            said.len() == shown.len() && said.iter().zip(shown).all(|(said, shown)| is_as(said, shown))
        }
        (Value::String(said), Value::String(shown)) => match shown.strip_suffix(AND_SO_ON) {
            Some(beginning) => said.starts_with(beginning),
            None => said == shown,
        },
        (said, shown) => said == shown,
    }
}

/// Plays a page: the blocks at least there must be, so that none is overlooked.
fn play(page: &str, blocks_min: usize, stage: &mut Stage, mut before: impl FnMut(&mut Stage, usize)) {
    let mut messages: VecDeque<(String, Value)> = VecDeque::new();
    let mut published = 0;
    let blocks: Vec<_> =
        page.split("\n```mqtt ").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    assert!(blocks.len() >= blocks_min, "{}", blocks.len());
    for block in blocks {
        let mut lines = block.lines();
        let (kind, topic) = (lines.next().unwrap(), lines.next().unwrap());
        let body = lines.collect::<Vec<_>>().join("\n");
        if kind == "message" {
            let (found, said) = messages.pop_front().unwrap_or_else(|| panic!("nothing follows: {topic}"));
            assert_eq!(found, topic);
            let shown = serde_json::from_str(&body).unwrap();
            assert!(is_as(&said, &shown), "{topic}: the server says {said}");
            continue;
        }
        assert!(messages.is_empty(), "the page does not show {messages:?}");
        if published > 0 {
            stage.wait(Duration::from_secs(1));
        }
        before(stage, published);
        let who = if kind == "application" { application() } else { device("cam-1") };
        messages = stage.publish(&who, topic, &body).into();
        published += 1;
    }
    assert!(messages.is_empty(), "the page does not show {messages:?}");
}

#[test]
fn the_page_on_the_state_replica_is_true() {
    let mut stage = Stage::new();
    stage.knows("cam-1", "1.0.0");
    stage.release("2.0.0", &[]);
    play(&page("state-replica.md"), 10, &mut stage, |stage, published| {
        if published == 2 {
            // What is acknowledged as done stands for the version; the page begins anew with the rollout.
            stage.rollout("2.0.0");
        }
    });
}

#[test]
fn the_page_on_jobs_is_true() {
    let mut stage = Stage::new();
    stage.knows("cam-1", "1.0.0");
    stage.release("2.0.0", &[]);
    stage.task("reboot-1", r#"{"operation":"reboot"}"#, &["cam-1"]);
    play(&page("jobs.md"), 8, &mut stage, |stage, published| {
        if published == 3 {
            stage.rollout("2.0.0");
        }
    });
}
