//! The doors of AWS IoT over HTTP, joined to what carries topics and to what is written down.

use std::sync::{Arc, Mutex, PoisonError};

use updraft_core::execution::{Execution, HistoryEntry};
use updraft_core::id::{DeviceId, GroupName, RolloutId};
use updraft_core::state::Tally;
use updraft_core::store::StoreError;

use super::Tls;
use crate::auth::Auth;
use crate::auth::certificate::Certificates;
use crate::config::Config;
use crate::engine::clock::Clock;
use crate::pki::client::Clients;
use crate::pki::{self, PkiError};
use crate::protocols::aws::books::{Books, Found};
use crate::protocols::aws::caller::Certified;
pub(super) use crate::protocols::aws::door::Doors;
use crate::protocols::aws::failure::{Exception, Failure};
use crate::protocols::aws::topics::{self, Said, Speaker, Topics};
use crate::protocols::mqtt::door::{Bus, Handler, Identity, Message, NotTaken};
use crate::protocols::mqtt::topic::may_publish;
use crate::store::Views;

/// Most lines of one attempt's history that are read: a state is entered once, and there are eleven; late words follow.
const ATTEMPT_LINES_MAX: usize = 100;

/// The routes.
pub(super) fn router(doors: Doors) -> axum::Router {
    crate::protocols::aws::serve::router(Arc::new(doors))
}

/// How devices prove themselves to HTTP by certificate: TLS that asks for one, and whom it proves.
pub(super) fn certified(
    config: &Config,
    auth: &Auth,
    tls: &mut Tls,
    clock: Clock,
) -> Result<Arc<Certified>, PkiError> {
    if !config.aws.client_certificates {
        return Ok(Arc::new(|_| None));
    }
    let clients = Clients::open(&tls.authority, config.protocols.mqtt.client_ca.as_deref())?;
    tls.device = Arc::new(pki::load(&tls.certificate, &tls.key, Some(&clients))?);
    let certificates = Certificates::new(auth.clone(), clients, clock);
    Ok(Arc::new(move |shown| certificates.device(shown.chain()).ok().flatten()))
}

/// What MQTT clients ask, asked over HTTP.
pub(super) struct Carrier<H, B> {
    /// Gives messages their meaning.
    pub(super) handler: Arc<H>,
    /// Carries what came of them.
    pub(super) bus: Arc<B>,
}

impl<H: Handler, B: Bus> Topics for Carrier<H, B> {
    fn say(&self, from: Speaker, message: topics::Message) -> Said<'_> {
        Box::pin(async move {
            let from = match from {
                Speaker::Device(id) => Identity::Device { id, product: None },
                Speaker::Application(name) => Identity::Application { name },
            };
            let topics::Message { topic, payload } = message;
            if !may_publish(&from, &topic) {
                return Err(topics::NotTaken::Forbidden);
            }
            let effects =
                self.handler.publish(&from, &topic, payload).await.map_err(|not_taken| match not_taken {
                    NotTaken::Forbidden => topics::NotTaken::Forbidden,
                    NotTaken::Unavailable => topics::NotTaken::Unavailable,
                })?;
            let mut said = Vec::with_capacity(effects.replies.len() + effects.published.len());
            for message in effects.published {
                self.bus.publish(message.clone());
                said.push(message);
            }
            said.extend(effects.replies);
            Ok(said
                .into_iter()
                .map(|Message { topic, payload }| topics::Message { topic, payload })
                .collect())
        })
    }
}

/// The lists of the database.
pub(super) struct Lists(Arc<Mutex<Views>>);

impl Lists {
    /// Reads by a connection of its own.
    pub(super) fn new(views: Views) -> Self {
        Self(Arc::new(Mutex::new(views)))
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Views) -> Result<T, StoreError> + Send + 'static,
    ) -> Found<'static, T> {
        let views = self.0.clone();
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || {
                read(&mut views.lock().unwrap_or_else(PoisonError::into_inner))
            });
            match read.await {
                Ok(Ok(found)) => Ok(found),
                Ok(Err(error)) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "a list could not be read");
                    Err(Failure::new(Exception::ServiceUnavailable, error.to_string()))
                }
                // A task that does not end is one that panicked, or a runtime that stops.
                Err(_) => Err(Failure::new(
                    Exception::InternalFailure,
                    "the server made a mistake; its log says more",
                )),
            }
        })
    }
}

impl Books for Lists {
    fn members(&self, group: GroupName, after: Option<DeviceId>, limit: usize) -> Found<'_, Vec<DeviceId>> {
        self.read(move |views| views.members(&group, after.as_ref(), limit))
    }

    fn attempt(&self, device: DeviceId, rollout: RolloutId, attempt: u32) -> Found<'_, Vec<HistoryEntry>> {
        self.read(move |views| views.attempt(&device, &rollout, attempt, ATTEMPT_LINES_MAX))
    }

    fn executions(
        &self,
        rollout: RolloutId,
        after: Option<DeviceId>,
        limit: usize,
    ) -> Found<'_, Vec<Execution>> {
        self.read(move |views| views.all_executions(&rollout, after.as_ref(), limit))
    }

    fn executions_of(&self, device: DeviceId) -> Found<'_, Vec<Execution>> {
        self.read(move |views| {
            Ok(views.device(&device, 0)?.map(|detail| detail.executions).unwrap_or_default())
        })
    }

    fn tally(&self, rollout: RolloutId) -> Found<'_, Tally> {
        self.read(move |views| Ok(views.rollout(&rollout)?.map(|line| line.tally).unwrap_or_default()))
    }
}
