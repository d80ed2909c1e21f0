//! What the server's store claims, beyond the contract of every store.
#![expect(clippy::unwrap_used, reason = "a test that meets an error is to stop there")]

mod backup;
mod contract;
mod crash;
mod fleet;
mod folder;
mod lwm2m;
mod sessions;
mod tokens;
mod views;
