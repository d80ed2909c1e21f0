//! The listeners: sockets, TLS and HTTP/1.1, with a limit on everything a stranger can hold on to. What is not HTTP gets the
//! stream of bytes ([`stream`]).
//!
//! Header names go out in title case, because one device family compares them so. Deliberately absent: HTTP/2, which
//! no device in the field speaks, and any knowledge of routes.

mod activity;
pub mod bind;
pub mod body;
mod connection;
pub mod sendfile;
pub mod shutdown;
pub mod stream;

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, Response};
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use bind::{BindError, bind};
pub use body::{ReadBodyError, read_body};
pub use sendfile::FileQueue;
pub use shutdown::{Shutdown, ShutdownTrigger};
pub use stream::ByteStream;

/// Pause after a failed `accept`, so that a full file table does not spin a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type BoxError = Box<dyn Error + Send + Sync>;

/// Who is at the other end of a connection. Handlers find it among the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Address and port the connection came from; an IPv4 address in IPv6 form is given as IPv4.
    pub address: SocketAddr,
    /// Whether the connection is over TLS.
    pub is_tls: bool,
}

/// Certificates that the client of a connection showed and proved to own, its own first. Handlers find them among the
/// request's extensions, if there are any. Whom they stand for, they ask elsewhere.
#[derive(Debug, Clone)]
pub struct ClientCertificates(Arc<[CertificateDer<'static>]>);

impl ClientCertificates {
    fn shown(session: &rustls::ServerConnection) -> Option<Self> {
        let chain = session.peer_certificates().filter(|chain| !chain.is_empty())?;
        Some(Self(chain.into()))
    }

    /// The chain, in DER.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0
    }
}

/// What one listener grants to its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenLimits {
    /// Most open connections; the next ones wait in the system's queue.
    pub connections_max: usize,
    /// Most bytes of request line and headers; more is 431.
    pub header_bytes_max: usize,
    /// Most header lines; more is 431.
    pub headers_max: usize,
    /// Time for the TLS handshake.
    pub handshake_time: Duration,
    /// Time from the first byte of a request (or the connection's begin) to the end of its headers.
    pub header_time: Duration,
    /// Time a connection may stay open between requests.
    pub idle_time: Duration,
    /// Time in which a client that has an answer waiting must take [`STALL_BYTES_MIN`].
    pub stall_time: Duration,
    /// Time that requests under way have to end after a shutdown begins.
    pub drain_time: Duration,
}

/// Bytes a reader must take per [`ListenLimits::stall_time`] to count as reading: some 70 bytes a second, below the
/// slowest radio link that carries TCP.
pub const STALL_BYTES_MIN: u64 = 4096;

impl Default for ListenLimits {
    fn default() -> Self {
        Self {
            // A million devices that come every quarter of an hour are some 1,100 a second; with 75 s of keep-alive
            // that is 83,000 at a time if every one of them lingers. Each costs some 20 KiB, with TLS twice that.
            connections_max: 100_000,
            // 256 ranges of the largest numbers take 10 KiB, and a link under 2 KiB.
            header_bytes_max: 16 << 10,
            headers_max: 64,
            // A TLS handshake over NB-IoT takes up to 20 s.
            handshake_time: Duration::from_secs(30),
            header_time: Duration::from_secs(15),
            // Above the 60 s that load balancers keep a connection, so that they close first.
            idle_time: Duration::from_secs(75),
            stall_time: Duration::from_secs(60),
            drain_time: Duration::from_secs(20),
        }
    }
}

/// How a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because their request had not ended in [`ListenLimits::drain_time`].
    pub cut: usize,
}

/// A bound socket, ready to serve.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    limits: ListenLimits,
}

impl Listener {
    /// Serves `tcp` (see [`bind()`]), over TLS if `tls` is given.
    #[must_use]
    pub fn new(tcp: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, limits: ListenLimits) -> Self {
        Self { tcp, tls: tls.map(TlsAcceptor::from), limits }
    }

    /// The address it listens on, with the port the system chose for port 0.
    ///
    /// # Errors
    /// The system does not know the socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves a router until the shutdown is asked for and all connections have ended. Handlers find the
    /// [`Peer`] as an extension.
    pub async fn serve_router(self, router: Router, shutdown: Shutdown) -> Drained {
        self.serve(move |peer| RouterService { router: router.clone(), peer }, shutdown).await
    }

    /// Serves with a service per connection, which `service_for` makes; nothing is boxed on the way.
    pub async fn serve<M, S, B>(self, service_for: M, shutdown: Shutdown) -> Drained
    where
        M: Fn(Peer) -> S,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let Self { tcp, tls, limits } = self;
        let slots = Arc::new(Semaphore::new(limits.connections_max));
        let mut open = JoinSet::new();
        while let Some((stream, address, slot)) = accept(&tcp, &slots, &mut open, &shutdown).await {
            let peer = Peer { address, is_tls: tls.is_some() };
            let service = service_for(peer);
            let (tls, shutdown) = (tls.clone(), shutdown.clone());
            open.spawn(async move {
                connection::run(stream, tls, service, limits, shutdown).await;
                drop(slot);
            });
        }
        drop(tcp);
        drain(open, limits.drain_time).await
    }
}

/// The next connection; nothing once the shutdown is asked for. Ended connections are put away meanwhile.
async fn accept(
    tcp: &TcpListener,
    slots: &Arc<Semaphore>,
    open: &mut JoinSet<()>,
    shutdown: &Shutdown,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    loop {
        let slot = tokio::select! {
            biased;
            () = shutdown.asked() => return None,
            slot = Arc::clone(slots).acquire_owned() => slot.ok()?,
        };
        let accepted = loop {
            tokio::select! {
                biased;
                () = shutdown.asked() => return None,
                Some(_ended) = open.join_next() => {}
                accepted = tcp.accept() => break accepted,
            }
        };
        match accepted {
            Ok((stream, address)) => {
                // Without it the last segment of an answer would wait for an acknowledgement (RFC 896).
                let _ = stream.set_nodelay(true);
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                return Some((stream, address, slot));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(error = &error as &dyn Error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn drain(mut open: JoinSet<()>, drain_time: Duration) -> Drained {
    let ended = tokio::time::timeout(drain_time, async { while open.join_next().await.is_some() {} }).await;
    let cut = if ended.is_ok() { 0 } else { open.len() };
    open.shutdown().await;
    Drained { cut }
}

struct RouterService {
    router: Router,
    peer: Peer,
}

impl Service<Request<Incoming>> for RouterService {
    type Response = Response<axum::body::Body>;
    type Error = Infallible;
    type Future = <Router as tower::Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        // A router is always ready; cloning it is one count.
        tower::Service::call(&mut self.router.clone(), request)
    }
}
