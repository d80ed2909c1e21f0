//! What one client, and all together, may take.

use std::time::Duration;

/// Largest CONNECT, in bytes. A stranger has sent nothing else yet: enough for a token, a will and properties.
pub const CONNECT_BYTES_MAX: usize = 16 * 1024;
/// Largest packet after CONNECT, in bytes: the 128 KiB of payload AWS IoT Core takes, and a topic with properties. Announced
/// to MQTT 5 clients; some take far larger values for malformed.
pub const PACKET_BYTES_MAX: usize = 128 * 1024 + 4 * 1024;
/// Longest topic name or filter, in bytes (AWS IoT Core's limit): what a device's topics need, and no more.
pub const TOPIC_BYTES_MAX: usize = 256;
/// Most levels of a topic name or filter: matching takes a step for each.
pub const TOPIC_LEVELS_MAX: usize = 16;
/// Most subscriptions of one device's session: twice what AWS IoT Core allows. Each is looked at for every message.
pub const SUBSCRIPTIONS_DEVICE_MAX: usize = 100;
/// Most subscriptions of one application's session.
pub const SUBSCRIPTIONS_APPLICATION_MAX: usize = 1_000;
/// Most messages that wait for one client to read.
pub const QUEUE_MESSAGES_MAX: usize = 1_000;
/// Most bytes of topics and payloads that wait for one client to read: the cost of a client that never reads.
pub const QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// Most messages that wait for a device that is away: what it missed is in the database, not here.
pub const AWAY_MESSAGES_MAX: usize = 16;
/// Most messages sent to one client and not acknowledged (AWS IoT Core's limit); a client may ask for fewer.
pub const INFLIGHT_MAX: u16 = 100;
/// Most publishes of one client that are not acknowledged to it: announced as Receive Maximum.
pub const RECEIVE_MAX: u16 = 100;
/// Most publishes of one connection that are worked on at a time; it is not read from while there are as many. One batch of
/// the engine takes them all.
pub const PUBLISHES_CONCURRENT_MAX: usize = 16;
/// Most topic aliases of one connection, in either direction.
pub const TOPIC_ALIASES_MAX: u16 = 10;
/// From connecting to a whole CONNECT that was let in.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest keep-alive: agents of fleets use 1200 s. An MQTT 5 client that asks for none or more is told this.
pub const KEEP_ALIVE_MAX: Duration = Duration::from_secs(3_600);
/// Longest a session waits for its client. It costs a few hundred bytes and a row.
pub const SESSION_EXPIRY_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Most sessions, with and without a connection.
pub const SESSIONS_MAX: usize = 1_000_000;
/// Most connections.
pub const CONNECTIONS_MAX: usize = 1_000_000;
/// How long bytes may wait for a client to take any of them.
pub const STALL_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a second connection waits for the first to finish what it has in hand.
pub const TAKEOVER_TIME_MAX: Duration = Duration::from_secs(5);
/// How often time is looked at: keep-alive, wills and expiry are as exact as this.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(500);
/// Most bytes of a connection's answers before it is read from again.
pub(super) const OUT_BYTES_HIGH: usize = 64 * 1024;
/// What one read takes at most, in bytes: one buffer per thread, not per connection.
pub(super) const READ_BYTES: usize = 64 * 1024;

/// The limits of an endpoint: the constants above, or others for a small machine or a test.
#[derive(Debug, Clone)]
pub struct Limits {
    /// [`CONNECT_BYTES_MAX`].
    pub connect_bytes: usize,
    /// [`PACKET_BYTES_MAX`].
    pub packet_bytes: usize,
    /// [`TOPIC_BYTES_MAX`].
    pub topic_bytes: usize,
    /// [`TOPIC_LEVELS_MAX`].
    pub topic_levels: usize,
    /// [`SUBSCRIPTIONS_DEVICE_MAX`].
    pub subscriptions_device: usize,
    /// [`SUBSCRIPTIONS_APPLICATION_MAX`].
    pub subscriptions_application: usize,
    /// [`QUEUE_MESSAGES_MAX`].
    pub queue_messages: usize,
    /// [`QUEUE_BYTES_MAX`].
    pub queue_bytes: usize,
    /// [`AWAY_MESSAGES_MAX`].
    pub away_messages: usize,
    /// [`INFLIGHT_MAX`].
    pub inflight: u16,
    /// [`RECEIVE_MAX`].
    pub receive: u16,
    /// [`PUBLISHES_CONCURRENT_MAX`].
    pub publishes_concurrent: usize,
    /// [`TOPIC_ALIASES_MAX`].
    pub topic_aliases: u16,
    /// [`CONNECT_TIME_MAX`].
    pub connect_time: Duration,
    /// [`KEEP_ALIVE_MAX`], whole seconds.
    pub keep_alive: Duration,
    /// [`SESSION_EXPIRY_MAX`], whole seconds.
    pub session_expiry: Duration,
    /// [`SESSIONS_MAX`].
    pub sessions: usize,
    /// [`CONNECTIONS_MAX`].
    pub connections: usize,
    /// [`STALL_TIME_MAX`].
    pub stall_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_bytes: CONNECT_BYTES_MAX,
            packet_bytes: PACKET_BYTES_MAX,
            topic_bytes: TOPIC_BYTES_MAX,
            topic_levels: TOPIC_LEVELS_MAX,
            subscriptions_device: SUBSCRIPTIONS_DEVICE_MAX,
            subscriptions_application: SUBSCRIPTIONS_APPLICATION_MAX,
            queue_messages: QUEUE_MESSAGES_MAX,
            queue_bytes: QUEUE_BYTES_MAX,
            away_messages: AWAY_MESSAGES_MAX,
            inflight: INFLIGHT_MAX,
            receive: RECEIVE_MAX,
            publishes_concurrent: PUBLISHES_CONCURRENT_MAX,
            topic_aliases: TOPIC_ALIASES_MAX,
            connect_time: CONNECT_TIME_MAX,
            keep_alive: KEEP_ALIVE_MAX,
            session_expiry: SESSION_EXPIRY_MAX,
            sessions: SESSIONS_MAX,
            connections: CONNECTIONS_MAX,
            stall_time: STALL_TIME_MAX,
        }
    }
}

impl Limits {
    /// Whether a topic name or filter is short enough, and not empty.
    pub(super) fn fits_topic(&self, topic: &str) -> bool {
        (1..=self.topic_bytes).contains(&topic.len())
            && topic.bytes().filter(|byte| *byte == b'/').count() < self.topic_levels
    }
}
