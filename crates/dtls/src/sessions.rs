//! What a server needs of its socket's security.

use std::net::SocketAddr;
use std::time::Duration;

use crate::{Event, Identity, SendError, Snapshot};

/// A session's number: never used twice within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// The sessions of all peers on one socket: secured by [`Server`](crate::Server), or not, by [`Plain`](crate::Plain).
///
/// Whatever is called, ask `poll_transmit` and `poll_event` until they are empty, and `poll_timeout` after that.
pub trait Sessions {
    /// A datagram has arrived. What cannot be one of a peer's is dropped without a word.
    fn handle_datagram(&mut self, now: Duration, from: SocketAddr, datagram: &[u8]);

    /// Time has passed.
    fn handle_timeout(&mut self, now: Duration);

    /// Sends data in one datagram.
    ///
    /// # Errors
    /// If there is no such session, or the data do not fit in a datagram.
    fn send(&mut self, now: Duration, session: SessionId, data: &[u8]) -> Result<(), SendError>;

    /// Ends a session, and tells the peer so. Nothing happens if there is none.
    fn close(&mut self, now: Duration, session: SessionId);

    /// Who the peer is.
    fn identity(&self, session: SessionId) -> Option<&Identity>;

    /// Where the peer is.
    fn address(&self, session: SessionId) -> Option<SocketAddr>;

    /// All sessions, in no order.
    fn ids(&self) -> Vec<SessionId>;

    /// Puts a session away, to be taken up by the next process; `None`: it cannot be. Here it has ended, without a word to
    /// the peer.
    fn save(&mut self, session: SessionId) -> Option<Snapshot>;

    /// The next datagram to send, and where to.
    fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)>;

    /// The next thing that happened.
    fn poll_event(&mut self) -> Option<Event>;

    /// When to call `handle_timeout`, if nothing else happens before.
    fn poll_timeout(&self) -> Option<Duration>;
}
