//! The real agent, on a real disk, against a server that may misbehave.
#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

mod bad_server;
#[cfg(feature = "mqtt")]
mod broker;
mod device;
mod flow;
mod kill;
#[cfg(feature = "lwm2m")]
mod lwm2m;
#[cfg(feature = "lwm2m")]
mod lwm2m_server;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "mqtt")]
mod mqtt_tls;
mod script;
mod stub;
mod tls;
mod zerynth;
