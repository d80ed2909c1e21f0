//! A client of an existing broker: carries the messages that devices exchange with the server over it.
//!
//! The broker knows who is connected and who may say what; the server hears what was said on which topic. So a topic decides
//! whose word a message is, and the broker's access rules must keep each device to its own
//! (`docs/operating/external-broker.md`). Several servers share the work where the broker can: it is tried at the first
//! connection, because some grant a shared subscription and deliver nothing to it.
//!
//! Deliberately absent: what only who holds the connections can do. An answer reaches whoever subscribed to its topic and
//! nobody else; nobody is told what it missed when it subscribes, but asks; nobody is disconnected when its credential is
//! revoked.
//!
//! MQTT 3.1.1, for all brokers speak it. Sessions are clean: what a server has not acknowledged is not its own to keep.

pub mod config;
mod connection;
mod filter;
mod hear;
mod lane;
mod link;
mod pace;
mod presence;
mod probe;
mod say;
mod speaker;
mod trust;

use super::door::{Bus, Handler, Message};
use crate::listen::Shutdown;
use config::{Contract, ExternalConfig, Sharing};
pub use connection::LinkError;
use filter::{Subscription, Subscriptions};
use futures_util::future::join_all;
use lane::Lanes;
use presence::Presence;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OnceCell, mpsc, watch};
use updraft_core::id::DeviceId;

/// How long the start of the server waits for the broker. One that does not answer by then is tried on and on beside it.
const START_TIME_MAX: Duration = Duration::from_secs(20);
/// How many hints are lost between two lines of the log.
const LOST_PER_LINE: u64 = 1_000;

