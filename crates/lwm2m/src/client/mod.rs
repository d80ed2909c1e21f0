//! The device's end: objects that a server reads, writes, executes and observes, and the registration that makes it ask.
//!
//! Datagrams and the time go in; datagrams, and actions for the host program, come out. No socket, clock, thread or async
//! runtime is used, so it can be mounted in the loop of a microcontroller. The host's loop:
//!
//! 1. give what came: [`Client::handle_datagram`], [`Client::handle_timeout`], the commands;
//! 2. do what [`Client::poll_action`] says, until it says nothing. What is to be durable is made so here;
//! 3. send what [`Client::poll_transmit`] gives, until it gives nothing; if it gave anything, go back to 2;
//! 4. wait for a datagram, at most until [`Client::poll_timeout`].
//!
//! Answers leave in step 3, so what they rest on is durable since step 2. An installation is asked for only once the answer
//! to its execution has left.
//!
//! Deliberately absent: DTLS (the host's, below the datagrams), several servers at a time, access control (object 2), and
//! what the firmware object leaves to the host: flash, downloads from elsewhere, checks and restarts.

mod attributes;
mod bootstrapping;
pub mod connectivity;
pub mod device;
pub mod fetch;
mod firmware;
mod flow;
pub mod object;
mod registry;
mod serve;
pub mod server_object;
#[cfg(test)]
mod tests;
mod upkeep;
mod watching;

use crate::bootstrap::{Security, ServerAccount};
use crate::coap::{self, Exchange, Failure, Peer, Refused, Reliability, Request, RequestId, Response};
use crate::firmware as object5;
use crate::{Moment, Path};
use bootstrapping::Bootstrapping;
use connectivity::Connectivity;
use device::{Device, DeviceObject};
use firmware::Firmware;
use object::{Object, Time};
use registry::Registry;
use server_object::ServerObject;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use upkeep::Upkeep;
use watching::Watches;

pub use attributes::Attributes;
pub use upkeep::{Retry, Session};

/// How long a device in queue mode listens after its last message (MAX_TRANSMIT_WAIT, Transport §6.5).
pub const AWAKE_FOR: Duration = Duration::from_secs(93);
/// The occasion of the first start among those that a fleet is spread over.
const FIRST_START: u32 = u32::MAX;
/// Requests that came before the answer to Register, and wait for it.
const EARLY_MAX: usize = 8;

/// What a client is told at its beginning.
#[derive(Debug, Clone)]
pub struct Config {
    /// The endpoint name: what the server knows the device by.
    pub endpoint: String,
    /// Whether it sleeps between its messages (queue mode).
    pub is_queued: bool,
    /// How long it stays awake after a message, in queue mode.
    pub awake_for: Duration,
    /// How notifications are sent; each day one is confirmable in any case.
    pub notifications: Reliability,
    /// When to try again.
    pub retry: Retry,
    /// The bootstrap server, where there is one: it is asked when registering has failed for good.
    pub bootstrap: Option<Security>,
    /// Over which time the first start is spread: the device begins at its own place in it, so that a fleet that is
    /// switched on at one moment does not come at one (Initial Registration Delay Timer, Core §6.2.1.1).
    pub start_delay: Duration,
    /// The message layer. `/5/0/0` is streamed whatever this says.
    pub coap: coap::Config,
}

impl Config {
    /// With the standard's defaults.
    #[must_use]
    pub fn new(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            is_queued: false,
            awake_for: AWAKE_FOR,
            notifications: Reliability::NonConfirmable,
            retry: Retry::default(),
            bootstrap: None,
            start_delay: Duration::ZERO,
            coap: coap::Config::default(),
        }
    }
}

/// Where the device registers, or bootstraps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The server of the account that the host began with, or the bootstrap server has written.
    Server,
    /// The bootstrap server.
    Bootstrap,
}

