//! What a connection is doing and until when it may: one deadline, computed from a few marks.
//!
//! hyper's own header timer is armed for every request; these marks cost a few relaxed stores, and the one timer of a
//! connection is touched only when a deadline moves forward.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{ListenLimits, STALL_BYTES_MIN};

/// No mark is set.
const NEVER: u64 = u64::MAX;

const IDLE: u8 = 0;
const HEADER: u8 = 1;
const SERVING: u8 = 2;

/// The marks of one connection. Times are milliseconds since it began.
pub(super) struct Activity {
    begun: Instant,
    phase: AtomicU8,
    phase_since: AtomicU64,
    stalled_since: AtomicU64,
    stalled_taken: AtomicU64,
}

impl Activity {
    /// A connection owes its first request at once.
    pub(super) fn begin() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            phase: AtomicU8::new(HEADER),
            phase_since: AtomicU64::new(0),
            stalled_since: AtomicU64::new(NEVER),
            stalled_taken: AtomicU64::new(0),
        })
    }

    /// Until when the client must have moved, if it is the client's turn.
    pub(super) fn deadline(&self, limits: &ListenLimits) -> Option<Instant> {
        let stalled_since = self.stalled_since.load(Relaxed);
        let (since, time) = if stalled_since != NEVER {
            (stalled_since, limits.stall_time)
        } else {
            let since = self.phase_since.load(Relaxed);
            match self.phase.load(Relaxed) {
                IDLE => (since, limits.idle_time),
                HEADER => (since, limits.header_time),
                _ => return None,
            }
        };
        Some(self.begun + Duration::from_millis(since) + time)
    }

    pub(super) fn serving(&self) {
        self.phase.store(SERVING, Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    fn received(&self) {
        if self.phase.load(Relaxed) == IDLE {
            self.phase.store(HEADER, Relaxed);
            self.phase_since.store(self.now(), Relaxed);
        }
    }

    fn answered(&self) {
        self.phase.store(IDLE, Relaxed);
        self.phase_since.store(self.now(), Relaxed);
    }

    fn blocked(&self) {
        if self.stalled_since.load(Relaxed) == NEVER {
            self.stalled_since.store(self.now(), Relaxed);
            self.stalled_taken.store(0, Relaxed);
        }
    }

    fn wrote(&self, taken: usize, offered: usize) {
        if taken == offered {
            self.stalled_since.store(NEVER, Relaxed);
        } else if self.stalled_since.load(Relaxed) != NEVER {
            let sum = self.stalled_taken.load(Relaxed) + taken as u64;
            self.stalled_taken.store(sum, Relaxed);
            if sum >= STALL_BYTES_MIN {
                self.stalled_since.store(NEVER, Relaxed);
            }
        }
    }

    fn note_write(&self, outcome: &Poll<io::Result<usize>>, offered: usize) {
        match outcome {
            Poll::Ready(Ok(taken)) => self.wrote(*taken, offered),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.blocked(),
        }
    }
}

/// A stream that leaves marks.
pub(super) struct WatchedStream<I> {
    pub(super) inner: I,
    pub(super) activity: Arc<Activity>,
}

impl<I: AsyncRead + Unpin> AsyncRead for WatchedStream<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, into);
        if into.filled().len() > before {
            self.activity.received();
        }
        outcome
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for WatchedStream<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, data);
        self.activity.note_write(&outcome, data.len());
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, data);
        self.activity.note_write(&outcome, data.iter().map(|slice| slice.len()).sum());
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        self.note_flush(&outcome);
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.note_flush(&outcome);
        outcome
    }
}

impl<I> WatchedStream<I> {
    fn note_flush(&self, outcome: &Poll<io::Result<()>>) {
        match outcome {
            Poll::Ready(_) => self.activity.wrote(0, 0),
            Poll::Pending => self.activity.blocked(),
        }
    }
}

/// An answer's body that marks its end.
pub(super) struct WatchedBody<B> {
    pub(super) inner: B,
    pub(super) activity: Arc<Activity>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for WatchedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Drop for WatchedBody<B> {
    fn drop(&mut self) {
        self.activity.answered();
    }
}
