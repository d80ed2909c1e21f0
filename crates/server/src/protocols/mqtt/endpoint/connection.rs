//! A connection: bytes in, bytes out, and the work in between. One task, no buffers while it is idle.
//!
//! Answers leave in the order in which what they answer arrived, all that one read led to in one write. What rests on the
//! handler waits for it; up to a limit, several publishes are worked on at a time.

use super::connect::Admitted;
use super::encode;
use super::frame::{Refused, Version, decode, measure};
use super::gate::Gate;
use super::limits::{OUT_BYTES_HIGH, READ_BYTES};
use super::work::Job;
use super::{Attached, Counted, farewell};
use crate::protocols::mqtt::door::{Handler, Identity, Occasion};
use mqtt_proto::TopicName;
use mqtt_proto::v5::DisconnectReasonCode as Code;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

thread_local! {
    /// What a read fills. Nothing stays in it: what is not a whole packet is kept by its connection.
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client said goodbye.
    Left,
    /// The client said goodbye, and wants its will published.
    LeftWithWill,
    /// The stream ended or failed.
    Lost,
    /// The client is told to go.
    Sent(Code),
}

impl Ending {
    /// Whether the client's will is due. When the server stops, clients go by no fault of theirs, and come back (3.1.2.5).
    fn with_will(self) -> bool {
        match self {
            Self::Left | Self::Sent(Code::ServerShuttingDown) => false,
            Self::LeftWithWill | Self::Lost | Self::Sent(_) => true,
        }
    }
}

/// One connection, from its CONNACK to its end.
#[derive(Debug)]
pub(super) struct Connection<S, H: Handler, G: Gate> {
    pub(super) stream: S,
    pub(super) attached: Attached<H, G>,
    counted: Counted<H, G>,
    pub(super) identity: Identity,
    pub(super) version: Version,
    pub(super) ending: Option<Ending>,
    /// Whether whole packets may wait in `input`, because there was no room to work on them.
    held_back: bool,
    stalled: bool,
    /// What has arrived of a packet, or waits for room.
    input: Vec<u8>,
    pub(super) out: Vec<u8>,
    written: usize,
    pub(super) work: VecDeque<Job>,
    /// Topics by the aliases the client gave them.
    pub(super) aliases: Vec<Option<TopicName>>,
}

