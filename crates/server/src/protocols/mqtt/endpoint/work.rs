//! What a connection has in hand: publishes and subscriptions that wait for the handler or the store. Settled in order.

use super::connection::{Connection, Ending};
use super::encode::{self, Ack};
use super::frame::Version;
use super::gate::Gate;
use super::route::Origin;
use super::saved::SessionChange;
use super::session::Parcel;
use crate::protocols::mqtt::door::{Effects, Handler, Message, NotTaken, Occasion};
use mqtt_proto::v5::DisconnectReasonCode as Code;
use mqtt_proto::{QoS, QosPid};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

/// Which packet waits for the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Subscribe,
    Unsubscribe,
}

/// What came of a piece of work.
pub(super) enum Outcome {
    /// The handler took a publish, or not.
    Published(QosPid, Result<Effects, NotTaken>),
    /// What a subscriber must hear.
    Heard(Vec<Message>),
    /// Subscriptions changed, and that is durable, or not.
    Changed { change: Change, pid: u16, codes: Vec<u8>, granted: Vec<Box<str>>, durable: bool },
}

/// A piece of work.
pub(super) enum Job {
    Running(Running),
    Done(Option<Outcome>),
}

/// What is being worked on, and for which publish, if it is one.
pub(super) struct Running {
    qos_pid: QosPid,
    future: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Running(_) => "Running",
            Self::Done(_) => "Done",
        })
    }
}

impl Job {
    fn running(qos_pid: QosPid, future: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self::Running(Running { qos_pid, future: Box::pin(future) })
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        if let Self::Running(running) = self
            && let Poll::Ready(outcome) = running.future.as_mut().poll(cx)
        {
            *self = Self::Done(Some(outcome));
        }
    }

    /// What came of it, once it is done.
    pub(super) fn take(&mut self) -> Option<Outcome> {
        match self {
            Self::Running(_) => None,
            Self::Done(outcome) => outcome.take(),
        }
    }

    /// The publish it is about.
    pub(super) fn qos_pid(&self) -> QosPid {
        match self {
            Self::Running(running) => running.qos_pid,
            Self::Done(Some(Outcome::Published(qos_pid, _))) => *qos_pid,
            Self::Done(_) => QosPid::Level0,
        }
    }
}

