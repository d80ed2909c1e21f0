//! CoAP (RFC 7252): messages, the message layer, block-wise transfer, observe.

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
