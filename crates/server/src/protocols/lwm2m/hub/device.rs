//! One registered device: what is kept of it, and what is under way with it.

use super::super::books::{Change, SavedRegistration};
use super::super::describe::Alias;
use super::super::desk::{Order, Standing};
use super::super::firmware::{Said, Work};
use super::packed::Packed;
use super::timers::Key;
use super::{AWAKE_WINDOW, Action, Hub, LineId, Security, asks};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;
use updraft_core::id::DeviceId;
use updraft_core::time::Timestamp;
use updraft_lwm2m::coap::RequestId;
use updraft_lwm2m::content::{self, ContentFormat};
use updraft_lwm2m::firmware::Driver;
use updraft_lwm2m::link::Objects;
use updraft_lwm2m::registration::{Lifetime, QueueMode, Registration, Update as Renewal};
use updraft_lwm2m::{Entry, Moment, Path};

/// A registration, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The last part of its location, in hex.
    location: String,
    /// How it proved itself.
    security: String,
    /// From where it was last heard.
    address: SocketAddr,
    /// The registration as the device would say it now: its queries and its list of objects.
    queries: Vec<String>,
    objects: String,
    /// When it registered, in milliseconds since 1970.
    registered: u64,
    /// When it was last heard, likewise.
    heard: u64,
    /// What it calls a version.
    alias: Option<Alias>,
    /// What is known of its tree, as SenML CBOR in hex.
    known: String,
    /// Whether the fleet was told what it is. A device whose registration outlived the server's end, and whose description
    /// did not, is read again.
    #[serde(default)]
    is_described: bool,
}

/// A registered device.
#[derive(Debug)]
pub(super) struct Registered {
    /// What it said of itself, and what is known of its tree.
    pub(super) told: Packed,
    pub(super) lifetime: Lifetime,
    pub(super) queue_mode: QueueMode,
    pub(super) location: [u8; 16],
    pub(super) security: Security,
    pub(super) address: SocketAddr,
    /// The line by which it is reached; `None`: by none, until it comes by one.
    pub(super) line: Option<LineId>,
    pub(super) registered: Moment,
    pub(super) heard: Moment,
    pub(super) alias: Option<Box<Alias>>,
    /// Whether the fleet knows what it is since it registered.
    pub(super) is_described: bool,
    /// What is under way; nothing, for most devices at most times.
    pub(super) active: Option<Box<Active>>,
}

/// What is under way with a device.
#[derive(Debug, Default)]
pub(super) struct Active {
    /// What it was asked, by request.
    pub(super) asked: BTreeMap<RequestId, asks::Purpose>,
    /// What it is observed for.
    pub(super) observed: BTreeMap<RequestId, Path>,
    /// What is left to read of its description.
    pub(super) to_describe: VecDeque<Path>,
    /// When it is read again, since it did not answer.
    pub(super) read_again: Option<Moment>,
    /// Its update.
    pub(super) update: Option<Update>,
    /// Orders that wait.
    pub(super) orders: VecDeque<Order>,
    /// The order that it was asked.
    pub(super) order_at: Option<u64>,
}

/// An update that is under way.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) work: Work,
    pub(super) driver: Driver,
    /// Whether the fleet has taken the work back.
    pub(super) withdrawn: bool,
    /// Since when a push waits for a better link.
    pub(super) waits_since: Option<Moment>,
    /// Words for the fleet, in order, and whether the driver waits for one, a marker, to be durable.
    pub(super) words: VecDeque<(Said, bool)>,
    /// Whether the first of them was said, and is not answered.
    pub(super) saying: bool,
    /// When the first of them is to be said again, since the fleet could not take it.
    pub(super) again_at: Option<Moment>,
    /// When the fleet was last told of it, by a word or by a sign of life.
    pub(super) told: Moment,
    /// The last step that the fleet was told of.
    pub(super) last: Option<Said>,
}

/// What moves a driver.
#[derive(Debug)]
pub(super) enum Step {
    /// Its time has come.
    Timeout,
    /// The device registered anew.
    Registered,
    /// The device is awake.
    Awake,
}

impl Registered {
    /// Whether it can be asked something now.
    pub(super) fn is_awake(&self, now: Moment) -> bool {
        self.line.is_some() && (!self.sleeps() || now < self.heard.plus(AWAKE_WINDOW))
    }

    /// Whether it sleeps between its words.
    pub(super) fn sleeps(&self) -> bool {
        self.queue_mode == QueueMode::On
    }

    /// When its registration ends.
    pub(super) fn expires(&self) -> Option<Moment> {
        let lifetime = Duration::from_secs(self.lifetime.seconds().into());
        (!lifetime.is_zero()).then(|| self.heard.plus(lifetime))
    }

    /// A device that has just registered; `None`: what it says is too long to be kept.
    pub(super) fn new(
        registration: &Registration,
        location: [u8; 16],
        security: Security,
        address: SocketAddr,
        now: Moment,
    ) -> Option<Self> {
        Some(Self {
            told: Packed::new(registration)?,
            lifetime: registration.lifetime,
            queue_mode: registration.queue_mode,
            location,
            security,
            address,
            line: None,
            registered: now,
            heard: now,
            alias: None,
            is_described: false,
            active: None,
        })
    }

    /// What it has.
    pub(super) fn objects(&self) -> Objects {
        self.told.registration().objects
    }

