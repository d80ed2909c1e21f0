//! The hub: all devices that speak LwM2M, from datagrams to what the fleet is told and asked. Without sockets.
//!
//! Datagrams, answers of the fleet and the time go in; [`Action`]s come out. So the simulator runs the same code as the
//! server. One hub is one thread's work: a device's message costs a few table look-ups, and the fleet is asked only when
//! something may have changed.
//!
//! Deliberately absent: DTLS (a line's peer is proven or not before it comes here), sockets, files, the fleet itself.

mod asks;
mod device;
mod doors;
mod files;
mod flood;
mod images;
mod lines;
mod orders;
mod packed;
mod register;
mod timers;
mod update;

use super::books::Change;
use super::config::DeliveryConfig;
use super::describe::Alias;
use super::desk::{DeskError, Standing, Taken};
use super::firmware::{Said, Work};
use crate::artifacts::Digest;
use bytes::Bytes;
use device::{Registered, Step};
use images::Images;
use lines::Line;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use timers::{Key, Timers};
use updraft_core::id::DeviceId;
use updraft_lwm2m::coap::{self, Code, Event};
use updraft_lwm2m::firmware::{Limits, Scheme};
use updraft_lwm2m::{Entry, Moment};

pub use images::Piece;

/// Looks at devices that the fleet is asked for at once: so many make a batch worth committing.
const LOOKS_AT_ONCE: usize = 128;
/// How long a device in queue mode hears after its last word (MAX_TRANSMIT_WAIT, Transport §6.5).
pub(super) const AWAKE_WINDOW: Duration = Duration::from_secs(93);

/// One way to one peer: a socket, and a session on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineId {
    /// Which socket.
    pub socket: u32,
    /// The session's number there.
    pub session: u64,
}

/// How a device proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Security {
    /// Not at all.
    None,
    /// By a key that it shares with the server.
    Psk,
    /// By its certificate.
    X509,
}

impl Security {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Psk => "psk",
            Self::X509 => "x509",
        }
    }
}

/// Who is at the other end of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Nobody known: who can send from an address.
    Unproven,
    /// A device that has proven it.
    Device(DeviceId, Security),
}

/// A file that a link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The device it was made for.
    pub device: DeviceId,
    /// The image.
    pub image: Digest,
    /// Its size, in bytes.
    pub size: u64,
}

/// What is to be done outside.
#[derive(Debug)]
pub enum Action {
    /// Send a datagram.
    Send(LineId, Vec<u8>),
    /// End a line.
    Close(LineId),
    /// Note that a device was heard.
    Heard(DeviceId),
    /// Tell the fleet what a device is; then [`Hub::handle_described`].
    Describe(DeviceId, Vec<Entry>, Option<Alias>),
    /// Ask the fleet what a device has before it; then [`Hub::handle_work`].
    Look(DeviceId),
    /// Tell the fleet how an update stands; then [`Hub::handle_heard`].
    Say(DeviceId, Work, Said),
    /// Read a piece of an image of this size; then [`Hub::handle_piece`].
    Read(Piece, u64),
    /// Find what a link leads to, and book its use; then [`Hub::handle_file`]. Whether it begins with the first byte.
    Resolve(u64, String, bool),
    /// Make an account for a device that is bootstrapped; then [`Hub::handle_account`].
    MakeAccount(DeviceId),
    /// Keep something.
    Keep(Change),
    /// Tell an operator what came of an order.
    Told(u64, Result<Taken, DeskError>),
}

/// What the fleet said of a word about an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is taken, and durable.
    Taken,
    /// The attempt has ended, or is another's: nothing more is to be done for it.
    Over,
    /// The fleet could not: say it again.
    Failed,
}

/// Makes links for devices.
pub trait Linker: Send {
    /// Links to the image of an update, the best first for a device that proves itself so; those that are too long for a
    /// Package URI are left out.
    fn links(&self, device: &DeviceId, security: Security, work: &Work) -> Vec<(Scheme, String)>;
}

/// What the hub is told at its beginning.
pub struct Settings {
    /// How images are delivered.
    pub delivery: DeliveryConfig,
    /// Bounds on waiting.
    pub limits: Limits,
    /// The message layer's rules.
    pub coap: coap::Config,
    /// Most registrations.
    pub registrations_max: usize,
    /// Most devices of which the fleet is told at a time what they are: while it is so far behind, nobody is registered.
    pub describing_max: usize,
    /// Whether devices may be bootstrapped.
    pub bootstrap: bool,
    /// Links.
    pub linker: Box<dyn Linker>,
    /// Whether a device may register without proof: false for one that has a credential.
    pub may_be_unproven: Box<dyn Fn(&DeviceId) -> bool + Send>,
    /// 32 random bytes, each time others.
    pub seed: Box<dyn FnMut() -> [u8; 32] + Send>,
}

/// See the module.
pub struct Hub {
    settings: Settings,
    coap: Arc<coap::Config>,
    // Boxed: the maps leave up to half of their places free, and they shall cost little.
    lines: HashMap<LineId, Box<Line>>,
    devices: HashMap<DeviceId, Box<Registered>>,
    locations: HashMap<[u8; 16], DeviceId>,
    timers: Timers,
    images: Images<files::Waiter>,
    files: files::Files,
    to_look: VecDeque<DeviceId>,
    queued_looks: BTreeSet<DeviceId>,
    looks: usize,
    orders: orders::Tickets,
    bootstraps: HashMap<DeviceId, LineId>,
    storm: flood::Storm,
    actions: VecDeque<Action>,
}

