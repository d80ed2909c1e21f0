//! The server's end: the sessions of all devices on one socket.

mod handshakes;
mod pace;
mod table;

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use handshakes::{Handshake, Handshakes};
use pace::Pace;
use table::{Session, State, Table};

use crate::mbed::{Context, Ended, Exchange, Progress, Seen, Settings};
use crate::record::{self, CID_BYTES, Cid, Hello, Kind, RECORD_BYTES_MAX, RECORDS_MAX, Record};
use crate::{
    CloseReason, Error, Event, Failure, Identity, SendError, ServerConfig, SessionId, Sessions, Snapshot,
};

/// Most sessions put to sleep or forgotten in one call, so that no call takes long: some milliseconds.
const PUT_AWAY_MAX: usize = 200;

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Handshakes under way.
    pub half_open: usize,
    /// Sessions ready.
    pub awake: usize,
    /// Sessions put away.
    pub asleep: usize,
}

/// The server's end: the sessions of all devices on one socket.
///
/// A stranger costs no memory until it has shown, by a cookie, that it hears at its address. A session of a device that is
/// silent sleeps as a few hundred bytes, and is woken by a record of its own or by data to send.
pub struct Server {
    // Contexts first: they point to the settings, which each of them holds too.
    listener: Option<(Context, Cid)>,
    handshakes: Handshakes,
    pace: Pace,
    table: Table,
    settings: Rc<Settings>,
    config: ServerConfig,
    transmit: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<Event>,
    buffer: Box<[u8]>,
}

// SAFETY: the settings and all contexts are owned by this value alone, and nothing of them is lent out; the lookup is `Send`.
#[expect(
    unsafe_code,
    reason = "Mbed TLS's structures may move between threads, if one thread at a time uses them"
)]
unsafe impl Send for Server {}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// Milliseconds of the caller's time.
pub(crate) fn millis(now: Duration) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

impl Server {
    /// A server with no session yet.
    ///
    /// # Errors
    /// If a certificate or a key cannot be read, or there is neither certificate nor lookup.
    pub fn new(mut config: ServerConfig) -> Result<Self, Error> {
        let settings = Settings::server(&mut config)?;
        Ok(Self {
            listener: None,
            handshakes: Handshakes::default(),
            pace: Pace::new(config.handshakes_per_second_and_source, config.handshakes_at_once_per_source),
            table: Table::default(),
            settings,
            config,
            transmit: VecDeque::new(),
            events: VecDeque::new(),
            buffer: vec![0; RECORD_BYTES_MAX].into(),
        })
    }

