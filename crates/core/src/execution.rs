//! One device's part in one rollout: what moves it, and what ends it.

use crate::id::{DeviceId, ProductName, RolloutId};
use crate::report::{DETAIL_BYTES_MAX, Description, Progress, Word};
use crate::rollout::Deadlines;
use crate::state::{ExecutionState, FailureReason, Step};
use crate::time::Timestamp;
use crate::version::Version;

/// How often the same offer is made to a device that says nothing of it and whose version stays the same. Each offer
/// may cost a whole download, often on a metered link.
pub const OFFERS_MAX: u32 = 3;

/// How often one attempt may begin its download anew. A device that goes on beyond this is in a loop that costs its
/// owner money; continuing a download where it broke off does not count.
pub const DOWNLOADS_MAX: u32 = 10;

/// One device's part in one rollout: its latest attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// The rollout.
    pub rollout: RolloutId,
    /// The device.
    pub device: DeviceId,
    /// The product, for which the rollout is.
    pub product: ProductName,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Where it stands.
    pub state: ExecutionState,
    /// The version the device ran when the attempt began, as written.
    pub from_version: String,
    /// The device's start counter when it last spoke of this attempt, or when the attempt began; 0: not told.
    pub boot: u64,
    /// How often the offer was made.
    pub offers: u32,
    /// How often the device began the download from its first byte.
    pub downloads: u32,
    /// Percent of the current step, as last told.
    pub percent: Option<u8>,
    /// The last explanation, of the device or of the server.
    pub detail: String,
    /// When the attempt began.
    pub opened: Timestamp,
    /// When the state last changed.
    pub changed: Timestamp,
    /// When silence will end it; meaningless once closed.
    pub deadline: Timestamp,
    /// Whether the device was heard with its old version, and no word of the attempt, since the state last changed.
    pub unchanged_seen: bool,
    /// Whether a word of the device came after the end and said otherwise.
    pub late: bool,
}

/// One line of an execution's history: append-only, written together with the state it explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The rollout.
    pub rollout: RolloutId,
    /// The device.
    pub device: DeviceId,
    /// The attempt.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// From where; `None` when the attempt began.
    pub from: Option<ExecutionState>,
    /// To where; the same as `from` for a late word.
    pub to: ExecutionState,
    /// Why, in a sentence.
    pub note: String,
}

/// What a report does to an execution.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing worth writing.
    None,
    /// Particulars changed (a percentage, a deadline): write the row, no history.
    Row,
    /// The state changed, or a late word came: write row and history with this note.
    Transition(String),
}

impl Execution {
    /// How long silence may last in the current state.
    fn patience(&self, deadlines: &Deadlines) -> std::time::Duration {
        match self.state.step() {
            None => deadlines.queued,
            Some(Step::Downloading) => deadlines.downloading,
            Some(Step::Downloaded | Step::Installing) => deadlines.installing,
            Some(Step::Rebooting) => deadlines.rebooting,
        }
    }

    fn enter(&mut self, now: Timestamp, state: ExecutionState, deadlines: &Deadlines) {
        self.state = state;
        self.changed = now;
        self.unchanged_seen = false;
        self.percent = None;
        self.deadline = now.plus(self.patience(deadlines));
    }

    /// Ends the execution. The caller has made sure that it is open.
    pub(crate) fn close(&mut self, now: Timestamp, state: ExecutionState, detail: &str) -> Effect {
        debug_assert!(self.state.is_open() && !state.is_open());
        self.state = state;
        self.changed = now;
        detail.clone_into(&mut self.detail);
        Effect::Transition(detail.to_owned())
    }

    /// Takes in what the device says.
    ///
    /// One rule of success: the device reports that it runs the target version, and does not say that it is on trial or
    /// that the attempt failed. "Back on the old version" is judged only in words of a later boot than the one that
    /// spoke of the restart: late words from before the restart would book good updates as rolled back.
    pub(crate) fn hear(
        &mut self,
        now: Timestamp,
        description: Option<&Description>,
        progress: Option<&Progress>,
        target: &Version,
        deadlines: &Deadlines,
    ) -> Effect {
        let progress = progress.filter(|progress| self.is_about(progress));
        if !self.state.is_open() {
            return self.hear_late(progress);
        }
        // A device that runs the target version and says of this very attempt that it is on trial, or failed, has not
        // confirmed it: where nothing else can start, an unconfirmed version runs on.
        let is_unconfirmed =
            progress.is_some_and(|progress| matches!(progress.word, Word::Trial | Word::Failed(_)));
        let runs_target = description.is_some_and(|description| {
            Version::parse(&description.version).is_ok_and(|version| version == *target)
        });
        if runs_target && !is_unconfirmed {
            return self.close(now, ExecutionState::Succeeded, "the device reports the target version");
        }
        let boot = description.and_then(|description| description.boot);
        let effect = match progress {
            Some(progress) => self.hear_progress(now, progress, deadlines),
            None if description.is_some() => self.hear_unchanged(now, boot),
            None => Effect::None,
        };
        if progress.is_some()
            && let Some(boot) = boot
        {
            self.boot = self.boot.max(boot);
        }
        effect
    }

