//! The message layer against CoAP ends of others: libcoap's server and client, as Debian builds them without DTLS, and
//! aiocoap's. What is said to them is read a third time, by Wireshark's dissector.
//!
//! The clients come by `scripts/setup clients`; where one is missing a test says so, and fails on a machine that checks
//! everything (`CI=true`).

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::wildcard_enum_match_arm, reason = "whatever a test does not expect fails it")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the crate has no sockets and no clock; ends of others have"
)]

mod aiocoap;
mod capture;
mod libcoap;
mod program;
mod served;
mod talk;
