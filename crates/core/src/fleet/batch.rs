//! The working set of one batch: what was loaded, what changed, what is to be saved.

use super::shadow::Shadows;
use super::{Error, Fleet};
use crate::execution::{Effect, Execution, HistoryEntry};
use crate::id::{DeviceId, RolloutId};
use crate::rollout::RolloutState;
use crate::state::{ExecutionState, StateKind};
use crate::store::{Changes, DeviceRecord, RolloutEntry, Store};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What was loaded and what of it changed.
#[derive(Debug, Default)]
pub(super) struct Batch {
    records: BTreeMap<DeviceId, DeviceRecord>,
    devices_changed: BTreeSet<DeviceId>,
    executions_changed: BTreeMap<DeviceId, BTreeSet<RolloutId>>,
    rollouts_changed: BTreeSet<RolloutId>,
    /// What is appended or inserted as it comes; the rows that are replaced are collected at the end.
    pub(super) appended: Changes,
    pub(super) shadows: Shadows,
}

impl Batch {
    pub(super) fn put_back(&mut self, device: DeviceId, record: DeviceRecord) {
        self.records.insert(device, record);
    }

    pub(super) fn device_changed(&mut self, device: &DeviceId) {
        self.devices_changed.insert(device.clone());
    }

    pub(super) fn rollout_changed(&mut self, rollout: &RolloutId) {
        self.rollouts_changed.insert(rollout.clone());
    }

    /// Lets go of a device that was only looked at, so that a long look over the fleet stays small.
    pub(super) fn forget_unchanged(&mut self, device: &DeviceId) {
        if !self.devices_changed.contains(device) && !self.executions_changed.contains_key(device) {
            self.records.remove(device);
        }
    }
}

impl<S: Store> Fleet<S> {
    /// Loads what a batch of calls will touch, in one go.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn load(&mut self, devices: &[DeviceId]) -> Result<(), Error> {
        self.refresh_if_stale()?;
        let missing: Vec<_> =
            devices.iter().filter(|device| !self.batch.records.contains_key(*device)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let records = self.store.load(&missing)?;
        self.batch.records.extend(missing.into_iter().zip(records));
        Ok(())
    }

    /// Makes everything since the last commit durable, or nothing of it.
    ///
    /// # Errors
    /// [`Error::Store`]; the batch is lost, and the next call begins from what the store holds.
    pub fn commit(&mut self) -> Result<(), Error> {
        let changes = self.take_changes();
        if changes.is_empty() {
            return Ok(());
        }
        self.store.save(&changes).map_err(|error| {
            self.stale = true;
            Error::Store(error)
        })
    }

    /// Whether something waits for [`Fleet::commit`].
    #[must_use]
    pub fn has_changes(&self) -> bool {
        let batch = &self.batch;
        !(batch.appended.is_empty()
            && batch.devices_changed.is_empty()
            && batch.executions_changed.is_empty()
            && batch.rollouts_changed.is_empty()
            && batch.shadows.is_unchanged())
    }

    fn take_changes(&mut self) -> Changes {
        let batch = std::mem::take(&mut self.batch);
        let mut changes = batch.appended;
        for (device, record) in batch.records {
            if batch.devices_changed.contains(&device) {
                changes.devices.extend(record.device);
            }
            if let Some(rollouts) = batch.executions_changed.get(&device) {
                let changed = |execution: &Execution| rollouts.contains(&execution.rollout);
                changes.executions.extend(record.executions.into_iter().filter(changed));
            }
        }
        let rollouts = batch.rollouts_changed.iter().filter_map(|rollout| self.index.rollout(rollout));
        changes.rollouts.extend(rollouts.cloned());
        changes.shadows = batch.shadows.into_changes();
        changes
    }

    pub(super) fn take(&mut self, device: &DeviceId) -> Result<DeviceRecord, Error> {
        self.load(std::slice::from_ref(device))?;
        Ok(self.batch.records.remove(device).expect("loaded just before"))
    }

    /// Reads catalogue and tallies anew after a failed save.
    fn refresh_if_stale(&mut self) -> Result<(), Error> {
        if self.stale {
            self.index = self.store.catalogue()?.into();
            self.tallies = self.store.tallies()?;
            self.generation += 1;
            self.stale = false;
        }
        Ok(())
    }

    /// Reads the tallies anew where nothing waits to be saved: they are derived from the executions, and what is kept of
    /// them in memory is a copy.
    pub(super) fn refresh(&mut self) -> Result<(), Error> {
        self.refresh_if_stale()?;
        if !self.has_changes() {
            self.tallies = self.store.tallies()?;
        }
        Ok(())
    }

    pub(super) fn record_effect(
        &mut self,
        now: Timestamp,
        before: ExecutionState,
        execution: &Execution,
        effect: Effect,
    ) {
        match effect {
            Effect::None => {}
            Effect::Row => self.row_changed(execution),
            Effect::Transition(note) => self.transition(now, Some(before), execution, Some(before), note),
        }
    }

    fn row_changed(&mut self, execution: &Execution) {
        let rollouts = self.batch.executions_changed.entry(execution.device.clone()).or_default();
        rollouts.insert(execution.rollout.clone());
    }

    /// Books a transition: the row, its history, the tally, and what the rollout makes of it.
    ///
    /// `counted` is where the device stood in the tally; `from` is where this attempt stood.
    pub(super) fn transition(
        &mut self,
        now: Timestamp,
        counted: Option<ExecutionState>,
        execution: &Execution,
        from: Option<ExecutionState>,
        note: String,
    ) {
        self.row_changed(execution);
        self.batch.appended.history.push(HistoryEntry {
            rollout: execution.rollout.clone(),
            device: execution.device.clone(),
            attempt: execution.attempt,
            at: now,
            from,
            to: execution.state,
            note,
        });
        self.hint(&execution.device);
        self.count(now, &execution.rollout, counted.map(ExecutionState::kind), execution.state.kind());
    }

    fn count(&mut self, now: Timestamp, rollout: &RolloutId, from: Option<StateKind>, to: StateKind) {
        let tally = self.tallies.entry(rollout.clone()).or_default();
        let in_flight = tally.in_flight();
        tally.shift(from, to);
        let tally = *tally;
        let Some(rollout) = self.index.rollout(rollout) else { return };
        let max = u64::from(rollout.plan.pace.in_flight_max);
        if in_flight >= max && tally.in_flight() < max {
            self.generation += 1;
        }
        let went_badly = matches!(to, StateKind::Failed | StateKind::TimedOut | StateKind::Rejected);
        if went_badly
            && rollout.state.offers() | (rollout.state == RolloutState::Paused)
            && let Some(reason) = rollout.abort_reason(&tally)
        {
            let id = rollout.id.clone();
            self.set_rollout_state(now, &id, RolloutState::Aborted, &reason);
        }
    }

    /// Moves a rollout and writes its history.
    pub(super) fn set_rollout_state(
        &mut self,
        now: Timestamp,
        id: &RolloutId,
        state: RolloutState,
        note: &str,
    ) {
        let Some(rollout) = self.index.rollout_mut(id) else { return };
        let from = rollout.state;
        rollout.state = state;
        rollout.state_since = now;
        note.clone_into(&mut rollout.state_note);
        self.batch.appended.rollout_history.push(RolloutEntry {
            rollout: id.clone(),
            at: now,
            from: Some(from),
            to: state,
            note: note.to_owned(),
        });
        self.batch.rollout_changed(id);
        self.generation += 1;
    }
}
