//! One attempt of a device: what the device says of it, and how an operator ends it or takes it out of sight.

use super::command::truncated;
use super::{Error, Fleet};
use crate::device::Device;
use crate::execution::{DETAILS_MAX, Details, Effect, Execution, StepTimer};
use crate::id::{DeviceId, RolloutId};
use crate::report::{Progress, Word};
use crate::rollout::Rollout;
use crate::state::{ExecutionState, FailureReason};
use crate::store::{DeviceRecord, Store};
use crate::task::Membership;
use crate::time::Timestamp;

/// What a device says of one attempt.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Which attempt; `None`: the latest.
    pub attempt: Option<u32>,
    /// The revision it has seen; `None`: any.
    pub revision: Option<u32>,
    /// How far it is.
    pub word: Word,
    /// A sentence for the person who asks why.
    pub detail: String,
    /// What it notes on the attempt, in place of what it noted before; `None`: that stays.
    pub details: Option<Details>,
    /// What it does with the timer on its current step; `None`: nothing.
    pub timer: Option<StepTimer>,
    /// The version it says it runs, where it says so.
    pub version: Option<String>,
}

/// Why an answer or a command about one attempt was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerRefused {
    /// The device has no such execution.
    Unknown,
    /// Another revision stands than the one named.
    Revision(Box<Execution>),
    /// The attempt does not allow it: it has ended, or has begun.
    State(Box<Execution>),
    /// Too many notes.
    TooManyDetails,
}

/// How an operator ends one device's execution.
#[derive(Debug, Clone)]
pub struct Cancel {
    /// Also one that the device has begun.
    pub force: bool,
    /// The revision it must stand at; `None`: any.
    pub revision: Option<u32>,
    /// Notes in place of the device's; `None`: those stay.
    pub details: Option<Details>,
    /// Who cancels, and why.
    pub by: String,
}

/// How an operator takes one attempt out of sight.
#[derive(Debug, Clone)]
pub struct Retire {
    /// Which attempt.
    pub attempt: u32,
    /// Also one that is open, which ends it.
    pub force: bool,
    /// Who does it.
    pub by: String,
}

impl<S: Store> Fleet<S> {
    /// A device's latest attempt in a rollout, open or not.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn execution(&mut self, id: &DeviceId, rollout: &RolloutId) -> Result<Option<Execution>, Error> {
        let record = self.take(id)?;
        let found = record.executions.iter().find(|execution| execution.rollout == *rollout).cloned();
        self.batch.put_back(id.clone(), record);
        Ok(found)
    }

    /// Takes in what a device says of one attempt. Of a release, "succeeded" is its report that it runs the target
    /// version, unless it names another. The execution as it then stands.
    ///
    /// # Errors
    /// [`Error::Store`]; within, why the answer was not taken.
    pub fn answer(
        &mut self,
        now: Timestamp,
        id: &DeviceId,
        rollout: &RolloutId,
        answer: &Answer,
    ) -> Result<Result<Execution, AnswerRefused>, Error> {
        let mut record = self.take(id)?;
        let outcome = self.answer_in(now, rollout, answer, &mut record);
        self.batch.put_back(id.clone(), record);
        Ok(outcome)
    }

    fn answer_in(
        &mut self,
        now: Timestamp,
        rollout: &RolloutId,
        answer: &Answer,
        record: &mut DeviceRecord,
    ) -> Result<Execution, AnswerRefused> {
        let DeviceRecord { device, executions } = record;
        let rollout = self.index.rollout(rollout).cloned().ok_or(AnswerRefused::Unknown)?;
        let execution = find_open(executions, &rollout.id, answer.attempt, answer.revision)?;
        if answer.details.as_ref().is_some_and(|details| details.len() > DETAILS_MAX) {
            return Err(AnswerRefused::TooManyDetails);
        }
        let (before, revision) = (execution.state, execution.revision);
        if let Some(details) = &answer.details {
            execution.details.clone_from(details);
        }
        let effect = match (answer.word, rollout.release()) {
            (Word::Succeeded, Some((_, target))) => {
                let says = answer.version.as_deref();
                let runs_target = says.is_none_or(|says| {
                    crate::version::Version::parse(says).is_ok_and(|version| version == *target)
                });
                if runs_target {
                    if let Some(device) = device {
                        runs_now(now, device, says.unwrap_or(target.as_str()));
                        self.batch.device_changed(&device.id);
                    }
                    execution.close(
                        now,
                        ExecutionState::Succeeded,
                        "the device says it runs the target version",
                    )
                } else {
                    let state = ExecutionState::Failed(FailureReason::VersionUnchanged);
                    execution.close(now, state, "the device says it is done, and names another version")
                }
            }
            (word, release) => {
                let (attempt, detail) = (execution.attempt, answer.detail.clone());
                let progress = Progress { rollout: rollout.id.clone(), attempt, word, percent: None, detail };
                let target = release.map(|(_, version)| version);
                execution.hear(now, None, Some(&progress), target, &rollout.plan.deadlines)
            }
        };
        if let Some(timer) = answer.timer
            && execution.state.is_open()
        {
            execution.time_step(now, timer, &rollout.plan.deadlines);
        }
        // Each word that is taken counts, also one that repeats the one before.
        execution.revision = revision + 1;
        let effect = if effect == Effect::None { Effect::Row } else { effect };
        let execution = execution.clone();
        self.record_effect(now, before, &execution, effect);
        Ok(execution)
    }

    /// Ends one device's execution.
    ///
    /// # Errors
    /// [`Error::Store`]; within, why it was not ended.
    pub fn cancel_execution(
        &mut self,
        now: Timestamp,
        id: &DeviceId,
        rollout: &RolloutId,
        cancel: Cancel,
    ) -> Result<Result<Execution, AnswerRefused>, Error> {
        let mut record = self.take(id)?;
        let outcome =
            find_open(&mut record.executions, rollout, None, cancel.revision).and_then(|execution| {
                let before = execution.state;
                if before != ExecutionState::Queued && !cancel.force {
                    return Err(AnswerRefused::State(Box::new(execution.clone())));
                }
                if let Some(details) = cancel.details {
                    execution.details = details;
                }
                let effect = execution.close(now, ExecutionState::Canceled, truncated(&cancel.by));
                Ok((before, execution.clone(), effect))
            });
        self.batch.put_back(id.clone(), record);
        Ok(outcome.map(|(before, execution, effect)| {
            self.record_effect(now, before, &execution, effect);
            execution
        }))
    }

    /// Takes one attempt of a device out of sight; its history stays. One that is open is canceled, by force only.
    ///
    /// # Errors
    /// [`Error::Store`]; within, why it was not: there is no such attempt in sight, or it is open.
    pub fn retire_execution(
        &mut self,
        now: Timestamp,
        id: &DeviceId,
        rollout: &RolloutId,
        retire: &Retire,
    ) -> Result<Result<Execution, AnswerRefused>, Error> {
        let mut record = self.take(id)?;
        let found = record.executions.iter_mut().find(|execution| execution.rollout == *rollout);
        let outcome = found.ok_or(AnswerRefused::Unknown).and_then(|execution| {
            let before = execution.state;
            let effect = execution.retire(now, retire)?;
            Ok((before, execution.clone(), effect))
        });
        self.batch.put_back(id.clone(), record);
        Ok(outcome.map(|(before, execution, effect)| {
            self.record_effect(now, before, &execution, effect);
            execution
        }))
    }

    /// Ends what a device has open of groups it is no longer in.
    pub(super) fn leave_groups(&mut self, now: Timestamp, record: &mut DeviceRecord) {
        let DeviceRecord { device: Some(device), executions } = record else { return };
        for execution in executions.iter_mut().filter(|execution| execution.is_task) {
            let Some(rollout) = self.index.rollout(&execution.rollout) else { continue };
            let before = execution.state;
            let effect = left_groups(now, device, rollout, execution);
            if effect != Effect::None {
                self.record_effect(now, before, execution, effect);
                self.hint(&device.id);
            }
        }
    }
}

