//! The server as a client of brokers that others run: Debian's mosquitto and nats-server, started for each test.
//!
//! Where a broker is missing a test says so, with the line that installs it, and fails on a machine that checks everything
//! (`CI=true`).

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod authority;
mod broker;
mod client;
mod mosquitto;
mod nats;
mod pool;
mod share;
mod stage;
mod tls;
