//! The device's end: the Firmware Update object as a server finds it.
//!
//! It takes writes, blocks and executions, says what the host program is to do about them, and takes in how that went. It
//! answers reads from what it holds. Deliberately absent: the flash, the download itself, the check of an image and the
//! restart, which are the host's.
//!
//! The order the host keeps: after each call it drains [`Object::poll_action`], makes each [`Action::Persist`] durable,
//! and only then answers the server; after the answer it says [`Object::handle_answered`].

mod host;
mod read;
pub mod record;

use std::collections::VecDeque;

use super::word::{DeliveryMethod, Scheme, Schemes, State, UpdateResult};
use super::{Severity, URI_BYTES_MAX};
use crate::moment::Moment;
use crate::value::Value;

pub use host::{Image, Restart};
pub use read::RESOURCES;
pub use record::{Origin, Record};

/// A push whose next block does not come is over: its partial body need not be kept for longer (EXCHANGE_LIFETIME,
/// RFC 7959 §2.5, RFC 7252 §4.8.2).
const PUSH_GAP_MS: u64 = 247_000;

/// The single byte that resets, as a whole package (resource 0's definition).
const RESET_PACKAGE: [u8; 1] = [0];

/// What the device can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abilities {
    /// The schemes it fetches from.
    pub schemes: Schemes,
    /// How images reach it.
    pub delivery: DeliveryMethod,
    /// The largest image it has room for.
    pub image_bytes_max: u64,
}

/// What the host program is to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make this durable before the answer leaves, and before the next action.
    Persist(Record),
    /// Begin to take in an image: fetch it, or make room for blocks. What an earlier attempt left may be overwritten.
    Begin {
        /// Which attempt words on it are to name.
        attempt: u32,
        /// Where it comes from. A fetch goes on at its offset if the `ETag` still matches ([`Object::handle_source`]).
        origin: Origin,
    },
    /// Write these bytes of a push.
    Append {
        /// Which attempt.
        attempt: u32,
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// All bytes are in: check them, and say [`Object::handle_verified`].
    Verify {
        /// Which attempt.
        attempt: u32,
    },
    /// Install the image, restart into it, or put that off. It comes only after the server was answered.
    Install {
        /// Which attempt.
        attempt: u32,
    },
    /// Stop what is under way, and throw the image away.
    Discard {
        /// Which attempt.
        attempt: u32,
    },
}

/// Why the server's word is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 4.00.
    BadRequest,
    /// 4.04.
    NotFound,
    /// 4.05.
    MethodNotAllowed,
    /// 4.08: the blocks are to be sent from the first.
    Incomplete,
    /// 4.13.
    TooLarge,
}

impl Refusal {
    /// The code's byte: class and detail (RFC 7252 §3).
    #[must_use]
    pub const fn code(self) -> u8 {
        let detail = match self {
            Self::BadRequest => 0,
            Self::NotFound => 4,
            Self::MethodNotAllowed => 5,
            Self::Incomplete => 8,
            Self::TooLarge => 13,
        };
        4 << 5 | detail
    }
}

/// The object.
#[derive(Debug)]
pub struct Object {
    abilities: Abilities,
    record: Record,
    /// How much of a push is in; none while none is under way.
    pushed: Option<u64>,
    /// How much a push brought that is whole.
    pushed_whole: Option<u64>,
    /// When the next block is missed.
    push_until: Moment,
    /// When an update that was put off begins.
    defer_until: Option<Moment>,
    /// The installation that begins when the server was answered.
    install_next: bool,
    /// The time of day at moment 0, in seconds since 1970, where the host knows it.
    clock_s: Option<i64>,
    actions: VecDeque<Action>,
    /// The resources that changed since the host asked, a bit each.
    changed: u16,
}

impl Object {
    /// The object of a device that never updated.
    #[must_use]
    pub fn new(abilities: Abilities) -> Self {
        Self {
            abilities,
            record: Record::default(),
            pushed: None,
            pushed_whole: None,
            push_until: Moment::default(),
            defer_until: None,
            install_next: false,
            clock_s: None,
            actions: VecDeque::new(),
            changed: 0,
        }
    }

    /// What the device remembers.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What the host is to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// A resource that changed and was not told of yet, for those who observe it.
    pub fn poll_changed(&mut self) -> Option<u16> {
        let resource = self.changed.trailing_zeros();
        self.changed &= self.changed.wrapping_sub(1);
        u16::try_from(resource).ok().filter(|resource| *resource < 16)
    }