    fn is_about(&self, progress: &Progress) -> bool {
        progress.rollout == self.rollout && progress.attempt == self.attempt
    }

    /// Closed is closed: a late word is noted once and changes nothing.
    fn hear_late(&mut self, progress: Option<&Progress>) -> Effect {
        match progress {
            Some(progress)
                if !self.late && progress.word != Word::Fetching && !self.agrees(progress.word) =>
            {
                self.late = true;
                Effect::Transition(format!("late word, state unchanged: {}", progress.word.as_str()))
            }
            Some(_) | None => Effect::None,
        }
    }

    /// Whether a word only repeats how this execution ended.
    fn agrees(&self, word: Word) -> bool {
        match word {
            Word::Succeeded => self.state == ExecutionState::Succeeded,
            Word::Failed(reason) => self.state == ExecutionState::Failed(reason),
            Word::Rejected => self.state == ExecutionState::Rejected,
            Word::Fetching
            | Word::Downloading
            | Word::Downloaded
            | Word::Installing
            | Word::Rebooting
            | Word::Trial => false,
        }
    }

    fn hear_progress(&mut self, now: Timestamp, progress: &Progress, deadlines: &Deadlines) -> Effect {
        let detail = truncated(&progress.detail);
        let step = match progress.word {
            Word::Failed(reason) => {
                return self.close(
                    now,
                    ExecutionState::Failed(reason),
                    or(detail, "the device says it failed"),
                );
            }
            Word::Rejected => {
                return self.close(now, ExecutionState::Rejected, or(detail, "the device declines"));
            }
            Word::Fetching => return self.hear_fetching(now, deadlines),
            Word::Downloading => Step::Downloading,
            Word::Downloaded => Step::Downloaded,
            Word::Installing => Step::Installing,
            // "Installed" is not "updated": only the version is proof.
            Word::Rebooting | Word::Trial | Word::Succeeded => Step::Rebooting,
        };
        if self.state.step() < Some(step) {
            self.enter(now, ExecutionState::InProgress(step), deadlines);
            self.percent = progress.percent;
            detail.clone_into(&mut self.detail);
            return Effect::Transition(or(detail, "the device says so").to_owned());
        }
        if self.state.step() > Some(step) {
            return Effect::None;
        }
        let deadline = now.plus(self.patience(deadlines));
        // A row is written for news, and for a sign of life once a good part of the patience is used up: a device
        // that repeats itself every second must not cost a durable write every second.
        let is_news = self.percent != progress.percent || self.detail != detail;
        let stale = deadline.since(self.deadline) > self.patience(deadlines) / 8;
        if !is_news && !stale {
            return Effect::None;
        }
        self.percent = progress.percent;
        detail.clone_into(&mut self.detail);
        self.deadline = self.deadline.max(deadline);
        Effect::Row
    }

    /// The device was seen to begin the download.
    fn hear_fetching(&mut self, now: Timestamp, deadlines: &Deadlines) -> Effect {
        self.downloads += 1;
        if self.downloads > DOWNLOADS_MAX {
            let detail = format!("began the download more than {DOWNLOADS_MAX} times");
            return self.close(now, ExecutionState::Failed(FailureReason::DownloadLoop), &detail);
        }
        if self.state != ExecutionState::Queued {
            return Effect::Row;
        }
        self.enter(now, ExecutionState::InProgress(Step::Downloading), deadlines);
        Effect::Transition("the device began the download".to_owned())
    }

    /// The device described itself, on another version than the target, and said nothing of this attempt.
    fn hear_unchanged(&mut self, now: Timestamp, boot: Option<u64>) -> Effect {
        let installed = self.state.step() >= Some(Step::Installing);
        if installed && boot.is_some_and(|boot| boot > self.boot) {
            return self.close(
                now,
                ExecutionState::Failed(FailureReason::RolledBack),
                "the device restarted and does not run the target version",
            );
        }
        let told = self.unchanged_seen;
        self.unchanged_seen = true;
        if told { Effect::None } else { Effect::Row }
    }

    /// Ends an execution whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Effect {
        let phase = self.state.kind();
        if self.unchanged_seen {
            let detail = format!("still on the old version after the deadline, last known as {phase}");
            self.close(now, ExecutionState::Failed(FailureReason::VersionUnchanged), &detail)
        } else {
            self.close(now, ExecutionState::TimedOut, &format!("no word before the deadline while {phase}"))
        }
    }
}

/// As much of a device's explanation as is kept.
fn truncated(detail: &str) -> &str {
    &detail[..detail.floor_char_boundary(DETAIL_BYTES_MAX)]
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}
