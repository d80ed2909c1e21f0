//! What the server says: sent again on the next connection until the broker has acknowledged it.

use super::connection::SENT_AT_ONCE;
use crate::protocols::mqtt::door::Message;
use futures_util::{StreamExt as _, stream};
use rumqttc::{AsyncClient, ClientError, PublishOptions};
use tokio::sync::{mpsc, watch};

/// Messages that wait to be sent. Answers wait for a place; hints beyond it are dropped.
pub(super) const WAITING_MAX: usize = 16_384;
/// How many connections may be lost over one message, before it is given up: some brokers hang up on whoever says what it
/// may not.
const TRIES_MAX: u32 = 5;

/// A connection that can be spoken on.
#[derive(Debug, Clone)]
pub(super) struct Up {
    pub(super) client: AsyncClient,
    /// Which connection it is, counted from 1.
    pub(super) number: u64,
}

/// Sends whatever is to be sent. Ends when nothing more can come and all is sent.
pub(super) async fn send_all(mut messages: mpsc::Receiver<Message>, up: watch::Receiver<Option<Up>>) {
    stream::poll_fn(|context| messages.poll_recv(context))
        .map(|message| send(message, up.clone()))
        .buffer_unordered(usize::from(SENT_AT_ONCE))
        .for_each(|()| std::future::ready(()))
        .await;
}

async fn send(message: Message, mut up: watch::Receiver<Option<Up>>) {
    for _ in 0..TRIES_MAX {
        let Ok(current) = up.wait_for(Option::is_some).await.map(|up| up.clone()) else { return };
        let Some(Up { client, number }) = current else { return };
        let sent = client.try_publish_tracked(
            &*message.topic,
            message.payload.clone(),
            PublishOptions::at_least_once(),
        );
        match sent {
            Ok(notice) => {
                if notice.wait_completion_async().await.is_ok() {
                    return;
                }
            }
            Err(ClientError::InvalidRequest(_)) => {
                tracing::error!(topic = &*message.topic, "a message has a topic that MQTT does not know");
                return;
            }
            // The connection has ended.
            Err(_) => {}
        }
        let is_another = |up: &Option<Up>| up.as_ref().is_none_or(|up| up.number != number);
        if up.wait_for(is_another).await.is_err() {
            return;
        }
    }
    tracing::error!(
        topic = &*message.topic,
        "a message was given up: the broker has hung up each time it was sent. Do its access rules let the server publish there?"
    );
}
