//! The shadow's claims: each test's name is one.

#![expect(clippy::unwrap_used, reason = "a stage that cannot be set fails the test")]

mod fleet;
mod life;
mod merge;
mod random;

use serde_json::{Value, json};
use std::time::Duration;
use updraft_core::shadow::{InvalidUpdate, Metadata, Section, Shadow, State, Update};
use updraft_core::time::Timestamp;

/// A second of the test's time.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn later(now: Timestamp, seconds: u64) -> Timestamp {
    now.plus(Duration::from_secs(seconds))
}

/// The update that a `state` object asks for.
fn update(state: &Value) -> Result<Update, InvalidUpdate> {
    Update::new(state.get("desired").cloned(), state.get("reported").cloned(), None)
}

/// The shadow after a list of `state` objects, one second each from 1 on.
fn shadow(states: &[Value]) -> Shadow {
    states.iter().zip(1..).fold(Shadow::default(), |shadow, (state, second)| {
        shadow.apply(at(second), &update(state).unwrap()).unwrap()
    })
}

fn state(section: &Section) -> Value {
    json!(State(section))
}

fn metadata(section: &Section) -> Value {
    json!(Metadata(section))
}
