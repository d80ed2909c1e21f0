//! Who hears a message: the device whose topic it is, and the applications whose filters match.

use super::gate::Gate;
use super::limits::Limits;
use super::open_router::OpenRouter;
use super::registry::{Registry, Session, SessionKey};
use super::saved::{SavedSession, SavedSubscription, Saver, SessionChange, SessionStore, SessionStoreError};
use super::session::{Delivery, Parcel, Presence, Queued, State};
use super::subscription::{Matched, Publisher, matched};
use crate::protocols::mqtt::door::{Bus, Identity, Message};
use mqtt_proto::QoS;
use mqtt_proto::v5::DisconnectReasonCode as Code;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::Instant;
use updraft_core::id::DeviceId;

/// Whether the endpoint is what it is for, or a general router so that general conformance suites can judge its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Devices speak with the server, and with nobody else.
    Gateway,
    /// Everyone is let in and hears everyone. Only for tests, only on loopback.
    OpenRouterForConformance,
}

/// The sessions and the ways to them: what carries messages. Made before the [`Handler`](crate::protocols::mqtt::door::Handler),
/// which sends through it as its [`Bus`].
pub struct Router<G> {
    pub(super) gate: Arc<G>,
    pub(super) limits: Limits,
    pub(super) registry: Registry,
    pub(super) store: Option<Arc<dyn SessionStore>>,
    pub(super) saver: Saver,
    pub(super) open: Option<OpenRouter>,
    started: Instant,
    turn: AtomicUsize,
}

impl<G> std::fmt::Debug for Router<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("sessions", &self.registry.count()).finish_non_exhaustive()
    }
}

/// A message, as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// The session that published it, if one did.
    pub(super) publisher: Option<&'a Arc<Session>>,
}

impl Origin<'_> {
    /// What the server itself sends: at QoS 1, never retained.
    pub(super) const SERVER: Self = Self { qos: QoS::Level1, retain: false, publisher: None };
}

impl<G: Gate> Router<G> {
    /// A router with the sessions that were kept, their clients away. Without a store, sessions end with the process.
    ///
    /// # Errors
    /// [`SessionStoreError`].
    pub fn new(
        gate: Arc<G>,
        limits: Limits,
        store: Option<Arc<dyn SessionStore>>,
        mode: Mode,
    ) -> Result<Arc<Self>, SessionStoreError> {
        let registry = Registry::new();
        for saved in store.as_ref().map_or_else(|| Ok(Vec::new()), |store| store.load_all())? {
            registry.restore(&saved, 0);
        }
        let open = match mode {
            Mode::Gateway => None,
            Mode::OpenRouterForConformance => Some(OpenRouter::default()),
        };
        Ok(Arc::new(Self {
            gate,
            limits,
            registry,
            store,
            saver: Saver::new(),
            open,
            started: Instant::now(),
            turn: AtomicUsize::new(0),
        }))
    }

