//! The clients that devices and operators really run, unmodified, against a server of the real program.
//!
//! Each test starts a server of its own, gives a device its credential, runs one program of `tests/clients` and compares
//! what the server has on its books. The clients come from the registries by `scripts/clients`, pinned; where they are
//! missing a test says so, and fails on a machine that checks everything (`CI=true`).

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod case;
mod certificate;
mod jobs;
mod lwm2m;
mod program;
mod replica;
mod server;
mod shadow;
mod zerynth;
