//! A look over the whole fleet, a slice per tick: who is due, who is worth a hint, is the rollout complete.

use super::{Bearing, Error, Fleet, bearing};
use crate::device::Device;
use crate::execution::Execution;
use crate::id::{DeviceId, RolloutId};
use crate::rollout::{RolloutState, Survey};
use crate::state::Tally;
use crate::store::Store;
use crate::time::Timestamp;

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
    /// Looks at the next slice of devices. Returns those that would be offered something.
    pub(super) fn survey(&mut self, now: Timestamp) -> Result<Vec<DeviceId>, Error> {
        let Some(mut progress) = self.surveys.current.take().or_else(|| self.next_survey()) else {
            return Ok(Vec::new());
        };
        let Some(rollout) = self.index.rollout(&progress.rollout) else { return Ok(Vec::new()) };
        let product = rollout.product.clone();
        let slice = self.store.devices_after(&product, progress.after.as_ref(), SURVEY_SLICE)?;
        self.load(&slice)?;
        let mut hints = Vec::new();
        for device in &slice {
            let record = self.take(device)?;
            if let Some(known) = &record.device {
                match self.standing(now, known, &record.executions, &progress.rollout) {
                    Standing::Ready => {
                        hints.push(device.clone());
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
        Ok(hints)
    }

    /// The running rollout after the one looked at last.
    fn next_survey(&mut self) -> Option<Progress> {
        let running = || self.index.rollouts().filter(|rollout| rollout.state == RolloutState::Running);
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
        if executions.iter().any(|execution| execution.state.is_open()) {
            return Standing::NotDue;
        }
        let installed = device.semver();
        for (release, rollout) in self.index.newest_first(&device.product) {
            let Some(rollout) = rollout else { continue };
            let obstacle =
                self.case(now, device, installed.as_ref(), executions, release, rollout).obstacle();
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
