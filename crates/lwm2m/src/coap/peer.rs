//! The message layer towards one peer: both roles, client and server, on one pair of addresses or one DTLS session.

use super::answering::Answering;
use super::ask::Source;
use super::asking::Asking;
use super::config::Config;
use super::event::{Event, Exchange, Failure, Observer, Refused, RequestId};
use super::link::{Content, Link, Purpose};
use super::message::{Code, Message, MessageType};
use super::option::number;
use super::request::{Request, Response};
use crate::Moment;
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
    link: Link,
    asking: Asking,
    answering: Answering,
}

impl Peer {
    /// A peer of whom nothing was heard. `seed` makes the tokens: 32 bytes from the system's random source.
    #[must_use]
    pub fn new(seed: [u8; 32], config: Arc<Config>) -> Self {
        Self { link: Link::new(seed, config), asking: Asking::default(), answering: Answering::default() }
    }

    /// Takes a datagram that came from the peer.
    pub fn handle_datagram(&mut self, now: Moment, datagram: &[u8]) {
        self.link.handle_received(datagram.len());
        match Message::parse(datagram) {
            Ok(message) => self.handle_message(now, &message),
            Err(malformed) => {
                if let Some(id) = malformed.reset {
                    self.link.reset(now, id);
                }
            }
        }
    }

    /// Does what is due by now: call it at the moment `poll_timeout` gave, or later.
    pub fn handle_timeout(&mut self, now: Moment) {
        for (_, purpose) in self.link.handle_timeout(now) {
            match purpose {
                Purpose::Turn => {
                    let interests = &mut self.answering.interests;
                    self.asking.fail_turn(now, &mut self.link, interests, Failure::Silent);
                }
                // Who does not acknowledge an answer does not want it any more.
                Purpose::Answer => {}
            }
        }
        self.answering.handle_timeout(now, &mut self.link);
        self.asking.handle_timeout(now, &mut self.link, &mut self.answering.interests);
    }

    /// Asks the peer. A body longer than a block goes block by block. The answer is an event.
    ///
    /// # Errors
    /// `Full`, `Options`, `TooManyBlocks`.
    pub fn request(&mut self, now: Moment, request: Request) -> Result<RequestId, Refused> {
        let total = request.payload.len() as u64;
        self.asking.request(now, &mut self.link, request, Source::Held, total)
    }

    /// Sends a body of `size` bytes with a request whose payload is empty; its bytes are asked for by `WantBlock`.
    ///
    /// # Errors
    /// `Full`, `Options`, `TooManyBlocks`.
    pub fn push(&mut self, now: Moment, request: Request, size: u64) -> Result<RequestId, Refused> {
        self.asking.request(now, &mut self.link, request, Source::Application, size)
    }

    /// Gives the bytes that the last `WantBlock` of this push asked for.
    ///
    /// # Errors
    /// `Unknown` where it waits for none, or for another number of bytes.
    pub fn supply(&mut self, now: Moment, id: RequestId, bytes: &[u8]) -> Result<(), Refused> {
        self.asking.supply(now, &mut self.link, id, bytes)
    }

    /// Asks only whether the peer is there (RFC 7252 §4.3): `Pong`, or `Failed`.
    ///
    /// # Errors
    /// `Full`.
    pub fn ping(&mut self, now: Moment) -> Result<RequestId, Refused> {
        self.asking.ping(now, &mut self.link)
    }

    /// Forgets a request, a push or an observation: no event of it follows. Notifications are answered with a Reset from
    /// then on, which ends the observation at the peer (RFC 7641 §3.6).
    pub fn cancel(&mut self, now: Moment, id: RequestId) {
        self.asking.cancel(now, &mut self.link, id);
    }

    /// Ends an observation by a request of its own (RFC 7641 §3.6), answered like any.
    ///
    /// # Errors
    /// `Unknown` where nothing is observed by that name, `Full`.
    pub fn unobserve(&mut self, now: Moment, id: RequestId) -> Result<RequestId, Refused> {
        self.asking.unobserve(now, &mut self.link, id)
    }

    /// Forgets all observations, as after a new registration (LwM2M Core §6.4.1).
    pub fn forget_observations(&mut self) {
        self.asking.forget_observations();
    }

