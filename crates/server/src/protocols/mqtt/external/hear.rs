//! What devices say, taken in: in order, several at a time, each acknowledged once all it rests on is durable.

use super::External;
use super::speaker::speaker;
use crate::protocols::mqtt::door::{Effects, Handler, Identity, NotTaken};
use crate::protocols::mqtt::endpoint::limits::{PACKET_BYTES_MAX, TOPIC_BYTES_MAX};
use futures_util::{StreamExt as _, stream};
use rumqttc::mqttbytes::v4::Publish;
use rumqttc::{AsyncClient, ManualAck};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Messages that wait to be worked on. Brokers keep 10 to some hundreds of unacknowledged messages in flight to one client,
/// so those at QoS 1 never fill it; at QoS 0, what is beyond is lost, as QoS 0 may be.
pub(super) const WAITING_MAX: usize = 8_192;
/// Messages worked on at a time, so that the engine finds several in one batch.
const WORK_AT_ONCE: usize = 128;
/// How often a message is tried that the engine cannot take just now, before it is given up. Its sender gets no answer, and
/// asks again.
const TRIES_MAX: u32 = 6;
/// The pause after the first try; it doubles.
const TRY_PAUSE: Duration = Duration::from_millis(100);

/// A message, and where to acknowledge it.
pub(super) struct Heard {
    pub(super) client: AsyncClient,
    pub(super) message: Publish,
}

/// Works until no more messages can come and all are done.
pub(super) async fn work<H: Handler>(external: &External, handler: &H, mut heard: mpsc::Receiver<Heard>) {
    stream::poll_fn(|context| heard.poll_recv(context))
        .map(|heard| one(external, handler, heard))
        // Acknowledgements go in the order of the messages (MQTT-4.6.0-2).
        .buffered(WORK_AT_ONCE)
        .for_each(|(client, ack)| {
            if let Some(ack) = ack {
                // Where the connection has ended, there is nothing to acknowledge any more.
                let _ = client.try_manual_ack(ack);
            }
            std::future::ready(())
        })
        .await;
}

async fn one<H: Handler>(external: &External, handler: &H, heard: Heard) -> (AsyncClient, Option<ManualAck>) {
    let Heard { client, message } = heard;
    let ack = client.prepare_ack(&message);
    if let Some((who, topic)) = admit(external, &message)
        && let Some(effects) = take(handler, &who, topic, &message).await
    {
        for message in effects.replies.into_iter().chain(effects.published) {
            external.say(message).await;
        }
    }
    (client, ack)
}

/// Who said it, and on what topic; `None` for what is passed over.
fn admit<'a>(external: &External, message: &'a Publish) -> Option<(Identity, &'a str)> {
    // Said some time ago, to nobody: it may have been answered, and comes again with each connection.
    if message.retain {
        tracing::debug!("a retained message was passed over");
        return None;
    }
    let topic = std::str::from_utf8(&message.topic).ok().filter(|topic| topic.len() <= TOPIC_BYTES_MAX)?;
    if message.payload.len() > PACKET_BYTES_MAX {
        tracing::warn!(topic, bytes = message.payload.len(), "a message is too large and was passed over");
        return None;
    }
    let who = speaker(topic, &message.payload, external.config.applications)?;
    if let Identity::Device { id, .. } = &who {
        external.presence.hear(id, Instant::now());
    }
    Some((who, topic))
}

async fn take<H: Handler>(handler: &H, who: &Identity, topic: &str, message: &Publish) -> Option<Effects> {
    for tried in 0..TRIES_MAX {
        match handler.publish(who, topic, message.payload.clone()).await {
            Ok(effects) => return Some(effects),
            Err(NotTaken::Forbidden) => {
                tracing::debug!(topic, "a message was refused");
                return None;
            }
            Err(NotTaken::Unavailable) => tokio::time::sleep(TRY_PAUSE * 2_u32.pow(tried)).await,
        }
    }
    tracing::error!(topic, "a message could not be taken in and was given up; its sender has no answer");
    None
}
