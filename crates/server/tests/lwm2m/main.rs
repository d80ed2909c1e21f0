//! LwM2M as devices see it: a whole server, real sockets, and devices of the library's own other end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

#[path = "../check_in/stage.rs"]
#[expect(dead_code, reason = "the stage is that of the check-in tests, which ask more of it")]
mod stage;
#[path = "../check_in/wire.rs"]
#[expect(dead_code, reason = "as the stage")]
mod wire;

mod access;
mod bare;
mod device;
mod flood;
mod hostile;
mod lone_hub;
mod orders;
mod quiet;
mod updates;
