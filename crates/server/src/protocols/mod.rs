//! The ways devices speak: one folder each, a pure half (bytes in, reports out) and a thin half (sockets).

pub mod aws;
pub mod config;
pub mod http;
pub mod lwm2m;
pub mod mqtt;
