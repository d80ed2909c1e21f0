//! What the messages mean: topics to the pure adapters, within the engine's batches, and hints to notifications.

use super::door::{Bus, Effects, Handler, Identity, Message, NotTaken, Occasion};
use super::endpoint::matches;
use super::jobs::{self, Told};
use super::links::Links;
use super::replica::{self, Desk};
use super::shadow;
use super::topic::Route;
use crate::engine::command::random_rollout_id;
use crate::engine::{By, Engine, EngineError, Listener};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use updraft_core::fleet::{Error, Fleet};
use updraft_core::id::{DeviceId, ProductName};
use updraft_core::report::Report;
use updraft_core::shadow::ShadowName;
use updraft_core::store::Store;
use updraft_core::time::Timestamp;
use updraft_wire::jobs::Topic as Jobs;
use updraft_wire::replica::Topic as Replica;

/// Hints that may wait. What is beyond is dropped: a look over all connected devices finds what a hint would have said.
const HINTS_MAX: usize = 16_384;
/// Hints worked on at once, so that the engine finds several in one batch.
const HINTS_AT_ONCE: usize = 128;
/// How often it is asked whether something has changed for connected devices at large.
const PATROL_INTERVAL: Duration = Duration::from_secs(5);
/// Devices of a patrol between two pauses.
const PATROL_SLICE: usize = 200;
/// The pause after a slice: at most 2,000 devices a second, so that a rollout that moves on and on costs the engine little.
const PATROL_PAUSE: Duration = Duration::from_millis(100);

/// The handler of all messages, over what carries them.
pub struct Adapter<B> {
    engine: Engine,
    bus: Arc<B>,
    links: Links,
    told: Memory,
    hints: mpsc::Sender<DeviceId>,
}

/// What a device was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    jobs: Told,
    work: Told,
}

/// What connected devices were told of their jobs, and of which work in a delta; those with nothing are left out.
///
/// It is read and written within the engine's turns, of which a device has one at a time: two looks at the same device
/// would otherwise find the same news, and tell it twice.
#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<HashMap<DeviceId, Known>>>);

impl Memory {
    fn of(&self, device: &DeviceId) -> Known {
        self.lock().get(device).cloned().unwrap_or_default()
    }

    fn note(&self, device: &DeviceId, change: impl FnOnce(&mut Known)) {
        let mut told = self.lock();
        let mut known = told.remove(device).unwrap_or_default();
        change(&mut known);
        if known != Known::default() {
            told.insert(device.clone(), known);
        }
    }

    fn forget(&self, device: &DeviceId) {
        self.lock().remove(device);
    }

