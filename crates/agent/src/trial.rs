//! A trial's time: when the health is checked next, and when the patience ends.

use crate::config::{Config, Confirm};
use std::path::Path;
use std::time::{Duration, Instant};

/// A confirmation by `updraft-agent confirm`: a file with the version that is confirmed.
pub const CONFIRM_NAME: &str = "confirm.request";

/// A trial in this boot.
#[derive(Debug)]
pub struct Trial {
    ends_at: Instant,
    look_at: Instant,
    is_checking: bool,
    last_failure: Option<String>,
}

impl Trial {
    /// A trial of at most this length.
    #[must_use]
    pub fn new(now: Instant, time_max: Duration) -> Self {
        Self { ends_at: now + time_max, look_at: now, is_checking: false, last_failure: None }
    }

    /// When something is to be done.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.look_at.min(self.ends_at)
    }

    /// Whether the health is to be looked at.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.look_at <= now
    }

    /// Whether the patience has ended.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.ends_at <= now
    }

    /// Looks again then.
    pub fn look_again(&mut self, at: Instant) {
        self.look_at = at;
    }

    /// Begins a health check, unless one runs or a person is to decide. Says whether.
    pub fn begin(&mut self, config: &Config) -> bool {
        let begins = !self.is_checking && config.confirm == Confirm::Health;
        self.is_checking |= begins;
        begins
    }

    /// A health check failed; another follows.
    pub fn failed(&mut self, detail: String, next: Instant) {
        self.is_checking = false;
        self.last_failure = Some(detail);
        self.look_at = next;
    }

    /// Why the trial failed, in a sentence.
    #[must_use]
    pub fn verdict(&self, time_max: Duration) -> String {
        let reason = self.last_failure.as_deref().unwrap_or("nobody confirmed it");
        format!("not healthy within {time_max:.0?}: {reason}")
    }
}

/// Whether somebody has confirmed this version by file. The request is used up.
#[must_use]
pub fn confirm_requested(state: &Path, version: &str) -> bool {
    let path = state.join(CONFIRM_NAME);
    let Ok(requested) = std::fs::read_to_string(&path) else { return false };
    // A request that cannot be removed is for this version all the same, and harmless when it is confirmed.
    let _ = std::fs::remove_file(&path);
    requested.trim() == version
}
