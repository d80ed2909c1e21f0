//! What we observe at a peer, and what a peer observes at us (RFC 7641).

use super::config::Config;
use super::event::{Observer, RequestId};
use super::message::Token;
use super::option::{Options, number};
use super::request::{Method, Request};
use crate::Moment;
use std::time::Duration;

/// A notification later than this is newer, whatever its number says (RFC 7641 §3.4).
const ORDER_LIFETIME: Duration = Duration::from_secs(128);
/// Sequence numbers count in 24 bits (RFC 7641 §4.4).
const SEQUENCE_BITS: u32 = 24;

/// Something we observe.
#[derive(Debug)]
pub(super) struct Observation {
    /// The request that began it.
    pub(super) id: RequestId,
    /// Its notifications carry this.
    pub(super) token: Token,
    /// What was asked for, to ask for the rest of a long state.
    pub(super) method: Method,
    /// The options of that request.
    pub(super) options: Options,
    sequence: u32,
    heard: Moment,
}

impl Observation {
    /// An observation whose first state had this number.
    pub(super) fn new(now: Moment, id: RequestId, token: Token, request: &Request, sequence: u32) -> Self {
        let (method, options) = (request.method, request.options.clone());
        Self { id, token, method, options, sequence, heard: now }
    }

    /// Whether a notification of this number is newer than any before (RFC 7641 §3.4).
    pub(super) fn is_news(&mut self, now: Moment, sequence: u32) -> bool {
        let ahead = sequence.wrapping_sub(self.sequence) & ((1 << SEQUENCE_BITS) - 1);
        let newer = ahead != 0 && ahead < 1 << (SEQUENCE_BITS - 1);
        let news = newer || now.since(self.heard) > ORDER_LIFETIME;
        if news {
            (self.sequence, self.heard) = (sequence, now);
        }
        news
    }

    /// The request for the state as it is, without observing.
    pub(super) fn request(&self) -> Request {
        let mut options = self.options.clone();
        options.remove(number::OBSERVE);
        Request { method: self.method, options, payload: Vec::new() }
    }
}

/// A peer's interest in something of ours.
#[derive(Debug)]
pub(super) struct Interest {
    /// Its name.
    pub(super) observer: Observer,
    /// Notifications carry this.
    pub(super) token: Token,
    /// The method of its request.
    pub(super) method: Method,
    /// The options of its request, but for what differs from block to block: to keep the rest of a long state under.
    pub(super) key: Options,
    /// The last message that told it something: a Reset of it ends the interest.
    pub(super) told: Option<u16>,
    sequence: u32,
}

/// The interests of one peer.
#[derive(Debug, Default)]
pub(super) struct Interests {
    all: Vec<Interest>,
}

impl Interests {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Keeps an interest, in the place of one with the same token (RFC 7641 §4.1); `None` where there are too many.
    /// Gives the interest it replaced.
    pub(super) fn keep(
        &mut self,
        config: &Config,
        observer: Observer,
        token: Token,
        (method, key): (Method, Options),
    ) -> Option<Option<Observer>> {
        let replaced = self.remove_token(token);
        if self.all.len() >= config.observers_max {
            return None;
        }
        self.all.push(Interest { observer, token, method, key, told: None, sequence: 0 });
        Some(replaced)
    }

    /// The message `id` told it something.
    pub(super) fn set_told(&mut self, observer: Observer, id: u16) {
        if let Some(interest) = self.all.iter_mut().find(|interest| interest.observer == observer) {
            interest.told = Some(id);
        }
    }

    /// The interest of this name, and the number of its next notification.
    pub(super) fn next(&mut self, observer: Observer) -> Option<(&Interest, u32)> {
        let interest = self.all.iter_mut().find(|interest| interest.observer == observer)?;
        interest.sequence = (interest.sequence + 1) & ((1 << SEQUENCE_BITS) - 1);
        let sequence = interest.sequence;
        Some((interest, sequence))
    }

    /// Ends an interest; whether it lasted.
    pub(super) fn remove(&mut self, observer: Observer) -> bool {
        let before = self.all.len();
        self.all.retain(|interest| interest.observer != observer);
        self.all.len() < before
    }

    /// Ends the interest with this token.
    pub(super) fn remove_token(&mut self, token: Token) -> Option<Observer> {
        let at = self.all.iter().position(|interest| interest.token == token)?;
        Some(self.all.swap_remove(at).observer)
    }

    /// Ends the interest that the message `id` told something.
    pub(super) fn remove_told(&mut self, id: u16) -> Option<Observer> {
        let at = self.all.iter().position(|interest| interest.told == Some(id))?;
        Some(self.all.swap_remove(at).observer)
    }

    /// Bytes on the heap.
    pub(super) fn held_bytes(&self) -> usize {
        let keys: usize = self.all.iter().map(|interest| interest.key.view().as_bytes().len()).sum();
        keys + self.all.capacity() * size_of::<Interest>()
    }
}
