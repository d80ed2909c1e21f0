//! The Updraft server: store, artifacts, protocols, operator API, and the engine thread that owns the fleet.
//!
//! Rules live in `updraft-core`; what is here brings bytes to them and away from them. Doors for devices are under
//! [`protocols`], for operators under [`api`](mod@api); both speak to the [`engine`], and [`serve`] puts everything together.

pub mod api;
pub mod artifacts;
pub mod auth;
pub mod config;
pub mod engine;
pub mod interval;
pub mod listen;
pub mod pki;
pub mod placeholder;
pub mod protocols;
pub mod serve;
pub mod shadow;
pub mod store;
pub mod update;
