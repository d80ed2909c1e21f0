//! Our requests and confirmable notifications to a peer, one at a time (NSTART 1, RFC 7252 §4.7), and what we observe.

use super::ask::{Ask, Audience, Source, Step};
use super::event::{Event, Failure, Observer, Refused, RequestId};
use super::link::Link;
use super::message::{Message, MessageType, Token};
use super::observing::{Interests, Observation};
use super::option::{OPTIONS_MAX, SEGMENT_BYTES_MAX, View, number};
use super::request::{Observe, Request, Response};
use super::turn::{Notification, Stage, Turn, send_ask};
use super::understood;
use crate::Moment;
use std::collections::VecDeque;

/// Options that are added to a request on its way: Block1, Block2, Size1, Request-Tag, Observe.
const OPTIONS_ADDED_MAX: usize = 5;

/// Our requests to one peer.
#[derive(Debug, Default)]
pub(super) struct Asking {
    current: Option<(Turn, Stage)>,
    queue: VecDeque<Turn>,
    observations: Vec<Observation>,
}

impl Asking {
    /// Takes a request into the queue.
    pub(super) fn request(
        &mut self,
        now: Moment,
        link: &mut Link,
        request: Request,
        source: Source,
        total: u64,
    ) -> Result<RequestId, Refused> {
        if self.queue.len() >= link.config.queue_max {
            return Err(Refused::Full);
        }
        if !can_be_carried(request.options.view()) {
            return Err(Refused::Options);
        }
        let id = RequestId(link.name());
        let ask = Ask::new(id, request, source, total, &link.config).ok_or(Refused::TooManyBlocks)?;
        self.queue.push_back(Turn::Ask(Box::new(ask)));
        self.next_turn(now, link);
        Ok(id)
    }

    /// Takes a ping into the queue.
    pub(super) fn ping(&mut self, now: Moment, link: &mut Link) -> Result<RequestId, Refused> {
        if self.queue.len() >= link.config.queue_max {
            return Err(Refused::Full);
        }
        let id = RequestId(link.name());
        self.queue.push_back(Turn::Ping(id));
        self.next_turn(now, link);
        Ok(id)
    }

    /// Takes a confirmable notification into the queue, in the place of an older one to the same observer.
    pub(super) fn notify(
        &mut self,
        now: Moment,
        link: &mut Link,
        observer: Observer,
        token: Token,
        response: Response,
    ) -> Result<(), Refused> {
        let newer = Turn::Notify(Box::new(Notification { observer, token, response }));
        let older = self.queue.iter().position(|turn| turn.is_for(observer));
        match older {
            Some(older) => self.queue[older] = newer,
            None if self.queue.len() >= link.config.queue_max => return Err(Refused::Full),
            None => self.queue.push_back(newer),
        }
        self.next_turn(now, link);
        Ok(())
    }

    /// Takes the block that the current request wants.
    pub(super) fn supply(
        &mut self,
        now: Moment,
        link: &mut Link,
        id: RequestId,
        bytes: &[u8],
    ) -> Result<(), Refused> {
        match &mut self.current {
            Some((Turn::Ask(ask), stage @ Stage::Wanting))
                if ask.id == id && ask.wanted().is_some_and(|(_, length)| length == bytes.len()) =>
            {
                *stage = send_ask(now, link, ask, bytes);
                Ok(())
            }
            Some(_) | None => Err(Refused::Unknown),
        }
    }

    /// Forgets a request or an observation.
    pub(super) fn cancel(&mut self, now: Moment, link: &mut Link, id: RequestId) {
        self.observations.retain(|observation| observation.id != id);
        self.queue.retain(|turn| !turn.is_of(id));
        if self.current.as_ref().is_some_and(|(turn, _)| turn.is_of(id)) {
            if let Some((_, Stage::Flying { id, .. })) = self.current.take() {
                link.drop_flight(id);
            }
            self.next_turn(now, link);
        }
    }

    /// The notifications to an observer are not sent any more.
    pub(super) fn forget_observer(&mut self, observer: Observer) {
        self.queue.retain(|turn| !turn.is_for(observer));
    }

    /// Takes the request that ends an observation, with the token that began it (RFC 7641 §3.6).
    pub(super) fn unobserve(
        &mut self,
        now: Moment,
        link: &mut Link,
        id: RequestId,
    ) -> Result<RequestId, Refused> {
        let observation = self.observation(id).ok_or(Refused::Unknown)?;
        if self.queue.len() >= link.config.queue_max {
            return Err(Refused::Full);
        }
        let (request, token) = (observation.request().with_observe(Observe::Deregister), observation.token);
        let end = RequestId(link.name());
        let ask = Ask::new(end, request, Source::Held, 0, &link.config).ok_or(Refused::TooManyBlocks)?;
        self.observations.retain(|observation| observation.id != id);
        self.queue.retain(|turn| !turn.completes(id));
        self.queue.push_back(Turn::Ask(Box::new(ask.with_token(token))));
        self.next_turn(now, link);
        Ok(end)
    }

