//! MQTT, put together: what carries messages, what they mean, who may connect, where.

use super::{ServeError, Tls};
use crate::auth::Auth;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::clock::Clock;
use crate::listen::Shutdown;
use crate::pki;
use crate::pki::client::Clients;
use crate::protocols::mqtt::adapter::{Adapter, Hints};
use crate::protocols::mqtt::endpoint::{Endpoint, Router};
use crate::protocols::mqtt::gate::{Certificates, TokenGate};
use crate::protocols::mqtt::links::Links;
use crate::protocols::mqtt::start::{self, Mqtt};
use std::net::SocketAddr;
use std::sync::Arc;

type Bus = Router<TokenGate>;

/// What messages mean, whether or not clients connect here: the doors of AWS IoT say on topics what they are asked.
pub(super) struct Meaning {
    pub(super) handler: Arc<Adapter<Bus>>,
    pub(super) bus: Arc<Bus>,
    hints: Hints,
}

impl Meaning {
    pub(super) fn open(
        config: &Config,
        engine: Engine,
        auth: &Auth,
        clock: Clock,
        links: Links,
    ) -> Result<Self, ServeError> {
        let bus = start::router(&config.protocols.mqtt, TokenGate::new(auth.clone(), clock), None)?;
        let (handler, hints) = Adapter::new(engine, bus.clone(), links);
        Ok(Self { handler, bus, hints })
    }
}

/// MQTT with its listeners open, if it is served here, not yet answering.
pub(super) struct Served {
    mqtt: Option<Mqtt<Adapter<Bus>>>,
    handler: Arc<Adapter<Bus>>,
    hints: Hints,
}

impl Served {
    pub(super) async fn open(
        config: &Config,
        auth: &Auth,
        tls: &Tls,
        clock: Clock,
        meaning: Meaning,
    ) -> Result<Self, ServeError> {
        let section = &config.protocols.mqtt;
        let Meaning { handler, bus, hints } = meaning;
        if !section.is_embedded() {
            return Ok(Self { mqtt: None, handler, hints });
        }
        let clients = Clients::open(&tls.authority, section.client_ca.as_deref())?;
        let secured = Arc::new(pki::load(&tls.certificate, &tls.key, Some(&clients))?);
        let endpoint = Endpoint::new(bus, handler.clone());
        let certificates = Certificates::new(auth.clone(), clients, clock);
        let mqtt = Mqtt::open(section, endpoint, certificates, secured, auth).await?;
        Ok(Self { mqtt: Some(mqtt), handler, hints })
    }

    /// The route to it by WebSocket.
    pub(super) fn websocket(&self) -> axum::Router {
        self.mqtt.as_ref().map(Mqtt::websocket).unwrap_or_default()
    }

    /// Where it listens by TLS, and without.
    pub(super) fn addresses(&self) -> Result<(Option<SocketAddr>, Option<SocketAddr>), ServeError> {
        let addresses = self.mqtt.as_ref().map(Mqtt::addresses).transpose()?;
        Ok(addresses.map_or((None, None), |(tls, plain)| (Some(tls), plain)))
    }

    /// Serves until the shutdown is asked for and all clients have gone.
    pub(super) async fn serve(self, shutdown: Shutdown) {
        let Some(mqtt) = self.mqtt else { return };
        tokio::select! {
            () = mqtt.serve(shutdown) => {}
            () = self.handler.run(self.hints) => {}
        }
    }
}
