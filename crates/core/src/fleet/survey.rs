//! A look over the whole fleet, a slice per tick: who is due, who is worth a hint, is the rollout complete.

use super::{Bearing, Error, Fleet, bearing};
use crate::device::Device;
use crate::execution::Execution;
use crate::id::{DeviceId, RolloutId};
use crate::rollout::{Rollout, RolloutState, Survey, Work};
use crate::state::Tally;
use crate::store::Store;
use crate::task::Membership;
use crate::time::Timestamp;
use std::ops::Bound;

/// Devices looked at per tick. Each costs a read of its record, so a slice must stay well below the tick's interval.
pub const SURVEY_SLICE: usize = 1_000;

/// How far the look is that is under way.
#[derive(Debug, Default)]
pub(super) struct Surveys {
    current: Option<Progress>,
    /// The rollout looked at last: the next one in order follows.
    last: Option<RolloutId>,
}

#[derive(Debug)]
struct Progress {
    rollout: RolloutId,
    /// How the rollout's executions stood when the look began.
    tally: Tally,
    after: Option<DeviceId>,
    due: u64,
}

impl<S: Store> Fleet<S> {
    /// Looks at the next slice of devices. Those that would be offered something are worth a hint.
    pub(super) fn survey(&mut self, now: Timestamp) -> Result<(), Error> {
        let Some(mut progress) = self.surveys.current.take().or_else(|| self.next_survey()) else {
            return Ok(());
        };
        let Some(rollout) = self.index.rollout(&progress.rollout) else { return Ok(()) };
        let slice = match rollout.work.clone() {
            Work::Release { product, .. } => {
                self.store.devices_after(&product, progress.after.as_ref(), SURVEY_SLICE)?
            }
            Work::Task(task) => {
                let from = progress.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                task.devices.range((from, Bound::Unbounded)).take(SURVEY_SLICE).cloned().collect()
            }
        };
        self.load(&slice)?;
        for device in &slice {
            let record = self.take(device)?;
            if let Some(known) = &record.device {
                match self.standing(now, known, &record.executions, &progress.rollout) {
                    Standing::Ready => {
                        self.hint(device);
                        progress.due += 1;
                    }
                    Standing::Waiting => progress.due += 1,
                    Standing::NotDue => {}
                }
            }
            self.batch.put_back(device.clone(), record);
            self.batch.forget_unchanged(device);
        }
        if slice.len() == SURVEY_SLICE {
            progress.after = slice.last().cloned();
            self.surveys.current = Some(progress);
        } else {
            self.finish_survey(now, &progress);
        }
        Ok(())
    }

    /// The running rollout after the one looked at last.
    fn next_survey(&mut self) -> Option<Progress> {
        // Who is in a group shows when a device asks: such a task is looked at by nobody else, and is never complete.
        let can_complete =
            |rollout: &&Rollout| rollout.task().is_none_or(|task| task.membership == Membership::Snapshot);
        let running = || {
            let running = self.index.rollouts().filter(|rollout| rollout.state == RolloutState::Running);
            running.filter(can_complete)
        };
        let last = self.surveys.last.as_ref();
        let next =
            running().find(|rollout| last.is_none_or(|last| rollout.id > *last)).or(running().next())?;
        let rollout = next.id.clone();
        self.surveys.last = Some(rollout.clone());
        let tally = self.tallies.get(&rollout).copied().unwrap_or_default();
        Some(Progress { rollout, tally, after: None, due: 0 })
    }

    fn finish_survey(&mut self, now: Timestamp, progress: &Progress) {
        let tally = self.tallies.get(&progress.rollout).copied().unwrap_or_default();
        let Some(rollout) = self.index.rollout_mut(&progress.rollout) else { return };
        let known = rollout.survey;
        rollout.survey = Some(Survey { at: now, due: progress.due });
        let complete = rollout.state == RolloutState::Running
            && progress.due == 0
            && tally.in_flight() == 0
            && rollout.plan.all_waves_open(now)
            // If an execution moved while the look was under way, it may have been looked at before and be due since.
            && tally == progress.tally;
        if complete {
            self.set_rollout_state(now, &progress.rollout, RolloutState::Completed, "no known device is due");
        } else if known.map(|survey| survey.due) != Some(progress.due) {
            self.batch.rollout_changed(&progress.rollout);
        }
    }

    /// How a device stands to one rollout, the newer releases considered.
    fn standing(
        &self,
        now: Timestamp,
        device: &Device,
        executions: &[Execution],
        rollout_id: &RolloutId,
    ) -> Standing {
        if let Some(rollout) = self.index.rollout(rollout_id).filter(|rollout| rollout.task().is_some()) {
            let case = self.case(now, device, None, executions, None, rollout);
            return match case.obstacle().as_ref().map(bearing) {
                None => Standing::Ready,
                // Of a task, an attempt under way is all there is to wait for.
                Some((Bearing::Wait, Some(_)) | (Bearing::PassOver, Some(_))) => Standing::Waiting,
                Some((Bearing::Wait | Bearing::Settled | Bearing::PassOver, _)) => Standing::NotDue,
            };
        }
        if executions.iter().any(Execution::is_open_update) {
            return Standing::NotDue;
        }
        let installed = device.semver();
        for (release, rollout) in self.index.newest_first(&device.product) {
            let Some(rollout) = rollout else { continue };
            let case = self.case(now, device, installed.as_ref(), executions, Some(release), rollout);
            let obstacle = case.obstacle();
            let ours = rollout.id == *rollout_id;
            match obstacle.as_ref().map(bearing) {
                None if ours => return Standing::Ready,
                Some((Bearing::Wait, _) | (Bearing::PassOver, Some(_))) if ours => return Standing::Waiting,
                None | Some((Bearing::Wait | Bearing::Settled, _)) => return Standing::NotDue,
                Some((Bearing::PassOver, _)) if ours => return Standing::NotDue,
                Some((Bearing::PassOver, _)) => {}
            }
        }
        Standing::NotDue
    }
}

/// How a device stands to a rollout.
enum Standing {
    /// It would be offered the release if it asked.
    Ready,
    /// It is due, later.
    Waiting,
    /// It is not due.
    NotDue,
}
