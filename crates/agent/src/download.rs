//! The download in work: one fetch at a time, with pauses between failures, to a bounded number of failures.

use crate::agent::{Input, Shared};
use crate::fetch::{FetchError, FetchPart, fetch};
use crate::pace;
use crate::session::{Effect, Session, SessionError};
use crate::storage::Storage;
use crate::updater::Event;
use std::thread;
use std::time::Instant;
use updraft_wire::Reason;

/// The download in work, if there is one.
#[derive(Debug)]
pub(crate) struct Download {
    /// Tells the parts of this fetch from those of one given up.
    number: u64,
    is_fetching: bool,
    retry_at: Option<Instant>,
    failures: u32,
    /// Bytes since the last failure.
    progress: u64,
    /// Whether the link was refused, so that only a fresh one helps.
    is_refused: bool,
}

impl Download {
    pub(crate) fn new() -> Self {
        Self { number: 0, is_fetching: false, retry_at: None, failures: 0, progress: 0, is_refused: false }
    }

    /// When the next fetch is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Gives up the fetch that runs: its parts count no more.
    pub(crate) fn stop(&mut self, shared: &mut Shared) {
        shared.transport.stop_fetch();
        self.number += 1;
        self.is_fetching = false;
        self.retry_at = None;
        self.failures = 0;
        self.progress = 0;
    }

    /// The server has answered a check-in: a refused link may have been replaced.
    pub(crate) fn refresh(&mut self) {
        if self.is_refused && self.retry_at.is_some() {
            self.retry_at = Some(Instant::now());
        }
        self.is_refused = false;
    }

    /// Begins to fetch what the session wants, unless a fetch runs.
    pub(crate) fn begin<S: Storage>(&mut self, shared: &mut Shared, session: &Session<S>) {
        self.retry_at = None;
        let Some(wanted) = session.wanted() else { return };
        if self.is_fetching {
            return;
        }
        self.number += 1;
        self.is_fetching = true;
        let number = self.number;
        if shared.transport.fetch(number, &wanted) {
            return;
        }
        let (client, inputs, plain) = (shared.client.clone(), shared.inputs.clone(), shared.is_plain);
        thread::spawn(move || {
            fetch(&client, &wanted, plain, |part| inputs.send(Input::Fetch(number, part)).is_ok());
        });
    }

    /// Takes a part of a fetch.
    pub(crate) fn handle<S: Storage>(
        &mut self,
        shared: &mut Shared,
        session: &mut Session<S>,
        number: u64,
        part: FetchPart,
    ) -> Result<Vec<Effect>, SessionError> {
        if number != self.number || !self.is_fetching {
            return Ok(Vec::new());
        }
        match part {
            FetchPart::Begun { offset, etag } => session.handle_fetch_begun(offset, etag),
            FetchPart::Bytes(bytes) => {
                self.progress += bytes.len() as u64;
                if self.progress >= pace::FETCH_PROGRESS_BYTES {
                    self.failures = 0;
                }
                let effects = session.handle_bytes(&bytes)?;
                if effects.contains(&Effect::Fetch) {
                    // The artifact is done: what the next one gets is a fetch of its own.
                    self.is_fetching = false;
                    self.number += 1;
                }
                Ok(effects)
            }
            FetchPart::Ended(Ok(())) => {
                self.is_fetching = false;
                session.handle_fetch_ended()
            }
            FetchPart::Ended(Err(error)) => {
                self.is_fetching = false;
                self.handle_failure(shared, session, error)
            }
        }
    }

    fn handle_failure<S: Storage>(
        &mut self,
        shared: &mut Shared,
        session: &mut Session<S>,
        error: FetchError,
    ) -> Result<Vec<Effect>, SessionError> {
        self.failures += 1;
        self.progress = 0;
        let mut effects = Vec::new();
        let detail = match error {
            FetchError::Fatal(reason, detail) => return session.handle(Event::Failed(reason, detail)),
            FetchError::Retry(detail) => detail,
            // Nobody will give another one.
            FetchError::LinkRefused(detail) if shared.config.carrier.brings_packages() => {
                return session.handle(Event::Failed(Reason::InvalidUri, detail));
            }
            FetchError::LinkRefused(detail) => {
                self.is_refused = true;
                effects.push(Effect::CheckIn);
                detail
            }
            FetchError::Anew(detail) => {
                effects.extend(session.handle_fetch_restart()?);
                detail
            }
        };
        if self.failures >= pace::FETCHES_FAILED_MAX {
            return session.handle(Event::Failed(Reason::ConnectionLost, detail));
        }
        let id = &shared.config.id;
        let pause = pace::pause(id, self.failures, pace::FETCH_PAUSE_MIN, pace::FETCH_PAUSE_MAX);
        self.retry_at = Some(Instant::now() + pause);
        shared.note(format!("the download broke off: {detail}; again in {pause:.1?}"));
        Ok(effects)
    }
}
