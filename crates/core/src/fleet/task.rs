//! Tasks: started, changed, retired; and what a device that works off jobs has before it.

use super::command::truncated;
use super::{Assignment, Error, Fleet, Selected};
use crate::device::Device;
use crate::execution::Execution;
use crate::id::{DeviceId, RolloutId, TaskName};
use crate::rollout::{AbortReach, Plan, Rollout, RolloutState, Work};
use crate::state::ExecutionState;
use crate::store::{DeviceRecord, Store};
use crate::task::{OPEN_MAX, Task};
use crate::time::Timestamp;
use std::sync::Arc;

/// Most rollouts of tasks, over all time: a device that asks is held against each that is not over.
pub const TASKS_MAX: usize = 10_000;

/// A task to be started.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// The rollout's ID, drawn at random by the caller.
    pub id: RolloutId,
    /// The task. Devices that are not known are refused.
    pub task: Task,
    /// How to go about it.
    pub plan: Plan,
}

/// Something a device has before it, or has begun.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Where it stands.
    pub execution: Execution,
    /// The rollout it belongs to.
    pub rollout: Rollout,
    /// The update, if it is one; else the rollout brings a task.
    pub update: Option<Assignment>,
}

impl<S: Store> Fleet<S> {
    /// Starts the rollout of a task. `by` says who commands it.
    ///
    /// # Errors
    /// [`Error::InvalidTask`], [`Error::InvalidPlan`]; [`Error::TaskExists`]; [`Error::UnknownDevice`] for a device named
    /// that never described itself; [`Error::TooMany`] tasks.
    pub fn start_task(&mut self, now: Timestamp, new: NewTask, by: &str) -> Result<Rollout, Error> {
        self.load(&[])?;
        new.plan.check().map_err(Error::InvalidPlan)?;
        new.task.check().map_err(Error::InvalidTask)?;
        if self.index.task(&new.task.name).is_some() {
            return Err(Error::TaskExists(new.task.name));
        }
        if self.index.rollout(&new.id).is_some() {
            return Err(Error::RolloutExists(new.id));
        }
        if self.index.tasks_count() >= TASKS_MAX {
            return Err(Error::InvalidTask("there are 10000 tasks, the most there may be; delete old ones"));
        }
        self.check_known(&new.task)?;
        let rollout = self.begin_rollout(now, new.id, Work::Task(Arc::new(new.task)), new.plan, by);
        self.hint_targets(&rollout);
        Ok(rollout)
    }

    fn check_known(&mut self, task: &Task) -> Result<(), Error> {
        for device in &task.devices {
            if self.device(device)?.is_none() {
                return Err(Error::UnknownDevice(device.clone()));
            }
            self.batch.forget_unchanged(device);
        }
        Ok(())
    }

    fn hint_targets(&mut self, rollout: &Rollout) {
        if let Some(task) = rollout.task() {
            task.devices.iter().for_each(|device| self.hint(device));
        }
    }

    /// The rollout of a task that is not retired.
    ///
    /// # Errors
    /// [`Error::UnknownTask`].
    pub fn task(&self, name: &TaskName) -> Result<&Rollout, Error> {
        self.index.task(name).ok_or_else(|| Error::UnknownTask(name.clone()))
    }

    /// The rollouts of tasks that are not retired, at most `limit`, by name, after `after`.
    #[must_use]
    pub fn tasks(&self, after: Option<&TaskName>, limit: usize) -> Vec<Rollout> {
        let is_after = |rollout: &&Rollout| {
            after.is_none_or(|after| rollout.task().is_some_and(|task| task.name > *after))
        };
        self.index.tasks().filter(is_after).take(limit).cloned().collect()
    }

    /// Changes what may be changed of a task that is not over: its plan, its description, more devices and groups.
    ///
    /// # Errors
    /// [`Error::UnknownTask`]; [`Error::WrongState`] if it is over; what [`Fleet::start_task`] refuses.
    pub fn change_task(
        &mut self,
        name: &TaskName,
        change: impl FnOnce(&mut Task, &mut Plan),
    ) -> Result<Rollout, Error> {
        self.load(&[])?;
        let mut rollout = self.task(name)?.clone();
        if !rollout.state.offers() && rollout.state != RolloutState::Paused {
            let (id, state) = (rollout.id, rollout.state);
            return Err(Error::WrongState { rollout: id, state, verb: "changed" });
        }
        let Work::Task(task) = &mut rollout.work else { return Err(Error::UnknownTask(name.clone())) };
        let task = Arc::make_mut(task);
        change(task, &mut rollout.plan);
        rollout.plan.check().map_err(Error::InvalidPlan)?;
        task.check().map_err(Error::InvalidTask)?;
        self.check_known(&task.clone())?;
        if let Some(kept) = self.index.rollout_mut(&rollout.id) {
            *kept = rollout.clone();
        }
        self.batch.rollout_changed(&rollout.id);
        self.generation += 1;
        self.hint_targets(&rollout);
        Ok(rollout)
    }

