//! The line between what carries messages and what they mean.
//!
//! What carries them (the embedded endpoint, or a client of an existing broker) knows connections, sessions and
//! subscriptions, and calls a [`Handler`]. What they mean (replica, shadow, jobs) knows devices, and sends through a
//! [`Bus`]. Neither knows the other's inside.

use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;
use updraft_core::id::{DeviceId, ProductName};

/// Who is at the other end of a connection, proven by its credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A device: sees its own topics, and no other.
    Device {
        /// Which device.
        id: DeviceId,
        /// The product whose credential spoke for it, if it has none of its own: it is of that product or refused.
        product: Option<ProductName>,
    },
    /// An operator's program: sees the topics of all devices, and may use wildcards.
    Application {
        /// The operator whose token it uses.
        name: String,
    },
}

/// One message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its topic name.
    pub topic: Arc<str>,
    /// Its payload.
    pub payload: Bytes,
}

/// What a publish leads to, once all it rests on is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// For the publisher alone, once each, whether or not it subscribed; nobody else sees them.
    pub replies: Vec<Message>,
    /// For whoever subscribed to their topics.
    pub published: Vec<Message>,
}

/// Why a publish was not taken. The endpoint answers 0x87 (not authorized) to MQTT 5 and hangs up on MQTT 3.1.1 for the
/// first; the second is answered as an unspecified error (0x80), hanging up on 3.1.1, so that the sender tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// The topic is not the publisher's.
    Forbidden,
    /// The server cannot take it now.
    Unavailable,
}

/// What the messages mean.
pub trait Handler: Send + Sync + 'static {
    /// Takes in what a client published. Ends once it is durable: only then may the publish be acknowledged.
    ///
    /// # Errors
    /// [`NotTaken`].
    fn publish(
        &self,
        from: &Identity,
        topic: &str,
        payload: Bytes,
    ) -> impl Future<Output = Result<Effects, NotTaken>> + Send;

    /// A client's subscription was granted, or a session with it was resumed after an absence: what it must hear now, for
    /// it alone.
    fn subscribed(
        &self,
        who: &Identity,
        filter: &str,
        occasion: Occasion,
    ) -> impl Future<Output = Vec<Message>> + Send;
}

/// Why a client may have something to catch up on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// It subscribed just now.
    Subscribed,
    /// Its session, with this subscription, was resumed.
    Resumed,
}

/// What carries messages.
pub trait Bus: Send + Sync + 'static {
    /// Sends a message to whoever subscribed to its topic, at QoS 1 at most. Never waits: for a client that does not read,
    /// a bounded queue fills and the client is disconnected.
    fn publish(&self, message: Message);

    /// Whether a device is connected here, as far as is known: no reason to work for one that is not.
    fn is_connected(&self, device: &DeviceId) -> bool;

    /// The devices connected here, as far as is known, in any order.
    fn connected(&self) -> Vec<DeviceId>;
}
