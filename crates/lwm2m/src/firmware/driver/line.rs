//! The way to the device: what is asked of it, and what its silence means.

use super::super::campaign::Stage;
use super::{Ask, Driver, Failure, Operation, Reply};
use crate::moment::Moment;

/// An ask without an answer is given up after so long, should the caller forget it: longer than any exchange lives
/// (EXCHANGE_LIFETIME, 247 s, RFC 7252 §4.8.2).
const ASK_MS_MAX: u64 = 300_000;

/// The wait after the first ask without an answer; it doubles up to [`SILENT_WAIT_MS_MAX`]. The message layer has waited
/// 93 s already, so this only spares the air.
const SILENT_WAIT_MS: u64 = 15_000;
/// A device that is back and says nothing is found within a quarter of an hour.
const SILENT_WAIT_MS_MAX: u64 = 900_000;

/// A download survives so many long silences in which nothing of it moved: a device that comes and goes for ever, and gets
/// nowhere, is not waited for.
const RETURNS_MAX: u8 = 8;

/// The way to the device: one ask at a time (NSTART, RFC 7252 §4.7), and how it answered lately.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) id: u32,
    pub(super) ready: Option<Ask>,
    pub(super) open: Option<Ask>,
    pub(super) asked_at: Moment,
    pub(super) unanswered: u32,
    pub(super) not_before: Moment,
    pub(super) asleep: bool,
    /// Long silences since the image was last offered.
    pub(super) returns: u8,
    pub(super) silent_since: Option<Moment>,
}

impl Driver {
    pub(super) fn ask(&mut self, now: Moment, operation: Operation) {
        self.line.id += 1;
        self.line.asked_at = now;
        self.wake = Some(self.ask_deadline(&operation));
        self.line.ready = Some(Ask { id: self.line.id, operation });
    }

    pub(super) fn open_operation(&self) -> Option<&Operation> {
        self.line.open.as_ref().or(self.line.ready.as_ref()).map(|ask| &ask.operation)
    }

    /// When an ask is given up: a push while it moves, never; anything else, when no answer can come any more.
    pub(super) fn ask_deadline(&self, operation: &Operation) -> Moment {
        let push = matches!(operation, Operation::Push { .. });
        let moved = self.line.asked_at.max(self.progress_at);
        if push { moved.plus(self.campaign.limits.stall) } else { Moment(self.line.asked_at.0 + ASK_MS_MAX) }
    }

    /// The open ask will not be answered. What it was to do is neither done nor undone, until the device is read.
    pub(super) fn give_up_ask(&mut self) {
        self.line.ready = None;
        self.line.open = None;
        for reply in [&mut self.placing, &mut self.executing] {
            if *reply == Some(Reply::Sent) && self.queued.is_none() {
                *reply = Some(Reply::NoAnswer);
            }
        }
    }

    pub(super) fn unanswered(&mut self, now: Moment) {
        self.line.silent_since.get_or_insert(now);
        self.reading.stale = true;
        let wait = SILENT_WAIT_MS.saturating_mul(1 << self.line.unanswered.min(16)).min(SILENT_WAIT_MS_MAX);
        self.line.unanswered += 1;
        self.line.not_before = Moment(now.0 + wait);
    }

    /// The device is there. After a silence that outlasted a stall, a download gets its whole patience again: it may go on
    /// where it was.
    pub(super) fn heard(&mut self, now: Moment) {
        let silent = self.line.silent_since.take().map(|since| now.since(since));
        let long = silent.is_some_and(|silent| silent >= self.campaign.limits.stall);
        if long && self.line.returns < RETURNS_MAX && !self.installing() {
            self.line.returns += 1;
            self.progress_at = now;
        }
        self.line.unanswered = 0;
        self.line.not_before = now;
    }

    /// Whether the device was told to install, and has not said that it puts that off.
    pub(super) fn installing(&self) -> bool {
        let told =
            self.marker.placement.as_ref().is_some_and(|placement| placement.stage >= Stage::Executing);
        told && self.executing != Some(Reply::Asleep) && !self.deferred()
    }

    pub(super) fn silence_deadline(&self) -> Option<(Moment, Failure)> {
        let since = self.line.silent_since?;
        let limits = &self.campaign.limits;
        if self.installing() {
            Some((self.progress_at.plus(limits.reboot), Failure::NoReturn))
        } else {
            Some((since.plus(limits.silence), Failure::Silent))
        }
    }

    pub(super) fn wake_by(&mut self, moment: Moment) {
        self.wake = Some(self.wake.map_or(moment, |wake| wake.min(moment)));
    }
}
