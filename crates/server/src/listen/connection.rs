//! One connection from its handshake to its end.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::activity::{Activity, WatchedBody, WatchedStream};
use super::sendfile::{FileQueue, SendfileStream};
use super::{BoxError, ClientCertificates, ListenLimits, Shutdown};

/// Bytes of an answer that may wait unsent, and of a request that are read at a time: two small buffers of the download
/// path, or part of a large one, so that a slow reader holds no more.
const HTTP_BUFFER_BYTES: usize = 32 << 10;
/// Bytes that TLS holds for a client that does not take them. Every slow reader costs so much, so it is small; a fast
/// one empties it with each system call.
const TLS_BUFFER_BYTES: usize = 64 << 10;

/// Serves one connection to its end.
pub(super) async fn run<S, B>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    service: S,
    limits: ListenLimits,
    shutdown: Shutdown,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let Some(acceptor) = tls else {
        return match FileQueue::for_connection() {
            Some(files) => {
                let stream = SendfileStream { tcp: stream, files: files.clone() };
                http(stream, Extras { files: Some(files), shown: None }, service, &limits, &shutdown).await;
            }
            None => http(stream, Extras::default(), service, &limits, &shutdown).await,
        };
    };
    let handshake = acceptor.accept_with(stream, |session| session.set_buffer_limit(Some(TLS_BUFFER_BYTES)));
    match timeout(limits.handshake_time, handshake).await {
        Ok(Ok(secured)) => {
            let shown = ClientCertificates::shown(secured.get_ref().1);
            http(secured, Extras { files: None, shown }, service, &limits, &shutdown).await;
        }
        // Scanners and clients with another CA do this all day; it is no event of the server.
        Ok(Err(error)) => tracing::debug!(error = &error as &dyn std::error::Error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// What handlers find of a connection among a request's extensions, beside who is at its other end.
#[derive(Default)]
struct Extras {
    files: Option<FileQueue>,
    shown: Option<ClientCertificates>,
}

async fn http<I, S, B>(stream: I, extras: Extras, service: S, limits: &ListenLimits, shutdown: &Shutdown)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let activity = Activity::begin();
    let io = TokioIo::new(WatchedStream { inner: stream, activity: Arc::clone(&activity) });
    let marks = Arc::clone(&activity);
    let watched = service_fn(move |mut request: Request<Incoming>| {
        marks.serving();
        // Only a GET can have a file for an answer; the frequent POST of a check-in is spared the insertion.
        if let (Some(files), &Method::GET) = (&extras.files, request.method()) {
            request.extensions_mut().insert(files.clone());
        }
        if let Some(shown) = &extras.shown {
            request.extensions_mut().insert(shown.clone());
        }
        let marks = Arc::clone(&marks);
        service.call(request).map(|outcome| {
            outcome.map(|response| response.map(|inner| WatchedBody { inner, activity: marks }))
        })
    });
    let connection = http1::Builder::new()
        .title_case_headers(true)
        .writev(true)
        .max_headers(limits.headers_max)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(HTTP_BUFFER_BYTES.max(limits.header_bytes_max))
        .header_read_timeout(None)
        .serve_connection(io, watched)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut asked = pin!(shutdown.asked());
    let mut timer = Timer { sleep: pin!(sleep_until(Instant::now().into())), armed: None };
    let mut draining = false;
    poll_fn(|cx| {
        // Before the connection's turn, so that an answer given during the drain says that it is the last.
        if !draining && asked.as_mut().poll(cx).is_ready() {
            draining = true;
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
            if let Err(error) = outcome {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection broke off");
            }
            return Poll::Ready(());
        }
        timer.poll(cx, || activity.deadline(limits))
    })
    .await;
}

/// The one timer of a connection.
struct Timer<'a> {
    sleep: Pin<&'a mut Sleep>,
    armed: Option<Instant>,
}

impl Timer<'_> {
    /// Ready when the deadline has passed. It is set again only when the deadline has moved forward in time, or when
    /// it has gone off too early because the deadline moved back.
    fn poll(&mut self, cx: &mut Context<'_>, deadline: impl Fn() -> Option<Instant>) -> Poll<()> {
        while let Some(due) = deadline() {
            if self.armed.is_none_or(|armed| due < armed) {
                self.sleep.as_mut().reset(due.into());
                self.armed = Some(due);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.armed = None;
        }
        Poll::Pending
    }
}
