//! Sessions, awake and asleep, by number, address, connection ID and silence.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::SocketAddr;
use std::rc::Rc;

use hashbrown::HashTable;

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

/// A place for a session. Its number is a half of the session's, so that a session is found without a search.
#[derive(Default)]
struct Place {
    /// Boxed: places that are free shall cost little.
    session: Option<Box<Session>>,
    /// How many sessions were here: the other half of the number, so that no two have the same.
    generation: u32,
}

/// All sessions. What finds them holds the numbers of their places alone: the rest stands in the session.
#[derive(Default)]
pub(super) struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    by_address: HashTable<u32>,
    by_cid: HashTable<u32>,
    by_identity: HashTable<u32>,
    /// A key of this process for all three, so that nobody outside can choose what collides.
    hasher: RandomState,
    awake: BTreeSet<(u64, SessionId)>,
    asleep: BTreeSet<(u64, SessionId)>,
}

/// The number of the place in the number of a session.
fn place_of(id: SessionId) -> u32 {
    id.0 as u32
}

/// The session in a place that a table names.
fn at(places: &[Place], place: u32) -> Option<&Session> {
    places.get(place as usize)?.session.as_deref()
}

/// Takes a place out of a table.
fn forget(table: &mut HashTable<u32>, hash: u64, place: u32) {
    if let Ok(entry) = table.find_entry(hash, |known| *known == place) {
        entry.remove();
    }
}

impl Table {
    pub(super) fn awake_len(&self) -> usize {
        self.awake.len()
    }

    pub(super) fn asleep_len(&self) -> usize {
        self.asleep.len()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = SessionId> {
        let used = (0..).zip(&self.places).filter(|(_, place)| place.session.is_some());
        used.map(|(number, place)| Self::id(number, place.generation))
    }

    fn id(place: u32, generation: u32) -> SessionId {
        SessionId(u64::from(generation) << 32 | u64::from(place))
    }

    fn id_at(&self, place: u32) -> Option<SessionId> {
        self.places.get(place as usize).map(|found| Self::id(place, found.generation))
    }

    fn hash(&self, key: &impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        let place = self.places.get(place_of(id) as usize)?;
        place.session.as_deref().filter(|_| Self::id(place_of(id), place.generation) == id)
    }

    fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        let place = self.places.get_mut(place_of(id) as usize)?;
        let is_this = Self::id(place_of(id), place.generation) == id;
        place.session.as_deref_mut().filter(|_| is_this)
    }

    pub(super) fn at_address(&self, address: SocketAddr) -> Option<SessionId> {
        let is = |place: &u32| at(&self.places, *place).is_some_and(|session| session.address == address);
        self.by_address.find(self.hash(&address), is).and_then(|place| self.id_at(*place))
    }

    pub(super) fn with_cid(&self, cid: &Cid) -> Option<SessionId> {
        let is = |place: &u32| at(&self.places, *place).is_some_and(|session| session.cid == Some(*cid));
        self.by_cid.find(self.hash(cid), is).and_then(|place| self.id_at(*place))
    }

