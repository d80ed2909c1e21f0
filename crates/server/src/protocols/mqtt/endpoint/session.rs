//! What outlives a connection: subscriptions, messages on their way out, packet IDs. Pure: time is an argument, bytes are
//! appended to a buffer.

use super::encode::{self, Ack, Outbound};
use super::frame::Version;
use super::limits::{Limits, OUT_BYTES_HIGH};
use super::subscription::Subscription;
use super::will::Will;
use crate::protocols::mqtt::door::{Identity, Message};
use mqtt_proto::QoS;
use mqtt_proto::v5::{DisconnectReasonCode as Code, PublishProperties};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use tokio::sync::oneshot;

/// A message and what else MQTT 5 carries with it; shared by all who get it.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) message: Message,
    pub(super) properties: Option<Box<PublishProperties>>,
    /// When it is no longer worth sending, in milliseconds of the endpoint's clock.
    pub(super) expires: Option<u64>,
}

impl Parcel {
    pub(super) fn plain(message: Message) -> Arc<Self> {
        Arc::new(Self { message, properties: None, expires: None })
    }

    fn bytes(&self) -> usize {
        self.message.topic.len() + self.message.payload.len()
    }
}

/// A parcel on its way to one client.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) parcel: Arc<Parcel>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) identifiers: Vec<u32>,
}

/// A message of QoS 1 or 2 that was sent and is not through.
#[derive(Debug)]
enum Sent {
    /// No acknowledgement yet.
    Published(u16, Delivery),
    /// QoS 2: received there; PUBREL was sent.
    Released(u16),
}

impl Sent {
    fn pid(&self) -> u16 {
        match self {
            Self::Published(pid, _) | Self::Released(pid) => *pid,
        }
    }
}

/// What a client said at CONNECT about what it can take, and what is true of one connection only.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) version: Version,
    /// Most messages it wants unacknowledged.
    pub(super) receive: u16,
    /// Largest packet it takes, in bytes.
    pub(super) packet_bytes: u32,
    /// Most topic aliases it takes.
    pub(super) aliases_max: u16,
    /// Topics that have an alias; the first has 1.
    pub(super) aliases: Vec<Arc<str>>,
}

/// Whether somebody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Connected,
    /// Since when, on the endpoint's clock.
    Away(u64),
    /// Taken out of the registry: whoever still holds it must look again.
    Gone,
}

/// What became of a message that was to be queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queued {
    Yes,
    /// Nobody is there, and it is not kept.
    NotKept,
    /// The client does not read: it must go.
    Overflow,
}

/// The state of a session. Behind a lock: its connection and those who send to it share it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) identity: Identity,
    pub(super) presence: Presence,
    pub(super) link: Link,
    pub(super) subscriptions: Vec<Subscription>,
    queue: VecDeque<Delivery>,
    queue_bytes: usize,
    sent: VecDeque<Sent>,
    last_pid: u16,
    /// QoS 2 messages that were taken in and not yet released by the client.
    received: Vec<u16>,
    /// How long it waits for its client, in seconds.
    pub(super) expiry: u32,
    /// In milliseconds, one and a half times what was agreed; 0 for never.
    pub(super) silence_max: u64,
    pub(super) will: Option<Box<Will>>,
    /// When the will of a client that is away is due.
    pub(super) will_due: Option<u64>,
    /// Why the connection must end, if it must.
    pub(super) kick: Option<Code>,
    pub(super) waker: Option<Waker>,
    /// A second connection, waiting for the first to end. A third takes its place: the latest is the client.
    pub(super) waiting: Option<oneshot::Sender<()>>,
    /// Since when bytes wait for the client to take them.
    pub(super) stalled: Option<u64>,
    /// Whether a row of it is kept.
    pub(super) saved: bool,
}

