//! What a client says after CONNECT, and what follows from it at once.

use super::connection::{Connection, Ending};
use super::encode::{self, Ack};
use super::frame::{Incoming, Publish, Requested, Version};
use super::gate::Gate;
use super::open_router::OpenRouter;
use super::route::Origin;
use super::session::Parcel;
use super::subscription::{Subscription, parts};
use super::work::Change;
use crate::protocols::mqtt::door::{Effects, Handler, Identity, Message, NotTaken};
use mqtt_proto::v5::{
    DisconnectReasonCode as Code, RetainHandling, SubscribeReasonCode, UnsubscribeReasonCode,
};
use mqtt_proto::{QoS, QosPid, TopicFilter, TopicName};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// PUBREL or PUBREC for a packet ID that is not in use (3.6.2.1).
const PACKET_ID_NOT_FOUND: u8 = 0x92;
/// MQTT 3.1.1 has one code for all refused filters (3.9.3).
const REFUSED_V3: u8 = 0x80;

impl<S, H, G> Connection<S, H, G>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
    G: Gate,
{
    pub(super) fn handle(&mut self, packet: Incoming) {
        match packet {
            Incoming::Publish(publish) => {
                if let Err(code) = self.handle_publish(publish) {
                    self.end(Ending::Sent(code));
                }
            }
            Incoming::Puback(pid) => self.attached.session.lock().handle_puback(pid),
            Incoming::Pubrec(pid, refused) => self.handle_pubrec(pid, refused),
            Incoming::Pubrel(pid) => {
                let known = self.attached.session.lock().release(pid);
                self.acknowledge(Ack::Pubcomp, pid, if known { 0 } else { PACKET_ID_NOT_FOUND });
            }
            Incoming::Pubcomp(pid) => self.attached.session.lock().handle_pubcomp(pid),
            Incoming::Subscribe { pid, identifier, filters } => {
                self.handle_subscribe(pid, identifier, &filters);
            }
            Incoming::Unsubscribe { pid, filters } => self.handle_unsubscribe(pid, &filters),
            Incoming::Ping => encode::pong(&mut self.out),
            Incoming::Disconnect { with_will, expiry } => self.handle_disconnect(with_will, expiry),
        }
    }

    fn handle_pubrec(&mut self, pid: u16, refused: bool) {
        let known = self.attached.session.lock().handle_pubrec(pid, refused);
        if known {
            self.acknowledge(Ack::Pubrel, pid, 0);
        } else if !refused {
            self.acknowledge(Ack::Pubrel, pid, PACKET_ID_NOT_FOUND);
        }
    }

    fn handle_publish(&mut self, publish: Publish) -> Result<(), Code> {
        let Publish { qos_pid, retain, topic, payload, alias, properties } = publish;
        let topic = self.resolve(topic, alias)?;
        if !self.attached.endpoint.router.limits.fits_topic(&topic) {
            return Err(Code::TopicNameInvalid);
        }
        if self.is_repeated(qos_pid)? {
            return Ok(());
        }
        let endpoint = self.attached.endpoint.clone();
        if let Some(open) = &endpoint.router.open {
            let now = endpoint.router.now();
            let expires = properties.as_ref().and_then(|own| own.message_expiry_interval);
            let parcel = Arc::new(Parcel {
                message: Message { topic: (*topic).into(), payload },
                properties,
                expires: expires.map(|seconds| now + u64::from(seconds) * 1000),
            });
            let origin = Origin { qos: qos_pid.qos(), retain, publisher: Some(&self.attached.session) };
            endpoint.router.publish_open(open, &parcel, origin);
            self.answer_publish(qos_pid, Ok(Effects::default()));
        } else if endpoint.router.gate.may_publish(&self.identity, &topic) {
            self.begin_publish(qos_pid, topic, payload);
        } else {
            self.answer_publish(qos_pid, Err(NotTaken::Forbidden));
        }
        Ok(())
    }

    /// The topic, whether it was named or an alias stands for it (3.3.2.3.4).
    fn resolve(&mut self, topic: TopicName, alias: Option<u16>) -> Result<TopicName, Code> {
        let Some(alias) = alias else {
            return if topic.is_empty() { Err(Code::ProtocolError) } else { Ok(topic) };
        };
        if alias == 0 || alias > self.attached.endpoint.router.limits.topic_aliases {
            return Err(Code::TopicAliasInvalid);
        }
        let place = usize::from(alias) - 1;
        if topic.is_empty() {
            return self.aliases.get(place).cloned().flatten().ok_or(Code::ProtocolError);
        }
        if self.aliases.len() <= place {
            self.aliases.resize(place + 1, None);
        }
        self.aliases[place] = Some(topic.clone());
        Ok(topic)
    }

    /// Whether a QoS 2 publish was taken in already, or is being taken in; then it is answered as the first time.
    fn is_repeated(&mut self, qos_pid: QosPid) -> Result<bool, Code> {
        let QosPid::Level2(pid) = qos_pid else { return Ok(false) };
        if self.work.iter().any(|job| job.qos_pid() == qos_pid) {
            return Ok(true);
        }
        let (known, received) = {
            let state = self.attached.session.lock();
            (state.has_received(pid.value()), state.received())
        };
        if known {
            self.answer_publish_again(pid.value());
            return Ok(true);
        }
        let in_hand = self.work.iter().filter(|job| job.qos_pid().qos() != QoS::Level0).count();
        if received + in_hand >= usize::from(self.attached.endpoint.router.limits.receive) {
            return Err(Code::ReceiveMaximumExceeded);
        }
        Ok(false)
    }

    fn answer_publish_again(&mut self, pid: u16) {
        self.acknowledge(Ack::Pubrec, pid, 0);
    }

    fn handle_subscribe(&mut self, pid: u16, identifier: Option<u32>, filters: &[Requested]) {
        // 3.8.3.1: "It is a Protocol Error to set the No Local bit to 1 on a Shared Subscription".
        if filters.iter().any(|own| own.options.no_local && parts(&own.filter).0.is_some()) {
            self.end(Ending::Sent(Code::ProtocolError));
            return;
        }
        let endpoint = self.attached.endpoint.clone();
        let mut codes = Vec::with_capacity(filters.len());
        let mut granted = Vec::new();
        let mut to_send = Vec::new();
        let mut changed = false;
        for requested in filters {
            match self.subscribe(identifier, requested) {
                Ok(Granted { qos, was }) => {
                    changed |= was != Was::Same;
                    codes.push(qos as u8);
                    granted.push(Box::from(&*requested.filter));
                    if wants_retained(requested, was) {
                        to_send.push(&*requested.filter);
                    }
                }
                Err(code) => codes.push(if self.version == Version::V3 { REFUSED_V3 } else { code as u8 }),
            }
        }
        let save = {
            let mut state = self.attached.session.lock();
            if changed { endpoint.router.to_save(&self.attached.session, &mut state) } else { None }
        };
        self.begin_change(Change::Subscribe, pid, codes, granted, save);
        if let Some(open) = &endpoint.router.open {
            for filter in to_send {
                endpoint.router.send_retained(open, &self.attached.session, filter);
            }
        }
    }

    fn subscribe(
        &self,
        identifier: Option<u32>,
        requested: &Requested,
    ) -> Result<Granted, SubscribeReasonCode> {
        let router = &self.attached.endpoint.router;
        let (group, filter) = parts(&requested.filter);
        if !router.limits.fits_topic(filter) {
            return Err(SubscribeReasonCode::TopicFilterInvalid);
        }
        let subscriptions_max = match (&self.identity, group) {
            (Identity::Device { .. }, Some(_)) => {
                return Err(SubscribeReasonCode::SharedSubscriptionNotSupported);
            }
            (Identity::Device { .. }, None) => router.limits.subscriptions_device,
            (Identity::Application { .. }, _) => router.limits.subscriptions_application,
        };
        let may = if router.open.is_some() {
            OpenRouter::may_subscribe(&requested.filter)
        } else {
            router.gate.may_subscribe(&self.identity, filter)
        };
        if !may {
            return Err(SubscribeReasonCode::NotAuthorized);
        }
        let mut options = requested.options;
        options.max_qos = options.max_qos.min(router.qos_max());
        let subscription = Subscription::new(&requested.filter, identifier, options);
        let mut state = self.attached.session.lock();
        let count = state.subscriptions.len();
        let old = state.subscriptions.iter_mut().find(|own| own.filter == subscription.filter);
        let was = match old {
            Some(old) if *old == subscription => Was::Same,
            Some(old) => {
                *old = subscription;
                Was::Other
            }
            None if count >= subscriptions_max => {
                return Err(SubscribeReasonCode::QuotaExceeded);
            }
            None => {
                state.subscriptions.push(subscription);
                Was::Absent
            }
        };
        Ok(Granted { qos: options.max_qos, was })
    }

    fn handle_unsubscribe(&mut self, pid: u16, filters: &[TopicFilter]) {
        let endpoint = self.attached.endpoint.clone();
        let mut codes = Vec::with_capacity(filters.len());
        let save = {
            let mut state = self.attached.session.lock();
            let all = state.subscriptions.len();
            for filter in filters {
                let before = state.subscriptions.len();
                state.subscriptions.retain(|own| *own.filter != **filter);
                let code = if state.subscriptions.len() < before {
                    UnsubscribeReasonCode::Success
                } else {
                    UnsubscribeReasonCode::NoSubscriptionExisted
                };
                codes.push(code as u8);
            }
            if state.subscriptions.len() < all {
                endpoint.router.to_save(&self.attached.session, &mut state)
            } else {
                None
            }
        };
        self.begin_change(Change::Unsubscribe, pid, codes, Vec::new(), save);
    }

    fn handle_disconnect(&mut self, with_will: bool, expiry: Option<u32>) {
        if let Some(expiry) = expiry {
            let mut state = self.attached.session.lock();
            // 3.14.2.2.2: a session that was to end with the connection cannot be made to last.
            if state.expiry == 0 && expiry > 0 {
                drop(state);
                self.end(Ending::Sent(Code::ProtocolError));
                return;
            }
            let max = self.attached.endpoint.router.limits.session_expiry.as_secs();
            state.expiry = expiry.min(u32::try_from(max).unwrap_or(u32::MAX));
        }
        self.end(if with_will { Ending::LeftWithWill } else { Ending::Left });
    }
}

/// What there was before a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Was {
    Absent,
    Other,
    Same,
}

struct Granted {
    qos: QoS,
    was: Was,
}

fn wants_retained(requested: &Requested, was: Was) -> bool {
    parts(&requested.filter).0.is_none()
        && match requested.options.retain_handling {
            RetainHandling::SendAtSubscribe => true,
            RetainHandling::SendAtSubscribeIfNotExist => was == Was::Absent,
            RetainHandling::DoNotSend => false,
        }
}
