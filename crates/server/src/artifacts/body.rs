//! The body of a download: bytes of an artifact, read as the client takes them.
//!
//! A local file is sent by the system where the connection can (see [`FileQueue`]), else read inline: from the page cache that is far cheaper than a hop to another thread, and the files
//! are large and read once in order, which is what read-ahead is good at. Other stores are streamed.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::chunk::{ChunkPool, ChunkSize, LARGE_CHUNK_BYTES};
use super::{Artifacts, Digest, ReadError};
use crate::listen::FileQueue;

/// How often a reader's pace is judged.
const PACE_WINDOW: Duration = Duration::from_millis(250);
/// Bytes a reader must take per [`PACE_WINDOW`] to be given large buffers: 4 MiB/s, which no device on a radio link
/// reaches and every fast one does.
const PACE_FAST_BYTES: u64 = 1 << 20;

/// Why a download broke off. The connection is then cut, so that the client sees it is short.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The file cannot be read, or is shorter than it was.
    #[error("reading the artifact's file failed")]
    File(#[source] io::Error),
    /// The object store cannot open it again.
    #[error("opening the artifact failed")]
    Open(#[source] ReadError),
    /// The object store broke off.
    #[error("reading the artifact from its store failed")]
    Store(#[source] object_store::Error),
    /// The object store ended early.
    #[error("the store sent fewer bytes than the artifact has")]
    Short,
}

/// A piece of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// These bytes, as they are.
    Text(Bytes),
    /// These bytes of the artifact: start inclusive, end exclusive.
    Content(Range<u64>),
}

impl Segment {
    /// Length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Content(range) => range.end - range.start,
        }
    }
}

type Opening = BoxFuture<'static, Result<object_store::GetResult, ReadError>>;
type Stream = BoxStream<'static, object_store::Result<Bytes>>;

enum StoreRead {
    Closed,
    Opening(Opening),
    Streaming(Stream),
}

enum Reading {
    Queued(Arc<File>, FileQueue),
    File(File),
    Store { artifacts: Artifacts, sha256: Digest, state: StoreRead },
}

/// Where the bytes come from.
pub(super) enum Source {
    /// An open local file, and the connection's way to send files, if it has one.
    File(File, Option<FileQueue>),
    /// An object store, range by range.
    Store(Artifacts, Digest),
}

/// Judges how fast the client takes the bytes. The first buffers are small: most answers are.
struct Pace {
    since: Option<Instant>,
    taken: u64,
    size: ChunkSize,
}

impl Pace {
    fn judge(&mut self, now: Instant) -> ChunkSize {
        let since = *self.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if self.taken >= LARGE_CHUNK_BYTES as u64 && elapsed < PACE_WINDOW {
            self.size = ChunkSize::Large;
        }
        if elapsed >= PACE_WINDOW {
            let windows = u64::try_from(elapsed.as_millis() / PACE_WINDOW.as_millis()).unwrap_or(u64::MAX);
            let fast = self.taken / windows >= PACE_FAST_BYTES;
            self.size = if fast { ChunkSize::Large } else { ChunkSize::Small };
            (self.since, self.taken) = (Some(now), 0);
        }
        self.size
    }
}

/// Body of an answer with bytes of an artifact.
pub struct DownloadBody {
    segments: std::vec::IntoIter<Segment>,
    current: Option<Range<u64>>,
    remaining: u64,
    reading: Reading,
    chunks: Arc<ChunkPool>,
    pace: Pace,
    _permit: OwnedSemaphorePermit,
}

impl DownloadBody {
    pub(super) fn new(
        segments: Vec<Segment>,
        source: Source,
        chunks: Arc<ChunkPool>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let remaining = segments.iter().map(Segment::length).sum();
        let reading = match source {
            Source::File(file, Some(files)) => Reading::Queued(Arc::new(file), files),
            Source::File(file, None) => Reading::File(file),
            Source::Store(artifacts, sha256) => {
                Reading::Store { artifacts, sha256, state: StoreRead::Closed }
            }
        };
        let pace = Pace { since: None, taken: 0, size: ChunkSize::Small };
        Self {
            segments: segments.into_iter(),
            current: None,
            remaining,
            reading,
            chunks,
            pace,
            _permit: permit,
        }
    }

    fn poll_content(&mut self, range: Range<u64>, cx: &mut Context<'_>) -> Poll<Result<Bytes, BodyError>> {
        let chunk = match &mut self.reading {
            Reading::Queued(file, files) => files.push(file, range.start, range.end - range.start),
            Reading::File(file) => {
                let size = self.pace.judge(Instant::now());
                self.chunks.read(file, range.start, range.end - range.start, size).map_err(BodyError::File)?
            }
            Reading::Store { artifacts, sha256, state } => {
                ready!(state.poll_next(artifacts, *sha256, &range, cx))?
            }
        };
        let start = range.start + chunk.len() as u64;
        if start < range.end {
            self.current = Some(start..range.end);
        } else {
            self.current = None;
            if let Reading::Store { state, .. } = &mut self.reading {
                *state = StoreRead::Closed;
            }
        }
        self.pace.taken += chunk.len() as u64;
        Poll::Ready(Ok(chunk))
    }
}

impl StoreRead {
    fn poll_next(
        &mut self,
        artifacts: &Artifacts,
        sha256: Digest,
        range: &Range<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, BodyError>> {
        loop {
            match self {
                Self::Closed => {
                    let (artifacts, range) = (artifacts.clone(), range.clone());
                    *self = Self::Opening(async move { artifacts.open_range(&sha256, range).await }.boxed());
                }
                Self::Opening(opening) => {
                    let opened = ready!(opening.poll_unpin(cx)).map_err(BodyError::Open)?;
                    *self = Self::Streaming(opened.into_stream());
                }
                Self::Streaming(stream) => {
                    let Some(chunk) = ready!(stream.poll_next_unpin(cx)) else {
                        return Poll::Ready(Err(BodyError::Short));
                    };
                    let mut chunk = chunk.map_err(BodyError::Store)?;
                    // A store that sends more than was asked for must not put the rest into the next part.
                    let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
                    chunk.truncate(wanted);
                    if !chunk.is_empty() {
                        return Poll::Ready(Ok(chunk));
                    }
                }
            }
        }
    }
}

impl Body for DownloadBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let frame = match this.current.clone() {
                Some(range) => ready!(this.poll_content(range, cx)),
                None => match this.segments.next() {
                    Some(Segment::Text(text)) => Ok(text),
                    Some(Segment::Content(range)) => {
                        this.current = Some(range);
                        continue;
                    }
                    None => return Poll::Ready(None),
                },
            };
            if let Ok(bytes) = &frame {
                this.remaining = this.remaining.saturating_sub(bytes.len() as u64);
            }
            return Poll::Ready(Some(frame.map(Frame::data)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}
