//! How messages get to a peer: message IDs, retransmission, resets, and the limit while its address is unproven.

use super::config::{Config, EXCHANGE_LIFETIME};
use super::event::Event;
use super::message::{Code, Message, MessageType, Token};
use super::option::{Options, View};
use super::recent::{Answer, Recent};
use super::round_trip::RoundTrip;
use super::token_source::{Draw, TokenSource};
use crate::Moment;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Resets in a second: one per stray message is an answer, more is what a flood would have of us.
const RESETS_PER_SECOND_MAX: u8 = 8;
/// Datagrams held back for a peer whose address is unproven.
const HELD_BACK_MAX: usize = 8;
/// What an unproven address gets for each byte it sends (RFC 9175 §2.4).
const AMPLIFICATION_MAX: u64 = 3;

/// Odd, so that all 256 random factors come in turn: peers must differ from each other, and nobody gains by knowing them.
const JITTER_STEP: u8 = 97;
/// IDs kept for what cannot wait while the others rest: answers, and notifications sent once.
const IDS_KEPT_FREE: u16 = 256;

/// Which quarter of the message IDs this is of.
const fn quarter(id: u16) -> usize {
    (id >> 14) as usize
}

/// What a confirmable message of ours was sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The request, ping or notification whose turn it is.
    Turn,
    /// A response that came later than its acknowledgement.
    Answer,
}

/// A confirmable message of ours that is not acknowledged.
#[derive(Debug)]
struct Flight {
    id: u16,
    purpose: Purpose,
    bytes: Vec<u8>,
    sent: Moment,
    timeout: Duration,
    retransmits: u8,
}

impl Flight {
    fn due(&self) -> Moment {
        self.sent.plus(self.timeout)
    }
}

/// What a message carries beside what the link gives it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content<'a> {
    /// Method or response code.
    pub(super) code: Code,
    /// The token of the exchange.
    pub(super) token: Token,
    /// The options.
    pub(super) options: View<'a>,
    /// The payload.
    pub(super) payload: &'a [u8],
}

impl<'a> Content<'a> {
    /// What a response carries.
    pub(super) fn new(code: Code, token: Token, options: &'a Options, payload: &'a [u8]) -> Self {
        Self { code, token, options: options.view(), payload }
    }

    /// The datagram.
    pub(super) fn encode(self, kind: MessageType, id: u16) -> Vec<u8> {
        let Self { code, token, options, payload } = self;
        Message { kind, code, id, token, options, payload }.encode()
    }
}

/// What is to be polled.
#[derive(Debug, Default)]
struct Outbox {
    transmit: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

impl Outbox {
    fn held_bytes(&self) -> usize {
        let datagrams: usize = self.transmit.iter().map(Vec::len).sum();
        size_of::<Self>() + datagrams + self.events.capacity() * size_of::<Event>()
    }
}

/// The way to one peer, and to the application.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) config: Arc<Config>,
    pub(super) recent: Recent,
    tokens: TokenSource,
    /// There only while it holds something: nearly all peers are idle nearly all of the time.
    outbox: Option<Box<Outbox>>,
    flights: Vec<Flight>,
    round_trip: RoundTrip,
    /// Bytes an unproven peer may still be sent.
    allowance: Option<u64>,
    message_id: u16,
    /// When the last ID of each quarter of them was used, in seconds; 0 while none was.
    quarters: [u32; 4],
    jitter: u8,
    resets: u8,
    resets_second: u32,
    names: u32,
}

impl Link {
    pub(super) fn new(seed: [u8; 32], config: Arc<Config>) -> Self {
        let mut tokens = TokenSource::new(seed);
        let Draw { word: message_id, jitter, .. } = tokens.draw();
        Self {
            config,
            recent: Recent::default(),
            tokens,
            outbox: None,
            flights: Vec::new(),
            round_trip: RoundTrip::default(),
            allowance: None,
            message_id,
            quarters: [0; 4],
            jitter,
            resets: 0,
            resets_second: 0,
            names: 0,
        }
    }

    /// A number for a request, an exchange or an observer: never the same again.
    pub(super) fn name(&mut self) -> u32 {
        self.names = self.names.wrapping_add(1);
        self.names
    }

