//! Reading a small request body whole, within a size and a time.

use std::error::Error;
use std::time::Duration;

use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadBodyError {
    /// It is longer than the limit.
    #[error("the body is larger than the limit of {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// It did not end in time.
    #[error("the body did not arrive within {} seconds", time_max.as_secs())]
    TooSlow {
        /// The time it had.
        time_max: Duration,
    },
    /// It broke off, or its framing is wrong.
    #[error("the body broke off or is not framed as its headers say")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
}

impl ReadBodyError {
    /// The HTTP status that says it.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The stable code of the error body.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "body_too_large",
            Self::TooSlow { .. } => "body_too_slow",
            Self::Broken(_) => "body_broken",
        }
    }
}

/// Reads a body of at most `bytes_max` bytes that ends within `time_max`. A body that arrives in one piece, as small
/// ones do, is not copied; one whose announced length is too large is refused before a byte of it is read.
///
/// # Errors
/// It is too large, too slow, or broken.
pub async fn read_body<B>(mut body: B, bytes_max: usize, time_max: Duration) -> Result<Bytes, ReadBodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let too_large = || ReadBodyError::TooLarge { bytes_max };
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large());
    }
    let deadline = Instant::now() + time_max;
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    loop {
        let frame =
            timeout_at(deadline, body.frame()).await.map_err(|_| ReadBodyError::TooSlow { time_max })?;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|error| ReadBodyError::Broken(error.into()))?.into_data() else {
            continue;
        };
        if whole.len() + joined.len() + data.len() > bytes_max {
            return Err(too_large());
        }
        if whole.is_empty() && joined.is_empty() {
            whole = data;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut whole));
            joined.extend_from_slice(&data);
        }
    }
    Ok(if joined.is_empty() { whole } else { joined.freeze() })
}
