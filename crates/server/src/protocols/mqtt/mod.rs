//! MQTT: the device state replica, shadows and jobs, over an endpoint of our own or an existing broker.
//!
//! [`door`] is the line between the two halves: on one side what carries messages, on the other what they mean.

pub mod adapter;
pub mod config;
pub mod door;
pub mod endpoint;
pub mod external;
pub mod gate;
pub mod jobs;
pub mod links;
#[cfg(test)]
mod pages;
pub mod replica;
pub mod shadow;
#[cfg(test)]
mod stage;
pub mod start;
pub mod topic;
pub mod websocket;
