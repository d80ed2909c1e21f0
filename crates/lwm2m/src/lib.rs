//! CoAP and LwM2M, both ends, without sockets: bytes and the time go in, bytes and events come out.
//!
//! Deliberately absent: clocks, sockets, DTLS, random sources, threads, and any async runtime. The caller brings datagrams,
//! the moment, and a seed; so the same code runs in the server, in the agent, in an RTOS-like program and in the simulator.

pub mod bootstrap;
pub mod client;
pub mod coap;
pub mod content;
pub mod firmware;
pub mod link;
pub mod model;
pub mod moment;
pub mod path;
pub mod registration;
pub mod value;

pub use content::ContentFormat;
pub use moment::Moment;
pub use path::Path;
pub use value::{Entry, Kind, Value};