/// Why there is no client of the broker.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file of the configuration is of no use.
    #[error("cannot use [protocols.mqtt.external]")]
    Files(#[source] LinkError),
    /// Shared subscriptions are required, and the broker does not have them.
    #[error(
        "[protocols.mqtt.external] shared = \"required\", but {0}. With one server, shared = \"never\" works with this broker"
    )]
    NotShared(&'static str),
    /// No random numbers.
    #[error("cannot draw random numbers")]
    Random(#[source] getrandom::Error),
}

/// The client of a broker.
pub struct External {
    config: ExternalConfig,
    client_id: String,
    lanes: Lanes,
    /// How to subscribe, once that is known.
    subscription: OnceCell<Subscriptions>,
    presence: Presence,
    lost: AtomicU64,
}

impl External {
    /// A client, and whether the broker shares, if it answers now.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(config: &ExternalConfig) -> Result<Arc<Self>, OpenError> {
        connection::check(config).map_err(OpenError::Files)?;
        let client_id = match &config.client_id {
            Some(id) => id.clone(),
            None => format!("updraft-{}", random().map_err(OpenError::Random)?),
        };
        let external = Arc::new(Self {
            config: config.clone(),
            lanes: Lanes::new(config, &client_id),
            client_id,
            subscription: OnceCell::new(),
            presence: Presence::new(config.presence.0),
            lost: AtomicU64::new(0),
        });
        match tokio::time::timeout(START_TIME_MAX, external.subscription()).await {
            Ok(Ok(_)) => {}
            Ok(Err(Unsubscribed::NotShared(why))) => return Err(OpenError::NotShared(why)),
            Ok(Err(Unsubscribed::Link(error))) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no MQTT broker yet; it is tried on and on"
                );
                external.lanes.first().set_trouble(Some(error.to_string()));
            }
            Err(_) => tracing::warn!("no MQTT broker yet; it is tried on and on"),
        }
        Ok(external)
    }

    /// A device was heard so long ago, by an earlier process perhaps.
    pub fn remember(&self, device: &DeviceId, ago: Duration) {
        if let Some(at) = Instant::now().checked_sub(ago) {
            self.presence.hear(device, at);
        }
    }

    /// How long a device counts as connected after it was heard.
    #[must_use]
    pub fn presence(&self) -> Duration {
        self.presence.life()
    }

    /// Whether there are all connections: devices are heard, and each can be answered.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.lanes.iter().all(|lane| lane.up.borrow().is_some())
    }

    /// Why a connection is missing and what to do about it, since it was last tried; `None` where there are all, or none was
    /// tried.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.lanes.iter().find_map(lane::Lane::trouble)
    }

    /// Whether servers share the work of all contracts; `None` as long as that is not known.
    #[must_use]
    pub fn is_shared(&self) -> Option<bool> {
        let is_shared =
            |subscriptions: &Subscriptions, contract| subscriptions.of(contract) == Subscription::Shared;
        let spoken = || Contract::ALL.into_iter().filter(|contract| self.config.speaks(*contract));
        self.subscription.get().map(|known| spoken().all(|contract| is_shared(known, contract)))
    }

    /// Carries messages until the shutdown is asked for and what was heard is answered. Runs once.
    pub async fn run<H: Handler>(self: Arc<Self>, handler: Arc<H>, shutdown: Shutdown) {
        let taken = self.lanes.iter().map(|lane| Some((lane, lane.take_waiting()?)));
        let Some(said) = taken.collect::<Option<Vec<_>>>() else { return };
        let (sender, heard) = mpsc::channel(hear::WAITING_MAX);
        let (done, worked) = watch::channel(false);
        let work = async {
            hear::work(&self, &*handler, heard).await;
            done.send_replace(true);
            std::future::pending::<()>().await;
        };
        let keep = |lane| link::keep(&self, lane, sender.clone(), worked.clone(), shutdown.clone());
        let kept = join_all(self.lanes.iter().map(keep));
        let rate = self.config.publishes_per_second;
        let say = join_all(said.into_iter().map(|(lane, waiting)| say::send_all(lane, waiting, rate)));
        drop((sender, worked));
        tokio::select! {
            _ = kept => {}
            () = work => {}
            _ = say => {}
        }
        let unsaid: usize = self.lanes.iter().map(lane::Lane::unsaid).sum();
        if unsaid > 0 {
            tracing::warn!(
                unsaid,
                "not all was said to devices before the end: those that wait for it ask again"
            );
        }
    }

    /// How to subscribe; tried out the first time.
    async fn subscription(&self) -> Result<Subscriptions, Unsubscribed> {
        self.subscription.get_or_try_init(|| self.find_subscription()).await.copied()
    }

    async fn find_subscription(&self) -> Result<Subscriptions, Unsubscribed> {
        let mut found = Subscriptions::PLAIN;
        if self.config.shared != Sharing::Never {
            if self.config.speaks(Contract::Replica) {
                found.state = self.try_sharing(probe::TOPIC).await?;
            }
            // Not every broker that shares ordinary topics shares those that begin with a dollar sign.
            if self.config.speaks(Contract::Jobs) || self.config.speaks(Contract::Shadow) {
                found.things = self.try_sharing(probe::THINGS_TOPIC).await?;
            }
        }
        Ok(found)
    }

    /// Tries whether the broker shares what is published below a topic.
    async fn try_sharing(&self, topic: &str) -> Result<Subscription, Unsubscribed> {
        let salt = random().map_err(|_| Unsubscribed::Link(LinkError::Silent))?;
        let finding =
            probe::probe(&self.config, &self.client_id, topic, &salt).await.map_err(Unsubscribed::Link)?;
        let why = finding.sentence();
        let decided = probe::decide(self.config.shared, finding).ok_or(Unsubscribed::NotShared(why))?;
        match decided {
            Subscription::Shared => tracing::info!(topic, "{why}: servers share the work"),
            Subscription::Plain => tracing::warn!(
                topic,
                "{why}: this must be the ONLY server at it, or each message is handled by every one"
            ),
        }
        Ok(decided)
    }

    /// Sends an answer, as soon as there is a place for it.
    async fn say(&self, message: Message) {
        if filter::carries(&self.config, &message.topic) {
            // An error means that the server ends.
            let _ = self.lanes.of(&message.topic).outbound.send(message).await;
        }
    }
}

/// Why there is no subscription.
#[derive(Debug, thiserror::Error)]
enum Unsubscribed {
    #[error(transparent)]
    Link(LinkError),
    #[error("{0}")]
    NotShared(&'static str),
}

impl Bus for External {
    fn publish(&self, message: Message) {
        if !filter::carries(&self.config, &message.topic) {
            return;
        }
        if self.lanes.of(&message.topic).outbound.try_send(message).is_err() {
            let lost = self.lost.fetch_add(1, Ordering::Relaxed);
            if lost.is_multiple_of(LOST_PER_LINE) {
                tracing::warn!(lost = lost + 1, "the broker does not keep up: hints to devices are dropped");
            }
        }
    }

    fn is_connected(&self, device: &DeviceId) -> bool {
        self.presence.is_connected(device, Instant::now())
    }

    fn connected(&self) -> Vec<DeviceId> {
        self.presence.connected(Instant::now())
    }
}

/// Eight bytes drawn at random, as text.
fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}
