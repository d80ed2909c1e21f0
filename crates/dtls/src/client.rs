//! The device's end: one session with one server.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use crate::mbed::{Context, Ended, Exchange, Progress, Seen, Settings};
use crate::record::{self, Kind, RECORD_BYTES_MAX, RECORDS_MAX};
use crate::server::millis;
use crate::{ClientConfig, CloseReason, Error, Failure, SendError};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// Both ends know each other.
    Connected,
    /// The server has sent data, never empty.
    Received(Vec<u8>),
    /// The session has ended.
    Closed(CloseReason),
    /// The handshake came to nothing.
    Refused(Failure),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Shaking,
    Connected,
}

/// The device's end: one session with one server, wherever its datagrams come from.
///
/// It takes a connection ID if the server gives one, so that the session outlives a change of the device's own address.
pub struct Client {
    context: Context,
    state: State,
    seen: Seen,
    transmit: VecDeque<Vec<u8>>,
    events: VecDeque<ClientEvent>,
    buffer: Box<[u8]>,
}

// SAFETY: the context and its settings are owned by this value alone, and nothing of them is lent out.
#[expect(
    unsafe_code,
    reason = "Mbed TLS's structures may move between threads, if one thread at a time uses them"
)]
unsafe impl Send for Client {}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that has not begun yet.
    ///
    /// # Errors
    /// If a key or a certificate cannot be read.
    pub fn new(config: &ClientConfig) -> Result<Self, Error> {
        let settings: Rc<Settings> = Settings::client(config)?;
        Ok(Self {
            context: Context::new(&settings, None)?,
            state: State::Idle,
            seen: Seen::default(),
            transmit: VecDeque::new(),
            events: VecDeque::new(),
            buffer: vec![0; RECORD_BYTES_MAX].into(),
        })
    }

    /// Begins the handshake. A session that there was, or a handshake, is gone without a word.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn connect(&mut self, now: Duration) -> Result<(), Error> {
        self.context.reset()?;
        self.seen = Seen::default();
        self.state = State::Shaking;
        self.step(now, None);
        Ok(())
    }

    /// Whether both ends know each other.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// A datagram has arrived.
    ///
    /// Its records are given to Mbed TLS one by one, and none in the clear once there is a session: a datagram of such a
    /// record and half of another, which anybody can send, makes Mbed TLS 3.6.5 give up the session.
    pub fn handle_datagram(&mut self, now: Duration, datagram: &[u8]) {
        for record in record::records(datagram).take(RECORDS_MAX) {
            let is_protected = !matches!(record.kind, Kind::Hello(_) | Kind::Clear);
            if self.state == State::Shaking || is_protected {
                self.step(now, Some(record.bytes));
            }
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.context.due_ms().is_some_and(|due| due <= millis(now)) {
            self.step(now, None);
        }
    }

    /// Sends data in one datagram.
    ///
    /// # Errors
    /// If there is no session yet, or the data do not fit in a datagram.
    pub fn send(&mut self, now: Duration, data: &[u8]) -> Result<(), SendError> {
        if self.state != State::Connected {
            return Err(SendError::NoSession);
        }
        if data.len() > self.context.payload_max() {
            return Err(SendError::TooLong);
        }
        let mut exchange = self.exchange(now, None);
        let written = self.context.write(&mut exchange, data);
        self.take_back(exchange);
        written.map_err(|ended| {
            self.end(ended);
            SendError::NoSession
        })
    }

    /// Says goodbye and ends the session.
    pub fn close(&mut self, now: Duration) {
        if self.state == State::Connected {
            let mut exchange = self.exchange(now, None);
            self.context.say_goodbye(&mut exchange);
            self.take_back(exchange);
            self.events.push_back(ClientEvent::Closed(CloseReason::Local));
        }
        self.state = State::Idle;
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// When to call `handle_timeout`, if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        (self.state != State::Idle).then(|| self.context.due_ms())?.map(Duration::from_millis)
    }

    fn exchange<'a>(&mut self, now: Duration, incoming: Option<&'a [u8]>) -> Exchange<'a> {
        Exchange::new(millis(now), incoming, std::mem::take(&mut self.seen))
    }

    fn take_back(&mut self, exchange: Exchange<'_>) {
        self.transmit.extend(exchange.outgoing);
        self.seen = exchange.seen;
    }

    fn step(&mut self, now: Duration, incoming: Option<&[u8]>) {
        let mut exchange = self.exchange(now, incoming);
        if self.state == State::Shaking {
            match self.context.handshake(&mut exchange) {
                Progress::Waiting(_) | Progress::NeedsCookie(_) => {}
                Progress::Done => {
                    self.context.forget_certificate();
                    self.state = State::Connected;
                    self.events.push_back(ClientEvent::Connected);
                }
                Progress::Failed(ended) => {
                    self.state = State::Idle;
                    self.events.push_back(ClientEvent::Refused(ended.failure(&exchange.seen)));
                }
            }
        }
        let mut result = Ok(());
        while self.state == State::Connected {
            match self.context.read(&mut exchange, &mut self.buffer) {
                Ok(Some(length)) => {
                    self.events.push_back(ClientEvent::Received(self.buffer[..length].to_vec()));
                }
                Ok(None) => break,
                Err(ended) => {
                    result = Err(ended);
                    break;
                }
            }
        }
        self.take_back(exchange);
        if let Err(ended) = result {
            self.end(ended);
        }
    }

    fn end(&mut self, ended: Ended) {
        self.state = State::Idle;
        self.events.push_back(ClientEvent::Closed(ended.reason()));
    }
}
