//! The embedded MQTT endpoint: a gateway for devices, not a general broker.
//!
//! Devices speak with the server and with nobody else, so a topic leads to one session, and there is no tree of
//! subscriptions, no retained message and no traffic between devices. Applications, which are few, hear what their filters
//! match. What a message means is the [`Handler`]'s business, and who may do what the [`Gate`]'s.
//!
//! * [`Router`] has the sessions and sends messages: the [`Bus`](super::door::Bus). It is made first, for the handler needs it.
//! * [`Endpoint`] has the connections: any stream of bytes, TCP, TLS or WebSocket, enters by [`Endpoint::serve_stream`].
//!   [`Endpoint::run`] must run beside it.
//!
//! The decoder is `mqtt-proto`'s, and the session rules are here: a connection costs one task and no buffers while it is
//! idle, and all answers to one read leave in one write.
//!
//! **Retained messages**: the flag is accepted and ignored. A subscriber hears what it must from the handler instead, which
//! knows the state itself; AWS IoT Core refuses to retain on `$` topics likewise. **QoS 2** is accepted from clients, exactly
//! once; the server sends at QoS 1 at most. **Shared subscriptions** are for applications only.

mod connect;
mod connection;
mod encode;
pub mod frame;
mod gate;
mod handle;
pub mod limits;
mod open_router;
mod registry;
mod route;
mod saved;
mod session;
mod subscription;
mod sweep;
mod will;
mod work;

pub use connection::Serving;
pub use gate::{ConnectFacts, Gate, Refusal};
pub use limits::Limits;
pub use registry::SessionKey;
pub use route::{Mode, Router};
pub use saved::{
    MemorySessions, SavedSession, SavedSubscription, SessionChange, SessionStore, SessionStoreError,
};
pub use subscription::matches;

use super::door::{Handler, Identity};
use connection::Connection;
use registry::Session;
use route::Origin;
use session::Presence;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use will::Will;

/// How long a farewell may take: the client may not be listening.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(1);
/// Most bytes that are still read, unheard, from a client that was told to go.
const FAREWELL_BYTES_MAX: u64 = 1024 * 1024;

/// The endpoint: takes connections, and speaks MQTT 3.1.1 and 5 on them.
#[derive(Debug)]
pub struct Endpoint<H, G> {
    router: Arc<Router<G>>,
    handler: Arc<H>,
    connections: AtomicUsize,
}

/// Counts a connection for as long as it lives.
#[derive(Debug)]
struct Counted<H, G>(Arc<Endpoint<H, G>>);

impl<H, G> Counted<H, G> {
    fn new(endpoint: &Arc<Endpoint<H, G>>) -> Self {
        endpoint.connections.fetch_add(1, Ordering::Relaxed);
        Self(endpoint.clone())
    }
}

impl<H, G> Drop for Counted<H, G> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<H: Handler, G: Gate> Endpoint<H, G> {
    /// An endpoint whose sessions are a router's.
    #[must_use]
    pub fn new(router: Arc<Router<G>>, handler: Arc<H>) -> Arc<Self> {
        Arc::new(Self { router, handler, connections: AtomicUsize::new(0) })
    }

    /// Its router.
    #[must_use]
    pub fn router(&self) -> &Arc<Router<G>> {
        &self.router
    }

    /// How many connections there are, those not yet let in among them.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// What must run beside the connections: time passing, and sessions being saved. Never ends; drop it at the very last.
    pub async fn run(self: Arc<Self>) {
        match self.router.store.clone() {
            Some(store) => {
                tokio::join!(self.sweep(), self.router.saver.run(store));
            }
            None => self.sweep().await,
        }
    }

