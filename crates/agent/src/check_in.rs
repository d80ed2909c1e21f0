//! The check-in over HTTP: one request, one answer, both small and both bounded.

use crate::http::Server;
use crate::transport::{CheckInError, Transport};
use std::time::Duration;
use updraft_wire::check_in::ANSWER_BYTES_MAX;
use updraft_wire::{CheckIn, CheckInAnswer};
use ureq::http::header;

/// Path of the native check-in.
pub const PATH: &str = "/v1/check-in";
/// Longest time for one check-in, all told.
pub const TIME_MAX: Duration = Duration::from_secs(60);
/// Longest pause that a server's `Retry-After` is granted.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// Longest part of a refusal that is repeated in the log, in characters.
const REFUSAL_CHARS_MAX: usize = 200;

/// Says `words` to the server and reads its answer.
///
/// # Errors
/// [`CheckInError`] for everything but a well-formed answer with status 200.
pub fn check_in(
    client: &ureq::Agent,
    server: &Server,
    token: &str,
    words: &CheckIn,
) -> Result<CheckInAnswer, CheckInError> {
    let mut response = client
        .post(server.url(PATH))
        .config()
        .timeout_global(Some(TIME_MAX))
        .build()
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .send_json(words)
        .map_err(|error| CheckInError::Unreached(Box::new(error)))?;
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX as u64).read_to_vec();
    match status {
        200 => {
            let body = body.map_err(|error| CheckInError::NotUnderstood(error.to_string()))?;
            serde_json::from_slice(&body).map_err(|error| CheckInError::NotUnderstood(error.to_string()))
        }
        429 => Err(CheckInError::Unable { status, retry_after }),
        400..=499 => {
            let body = body.unwrap_or_default();
            let text = String::from_utf8_lossy(&body)
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .take(REFUSAL_CHARS_MAX)
                .collect();
            Err(CheckInError::Refused { status, text })
        }
        _ => Err(CheckInError::Unable { status, retry_after }),
    }
}

/// Checks in over HTTP: a request each time, and no word from the server in between.
pub(crate) struct Http {
    pub(crate) client: ureq::Agent,
    pub(crate) server: Server,
    pub(crate) token: String,
}

impl Transport for Http {
    fn check_in(&mut self, words: &CheckIn) -> Result<CheckInAnswer, CheckInError> {
        check_in(&self.client, &self.server, &self.token, words)
    }

    fn take_hint(&mut self) -> bool {
        false
    }
}