impl<S, H, G> Connection<S, H, G>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
    G: Gate,
{
    pub(super) fn new(counted: Counted<H, G>, stream: S, admitted: Admitted<H, G>) -> Self {
        let Admitted { mut attached, identity, version, present, out, input } = admitted;
        let held_back = !input.is_empty();
        // From here on, who goes without a word has said its will.
        attached.with_will = true;
        let mut connection = Self {
            stream,
            attached,
            counted,
            identity,
            version,
            ending: None,
            held_back,
            stalled: false,
            input,
            out,
            written: 0,
            work: VecDeque::new(),
            aliases: Vec::new(),
        };
        if present {
            let filters = {
                let state = connection.attached.session.lock();
                state.subscriptions.iter().map(|subscription| subscription.filter.clone()).collect()
            };
            connection.catch_up(filters, Occasion::Resumed);
        }
        connection
    }

    /// Settles what has become ready, in order; whether anything has.
    fn advance(&mut self, cx: &mut Context<'_>) -> bool {
        for job in &mut self.work {
            job.poll(cx);
        }
        let mut progress = false;
        while let Some(outcome) = self.work.front_mut().and_then(Job::take) {
            self.work.pop_front();
            self.settle(outcome);
            progress = true;
        }
        if self.work.is_empty() && self.work.capacity() > 0 {
            self.work = VecDeque::new();
        }
        progress
    }

    /// Takes from the session what is to be sent, and learns whether the connection must end.
    fn pull(&mut self, cx: &mut Context<'_>, now: u64) {
        let mut state = self.attached.session.lock();
        if let Some(code) = state.kick {
            self.ending.get_or_insert(Ending::Sent(code));
        }
        if self.ending.is_none() {
            state.write_queue(now, &self.attached.endpoint.router.limits, &mut self.out);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// Whether there is room to work on what the client says.
    pub(super) fn has_room(&self) -> bool {
        self.ending.is_none()
            && self.work.len() < self.attached.endpoint.router.limits.publishes_concurrent
            && self.out.len() - self.written < OUT_BYTES_HIGH
    }

    /// Handles the whole packets at the front of `bytes`, as far as there is room; how many bytes they were.
    fn parse(&mut self, bytes: &[u8]) -> usize {
        let bytes_max = self.attached.endpoint.router.limits.packet_bytes;
        let mut used = 0;
        loop {
            if !self.has_room() {
                self.held_back = used < bytes.len();
                return used;
            }
            let rest = &bytes[used..];
            let packet = match measure(rest, bytes_max) {
                Ok(Some((header, total))) if rest.len() >= total => {
                    used += total;
                    decode(self.version, &rest[..total], header)
                }
                Ok(_) => {
                    self.held_back = false;
                    return used;
                }
                Err(refused) => Err(refused),
            };
            match packet {
                Ok(packet) => self.handle(packet),
                Err(Refused(code)) => self.end(Ending::Sent(code)),
            }
        }
    }

    /// Works on what waited in `input`; whether anything of it could be.
    fn parse_held_back(&mut self) -> bool {
        let input = std::mem::take(&mut self.input);
        let used = self.parse(&input);
        if used < input.len() {
            self.input = input;
            self.input.drain(..used);
        }
        used > 0
    }

    /// Reads once; whether anything came.
    fn fill(&mut self, cx: &mut Context<'_>, now: u64) -> bool {
        READ.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {}
                Poll::Ready(_) => {
                    self.end(Ending::Lost);
                    return true;
                }
            }
            self.attached.session.heard.store(now, Ordering::Relaxed);
            if self.input.is_empty() {
                let used = self.parse(read.filled());
                self.input = read.filled()[used..].to_vec();
            } else {
                self.input.extend_from_slice(read.filled());
                self.parse_held_back();
            }
            true
        })
    }

    /// Writes what there is; whether all of it went, and there was any.
    fn flush(&mut self, cx: &mut Context<'_>, now: u64) -> Poll<bool> {
        if self.out.is_empty() {
            return Poll::Ready(false);
        }
        let done = self.write_out(cx);
        let stalled = done.is_pending();
        if stalled != self.stalled {
            self.stalled = stalled;
            self.attached.session.lock().stalled = stalled.then_some(now);
        }
        match done {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => {
                (self.out, self.written) = (Vec::new(), 0);
                Poll::Ready(true)
            }
            Poll::Ready(Err(_)) => {
                (self.out, self.written) = (Vec::new(), 0);
                self.end(Ending::Lost);
                Poll::Ready(true)
            }
        }
    }

    fn write_out(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while self.written < self.out.len() {
            let wrote = Pin::new(&mut self.stream).poll_write(cx, &self.out[self.written..]);
            match std::task::ready!(wrote)? {
                0 => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                bytes => self.written += bytes,
            }
            // It took some: it is not stalled for as long as it does.
            self.stalled = false;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Ends the connection for this reason; an earlier one stands.
    pub(super) fn end(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
    }

    /// Says the last word, if the client takes it at once.
    fn last_word(&mut self, cx: &mut Context<'_>) {
        if let Some(Ending::Sent(code)) = self.ending {
            encode::disconnect(&mut self.out, self.version, code);
        }
        let _ = self.write_out(cx);
    }

    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let now = self.attached.endpoint.router.now();
        loop {
            let mut progress = self.advance(cx);
            self.pull(cx, now);
            if self.has_room() && self.held_back {
                progress |= self.parse_held_back();
            }
            if self.has_room() && !self.held_back {
                progress |= self.fill(cx, now);
            }
            if progress && self.out.len() - self.written < OUT_BYTES_HIGH {
                continue;
            }
            let wrote = self.flush(cx, now) == Poll::Ready(true);
            if let Some(ending) = self.ending.filter(|_| self.work.is_empty()) {
                self.last_word(cx);
                return Poll::Ready(ending);
            }
            if !progress && !wrote {
                return Poll::Pending;
            }
        }
    }
}

/// How a connection is served: let in, connected, closed. A future of the size of the connection alone.
pub struct Serving<S, H: Handler, G: Gate>(Phase<S, H, G>);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum Phase<S, H: Handler, G: Gate> {
    Admitting(Boxed<Option<Connection<S, H, G>>>),
    Connected(Connection<S, H, G>),
    Leaving(Boxed<()>),
}

impl<S, H: Handler, G: Gate> std::fmt::Debug for Serving<S, H, G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}

impl<S, H: Handler, G: Gate> Serving<S, H, G> {
    pub(super) fn admitting(admitting: Boxed<Option<Connection<S, H, G>>>) -> Self {
        Self(Phase::Admitting(admitting))
    }
}

impl<S, H, G> Future for Serving<S, H, G>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
    G: Gate,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let phase = &mut self.get_mut().0;
        loop {
            match phase {
                Phase::Admitting(admitting) => match std::task::ready!(admitting.as_mut().poll(cx)) {
                    Some(connection) => *phase = Phase::Connected(connection),
                    None => return Poll::Ready(()),
                },
                Phase::Connected(connection) => {
                    let ending = std::task::ready!(connection.poll_ending(cx));
                    tracing::debug!(client = ?connection.identity, ?ending, "an MQTT connection ended");
                    connection.attached.with_will = ending.with_will();
                    let leaving = Phase::Leaving(Box::pin(std::future::ready(())));
                    let Phase::Connected(connection) = std::mem::replace(phase, leaving) else { continue };
                    let Connection { mut stream, attached, counted, .. } = connection;
                    // The session is free at once, whatever closing the stream takes.
                    drop(attached);
                    *phase = Phase::Leaving(Box::pin(async move {
                        farewell(&mut stream).await;
                        drop(counted);
                    }));
                }
                Phase::Leaving(leaving) => return leaving.as_mut().poll(cx),
            }
        }
    }
}

// Nothing in it is pinned in place: the connection is plain data, and futures within are boxed.
impl<S: Unpin, H: Handler, G: Gate> Unpin for Serving<S, H, G> {}