/// What the host program is to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Have a session with that server, then say [`Client::connected`], or [`Client::connection_failed`]. Without DTLS say
    /// so at once.
    Connect {
        /// With whom.
        target: Target,
        /// Whether one that stands may be used.
        session: Session,
    },
    /// The session is not needed any more.
    Disconnect,
    /// The device is registered, under this location.
    Registered(String),
    /// The registration goes on.
    Updated,
    /// The device has said goodbye.
    Deregistered,
    /// The server did not register the device, with this code, or was not heard; it is tried again.
    RegistrationFailed(Option<coap::Code>),
    /// What object 5 wants.
    Firmware(object5::Action),
    /// The server has asked for a reboot. Its answer may still have to leave.
    Reboot,
    /// The server has set the clock: seconds since 1970.
    ClockSet(i64),
    /// The server has changed the settings of object 1: keep them.
    ServerChanged(ServerObject),
    /// The bootstrap server has given this account: keep it, and register there from now on.
    Bootstrapped(Box<ServerAccount>),
    /// The bootstrap server gave no account, but this code, or was not heard; it is tried again.
    BootstrapFailed(Option<coap::Code>),
    /// A request of the host's was answered.
    Answered {
        /// Which.
        id: RequestId,
        /// How.
        response: Response,
    },
    /// A request of the host's was not answered.
    Unanswered {
        /// Which.
        id: RequestId,
        /// Why.
        failure: Failure,
    },
}

/// A device's LwM2M end.
#[derive(Debug)]
pub struct Client {
    config: Config,
    coap: Arc<coap::Config>,
    seed: [u8; 32],
    peer: Peer,
    registry: Registry,
    watches: Watches,
    upkeep: Upkeep,
    bootstrapping: Option<Bootstrapping>,
    /// The bootstrap is over once its last answer has left.
    has_bootstrapped: bool,
    /// A bootstrap begins once the answer to the server that wants it has left.
    is_bootstrap_due: bool,
    /// Bootstraps since the device was registered last.
    fruitless_bootstraps: u32,
    /// Whether there is a server to go back to when the bootstrap server is not there.
    has_account: bool,
    has_started: bool,
    /// The request of the registration, or of the bootstrap, that is under way.
    asked: Option<RequestId>,
    early: VecDeque<(Exchange, Request)>,
    actions: VecDeque<Action>,
    /// Whether object 5 waits for its answer to leave.
    is_answering: bool,
    awake_until: Moment,
    /// Seconds since 1970 at moment 0.
    clock_s: Option<i64>,
}