    fn forget_unless(&self, is_here: impl Fn(&DeviceId) -> bool) {
        self.lock().retain(|device, _| is_here(device));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<DeviceId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hints that an adapter has taken in; see [`Adapter::run`].
pub struct Hints(mpsc::Receiver<DeviceId>);

impl<B: Bus> Adapter<B> {
    /// An adapter that the engine tells of changes from now on. [`Adapter::run`] must run for anything to come of them.
    #[must_use]
    pub fn new(engine: Engine, bus: Arc<B>, links: Links) -> (Arc<Self>, Hints) {
        let (hints, taken) = mpsc::channel(HINTS_MAX);
        let adapter = Arc::new(Self { engine, bus, links, told: Memory::default(), hints });
        let listener: Arc<dyn Listener> = adapter.clone();
        adapter.engine.listen(Arc::downgrade(&listener));
        (adapter, Hints(taken))
    }

    /// Tells connected devices what has changed for them. Never ends; drop it to stop.
    pub async fn run(self: Arc<Self>, hints: Hints) {
        let mut hints = hints.0;
        let notices = stream::poll_fn(|context| hints.poll_recv(context))
            .map(|device| self.notice(device))
            .buffer_unordered(HINTS_AT_ONCE)
            .for_each(|()| std::future::ready(()));
        tokio::join!(notices, self.patrol());
    }

    /// Looks at all connected devices whenever something has changed at large: hints may be lost.
    async fn patrol(&self) {
        let mut seen = self.engine.generation();
        loop {
            tokio::time::sleep(PATROL_INTERVAL).await;
            let generation = self.engine.generation();
            if generation == seen {
                continue;
            }
            seen = generation;
            for slice in self.bus.connected().chunks(PATROL_SLICE) {
                for device in slice {
                    // Full: the hint is dropped, and the next patrol comes.
                    let _ = self.hints.try_send(device.clone());
                }
                tokio::time::sleep(PATROL_PAUSE).await;
            }
            self.told.forget_unless(|device| self.bus.is_connected(device));
        }
    }

    /// Tells one device what it has not been told.
    async fn notice(&self, device: DeviceId) {
        if !self.bus.is_connected(&device) {
            return;
        }
        let (links, id, told) = (self.links.clone(), device.clone(), self.told.clone());
        let look = self.engine.about(device.clone(), By::Another, move |fleet, now| {
            let (messages, pending) = look(fleet, now, &id, &told.of(&id), &links)?;
            told.note(&id, |known| *known = Known { jobs: pending.clone(), work: pending });
            Ok(messages)
        });
        match look.await {
            Ok(messages) => messages.into_iter().for_each(|message| self.bus.publish(message)),
            Err(error) => {
                // Nothing left: the next look tells all of it.
                self.told.forget(&device);
                tracing::debug!(error = &error as &dyn std::error::Error, %device, "a hint came to nothing");
            }
        }
    }

    /// The answer to a device for which nothing is pending, if that is known and is all that it asks.
    fn without_engine(
        &self,
        who: &Identity,
        device: &DeviceId,
        topic: &str,
        payload: &[u8],
    ) -> Option<Effects> {
        let (_, topic) = Jobs::parse(topic)?;
        if !self.engine.is_quiet(device, product_of(who)) {
            return None;
        }
        jobs::nothing_pending(self.engine.now(), device, topic, payload)
    }

    async fn on_jobs(&self, who: Identity, device: DeviceId, topic: String, payload: Bytes) -> Taken {
        let (links, id, told) = (self.links.clone(), device.clone(), self.told.clone());
        let quiet = self.engine.quiet().clone();
        let handled = self.engine.about(device, by(&who), move |fleet, now| {
            let Some((_, topic)) = Jobs::parse(&topic) else { return Ok(None) };
            if !greet(fleet, now, &id, &who)? {
                return Ok(None);
            }
            let handled = jobs::handle(fleet, now, &id, topic, &payload, &links)?;
            if let Some(pending) = handled.told {
                if pending.is_empty() {
                    quiet.note(fleet, now, &id, product_of(&who))?;
                }
                told.note(&id, |known| known.jobs = pending);
            }
            Ok(Some(handled.effects))
        });
        handled.await.map_err(|error| not_taken(&error))?.ok_or(NotTaken::Forbidden)
    }

    async fn on_replica(&self, who: Identity, device: DeviceId, topic: Replica, payload: Bytes) -> Taken {
        let (links, new_rollout) = (self.links.clone(), random_rollout_id());
        let handled = self.engine.about(device.clone(), by(&who), move |fleet, now| {
            if !greet(fleet, now, &device, &who)? {
                return Ok(None);
            }
            let (device, who, links) = (&device, &who, &links);
            Desk { fleet, now, device, who, links, new_rollout }.handle(topic, &payload).map(Some)
        });
        handled.await.map_err(|error| not_taken(&error))?.ok_or(NotTaken::Forbidden)
    }

    async fn on_shadow(
        &self,
        who: Identity,
        device: DeviceId,
        route: shadow::Route,
        payload: Bytes,
    ) -> Taken {
        let (links, new_rollout) = (self.links.clone(), random_rollout_id());
        let handled = self.engine.about(device.clone(), by(&who), move |fleet, now| {
            if !greet(fleet, now, &device, &who)? {
                return Ok(None);
            }
            let effects = shadow::handle(fleet, now, &device, &route, &payload)?;
            let is_description = route.name.is_classic()
                && route.operation == crate::shadow::Operation::Update
                && matches!(who, Identity::Device { .. });
            if is_description {
                let (device, who, links) = (&device, &who, &links);
                Desk { fleet, now, device, who, links, new_rollout }.report(None)?;
            }
            Ok(Some(effects))
        });
        handled.await.map_err(|error| not_taken(&error))?.ok_or(NotTaken::Forbidden)
    }

    /// What a device must hear that begins, or begins again, to listen to its deltas.
    async fn missed(
        &self,
        who: Identity,
        device: DeviceId,
        occasion: Occasion,
        filter: &str,
    ) -> Vec<Message> {
        let is_for = |topic: &str| matches(filter, topic);
        let wants_delta = is_for(&replica::delta_topic(&device));
        let wants_shadow = occasion == Occasion::Resumed
            && is_for(&format!(
                "{}/update/delta",
                crate::shadow::topic_prefix(&device, &ShadowName::CLASSIC)
            ));
        let wants_jobs =
            is_for(&Jobs::Notify.name(device.as_str())) || is_for(&Jobs::NotifyNext.name(device.as_str()));
        if !(wants_delta || wants_shadow || wants_jobs) {
            return Vec::new();
        }
        let filter = filter.to_owned();
        let (links, told) = (self.links.clone(), self.told.clone());
        let (id, new_rollout) = (device.clone(), random_rollout_id());
        let found = self.engine.about(device.clone(), by(&who), move |fleet, now| {
            if !greet(fleet, now, &id, &who)? {
                return Ok(Vec::new());
            }
            let mut messages = Vec::new();
            if wants_delta {
                let (device, who, links) = (&id, &who, &links);
                messages.extend(replica::delta(&mut Desk { fleet, now, device, who, links, new_rollout })?);
            }
            if wants_shadow && let Some(kept) = fleet.shadow(&id, &ShadowName::CLASSIC)? {
                let event = crate::shadow::delta(now, &kept, None);
                messages.extend(shadow::messages(&id, &ShadowName::CLASSIC, event.into_iter().collect()));
            }
            let pending = fleet.pending(now, &id)?;
            if wants_jobs && occasion == Occasion::Resumed {
                let missed = jobs::notifications(fleet, now, &id, &Told::default(), &pending, &links);
                messages.extend(missed.into_iter().filter(|message| matches(&filter, &message.topic)));
            }
            told.note(&id, |known| {
                if wants_jobs {
                    known.jobs = Told::of(&pending);
                }
                if wants_delta {
                    known.work = Told::of(&pending);
                }
            });
            Ok(messages)
        });
        match found.await {
            Ok(messages) => messages,
            Err(error) => {
                self.told.forget(&device);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a device was not told what it missed"
                );
                Vec::new()
            }
        }
    }
}

type Taken = Result<Effects, NotTaken>;

impl<B: Bus> Handler for Adapter<B> {
    async fn publish(&self, from: &Identity, topic: &str, payload: Bytes) -> Taken {
        let route = Route::parse(topic).ok_or(NotTaken::Forbidden)?;
        let device: DeviceId = route.device().parse().map_err(|_| NotTaken::Forbidden)?;
        match route {
            Route::Jobs { .. } => match self.without_engine(from, &device, topic, &payload) {
                Some(effects) => Ok(effects),
                None => self.on_jobs(from.clone(), device, topic.to_owned(), payload).await,
            },
            Route::Replica { topic, .. } => self.on_replica(from.clone(), device, topic, payload).await,
            Route::Shadow { levels, .. } => {
                let route = shadow::Route::parse(levels).ok_or(NotTaken::Forbidden)?;
                self.on_shadow(from.clone(), device, route, payload).await
            }
        }
    }

