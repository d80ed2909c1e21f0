//! What a `Peer` may do and how long it waits: one for all peers of an endpoint.

use super::block::BlockSize;
use super::room::Room;
use std::time::Duration;

/// EXCHANGE_LIFETIME (RFC 7252 §4.8.2): how long a message ID means the same message, and how long a partial body lives.
pub const EXCHANGE_LIFETIME: Duration = Duration::from_secs(247);

/// Room for unfinished bodies of requests unless it is said otherwise: a thousand of the longest at once. Registrations fit in a
/// datagram or a few, so a fleet that comes back needs a fraction of it, and those who never finish cannot take the server's
/// memory.
const BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The rules of the message layer. The defaults are RFC 7252 §4.8's, but for the estimate of the round trip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How long the first acknowledgement is waited for while the round trip is unknown (ACK_TIMEOUT).
    pub ack_timeout: Duration,
    /// The shortest wait for an acknowledgement once the round trip is known. RFC 7252 §4.8.1 allows less than a second only
    /// with more care than an estimate.
    pub ack_timeout_min: Duration,
    /// How often a message is sent again before the peer is held to be away (MAX_RETRANSMIT).
    pub retransmits_max: u8,
    /// How long the response is waited for once the request is acknowledged (as MAX_TRANSMIT_WAIT).
    pub response_timeout: Duration,
    /// How long a request waits for its answer before it is acknowledged without one. Below the peer's shortest wait.
    pub ack_delay: Duration,
    /// Requests and confirmable notifications that may wait for their turn; one is under way at a time (NSTART 1).
    pub queue_max: usize,
    /// Requests of the peer that may wait for the application.
    pub exchanges_max: usize,
    /// Messages of the peer that are remembered for 247 s, with what was answered.
    pub recent_max: usize,
    /// The longest body of a request that is put together: registrations and writes are far shorter.
    pub request_bytes_max: usize,
    /// Room for such bodies while they come, for all peers that share this.
    pub bodies: Room,
    /// The longest body of a response that is put together. What is longer is asked for block by block (`Download`).
    pub response_bytes_max: usize,
    /// The largest block sent and asked for.
    pub block_size: BlockSize,
    /// How often a body is begun again: after 4.08, after 4.13 with a smaller size, after a change of the ETag.
    pub restarts_max: u8,
    /// Resources of ours that a peer may observe at a time.
    pub observers_max: usize,
    /// Resources of a peer that may be observed at a time.
    pub observations_max: usize,
    /// Paths ("/5/0/0") whose bodies go to the application block by block, never held whole.
    pub streamed: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ack_timeout: Duration::from_secs(2),
            ack_timeout_min: Duration::from_secs(1),
            retransmits_max: 4,
            response_timeout: Duration::from_secs(93),
            ack_delay: Duration::from_millis(500),
            queue_max: 16,
            exchanges_max: 8,
            recent_max: 8,
            request_bytes_max: 64 * 1024,
            bodies: Room::new(BODIES_BYTES_MAX),
            response_bytes_max: 64 * 1024,
            block_size: BlockSize::MAX,
            restarts_max: 3,
            observers_max: 32,
            observations_max: 32,
            streamed: Vec::new(),
        }
    }
}
