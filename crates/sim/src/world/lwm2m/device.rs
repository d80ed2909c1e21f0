//! A device that speaks LwM2M: the real client and the real object 5 on simulated flash, and around them what a device's
//! program does with sockets, power and images.

use super::super::device::{Identity, Io};
use super::super::sabotage::Sabotage;
use super::super::timers::Timers;
use super::Packet;
use super::chip::Chip;
use super::firmware::Fetching;
use super::host::seed;
use super::nature::Nature;
use updraft_lwm2m::Moment;
use updraft_lwm2m::client::connectivity::Connectivity;
use updraft_lwm2m::client::device::Device as DeviceObject;
use updraft_lwm2m::client::server_object::ServerObject;
use updraft_lwm2m::client::{Action, Client, Session};
use updraft_lwm2m::coap::{Message, MessageType};
use updraft_lwm2m::firmware::{Object, State, UpdateResult};
use updraft_lwm2m::registration::Lifetime;

/// How long a device waits for the session it asks for, and how often it asks.
const GRANT_MS: u64 = 10_000;
const GRANTS_MAX: u32 = 4;
/// The bearer devices use: NB-IoT, by the registry's number.
const BEARER: u8 = 7;

/// What a device's alarms are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    /// Power comes back, or a restart is done.
    PowerOn,
    /// The session that was asked for has not come.
    Grant,
    /// Time to ask for the next bytes of an image.
    Fetch,
    /// The check of an image is done.
    Verify,
    /// Time to install.
    Install,
    /// The health check of what runs on trial is done.
    Probe,
}

/// The device.
pub(in super::super) struct Constrained {
    pub(super) device: usize,
    pub(in super::super) identity: Identity,
    pub(super) nature: Nature,
    pub(super) chip: Chip,
    pub(super) alarms: Timers<Alarm>,
    pub(super) client: Option<Client>,
    pub(super) fetching: Option<Fetching>,
    pub(super) sabotage: Option<Sabotage>,
    session: Option<u64>,
    port: u16,
    grants: u32,
    /// The attempt that was put off.
    pub(super) deferred: Option<u32>,
    /// The attempt that is to be installed.
    pub(super) installing: Option<u32>,
}

impl Constrained {
    pub(in super::super) fn new(
        device: usize,
        identity: Identity,
        version: &str,
        random: &mut crate::random::Random,
        sabotage: Option<Sabotage>,
    ) -> Self {
        Self::of(device, identity, version, Nature::draw(random), sabotage)
    }

    pub(super) fn of(
        device: usize,
        identity: Identity,
        version: &str,
        nature: Nature,
        sabotage: Option<Sabotage>,
    ) -> Self {
        let mut alarms = Timers::default();
        alarms.set(Alarm::PowerOn, 0);
        Self {
            device,
            identity,
            nature,
            chip: Chip::new(version, sabotage == Some(Sabotage::RecordsLie)),
            alarms,
            client: None,
            fetching: None,
            sabotage,
            session: None,
            port: 1_024,
            grants: 0,
            deferred: None,
            installing: None,
        }
    }

    /// Whether it has nothing to do and nothing to say.
    pub(in super::super) fn is_idle(&self) -> bool {
        let state = self.client.as_ref().and_then(Client::firmware_object).map(Object::state);
        let is_registered = self.client.as_ref().is_some_and(|client| client.location().is_some());
        // An image whose rollout has ended may stay: the next one begins with a reset.
        is_registered && self.chip.trial.is_none() && matches!(state, Some(State::Idle | State::Downloaded))
    }

    /// How it stands, for whoever reads a failing seed.
    pub(in super::super) fn standing(&self) -> String {
        let client = self.client.as_ref();
        let state = client.and_then(Client::firmware_object).map(Object::state);
        let is_registered = client.is_some_and(|client| client.location().is_some());
        format!("{state:?}, registered: {is_registered}, on trial: {:?}, {:?}", self.chip.trial, self.nature)
    }

    pub(in super::super) fn next_wake(&self) -> Option<u64> {
        let client = self.client.as_ref().and_then(Client::poll_timeout);
        [self.alarms.next(), client.map(|due| due.0)].into_iter().flatten().min()
    }

    pub(in super::super) fn wake(&mut self, io: &mut Io<'_>) {
        while let Some(alarm) = self.alarms.take_due(io.now) {
            match alarm {
                Alarm::PowerOn => self.power_on(io),
                Alarm::Grant => self.ask_session(io),
                Alarm::Fetch => self.fetch(io),
                Alarm::Verify => self.verify(io),
                Alarm::Install => self.install(io),
                Alarm::Probe => self.probe(io),
            }
        }
        let now = Moment(io.now);
        if let Some(client) = &mut self.client
            && client.poll_timeout().is_some_and(|due| due <= now)
        {
            client.handle_timeout(now);
        }
        self.drive(io);
    }

    /// A packet arrives at the device's address; one for an address or a session it had before is not seen, and none while
    /// it sleeps.
    pub(in super::super) fn take(&mut self, io: &mut Io<'_>, packet: Packet) {
        let now = Moment(io.now);
        let Some(client) = &mut self.client else { return };
        if packet.port != self.port {
            return;
        }
        match packet.bytes {
            None if self.grants > 0 => {
                self.session = packet.session;
                self.grants = 0;
                self.alarms.clear(Alarm::Grant);
                client.connected(now);
            }
            Some(bytes) if packet.session == self.session && !client.is_asleep(now) => {
                client.handle_datagram(now, &bytes);
            }
            None | Some(_) => return,
        }
        self.drive(io);
    }