impl<S, H, G> Connection<S, H, G>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
    G: Gate,
{
    /// Gives a publish to the handler.
    pub(super) fn begin_publish(
        &mut self,
        qos_pid: QosPid,
        topic: mqtt_proto::TopicName,
        payload: bytes::Bytes,
    ) {
        let (endpoint, identity) = (self.attached.endpoint.clone(), self.identity.clone());
        self.work.push_back(Job::running(qos_pid, async move {
            Outcome::Published(qos_pid, endpoint.handler.publish(&identity, &topic, payload).await)
        }));
    }

    /// Queues the answer to a publish that needs no work, behind those that do.
    pub(super) fn answer_publish(&mut self, qos_pid: QosPid, result: Result<Effects, NotTaken>) {
        self.work.push_back(Job::Done(Some(Outcome::Published(qos_pid, result))));
    }

    /// Asks the handler what the subscriber of these filters must hear.
    pub(super) fn catch_up(&mut self, filters: Vec<Box<str>>, occasion: Occasion) {
        if filters.is_empty() {
            return;
        }
        let (endpoint, identity) = (self.attached.endpoint.clone(), self.identity.clone());
        if endpoint.router.open.is_some() {
            return;
        }
        self.work.push_back(Job::running(QosPid::Level0, async move {
            let mut messages = Vec::new();
            for filter in filters {
                messages.extend(endpoint.handler.subscribed(&identity, &filter, occasion).await);
            }
            Outcome::Heard(messages)
        }));
    }

    /// Answers a change of subscriptions, once it is saved if the session is.
    pub(super) fn begin_change(
        &mut self,
        change: Change,
        pid: u16,
        codes: Vec<u8>,
        granted: Vec<Box<str>>,
        save: Option<SessionChange>,
    ) {
        let Some(save) = save else {
            self.settle_change(change, pid, &codes, granted);
            return;
        };
        let endpoint = self.attached.endpoint.clone();
        self.work.push_back(Job::running(QosPid::Level0, async move {
            let durable = endpoint.router.saver.save(save).await;
            Outcome::Changed { change, pid, codes, granted, durable }
        }));
    }

    /// Answers, and lets all else that follows from it follow.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Published(qos_pid, Ok(effects)) => self.settle_taken(qos_pid, effects),
            Outcome::Published(qos_pid, Err(refusal)) => self.settle_not_taken(qos_pid, refusal),
            Outcome::Heard(messages) => {
                for message in messages {
                    self.attached.endpoint.router.reply(&self.attached.session, message, QoS::Level1);
                }
            }
            Outcome::Changed { change, pid, codes, granted, durable: true } => {
                self.settle_change(change, pid, &codes, granted);
            }
            Outcome::Changed { change: Change::Subscribe, pid, codes, granted, durable: false } => {
                self.undo(pid, &codes, &granted);
            }
            // Unsubscribed it is; a restart may bring the subscription back, so the client is not told that it is gone.
            Outcome::Changed { change: Change::Unsubscribe, .. } => {
                self.end(Ending::Sent(Code::UnspecifiedError));
            }
        }
    }

    fn settle_taken(&mut self, qos_pid: QosPid, effects: Effects) {
        match qos_pid {
            QosPid::Level0 => {}
            QosPid::Level1(pid) => self.acknowledge(Ack::Puback, pid.value(), 0),
            QosPid::Level2(pid) => {
                self.attached.session.lock().receive(pid.value());
                self.acknowledge(Ack::Pubrec, pid.value(), 0);
            }
        }
        let router = &self.attached.endpoint.router;
        for reply in effects.replies {
            router.reply(&self.attached.session, reply, qos_pid.qos().min(QoS::Level1));
        }
        for message in effects.published {
            let origin = Origin { publisher: Some(&self.attached.session), ..Origin::SERVER };
            router.deliver(&Parcel::plain(message), origin);
        }
    }

    fn settle_not_taken(&mut self, qos_pid: QosPid, refusal: NotTaken) {
        let code = match refusal {
            NotTaken::Forbidden => Code::NotAuthorized,
            NotTaken::Unavailable => Code::UnspecifiedError,
        };
        match (self.version, qos_pid) {
            (Version::V5, QosPid::Level1(pid)) => self.acknowledge(Ack::Puback, pid.value(), code as u8),
            (Version::V5, QosPid::Level2(pid)) => self.acknowledge(Ack::Pubrec, pid.value(), code as u8),
            (Version::V3, _) | (Version::V5, QosPid::Level0) => self.end(Ending::Sent(code)),
        }
    }

    /// Acknowledges, unless the client said goodbye or was told to go.
    pub(super) fn acknowledge(&mut self, ack: Ack, pid: u16, code: u8) {
        if self.ending.is_none() {
            encode::ack(&mut self.out, self.version, ack, pid, code);
        }
    }

    fn settle_change(&mut self, change: Change, pid: u16, codes: &[u8], granted: Vec<Box<str>>) {
        if self.ending.is_some() {
            return;
        }
        match change {
            Change::Subscribe => encode::suback(&mut self.out, self.version, pid, codes),
            Change::Unsubscribe => encode::unsuback(&mut self.out, self.version, pid, codes),
        }
        self.catch_up(granted, Occasion::Subscribed);
    }

    /// A subscription that could not be saved is refused, for the client would rely on it.
    fn undo(&mut self, pid: u16, codes: &[u8], granted: &[Box<str>]) {
        self.attached
            .session
            .lock()
            .subscriptions
            .retain(|subscription| !granted.contains(&subscription.filter));
        let refused: Vec<u8> = codes.iter().map(|code| (*code).max(Code::UnspecifiedError as u8)).collect();
        if self.ending.is_none() {
            encode::suback(&mut self.out, self.version, pid, &refused);
        }
    }
}
