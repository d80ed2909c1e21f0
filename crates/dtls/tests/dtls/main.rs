//! Both ends of DTLS against each other, over a network that does what each test says, on virtual time; and the server's
//! end against clients of others.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod certificates;
mod connection_ids;
mod handshake;
mod hostile;
mod limits;
mod peers;
mod sleeping;
mod snapshots;
mod world;