    /// Serves one connection until it ends. `tls` is whom the client's certificate proved, if it showed one.
    ///
    /// The future is small for what it holds; a caller that wraps it in a larger one pays for that with every connection.
    #[must_use]
    pub fn serve_stream<S>(
        self: &Arc<Self>,
        stream: S,
        peer: SocketAddr,
        tls: Option<Identity>,
    ) -> Serving<S, H, G>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let counted = Counted::new(self);
        // Boxed: what a connection needs only at its beginning and its end, it does not carry along.
        Serving::admitting(Box::pin(self.clone().admit_in_time(stream, peer, tls, counted)))
    }

    async fn admit_in_time<S>(
        self: Arc<Self>,
        mut stream: S,
        peer: SocketAddr,
        tls: Option<Identity>,
        counted: Counted<H, G>,
    ) -> Option<Connection<S, H, G>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        if self.connections() > self.router.limits.connections {
            tracing::warn!(%peer, "an MQTT connection was refused: there are too many");
            return None;
        }
        let time_max = self.router.limits.connect_time;
        match timeout(time_max, self.admit(&mut stream, peer, tls)).await {
            Ok(Some(admitted)) => Some(Connection::new(counted, stream, admitted)),
            Ok(None) => {
                farewell(&mut stream).await;
                None
            }
            Err(_) => {
                tracing::debug!(%peer, "an MQTT client did not connect in time");
                None
            }
        }
    }

    fn may_publish(&self, who: &Identity, topic: &str) -> bool {
        self.router.open.is_some() || self.router.gate.may_publish(who, topic)
    }

    /// A connection ended: its session waits, or ends; its will is sent, or waits, or is forgotten.
    fn detach(self: &Arc<Self>, session: &Arc<Session>, with_will: bool) {
        let now = self.router.now();
        let mut state = session.lock();
        state.waker = None;
        state.stalled = None;
        state.kick = None;
        state.presence = Presence::Away(now);
        if !with_will {
            state.will = None;
        }
        let delay = state.will.as_ref().map(|will| u64::from(will.delay.min(state.expiry)) * 1000);
        let will = if delay == Some(0) { state.will.take() } else { None };
        state.will_due = delay.filter(|delay| *delay > 0).map(|delay| now + delay);
        let ended = state.expiry == 0 && self.router.end(session, &mut state);
        let identity = state.identity.clone();
        let waiting = state.waiting.take();
        drop(state);
        if ended {
            self.router.registry.remove(session);
        }
        if let Some(will) = will {
            self.send_will(identity, *will);
        }
        if let Some(gone) = waiting {
            // Who waited may have given up.
            let _ = gone.send(());
        }
    }

    /// Publishes a will as its client would have. Its topic was checked at CONNECT, and is checked again.
    fn send_will(self: &Arc<Self>, from: Identity, will: Will) {
        if !self.may_publish(&from, &will.topic) {
            return;
        }
        let origin = Origin { qos: will.qos, retain: will.retain, publisher: None };
        let reserved = will.is_reserved();
        let parcel = Arc::new(will.into_parcel(self.router.now()));
        if let Some(open) = &self.router.open {
            self.router.publish_open(open, &parcel, origin);
            return;
        }
        if reserved {
            self.router.deliver(&parcel, Origin::SERVER);
            return;
        }
        // There is none when a connection is dropped with its runtime.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let endpoint = self.clone();
        runtime.spawn(async move {
            let message = &parcel.message;
            match endpoint.handler.publish(&from, &message.topic, message.payload.clone()).await {
                Ok(effects) => {
                    for message in effects.published {
                        endpoint.router.deliver(&session::Parcel::plain(message), Origin::SERVER);
                    }
                }
                Err(refusal) => tracing::info!(client = ?from, ?refusal, "a will was not taken"),
            }
        });
    }
}

/// A session taken by a connection: given back however the connection ends, and be it by a panic.
#[derive(Debug)]
struct Attached<H: Handler, G: Gate> {
    endpoint: Arc<Endpoint<H, G>>,
    session: Arc<Session>,
    /// Whether the client's will is due: unless it said goodbye.
    with_will: bool,
}

impl<H: Handler, G: Gate> Drop for Attached<H, G> {
    fn drop(&mut self) {
        self.endpoint.detach(&self.session, self.with_will);
    }
}

/// Closes a stream, so that what was written arrives: a socket closed with bytes unread takes back the last word with them.
async fn farewell<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let goodbye = async {
        stream.shutdown().await?;
        let mut unread = stream.take(FAREWELL_BYTES_MAX);
        let mut buffer = [0; 512];
        while unread.read(&mut buffer).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    // Who is gone needs no farewell.
    let _ = timeout(FAREWELL_TIME_MAX, goodbye).await;
}
