//! Simulated devices: a virtual [`world`] for tests, and real sockets for [`load`].
//!
//! The two share nothing but their purpose. The world is deterministic and knows the truth; load is what a real server
//! on a real machine gets.

pub mod load;
pub mod random;
pub mod world;
