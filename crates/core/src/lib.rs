//! The domain of Updraft: devices, releases, policies, rollouts, executions.
//!
//! Pure and synchronous: nothing here reads a clock, a socket, a file or a random source. Time is an argument, IDs
//! arrive in commands, positions are stable hashes. Protocols speak to [`fleet::Fleet`] with three verbs, `report`,
//! `offer` and `tick`; operators with its commands; and [`store::Store`] is what it stands on.

pub mod attributes;
pub mod conformance;
pub mod device;
pub mod execution;
pub mod explain;
pub mod fleet;
pub mod id;
pub mod memory;
pub mod policy;
pub mod position;
pub mod release;
pub mod report;
pub mod rollout;
mod selection;
pub mod shadow;
pub mod state;
pub mod store;
pub mod task;
pub mod time;
pub mod version;
