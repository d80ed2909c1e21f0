//! CoAP (RFC 7252): messages, the message layer, block-wise transfer, observe.

pub mod block;
pub mod config;
pub mod event;
pub mod message;
pub mod option;
pub mod peer;
pub mod request;

pub use block::{Block, BlockSize};
pub use config::Config;
pub use event::{Event, Exchange, Failure, Observer, Refused, RequestId};
pub use message::{Code, Malformed, Message, MessageType, Token};
pub use option::Options;
pub use peer::{Peer, Reliability};
pub use request::{Method, Observe, Request, Response};
