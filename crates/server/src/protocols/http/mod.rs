//! HTTP check-in: the native contract, and the one of the Ioto agent and the EmbedThis updaters.

pub mod check_in;
pub mod config;
pub mod gate;
pub mod schedule;
pub mod serve;