    /// What we observe by this name.
    fn observation(&self, id: RequestId) -> Option<&Observation> {
        self.observations.iter().find(|observation| observation.id == id)
    }

    /// Forgets what we observe.
    pub(super) fn forget_observations(&mut self) {
        self.observations = Vec::new();
    }

    /// Takes a response in an acknowledgement.
    pub(super) fn handle_piggybacked(&mut self, now: Moment, link: &mut Link, message: &Message<'_>) {
        let flying = matches!(&self.current, Some((Turn::Ask(_), Stage::Flying { id, token }))
            if (*id, *token) == (message.id, message.token));
        // An answer to nothing that is under way is late, or somebody else's.
        if flying {
            link.handle_heard(now, message.id);
            self.handle_answer(now, link, message);
        }
    }

    /// Takes a response in a message of its own.
    pub(super) fn handle_separate(&mut self, now: Moment, link: &mut Link, message: &Message<'_>) {
        let answers = self.awaited() == Some(message.token);
        let known = answers || self.observations.iter().any(|observation| observation.token == message.token);
        let confirmable = message.kind == MessageType::Confirmable;
        if !known && link.recent.answer(now, message).is_none() {
            // RFC 7641 §3.6: a notification of what is not observed is rejected, however it was sent.
            if confirmable || message.options.has(number::OBSERVE) {
                link.reset(now, message.id);
            }
            return;
        }
        if !link.is_first(now, message) {
            return;
        }
        if confirmable && understood::response(message.options) {
            link.acknowledge(message.id);
        } else if confirmable {
            link.recent.remove(message.id);
            link.reset(now, message.id);
        }
        if !answers {
            self.handle_notification(now, link, message);
            return;
        }
        if let Some((_, Stage::Flying { id, .. })) = self.current {
            // Its acknowledgement was lost: the answer says as much (RFC 7252 §5.2.2).
            link.handle_heard(now, id);
        }
        self.handle_answer(now, link, message);
    }

    /// Takes the answer to the current request.
    fn handle_answer(&mut self, now: Moment, link: &mut Link, message: &Message<'_>) {
        let Some((Turn::Ask(mut ask), _)) = self.current.take() else { return };
        if !understood::response(message.options) {
            self.finish(now, link, &ask, Err(Failure::Incomprehensible));
            return;
        }
        let response = owned(message);
        if let Some(sequence) = response.observe()
            && ask.observes()
            && response.code.is_success()
            && ask.audience == Audience::Asker
            && self.observation(ask.id).is_none()
            && self.observations.len() < link.config.observations_max
        {
            self.observations.reserve_exact(1);
            self.observations.push(Observation::new(now, ask.id, message.token, ask.request(), sequence));
        }
        let step = ask.handle_response(response, &link.config);
        match step {
            Step::Next => {
                self.current = Some(Turn::Ask(ask).begin(now, link));
            }
            Step::Answered(response) => self.finish(now, link, &ask, Ok(response)),
            Step::Failed(failure) => self.finish(now, link, &ask, Err(failure)),
        }
    }

    /// Takes a notification of what we observe.
    fn handle_notification(&mut self, now: Moment, link: &mut Link, message: &Message<'_>) {
        let Some(at) = self.observations.iter().position(|known| known.token == message.token) else {
            return;
        };
        if !understood::response(message.options) {
            return;
        }
        let id = self.observations[at].id;
        let response = owned(message);
        let Some(sequence) = response.observe().filter(|_| response.code.is_success()) else {
            self.observations.swap_remove(at);
            link.tell(Event::Notification { id, response });
            return;
        };
        if !self.observations[at].is_news(now, sequence) {
            return;
        }
        // The rest of an older state is of no use any more.
        self.queue.retain(|turn| !turn.completes(id));
        let request = self.observations[at].request();
        let name = RequestId(link.name());
        match Ask::rest(name, id, request, response, &link.config) {
            Some((ask, Step::Next)) => {
                if self.queue.len() < link.config.queue_max {
                    self.queue.push_back(Turn::Ask(Box::new(ask)));
                    self.next_turn(now, link);
                }
            }
            Some((_, Step::Answered(response))) => link.tell(Event::Notification { id, response }),
            // A state that cannot be read is no news; the next one may be.
            Some((_, Step::Failed(_))) | None => {}
        }
    }

