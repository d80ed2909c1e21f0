//! What the server's store claims, beyond the contract of every store.

mod contract;
mod fleet;
mod tokens;
mod views;
