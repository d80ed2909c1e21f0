//! A fleet with shadows on virtual time, spoken to by topics.

use serde_json::Value;
use std::time::Duration;
use updraft_core::fleet::Fleet;
use updraft_core::id::DeviceId;
use updraft_core::time::Timestamp;
use updraft_server::protocols::mqtt::door::Effects;
use updraft_server::protocols::mqtt::shadow::{Route, handle};
use updraft_server::store::{Database, SqliteStore};

/// When every stage begins, in seconds.
pub(crate) const START: i64 = 1_700_000_000;

pub(crate) struct Stage {
    pub(crate) fleet: Fleet<SqliteStore>,
    pub(crate) now: Timestamp,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let store = Database::in_memory().unwrap().fleet().unwrap();
        // Within a second, so that a time in milliseconds would be seen.
        let now = Timestamp::from_millis(START * 1_000 + 999);
        Self { fleet: Fleet::open(store).unwrap(), now }
    }

    pub(crate) fn wait(&mut self, duration: Duration) {
        self.now = self.now.plus(duration);
    }

    /// Publishes to one of a device's shadow topics, and returns what is published in turn once it is durable.
    pub(crate) fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> Vec<(String, Value)> {
        let (device, levels) = address(topic);
        let route = Route::parse(levels).unwrap_or_else(|| panic!("{topic} asks for nothing"));
        let effects = handle(&mut self.fleet, self.now, &device, &route, payload.as_ref()).unwrap();
        self.fleet.commit().unwrap();
        let Effects { replies, published } = effects;
        assert!(replies.is_empty(), "a shadow's answers are subscribed to like any message");
        let message = |message: updraft_server::protocols::mqtt::door::Message| {
            (message.topic.to_string(), serde_json::from_slice(&message.payload).unwrap())
        };
        published.into_iter().map(message).collect()
    }
}

/// Takes a shadow's topic apart: the device, and the levels after `shadow/`.
pub(crate) fn address(topic: &str) -> (DeviceId, &str) {
    let rest = topic.strip_prefix("$aws/things/").unwrap();
    let (device, levels) = rest.split_once("/shadow/").unwrap();
    (device.parse().unwrap(), levels)
}
