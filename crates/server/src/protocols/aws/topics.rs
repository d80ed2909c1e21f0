//! The line to what carries topics: what is asked here may be asked there, and who listens there hears of what was done
//! here. Nothing of it names MQTT.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use updraft_core::id::DeviceId;

/// Who says something on a topic: it may say what its credential lets it say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speaker {
    /// A device, itself or by the word of someone who may speak for it.
    Device(DeviceId),
    /// An operator's program, by the operator's name.
    Application(String),
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: Arc<str>,
    /// What it says.
    pub payload: Bytes,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// The topic is not the speaker's.
    Forbidden,
    /// The server cannot take it now.
    Unavailable,
}

/// What a message led to.
pub type Said<'a> = Pin<Box<dyn Future<Output = Result<Vec<Message>, NotTaken>> + Send + 'a>>;

/// What carries topics.
pub trait Topics: Send + Sync + 'static {
    /// Says something on a topic. Ends once it is durable and whoever listens is told; with the answers to it.
    fn say(&self, from: Speaker, message: Message) -> Said<'_>;
}
