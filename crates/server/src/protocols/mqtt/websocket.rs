//! MQTT in a WebSocket on the devices' listener, for clients that reach nothing but HTTPS: browsers, and programs behind
//! proxies (MQTT 5, chapter 6).
//!
//! The bytes of MQTT packets travel in binary frames, cut anywhere; here they become a stream of bytes again.

use super::door::Handler;
use super::endpoint::{Endpoint, Gate};
use crate::listen::Peer;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json};
use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

/// Where the WebSocket is.
pub const WEBSOCKET_PATH: &str = "/mqtt";
/// The subprotocol's name (MQTT 5, 6.0).
const SUBPROTOCOL: &str = "mqtt";
/// Largest frame and message, in bytes: a client may put several packets into one, and the largest packet fits.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// What one read from the connection takes, in bytes: a buffer that each connection has.
const READ_BUFFER_BYTES: usize = 2 * 1024;

/// Where connections go, and the mark that one is open.
struct Door<H, G> {
    endpoint: Arc<Endpoint<H, G>>,
    open: mpsc::Sender<()>,
}

/// The route. Each connection holds a clone of `open` until it has ended.
pub fn router<H: Handler, G: Gate>(endpoint: Arc<Endpoint<H, G>>, open: mpsc::Sender<()>) -> Router {
    Router::new().route(WEBSOCKET_PATH, get(upgrade::<H, G>)).with_state(Arc::new(Door { endpoint, open }))
}

async fn upgrade<H: Handler, G: Gate>(
    State(door): State<Arc<Door<H, G>>>,
    Extension(peer): Extension<Peer>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let upgrade = upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER_BYTES)
        // What the endpoint writes is whole already: each write leaves at once.
        .write_buffer_size(0)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX);
    if upgrade.selected_protocol().is_none() {
        let message = "offer the subprotocol `mqtt` in Sec-WebSocket-Protocol";
        let body = serde_json::json!({ "code": "subprotocol_missing", "message": message });
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    }
    let (endpoint, open) = (Arc::clone(&door.endpoint), door.open.clone());
    upgrade.on_upgrade(move |socket| async move {
        endpoint.serve_stream(Frames::new(socket), peer.address, None).await;
        drop(open);
    })
}

/// A WebSocket as a stream of bytes.
struct Frames {
    socket: WebSocket,
    /// What came and was not read yet.
    received: Bytes,
    /// Whether something was written that the connection has not taken.
    is_unflushed: bool,
}

impl Frames {
    fn new(socket: WebSocket) -> Self {
        Self { socket, received: Bytes::new(), is_unflushed: false }
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.is_unflushed = flushed.is_pending();
        flushed.map_err(io::Error::other)
    }
}

impl AsyncRead for Frames {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Whoever reads is waiting, and is woken when the rest of a write can go.
        if self.is_unflushed
            && let Poll::Ready(Err(error)) = self.flush(cx)
        {
            return Poll::Ready(Err(error));
        }
        while self.received.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)).transpose().map_err(io::Error::other)? {
                Some(Message::Binary(bytes)) => self.received = bytes,
                Some(Message::Text(_)) => {
                    // [MQTT-6.0.0-1]: whoever gets anything but binary closes the connection.
                    let message = "MQTT came in a text frame";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, message)));
                }
                // The library answers pings itself.
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                Some(Message::Close(_)) | None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.received.len().min(into.remaining());
        into.put_slice(&self.received[..count]);
        self.received.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Frames {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // Ready only once the frame before has left: one waits at most.
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(io::Error::other)?;
        let frame = Message::Binary(Bytes::copy_from_slice(data));
        Pin::new(&mut self.socket).start_send(frame).map_err(io::Error::other)?;
        match self.flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(data.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(io::Error::other)
    }
}
