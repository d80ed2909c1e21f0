//! What of a session survives a restart of the server: who, how long, and its subscriptions. Messages do not: what a device
//! must hear is in the database as its state.
//!
//! A change is written in a batch with others, away from the connections; the answer that rests on it waits.

use super::registry::SessionKey;
use super::subscription::Subscription;
use mqtt_proto::v5::{RetainHandling, SubscriptionOptions};
use mqtt_proto::{QoS, TopicFilter};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// Most changes that wait to be written; a subscriber waits for room.
const CHANGES_WAITING_MAX: usize = 4_096;
/// Most changes in one transaction.
const CHANGES_BATCH_MAX: usize = 1_024;

/// A subscription, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSubscription {
    /// The filter, as the client gave it.
    pub filter: String,
    /// The QoS that was granted.
    pub qos: u8,
    /// The subscription identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<u32>,
    /// Whether the client's own messages are left out.
    #[serde(default)]
    pub no_local: bool,
    /// Whether the retain flag is passed on.
    #[serde(default)]
    pub retain_as_published: bool,
}

/// A session, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedSession {
    /// Whose it is.
    pub key: SessionKey,
    /// How long it waits for its client, in seconds.
    pub expiry: u32,
    /// Its subscriptions.
    pub subscriptions: Vec<SavedSubscription>,
}

/// A change of what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionChange {
    /// The session is as this says.
    Save(SavedSession),
    /// The session is no more.
    Delete(SessionKey),
}

/// Why sessions could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the sessions could not be {operation}")]
pub struct SessionStoreError {
    /// What was tried: "read" or "written".
    pub operation: &'static str,
    /// Why it failed.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Where sessions are kept.
pub trait SessionStore: Send + Sync + 'static {
    /// All sessions.
    ///
    /// # Errors
    /// [`SessionStoreError`].
    fn load_all(&self) -> Result<Vec<SavedSession>, SessionStoreError>;

    /// Makes changes, in order, all or none. They are durable when this returns.
    ///
    /// # Errors
    /// [`SessionStoreError`].
    fn apply(&self, changes: &[SessionChange]) -> Result<(), SessionStoreError>;
}

/// Sessions kept in memory: for tests, and for servers that need none after a restart.
#[derive(Debug, Default)]
pub struct MemorySessions(Mutex<Vec<SavedSession>>);

impl SessionStore for MemorySessions {
    fn load_all(&self) -> Result<Vec<SavedSession>, SessionStoreError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn apply(&self, changes: &[SessionChange]) -> Result<(), SessionStoreError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            let (SessionChange::Save(SavedSession { key, .. }) | SessionChange::Delete(key)) = change;
            all.retain(|session| session.key != *key);
            if let SessionChange::Save(session) = change {
                all.push(session.clone());
            }
        }
        Ok(())
    }
}

impl SavedSubscription {
    pub(super) fn of(subscription: &Subscription) -> Self {
        let options = subscription.options;
        Self {
            filter: (*subscription.filter).to_owned(),
            qos: options.max_qos as u8,
            identifier: subscription.identifier,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
        }
    }

    /// The subscription; `None` if what was kept is none, as an older program may have had other rules.
    pub(super) fn subscription(&self) -> Option<Subscription> {
        let filter = TopicFilter::try_from(self.filter.as_str()).ok()?;
        let options = SubscriptionOptions {
            max_qos: QoS::from_u8(self.qos).ok()?,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        Some(Subscription::new(&filter, self.identifier, options))
    }
}

/// A change, and who waits for it to be durable, if anyone.
type Waiting = (SessionChange, Option<oneshot::Sender<bool>>);

/// The way to the store.
#[derive(Debug)]
pub(super) struct Saver {
    sender: mpsc::Sender<Waiting>,
    receiver: Mutex<Option<mpsc::Receiver<Waiting>>>,
}

impl Saver {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(CHANGES_WAITING_MAX);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }

    /// Makes a change, and tells whether it is durable.
    pub(super) async fn save(&self, change: SessionChange) -> bool {
        let (done, told) = oneshot::channel();
        self.sender.send((change, Some(done))).await.is_ok() && told.await.unwrap_or(false)
    }

    /// Makes a change at some time, in order with the others; whether there was room to note it.
    pub(super) fn note(&self, change: SessionChange) -> bool {
        self.sender.try_send((change, None)).is_ok()
    }

    /// Writes changes until the endpoint is dropped. Only the first caller does.
    pub(super) async fn run(&self, store: Arc<dyn SessionStore>) {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut receiver) = receiver else { return };
        let mut batch = Vec::new();
        while receiver.recv_many(&mut batch, CHANGES_BATCH_MAX).await > 0 {
            let (changes, waiting): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
            let store = store.clone();
            let written = tokio::task::spawn_blocking(move || store.apply(&changes)).await;
            let durable = match written {
                Ok(Ok(())) => true,
                Ok(Err(error)) => {
                    tracing::error!(%error, source = %error.source, "MQTT sessions were not saved");
                    false
                }
                Err(error) => {
                    tracing::error!(%error, "MQTT sessions were not saved");
                    false
                }
            };
            for told in waiting.into_iter().flatten() {
                // Who no longer waits has hung up.
                let _ = told.send(durable);
            }
        }
    }
}