    /// How many there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            half_open: self.handshakes.len(),
            awake: self.table.awake_len(),
            asleep: self.table.asleep_len(),
        }
    }

    /// All sessions, in no order.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.table.ids()
    }

    /// Puts a session away, to be restored by this process or the next. Here it has ended, without a word to the peer.
    ///
    /// Nothing is put away that cannot be: a session with a CBC suite, or whose peer has not sent anything yet.
    pub fn save(&mut self, session: SessionId) -> Option<Snapshot> {
        if !self.table.put_to_sleep(session) {
            return None;
        }
        let Session { address, cid, identity, state, .. } = self.table.remove(session)?;
        match state {
            State::Asleep(state) => Some(Snapshot { address, cid, identity, state }),
            State::Awake(_) => None,
        }
    }

    /// Takes a session up again. It sleeps until one of its ends has something to say.
    ///
    /// # Errors
    /// If it is there already, or there is no room for it.
    pub fn restore(&mut self, now: Duration, snapshot: Snapshot) -> Result<SessionId, Error> {
        let Snapshot { address, cid, identity, state } = snapshot;
        let same_cid = cid.is_some_and(|cid| self.table.with_cid(&cid).is_some());
        if same_cid || self.table.at_address(address).is_some() {
            return Err(Error::AlreadyThere);
        }
        if self.table.len() >= self.config.sessions_max {
            return Err(Error::Full);
        }
        Ok(self.table.insert(Session::new(millis(now), address, cid, identity, State::Asleep(state))))
    }

    fn handle_record(&mut self, now_ms: u64, from: SocketAddr, record: &Record<'_>) {
        match record.kind {
            Kind::Hello(hello) => match self.handshakes.get(from) {
                Some(handshake) if handshake.hello == hello => {
                    self.step_handshake(now_ms, from, Some(record.bytes));
                }
                _ => self.handle_hello(now_ms, from, hello, record.bytes),
            },
            // Not a session's: once there is one, nothing in the clear is for it.
            Kind::Clear => self.step_handshake(now_ms, from, Some(record.bytes)),
            Kind::ProtectedWithCid(cid) => match self.table.with_cid(&cid) {
                Some(session) => self.step_session(now_ms, session, from, record),
                None if self.handshakes.get(from).is_some_and(|handshake| handshake.cid == cid) => {
                    self.step_handshake(now_ms, from, Some(record.bytes));
                }
                None => {}
            },
            Kind::Protected => self.handle_protected(now_ms, from, record),
        }
    }

    /// A record that only its sender's address assigns: to the session there or, if it is none of that one's, to the
    /// handshake there.
    fn handle_protected(&mut self, now_ms: u64, from: SocketAddr, record: &Record<'_>) {
        let session = self.table.at_address(from);
        if self.handshakes.get(from).is_none() {
            if let Some(session) = session {
                self.step_session(now_ms, session, from, record);
            }
            return;
        }
        let context = session.and_then(|session| self.table.wake(&self.settings, session));
        match (session, context) {
            (Some(session), Some(Ok(context))) if context.is_authentic(record.bytes) => {
                self.step_session(now_ms, session, from, record);
            }
            _ => self.step_handshake(now_ms, from, Some(record.bytes)),
        }
    }

    /// A stranger, or a peer that begins anew. Nothing is kept of it until it shows a cookie.
    fn handle_hello(&mut self, now_ms: u64, from: SocketAddr, hello: Hello, record: &[u8]) {
        let full = self.handshakes.len() >= self.config.half_open_max
            || self.handshakes.is_full_for(from, self.config.half_open_per_source_max);
        if full && self.handshakes.get(from).is_none() {
            return;
        }
        let Some((mut context, cid)) = self.listener.take().or_else(|| self.new_listener()) else { return };
        if context.set_address(&address_bytes(from)).is_err() {
            return;
        }
        self.settings.set_admits(self.pace.admits(now_ms, from));
        let mut exchange = Exchange::new(now_ms, Some(record), Seen::default());
        let progress = context.handshake(&mut exchange);
        if progress.has_shown_cookie() {
            self.pace.note(now_ms, from);
        }
        match progress {
            Progress::NeedsCookie(false) => self.send_all(from, exchange.outgoing),
            Progress::Waiting(true) => {
                self.send_all(from, exchange.outgoing);
                self.begin_handshake(
                    from,
                    Handshake {
                        context,
                        cid,
                        hello,
                        seen: exchange.seen,
                        ends_ms: now_ms.saturating_add(millis(self.config.handshake_timeout)),
                    },
                );
                return;
            }
            Progress::Failed(ended) if ended.cookie_right => {
                self.send_all(from, exchange.outgoing);
                self.refuse(from, exchange.seen, ended);
            }
            // Of an address that is not verified, nothing is told and nothing kept.
            // And whoever begins too many has to wait: asked for a cookie again, it would bring it at once.
            Progress::NeedsCookie(true) | Progress::Waiting(false) | Progress::Done | Progress::Failed(_) => {
            }
        }
        if context.reset().is_ok() {
            self.listener = Some((context, cid));
        }
    }

    fn new_listener(&self) -> Option<(Context, Cid)> {
        let mut cid = [0; CID_BYTES];
        getrandom::fill(&mut cid).ok()?;
        Context::new(&self.settings, Some(&cid)).ok().map(|context| (context, cid))
    }

    fn begin_handshake(&mut self, from: SocketAddr, handshake: Handshake) {
        if let Some(before) = self.handshakes.take(from) {
            let claimed = before.seen.identity;
            self.events.push_back(Event::Refused { address: from, claimed, failure: Failure::Restarted });
        }
        self.handshakes.put(from, handshake);
    }

    /// Goes on with the handshake at an address, if there is one.
    fn step_handshake(&mut self, now_ms: u64, from: SocketAddr, record: Option<&[u8]>) {
        let Some(mut handshake) = self.handshakes.take(from) else { return };
        let seen = std::mem::take(&mut handshake.seen);
        let mut exchange = Exchange::new(now_ms, record, seen);
        match handshake.context.handshake(&mut exchange) {
            Progress::Waiting(_) | Progress::NeedsCookie(_) if now_ms >= handshake.ends_ms => {
                let claimed = exchange.seen.identity;
                self.events.push_back(Event::Refused { address: from, claimed, failure: Failure::Timeout });
            }
            Progress::Waiting(_) | Progress::NeedsCookie(_) => {
                handshake.seen = exchange.seen;
                self.handshakes.put(from, handshake);
                self.send_all(from, exchange.outgoing);
            }
            Progress::Done => {
                self.send_all(from, exchange.outgoing);
                self.connect(now_ms, from, handshake, exchange.seen);
            }
            Progress::Failed(ended) => {
                // Who is not to blame hears nothing, and tries again.
                if exchange.seen.no_key.is_none() {
                    self.send_all(from, exchange.outgoing);
                }
                self.refuse(from, exchange.seen, ended);
            }
        }
    }

    fn refuse(&mut self, address: SocketAddr, seen: Seen, ended: Ended) {
        let failure = ended.failure(&seen);
        self.events.push_back(Event::Refused { address, claimed: seen.identity, failure });
    }

    /// A peer has proved who it is.
    fn connect(&mut self, now_ms: u64, address: SocketAddr, handshake: Handshake, seen: Seen) {
        let Handshake { mut context, cid, .. } = handshake;
        context.forget_certificate();
        if let Some(before) = self.table.at_address(address) {
            self.end(before, CloseReason::Replaced);
        }
        let identity = seen.identity.unwrap_or(Identity::Unproven);
        while let Some(surplus) =
            self.table.surplus_of(&identity, self.config.sessions_per_identity_max.max(1))
        {
            self.end(surplus, CloseReason::Evicted);
        }
        while self.table.len() >= self.config.sessions_max.max(1) {
            let oldest = self.table.oldest_asleep().or_else(|| self.table.oldest_awake());
            let Some((_, oldest)) = oldest else { break };
            self.end(oldest, CloseReason::Evicted);
        }
        let cid = context.has_cid().then_some(cid);
        let session = Session::new(now_ms, address, cid, identity.clone(), State::Awake(context));
        let session = self.table.insert(session);
        self.events.push_back(Event::Connected { session, address, identity });
        self.limit_awake();
    }

    /// Keeps to the most that may be awake.
    fn limit_awake(&mut self) {
        while self.table.awake_len() > self.config.awake_max.max(1) {
            let Some((_, oldest)) = self.table.oldest_awake() else { return };
            if !self.table.put_to_sleep(oldest) {
                self.end(oldest, CloseReason::Evicted);
            }
        }
    }

    /// Gives a session a record, which is its own if it is authentic.
    fn step_session(&mut self, now_ms: u64, id: SessionId, from: SocketAddr, record: &Record<'_>) {
        let Some(session) = self.table.get(id) else { return };
        let (address, slept) = (session.address, matches!(session.state, State::Asleep(_)));
        let context = match self.table.wake(&self.settings, id) {
            Some(Ok(context)) => context,
            Some(Err(reason)) => return self.end(id, reason),
            None => return,
        };
        let before = context.window();
        let mut exchange = Exchange::new(now_ms, Some(record.bytes), Seen::default());
        let mut received = Vec::new();
        let ended = loop {
            match context.read(&mut exchange, &mut self.buffer) {
                Ok(Some(length)) => received.push(self.buffer[..length].to_vec()),
                Ok(None) => break None,
                Err(ended) => break Some(ended),
            }
        };
        let after = context.window();
        let mut to = address;
        if after != before {
            self.table.touch(now_ms, id);
            // Newer than all before, and no replay from elsewhere (RFC 9146 §6).
            if after.0 > before.0 && from != address && matches!(record.kind, Kind::ProtectedWithCid(_)) {
                self.move_to(id, from);
                to = from;
            }
        }
        self.events.extend(received.into_iter().map(|data| Event::Received { session: id, data }));
        self.send_all(to, exchange.outgoing);
        if let Some(ended) = ended {
            self.end(id, ended.reason());
        } else if slept && after == before {
            // It was not for this that the session was woken.
            self.table.put_to_sleep(id);
        } else {
            self.limit_awake();
        }
    }

    fn move_to(&mut self, id: SessionId, address: SocketAddr) {
        if let Some(before) = self.table.at_address(address).filter(|other| *other != id) {
            self.end(before, CloseReason::Replaced);
        }
        self.table.set_address(id, address);
        self.events.push_back(Event::Moved { session: id, address });
    }

    fn end(&mut self, session: SessionId, reason: CloseReason) {
        if self.table.remove(session).is_some() {
            self.events.push_back(Event::Closed { session, reason });
        }
    }

    fn send_all(&mut self, to: SocketAddr, datagrams: Vec<Vec<u8>>) {
        self.transmit.extend(datagrams.into_iter().map(|datagram| (to, datagram)));
    }

    /// Puts those to sleep that have been silent for long, and forgets those that have been for longer.
    fn put_away(&mut self, now_ms: u64) {
        let (sleep_after, forget_after) = (millis(self.config.sleep_after), millis(self.config.forget_after));
        for _ in 0..PUT_AWAY_MAX {
            let Some((since, id)) = self.table.oldest_awake() else { break };
            if since.saturating_add(sleep_after) > now_ms {
                break;
            }
            let active = self.table.get(id).map_or(now_ms, |session| session.active_ms);
            if active.saturating_add(forget_after) <= now_ms {
                self.end(id, CloseReason::Forgotten);
            } else if !self.table.put_to_sleep(id) {
                self.table.set_order(now_ms, id);
            }
        }
        for _ in 0..PUT_AWAY_MAX {
            let Some((since, id)) = self.table.oldest_asleep() else { break };
            if since.saturating_add(forget_after) > now_ms {
                break;
            }
            self.end(id, CloseReason::Forgotten);
        }
    }

    fn write(&mut self, now_ms: u64, id: SessionId, data: Option<&[u8]>) -> Result<(), SendError> {
        let address = self.table.get(id).ok_or(SendError::NoSession)?.address;
        let context = match self.table.wake(&self.settings, id).ok_or(SendError::NoSession)? {
            Ok(context) => context,
            Err(reason) => {
                self.end(id, reason);
                return Err(SendError::NoSession);
            }
        };
        let mut exchange = Exchange::new(now_ms, None, Seen::default());
        let written = match data {
            Some(data) if data.len() > context.payload_max() => return Err(SendError::TooLong),
            Some(data) => context.write(&mut exchange, data),
            None => {
                context.say_goodbye(&mut exchange);
                Ok(())
            }
        };
        self.table.touch(now_ms, id);
        self.send_all(address, exchange.outgoing);
        written.map_err(|ended| {
            self.end(id, ended.reason());
            SendError::NoSession
        })
    }
}

