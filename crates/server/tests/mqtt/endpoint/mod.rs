//! The embedded endpoint: what clients may do to it, and it to them. Raw packets, a handler and a gate of the test's own.

#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else arrives fails the test")]

mod client;
mod connect;
mod delivery;
mod malformed;
mod open_v3;
mod open_v5;
mod persistence;
mod publish;
mod slow;
mod stage;
mod subscribe;
mod takeover;
