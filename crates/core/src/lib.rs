//! The domain of Updraft: devices, releases, policies, rollouts, executions.
//!
//! Pure and synchronous: nothing here reads a clock, a socket, a file or a random source.

pub mod attributes;
pub mod policy;
pub mod version;
