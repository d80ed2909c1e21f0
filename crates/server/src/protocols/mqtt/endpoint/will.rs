//! The will: what a client leaves to be said if it goes without a word.

use super::session::Parcel;
use crate::protocols::mqtt::door::Message;
use mqtt_proto::QoS;
use mqtt_proto::v5::{LastWill, PublishProperties};
use std::sync::Arc;

/// A will, as it is kept while its client is connected.
#[derive(Debug)]
pub(super) struct Will {
    pub(super) topic: Arc<str>,
    payload: bytes::Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// How long after the client went it is due, in seconds.
    pub(super) delay: u32,
    expiry: Option<u32>,
    properties: Option<Box<PublishProperties>>,
}

impl Will {
    pub(super) fn new(will: LastWill) -> Self {
        let own = will.properties;
        let properties = PublishProperties {
            payload_is_utf8: own.payload_is_utf8,
            response_topic: own.response_topic,
            correlation_data: own.correlation_data,
            user_properties: own.user_properties,
            content_type: own.content_type,
            ..PublishProperties::default()
        };
        let bare = properties == PublishProperties::default();
        Self {
            topic: (*will.topic_name).into(),
            payload: will.payload,
            qos: will.qos,
            retain: will.retain,
            delay: own.delay_interval.unwrap_or(0),
            expiry: own.message_expiry_interval,
            properties: (!bare).then(|| Box::new(properties)),
        }
    }

    /// The message it becomes when it is due.
    pub(super) fn into_parcel(self, now: u64) -> Parcel {
        Parcel {
            message: Message { topic: self.topic, payload: self.payload },
            properties: self.properties,
            expires: self.expiry.map(|seconds| now + u64::from(seconds) * 1000),
        }
    }

    /// Whether it is about a reserved topic. AWS IoT Core hands such a will to subscribers only, and acts on none: a device
    /// that went away must not command anything.
    pub(super) fn is_reserved(&self) -> bool {
        self.topic.starts_with('$')
    }
}
