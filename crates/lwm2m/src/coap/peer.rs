//! The message layer towards one peer: both roles, client and server, on one pair of addresses or one DTLS session.

use super::config::Config;
use super::event::{Event, Exchange, Observer, Refused, RequestId};
use super::request::{Request, Response};
use crate::Moment;
use std::collections::VecDeque;
use std::sync::Arc;

/// How a notification is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reliability {
    /// Until it is acknowledged; an observer that does not answer is removed.
    Confirmable,
    /// Once.
    NonConfirmable,
}

/// Everything between us and one peer.
#[derive(Debug)]
pub struct Peer {
    config: Arc<Config>,
    seed: [u8; 32],
    events: VecDeque<Event>,
    transmit: VecDeque<Vec<u8>>,
}

impl Peer {
    /// A peer of whom nothing was heard. `seed` makes the tokens: 32 bytes from the system's random source.
    #[must_use]
    pub fn new(seed: [u8; 32], config: Arc<Config>) -> Self {
        Self { config, seed, events: VecDeque::new(), transmit: VecDeque::new() }
    }

    /// Takes a datagram that came from the peer.
    pub fn handle_datagram(&mut self, now: Moment, datagram: &[u8]) {
        let _ = (now, datagram);
    }

    /// Does what is due by now: call it at the moment `poll_timeout` gave, or later.
    pub fn handle_timeout(&mut self, now: Moment) {
        let _ = now;
    }

    /// Asks the peer. A body longer than a block goes block by block. The answer is an event.
    ///
    /// # Errors
    /// `Full`, `Options`, `TooManyBlocks`.
    pub fn request(&mut self, now: Moment, request: Request) -> Result<RequestId, Refused> {
        let _ = (now, request, &self.config);
        Err(Refused::Full)
    }

    /// Sends a body of `size` bytes with a request whose payload is empty; its bytes are asked for by `WantBlock`.
    ///
    /// # Errors
    /// `Full`, `Options`, `TooManyBlocks`.
    pub fn push(&mut self, now: Moment, request: Request, size: u64) -> Result<RequestId, Refused> {
        let _ = (now, request, size);
        Err(Refused::Full)
    }

    /// Gives the bytes that the last `WantBlock` of this push asked for.
    ///
    /// # Errors
    /// `Unknown` where it waits for none, or for another number of bytes.
    pub fn supply(&mut self, now: Moment, id: RequestId, bytes: &[u8]) -> Result<(), Refused> {
        let _ = (now, id, bytes);
        Err(Refused::Unknown)
    }

    /// Asks only whether the peer is there (RFC 7252 §4.3): `Pong`, or `Failed`.
    ///
    /// # Errors
    /// `Full`.
    pub fn ping(&mut self, now: Moment) -> Result<RequestId, Refused> {
        let _ = now;
        Err(Refused::Full)
    }

    /// Forgets a request, a push or an observation: no event of it follows. Notifications are answered with a Reset from
    /// then on, which ends the observation at the peer (RFC 7641 §3.6).
    pub fn cancel(&mut self, now: Moment, id: RequestId) {
        let _ = (now, id);
    }

    /// Ends an observation by a request of its own (RFC 7641 §3.6), answered like any.
    ///
    /// # Errors
    /// `Unknown` where nothing is observed by that name, `Full`.
    pub fn unobserve(&mut self, now: Moment, id: RequestId) -> Result<RequestId, Refused> {
        let _ = (now, id);
        Err(Refused::Unknown)
    }

    /// Forgets all observations, as after a new registration (LwM2M Core §6.4.1).
    pub fn forget_observations(&mut self) {}

    /// Answers a request of the peer. A body longer than a block is kept for 247 s and given block by block, unless the
    /// response has a Block2 option. An answer to an unknown or already answered exchange is dropped.
    pub fn respond(&mut self, now: Moment, exchange: Exchange, response: Response) {
        let _ = (now, exchange, response);
    }

    /// Answers a request that asks to observe, and keeps the observer; the Observe option is set here.
    /// `None`, and the answer goes out without that option, where the request did not ask so, the answer is no success, or
    /// there are too many observers.
    pub fn accept_observer(
        &mut self,
        now: Moment,
        exchange: Exchange,
        response: Response,
    ) -> Option<Observer> {
        let _ = (now, exchange, response);
        None
    }

    /// Tells an observer the state. One that waits for its turn is replaced by what is newer (RFC 7641 §4.5.2). A code that
    /// is no success ends the observation, without a further event.
    ///
    /// # Errors
    /// `Unknown` for an observer that has ended, `Full`.
    pub fn notify(
        &mut self,
        now: Moment,
        observer: Observer,
        response: Response,
        reliability: Reliability,
    ) -> Result<(), Refused> {
        let _ = (now, observer, response, reliability);
        Err(Refused::Unknown)
    }

    /// Forgets an observer, without an event.
    pub fn forget_observer(&mut self, observer: Observer) {
        let _ = observer;
    }

    /// Sends the peer at most three times the bytes it sends, until `verify` (RFC 9175 §2.4): its address may be forged.
    pub fn limit_until_verified(&mut self) {}

    /// Lifts that limit: the peer has answered a challenge.
    pub fn verify(&mut self) {}

    /// The next datagram to send; call it until it is `None`, after every other call.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front()
    }

    /// The next event; call it until it is `None`, after every other call.
    pub fn poll_event(&mut self) -> Option<Event> {
        let _ = self.seed;
        self.events.pop_front()
    }

    /// When `handle_timeout` is due next; `None` where nothing waits.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        None
    }
}