    /// When to call [`Object::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        let push = self.pushed.map(|_| self.push_until);
        [push, self.defer_deadline()].into_iter().flatten().min()
    }

    /// The time has come: a push that stopped is over, an update that was put off begins.
    pub fn handle_timeout(&mut self, now: Moment) {
        if self.pushed.is_some() && now >= self.push_until {
            self.abandon(now, UpdateResult::ConnectionLost);
        }
        if self.defer_deadline().is_some_and(|until| now >= until) {
            self.begin_install(now);
            self.release_install();
        }
    }

    fn defer_deadline(&self) -> Option<Moment> {
        self.defer_until.filter(|_| self.record.state == State::Downloaded)
    }

    /// A write of a resource, by PUT or POST.
    ///
    /// # Errors
    /// The resource does not take it, or not in this state.
    pub fn handle_write(&mut self, now: Moment, resource: u16, value: &Value) -> Result<(), Refusal> {
        match resource {
            0 => {
                let bytes = value.as_opaque().ok_or(Refusal::BadRequest)?;
                self.handle_block(now, 0, bytes, true, None)
            }
            1 => self.write_uri(now, value.as_text().ok_or(Refusal::BadRequest)?),
            11 | 13 | 14 => self.write_setting(now, resource, value),
            2..=10 | 12 => Err(Refusal::MethodNotAllowed),
            _ => Err(Refusal::NotFound),
        }
    }

    /// An execution of a resource.
    ///
    /// # Errors
    /// The resource cannot be executed, or not in this state.
    pub fn handle_execute(&mut self, now: Moment, resource: u16) -> Result<(), Refusal> {
        let state = self.record.state;
        match (resource, state) {
            (2, State::Downloaded) => {
                self.begin_install(now);
                Ok(())
            }
            (10, State::Downloading | State::Downloaded) => {
                self.abandon(now, UpdateResult::Cancelled);
                Ok(())
            }
            (0..=14, _) if resource != 4 => Err(Refusal::MethodNotAllowed),
            (_, _) => Err(Refusal::NotFound),
        }
    }

    /// A block of the package, by PUT or POST: where it begins, its bytes, whether it is the last, and the whole size where
    /// the server says it (Size1). A block that is here already is taken and not written again.
    ///
    /// # Errors
    /// The package cannot be taken, or not in this state.
    pub fn handle_block(
        &mut self,
        now: Moment,
        offset: u64,
        bytes: &[u8],
        last: bool,
        size: Option<u64>,
    ) -> Result<(), Refusal> {
        if last && offset == 0 && bytes == RESET_PACKAGE {
            return self.reset(now);
        }
        match self.record.state {
            State::Updating => return Err(Refusal::MethodNotAllowed),
            State::Downloaded => return self.repeated_end(offset, bytes, last),
            State::Downloading if self.record.origin != Some(Origin::Push) => {
                return Err(Refusal::BadRequest);
            }
            State::Idle | State::Downloading => {}
        }
        if bytes.is_empty() || !self.abilities.delivery.takes_push() {
            return Err(Refusal::BadRequest);
        }
        // A download that is being checked is whole: only a block of it that comes again is taken.
        if self.record.state == State::Downloading && self.pushed.is_none() {
            return self.repeated_end(offset, bytes, last);
        }
        let end = offset.checked_add(bytes.len() as u64).ok_or(Refusal::TooLarge)?;
        if end.max(size.unwrap_or(0)) > self.abilities.image_bytes_max {
            self.abandon(now, UpdateResult::NoFlash);
            return Err(Refusal::TooLarge);
        }
        if offset == 0 {
            self.begin_push(now);
        }
        let at_hand = self.pushed.ok_or(Refusal::Incomplete)?;
        if offset > at_hand || (offset < at_hand && end > at_hand) {
            return Err(Refusal::Incomplete);
        }
        self.push_until = Moment(now.0 + PUSH_GAP_MS);
        if offset == at_hand {
            self.take_block(offset, bytes, last);
        }
        Ok(())
    }

    fn begin_push(&mut self, now: Moment) {
        let again = self.record.state == State::Downloading;
        self.pushed = Some(0);
        if again {
            self.actions.push_back(Action::Begin { attempt: self.record.attempt, origin: Origin::Push });
        } else {
            self.begin(now, Origin::Push);
        }
    }

    fn take_block(&mut self, offset: u64, bytes: &[u8], last: bool) {
        let attempt = self.record.attempt;
        self.actions.push_back(Action::Append { attempt, offset, bytes: bytes.to_vec() });
        let end = offset + bytes.len() as u64;
        self.pushed = (!last).then_some(end);
        if last {
            self.pushed_whole = Some(end);
            self.actions.push_back(Action::Verify { attempt });
        }
    }

    /// In a state that takes no block, the last one of the push that led here may come again: its answer was lost.
    fn repeated_end(&self, offset: u64, bytes: &[u8], last: bool) -> Result<(), Refusal> {
        let end = offset.checked_add(bytes.len() as u64);
        let repeated = last && offset > 0 && end.is_some() && end == self.pushed_whole;
        if repeated { Ok(()) } else { Err(Refusal::BadRequest) }
    }

    fn write_uri(&mut self, now: Moment, uri: &str) -> Result<(), Refusal> {
        if uri.is_empty() {
            return self.reset(now);
        }
        match self.record.state {
            State::Updating => return Err(Refusal::MethodNotAllowed),
            State::Downloading | State::Downloaded => return Err(Refusal::BadRequest),
            State::Idle => {}
        }
        if uri.len() > URI_BYTES_MAX || !self.abilities.delivery.pulls() {
            return Err(Refusal::BadRequest);
        }
        // The result tells why, whatever the answer (Core §E.6.1).
        let spoken = Scheme::of_uri(uri).is_some_and(|scheme| self.abilities.schemes.contains(scheme));
        if is_uri(uri) && spoken {
            self.begin(now, Origin::Uri { uri: uri.to_owned(), etag: Vec::new(), offset: 0 });
            return Ok(());
        }
        let result = if is_uri(uri) { UpdateResult::UnsupportedProtocol } else { UpdateResult::InvalidUri };
        self.enter(now, State::Idle, result);
        Err(Refusal::BadRequest)
    }

    fn write_setting(&mut self, now: Moment, resource: u16, value: &Value) -> Result<(), Refusal> {
        if self.record.state == State::Updating {
            return Err(Refusal::MethodNotAllowed);
        }
        let number = value.as_integer();
        match resource {
            11 => {
                let severity = number.and_then(Severity::from_code);
                self.record.severity = severity.ok_or(Refusal::BadRequest)?;
            }
            13 => {
                let seconds = number.and_then(|seconds| u32::try_from(seconds).ok());
                self.record.defer_max_s = seconds.ok_or(Refusal::BadRequest)?;
            }
            _ => self.record.automatic = value.as_boolean().ok_or(Refusal::BadRequest)?,
        }
        self.changed |= 1 << resource;
        self.persist(now);
        Ok(())
    }

    fn reset(&mut self, now: Moment) -> Result<(), Refusal> {
        if self.record.state == State::Updating {
            return Err(Refusal::MethodNotAllowed);
        }
        self.abandon(now, UpdateResult::Initial);
        Ok(())
    }

    fn begin(&mut self, now: Moment, origin: Origin) {
        self.record.attempt = self.record.attempt.wrapping_add(1);
        self.record.origin = Some(origin.clone());
        self.record.installs = 0;
        self.enter(now, State::Downloading, UpdateResult::Initial);
        self.actions.push_back(Action::Begin { attempt: self.record.attempt, origin });
    }

    fn begin_install(&mut self, now: Moment) {
        self.record.installs = self.record.installs.saturating_add(1);
        self.install_next = true;
        self.enter(now, State::Updating, UpdateResult::Initial);
    }

    /// Back to Idle, and the image is thrown away.
    fn abandon(&mut self, now: Moment, result: UpdateResult) {
        let had = self.record.state != State::Idle;
        self.settle(now, result);
        if had {
            self.actions.push_back(Action::Discard { attempt: self.record.attempt });
        }
    }

    /// Back to Idle: the update is over.
    fn settle(&mut self, now: Moment, result: UpdateResult) {
        self.record.origin = None;
        self.record.package_name = None;
        self.record.package_version = None;
        self.record.installs = 0;
        self.pushed = None;
        self.defer_until = None;
        self.pushed_whole = None;
        self.install_next = false;
        self.changed |= 1 << 1 | 1 << 6 | 1 << 7;
        self.enter(now, State::Idle, result);
    }

    /// The one place where state and result change.
    fn enter(&mut self, now: Moment, state: State, result: UpdateResult) {
        if self.record.state != state {
            self.record.state = state;
            self.record.changed_s = self.clock_s.map(|at_zero| at_zero.saturating_add(seconds(now)));
            self.changed |= 1 << 3 | 1 << 12;
            if state == State::Downloading {
                self.changed |= 1 << 1;
            }
        }
        if self.record.result != result {
            self.record.result = result;
            self.changed |= 1 << 5;
        }
        self.persist(now);
    }

    fn persist(&mut self, now: Moment) {
        self.record.defer_left_ms = self.defer_until.map(|until| until.0.saturating_sub(now.0));
        self.actions.push_back(Action::Persist(self.record.clone()));
    }

    fn release_install(&mut self) {
        if std::mem::take(&mut self.install_next) {
            self.actions.push_back(Action::Install { attempt: self.record.attempt });
        }
    }
}

fn seconds(now: Moment) -> i64 {
    i64::try_from(now.0 / 1000).unwrap_or(i64::MAX)
}

/// Whether a text is an absolute URI with an authority: only the characters of RFC 3986 §2, and a host.
fn is_uri(text: &str) -> bool {
    let legal =
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte));
    let host = text.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(""));
    legal && host.is_some_and(|host| !host.is_empty() && !host.starts_with(':'))
}
