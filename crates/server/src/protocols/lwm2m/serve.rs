//! Sockets: datagrams to the hub and back, and what the hub wants done outside.
//!
//! One task owns the sockets, the sessions on them and the hub. What may wait (the fleet, the store of images, the books)
//! is done by other tasks, which send back what came of it.

use super::books::{Books, Change};
use super::desk::{Call, DeskError, Taken};
use super::firmware::Work;
use super::hub::{Action, File, Heard, Hub, LineId, Piece, Security, Who};
use super::outside;
use crate::artifacts::Artifacts;
use crate::auth::Principal;
use crate::engine::{By, Engine, Listener};
use crate::listen::Shutdown;
use bytes::Bytes;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;
use std::task::Poll;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{broadcast, mpsc, oneshot};
use updraft_core::id::DeviceId;
use updraft_dtls::{Event, Identity, SendError, SessionId, Sessions};
use updraft_lwm2m::Moment;
use updraft_lwm2m::bootstrap::ServerAccount;
use updraft_lwm2m::coap::Code;

/// Datagrams taken from one socket before others have their turn.
const DATAGRAMS_AT_ONCE: usize = 64;
/// Largest datagram taken: a block of 1024 bytes with options and a record around it is far smaller.
const DATAGRAM_BYTES_MAX: usize = 2_048;
/// Hints that may wait. What is beyond is dropped: a look over all devices finds what a hint would have said.
const HINTS_MAX: usize = 16_384;
/// How often it is asked whether something has changed for devices at large.
const PATROL_INTERVAL: Duration = Duration::from_secs(5);
/// The receive buffer asked for, in bytes: a storm of registrations must not be lost before it is read.
const RECEIVE_BYTES: usize = 4 << 20;

/// What the sockets need of the rest of the server.
pub trait Door: Send + Sync + 'static {
    /// Which device a session's peer has proven to be; `None`: none that may speak here.
    fn device_of(&self, identity: &Identity) -> Option<(DeviceId, Security)>;

    /// What a link leads to: the device and its job, if the link is good.
    ///
    /// # Errors
    /// The code that says why it is not.
    fn open_link(&self, path: &str) -> Result<Link, Code>;

    /// The account of a device that is bootstrapped, with a key of its own; `None`: none can be made now.
    fn make_account(&self, device: &DeviceId) -> Option<ServerAccount>;
}

/// A link that is good.
#[derive(Debug, Clone)]
pub struct Link {
    /// The device it was made for.
    pub device: DeviceId,
    /// Its rollout.
    pub rollout: updraft_core::id::RolloutId,
    /// Its attempt.
    pub attempt: u32,
}

/// One socket, and the sessions on it.
pub struct Socket {
    /// The socket.
    pub udp: UdpSocket,
    /// Its sessions.
    pub sessions: Box<dyn Sessions + Send>,
}

/// Everything that LwM2M is served with.
pub struct Parts {
    /// The sockets, by the numbers that lines have.
    pub sockets: Vec<Socket>,
    /// The hub.
    pub hub: Hub,
    /// Decides.
    pub engine: Engine,
    /// Images.
    pub artifacts: Artifacts,
    /// Who may do what.
    pub door: Arc<dyn Door>,
    /// What is kept.
    pub books: Arc<dyn Books>,
    /// Where operators ask.
    pub calls: mpsc::Receiver<Call>,
    /// Whose credentials are revoked.
    pub revocations: broadcast::Receiver<Principal>,
}

/// What came of an action.
enum Done {
    Described(DeviceId, bool),
    Looked(DeviceId, Result<Option<Work>, ()>),
    Said(DeviceId, Heard),
    Read(Piece, Option<Bytes>),
    Resolved(u64, Result<File, Code>),
    Account(DeviceId, Option<Box<ServerAccount>>),
}

/// Takes hints of the engine in.
struct Hints {
    hints: mpsc::Sender<DeviceId>,
    is_wanted: AtomicBool,
}

impl Listener for Hints {
    fn notify(&self, device: &DeviceId) {
        if self.is_wanted.load(Ordering::Relaxed) {
            // Full: the hint is dropped, and the next patrol comes.
            let _ = self.hints.try_send(device.clone());
        }
    }
}

