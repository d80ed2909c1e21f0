//! Which sessions there are, by whose they are.

use super::saved::{SavedSession, SavedSubscription};
use super::session::{Presence, State};
use super::will::Will;
use crate::protocols::mqtt::door::Identity;
use mqtt_proto::v5::DisconnectReasonCode as Code;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::oneshot;
use updraft_core::id::DeviceId;

/// Shards of the registry: threads that connect clients seldom meet at one lock.
const SHARDS: usize = 64;

/// Whose a session is. Applications have sessions of their own, by name and client ID, and so never a device's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SessionKey {
    /// A device's one session.
    Device(DeviceId),
    /// One of an application's.
    Application {
        /// The operator's name.
        name: Arc<str>,
        /// The client ID.
        client_id: Arc<str>,
    },
}

impl SessionKey {
    fn identity(&self) -> Identity {
        match self {
            Self::Device(id) => Identity::Device { id: id.clone(), product: None },
            Self::Application { name, .. } => Identity::Application { name: (**name).to_owned() },
        }
    }
}

/// A session: its state behind a lock.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) key: SessionKey,
    /// When its client was last heard, on the endpoint's clock.
    pub(super) heard: AtomicU64,
    state: Mutex<State>,
}

impl Session {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held cannot leave more than one message half counted.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of asking for a session.
pub(super) enum Claim {
    /// It is the asker's. `present` if it was there before; the will of one that ended by this is due.
    Taken { session: Arc<Session>, present: bool, will: Option<Box<Will>> },
    /// Another connection has it, and was told to go; this tells when it has, or fails if a later one waits instead.
    Wait(oneshot::Receiver<()>),
    /// It went in this moment: ask again.
    Again,
    /// There are too many.
    Full,
}

/// How a session is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Clean,
    Resume,
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Registry {
    shards: Vec<Mutex<HashMap<SessionKey, Arc<Session>>>>,
    hasher: RandomState,
    count: AtomicUsize,
    /// Those that hear of topics that are not one device's: applications; with the open router, all.
    listeners: RwLock<Vec<Arc<Session>>>,
}

impl Registry {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
            listeners: RwLock::default(),
        }
    }

    fn shard(&self, key: &SessionKey) -> MutexGuard<'_, HashMap<SessionKey, Arc<Session>>> {
        let index = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &SessionKey) -> Option<Arc<Session>> {
        self.shard(key).get(key).cloned()
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Puts back a session as it was before a restart, its client away.
    pub(super) fn restore(&self, saved: &SavedSession, now: u64) {
        let mut state = State::new(saved.key.identity(), now);
        state.expiry = saved.expiry;
        state.saved = true;
        state.subscriptions =
            saved.subscriptions.iter().filter_map(SavedSubscription::subscription).collect();
        self.add(&mut self.shard(&saved.key), saved.key.clone(), state);
    }

    fn add(
        &self,
        shard: &mut HashMap<SessionKey, Arc<Session>>,
        key: SessionKey,
        state: State,
    ) -> Arc<Session> {
        let session =
            Arc::new(Session { key: key.clone(), heard: AtomicU64::new(0), state: Mutex::new(state) });
        match key {
            SessionKey::Device(_) => {}
            SessionKey::Application { .. } => {
                self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(session.clone());
            }
        }
        shard.insert(key, session.clone());
        self.count.fetch_add(1, Ordering::Relaxed);
        session
    }

    /// Asks for the session of a client that was let in.
    pub(super) fn claim(
        &self,
        key: &SessionKey,
        identity: &Identity,
        start: Start,
        sessions_max: usize,
        now: u64,
    ) -> Claim {
        let mut shard = self.shard(key);
        let session = match shard.get(key) {
            Some(session) => session.clone(),
            None if self.count() >= sessions_max => return Claim::Full,
            None => {
                let mut state = State::new(identity.clone(), now);
                state.presence = Presence::Connected;
                let session = self.add(&mut shard, key.clone(), state);
                return Claim::Taken { session, present: false, will: None };
            }
        };
        drop(shard);
        let mut state = session.lock();
        let since = match state.presence {
            Presence::Gone => return Claim::Again,
            Presence::Connected => {
                let (gone, wait) = oneshot::channel();
                state.waiting = Some(gone);
                state.kick(Code::SessionTakenOver);
                return Claim::Wait(wait);
            }
            Presence::Away(since) => since,
        };
        let expired = now >= since + u64::from(state.expiry) * 1000;
        let mut will = None;
        let present = start == Start::Resume && !expired;
        if present {
            // It came back in time: what it left to be said is not true (3.1.3.2.2).
            (state.will, state.will_due) = (None, None);
        } else {
            will = state.will_due.take().and_then(|_| state.will.take());
            state.clear();
        }
        state.identity = identity.clone();
        state.presence = Presence::Connected;
        state.kick = None;
        drop(state);
        Claim::Taken { session, present, will }
    }

    /// Takes out a session whose state says that it is gone.
    pub(super) fn remove(&self, session: &Arc<Session>) {
        let mut shard = self.shard(&session.key);
        if shard.get(&session.key).is_some_and(|own| Arc::ptr_eq(own, session)) {
            shard.remove(&session.key);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        drop(shard);
        match session.key {
            SessionKey::Device(_) => {}
            SessionKey::Application { .. } => {
                let mut listeners = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
                listeners.retain(|own| !Arc::ptr_eq(own, session));
            }
        }
    }

    /// Calls `take` for each session that may hear of any topic.
    pub(super) fn each_listener(&self, mut take: impl FnMut(&Arc<Session>)) {
        self.listeners.read().unwrap_or_else(PoisonError::into_inner).iter().for_each(&mut take);
    }

    /// The sessions of one shard, copied so that its lock is free while they are looked at.
    pub(super) fn shard_sessions(&self, index: usize) -> Vec<Arc<Session>> {
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn shards(&self) -> usize {
        self.shards.len()
    }
}
