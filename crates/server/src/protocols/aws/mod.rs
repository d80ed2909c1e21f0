//! The HTTP doors of AWS IoT, for programs that are told another endpoint: jobs, by both of their planes, shadows,
//! publishing, and the exchange of a device's credential for a temporary one.
//!
//! Requests are signed (Signature Version 4, [`sigv4`]) with an access key of this server or a temporary one, or come
//! with a device's token or certificate. What a device asks here is what it could ask over MQTT, and is answered by the
//! same code: HTTP is another carrier of the same words ([`topics`]).
//!
//! Deliberately absent: accounts, regions and roles. A request's region is taken as it comes, and echoed in names.

pub mod arn;
pub mod books;
pub mod caller;
pub mod config;
mod control;
mod data;
pub mod door;
pub mod failure;
mod jobs;
pub mod query;
mod role;
pub mod serve;
pub mod sigv4;
pub mod topics;