/// LwM2M, served.
pub struct Served {
    udp: Vec<UdpSocket>,
    sessions: Vec<Box<dyn Sessions + Send>>,
    hub: Hub,
    engine: Engine,
    artifacts: Artifacts,
    door: Arc<dyn Door>,
    books: blocking::Sender<Change>,
    writer: std::thread::JoinHandle<()>,
    calls: mpsc::Receiver<Call>,
    revocations: broadcast::Receiver<Principal>,
    tickets: HashMap<u64, oneshot::Sender<Result<Taken, DeskError>>>,
    next_ticket: u64,
    done: mpsc::UnboundedSender<Done>,
    results: mpsc::UnboundedReceiver<Done>,
    hints: mpsc::Receiver<DeviceId>,
    listener: Arc<Hints>,
}

impl Served {
    /// Begins to listen to the engine, and to write the books.
    ///
    /// # Errors
    /// If the thread that writes the books cannot be started.
    pub fn new(parts: Parts) -> std::io::Result<Self> {
        let Parts { sockets, hub, engine, artifacts, door, books, calls, revocations } = parts;
        let (to_books, changes) = blocking::channel();
        let writer = std::thread::Builder::new()
            .name("lwm2m-books".to_owned())
            .spawn(move || outside::keep_books(&*books, &changes))?;
        let (done, results) = mpsc::unbounded_channel();
        let (to_hints, hints) = mpsc::channel(HINTS_MAX);
        let listener = Arc::new(Hints { hints: to_hints, is_wanted: AtomicBool::new(true) });
        let listens: Arc<dyn Listener> = listener.clone();
        engine.listen(Arc::downgrade(&listens));
        for socket in &sockets {
            // As much as the system allows; less than asked is no error.
            let _ = socket2::SockRef::from(&socket.udp).set_recv_buffer_size(RECEIVE_BYTES);
        }
        let (udp, sessions) = sockets.into_iter().map(|socket| (socket.udp, socket.sessions)).unzip();
        let mut served = Self {
            udp,
            sessions,
            hub,
            engine,
            artifacts,
            door,
            books: to_books,
            writer,
            calls,
            revocations,
            tickets: HashMap::new(),
            next_ticket: 0,
            done,
            results,
            hints,
            listener,
        };
        let now = served.now();
        for at in 0..served.sessions.len() {
            for session in served.sessions[at].ids() {
                let socket = u32::try_from(at).unwrap_or(u32::MAX);
                served.restore_line(now, LineId { socket, session: session.0 });
            }
        }
        Ok(served)
    }

    fn now(&self) -> Moment {
        Moment(u64::try_from(self.engine.now().as_millis()).unwrap_or(0))
    }