    /// The power goes, at once or within one of the next changes on flash.
    pub(in super::super) fn cut_power(&mut self, io: &mut Io<'_>) {
        if self.client.is_none() || io.random.chance(500) {
            let pause = io.random.between(2_000, 120_000);
            self.switch_off(io, pause);
        } else {
            self.chip.cut_after(io.random.below(6));
        }
    }

    pub(in super::super) fn flash_by_hand(&mut self, io: &mut Io<'_>, version: &str) {
        self.chip.flash(version);
        io.truth.flashed(io.now, self.device, version);
        let pause = io.random.between(5_000, 60_000);
        self.switch_off(io, pause);
    }

    /// The device is seen from another address from here on.
    pub(in super::super) fn move_address(&mut self) {
        self.port = if self.port == u16::MAX { 1_024 } else { self.port + 1 };
    }

    pub(super) fn switch_off(&mut self, io: &mut Io<'_>, pause_ms: u64) {
        io.truth.stops(io.now, self.device);
        (self.client, self.fetching, self.session) = (None, None, None);
        (self.deferred, self.installing, self.grants) = (None, None, 0);
        self.alarms.clear_all();
        self.alarms.set(Alarm::PowerOn, io.now + pause_ms);
    }

    fn power_on(&mut self, io: &mut Io<'_>) {
        self.chip.restore_power();
        let mut restart = self.chip.start(io.now, self.device, io.truth);
        let mut record = self.chip.record.clone();
        if self.nature.forgets_results && self.chip.trial.is_none() && record.state == State::Updating {
            (record.state, record.result) = (State::Idle, UpdateResult::Initial);
            restart = updraft_lwm2m::firmware::object::Restart::Plain;
        }
        let now = Moment(io.now);
        let object = Object::restored(self.nature.abilities(), record, restart, now);
        let running = self.chip.trial.as_ref().map_or(&self.chip.version, |trial| &trial.version);
        let device = DeviceObject {
            manufacturer: "Acme".to_owned(),
            model: self.identity.product.clone(),
            serial: self.identity.id.clone(),
            firmware_version: running.clone(),
            ..DeviceObject::default()
        };
        let server = ServerObject::new(1, Lifetime::Seconds(self.nature.lifetime_s));
        let config = self.nature.config(&self.identity.id);
        let mut client = Client::new(config, seed(io.random), server, device)
            .with_connectivity(Connectivity::new(BEARER, self.nature.signal_dbm))
            .with_firmware(object);
        client.start(now);
        self.client = Some(client);
        if self.chip.trial.is_some() {
            let pause = io.random.between(5_000, 90_000);
            self.alarms.set(Alarm::Probe, io.now + pause);
        }
        self.drive(io);
    }

    /// Does what the client wants done, then sends what it has to send, until there is no more.
    pub(super) fn drive(&mut self, io: &mut Io<'_>) {
        let now = Moment(io.now);
        loop {
            let mut has_moved = false;
            while let Some(action) = self.client.as_mut().and_then(Client::poll_action) {
                has_moved = true;
                if !self.act(io, action) {
                    let pause = io.random.between(2_000, 120_000);
                    return self.switch_off(io, pause);
                }
            }
            while let Some(bytes) = self.client.as_mut().and_then(|client| client.poll_transmit(now)) {
                has_moved = true;
                if self.nature.is_mute && is_notification(&bytes) {
                    io.truth.count("notifications lost");
                    continue;
                }
                io.packets.push(Packet { session: self.session, port: self.port, bytes: Some(bytes) });
            }
            if !has_moved {
                return;
            }
        }
    }

    /// Does one thing; whether there was power for it.
    fn act(&mut self, io: &mut Io<'_>, action: Action) -> bool {
        match action {
            Action::Connect { session, .. } => self.connect(io, session),
            Action::Firmware(action) => return self.act_on_firmware(io, action),
            Action::Answered { id, response } => self.take_block(io, id, Some(response)),
            Action::Unanswered { id, .. } => self.take_block(io, id, None),
            Action::Reboot => {
                let pause = io.random.between(2_000, 20_000);
                self.switch_off(io, pause);
            }
            Action::Registered(_) => io.truth.count("registrations"),
            Action::Updated => io.truth.count("updates of registrations"),
            Action::RegistrationFailed(_) => io.truth.count("registrations that failed"),
            Action::Disconnect
            | Action::Deregistered
            | Action::ClockSet(_)
            | Action::ServerChanged(_)
            | Action::Bootstrapped(_)
            | Action::BootstrapFailed(_) => {}
        }
        true
    }

    fn connect(&mut self, io: &mut Io<'_>, session: Session) {
        let is_there = self.session.is_some() && session == Session::Any;
        if self.nature.is_secured && !is_there {
            self.session = None;
            self.grants = 0;
            return self.ask_session(io);
        }
        if let Some(client) = &mut self.client {
            client.connected(Moment(io.now));
        }
        self.fetch_again(io);
    }

    fn ask_session(&mut self, io: &mut Io<'_>) {
        self.grants += 1;
        if self.grants > GRANTS_MAX {
            self.grants = 0;
            if let Some(client) = &mut self.client {
                client.connection_failed(Moment(io.now));
            }
            return;
        }
        io.packets.push(Packet { session: None, port: self.port, bytes: None });
        self.alarms.set(Alarm::Grant, io.now + GRANT_MS);
    }
}

/// Whether a datagram is a notification that nobody has to acknowledge: a response that no request is waiting for in its own
/// message.
fn is_notification(bytes: &[u8]) -> bool {
    let parsed = Message::parse(bytes);
    parsed.is_ok_and(|message| message.kind == MessageType::NonConfirmable && message.code.is_response())
}