impl State {
    pub(super) fn new(identity: Identity, now: u64) -> Self {
        Self {
            identity,
            presence: Presence::Away(now),
            link: Link {
                version: Version::V3,
                receive: u16::MAX,
                packet_bytes: u32::MAX,
                aliases_max: 0,
                aliases: Vec::new(),
            },
            subscriptions: Vec::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            sent: VecDeque::new(),
            last_pid: 0,
            received: Vec::new(),
            expiry: 0,
            silence_max: 0,
            will: None,
            will_due: None,
            kick: None,
            waker: None,
            waiting: None,
            stalled: None,
            saved: false,
        }
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Ends the connection, if there is one, for this reason; an earlier reason stands.
    pub(super) fn kick(&mut self, code: Code) {
        if self.presence == Presence::Connected {
            self.kick.get_or_insert(code);
            self.wake();
        }
    }

    /// Takes a message for the client. Never more than the limits: a device that is away keeps the newest few, an
    /// application the newest of its queue.
    pub(super) fn enqueue(&mut self, delivery: Delivery, limits: &Limits) -> Queued {
        let away = self.presence != Presence::Connected;
        if away && (delivery.qos == QoS::Level0 || self.expiry == 0) {
            return Queued::NotKept;
        }
        let messages_max = match self.identity {
            Identity::Device { .. } if away => limits.away_messages,
            Identity::Device { .. } | Identity::Application { .. } => limits.queue_messages,
        };
        let bytes = delivery.parcel.bytes();
        let full = |state: &Self| {
            state.queue.len() >= messages_max || state.queue_bytes + bytes > limits.queue_bytes
        };
        if full(self) && !away {
            self.kick(Code::QuotaExceeded);
            return Queued::Overflow;
        }
        while full(self) {
            let Some(oldest) = self.queue.pop_front() else { return Queued::NotKept };
            self.queue_bytes -= oldest.parcel.bytes();
        }
        self.queue_bytes += bytes;
        self.queue.push_back(delivery);
        self.wake();
        Queued::Yes
    }

    /// Writes as many waiting messages as the client may be sent, and the buffer should hold.
    pub(super) fn write_queue(&mut self, now: u64, limits: &Limits, out: &mut Vec<u8>) {
        let window = usize::from(self.link.receive.min(limits.inflight));
        while out.len() < OUT_BYTES_HIGH {
            let Some(next) = self.queue.front() else { return };
            if next.qos != QoS::Level0 && self.sent.len() >= window {
                return;
            }
            let Some(delivery) = self.queue.pop_front() else { return };
            self.queue_bytes -= delivery.parcel.bytes();
            if delivery.parcel.expires.is_some_and(|expires| expires <= now) {
                continue;
            }
            let pid = if delivery.qos == QoS::Level0 { 0 } else { self.next_pid() };
            // 3.1.2.11.4: what is too large for the client is dropped, as if it had been sent.
            if !write(&mut self.link, now, &delivery, pid, false, out) || pid == 0 {
                continue;
            }
            self.sent.push_back(Sent::Published(pid, delivery));
        }
    }

    /// The next packet ID that is not in use. There is one: far fewer may be in flight.
    fn next_pid(&mut self) -> u16 {
        loop {
            self.last_pid = self.last_pid.checked_add(1).unwrap_or(1);
            if !self.sent.iter().any(|sent| sent.pid() == self.last_pid) {
                return self.last_pid;
            }
        }
    }

    /// PUBACK: also of a message that is not in flight, which a client may well send after a reconnect.
    pub(super) fn handle_puback(&mut self, pid: u16) {
        let is = |sent: &Sent| matches!(sent, Sent::Published(own, delivery) if *own == pid && delivery.qos == QoS::Level1);
        if let Some(at) = self.sent.iter().position(is) {
            self.sent.remove(at);
        }
    }

    /// PUBREC: whether PUBREL is to be answered. A refusal ends the exchange.
    pub(super) fn handle_pubrec(&mut self, pid: u16, refused: bool) -> bool {
        let at = self.sent.iter().position(
            |sent| matches!(sent, Sent::Published(own, delivery) if *own == pid && delivery.qos == QoS::Level2),
        );
        match at {
            Some(at) if refused => {
                self.sent.remove(at);
                false
            }
            Some(at) => {
                self.sent[at] = Sent::Released(pid);
                true
            }
            None => self.sent.iter().any(|sent| matches!(sent, Sent::Released(own) if *own == pid)),
        }
    }

    /// PUBCOMP.
    pub(super) fn handle_pubcomp(&mut self, pid: u16) {
        let is = |sent: &Sent| matches!(sent, Sent::Released(own) if *own == pid);
        if let Some(at) = self.sent.iter().position(is) {
            self.sent.remove(at);
        }
    }

    /// Whether a QoS 2 message of this packet ID was taken in already.
    pub(super) fn has_received(&self, pid: u16) -> bool {
        self.received.contains(&pid)
    }

    /// How many QoS 2 messages wait to be released.
    pub(super) fn received(&self) -> usize {
        self.received.len()
    }

    /// A QoS 2 message was taken in: the same packet ID means the same message until it is released.
    pub(super) fn receive(&mut self, pid: u16) {
        if !self.has_received(pid) {
            self.received.push(pid);
        }
    }

    /// PUBREL: whether the packet ID was known.
    pub(super) fn release(&mut self, pid: u16) -> bool {
        let before = self.received.len();
        self.received.retain(|received| *received != pid);
        self.received.len() < before
    }

    /// On a new connection: sends again what was not acknowledged, in the old order, under the old packet IDs (4.4). What
    /// the client may no longer hear goes.
    pub(super) fn resend(&mut self, now: u64, may_receive: impl Fn(&str) -> bool, out: &mut Vec<u8>) {
        let may = |delivery: &Delivery| may_receive(&delivery.parcel.message.topic);
        self.sent.retain(|sent| match sent {
            Sent::Published(_, delivery) => may(delivery),
            Sent::Released(_) => true,
        });
        self.queue.retain(may);
        self.queue_bytes = self.queue.iter().map(|delivery| delivery.parcel.bytes()).sum();
        self.put_back();
        let version = self.link.version;
        let link = &mut self.link;
        self.sent.retain(|sent| match sent {
            Sent::Published(pid, delivery) => write(link, now, delivery, *pid, true, out),
            Sent::Released(pid) => {
                encode::ack(out, version, Ack::Pubrel, *pid, 0);
                true
            }
        });
    }

    /// A client that came back may want fewer at a time than are in flight: the rest of them wait in the queue again.
    fn put_back(&mut self) {
        while self.sent.len() > usize::from(self.link.receive) {
            match self.sent.pop_back() {
                Some(Sent::Published(_, delivery)) if delivery.qos == QoS::Level1 => {
                    self.queue_bytes += delivery.parcel.bytes();
                    self.queue.push_front(delivery);
                }
                // Of these the client may have a part already, so the exchange goes on.
                Some(other) => return self.sent.push_back(other),
                None => return,
            }
        }
    }

    /// Forgets everything but who it is: a clean start.
    pub(super) fn clear(&mut self) {
        let Self { subscriptions, queue, sent, received, .. } = self;
        (*subscriptions, *queue, *sent, *received) =
            (Vec::new(), VecDeque::new(), VecDeque::new(), Vec::new());
        self.queue_bytes = 0;
        self.will = None;
        self.will_due = None;
    }

    /// Gives back memory that a burst left behind.
    pub(super) fn shrink(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > 0 {
            self.queue = VecDeque::new();
        }
        if self.sent.is_empty() && self.sent.capacity() > 0 {
            self.sent = VecDeque::new();
        }
        if self.received.is_empty() && self.received.capacity() > 0 {
            self.received = Vec::new();
        }
        if self.subscriptions.capacity() > self.subscriptions.len() {
            self.subscriptions.shrink_to_fit();
        }
    }
}

/// Writes one PUBLISH, if it is not too large for the client.
fn write(link: &mut Link, now: u64, delivery: &Delivery, pid: u16, dup: bool, out: &mut Vec<u8>) -> bool {
    let Parcel { message, properties, expires } = &*delivery.parcel;
    let known = link.aliases.iter().position(|topic| **topic == *message.topic);
    let fresh = known.is_none() && link.aliases.len() < usize::from(link.aliases_max);
    let place = known.or_else(|| fresh.then_some(link.aliases.len()));
    let outbound = Outbound {
        version: link.version,
        topic: if known.is_some() { "" } else { &message.topic },
        payload: &message.payload,
        qos: delivery.qos,
        pid,
        dup,
        retain: delivery.retain,
        // No more aliases than the limit, which is a u16.
        alias: place.map(|place| place as u16 + 1),
        identifiers: &delivery.identifiers,
        properties: properties.as_deref(),
        // What expires within this second is still sent, with the least there is to say.
        expiry: expires
            .map(|expires| (expires.saturating_sub(now) / 1000).clamp(1, u64::from(u32::MAX)) as u32),
    };
    if outbound.bytes() > link.packet_bytes as usize {
        return false;
    }
    outbound.write(out);
    if fresh {
        link.aliases.push(message.topic.clone());
    }
    true
}