    /// Takes over what an update of its registration says; whether it has other objects now. `None`: that is too long to be
    /// kept, and the registration is as it was.
    pub(super) fn apply(&mut self, update: Renewal) -> Option<bool> {
        let mut registration = self.told.registration();
        let has_others = update.objects.as_ref().is_some_and(|new| *new != registration.objects);
        registration.apply(update);
        self.told = Packed::new(&registration)?.with_known(self.told.known());
        (self.lifetime, self.queue_mode) = (registration.lifetime, registration.queue_mode);
        Some(has_others)
    }

    /// What is known of its tree.
    pub(super) fn tree(&self) -> Vec<Entry> {
        content::decode(ContentFormat::SENML_CBOR, &Path::ROOT, self.told.known()).unwrap_or_default()
    }

    /// Takes in what was read below `path`, in place of what was known there.
    pub(super) fn learn(&mut self, path: &Path, entries: &[Entry]) {
        let mut tree: BTreeMap<Path, Entry> = self
            .tree()
            .into_iter()
            .filter(|entry| !path.contains(&entry.path))
            .map(|entry| (entry.path, entry))
            .collect();
        tree.extend(entries.iter().map(|entry| (entry.path, entry.clone())));
        let tree: Vec<_> = tree.into_values().collect();
        // What cannot be written was never read: formats hold the same values.
        if let Ok(known) = content::encode(ContentFormat::SENML_CBOR, &Path::ROOT, &tree) {
            self.told = self.told.with_known(&known);
        }
    }

    pub(super) fn active(&mut self) -> &mut Active {
        self.active.get_or_insert_default()
    }

    /// Drops what is under way if nothing is.
    pub(super) fn tidy(&mut self) {
        let is_idle = self.active.as_ref().is_some_and(|active| {
            active.asked.is_empty()
                && active.observed.is_empty()
                && active.to_describe.is_empty()
                && active.update.is_none()
                && active.orders.is_empty()
        });
        if is_idle {
            self.active = None;
        }
    }

    pub(super) fn standing(&self, now: Moment) -> Standing {
        let registration = self.told.registration();
        Standing {
            endpoint: registration.endpoint.to_string(),
            address: self.address.to_string(),
            security: self.security.as_str().to_owned(),
            version: registration.version.as_str().to_owned(),
            lifetime_s: self.expires().map(|at| at.since(now).as_secs()),
            registered: timestamp(self.registered),
            heard: timestamp(self.heard),
            is_queue_mode: self.sleeps(),
            is_awake: self.is_awake(now),
            objects: registration.objects.paths().to_vec(),
            known: self.tree(),
            waiting: self.active.as_ref().map_or(0, |active| active.orders.len()),
        }
    }

    fn record(&self) -> Record {
        let registration = self.told.registration();
        Record {
            location: hex::encode(self.location),
            security: self.security.as_str().to_owned(),
            address: self.address,
            queries: registration.queries(),
            objects: registration.objects.write(),
            registered: self.registered.0,
            heard: self.heard.0,
            alias: self.alias.as_deref().cloned(),
            known: hex::encode(self.told.known()),
            is_described: self.is_described,
        }
    }

    fn read(record: &Record) -> Option<Self> {
        let security = [Security::None, Security::Psk, Security::X509]
            .into_iter()
            .find(|security| security.as_str() == record.security)?;
        let queries: Vec<_> = record.queries.iter().map(String::as_str).collect();
        let registration = Registration::parse(&queries, None, record.objects.as_bytes()).ok()?;
        let location = hex::decode(&record.location).ok()?.try_into().ok()?;
        let registered = Moment(record.registered);
        let new = Self::new(&registration, location, security, record.address, registered)?;
        Some(Self {
            told: new.told.with_known(&hex::decode(&record.known).ok()?),
            heard: Moment(record.heard),
            alias: record.alias.clone().map(Box::new),
            is_described: record.is_described,
            ..new
        })
    }
}

/// A moment of the hub, whose beginning is 1970, as a time.
pub(super) fn timestamp(moment: Moment) -> Timestamp {
    Timestamp::from_millis(i64::try_from(moment.0).unwrap_or(i64::MAX))
}

impl Hub {
    /// Takes in a registration that an earlier process kept. Where its device is reached, its next word says. One that cannot
    /// be read is left out, and its device registers anew.
    pub fn restore(&mut self, saved: SavedRegistration) {
        let read = serde_json::from_str(&saved.record).ok().and_then(|record| Registered::read(&record));
        let Some(registered) = read else {
            tracing::warn!(device = %saved.device, "a kept registration cannot be read; the device will register anew");
            return;
        };
        self.await_sweep(Moment(0));
        self.locations.insert(registered.location, saved.device.clone());
        self.devices.insert(saved.device, Box::new(registered));
    }

    /// Has a registration kept as it is now.
    pub(super) fn keep(&mut self, device: &DeviceId) {
        let Some(registered) = self.devices.get(device) else { return };
        let record = serde_json::to_string(&registered.record()).expect("a record is plain data");
        let saved = SavedRegistration { device: device.clone(), record };
        self.actions.push_back(Action::Keep(Change::Register(saved)));
    }

    /// A device's word keeps it awake, and registered.
    pub(super) fn stay_awake(&mut self, now: Moment, line: LineId) {
        let Some(device) = self.lines.get(&line).and_then(|line| line.device.clone()) else { return };
        let Some(registered) = self.devices.get_mut(&device) else { return };
        registered.heard = now;
        if registered.sleeps() {
            self.timers.set(Key::Awake(device), Some(now.plus(AWAKE_WINDOW)));
        }
    }
}
