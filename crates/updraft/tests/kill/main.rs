//! The server as a process that dies, or is refused its disk, in the middle of its work.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod disk_full;
mod fleet;
mod jobs;
mod mqtt;
mod process;
mod rollout;
mod storm;
mod worker;
