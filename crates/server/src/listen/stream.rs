//! Streams of bytes that are not HTTP: accepted, secured, and handed on.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::{Drained, Listener, Peer, Shutdown, accept, drain};

/// Bytes that TLS holds for a client that does not take them: beyond, writing waits.
const TLS_BUFFER_BYTES: usize = 16 << 10;

/// A connection, with or without TLS.
pub enum ByteStream {
    /// Without.
    Plain(TcpStream),
    /// With.
    Tls(Box<TlsStream<TcpStream>>),
}

impl ByteStream {
    /// The certificates that the client showed and proved to own, its own first; none over TCP.
    #[must_use]
    pub fn client_certificates(&self) -> &[CertificateDer<'static>] {
        match self {
            Self::Plain(_) => &[],
            Self::Tls(stream) => stream.get_ref().1.peer_certificates().unwrap_or_default(),
        }
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Listener {
    /// Hands each connection on, TLS handshake done, until the shutdown is asked for and all have ended.
    pub async fn serve_streams<F, S>(self, serve: F, shutdown: Shutdown) -> Drained
    where
        F: Fn(ByteStream, Peer) -> S + Clone + Send + 'static,
        S: Future<Output = ()> + Send,
    {
        let Self { tcp, tls, limits } = self;
        let slots = Arc::new(Semaphore::new(limits.connections_max));
        let mut open = JoinSet::new();
        while let Some((stream, address, slot)) = accept(&tcp, &slots, &mut open, &shutdown).await {
            let peer = Peer { address, is_tls: tls.is_some() };
            let (tls, serve) = (tls.clone(), serve.clone());
            open.spawn(async move {
                let stream = match tls {
                    None => Some(ByteStream::Plain(stream)),
                    // Boxed: a connection that lasts for days does not carry its handshake along.
                    Some(acceptor) => Box::pin(async move {
                        let limit = |session: &mut rustls::ServerConnection| {
                            session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
                        };
                        match timeout(limits.handshake_time, acceptor.accept_with(stream, limit)).await {
                            Ok(Ok(stream)) => Some(ByteStream::Tls(Box::new(stream))),
                            Ok(Err(error)) => {
                                tracing::debug!(%address, error = &error as &dyn std::error::Error, "a TLS handshake failed");
                                None
                            }
                            Err(_) => {
                                tracing::debug!(%address, "a TLS handshake took too long");
                                None
                            }
                        }
                    })
                    .await,
                };
                if let Some(stream) = stream {
                    serve(stream, peer).await;
                }
                drop(slot);
            });
        }
        drop(tcp);
        drain(open, limits.drain_time).await
    }
}
