//! The embedded endpoint, put together: from its section of the configuration to open doors, and back to closed ones.

use super::config::MqttConfig;
use super::door::{Handler, Identity};
use super::endpoint::{Endpoint, Limits, Mode, Router, SessionStore, SessionStoreError};
use super::gate::TokenGate;
use super::websocket;
use crate::auth::certificate::Certificates;
use crate::auth::{Auth, Principal};
use crate::listen::{self, BindError, ByteStream, ListenLimits, Listener, Peer, Shutdown};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long clients have to take their farewell at a shutdown.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(20);
/// How often clients are told to go at a shutdown: one may have been on its way in when the others were told.
const FAREWELL_INTERVAL: Duration = Duration::from_millis(200);

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A listener has no address.
    #[error("cannot read a listener's address")]
    Address(#[source] std::io::Error),
    /// The sessions that were kept cannot be read.
    #[error("cannot load the MQTT sessions")]
    Sessions(#[from] SessionStoreError),
}

/// What carries messages to devices: made first, for what gives them a meaning sends through it.
///
/// # Errors
/// [`StartError::Sessions`].
pub fn router(
    config: &MqttConfig,
    gate: TokenGate,
    sessions: Option<Arc<dyn SessionStore>>,
) -> Result<Arc<Router<TokenGate>>, StartError> {
    let limits = Limits { connections: config.connections_max, ..Limits::default() };
    let mode = if config.open_router_for_conformance {
        tracing::warn!("MQTT lets EVERYONE in and routes between clients: for conformance suites only");
        Mode::OpenRouterForConformance
    } else {
        Mode::Gateway
    };
    Ok(Router::new(Arc::new(gate), limits, sessions, mode)?)
}

/// The endpoint with its listeners open, not yet answering.
pub struct Mqtt<H> {
    endpoint: Arc<Endpoint<H, TokenGate>>,
    certificates: Arc<Certificates>,
    tls: Listener,
    plain: Option<Listener>,
    revocations: broadcast::Receiver<Principal>,
    /// Each WebSocket holds a clone of the sender for as long as it is open.
    websockets: (mpsc::Sender<()>, mpsc::Receiver<()>),
    has_websocket: bool,
}

impl<H: Handler> Mqtt<H> {
    /// Opens the listeners. `tls` must ask clients for the certificates that `certificates` judges.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn open(
        config: &MqttConfig,
        endpoint: Arc<Endpoint<H, TokenGate>>,
        certificates: Certificates,
        tls: Arc<rustls::ServerConfig>,
        auth: &Auth,
    ) -> Result<Self, StartError> {
        let limits = ListenLimits {
            connections_max: config.connections_max,
            drain_time: DRAIN_TIME_MAX,
            ..ListenLimits::default()
        };
        let tcp = listen::bind(config.listen, "[protocols.mqtt] listen").await?;
        let tls = Listener::new(tcp, Some(tls), limits);
        let plain = match config.plain_listen {
            None => None,
            Some(address) => {
                let tcp = listen::bind(address, "[protocols.mqtt] plain_listen").await?;
                let plain = Listener::new(tcp, None, limits);
                let address = plain.local_addr().map_err(StartError::Address)?;
                tracing::warn!(%address, "devices may speak MQTT WITHOUT TLS here: for a lab only");
                Some(plain)
            }
        };
        Ok(Self {
            endpoint,
            certificates: Arc::new(certificates),
            tls,
            plain,
            revocations: auth.revocations(),
            websockets: mpsc::channel(1),
            // The devices' HTTP listener need not be on the loopback.
            has_websocket: !config.open_router_for_conformance,
        })
    }

    /// Where it listens by TLS, and without.
    ///
    /// # Errors
    /// [`StartError::Address`].
    pub fn addresses(&self) -> Result<(SocketAddr, Option<SocketAddr>), StartError> {
        let plain = self.plain.as_ref().map(Listener::local_addr).transpose().map_err(StartError::Address)?;
        Ok((self.tls.local_addr().map_err(StartError::Address)?, plain))
    }

    /// The route to the same endpoint by WebSocket, for the devices' HTTP listener.
    pub fn websocket(&self) -> axum::Router {
        if self.has_websocket {
            websocket::router(Arc::clone(&self.endpoint), self.websockets.0.clone())
        } else {
            axum::Router::new()
        }
    }

    /// Serves until the shutdown is asked for and all clients have been told and have gone. WebSockets among them: the
    /// listener that has their route must be told to stop as well.
    pub async fn serve(self, shutdown: Shutdown) {
        let Self { endpoint, certificates, tls, plain, revocations, websockets, .. } = self;
        let beside = tokio::spawn(Arc::clone(&endpoint).run());
        let revoked = tokio::spawn(end_revoked(Arc::clone(&endpoint), revocations));
        let mut listeners = JoinSet::new();
        for listener in [Some(tls), plain].into_iter().flatten() {
            let (endpoint, certificates) = (Arc::clone(&endpoint), Arc::clone(&certificates));
            let serve = move |stream: ByteStream, peer: Peer| {
                serve_one(Arc::clone(&endpoint), Arc::clone(&certificates), stream, peer)
            };
            listeners.spawn(listener.serve_streams(serve, shutdown.clone()));
        }
        shutdown.asked().await;
        let (open, mut closed) = websockets;
        drop(open);
        let mut ended = std::pin::pin!(tokio::time::timeout(DRAIN_TIME_MAX, async {
            while listeners.join_next().await.is_some() {}
            while closed.recv().await.is_some() {}
        }));
        loop {
            endpoint.router().disconnect_all();
            tokio::select! {
                in_time = &mut ended => {
                    if in_time.is_err() {
                        tracing::warn!("MQTT clients did not take their farewell in time and were cut off");
                    }
                    break;
                }
                () = tokio::time::sleep(FAREWELL_INTERVAL) => {}
            }
        }
        revoked.abort();
        beside.abort();
    }
}

async fn serve_one<H: Handler>(
    endpoint: Arc<Endpoint<H, TokenGate>>,
    certificates: Arc<Certificates>,
    stream: ByteStream,
    peer: Peer,
) {
    let proved = certificates.device(stream.client_certificates());
    match proved.map(|device| device.map(|id| Identity::Device { id, product: None })) {
        Ok(identity) => endpoint.serve_stream(stream, peer.address, identity).await,
        // Hanging up is all: the client has not said which MQTT it speaks.
        Err(refused) => tracing::info!(peer = %peer.address, %refused, "an MQTT client was refused"),
    }
}

/// Ends the connections of those whose credential is revoked. Who has another comes again with it.
async fn end_revoked<H: Handler>(
    endpoint: Arc<Endpoint<H, TokenGate>>,
    mut revocations: broadcast::Receiver<Principal>,
) {
    loop {
        match revocations.recv().await {
            Ok(Principal::Device(device)) => endpoint.router().disconnect(&device),
            Ok(Principal::Product(revoked)) => endpoint.router().disconnect_each(|who| match who {
                Identity::Device { product, .. } => product.as_ref() == Some(&revoked),
                Identity::Application { .. } => false,
            }),
            Ok(Principal::Operator(revoked)) => endpoint.router().disconnect_each(|who| match who {
                Identity::Application { name } => name == revoked.as_str(),
                Identity::Device { .. } => false,
            }),
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(
                    missed,
                    "connections of revoked credentials may live on until they end themselves"
                );
            }
            Err(RecvError::Closed) => return,
        }
    }
}
