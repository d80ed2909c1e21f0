//! Sessions without security: CoAP's NoSec mode, and the double of [`Server`](crate::Server) in tests.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::record::DATAGRAM_BYTES_MAX;
use crate::{CloseReason, Event, Identity, SendError, SessionId, Sessions, Snapshot};

/// Sessions without security: each address from which a datagram came is one, of nobody known.
///
/// A source address can be forged, so sessions cost little, and the caller must hold back what it sends to one that has
/// not shown yet that it hears (RFC 9175 §2.4).
#[derive(Debug)]
pub struct Plain {
    sessions_max: usize,
    sessions: HashMap<SessionId, (SocketAddr, u64)>,
    by_address: HashMap<SocketAddr, SessionId>,
    /// By the moment of the last datagram, in milliseconds.
    by_silence: BTreeSet<(u64, SessionId)>,
    next: u64,
    transmit: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<Event>,
}

impl Plain {
    /// Holds at most so many sessions; one more closes that which has been silent for longest.
    #[must_use]
    pub fn new(sessions_max: usize) -> Self {
        Self {
            sessions_max: sessions_max.max(1),
            sessions: HashMap::new(),
            by_address: HashMap::new(),
            by_silence: BTreeSet::new(),
            next: 1,
            transmit: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn heard(&mut self, now: u64, session: SessionId) {
        if let Some((_, heard)) = self.sessions.get_mut(&session) {
            self.by_silence.remove(&(*heard, session));
            *heard = now;
            self.by_silence.insert((now, session));
        }
    }

    fn begin(&mut self, now: u64, address: SocketAddr) -> SessionId {
        while self.sessions.len() >= self.sessions_max {
            let Some(&(_, oldest)) = self.by_silence.first() else { break };
            self.end(oldest, CloseReason::Evicted);
        }
        let session = SessionId(self.next);
        self.next += 1;
        self.sessions.insert(session, (address, now));
        self.by_address.insert(address, session);
        self.by_silence.insert((now, session));
        self.events.push_back(Event::Connected { session, address, identity: Identity::Unproven });
        session
    }

    fn end(&mut self, session: SessionId, reason: CloseReason) {
        if let Some((address, heard)) = self.sessions.remove(&session) {
            self.by_address.remove(&address);
            self.by_silence.remove(&(heard, session));
            self.events.push_back(Event::Closed { session, reason });
        }
    }
}

impl Sessions for Plain {
    fn handle_datagram(&mut self, now: Duration, from: SocketAddr, datagram: &[u8]) {
        if datagram.is_empty() {
            return;
        }
        let now = crate::server::millis(now);
        let known = self.by_address.get(&from).copied();
        let session = known.unwrap_or_else(|| self.begin(now, from));
        self.heard(now, session);
        self.events.push_back(Event::Received { session, data: datagram.to_vec() });
    }

    fn handle_timeout(&mut self, _now: Duration) {}

    fn send(&mut self, _now: Duration, session: SessionId, data: &[u8]) -> Result<(), SendError> {
        let (address, _) = self.sessions.get(&session).ok_or(SendError::NoSession)?;
        if data.len() > DATAGRAM_BYTES_MAX {
            return Err(SendError::TooLong);
        }
        self.transmit.push_back((*address, data.to_vec()));
        Ok(())
    }

    fn close(&mut self, _now: Duration, session: SessionId) {
        self.end(session, CloseReason::Local);
    }

    fn identity(&self, session: SessionId) -> Option<&Identity> {
        self.sessions.contains_key(&session).then_some(&Identity::Unproven)
    }

    fn address(&self, session: SessionId) -> Option<SocketAddr> {
        self.sessions.get(&session).map(|(address, _)| *address)
    }

    fn ids(&self) -> Vec<SessionId> {
        self.sessions.keys().copied().collect()
    }

    fn save(&mut self, _session: SessionId) -> Option<Snapshot> {
        None
    }

    fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmit.pop_front()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Duration> {
        None
    }
}
