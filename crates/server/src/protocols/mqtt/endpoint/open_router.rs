//! A general router, so that general conformance suites can judge the endpoint's protocol: everyone is let in, hears
//! everyone, and messages are retained. Naive, and refused in service: a fleet's devices have nothing to say to each other.

use super::gate::Gate;
use super::registry::Session;
use super::route::{Origin, Router};
use super::session::{Delivery, Parcel, Queued};
use super::subscription::{matches, parts};
use mqtt_proto::QoS;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most retained messages: suites need a handful.
const RETAINED_MAX: usize = 1_000;
/// The filter that the Eclipse suites expect to be refused.
const REFUSED_FILTER: &str = "test/nosubscribe";
/// The name all clients share.
pub(super) const NAME: &str = "open";

/// A retained message, and the QoS it was published at.
type Retained = (Arc<Parcel>, QoS);

/// What a general router keeps beyond sessions.
#[derive(Debug, Default)]
pub(super) struct OpenRouter {
    retained: Mutex<BTreeMap<Arc<str>, Retained>>,
}

impl OpenRouter {
    pub(super) fn may_subscribe(filter: &str) -> bool {
        parts(filter).1 != REFUSED_FILTER
    }

    /// Keeps a message for those who subscribe later; an empty one takes the old one away (3.3.1.3).
    fn retain(&self, parcel: &Arc<Parcel>, qos: QoS) {
        let mut retained = self.retained.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = &parcel.message.topic;
        if parcel.message.payload.is_empty() {
            retained.remove(topic);
        } else if retained.len() < RETAINED_MAX || retained.contains_key(topic) {
            retained.insert(topic.clone(), (parcel.clone(), qos));
        }
    }

    fn matching(&self, filter: &str) -> Vec<Retained> {
        let retained = self.retained.lock().unwrap_or_else(PoisonError::into_inner);
        let matching = retained.iter().filter(|(topic, _)| matches(filter, topic));
        matching.map(|(_, (parcel, qos))| (parcel.clone(), *qos)).collect()
    }
}

impl<G: Gate> Router<G> {
    /// Takes a message as a general router does.
    pub(super) fn publish_open(&self, open: &OpenRouter, parcel: &Arc<Parcel>, origin: Origin<'_>) {
        if origin.retain {
            open.retain(parcel, origin.qos);
        }
        self.deliver(parcel, origin);
    }

    /// Sends the retained messages of a filter to who just subscribed to it.
    pub(super) fn send_retained(&self, open: &OpenRouter, session: &Session, filter: &str) {
        let mut state = session.lock();
        let Some(subscription) = state.subscriptions.iter().find(|own| *own.filter == *filter).cloned()
        else {
            return;
        };
        for (parcel, qos) in open.matching(filter) {
            let delivery = Delivery {
                parcel,
                qos: qos.min(subscription.options.max_qos),
                retain: true,
                identifiers: subscription.identifier.into_iter().collect(),
            };
            if state.enqueue(delivery, &self.limits) == Queued::Overflow {
                return;
            }
        }
    }
}