    /// The peer has the current message, and does not answer yet.
    pub(super) fn handle_acknowledged(&mut self, now: Moment, link: &mut Link) {
        let until = now.plus(link.config.response_timeout);
        match &mut self.current {
            Some((Turn::Ask(_), stage)) => {
                if let Stage::Flying { token, .. } = *stage {
                    *stage = Stage::Acknowledged { token, until };
                }
            }
            Some((Turn::Ping(id), _)) => {
                link.tell(Event::Pong { id: *id });
                self.end_turn(now, link);
            }
            Some((Turn::Notify(_), _)) => self.end_turn(now, link),
            None => {}
        }
    }

    /// The peer rejects the current message.
    pub(super) fn handle_reset(&mut self, now: Moment, link: &mut Link, interests: &mut Interests) {
        match &self.current {
            Some((Turn::Ping(id), _)) => {
                link.tell(Event::Pong { id: *id });
                self.end_turn(now, link);
            }
            Some(_) | None => self.fail_turn(now, link, interests, Failure::Reset),
        }
    }

    /// The current turn has come to nothing.
    pub(super) fn fail_turn(
        &mut self,
        now: Moment,
        link: &mut Link,
        interests: &mut Interests,
        failure: Failure,
    ) {
        match self.current.take() {
            Some((Turn::Ask(ask), _)) => self.finish(now, link, &ask, Err(failure)),
            Some((Turn::Ping(id), _)) => {
                link.tell(Event::Failed { id, failure });
                self.next_turn(now, link);
            }
            Some((Turn::Notify(notification), _)) => {
                let observer = notification.observer;
                // RFC 7641 §4.5: who rejects a notification, or does not acknowledge it, observes no more.
                self.forget_observer(observer);
                if interests.remove(observer) {
                    link.tell(Event::Unobserved { observer });
                }
                self.next_turn(now, link);
            }
            None => {}
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Moment, link: &mut Link, interests: &mut Interests) {
        match self.current {
            Some((_, Stage::Acknowledged { until, .. })) if until <= now => {
                self.fail_turn(now, link, interests, Failure::Unanswered);
            }
            Some((_, Stage::Paused { until })) if until <= now => {
                self.current = self.current.take().map(|(turn, _)| turn.begin(now, link));
            }
            Some(_) | None => {}
        }
    }

    /// When something is due.
    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        match self.current {
            Some((_, Stage::Acknowledged { until, .. } | Stage::Paused { until })) => Some(until),
            Some((_, Stage::Flying { .. } | Stage::Wanting)) | None => None,
        }
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.current.is_none() && self.queue.is_empty()
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_blank(&self) -> bool {
        self.is_idle() && self.observations.is_empty()
    }

    /// Bytes on the heap.
    pub(super) fn held_bytes(&self) -> usize {
        let options: usize =
            self.observations.iter().map(|observation| observation.options.view().as_bytes().len()).sum();
        options
            + self.observations.capacity() * size_of::<Observation>()
            + self.queue.capacity() * size_of::<Turn>()
    }

    /// Tells how a request ended, and goes on with the next.
    fn finish(&mut self, now: Moment, link: &mut Link, ask: &Ask, outcome: Result<Response, Failure>) {
        let id = ask.id;
        match (ask.audience, outcome) {
            (Audience::Asker, Ok(response)) => link.tell(Event::Response { id, response }),
            (Audience::Asker, Err(failure)) => {
                self.observations.retain(|observation| observation.id != id);
                link.tell(Event::Failed { id, failure });
            }
            (Audience::Observer(id), Ok(response)) if self.observation(id).is_some() => {
                link.tell(Event::Notification { id, response });
            }
            (Audience::Observer(_), Ok(_) | Err(_)) => {}
        }
        self.next_turn(now, link);
    }

    fn end_turn(&mut self, now: Moment, link: &mut Link) {
        self.current = None;
        self.next_turn(now, link);
    }

    /// Begins the next turn, where none is under way.
    fn next_turn(&mut self, now: Moment, link: &mut Link) {
        if self.current.is_some() {
            return;
        }
        let Some(turn) = self.queue.pop_front() else {
            self.queue = VecDeque::new();
            return;
        };
        self.current = Some(turn.begin(now, link));
    }

    /// The token whose answer is waited for.
    fn awaited(&self) -> Option<Token> {
        match self.current {
            Some((Turn::Ask(_), Stage::Flying { token, .. } | Stage::Acknowledged { token, .. })) => {
                Some(token)
            }
            Some(_) | None => None,
        }
    }
}

/// The response in a message.
fn owned(message: &Message<'_>) -> Response {
    Response { code: message.code, options: message.options.to_owned(), payload: message.payload.to_vec() }
}

/// Whether a message can have these options and those that are added.
fn can_be_carried(options: View<'_>) -> bool {
    options.iter().count() + OPTIONS_ADDED_MAX <= OPTIONS_MAX
        && options.iter().all(|(_, value)| value.len() <= SEGMENT_BYTES_MAX)
}