    /// Answers a request of the peer. A body longer than a block is kept for 247 s and given block by block, unless the
    /// response has a Block2 option. An answer to an unknown or already answered exchange is dropped.
    pub fn respond(&mut self, now: Moment, exchange: Exchange, response: Response) {
        self.answering.respond(now, &mut self.link, exchange, response);
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
        self.answering.accept_observer(now, &mut self.link, exchange, response)
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
        let (interest, sequence) = self.answering.interests.next(observer).ok_or(Refused::Unknown)?;
        let (token, method, key) = (interest.token, interest.method, interest.key.clone());
        let mut response = response;
        let ends = !response.code.is_success();
        if response.payload.len() > self.link.config.block_size.bytes() {
            response = self.answering.keep(now, &self.link, method, key, response, None);
        }
        if !ends {
            response.options.set_uint(number::OBSERVE, sequence);
        }
        match reliability {
            Reliability::NonConfirmable => {
                let content = Content::new(response.code, token, &response.options, &response.payload);
                let id = self.link.send_once(now, content);
                self.answering.interests.set_told(observer, id);
            }
            Reliability::Confirmable => {
                self.asking.notify(now, &mut self.link, observer, token, response)?;
            }
        }
        if ends {
            self.answering.interests.remove(observer);
        }
        Ok(())
    }

    /// Forgets an observer, without an event.
    pub fn forget_observer(&mut self, observer: Observer) {
        self.answering.interests.remove(observer);
        self.asking.forget_observer(observer);
    }

    /// Sends the peer at most three times the bytes it sends, until `verify` (RFC 9175 §2.4): its address may be forged.
    pub fn limit_until_verified(&mut self) {
        self.link.limit();
    }

    /// Lifts that limit: the peer has answered a challenge.
    pub fn verify(&mut self) {
        self.link.verify();
    }

    /// Whether that limit is lifted, or never was.
    #[must_use]
    pub const fn is_verified(&self) -> bool {
        self.link.is_verified()
    }

    /// The next datagram to send; call it until it is `None`, after every other call.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.link.poll_transmit()
    }

    /// The next event; call it until it is `None`, after every other call.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.link.poll_event()
    }

    /// When `handle_timeout` is due next; `None` where nothing waits.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        [self.link.poll_timeout(), self.asking.poll_timeout(), self.answering.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether nothing of ours is under way or waits for its turn.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.asking.is_idle()
    }

    /// Whether nothing is lost with it, but the estimate of the round trip: nothing is under way or waits, nothing is observed,
    /// and no message of late is remembered.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.poll_timeout().is_none() && self.asking.is_blank() && self.answering.interests.is_empty()
    }

    /// Bytes this peer has on the heap: bodies, kept answers, observations. For a bound over all peers.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.link.held_bytes() + self.asking.held_bytes() + self.answering.held_bytes()
    }

    /// Takes a message by its type and code (RFC 7252 §4.2, §4.3, table 1).
    fn handle_message(&mut self, now: Moment, message: &Message<'_>) {
        let code = message.code;
        match message.kind {
            MessageType::Acknowledgement if code.is_response() => {
                self.asking.handle_piggybacked(now, &mut self.link, message);
            }
            MessageType::Acknowledgement if code == Code::EMPTY => self.handle_acknowledged(now, message.id),
            MessageType::Reset if code == Code::EMPTY => self.handle_reset(now, message.id),
            // A request in an acknowledgement, or anything in a Reset: ignored.
            MessageType::Acknowledgement | MessageType::Reset => {}
            MessageType::Confirmable if code == Code::EMPTY => self.link.reset(now, message.id),
            MessageType::Confirmable | MessageType::NonConfirmable if code.is_request() => {
                self.answering.handle_request(now, &mut self.link, message);
            }
            MessageType::Confirmable | MessageType::NonConfirmable if code.is_response() => {
                self.asking.handle_separate(now, &mut self.link, message);
            }
            MessageType::Confirmable | MessageType::NonConfirmable => {}
        }
    }

    fn handle_acknowledged(&mut self, now: Moment, id: u16) {
        match self.link.handle_heard(now, id) {
            Some(Purpose::Turn) => self.asking.handle_acknowledged(now, &mut self.link),
            Some(Purpose::Answer) | None => {}
        }
    }

    fn handle_reset(&mut self, now: Moment, id: u16) {
        match self.link.handle_heard(now, id) {
            Some(Purpose::Turn) => {
                self.asking.handle_reset(now, &mut self.link, &mut self.answering.interests);
            }
            Some(Purpose::Answer) => {}
            None => {
                if let Some(observer) = self.answering.interests.remove_told(id) {
                    self.asking.forget_observer(observer);
                    self.link.tell(Event::Unobserved { observer });
                }
            }
        }
    }
}
