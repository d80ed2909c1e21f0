//! MQTT, put together: what carries messages, what they mean, who may connect, where.

use super::{Ground, ServeError};
use crate::auth::certificate::Certificates;
use crate::listen::Shutdown;
use crate::pki;
use crate::pki::client::Clients;
use crate::protocols::mqtt::adapter::{Adapter, Hints};
use crate::protocols::mqtt::door;
use crate::protocols::mqtt::endpoint::{Endpoint, Router};
use crate::protocols::mqtt::external::External;
use crate::protocols::mqtt::gate::TokenGate;
use crate::protocols::mqtt::links::Links;
use crate::protocols::mqtt::start::{self, Mqtt};
use crate::store::{DeviceFilter, Views};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use updraft_core::id::DeviceId;
use updraft_core::time::Timestamp;

/// Devices read at a time when it is looked up who was heard lately.
const DEVICES_PER_READ: usize = 1_000;

/// What carries messages.
pub(super) enum Bus {
    /// The server's own endpoint, listening or not.
    Embedded(Arc<Router<TokenGate>>),
    /// A client of an existing broker.
    External(Arc<External>),
}

impl door::Bus for Bus {
    fn publish(&self, message: door::Message) {
        match self {
            Self::Embedded(router) => router.publish(message),
            Self::External(client) => client.publish(message),
        }
    }

    fn is_connected(&self, device: &DeviceId) -> bool {
        match self {
            Self::Embedded(router) => router.is_connected(device),
            Self::External(client) => client.is_connected(device),
        }
    }

    fn connected(&self) -> Vec<DeviceId> {
        match self {
            Self::Embedded(router) => router.connected(),
            Self::External(client) => client.connected(),
        }
    }
}

/// What messages mean, whether or not clients connect here: the doors of AWS IoT say on topics what they are asked.
pub(super) struct Meaning {
    pub(super) handler: Arc<Adapter<Bus>>,
    pub(super) bus: Arc<Bus>,
    hints: Hints,
}

impl Meaning {
    /// `base_url` is what links begin with.
    pub(super) async fn open(ground: &Ground<'_>, base_url: &str) -> Result<Self, ServeError> {
        let Ground { config, engine, auth, clock, database, .. } = ground;
        let links = Links {
            signer: ground.signer.clone(),
            base_url: base_url.into(),
            life: config.check_in.link_life.0,
        };
        let section = &config.protocols.mqtt;
        let bus = if section.is_external() {
            let client = External::open(&section.external).await?;
            let (known, now, views) = (client.clone(), clock.now(), database.views()?);
            // Only hints to devices that say nothing meanwhile depend on it.
            tokio::task::spawn_blocking(move || remember(&known, views, now));
            Arc::new(Bus::External(client))
        } else {
            let gate = TokenGate::new(auth.clone(), *clock);
            let sessions = Arc::new(database.sessions()?);
            Arc::new(Bus::Embedded(start::router(section, gate, Some(sessions))?))
        };
        let (handler, hints) = Adapter::new(engine.clone(), bus.clone(), links);
        Ok(Self { handler, bus, hints })
    }
}

/// Tells a client of a broker which devices an earlier process has heard lately.
fn remember(client: &External, mut views: Views, now: Timestamp) {
    let mut after = None;
    loop {
        let page = match views.devices(&DeviceFilter::default(), after.as_ref(), DEVICES_PER_READ) {
            Ok(page) => page,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "who was connected is not known; devices that ask are");
                return;
            }
        };
        for device in &page.devices {
            let ago = device.last_seen.map(|seen| now.as_millis().saturating_sub(seen.as_millis()));
            let ago = ago.map(|ago| Duration::from_millis(u64::try_from(ago).unwrap_or(0)));
            if let Some(ago) = ago.filter(|ago| *ago < client.presence()) {
                client.remember(&device.id, ago);
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return,
        }
    }
}

/// The way messages come in.
enum Door {
    /// Listeners of the server's own.
    Listening(Box<Mqtt<Adapter<Bus>>>),
    /// A connection to a broker.
    Client(Arc<External>),
    /// MQTT is switched off.
    Closed,
}

/// MQTT with its door open, not yet answering.
pub(super) struct Served {
    door: Door,
    handler: Arc<Adapter<Bus>>,
    hints: Hints,
}

impl Served {
    pub(super) async fn open(ground: &Ground<'_>, meaning: Meaning) -> Result<Self, ServeError> {
        let Ground { config, auth, tls, clock, .. } = ground;
        let section = &config.protocols.mqtt;
        let Meaning { handler, bus, hints } = meaning;
        let door = match &*bus {
            Bus::External(client) => Door::Client(client.clone()),
            Bus::Embedded(_) if !section.is_embedded() => Door::Closed,
            Bus::Embedded(router) => {
                let clients = Clients::open(&tls.authority, section.client_ca.as_deref())?;
                let secured = Arc::new(pki::load(&tls.certificate, &tls.key, Some(&clients))?);
                let endpoint = Endpoint::new(router.clone(), handler.clone());
                let certificates = Certificates::new(auth.clone(), clients, *clock);
                let mqtt = Mqtt::open(section, endpoint, certificates, secured, auth).await?;
                Door::Listening(Box::new(mqtt))
            }
        };
        Ok(Self { door, handler, hints })
    }

    /// The route to it by WebSocket.
    pub(super) fn websocket(&self) -> axum::Router {
        match &self.door {
            Door::Listening(mqtt) => mqtt.websocket(),
            Door::Client(_) | Door::Closed => axum::Router::new(),
        }
    }

    /// Where it listens by TLS, and without.
    pub(super) fn addresses(&self) -> Result<(Option<SocketAddr>, Option<SocketAddr>), ServeError> {
        match &self.door {
            Door::Listening(mqtt) => {
                let (tls, plain) = mqtt.addresses()?;
                Ok((Some(tls), plain))
            }
            Door::Client(_) | Door::Closed => Ok((None, None)),
        }
    }

    /// Serves until the shutdown is asked for and all clients have gone.
    pub(super) async fn serve(self, shutdown: Shutdown) {
        let Self { door, handler, hints } = self;
        let hinting = handler.clone().run(hints);
        match door {
            Door::Listening(mqtt) => tokio::select! {
                () = mqtt.serve(shutdown) => {}
                () = hinting => {}
            },
            Door::Client(client) => tokio::select! {
                () = client.run(handler, shutdown) => {}
                () = hinting => {}
            },
            Door::Closed => {}
        }
    }
}