    /// Takes a task out of sight: its name is free again, and what is open of it is canceled. History stays.
    ///
    /// # Errors
    /// [`Error::UnknownTask`]; [`Error::WrongState`] if it is not over and `force` is not given.
    pub fn retire_task(
        &mut self,
        now: Timestamp,
        name: &TaskName,
        force: bool,
        by: &str,
    ) -> Result<Rollout, Error> {
        self.load(&[])?;
        let Rollout { id, state, .. } = self.task(name)?.clone();
        let is_over = matches!(state, RolloutState::Aborted | RolloutState::Completed);
        if !is_over && !force {
            return Err(Error::WrongState { rollout: id, state, verb: "deleted without force" });
        }
        self.set_rollout_state(now, &id, RolloutState::Aborted, truncated(by));
        self.index.retire(name);
        let rollout = self.index.rollout_mut(&id).expect("found above");
        rollout.retired = Some(now);
        if force {
            rollout.plan.abort_reach = AbortReach::Open;
        }
        let rollout = rollout.clone();
        self.hint_targets(&rollout);
        Ok(rollout)
    }

    /// What a device has before it: its update and its tasks, opened as far as their rollouts let them, those begun first,
    /// each by age. Nothing for a device that never described itself. Safe to ask as often as one likes: unlike
    /// [`Fleet::offer`], asking says nothing of the device.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn pending(&mut self, now: Timestamp, id: &DeviceId) -> Result<Vec<Pending>, Error> {
        let mut record = self.take(id)?;
        let outcome = self.open_due(now, &mut record);
        let mut pending = self.pending_of(&record);
        self.batch.put_back(id.clone(), record);
        outcome?;
        pending.sort_by_key(|Pending { execution, rollout, .. }| {
            (execution.state == ExecutionState::Queued, execution.opened, rollout.created, rollout.id.clone())
        });
        Ok(pending)
    }

    fn open_due(&mut self, now: Timestamp, record: &mut DeviceRecord) -> Result<(), Error> {
        let Some(device) = record.device.clone() else { return Ok(()) };
        if !record.executions.iter().any(Execution::is_open_update)
            && let Selected::Release(rollout, release) = self.select(now, &device, &record.executions)
        {
            self.open_update(now, record, &rollout, &release);
        }
        for rollout in self.tasks_due(now, &device, record) {
            let open = record.executions.iter().filter(|one| one.is_task && one.state.is_open());
            if open.count() >= OPEN_MAX {
                break;
            }
            self.open_execution(now, record, &rollout, "offered the task".to_owned());
        }
        Ok(())
    }

    /// Tasks that nothing keeps from a device, the oldest first.
    fn tasks_due(&self, now: Timestamp, device: &Device, record: &DeviceRecord) -> Vec<Rollout> {
        let is_due = |rollout: &&Rollout| {
            rollout.state.offers()
                && self.case(now, device, None, &record.executions, None, rollout).obstacle().is_none()
        };
        let mut due: Vec<_> = self.index.tasks().filter(is_due).cloned().collect();
        due.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        due
    }

    fn pending_of(&self, record: &DeviceRecord) -> Vec<Pending> {
        let open = record.executions.iter().filter(|execution| execution.state.is_open());
        let pending = open.filter_map(|execution| {
            let rollout = self.index.rollout(&execution.rollout)?.clone();
            let is_canceled =
                rollout.state == RolloutState::Aborted && rollout.plan.abort_reach.covers(execution.state);
            let update = self.index.release_of(&rollout).map(|release| Assignment {
                rollout: rollout.id.clone(),
                attempt: execution.attempt,
                release: release.clone(),
                downgrade: rollout.plan.downgrade,
            });
            // What an abort cancels is over, although the tick has not come to it.
            (!is_canceled).then(|| Pending { execution: execution.clone(), rollout, update })
        });
        pending.collect()
    }
}
