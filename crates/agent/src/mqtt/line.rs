//! One connection, held by one thread for as long as the line lives, and made again when it is lost.
//!
//! Others ask on it and wait for the reply, one at a time. A reply is told by its topic and by the token of its request,
//! so a late or foreign one is nobody's. All other messages are hints or nothing.

use crate::config::Credential;
use crate::http::ClientError;
use crate::pace;
use crate::session::sentence;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet, SubscribeReasonCode};
use rumqttc::{
    Client, Connection, ConnectionError, Event, MqttOptions, NetworkOptions, Publish, PublishOptions, QoS,
    RecvTimeoutError, SubscribeFilter, TlsConfiguration, Transport,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use updraft_wire::broker::Address;
use updraft_wire::replica::Verdict;

/// Largest message taken, in bytes: a device's whole state, in which an assignment (at most 128 KiB as an answer over
/// HTTP) stands as desired state and again as what differs. A longer one ends the connection.
pub(crate) const MESSAGE_BYTES_MAX: usize = 2 * updraft_wire::check_in::ANSWER_BYTES_MAX + 8 * 1024;
/// Longest message sent, in bytes: what a check-in may have.
pub(crate) const SAID_BYTES_MAX: usize = updraft_wire::check_in::CHECK_IN_BYTES_MAX;
/// Longest time to reach the server, name resolution and TLS handshake included.
const CONNECT_TIME_MAX: Duration = crate::http::CONNECT_TIME_MAX;
/// A connection that lasted so long, and on which something was answered, was a good one: earlier failures are forgotten.
const STEADY_TIME: Duration = Duration::from_secs(30);
/// How long the server is given to take leave of, at the end.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(1);
/// Requests on their way to the connection's thread: one is asked at a time, beside the subscriptions and the end.
const REQUESTS_WAITING_MAX: usize = 8;

/// What to connect to, as whom.
#[derive(Debug, Clone)]
pub(crate) struct LineSettings {
    pub(crate) address: Address,
    /// The device's ID: the client's and, with a token, the user's name.
    pub(crate) id: String,
    pub(crate) credential: Credential,
    /// Certificates to trust; those of the public web without.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) keep_alive: Duration,
    pub(crate) topics: Topics,
    /// Longest wait for a reply.
    pub(crate) answer_time: Duration,
}

/// What a flow listens to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Topics {
    /// What to subscribe to.
    pub(crate) filters: Vec<String>,
    /// Messages on these topics say that asking is worth while.
    pub(crate) hints: Vec<String>,
}

/// Why there was no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    /// There is no connection, or it was lost before the reply.
    #[error("no connection to the server: {0}")]
    Offline(String),
    /// The reply did not come in time; the connection is given up.
    #[error("the server has not answered within {0:.0?}")]
    Silent(Duration),
    /// The request is too long to be sent.
    #[error("a message of {0} bytes is too long to send")]
    TooLong(usize),
}

/// A request: where it goes, and where its reply comes.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) topic: String,
    /// Carries the token as `clientToken`.
    pub(crate) payload: Vec<u8>,
    pub(crate) token: String,
    pub(crate) accepted: String,
    pub(crate) rejected: String,
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) verdict: Verdict,
    pub(crate) payload: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Connecting,
    /// Connected and subscribed; which connection of the line this is, from 1.
    Up(u64),
    /// Waits before it connects again; why.
    Down(String),
    Closed,
}

struct State {
    phase: Phase,
    connections: u64,
    client: Option<Client>,
    waiting: Option<Ask>,
    reply: Option<Reply>,
    is_hinted: bool,
    /// Whether anything was answered on this connection.
    is_answered: bool,
    is_closing: bool,
}

/// What the line's thread and those who ask share.
struct Board {
    state: Mutex<State>,
    changed: Condvar,
    topics: Topics,
}

/// A connection that is made again whenever it is lost.
pub(crate) struct Line {
    board: Arc<Board>,
    answer_time: Duration,
    /// Tells this line's requests from those of one before it.
    salt: String,
    requests: std::cell::Cell<u64>,
}

