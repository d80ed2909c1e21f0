//! Sending file contents without a copy, on connections without TLS.
//!
//! hyper writes buffers and knows no files. So a body hands it a *placeholder*: a window of one large region of
//! memory that is never written nor read, and puts the piece of the file that belongs there into the connection's
//! [`FileQueue`]. When the window comes to the socket, [`SendfileStream`] sends the file's bytes in its place. Copying
//! the same bytes through memory costs twice the CPU per byte (see the `download` benchmark).
//!
//! A placeholder is only worth something on the connection it was made for. The stream knows it by its address, which
//! must be that of the first piece in the queue; anything else breaks the connection, so zeros never go out for
//! content.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Longest piece of a file in one placeholder, in bytes. The system call takes it in one go when the socket has room.
pub const PIECE_BYTES_MAX: usize = 1 << 20;
/// Size of the region that placeholders are cut from, in bytes. Address space only: its pages are never touched. It
/// holds several pieces so that neighbours in a queue have different addresses.
const REGION_BYTES: usize = 16 * PIECE_BYTES_MAX;

static REGION: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![0; REGION_BYTES]));

/// Where the region begins and how long it is.
fn region() -> std::ops::Range<usize> {
    let begin = REGION.as_ptr() as usize;
    begin..begin + REGION_BYTES
}

/// A piece of a file whose placeholder is on its way to the socket.
struct Piece {
    file: Arc<File>,
    offset: u64,
    /// Address of the rest of the placeholder.
    address: usize,
    length: usize,
}

#[derive(Default)]
struct Pieces {
    queue: VecDeque<Piece>,
    next_window: usize,
}

/// The pieces of files that one connection is about to send. Handlers of `GET` find it among the request's extensions
/// where the system can send files so.
#[derive(Clone, Default)]
pub struct FileQueue(Arc<Mutex<Pieces>>);

impl FileQueue {
    /// A queue for a connection, if this system can send files.
    pub(super) fn for_connection() -> Option<Self> {
        cfg!(target_os = "linux").then(Self::default)
    }

    /// Queues a piece of a file, at most [`PIECE_BYTES_MAX`] long, and gives its placeholder. The caller must make it
    /// the next data of the answer's body.
    #[must_use]
    pub fn push(&self, file: &Arc<File>, offset: u64, length: u64) -> Bytes {
        let length = usize::try_from(length).unwrap_or(PIECE_BYTES_MAX).min(PIECE_BYTES_MAX);
        let mut pieces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = pieces.next_window;
        pieces.next_window = (begin + PIECE_BYTES_MAX) % REGION_BYTES;
        let placeholder = REGION.slice(begin..begin + length);
        let address = placeholder.as_ptr() as usize;
        pieces.queue.push_back(Piece { file: Arc::clone(file), offset, address, length });
        placeholder
    }

    /// Sends as much of the first piece as the socket takes. `window` is what the HTTP library wants to send.
    fn send(&self, tcp: &TcpStream, window: &[u8]) -> io::Result<usize> {
        let mut pieces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let piece = pieces.queue.front_mut().ok_or_else(misplaced)?;
        if (piece.address, piece.length) != (window.as_ptr() as usize, window.len()) {
            return Err(misplaced());
        }
        let sent = send_file(tcp, &piece.file, &mut piece.offset, piece.length)?;
        if sent == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it was"));
        }
        piece.address += sent;
        piece.length -= sent;
        if piece.length == 0 {
            pieces.queue.pop_front();
        }
        Ok(sent)
    }
}

fn misplaced() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a file's placeholder came out of turn")
}

#[cfg(target_os = "linux")]
fn send_file(tcp: &TcpStream, file: &File, offset: &mut u64, length: usize) -> io::Result<usize> {
    Ok(rustix::fs::sendfile(tcp, file, Some(offset), length)?)
}

#[cfg(not(target_os = "linux"))]
fn send_file(_: &TcpStream, _: &File, _: &mut u64, _: usize) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A socket that sends files in the place of placeholders.
pub(super) struct SendfileStream {
    pub(super) tcp: TcpStream,
    pub(super) files: FileQueue,
}

impl SendfileStream {
    fn poll_send(&self, cx: &mut Context<'_>, window: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_write_ready(cx))?;
            match self.tcp.try_io(Interest::WRITABLE, || self.files.send(&self.tcp, window)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

fn is_placeholder(data: &[u8]) -> bool {
    !data.is_empty() && region().contains(&(data.as_ptr() as usize))
}

impl AsyncRead for SendfileStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, into)
    }
}

impl AsyncWrite for SendfileStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if is_placeholder(data) {
            self.poll_send(cx, data)
        } else {
            Pin::new(&mut self.tcp).poll_write(cx, data)
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match data.iter().position(|slice| is_placeholder(slice)) {
            None => Pin::new(&mut self.tcp).poll_write_vectored(cx, data),
            Some(at) if data[..at].iter().all(|slice| slice.is_empty()) => self.poll_send(cx, &data[at]),
            Some(at) => Pin::new(&mut self.tcp).poll_write_vectored(cx, &data[..at]),
        }
    }

    /// Always: without vectored writes, hyper would copy placeholders into one buffer.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
