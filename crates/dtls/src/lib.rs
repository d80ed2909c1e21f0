//! DTLS 1.2 for many peers on one socket, without the socket: datagrams and the time go in, datagrams and events come out.
//! Both ends: [`Server`] holds the sessions of all devices, [`Client`] the one session of a device.
//!
//! The handshake, the records, X.509 and all cryptography are Mbed TLS. `mbed` is the only module of the tree with unsafe
//! code, but for the two lines that let each end move to another thread. What is ours is what Mbed TLS leaves to its user: which datagram belongs to whom, cookies before memory, limits,
//! sessions that sleep as a few hundred bytes and wake by themselves, and sessions that outlive a graceful restart.
//!
//! Time is a [`Duration`](std::time::Duration) since a beginning of the caller's choosing, which never goes back. The dates
//! of certificates alone are compared with the system's clock.
//!
//! [`Sessions`] is what a server needs of its socket's security; [`Server`] is it with DTLS, [`Plain`] without any.
//!
//! Deliberately absent: sockets, threads, any async runtime, session resumption, renegotiation, DTLS 1.0 and 1.3, raw
//! public keys, and more than the cipher suites that LwM2M asks for.

mod client;
mod config;
mod error;
mod event;
mod identity;
mod mbed;
mod plain;
mod record;
mod server;
mod sessions;
mod snapshot;

pub use client::{Client, ClientEvent};
pub use config::{
    Certified, ClientConfig, ClientCredential, KEY_BYTES_MAX, Lookup, LookupKey, OwnCertificate,
    PreSharedKey, ServerConfig, Trust,
};
pub use error::{Error, SendError};
pub use event::{CloseReason, Event, Failure};
pub use identity::{Certificate, Identity};
pub use plain::Plain;
pub use record::DATAGRAM_BYTES_MAX;
pub use server::{Counts, Server};
pub use sessions::{SessionId, Sessions};
pub use snapshot::{Snapshot, SnapshotError};
