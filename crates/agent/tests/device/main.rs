//! The real agent, on a real disk, against a server that may misbehave.
#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

mod bad_server;
mod device;
mod flow;
mod kill;
mod script;
mod stub;
mod tls;