    /// Milliseconds since it was made.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis())
            .expect("fewer than half a billion years of milliseconds")
    }

    /// How many sessions there are, with and without a connection.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.registry.count()
    }

    /// Ends the connection of a device, if it has one: its credential was revoked, or an operator says so.
    pub fn disconnect(&self, device: &DeviceId) {
        if let Some(session) = self.registry.get(&SessionKey::Device(device.clone())) {
            session.lock().kick(Code::AdministrativeAction);
        }
    }

    /// Ends the connections of all whom this names: a credential that speaks for many was revoked. Those who have another
    /// come back with it.
    pub fn disconnect_each(&self, is_named: impl Fn(&Identity) -> bool) {
        self.kick_each(Code::AdministrativeAction, is_named);
    }

    /// Ends all connections: the server stops.
    pub fn disconnect_all(&self) {
        self.kick_each(Code::ServerShuttingDown, |_| true);
    }

    fn kick_each(&self, code: Code, is_named: impl Fn(&Identity) -> bool) {
        for shard in 0..self.registry.shards() {
            for session in self.registry.shard_sessions(shard) {
                let mut state = session.lock();
                if is_named(&state.identity) {
                    state.kick(code);
                }
            }
        }
    }

    /// The best QoS a message is sent at. The gateway's own messages are state, and say the same twice if need be.
    pub(super) fn qos_max(&self) -> QoS {
        if self.open.is_some() { QoS::Level2 } else { QoS::Level1 }
    }

    /// Sends a message to whoever subscribed to its topic.
    pub(super) fn deliver(&self, parcel: &Arc<Parcel>, origin: Origin<'_>) {
        if self.open.is_none()
            && let Some(device) = self.gate.device_of(&parcel.message.topic)
            && let Some(session) = self.registry.get(&SessionKey::Device(device))
        {
            self.hand(&session, parcel, origin);
        }
        let mut groups: BTreeMap<Box<str>, Vec<Arc<Session>>> = BTreeMap::new();
        self.registry.each_listener(|session| {
            self.hand(session, parcel, origin);
            for subscription in &session.lock().subscriptions {
                if subscription.group().is_some() && subscription.matches(&parcel.message.topic) {
                    groups.entry(subscription.filter.clone()).or_default().push(session.clone());
                }
            }
        });
        for (filter, members) in groups {
            self.hand_one(&filter, &members, parcel, origin);
        }
    }

    fn hand(&self, session: &Arc<Session>, parcel: &Arc<Parcel>, origin: Origin<'_>) {
        let itself = origin.publisher.is_some_and(|publisher| Arc::ptr_eq(publisher, session));
        let publisher = if itself { Publisher::Itself } else { Publisher::Another };
        let mut state = session.lock();
        if let Some(matched) = matched(&state.subscriptions, &parcel.message.topic, publisher) {
            self.queue(&mut state, parcel, matched, origin);
        }
    }

    /// One member of a group hears a message: the next in turn that is there, or else the next in turn.
    fn hand_one(&self, filter: &str, members: &[Arc<Session>], parcel: &Arc<Parcel>, origin: Origin<'_>) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..members.len()).map(|step| &members[(turn + step) % members.len()]);
        let there = in_turn.clone().find(|session| session.lock().presence == Presence::Connected);
        let Some(session) = there.or_else(|| in_turn.clone().next()) else { return };
        let mut state = session.lock();
        let Some(subscription) = state.subscriptions.iter().find(|own| *own.filter == *filter) else {
            return;
        };
        let matched = Matched {
            qos: subscription.options.max_qos,
            retain_as_published: subscription.options.retain_as_published,
            identifiers: subscription.identifier.into_iter().collect(),
        };
        self.queue(&mut state, parcel, matched, origin);
    }

    fn queue(&self, state: &mut State, parcel: &Arc<Parcel>, matched: Matched, origin: Origin<'_>) {
        let delivery = Delivery {
            parcel: parcel.clone(),
            qos: matched.qos.min(origin.qos).min(self.qos_max()),
            retain: origin.retain && matched.retain_as_published,
            identifiers: matched.identifiers,
        };
        match state.enqueue(delivery, &self.limits) {
            Queued::Yes | Queued::NotKept => {}
            Queued::Overflow => {
                tracing::info!(client = ?state.identity, "an MQTT client does not read: hanging up");
            }
        }
    }

    /// Sends a message to one session alone, subscribed or not; if it subscribed, as its subscription asks. Called by its own
    /// connection, which looks at the queue next: there is nobody to wake.
    pub(super) fn reply(&self, session: &Session, message: Message, unsubscribed_qos: QoS) {
        let mut state = session.lock();
        state.waker = None;
        let matched =
            matched(&state.subscriptions, &message.topic, Publisher::Another).unwrap_or_else(|| Matched {
                qos: unsubscribed_qos,
                retain_as_published: false,
                identifiers: Vec::new(),
            });
        self.queue(&mut state, &Parcel::plain(message), matched, Origin::SERVER);
    }

    /// What is to be kept of a session, if it outlives its connection and there is a store.
    pub(super) fn to_save(&self, session: &Session, state: &mut State) -> Option<SessionChange> {
        if self.store.is_none() || state.expiry == 0 {
            return None;
        }
        state.saved = true;
        let subscriptions = state.subscriptions.iter().map(SavedSubscription::of).collect();
        Some(SessionChange::Save(SavedSession {
            key: session.key.clone(),
            expiry: state.expiry,
            subscriptions,
        }))
    }

    /// Ends a session for good, if its row can be noted for removal; else the next sweep does.
    pub(super) fn end(&self, session: &Arc<Session>, state: &mut State) -> bool {
        if state.saved && !self.saver.note(SessionChange::Delete(session.key.clone())) {
            return false;
        }
        state.saved = false;
        state.presence = Presence::Gone;
        state.clear();
        true
    }
}

impl<G: Gate> Bus for Router<G> {
    fn publish(&self, message: Message) {
        self.deliver(&Parcel::plain(message), Origin::SERVER);
    }

    fn is_connected(&self, device: &DeviceId) -> bool {
        let session = self.registry.get(&SessionKey::Device(device.clone()));
        session.is_some_and(|session| session.lock().presence == Presence::Connected)
    }

    fn connected(&self) -> Vec<DeviceId> {
        let sessions = (0..self.registry.shards()).flat_map(|shard| self.registry.shard_sessions(shard));
        let connected = sessions.filter(|session| session.lock().presence == Presence::Connected);
        let device = |session: Arc<Session>| match &session.key {
            SessionKey::Device(id) => Some(id.clone()),
            SessionKey::Application { .. } => None,
        };
        connected.filter_map(device).collect()
    }
}
