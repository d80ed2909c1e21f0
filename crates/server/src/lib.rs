//! The Updraft server.

pub mod artifacts;
pub mod listen;
pub mod pki;
pub mod store;