impl Sessions for Server {
    fn handle_datagram(&mut self, now: Duration, from: SocketAddr, datagram: &[u8]) {
        for record in record::records(datagram).take(RECORDS_MAX) {
            self.handle_record(millis(now), from, &record);
        }
    }

    fn handle_timeout(&mut self, now: Duration) {
        let now = millis(now);
        for address in self.handshakes.due(now) {
            self.step_handshake(now, address, None);
        }
        self.put_away(now);
    }

    fn send(&mut self, now: Duration, session: SessionId, data: &[u8]) -> Result<(), SendError> {
        self.write(millis(now), session, Some(data))?;
        self.limit_awake();
        Ok(())
    }

    fn close(&mut self, now: Duration, session: SessionId) {
        if self.write(millis(now), session, None).is_ok() {
            self.end(session, CloseReason::Local);
        }
    }

    fn identity(&self, session: SessionId) -> Option<&Identity> {
        self.table.get(session).map(|session| &session.identity)
    }

    fn address(&self, session: SessionId) -> Option<SocketAddr> {
        self.table.get(session).map(|session| session.address)
    }

    fn ids(&self) -> Vec<SessionId> {
        self.sessions().collect()
    }

    fn save(&mut self, session: SessionId) -> Option<Snapshot> {
        Self::save(self, session)
    }

    fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmit.pop_front()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Duration> {
        let after =
            |since: Option<(u64, SessionId)>, wait| since.map(|(at, _)| at.saturating_add(millis(wait)));
        let times = [
            self.handshakes.next_due_ms(),
            after(self.table.oldest_awake(), self.config.sleep_after),
            after(self.table.oldest_asleep(), self.config.forget_after),
        ];
        times.into_iter().flatten().min().map(Duration::from_millis)
    }
}

/// An address as the bytes that a cookie is bound to.
fn address_bytes(address: SocketAddr) -> Vec<u8> {
    let mut bytes = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend(address.port().to_be_bytes());
    bytes
}
