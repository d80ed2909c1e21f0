//! One device's part in one rollout: what moves it, and what ends it.

use crate::device::Device;
use crate::id::{DeviceId, RolloutId};
use crate::report::{DETAIL_BYTES_MAX, Description, Progress, Word};
use crate::rollout::{Deadlines, Rollout};
use crate::state::{ExecutionState, FailureReason, StateKind, Step};
use crate::time::Timestamp;
use crate::version::Version;
use std::collections::{BTreeMap, BTreeSet};

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
    /// Whether the rollout brings a task; else a release, of which a device has at most one execution open.
    pub is_task: bool,
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
    /// Counts what a device can see of this attempt, from 1: moves with each of its words and each change of state.
    pub revision: u32,
    /// What the device last noted on the attempt, by name; at most [`DETAILS_MAX`].
    pub details: Details,
    /// When the device began, if it has.
    pub started: Option<Timestamp>,
    /// When the step that the device itself timed must have ended.
    pub step_deadline: Option<Timestamp>,
    /// How many earlier attempts failed.
    pub earlier_failures: u32,
    /// How many earlier attempts timed out.
    pub earlier_timeouts: u32,
    /// The attempts that an operator took out of sight. Their history stays.
    pub retired: BTreeSet<u32>,
}

/// What a device noted on an attempt, by name.
pub type Details = BTreeMap<String, String>;

/// Most notes of a device on an attempt (the limit of AWS IoT Jobs).
pub const DETAILS_MAX: usize = 10;

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

/// What a device does with the timer on its current step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepTimer {
    /// Ends it.
    Cancel,
    /// Sets it, in place of the one before: the step must end within this time.
    Set(std::time::Duration),
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
    /// The next attempt of a device at a rollout; `before` is its last one.
    pub(crate) fn open(now: Timestamp, device: &Device, rollout: &Rollout, before: Option<&Self>) -> Self {
        let ended = |state: StateKind| u32::from(before.is_some_and(|before| before.state.kind() == state));
        Self {
            rollout: rollout.id.clone(),
            device: device.id.clone(),
            is_task: rollout.task().is_some(),
            attempt: before.map_or(1, |before| before.attempt + 1),
            state: ExecutionState::Queued,
            from_version: device.version.clone(),
            boot: device.boot,
            offers: 1,
            downloads: 0,
            percent: None,
            detail: String::new(),
            opened: now,
            changed: now,
            deadline: now.plus(rollout.plan.deadlines.queued),
            unchanged_seen: false,
            late: false,
            revision: 1,
            details: Details::new(),
            started: None,
            step_deadline: None,
            earlier_failures: before.map_or(0, |before| before.earlier_failures) + ended(StateKind::Failed),
            earlier_timeouts: before.map_or(0, |before| before.earlier_timeouts) + ended(StateKind::TimedOut),
            retired: before.map_or_else(BTreeSet::new, |before| before.retired.clone()),
        }
    }

    /// Whether it is open and brings a release.
    #[must_use]
    pub fn is_open_update(&self) -> bool {
        self.state.is_open() && !self.is_task
    }

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
        self.revision += 1;
        self.started = self.started.or(Some(now));
        self.deadline = self.next_deadline(now, deadlines);
    }

    /// When silence from now on ends the attempt: the phase's patience, and never beyond the timers that run.
    fn next_deadline(&self, now: Timestamp, deadlines: &Deadlines) -> Timestamp {
        let whole = self.started.zip(deadlines.in_progress).map(|(started, limit)| started.plus(limit));
        let timers = [whole, self.step_deadline].into_iter().flatten();
        timers.fold(now.plus(self.patience(deadlines)), Timestamp::min)
    }

    /// Ends the execution. The caller has made sure that it is open.
    pub(crate) fn close(&mut self, now: Timestamp, state: ExecutionState, detail: &str) -> Effect {
        debug_assert!(self.state.is_open() && !state.is_open());
        self.state = state;
        self.changed = now;
        self.revision += 1;
        detail.clone_into(&mut self.detail);
        Effect::Transition(detail.to_owned())
    }

    /// Takes in what the device says. `target` is the version that the rollout brings; `None`: it brings a task, whose
    /// success is the device's own word.
    ///
    /// One rule of success: the device reports that it runs the target version, and does not say that it is on trial or
    /// that the attempt failed. "Back on the old version" is judged only in words of a later boot than the one that
    /// spoke of the restart: late words from before the restart would book good updates as rolled back.
    pub(crate) fn hear(
        &mut self,
        now: Timestamp,
        description: Option<&Description>,
        progress: Option<&Progress>,
        target: Option<&Version>,
        deadlines: &Deadlines,
    ) -> Effect {
        let progress = progress.filter(|progress| self.is_about(progress));
        if !self.state.is_open() {
            return self.hear_late(progress);
        }
        let Some(target) = target else {
            return progress.map_or(Effect::None, |progress| self.hear_of_task(now, progress, deadlines));
        };
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

    fn hear_of_task(&mut self, now: Timestamp, progress: &Progress, deadlines: &Deadlines) -> Effect {
        match progress.word {
            Word::Succeeded => {
                let detail = or(truncated(&progress.detail), "the device says it is done");
                self.close(now, ExecutionState::Succeeded, detail)
            }
            Word::Failed(_)
            | Word::Rejected
            | Word::Fetching
            | Word::Downloading
            | Word::Downloaded
            | Word::Installing
            | Word::Rebooting
            | Word::Trial => self.hear_progress(now, progress, deadlines),
        }
    }

    /// Sets or ends the timer that the device put on its current step. The attempt must be open.
    pub(crate) fn time_step(&mut self, now: Timestamp, timer: StepTimer, deadlines: &Deadlines) {
        self.step_deadline = match timer {
            StepTimer::Cancel => None,
            StepTimer::Set(limit) => Some(now.plus(limit)),
        };
        self.deadline = self.next_deadline(now, deadlines);
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
        let deadline = self.next_deadline(now, deadlines);
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
        self.revision += 1;
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
        if self.step_deadline.is_some_and(|deadline| deadline <= now) {
            let detail = format!("the step timer that the device set ran out while {phase}");
            return self.close(now, ExecutionState::TimedOut, &detail);
        }
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
