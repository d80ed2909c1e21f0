//! The check-in doors as devices see them: over real sockets, with clients that have the habits of those in the
//! field.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod client;
mod doors;
mod links;
mod native;
mod page;
mod stage;
mod updaters;
mod whole;
mod wire;