    /// Serves until the shutdown is asked for; then gives back the sessions, to be kept, once the books are written.
    pub async fn serve(mut self, shutdown: Shutdown) -> Vec<Box<dyn Sessions + Send>> {
        let mut seen = self.engine.generation();
        let mut patrol = tokio::time::interval(PATROL_INTERVAL);
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        // The socket that is asked first: the one after the last that had something, so that none has to wait for good.
        let mut first = 0;
        // What an earlier process had under way goes on.
        self.hub.handle_change_at_large();
        loop {
            self.act();
            let wait = self.due().map_or(PATROL_INTERVAL, |due| due.since(self.now()));
            tokio::select! {
                () = shutdown.asked() => break,
                at = readable(&self.udp, first) => {
                    first = at + 1;
                    self.receive(at, &mut buffer);
                }
                Some(done) = self.results.recv() => {
                    self.take(done);
                    while let Ok(done) = self.results.try_recv() {
                        self.take(done);
                    }
                }
                Some(call) = self.calls.recv() => self.take_call(call),
                revoked = self.revocations.recv() => self.revoke(revoked),
                Some(device) = self.hints.recv() => {
                    self.hub.handle_hint(&device);
                    while let Ok(device) = self.hints.try_recv() {
                        self.hub.handle_hint(&device);
                    }
                }
                _ = patrol.tick() => {
                    let generation = self.engine.generation();
                    if generation != seen {
                        seen = generation;
                        self.hub.handle_change_at_large();
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
            self.pass_time();
        }
        self.listener.is_wanted.store(false, Ordering::Relaxed);
        let Self { sessions, books, writer, .. } = self;
        drop(books);
        let _ = tokio::task::spawn_blocking(|| writer.join()).await;
        sessions
    }

    fn revoke(&mut self, revoked: Result<Principal, broadcast::error::RecvError>) {
        let now = self.now();
        match revoked {
            Ok(Principal::Device(device)) => self.hub.handle_revoked(now, &device),
            Ok(Principal::Product(_) | Principal::Operator(_)) => {}
            // So many at once that some were missed: everybody proves itself again.
            Err(broadcast::error::RecvError::Lagged(_)) => self.hub.handle_all_revoked(now),
            Err(broadcast::error::RecvError::Closed) => {}
        }
    }

    fn due(&self) -> Option<Moment> {
        let sessions = self.sessions.iter().filter_map(|sessions| sessions.poll_timeout());
        let sessions = sessions.map(|due| Moment(u64::try_from(due.as_millis()).unwrap_or(u64::MAX)));
        sessions.chain(self.hub.poll_timeout()).min()
    }

    fn pass_time(&mut self) {
        let now = self.now();
        let passed = Duration::from_millis(now.0);
        for at in 0..self.sessions.len() {
            if self.sessions[at].poll_timeout().is_some_and(|due| due <= passed) {
                self.sessions[at].handle_timeout(passed);
            }
            self.take_events(now, at);
        }
        self.hub.handle_timeout(now);
    }

    /// Takes what has arrived at a socket, up to a bound.
    fn receive(&mut self, at: usize, buffer: &mut [u8]) {
        let now = self.now();
        for _ in 0..DATAGRAMS_AT_ONCE {
            // Nothing more, or an error that belongs to an earlier datagram of ours (a closed port).
            let Ok((length, from)) = self.udp[at].try_recv_from(buffer) else { break };
            let passed = Duration::from_millis(now.0);
            self.sessions[at].handle_datagram(passed, from, &buffer[..length]);
            self.take_events(now, at);
            self.act();
        }
    }

    fn take_events(&mut self, now: Moment, at: usize) {
        let socket = u32::try_from(at).unwrap_or(u32::MAX);
        while let Some(event) = self.sessions[at].poll_event() {
            match event {
                Event::Connected { session, address, identity } => {
                    self.connect(now, LineId { socket, session: session.0 }, address, &identity);
                }
                Event::Received { session, data } => {
                    let line = LineId { socket, session: session.0 };
                    self.take_up(now, line);
                    self.hub.handle_datagram(now, line, &data);
                }
                Event::Moved { session, address } => {
                    self.hub.handle_moved(LineId { socket, session: session.0 }, address);
                }
                Event::Closed { session, .. } => {
                    self.hub.handle_closed(now, LineId { socket, session: session.0 });
                }
                Event::Refused { address, claimed, failure } => {
                    tracing::debug!(%address, ?claimed, ?failure, "a handshake was refused");
                }
            }
        }
    }

    /// Tells the hub by which session of an earlier process a device is reached.
    fn restore_line(&mut self, now: Moment, line: LineId) {
        let (sessions, id) = (&mut self.sessions[line.socket as usize], SessionId(line.session));
        let Some((identity, address)) = sessions.identity(id).zip(sessions.address(id)) else { return };
        match self.door.device_of(identity) {
            Some((device, _)) => self.hub.restore_line(line, &device, address),
            None => sessions.close(Duration::from_millis(now.0), id),
        }
    }

    /// Has the hub know the line of a session.
    fn take_up(&mut self, now: Moment, line: LineId) {
        if self.hub.has_line(line) {
            return;
        }
        let (sessions, id) = (&self.sessions[line.socket as usize], SessionId(line.session));
        if let Some((identity, address)) = sessions.identity(id).cloned().zip(sessions.address(id)) {
            self.connect(now, line, address, &identity);
        }
    }

    fn connect(&mut self, now: Moment, line: LineId, address: SocketAddr, identity: &Identity) {
        let who = match identity {
            Identity::Unproven => Some(Who::Unproven),
            Identity::Psk(_) | Identity::Certificate(_) => {
                self.door.device_of(identity).map(|(device, security)| Who::Device(device, security))
            }
        };
        match who {
            Some(who) => self.hub.handle_connected(line, who, address),
            None => {
                self.sessions[line.socket as usize]
                    .close(Duration::from_millis(now.0), SessionId(line.session));
            }
        }
    }

    fn take_call(&mut self, call: Call) {
        let now = self.now();
        match call {
            Call::Order(order, answer) => {
                self.next_ticket += 1;
                self.tickets.insert(self.next_ticket, answer);
                self.hub.handle_order(now, self.next_ticket, order);
            }
            Call::Look(device, answer) => {
                // Who has gone away needs no answer.
                let _ = answer.send(self.hub.standing(now, &device));
            }
        }
    }

    fn take(&mut self, done: Done) {
        let now = self.now();
        match done {
            Done::Described(device, is_taken) => self.hub.handle_described(&device, is_taken),
            Done::Looked(device, work) => self.hub.handle_work(now, &device, work),
            Done::Said(device, heard) => self.hub.handle_heard(now, &device, heard),
            Done::Read(piece, bytes) => self.hub.handle_piece(now, piece, bytes),
            Done::Resolved(ticket, file) => self.hub.handle_file(now, ticket, file),
            Done::Account(device, account) => {
                self.hub.handle_account(now, &device, account.map(|account| *account));
            }
        }
    }

    /// Does everything that the hub wants done, then sends what the sessions have to send.
    fn act(&mut self) {
        let now = self.now();
        let passed = Duration::from_millis(now.0);
        while let Some(action) = self.hub.poll_action() {
            match action {
                Action::Send(line, datagram) => {
                    if let Some(sessions) = self.sessions.get_mut(line.socket as usize) {
                        let sent = sessions.send(passed, SessionId(line.session), &datagram);
                        if matches!(sent, Err(SendError::NoSession)) {
                            self.hub.handle_closed(now, line);
                        }
                    }
                }
                Action::Close(line) => {
                    if let Some(sessions) = self.sessions.get_mut(line.socket as usize) {
                        sessions.close(passed, SessionId(line.session));
                    }
                }
                Action::Keep(change) => {
                    // The writer ends only after this does.
                    let _ = self.books.send(change);
                }
                Action::Told(ticket, taken) => {
                    if let Some(answer) = self.tickets.remove(&ticket) {
                        let _ = answer.send(taken);
                    }
                }
                Action::Heard(device) => self.heard(device),
                action @ (Action::Describe(..)
                | Action::Look(_)
                | Action::Say(..)
                | Action::Read(..)
                | Action::Resolve(..)
                | Action::MakeAccount(_)) => self.begin(action),
            }
        }
        for (udp, sessions) in self.udp.iter().zip(&mut self.sessions) {
            while let Some((to, datagram)) = sessions.poll_transmit() {
                // A full buffer loses a datagram, as the network may: both ends send again.
                let _ = udp.try_send_to(&datagram, to);
            }
        }
    }

    fn heard(&self, device: DeviceId) {
        if !self.engine.is_quiet(&device, None) {
            let (engine, quiet, id) = (self.engine.clone(), self.engine.quiet().clone(), device.clone());
            tokio::spawn(async move {
                let noted =
                    engine.about(device, By::Device, move |fleet, now| quiet.note(fleet, now, &id, None));
                // Only the time it was last seen depends on it.
                let _ = noted.await;
            });
        }
    }

    /// Begins what may wait.
    fn begin(&self, action: Action) {
        let (engine, done) = (self.engine.clone(), self.done.clone());
        let (artifacts, door) = (self.artifacts.clone(), self.door.clone());
        tokio::spawn(async move {
            let came = match action {
                Action::Describe(device, tree, alias) => {
                    let is_taken = outside::describe(&engine, &device, tree, alias).await;
                    Done::Described(device, is_taken)
                }
                Action::Look(device) => {
                    let work = outside::look(&engine, &device).await;
                    Done::Looked(device, work)
                }
                Action::Say(device, work, said) => {
                    let heard = outside::say(&engine, &device, work, said).await;
                    Done::Said(device, heard)
                }
                Action::Read(piece, size) => {
                    let bytes = outside::read(&artifacts, &piece, size).await;
                    Done::Read(piece, bytes)
                }
                Action::Resolve(ticket, path, is_start) => {
                    Done::Resolved(ticket, outside::resolve(&engine, &*door, &path, is_start).await)
                }
                Action::MakeAccount(device) => {
                    let id = device.clone();
                    let made = tokio::task::spawn_blocking(move || door.make_account(&id));
                    Done::Account(device, made.await.ok().flatten().map(Box::new))
                }
                Action::Send(..)
                | Action::Close(_)
                | Action::Heard(_)
                | Action::Keep(_)
                | Action::Told(..) => return,
            };
            // The hub is gone when the server stops.
            let _ = done.send(came);
        });
    }
}

/// Waits until something has arrived at one of the sockets: which. They are asked from `first` on, each in its turn.
async fn readable(sockets: &[UdpSocket], first: usize) -> usize {
    std::future::poll_fn(|context| {
        let mut turns = (0..sockets.len()).map(|turn| (first + turn) % sockets.len());
        // An error is read, and told, with the next datagram.
        let ready = turns.find(|at| sockets[*at].poll_recv_ready(context).is_ready());
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}