impl Client {
    /// A client that does nothing yet. `seed` makes the tokens: 32 bytes from the system's random source.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32], server: ServerObject, device: Device) -> Self {
        let mut coap = config.coap.clone();
        coap.streamed.push(object5::PACKAGE.to_string());
        let coap = Arc::new(coap);
        Self {
            peer: Peer::new(seed, Arc::clone(&coap)),
            seed,
            coap,
            upkeep: Upkeep::new(config.endpoint.clone(), config.retry.clone()),
            registry: Registry {
                server,
                device: DeviceObject { device, reboot_asked: false, time_set: None },
                connectivity: None,
                firmware: None,
                others: BTreeMap::new(),
            },
            watches: Watches::default(),
            bootstrapping: None,
            has_bootstrapped: false,
            is_bootstrap_due: false,
            fruitless_bootstraps: 0,
            has_account: false,
            has_started: false,
            asked: None,
            early: VecDeque::new(),
            actions: VecDeque::new(),
            is_answering: false,
            awake_until: Moment(0),
            clock_s: None,
            config,
        }
    }

    /// With object 4.
    #[must_use]
    pub fn with_connectivity(mut self, connectivity: Connectivity) -> Self {
        self.registry.connectivity = Some(connectivity);
        self
    }

    /// With object 5: [`object5::Object::restored`] after a restart, so that state and result stand before the registration.
    #[must_use]
    pub fn with_firmware(mut self, object: object5::Object) -> Self {
        self.registry.firmware = Some(Firmware::new(object));
        self.tell_firmware(Moment(0));
        self
    }

    /// With an object of the host's own; one of the numbers 0, 1, 3, 4 and 5 is not used.
    #[must_use]
    pub fn with_object(mut self, object: Box<dyn Object>) -> Self {
        self.registry.others.insert(object.id(), object);
        self
    }

    /// Begins, or begins anew: connects, then registers.
    pub fn start(&mut self, now: Moment) {
        let from = self.first_start(now);
        self.has_account |= self.bootstrapping.is_none();
        if self.bootstrapping.is_some() {
            return; // it registers with what it is given
        }
        self.asked = None;
        self.upkeep.begin(from);
        self.drive(now);
    }

    /// When to begin: at the device's own place in the delay, if it has not begun before.
    fn first_start(&mut self, now: Moment) -> Moment {
        if std::mem::replace(&mut self.has_started, true) {
            return now;
        }
        now.plus(spread(&self.config.endpoint, FIRST_START, self.config.start_delay))
    }

    /// There is a session with the target that was asked for.
    pub fn connected(&mut self, now: Moment) {
        self.renew_peer();
        match &mut self.bootstrapping {
            Some(bootstrapping) => bootstrapping.handle_connected(),
            None => self.upkeep.handle_connected(),
        }
        self.drive(now);
    }

    /// There is no session to be had, or it has ended.
    pub fn connection_failed(&mut self, now: Moment) {
        self.renew_peer();
        self.handle_silence(now);
        self.drive(now);
    }

    /// The server was heard, and does not take this device: its key or its certificate, for the host knows no other reason.
    pub fn connection_refused(&mut self, now: Moment) {
        self.renew_peer();
        self.handle_refusal(now);
        self.drive(now);
    }

    /// Says goodbye to the server; [`Action::Deregistered`] follows, where the device was registered.
    pub fn stop(&mut self, now: Moment) {
        self.bootstrapping = None;
        self.is_bootstrap_due = false;
        self.leave(now, None);
        self.drive(now);
    }

    /// Tells the server at once that the device is there.
    pub fn update(&mut self, now: Moment) {
        self.upkeep.update();
        self.drive(now);
    }

    /// Something at or below a path has changed: whoever observes it is told as it asked.
    pub fn changed(&mut self, now: Moment, path: Path) {
        let time = self.time(now);
        self.watches.changed(&self.registry, time, &path);
        self.drive(now);
    }

    /// The time of day, in seconds since 1970.
    pub fn set_clock(&mut self, now: Moment, unix_s: i64) {
        self.clock_s = Some(unix_s.saturating_sub(i64::try_from(now.0 / 1000).unwrap_or(i64::MAX)));
        if let Some(firmware) = &mut self.registry.firmware {
            firmware.object.handle_clock(now, unix_s);
        }
    }

    /// Changes object 3, and tells whoever observes what has changed.
    pub fn set_device(&mut self, now: Moment, change: impl FnOnce(&mut Device)) {
        change(&mut self.registry.device.device);
        self.changed(now, Path::object(device::OBJECT));
    }

    /// Changes object 4, where there is one, and tells whoever observes what has changed.
    pub fn set_connectivity(&mut self, now: Moment, change: impl FnOnce(&mut Connectivity)) {
        if let Some(connectivity) = &mut self.registry.connectivity {
            change(connectivity);
            self.changed(now, Path::object(connectivity::OBJECT));
        }
    }

    /// Says a word of the host to object 5, where there is one, and tells whoever observes what has changed.
    pub fn firmware<T>(&mut self, now: Moment, word: impl FnOnce(&mut object5::Object) -> T) -> Option<T> {
        let firmware = self.registry.firmware.as_mut()?;
        let result = word(&mut firmware.object);
        firmware.collect();
        self.tell_firmware(now);
        self.drive(now);
        Some(result)
    }

    /// Object 5, to look at.
    #[must_use]
    pub fn firmware_object(&self) -> Option<&object5::Object> {
        self.registry.firmware.as_ref().map(|firmware| &firmware.object)
    }

    /// A request of the host's own on the session: a block of a download, or a Send. [`Action::Answered`] or
    /// [`Action::Unanswered`] follows, unless the session ends before.
    ///
    /// # Errors
    /// As [`Peer::request`].
    pub fn request(&mut self, now: Moment, request: Request) -> Result<RequestId, Refused> {
        self.peer.request(now, request)
    }

    /// Takes a datagram of the session.
    pub fn handle_datagram(&mut self, now: Moment, datagram: &[u8]) {
        self.stay_awake(now);
        self.peer.handle_datagram(now, datagram);
        self.drive(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.peer.handle_timeout(now);
        if let Some(firmware) = &mut self.registry.firmware {
            firmware.object.handle_timeout(now);
            firmware.collect();
            self.tell_firmware(now);
        }
        self.drive(now);
    }

    /// The next datagram to send on the session.
    pub fn poll_transmit(&mut self, now: Moment) -> Option<Vec<u8>> {
        if let Some(datagram) = self.peer.poll_transmit() {
            self.stay_awake(now);
            return Some(datagram);
        }
        if std::mem::take(&mut self.has_bootstrapped) {
            self.bootstrapping = None;
            self.drive(now);
        }
        if std::mem::take(&mut self.is_bootstrap_due) {
            self.fall_back_to_bootstrap(now);
            self.drive(now);
        }
        if std::mem::take(&mut self.is_answering)
            && let Some(firmware) = &mut self.registry.firmware
        {
            firmware.object.handle_answered();
            firmware.collect();
            self.tell_firmware(now);
        }
        None
    }

    /// What the host is to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `handle_timeout` is due, if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        let upkeep = match &self.bootstrapping {
            Some(bootstrapping) => bootstrapping.due(),
            None => self.upkeep.due().filter(|_| self.asked.is_none()),
        };
        let firmware = self.registry.firmware.as_ref().and_then(|firmware| firmware.object.poll_timeout());
        let watches = self.watches.due(&self.registry);
        [self.peer.poll_timeout(), upkeep, firmware, watches].into_iter().flatten().min()
    }

    /// Where the server keeps the registration, while there is one.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.upkeep.location()
    }

    /// The settings of object 1.
    #[must_use]
    pub fn server(&self) -> &ServerObject {
        &self.registry.server
    }

    /// How many observations of the server there are.
    #[must_use]
    pub fn observations(&self) -> usize {
        self.watches.len()
    }

    /// Whether the device may stop listening: in queue mode, so long after its last message. It wakes for whatever it sends.
    #[must_use]
    pub fn is_asleep(&self, now: Moment) -> bool {
        self.config.is_queued
            && self.upkeep.location().is_some()
            && self.asked.is_none()
            && now >= self.awake_until
    }

    fn stay_awake(&mut self, now: Moment) {
        self.awake_until = now.plus(self.config.awake_for);
    }

    fn time(&self, now: Moment) -> Time {
        let since = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
        Time { now, utc_s: self.clock_s.map(|clock_s| clock_s.saturating_add(since)) }
    }

    /// A session of its own has a message layer of its own: tokens and message IDs of another mean nothing on it.
    fn renew_peer(&mut self) {
        for byte in &mut self.seed {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        self.peer = Peer::new(self.seed, Arc::clone(&self.coap));
        self.asked = None;
        self.early.clear();
        self.watches.clear();
    }
}

/// A device's place in `0..width`: the same for the same device and occasion, and spread over a fleet.
fn spread(name: &str, occasion: u32, width: Duration) -> Duration {
    // FNV-1a, then the finalizer of SplitMix64: names that differ in their last digit end far apart.
    let bytes = name.bytes().chain(occasion.to_be_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let share = (hash ^ (hash >> 31)) >> 32;
    let nanos = (width.as_nanos() * u128::from(share)) >> 32;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
