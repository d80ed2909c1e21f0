//! LwM2M: constrained devices, over CoAP on UDP, with DTLS or without.
//!
//! [`hub`] is the protocol's pure half: datagrams and the fleet's answers in, datagrams and words for the fleet out.
//! [`firmware`], [`delivery`] and [`describe`] are its tables: object 5 to execution, push or pull, tree to description.

pub mod books;
pub mod config;
pub mod delivery;
pub mod describe;
pub mod desk;
pub mod firmware;
pub mod fleet;
pub mod hub;
mod outside;
pub mod serve;
pub mod sessions;