impl Line {
    /// Begins to connect. `wake` is called when there is a hint to take; it must not wait.
    ///
    /// # Errors
    /// [`ClientError`] if the certificates or the key are of no use.
    pub(crate) fn open(
        settings: LineSettings,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Self, ClientError> {
        let options = options(&settings)?;
        let state = State {
            phase: Phase::Connecting,
            connections: 0,
            client: None,
            waiting: None,
            reply: None,
            is_hinted: false,
            is_answered: false,
            is_closing: false,
        };
        let topics = settings.topics.clone();
        let board = Arc::new(Board { state: Mutex::new(state), changed: Condvar::new(), topics });
        let for_thread = Arc::clone(&board);
        let (id, answer_time) = (settings.id, settings.answer_time);
        thread::spawn(move || drive(&options, &id, answer_time, &for_thread, &wake));
        let salt = format!("{:x}", jiff::Timestamp::now().as_nanosecond());
        Ok(Self { board, answer_time, salt, requests: std::cell::Cell::new(0) })
    }

    /// Waits while a connection is being made; says which one there is. Connections count from 1.
    ///
    /// # Errors
    /// [`LineError::Offline`] if there is none.
    pub(crate) fn await_connection(&self) -> Result<u64, LineError> {
        let give_up = Instant::now() + CONNECT_TIME_MAX + self.answer_time;
        let mut state = self.board.lock();
        loop {
            match &state.phase {
                Phase::Up(connection) => return Ok(*connection),
                Phase::Down(detail) => return Err(LineError::Offline(detail.clone())),
                Phase::Closed => return Err(LineError::Offline("the line is closed".into())),
                Phase::Connecting => {}
            }
            state = self.board.wait(state, give_up).ok_or(LineError::Silent(self.answer_time))?;
        }
    }

    /// A token for the next request: no other request of this device has it.
    pub(crate) fn token(&self) -> String {
        self.requests.set(self.requests.get() + 1);
        format!("{}-{}", self.salt, self.requests.get())
    }

    /// Asks on this connection, and waits for the reply.
    ///
    /// # Errors
    /// [`LineError`]. A server that is silent loses the connection: on a fresh one it may do better.
    pub(crate) fn ask(&self, connection: u64, ask: Ask) -> Result<Reply, LineError> {
        if ask.payload.len() > SAID_BYTES_MAX {
            return Err(LineError::TooLong(ask.payload.len()));
        }
        let give_up = Instant::now() + self.answer_time;
        let mut state = self.board.lock();
        let (topic, payload) = (ask.topic.clone(), ask.payload.clone());
        state.waiting = Some(ask);
        state.reply = None;
        let client = state.client.clone();
        let sent = client.is_some_and(|client| {
            client.try_publish(topic, payload, PublishOptions::at_least_once()).is_ok()
        });
        let result = loop {
            if let Some(reply) = state.reply.take() {
                break Ok(reply);
            }
            match &state.phase {
                Phase::Up(number) if *number == connection && sent => {}
                Phase::Down(detail) => break Err(LineError::Offline(detail.clone())),
                Phase::Up(_) | Phase::Connecting | Phase::Closed => {
                    break Err(LineError::Offline("the connection was lost".into()));
                }
            }
            match self.board.wait(state, give_up) {
                Some(woken) => state = woken,
                None => {
                    state = self.board.lock();
                    if let Some(client) = &state.client {
                        // Refused only where the connection has ended by itself.
                        let _ = client.try_disconnect_now();
                    }
                    break Err(LineError::Silent(self.answer_time));
                }
            }
        };
        state.waiting = None;
        result
    }

    /// Whether something was hinted since the last time.
    pub(crate) fn take_hint(&self) -> bool {
        std::mem::take(&mut self.board.lock().is_hinted)
    }
}

impl Drop for Line {
    /// Takes leave of the server, so that it need not wait for the keep-alive to know.
    fn drop(&mut self) {
        let give_up = Instant::now() + LEAVE_TIME_MAX;
        let mut state = self.board.lock();
        state.is_closing = true;
        if let Some(client) = &state.client {
            let _ = client.try_disconnect_now();
        }
        self.board.changed.notify_all();
        // While it connects, the thread is left to end by itself.
        while matches!(state.phase, Phase::Up(_) | Phase::Down(_)) {
            let Some(woken) = self.board.wait(state, give_up) else { return };
            state = woken;
        }
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; if it did, what is in it is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change; `None` when the time is over.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, give_up: Instant) -> Option<MutexGuard<'a, State>> {
        let left = give_up.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        let woken = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        Some(woken.0)
    }

    /// Begins a connection; says whether there is to be one.
    fn begin(&self, client: &Client) -> bool {
        let mut state = self.lock();
        state.phase = Phase::Connecting;
        state.is_answered = false;
        state.client = Some(client.clone());
        self.changed.notify_all();
        !state.is_closing
    }

    fn is_up(&self) {
        let mut state = self.lock();
        state.connections += 1;
        state.phase = Phase::Up(state.connections);
        state.is_hinted = true;
        self.changed.notify_all();
    }

    /// The connection has ended: rests before the next. Says whether there is to be one.
    fn rest(&self, detail: String, pause: Duration, wake: &dyn Fn()) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        state.client = None;
        state.phase = Phase::Down(detail);
        self.changed.notify_all();
        wake();
        while !state.is_closing {
            match self.wait(state, until) {
                Some(woken) => state = woken,
                None => return true,
            }
        }
        state.phase = Phase::Closed;
        self.changed.notify_all();
        false
    }

    /// Takes a message; says whether it was a hint.
    fn take(&self, message: &Publish) -> bool {
        let Ok(topic) = std::str::from_utf8(&message.topic) else { return false };
        if self.topics.hints.iter().any(|hint| hint == topic) {
            self.lock().is_hinted = true;
            return true;
        }
        let mut state = self.lock();
        let Some(ask) = &state.waiting else { return false };
        let verdict = match topic {
            topic if topic == ask.accepted => Verdict::Accepted,
            topic if topic == ask.rejected => Verdict::Rejected,
            _ => return false,
        };
        let token =
            serde_json::from_slice::<Token>(&message.payload).ok().and_then(|token| token.client_token);
        if token.as_ref() == Some(&ask.token) && state.reply.is_none() {
            state.is_answered = true;
            state.reply = Some(Reply { verdict, payload: message.payload.to_vec() });
            self.changed.notify_all();
        }
        false
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    client_token: Option<String>,
}

