//! Simulated devices: a virtual [`world`] for tests, and real sockets for [`load`]; a bad network for programs that are real
//! ([`proxy`]).
//!
//! The two share nothing but their purpose. The world is deterministic and knows the truth; load is what a real server
//! on a real machine gets.

pub mod load;
pub mod proxy;
pub mod random;
pub mod world;