    /// A token for a request, and a tag for its body.
    pub(super) fn draw(&mut self) -> Draw {
        self.tokens.draw()
    }

    /// Tells the application.
    pub(super) fn tell(&mut self, event: Event) {
        self.outbox.get_or_insert_default().events.push_back(event);
    }

    /// Sends a message until it is acknowledged; gives its ID.
    pub(super) fn send_confirmable(&mut self, now: Moment, purpose: Purpose, content: Content<'_>) -> u16 {
        self.jitter = self.jitter.wrapping_add(JITTER_STEP);
        let id = self.next_message_id(now);
        let bytes = content.encode(MessageType::Confirmable, id);
        // ACK_RANDOM_FACTOR (RFC 7252 §4.8): up to half as long again.
        let timeout = self.round_trip.timeout(&self.config);
        let timeout = timeout + timeout * u32::from(self.jitter) / 512;
        self.transmit(bytes.clone());
        self.flights.push(Flight { id, purpose, bytes, sent: now, timeout, retransmits: 0 });
        id
    }

    /// Sends a message once; gives its ID.
    pub(super) fn send_once(&mut self, now: Moment, content: Content<'_>) -> u16 {
        let id = self.next_message_id(now);
        self.transmit(content.encode(MessageType::NonConfirmable, id));
        id
    }

    /// Answers the confirmable message `id` in its acknowledgement, and remembers that.
    pub(super) fn piggyback(&mut self, id: u16, content: Content<'_>) {
        let bytes = content.encode(MessageType::Acknowledgement, id);
        self.recent.set_answer(id, Answer::Datagram(bytes.clone().into()));
        self.transmit(bytes);
    }

    /// Acknowledges the confirmable message `id`, and remembers that.
    pub(super) fn acknowledge(&mut self, id: u16) {
        self.recent.set_answer(id, Answer::Acknowledgement);
        self.transmit(Message::empty(MessageType::Acknowledgement, id).encode());
    }

    /// Says that the message `id` makes no sense; not more often than may be.
    pub(super) fn reset(&mut self, now: Moment, id: u16) {
        let second = (now.0 / 1000) as u32;
        if second != self.resets_second {
            (self.resets, self.resets_second) = (0, second);
        }
        if self.resets < RESETS_PER_SECOND_MAX {
            self.resets += 1;
            self.transmit(Message::empty(MessageType::Reset, id).encode());
        }
    }

    /// Remembers a message of the peer's; `false` where it came before, and what was answered then has gone out again.
    pub(super) fn is_first(&mut self, now: Moment, message: &Message<'_>) -> bool {
        let again = match self.recent.answer(now, message) {
            None => {
                let most = self.config.recent_max;
                self.recent.insert(now, message, most);
                return true;
            }
            Some(Answer::Nothing) => return false,
            Some(Answer::Acknowledgement) => {
                Message::empty(MessageType::Acknowledgement, message.id).encode()
            }
            Some(Answer::Datagram(bytes)) => bytes.to_vec(),
        };
        if message.kind == MessageType::Confirmable {
            self.transmit(again);
        }
        false
    }

    /// The peer has heard the message `id`; gives what it was for, unless nothing waits for that.
    pub(super) fn handle_heard(&mut self, now: Moment, id: u16) -> Option<Purpose> {
        let at = self.flights.iter().position(|flight| flight.id == id)?;
        let flight = self.flights.swap_remove(at);
        self.release_flights();
        if flight.retransmits == 0 {
            self.round_trip.handle_sample(now.since(flight.sent));
        } else {
            self.round_trip.handle_ambiguous(now.since(flight.sent), flight.timeout);
        }
        Some(flight.purpose)
    }

    /// How many answers wait for their acknowledgement.
    pub(super) fn answers_in_flight(&self) -> usize {
        self.flights.iter().filter(|flight| flight.purpose == Purpose::Answer).count()
    }

    /// Sends the message `id` no more.
    pub(super) fn drop_flight(&mut self, id: u16) {
        self.flights.retain(|flight| flight.id != id);
        self.release_flights();
    }

