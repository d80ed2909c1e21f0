//! The registration's upkeep: when to connect, register, update and deregister, and when to try again (Core §6.2).
//!
//! It knows of no sockets and no messages: it wishes for connections and requests, and hears how they went.

use super::spread;
use crate::coap::{Code, Method, Request, Response};
use crate::link::Objects;
use crate::registration::{Binding, Lifetime, QueueMode, Registration, Update, Version};
use crate::{ContentFormat, Moment};
use std::time::Duration;

/// Longest time without an update, however long the registration lives: the server may have lost it.
const UPDATE_EVERY_MAX: Duration = Duration::from_secs(86_400);
/// Longest wait that a server's 5.03 is granted, in seconds: a device must be reachable within a day.
const RETRY_AFTER_S_MAX: u32 = 86_400;
/// The wait where its 5.03 says none: what Max-Age is then (RFC 7252 §5.10.5).
const RETRY_AFTER_S_DEFAULT: u32 = 60;

/// How long a server wants to be left alone that has answered 5.03: at least as long as its Max-Age says (RFC 7252
/// §5.9.3.4), and up to a quarter more by the device's place, so that those it sent away together do not come together.
pub(super) fn retry_after(endpoint: &str, occasion: u32, response: &Response) -> Duration {
    let told = response.max_age().unwrap_or(RETRY_AFTER_S_DEFAULT).min(RETRY_AFTER_S_MAX);
    let told = Duration::from_secs(told.into());
    told + spread(endpoint, occasion, told / 4)
}

/// How often, and after which pauses, a registration is tried again (Core table 6.2.1.1-1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in a sequence.
    pub attempts: u32,
    /// The pause after the first; each further one is twice as long.
    pub pause: Duration,
    /// Longest pause within a sequence.
    pub pause_max: Duration,
    /// The pause after a sequence.
    pub sequence_pause: Duration,
    /// Sequences before the device asks its bootstrap server, where it has one.
    pub sequences: u32,
    /// Refusals since the last registration before it does so: a server that says no does not say yes for being asked more.
    pub refusals: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            pause: Duration::from_secs(60),
            pause_max: Duration::from_secs(3_600),
            sequence_pause: Duration::from_secs(86_400),
            sequences: 1,
            refusals: 5,
        }
    }
}

/// What of the device a registration tells, beside its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) lifetime: Lifetime,
    pub(super) queue_mode: QueueMode,
    pub(super) objects: Objects,
}

/// What a session of the transport has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// One that stands may be used.
    Any,
    /// The server was not heard on the one there was: a new handshake is needed.
    Fresh,
}

/// What the registration wishes for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    Connect(Session),
    Ask(Request),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Nothing is wanted.
    Off,
    /// A session is wanted from a moment on.
    Waiting { until: Moment, session: Session },
    /// The host has been asked for a session.
    Connecting,
    /// There is a session: register next.
    Ready,
    /// The answer is waited for.
    Registering,
    /// As the server knows it, until the update that is due.
    Registered { location: String, update_at: Moment },
    /// An update is under way.
    Updating { location: String },
    /// The farewell is under way; then back after the pause, if there is one.
    Leaving { pause: Option<Duration> },
}

/// What came of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Registered,
    Updated,
    Left,
    /// It will be tried again.
    Failed,
    /// All sequences have failed, or the server has refused often enough.
    Exhausted,
}

/// Why an attempt came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setback {
    /// The server is busy, and wants to be left alone for so long.
    Busy(Duration),
    /// The server does not take this device.
    Refused,
    /// The server was not heard, or did not make sense.
    Unheard,
}

/// The registration at one server.
#[derive(Debug)]
pub(super) struct Upkeep {
    endpoint: String,
    retry: Retry,
    version: Version,
    state: State,
    told: Option<Facts>,
    update_wanted: bool,
    failures: u32,
    sequences: u32,
    refusals: u32,
}

impl Upkeep {
    pub(super) fn new(endpoint: String, retry: Retry) -> Self {
        Self {
            endpoint,
            retry,
            version: Version::V1_1,
            state: State::Off,
            told: None,
            update_wanted: false,
            failures: 0,
            sequences: 0,
            refusals: 0,
        }
    }

    /// Wants to be registered, from a moment on.
    pub(super) fn begin(&mut self, from: Moment) {
        self.forget_failures();
        self.state = State::Waiting { until: from, session: Session::Any };
    }

    fn forget_failures(&mut self) {
        self.failures = 0;
        self.sequences = 0;
        self.refusals = 0;
    }

