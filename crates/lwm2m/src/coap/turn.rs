//! What has its turn towards a peer (NSTART 1, RFC 7252 §4.7), and how far it is.

use super::ask::{Ask, Audience};
use super::event::{Event, Observer, RequestId};
use super::link::{Content, Link, Purpose};
use super::message::{Code, Token};
use super::option::View;
use super::request::Response;
use crate::Moment;

/// What takes a turn.
#[derive(Debug)]
pub(super) enum Turn {
    /// A request.
    Ask(Box<Ask>),
    /// An empty message, to hear a Reset.
    Ping(RequestId),
    /// A confirmable notification.
    Notify(Box<Notification>),
}

/// A confirmable notification of ours.
#[derive(Debug)]
pub(super) struct Notification {
    /// To whom.
    pub(super) observer: Observer,
    /// The token of the observer's request.
    pub(super) token: Token,
    /// The state.
    pub(super) response: Response,
}

/// How far the turn is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    /// The message of this ID is not acknowledged.
    Flying {
        /// The message.
        id: u16,
        /// What its answer has.
        token: Token,
    },
    /// It is acknowledged; the answer is waited for.
    Acknowledged {
        /// What the answer has.
        token: Token,
        /// When it is too late.
        until: Moment,
    },
    /// The application has to give the next block.
    Wanting,
    /// No message ID is free until then.
    Paused {
        /// When one is.
        until: Moment,
    },
}

impl Turn {
    /// Begins it, or goes on with it.
    pub(super) fn begin(mut self, now: Moment, link: &mut Link) -> (Self, Stage) {
        if let Some(until) = link.exhausted(now) {
            return (self, Stage::Paused { until });
        }
        let stage = match &mut self {
            Self::Ask(ask) => proceed(now, link, ask),
            Self::Ping(_) => {
                let empty =
                    Content { code: Code::EMPTY, token: Token::EMPTY, options: View::EMPTY, payload: &[] };
                let id = link.send_confirmable(now, Purpose::Turn, empty);
                Stage::Flying { id, token: Token::EMPTY }
            }
            Self::Notify(notification) => {
                let Notification { token, response, .. } = notification.as_ref();
                let content = Content::new(response.code, *token, &response.options, &response.payload);
                let id = link.send_confirmable(now, Purpose::Turn, content);
                Stage::Flying { id, token: *token }
            }
        };
        (self, stage)
    }

    /// Whether it is this request, or serves this observation of ours.
    pub(super) fn is_of(&self, id: RequestId) -> bool {
        match self {
            Self::Ask(ask) => ask.id == id || ask.audience == Audience::Observer(id),
            Self::Ping(ping) => *ping == id,
            Self::Notify(_) => false,
        }
    }

    /// Whether it tells this observer something.
    pub(super) fn is_for(&self, whom: Observer) -> bool {
        match self {
            Self::Notify(notification) => notification.observer == whom,
            Self::Ask(_) | Self::Ping(_) => false,
        }
    }

    /// Whether it asks for the rest of a notification of this observation.
    pub(super) fn completes(&self, id: RequestId) -> bool {
        match self {
            Self::Ask(ask) => ask.audience == Audience::Observer(id),
            Self::Ping(_) | Self::Notify(_) => false,
        }
    }
}

/// Sends the next message of a request, or asks the application for its bytes.
fn proceed(now: Moment, link: &mut Link, ask: &mut Ask) -> Stage {
    match ask.wanted() {
        Some((offset, length)) => {
            link.tell(Event::WantBlock { id: ask.id, offset, length });
            Stage::Wanting
        }
        None => send_ask(now, link, ask, &[]),
    }
}

/// Sends the next message of a request.
pub(super) fn send_ask(now: Moment, link: &mut Link, ask: &mut Ask, supplied: &[u8]) -> Stage {
    let draw = link.draw();
    let token = ask.token().unwrap_or(draw.token);
    let (options, payload) = ask.content(supplied, draw.tag);
    let content = Content::new(ask.request().method.code(), token, &options, &payload);
    let id = link.send_confirmable(now, Purpose::Turn, content);
    Stage::Flying { id, token }
}
