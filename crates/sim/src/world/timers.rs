//! A device's alarms: one per kind, in world time.

use std::collections::BTreeMap;

/// What an alarm is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    /// Power comes back, or a restart is done.
    PowerOn,
    /// Time to check in.
    CheckIn,
    /// No answer to the check-in came.
    CheckInTimeout,
    /// Time to ask for bytes.
    Fetch,
    /// The next piece of a download arrives.
    Receive,
    /// No bytes came.
    FetchTimeout,
    /// Nothing speaks against applying the update any more.
    Apply,
    /// The health check of what runs on trial is done.
    Probe,
}

/// A device's alarms.
#[derive(Debug)]
pub(super) struct Timers<A = Alarm>(BTreeMap<A, u64>);

impl<A> Default for Timers<A> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<A: Copy + Ord> Timers<A> {
    /// Sets an alarm, in place of the one of its kind.
    pub(super) fn set(&mut self, alarm: A, at: u64) {
        self.0.insert(alarm, at);
    }

    /// Sets an alarm unless one of its kind comes earlier.
    pub(super) fn set_earlier(&mut self, alarm: A, at: u64) {
        let due = self.0.entry(alarm).or_insert(at);
        *due = (*due).min(at);
    }

    pub(super) fn clear(&mut self, alarm: A) {
        self.0.remove(&alarm);
    }

    pub(super) fn clear_all(&mut self) {
        self.0.clear();
    }

    /// When the next alarm goes off.
    pub(super) fn next(&self) -> Option<u64> {
        self.0.values().min().copied()
    }

    /// Takes an alarm that is due.
    pub(super) fn take_due(&mut self, now: u64) -> Option<A> {
        let alarm = self.0.iter().find(|(_, at)| **at <= now).map(|(alarm, _)| *alarm)?;
        self.0.remove(&alarm);
        Some(alarm)
    }
}