    /// Wants nothing any more.
    pub(super) fn stop(&mut self) {
        self.state = State::Off;
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    pub(super) fn location(&self) -> Option<&str> {
        match &self.state {
            State::Registered { location, .. } | State::Updating { location } => Some(location),
            State::Off
            | State::Waiting { .. }
            | State::Connecting
            | State::Ready
            | State::Registering
            | State::Leaving { .. } => None,
        }
    }

    /// Whether a request of the server has to wait: it may have overtaken the answer to Register (Core §6.4).
    pub(super) fn is_registering(&self) -> bool {
        self.state == State::Registering
    }

    /// When `poll` has a wish, if nothing happens before.
    pub(super) fn due(&self) -> Option<Moment> {
        match &self.state {
            State::Waiting { until, .. } => Some(*until),
            State::Registered { .. } if self.update_wanted => Some(Moment(0)),
            State::Registered { update_at, .. } => Some(*update_at),
            State::Ready => Some(Moment(0)),
            State::Off
            | State::Connecting
            | State::Registering
            | State::Updating { .. }
            | State::Leaving { .. } => None,
        }
    }

    /// Wants an update at once.
    pub(super) fn update(&mut self) {
        self.update_wanted = true;
    }

    /// Wants to leave, and to come back after a pause, if one is given.
    pub(super) fn leave(&mut self, pause: Option<Duration>) -> Option<Request> {
        let request = self.location().map(|location| Request::new(Method::Delete, location));
        self.state = if request.is_some() { State::Leaving { pause } } else { State::Off };
        request
    }

    /// The host has a session.
    pub(super) fn handle_connected(&mut self) {
        self.state = State::Ready;
    }

    /// What to do now.
    pub(super) fn poll(&mut self, now: Moment, facts: &Facts) -> Option<Wish> {
        match self.state.clone() {
            State::Waiting { until, session } if until <= now => {
                self.state = State::Connecting;
                Some(Wish::Connect(session))
            }
            State::Ready => {
                self.state = State::Registering;
                self.update_wanted = false;
                self.told = Some(facts.clone());
                Some(Wish::Ask(self.register(facts)))
            }
            State::Registered { location, update_at }
                if update_at <= now
                    || self.update_wanted
                    || self.told.as_ref().is_some_and(|told| told != facts) =>
            {
                let request = self.update_request(&location, facts);
                self.update_wanted = false;
                self.told = Some(facts.clone());
                self.state = State::Updating { location };
                Some(Wish::Ask(request))
            }
            State::Waiting { .. }
            | State::Registered { .. }
            | State::Off
            | State::Connecting
            | State::Registering
            | State::Updating { .. }
            | State::Leaving { .. } => None,
        }
    }

    fn register(&self, facts: &Facts) -> Request {
        let registration = Registration {
            endpoint: self.endpoint.as_str().into(),
            version: self.version,
            lifetime: facts.lifetime,
            binding: Binding::udp(),
            queue_mode: facts.queue_mode,
            sms: None,
            attributes: Box::default(),
            objects: facts.objects.clone(),
        };
        let request = Request::new(Method::Post, "/rd")
            .with_payload(ContentFormat::LINK.0, facts.objects.write().into_bytes());
        registration.queries().iter().fold(request, |request, query| request.with_query(query))
    }

    /// Only what has changed is told, and the objects as a whole (Core §6.2.2).
    fn update_request(&self, location: &str, facts: &Facts) -> Request {
        let told = self.told.as_ref();
        let is_news = |same: fn(&Facts, &Facts) -> bool| !told.is_some_and(|told| same(told, facts));
        let update = Update {
            lifetime: is_news(|a, b| a.lifetime == b.lifetime).then_some(facts.lifetime),
            objects: is_news(|a, b| a.objects == b.objects).then(|| facts.objects.clone()),
            ..Update::default()
        };
        let queries = update.queries(self.version);
        let request = Request::new(Method::Post, location);
        let request = queries.iter().fold(request, |request, query| request.with_query(query));
        match update.objects {
            Some(objects) => request.with_payload(ContentFormat::LINK.0, objects.write().into_bytes()),
            None => request,
        }
    }

    /// The server has answered what was asked last.
    pub(super) fn handle_response(
        &mut self,
        now: Moment,
        response: &Response,
        lifetime: Lifetime,
    ) -> Outcome {
        match (self.state.clone(), response.code) {
            (State::Registering, Code::CREATED) => {
                let Some(location) = response.location() else {
                    return self.fail(now, Session::Any, Setback::Unheard);
                };
                self.forget_failures();
                self.state = State::Registered { location, update_at: self.next_update(now, lifetime) };
                Outcome::Registered
            }
            (State::Registering, Code::PRECONDITION_FAILED) if self.version > Version::V1_0 => {
                self.version = Version::V1_0;
                self.state = State::Ready;
                Outcome::Failed
            }
            (State::Registering, code) => {
                if code == Code::PRECONDITION_FAILED {
                    self.version = Version::V1_1;
                }
                let setback = match code {
                    Code::SERVICE_UNAVAILABLE => {
                        Setback::Busy(retry_after(&self.endpoint, self.failures, response))
                    }
                    code if code.class() == 4 => Setback::Refused,
                    _ => Setback::Unheard,
                };
                self.fail(now, Session::Any, setback)
            }
            (State::Updating { location }, Code::CHANGED) => {
                self.state = State::Registered { location, update_at: self.next_update(now, lifetime) };
                Outcome::Updated
            }
            // The server is busy, and the registration stands: the same again, a little later.
            (State::Updating { location }, Code::SERVICE_UNAVAILABLE) => {
                let pause = retry_after(&self.endpoint, self.failures, response);
                self.told = None;
                self.state = State::Registered { location, update_at: now.plus(pause) };
                self.update_wanted = false;
                Outcome::Failed
            }
            // 4.04: the server knows nothing of it. Whatever else it says, a new registration settles it.
            (State::Updating { .. }, _) => {
                self.state = State::Ready;
                Outcome::Failed
            }
            (State::Leaving { pause }, _) => self.left(now, pause),
            (
                State::Off
                | State::Waiting { .. }
                | State::Connecting
                | State::Ready
                | State::Registered { .. },
                _,
            ) => Outcome::Failed,
        }
    }

    /// What was asked last was not answered, or there is no session.
    pub(super) fn handle_silence(&mut self, now: Moment) -> Outcome {
        self.handle_loss(now, Setback::Unheard)
    }

    /// The server has refused a session.
    pub(super) fn handle_refusal(&mut self, now: Moment) -> Outcome {
        self.handle_loss(now, Setback::Refused)
    }

    fn handle_loss(&mut self, now: Moment, setback: Setback) -> Outcome {
        match self.state.clone() {
            State::Leaving { pause } => self.left(now, pause),
            // An update that is not answered: the session or the server is new, so the registration is too.
            State::Updating { .. } | State::Registered { .. } => {
                self.state = State::Waiting { until: now, session: Session::Fresh };
                Outcome::Failed
            }
            State::Connecting | State::Ready | State::Registering => self.fail(now, Session::Fresh, setback),
            State::Off | State::Waiting { .. } => Outcome::Failed,
        }
    }

    fn left(&mut self, now: Moment, pause: Option<Duration>) -> Outcome {
        self.state = match pause {
            Some(pause) => State::Waiting { until: now.plus(pause), session: Session::Any },
            None => State::Off,
        };
        Outcome::Left
    }

    /// Pauses before the next attempt.
    fn fail(&mut self, now: Moment, session: Session, setback: Setback) -> Outcome {
        match setback {
            Setback::Busy(pause) => {
                self.state = State::Waiting { until: now.plus(pause), session };
                return Outcome::Failed;
            }
            Setback::Refused => self.refusals += 1,
            Setback::Unheard => {}
        }
        self.failures += 1;
        let mut pause = if self.failures < self.retry.attempts {
            let doublings = (self.failures - 1).min(16);
            self.retry.pause.saturating_mul(1 << doublings).min(self.retry.pause_max)
        } else {
            self.failures = 0;
            self.sequences += 1;
            self.retry.sequence_pause
        };
        pause += spread(&self.endpoint, self.failures, pause / 4);
        self.state = State::Waiting { until: now.plus(pause), session };
        let is_refused = self.refusals >= self.retry.refusals;
        if is_refused || (self.failures == 0 && self.sequences >= self.retry.sequences) {
            self.refusals = 0;
            Outcome::Exhausted
        } else {
            Outcome::Failed
        }
    }

    /// Half the lifetime, less up to a tenth of that by the device's place: a server that began anew does not hear all its
    /// devices at one moment.
    fn next_update(&self, now: Moment, lifetime: Lifetime) -> Moment {
        let half = match lifetime {
            Lifetime::Seconds(seconds) => Duration::from_secs(seconds.into()) / 2,
            Lifetime::Infinite => UPDATE_EVERY_MAX,
        };
        let half = half.min(UPDATE_EVERY_MAX);
        now.plus(half - spread(&self.endpoint, 0, half / 10))
    }
}
