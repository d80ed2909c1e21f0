//! MQTT, from the outside.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod endpoint;