    async fn subscribed(&self, who: &Identity, filter: &str, occasion: Occasion) -> Vec<Message> {
        match who {
            Identity::Device { id, .. } => self.missed(who.clone(), id.clone(), occasion, filter).await,
            // Of many devices, an application asks for what it wants.
            Identity::Application { .. } => Vec::new(),
        }
    }
}

impl<B: Bus> Listener for Adapter<B> {
    fn notify(&self, device: &DeviceId) {
        if self.bus.is_connected(device) {
            // Full: the hint is dropped, and the next patrol comes.
            let _ = self.hints.try_send(device.clone());
        }
    }
}

/// The product whose credential speaks for a device.
fn product_of(who: &Identity) -> Option<&ProductName> {
    match who {
        Identity::Device { product, .. } => product.as_ref(),
        Identity::Application { .. } => None,
    }
}

/// Whose word it is that somebody says.
fn by(who: &Identity) -> By {
    match who {
        Identity::Device { .. } => By::Device,
        Identity::Application { .. } => By::Another,
    }
}

fn not_taken(error: &EngineError) -> NotTaken {
    tracing::warn!(error = error as &dyn std::error::Error, "a message was not taken");
    NotTaken::Unavailable
}

/// Makes a device known that has come for the first time, and refuses one that is of another product than the credential
/// it came with. Whether it may go on.
fn greet<S: Store>(
    fleet: &mut Fleet<S>,
    now: Timestamp,
    id: &DeviceId,
    who: &Identity,
) -> Result<bool, Error> {
    let Identity::Device { product, .. } = who else { return Ok(true) };
    if let Some(known) = fleet.device(id)? {
        return Ok(product.as_ref().is_none_or(|product| known.product == *product));
    }
    let report =
        Report { description: replica::unknown_device(id.as_str(), product.as_ref()), progress: None };
    fleet.report(now, id, &report)?;
    Ok(true)
}

/// What a device must be told, and what it then knows.
fn look<S: Store>(
    fleet: &mut Fleet<S>,
    now: Timestamp,
    id: &DeviceId,
    known: &Known,
    links: &Links,
) -> Result<(Vec<Message>, Told), Error> {
    let pending = fleet.pending(now, id)?;
    let told = Told::of(&pending);
    let mut messages = jobs::notifications(fleet, now, id, &known.jobs, &pending, links);
    if told != known.work && !told.is_empty() {
        let who = Identity::Device { id: id.clone(), product: None };
        let new_rollout = random_rollout_id();
        let mut desk = Desk { fleet, now, device: id, who: &who, links, new_rollout };
        messages.extend(replica::delta(&mut desk)?);
    }
    Ok((messages, told))
}
