//! Sessions, awake and asleep, by number, address, connection ID and silence.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::rc::Rc;

use crate::mbed::{Context, Settings};
use crate::record::Cid;
use crate::{CloseReason, Identity, SessionId};

/// A session's own part.
pub(super) enum State {
    /// Ready: some 7 KB.
    Awake(Context),
    /// Put away: some 200 bytes.
    Asleep(Box<[u8]>),
}

/// A session.
pub(super) struct Session {
    pub(super) address: SocketAddr,
    pub(super) cid: Option<Cid>,
    pub(super) identity: Identity,
    pub(super) state: State,
    /// When either end last said something.
    pub(super) active_ms: u64,
    /// Its place in the order of silence: `active_ms`, or when it last could not be put to sleep.
    order_ms: u64,
}

impl Session {
    pub(super) fn new(
        now_ms: u64,
        address: SocketAddr,
        cid: Option<Cid>,
        identity: Identity,
        state: State,
    ) -> Self {
        Self { address, cid, identity, state, active_ms: now_ms, order_ms: now_ms }
    }
}

/// All sessions.
#[derive(Default)]
pub(super) struct Table {
    // Boxed: the map leaves places free, and they shall cost little.
    sessions: HashMap<SessionId, Box<Session>>,
    by_address: HashMap<SocketAddr, SessionId>,
    by_cid: HashMap<Cid, SessionId>,
    /// By a digest of whose they are, under a key of this process: those of one identity stand together.
    by_identity: BTreeSet<(u64, SessionId)>,
    digest: RandomState,
    awake: BTreeSet<(u64, SessionId)>,
    asleep: BTreeSet<(u64, SessionId)>,
    last: u64,
}

impl Table {
    pub(super) fn awake_len(&self) -> usize {
        self.awake.len()
    }

    pub(super) fn asleep_len(&self) -> usize {
        self.asleep.len()
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.keys().copied()
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id).map(|session| &**session)
    }

    pub(super) fn at_address(&self, address: SocketAddr) -> Option<SessionId> {
        self.by_address.get(&address).copied()
    }

    pub(super) fn with_cid(&self, cid: &Cid) -> Option<SessionId> {
        self.by_cid.get(cid).copied()
    }

    /// Takes one in. Its address and its connection ID lead to it from now on.
    pub(super) fn insert(&mut self, session: Session) -> SessionId {
        self.last += 1;
        let id = SessionId(self.last);
        self.by_address.insert(session.address, id);
        if let Some(cid) = session.cid {
            self.by_cid.insert(cid, id);
        }
        self.by_identity.insert((self.digest.hash_one(&session.identity), id));
        self.order_of(&session.state).insert((session.order_ms, id));
        self.sessions.insert(id, Box::new(session));
        id
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = *self.sessions.remove(&id)?;
        if self.by_address.get(&session.address) == Some(&id) {
            self.by_address.remove(&session.address);
        }
        if let Some(cid) = session.cid {
            self.by_cid.remove(&cid);
        }
        self.by_identity.remove(&(self.digest.hash_one(&session.identity), id));
        self.order_of(&session.state).remove(&(session.order_ms, id));
        Some(session)
    }

    /// That session of an identity which has been silent for longest, if there are so many of it.
    pub(super) fn surplus_of(&self, identity: &Identity, max: usize) -> Option<SessionId> {
        let digest = self.digest.hash_one(identity);
        let own = || {
            self.by_identity.range((digest, SessionId(0))..=(digest, SessionId(u64::MAX))).map(|(_, id)| *id)
        };
        let silence = |id: &SessionId| self.get(*id).map(|session| session.active_ms);
        (own().take(max).count() >= max).then(|| own().min_by_key(silence))?
    }

    fn order_of(&mut self, state: &State) -> &mut BTreeSet<(u64, SessionId)> {
        match state {
            State::Awake(_) => &mut self.awake,
            State::Asleep(_) => &mut self.asleep,
        }
    }

    /// The context of a session, which is woken for it.
    pub(super) fn wake(
        &mut self,
        settings: &Rc<Settings>,
        id: SessionId,
    ) -> Option<Result<&mut Context, CloseReason>> {
        let session = self.sessions.get_mut(&id)?;
        if let State::Asleep(state) = &session.state {
            match Context::load(settings, state) {
                Ok(context) => session.state = State::Awake(context),
                Err(code) => return Some(Err(CloseReason::Broken(code))),
            }
            self.asleep.remove(&(session.order_ms, id));
            self.awake.insert((session.order_ms, id));
        }
        match &mut session.state {
            State::Awake(context) => Some(Ok(context)),
            State::Asleep(_) => None,
        }
    }

    /// Puts a session to sleep. Whether it sleeps: not all can.
    pub(super) fn put_to_sleep(&mut self, id: SessionId) -> bool {
        let Some(mut session) = self.sessions.remove(&id) else { return false };
        let (state, sleeps) = match session.state {
            State::Asleep(state) => (State::Asleep(state), true),
            State::Awake(context) => match context.save() {
                Ok(state) => (State::Asleep(state), true),
                Err(context) => (State::Awake(context), false),
            },
        };
        session.state = state;
        if sleeps {
            self.awake.remove(&(session.order_ms, id));
            self.asleep.insert((session.order_ms, id));
        }
        self.sessions.insert(id, session);
        sleeps
    }

    /// Either end has said something.
    pub(super) fn touch(&mut self, now_ms: u64, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.active_ms = now_ms;
        }
        self.set_order(now_ms, id);
    }

    /// Puts it last in the order of silence.
    pub(super) fn set_order(&mut self, now_ms: u64, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let before = std::mem::replace(&mut session.order_ms, now_ms);
        let order = match session.state {
            State::Awake(_) => &mut self.awake,
            State::Asleep(_) => &mut self.asleep,
        };
        order.remove(&(before, id));
        order.insert((now_ms, id));
    }

    /// The peer is somewhere else.
    pub(super) fn set_address(&mut self, id: SessionId, address: SocketAddr) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let before = std::mem::replace(&mut session.address, address);
        if self.by_address.get(&before) == Some(&id) {
            self.by_address.remove(&before);
        }
        self.by_address.insert(address, id);
    }

    /// The one awake that has been silent for longest, and since when it counts.
    pub(super) fn oldest_awake(&self) -> Option<(u64, SessionId)> {
        self.awake.first().copied()
    }

    /// The one asleep that has been silent for longest, and since when.
    pub(super) fn oldest_asleep(&self) -> Option<(u64, SessionId)> {
        self.asleep.first().copied()
    }
}
