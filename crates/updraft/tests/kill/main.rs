//! The server as a process that dies, or is refused its disk, in the middle of its work.

#![cfg(unix)]

mod disk_full;
mod fleet;
mod process;
mod rollout;