    /// Gives memory back with the last flight: most peers are idle most of the time.
    fn release_flights(&mut self) {
        if self.flights.is_empty() {
            self.flights = Vec::new();
        }
    }

    /// Sends again what is due; gives the messages that were sent often enough.
    pub(super) fn handle_timeout(&mut self, now: Moment) -> Vec<(u16, Purpose)> {
        self.recent.expire(now);
        let mut given_up = Vec::new();
        let mut flights = std::mem::take(&mut self.flights);
        flights.retain_mut(|flight| {
            if flight.due() > now {
                return true;
            }
            if flight.retransmits >= self.config.retransmits_max {
                given_up.push((flight.id, flight.purpose));
                return false;
            }
            flight.retransmits += 1;
            (flight.sent, flight.timeout) = (now, flight.timeout * 2);
            self.transmit(flight.bytes.clone());
            true
        });
        self.flights = flights;
        self.release_flights();
        given_up
    }

    /// When something is due.
    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        self.flights.iter().map(Flight::due).chain(self.recent.expires()).min()
    }

    /// The next datagram, where the peer may have it.
    pub(super) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let outbox = self.outbox.as_mut()?;
        let length = outbox.transmit.front()?.len() as u64;
        if let Some(allowance) = &mut self.allowance {
            *allowance = allowance.checked_sub(length)?;
        }
        let datagram = outbox.transmit.pop_front();
        self.release_outbox();
        datagram
    }

    /// The next event.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        let event = self.outbox.as_mut()?.events.pop_front();
        self.release_outbox();
        event
    }

    fn release_outbox(&mut self) {
        self.outbox.take_if(|outbox| outbox.transmit.is_empty() && outbox.events.is_empty());
    }

    /// The peer sent this many bytes.
    pub(super) fn handle_received(&mut self, bytes: usize) {
        if let Some(allowance) = &mut self.allowance {
            *allowance += bytes as u64 * AMPLIFICATION_MAX;
        }
    }

    /// Sends no more than three times what is received, until `verify`.
    pub(super) fn limit(&mut self) {
        self.allowance.get_or_insert(0);
    }

    /// Lifts the limit.
    pub(super) fn verify(&mut self) {
        self.allowance = None;
    }

    /// Whether the limit is lifted, or never was.
    pub(super) const fn is_verified(&self) -> bool {
        self.allowance.is_none()
    }

    /// Bytes on the heap.
    pub(super) fn held_bytes(&self) -> usize {
        self.recent.held_bytes()
            + self.outbox.as_ref().map_or(0, |outbox| outbox.held_bytes())
            + self.flights.iter().map(|flight| flight.bytes.len()).sum::<usize>()
            + self.flights.capacity() * size_of::<Flight>()
    }

    fn transmit(&mut self, datagram: Vec<u8>) {
        // Retransmission brings back what an unproven peer could not have yet.
        let transmit = &mut self.outbox.get_or_insert_default().transmit;
        if self.allowance.is_none() || transmit.len() < HELD_BACK_MAX {
            transmit.push_back(datagram);
        }
    }

    /// When a message may be sent that need not be sent at once: `None` is now. An ID means the same message for 247 s
    /// (RFC 7252 §4.4), so 65,536 of them are enough for 64 MiB on a fast network, and then they have to rest.
    pub(super) fn exhausted(&self, now: Moment) -> Option<Moment> {
        let ahead = quarter(self.message_id.wrapping_add(IDS_KEPT_FREE));
        let left = self.quarters[ahead];
        let free = Moment(u64::from(left) * 1000).plus(EXCHANGE_LIFETIME);
        (ahead != quarter(self.message_id) && left != 0 && free > now).then_some(free)
    }

    fn next_message_id(&mut self, now: Moment) -> u16 {
        let previous = self.message_id;
        self.message_id = previous.wrapping_add(1);
        if quarter(previous) != quarter(self.message_id) {
            self.quarters[quarter(previous)] = u32::try_from(now.0.div_ceil(1000)).unwrap_or(u32::MAX);
        }
        self.message_id
    }
}
