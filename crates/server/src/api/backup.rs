//! A backup, streamed while it is written: it takes the memory of a few pieces and no second copy on the disk.

use std::io::{self, Write};

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use tokio::sync::mpsc;

use super::Api;
use super::refusal::Refusal;
use crate::store::backup::{self, BackupError};

/// Bytes collected before they are sent: few enough to hold, enough that a send costs little beside the reading.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that may wait for the client: a slow one holds the writer, not memory.
const PIECES_MAX: usize = 4;

/// What the writer tells the answer. A failure after the first piece breaks the answer off, so that a client cannot
/// take half a backup for a whole one.
type Piece = Result<Bytes, BackupError>;

pub(super) async fn write(State(api): State<Api>) -> Result<Response, Refusal> {
    let (pieces, mut received) = mpsc::channel::<Piece>(PIECES_MAX);
    let (database, now) = (api.database.clone(), api.now());
    tokio::task::spawn_blocking(move || {
        let mut out = PieceWriter { pieces, piece: BytesMut::with_capacity(PIECE_BYTES) };
        match backup::write(&database, now, &mut out, &mut |_| {}) {
            Ok(summary) => {
                tracing::info!(files = summary.files, bytes = summary.bytes, "a backup was written");
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a backup failed");
                // The client may be the reason, and gone.
                let _ = out.pieces.blocking_send(Err(error));
            }
        }
    });
    // What fails before the first piece is still told as a refusal.
    let first = match received.recv().await {
        Some(Ok(piece)) => piece,
        Some(Err(error)) => return Err(refusal(&error)),
        None => Bytes::new(),
    };
    let rest = stream::unfold((Some(first), received), |(first, mut received)| async move {
        match first {
            Some(first) => Some((Ok(first), (None, received))),
            None => received.recv().await.map(|piece| (piece, (None, received))),
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-tar"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"updraft-backup.tar\""),
        // It holds keys.
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(rest)).into_response())
}

fn refusal(error: &BackupError) -> Refusal {
    let (status, code) = match error {
        BackupError::InProgress => (StatusCode::CONFLICT, "backup_in_progress"),
        BackupError::Snapshot(_) => (StatusCode::INSUFFICIENT_STORAGE, "no_space"),
        BackupError::InMemory
        | BackupError::Open(_)
        | BackupError::Artifacts(_)
        | BackupError::TooMany
        | BackupError::Read { .. }
        | BackupError::Damaged { .. }
        | BackupError::Write(_) => (StatusCode::SERVICE_UNAVAILABLE, "backup_failed"),
    };
    Refusal::new(status, code, error.to_string())
}

/// Hands what is written to the answer, piece by piece.
struct PieceWriter {
    pieces: mpsc::Sender<Piece>,
    piece: BytesMut,
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = self.piece.split().freeze();
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone");
        self.pieces.blocking_send(Ok(piece)).map_err(gone)
    }
}