impl Execution {
    fn retire(&mut self, now: Timestamp, retire: &Retire) -> Result<Effect, AnswerRefused> {
        let Retire { attempt, force, by } = retire;
        if !(1..=self.attempt).contains(attempt) || self.retired.contains(attempt) {
            return Err(AnswerRefused::Unknown);
        }
        let is_open = *attempt == self.attempt && self.state.is_open();
        if is_open && !force {
            return Err(AnswerRefused::State(Box::new(self.clone())));
        }
        self.retired.insert(*attempt);
        Ok(if is_open { self.close(now, ExecutionState::Canceled, truncated(by)) } else { Effect::Row })
    }
}

/// Closes what a device has open of groups that it has left, now that it describes itself otherwise.
fn left_groups(now: Timestamp, device: &Device, rollout: &Rollout, execution: &mut Execution) -> Effect {
    let has_left =
        rollout.task().is_some_and(|task| task.membership == Membership::Continuous && !task.is_for(device));
    if execution.state.is_open() && has_left {
        execution.close(now, ExecutionState::Removed, "the device has left the groups that the task is for")
    } else {
        Effect::None
    }
}

/// The execution that is meant, if it is open and as it is said to be.
fn find_open<'a>(
    executions: &'a mut [Execution],
    rollout: &RolloutId,
    attempt: Option<u32>,
    revision: Option<u32>,
) -> Result<&'a mut Execution, AnswerRefused> {
    let found = executions.iter_mut().find(|execution| execution.rollout == *rollout);
    let execution = found.ok_or(AnswerRefused::Unknown)?;
    if attempt.is_some_and(|attempt| attempt != execution.attempt) {
        return Err(AnswerRefused::Unknown);
    }
    if !execution.state.is_open() {
        return Err(AnswerRefused::State(Box::new(execution.clone())));
    }
    if revision.is_some_and(|revision| revision != execution.revision) {
        return Err(AnswerRefused::Revision(Box::new(execution.clone())));
    }
    Ok(execution)
}

/// Takes over the version that a device says it runs.
fn runs_now(now: Timestamp, device: &mut Device, version: &str) {
    version.clone_into(&mut device.version);
    device.changed = now;
    // A description that is full has the attribute already, or does without.
    let _ = device.attributes.insert("version", version);
}