impl Hub {
    /// A hub that knows no device. `next_order` is the number of the next order. What an earlier process kept is then told by
    /// [`Hub::restore`], [`Hub::restore_order`] and [`Hub::restore_line`], in this order.
    #[must_use]
    pub fn new(settings: Settings, next_order: u64) -> Self {
        let coap = Arc::new(settings.coap.clone());
        Self {
            settings,
            coap,
            lines: HashMap::new(),
            devices: HashMap::new(),
            locations: HashMap::new(),
            timers: Timers::default(),
            images: Images::new(),
            files: files::Files::default(),
            to_look: VecDeque::new(),
            queued_looks: BTreeSet::new(),
            looks: 0,
            orders: orders::Tickets::new(next_order),
            bootstraps: HashMap::new(),
            storm: flood::Storm::default(),
            actions: VecDeque::new(),
        }
    }

    /// What is to be done next; call it until it is `None`, after every other call.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Hub::handle_timeout`] is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.timers.next()
    }

    /// How many devices are registered.
    #[must_use]
    pub fn registered(&self) -> usize {
        self.devices.len()
    }

    /// A line's peer sent something.
    pub fn handle_datagram(&mut self, now: Moment, id: LineId, datagram: &[u8]) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.used = now;
        line.peer.handle_datagram(now, datagram);
        self.stay_awake(now, id);
        self.drive(now, id);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some(key) = self.timers.pop(now) {
            match key {
                Key::Line(id) => self.pass_line_time(now, id),
                Key::Driver(device) => self.step(now, &device, Step::Timeout),
                Key::Sweep => self.sweep(now),
                Key::Awake(device) => self.fall_asleep(now, &device),
                Key::Orders(device) => self.expire_orders(now, &device),
            }
        }
    }

    /// Something may have changed for a device.
    pub fn handle_hint(&mut self, device: &DeviceId) {
        if self.devices.get(device).is_some_and(|known| known.is_described) {
            self.look_at(device);
        }
    }

    /// Something may have changed for every device.
    pub fn handle_change_at_large(&mut self) {
        let described = self.devices.iter().filter(|(_, known)| known.is_described);
        let devices: BTreeSet<_> = described.map(|(device, _)| device.clone()).collect();
        for device in devices {
            self.look_at(&device);
        }
    }

    fn look_at(&mut self, device: &DeviceId) {
        if self.queued_looks.insert(device.clone()) {
            self.to_look.push_back(device.clone());
        }
        self.look_on();
    }

    /// Asks the fleet for as many devices as may be asked for at once.
    fn look_on(&mut self) {
        while self.looks < LOOKS_AT_ONCE
            && let Some(device) = self.to_look.pop_front()
        {
            self.queued_looks.remove(&device);
            self.looks += 1;
            self.actions.push_back(Action::Look(device));
        }
    }

    /// What the fleet said a device has before it; `Err`: it could not say.
    pub fn handle_work(&mut self, now: Moment, device: &DeviceId, work: Result<Option<Work>, ()>) {
        self.looks = self.looks.saturating_sub(1);
        if let Ok(work) = work {
            self.take_work(now, device, work);
        }
        self.look_on();
    }

    /// A piece of an image was read; `None`: it could not be.
    pub fn handle_piece(&mut self, now: Moment, piece: Piece, bytes: Option<Bytes>) {
        for waiter in self.images.put(piece, bytes) {
            self.serve_waiter(now, waiter);
        }
    }

    /// How a device stands; `None`: it is not registered.
    #[must_use]
    pub fn standing(&self, now: Moment, device: &DeviceId) -> Option<Standing> {
        self.devices.get(device).map(|known| known.standing(now))
    }

    /// Takes everything that the message layer of a line has to say, then everything it has to send.
    fn drive(&mut self, now: Moment, id: LineId) {
        while let Some(event) = self.lines.get_mut(&id).and_then(|line| line.peer.poll_event()) {
            self.take_event(now, id, event);
        }
        self.flush(now, id);
    }

    fn flush(&mut self, now: Moment, id: LineId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        while let Some(datagram) = line.peer.poll_transmit() {
            line.used = now;
            self.actions.push_back(Action::Send(id, datagram));
        }
        let due = line.peer.poll_timeout().or_else(|| line.ends());
        self.timers.set(Key::Line(id), due);
    }

    fn take_event(&mut self, now: Moment, id: LineId, event: Event) {
        match event {
            Event::Request { exchange, request } => self.take_request(now, id, exchange, request),
            Event::Response { id: request, response } => {
                if let Some(line) = self.lines.get_mut(&id) {
                    // Who answers a token of eight random bytes hears at its address.
                    line.peer.verify();
                    line.is_verified = true;
                }
                self.take_answer(now, id, request, asks::Came::Response(response));
            }
            Event::Failed { id: request, failure } => {
                self.take_answer(now, id, request, asks::Came::Nothing(failure));
            }
            Event::WantBlock { id: request, offset, length } => {
                self.want_block(now, id, request, offset, length);
            }
            Event::Notification { id: request, response } => {
                self.take_notification(now, id, request, &response);
            }
            // Nothing of the server's is observed, and it pings nobody.
            Event::Unobserved { .. } | Event::Pong { .. } => {}
        }
    }

    /// Answers a request of a line.
    fn respond(&mut self, now: Moment, id: LineId, exchange: coap::Exchange, response: coap::Response) {
        if let Some(line) = self.lines.get_mut(&id) {
            line.peer.respond(now, exchange, response);
        }
    }

    fn refuse(&mut self, now: Moment, id: LineId, exchange: coap::Exchange, code: Code, words: &str) {
        self.respond(now, id, exchange, coap::Response::diagnostic(code, words));
    }
}