fn drive(options: &MqttOptions, id: &str, answer_time: Duration, board: &Board, wake: &dyn Fn()) {
    let mut failures = 0;
    loop {
        let began = Instant::now();
        let Some(detail) = converse(options, answer_time, board, wake) else { return };
        let was_good = began.elapsed() >= STEADY_TIME && board.lock().is_answered;
        failures = if was_good { 1 } else { failures + 1 };
        if !board.rest(detail, pace::connect_pause(id, failures), wake) {
            return;
        }
    }
}

/// One connection, from its making to its end; why it ended. `None` if there is to be no connection any more.
fn converse(options: &MqttOptions, answer_time: Duration, board: &Board, wake: &dyn Fn()) -> Option<String> {
    let (client, mut connection) =
        match Client::builder(options.clone()).capacity(REQUESTS_WAITING_MAX).try_build() {
            Ok(pair) => pair,
            Err(error) => return Some(sentence(&error)),
        };
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(CONNECT_TIME_MAX.as_secs());
    network.set_tcp_nodelay(true);
    connection.eventloop.set_network_options(network);
    if !board.begin(&client) {
        board.rest(String::new(), Duration::ZERO, wake);
        return None;
    }
    let mut is_up = false;
    let give_up = Instant::now() + CONNECT_TIME_MAX + answer_time;
    loop {
        let event = match next(&mut connection, Some(give_up).filter(|_| !is_up)) {
            Ok(event) => event,
            Err(detail) => return Some(detail),
        };
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                let filters = board.topics.filters.iter();
                let filters = filters.map(|filter| SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce));
                if let Err(error) = client.try_subscribe_many(filters) {
                    return Some(sentence(&error));
                }
            }
            Event::Incoming(Packet::SubAck(granted)) => {
                if granted.return_codes.contains(&SubscribeReasonCode::Failure) {
                    return Some("the server refuses a subscription".into());
                }
                is_up = true;
                board.is_up();
                wake();
            }
            Event::Incoming(Packet::Publish(message)) => {
                if board.take(&message) {
                    wake();
                }
            }
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }
}

fn next(connection: &mut Connection, give_up: Option<Instant>) -> Result<Event, String> {
    let ended = || "the connection has ended".to_owned();
    let result = match give_up {
        None => connection.recv().map_err(|_| ended())?,
        Some(give_up) => {
            let left = give_up.saturating_duration_since(Instant::now());
            connection.recv_timeout(left).map_err(|error| match error {
                RecvTimeoutError::Timeout { .. } => "the server does not answer".to_owned(),
                RecvTimeoutError::Disconnected => ended(),
            })?
        }
    };
    result.map_err(|error| {
        let is_refused = matches!(
            error,
            ConnectionError::ConnectionRefused(
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized
            )
        );
        if is_refused {
            "the server does not take this device's credential".to_owned()
        } else {
            error.to_string()
        }
    })
}

fn options(settings: &LineSettings) -> Result<MqttOptions, ClientError> {
    let address = &settings.address;
    let mut options = MqttOptions::new(settings.id.clone(), (address.host.clone(), address.port));
    options.set_keep_alive(u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX));
    options.set_clean_session(true);
    options.set_max_packet_size(MESSAGE_BYTES_MAX, SAID_BYTES_MAX + 1024);
    if let Credential::Token(token) = &settings.credential {
        options.set_credentials(settings.id.clone(), token.clone());
    }
    if address.is_plain {
        options.set_transport(Transport::Tcp);
    } else {
        let config = tls(settings.ca.as_deref(), &settings.credential)?;
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(Arc::new(config))));
    }
    Ok(options)
}

fn tls(ca: Option<&Path>, credential: &Credential) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let certificates = crate::http::read_pem(path)?;
            let (added, _) = roots.add_parsable_certificates(certificates_of(&certificates));
            if added == 0 {
                return Err(ClientError::CertificatesNone { path: path.to_owned() });
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |detail: String| ClientError::Certificate(detail);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .with_root_certificates(roots);
    match credential {
        Credential::Token(_) => Ok(builder.with_no_client_auth()),
        Credential::Certificate { cert, key } => {
            let read = |path: &Path| {
                std::fs::read(path).map_err(|error| unusable(format!("{}: {error}", path.display())))
            };
            let chain = certificates_of(&read(cert)?).collect();
            let key = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|error| unusable(format!("{}: {error}", key.display())))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable(error.to_string()))
        }
    }
}

fn certificates_of(pem: &[u8]) -> impl Iterator<Item = CertificateDer<'static>> + '_ {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok)
}