    /// Takes one in. Its address and its connection ID lead to it from now on.
    pub(super) fn insert(&mut self, session: Session) -> SessionId {
        if let Some(before) = self.at_address(session.address) {
            forget(&mut self.by_address, self.hasher.hash_one(session.address), place_of(before));
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            u32::try_from(self.places.len() - 1).expect("there is no memory for so many")
        });
        let hashes = [self.hash(&session.address), self.hash(&session.identity)];
        let (cid, order_ms) = (session.cid, session.order_ms);
        let is_awake = matches!(session.state, State::Awake(_));
        let place = &mut self.places[number as usize];
        place.generation += 1;
        place.session = Some(Box::new(session));
        let id = Self::id(number, place.generation);
        if is_awake { &mut self.awake } else { &mut self.asleep }.insert((order_ms, id));
        self.find_by_address(hashes[0], number);
        let (places, hasher) = (&self.places, &self.hasher);
        let hash_of = |place: &u32| at(places, *place).map_or(0, |found| hasher.hash_one(&found.identity));
        self.by_identity.insert_unique(hashes[1], number, hash_of);
        if let Some(cid) = cid {
            let hash_of = |place: &u32| {
                at(places, *place).and_then(|found| found.cid).map_or(0, |cid| hasher.hash_one(cid))
            };
            self.by_cid.insert_unique(hasher.hash_one(cid), number, hash_of);
        }
        id
    }

    fn find_by_address(&mut self, hash: u64, place: u32) {
        let (places, hasher) = (&self.places, &self.hasher);
        let hash_of = |place: &u32| at(places, *place).map_or(0, |found| hasher.hash_one(found.address));
        self.by_address.insert_unique(hash, place, hash_of);
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, id: SessionId) -> Option<Session> {
        self.get(id)?;
        let place = place_of(id);
        let session = *self.places[place as usize].session.take()?;
        self.free.push(place);
        forget(&mut self.by_address, self.hasher.hash_one(session.address), place);
        if let Some(cid) = session.cid {
            forget(&mut self.by_cid, self.hasher.hash_one(cid), place);
        }
        forget(&mut self.by_identity, self.hasher.hash_one(&session.identity), place);
        self.order_of(&session.state).remove(&(session.order_ms, id));
        Some(session)
    }

    /// That session of an identity which has been silent for longest, if there are so many of it.
    pub(super) fn surplus_of(&self, identity: &Identity, max: usize) -> Option<SessionId> {
        let own = || {
            let places = self.by_identity.iter_hash(self.hash(identity));
            places
                .filter_map(|place| Some((*place, at(&self.places, *place)?)))
                .filter(|(_, session)| session.identity == *identity)
        };
        let longest = || own().min_by_key(|(_, session)| session.active_ms);
        (own().take(max).count() >= max).then(longest).flatten().and_then(|(place, _)| self.id_at(place))
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
        let session = self.get_mut(id)?;
        if let State::Asleep(state) = &session.state {
            match Context::load(settings, state) {
                Ok(context) => session.state = State::Awake(context),
                Err(code) => return Some(Err(CloseReason::Broken(code))),
            }
            let order_ms = session.order_ms;
            self.asleep.remove(&(order_ms, id));
            self.awake.insert((order_ms, id));
        }
        match &mut self.get_mut(id)?.state {
            State::Awake(context) => Some(Ok(context)),
            State::Asleep(_) => None,
        }
    }

    /// Puts a session to sleep. Whether it sleeps: not all can.
    pub(super) fn put_to_sleep(&mut self, id: SessionId) -> bool {
        let Some(session) = self.get_mut(id) else { return false };
        let order_ms = session.order_ms;
        // Nothing is there only within this call.
        let state = std::mem::replace(&mut session.state, State::Asleep(Box::default()));
        let (state, sleeps) = match state {
            State::Asleep(state) => (State::Asleep(state), true),
            State::Awake(context) => match context.save() {
                Ok(state) => (State::Asleep(state), true),
                Err(context) => (State::Awake(context), false),
            },
        };
        session.state = state;
        if sleeps {
            self.awake.remove(&(order_ms, id));
            self.asleep.insert((order_ms, id));
        }
        sleeps
    }

    /// Either end has said something.
    pub(super) fn touch(&mut self, now_ms: u64, id: SessionId) {
        if let Some(session) = self.get_mut(id) {
            session.active_ms = now_ms;
        }
        self.set_order(now_ms, id);
    }

    /// Puts it last in the order of silence.
    pub(super) fn set_order(&mut self, now_ms: u64, id: SessionId) {
        let Some(session) = self.get_mut(id) else { return };
        let before = std::mem::replace(&mut session.order_ms, now_ms);
        let is_awake = matches!(session.state, State::Awake(_));
        let order = if is_awake { &mut self.awake } else { &mut self.asleep };
        order.remove(&(before, id));
        order.insert((now_ms, id));
    }

    /// The peer is somewhere else.
    pub(super) fn set_address(&mut self, id: SessionId, address: SocketAddr) {
        let Some(session) = self.get_mut(id) else { return };
        let before = std::mem::replace(&mut session.address, address);
        forget(&mut self.by_address, self.hasher.hash_one(before), place_of(id));
        if let Some(other) = self.at_address(address) {
            forget(&mut self.by_address, self.hasher.hash_one(address), place_of(other));
        }
        self.find_by_address(self.hasher.hash_one(address), place_of(id));
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
