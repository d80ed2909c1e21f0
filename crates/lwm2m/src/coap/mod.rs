//! CoAP (RFC 7252): messages, the message layer, block-wise transfer (RFC 7959), observe (RFC 7641).
//!
//! A `Peer` is everything between us and one other end. A datagram passes `message` and `option`, then goes to `answering`,
//! where it is a request of theirs, or to `asking`, where it answers one of ours; both send by `link`. What is whole there,
//! `request` and `event` tell the application.
//!
//! Deliberately absent: sockets, DTLS and the finding of a peer by its address, which are the endpoint's; multicast; proxies;
//! OSCORE; Q-Block (RFC 9177), which no LwM2M device speaks.

mod answering;
mod ask;
mod asking;
mod assembly;
pub mod block;
pub mod config;
pub mod download;
pub mod event;
mod link;
pub mod message;
mod observing;
pub mod option;
pub mod peer;
mod recent;
pub mod request;
pub mod room;
mod round_trip;
mod token_source;
mod turn;
mod understood;
mod upload;

pub use block::{Block, BlockSize};
pub use config::Config;
pub use download::{Download, Progress};
pub use event::{Event, Exchange, Failure, Observer, Refused, RequestId};
pub use message::{Code, Malformed, Message, MessageType, Token};
pub use option::Options;
pub use peer::{Peer, Reliability};
pub use request::{Method, Observe, Request, Response};
pub use room::Room;
