//! Executions and documents in the contract's words.

use super::{Execution, ExecutionState, Fleet, Links, Pending, Rollout, Status, Store, Timestamp, seconds};
use crate::{placeholder, update};
use serde_json::Value;
use updraft_core::attributes;
use updraft_core::fleet::Assignment;
use updraft_wire::jobs::{self, FotaDocument, OPERATION_FOTA, Summary, UpdateDocument};

/// The name of the release attribute that makes a document a Zerynth device's: the slot the image was linked for.
const SLOT_ATTRIBUTE: &str = "bc_idx";

/// The table from our states to the contract's.
pub(super) fn status(state: ExecutionState) -> Status {
    match state {
        ExecutionState::Queued => Status::Queued,
        ExecutionState::InProgress(_) => Status::InProgress,
        ExecutionState::Succeeded => Status::Succeeded,
        ExecutionState::Failed(_) => Status::Failed,
        ExecutionState::TimedOut => Status::TimedOut,
        ExecutionState::Rejected => Status::Rejected,
        ExecutionState::Canceled => Status::Canceled,
        ExecutionState::Removed => Status::Removed,
    }
}

/// What a job is called: a task by its name, a release by its rollout.
pub(in crate::protocols::mqtt) fn job_id(rollout: &Rollout) -> String {
    rollout.task().map_or_else(|| rollout.id.to_string(), |task| task.name.to_string())
}

pub(super) fn summary(pending: &Pending) -> Summary {
    let Pending { execution, rollout, .. } = pending;
    Summary {
        job_id: job_id(rollout),
        queued_at: seconds(execution.opened),
        started_at: execution.started.map(seconds),
        last_updated_at: seconds(execution.changed),
        version_number: execution.revision.into(),
        execution_number: execution.attempt.into(),
    }
}

pub(super) fn state(execution: &Execution) -> jobs::ExecutionState {
    jobs::ExecutionState {
        status: status(execution.state),
        status_details: execution.details.clone(),
        version_number: execution.revision.into(),
    }
}

/// Writes executions with their documents.
pub(super) struct Renderer<'a, S> {
    pub(super) fleet: &'a Fleet<S>,
    pub(super) now: Timestamp,
    pub(super) links: &'a Links,
}

impl<S: Store> Renderer<'_, S> {
    pub(super) fn execution(
        &self,
        rollout: &Rollout,
        execution: &Execution,
        with_document: bool,
    ) -> jobs::Execution {
        let is_timed = execution.step_deadline.is_some() || rollout.plan.deadlines.in_progress.is_some();
        let left = (is_timed && execution.started.is_some())
            .then(|| execution.deadline.since(self.now).as_secs().cast_signed());
        jobs::Execution {
            job_id: job_id(rollout),
            thing_name: Some(execution.device.to_string()),
            status: status(execution.state),
            status_details: Some(execution.details.clone()).filter(|details| !details.is_empty()),
            queued_at: seconds(execution.opened),
            started_at: execution.started.map(seconds),
            last_updated_at: seconds(execution.changed),
            approximate_seconds_before_timed_out: left,
            version_number: execution.revision.into(),
            execution_number: Some(execution.attempt.into()),
            job_document: with_document.then(|| self.document(rollout, execution)),
        }
    }

    /// The document, its links made for the device as it asks.
    pub(super) fn document(&self, rollout: &Rollout, execution: &Execution) -> Value {
        if let Some(task) = rollout.task() {
            let filled = placeholder::fill(&task.document, |placeholder| {
                let release = self.fleet.release(&placeholder.product, &placeholder.version).ok()?;
                self.links.link(self.now, execution, &release.artifact.sha256, task.link_life)
            });
            return serde_json::from_str(&filled).unwrap_or(Value::Null);
        }
        let Some(assignment) = self.assignment(rollout, execution) else { return Value::Null };
        let sha256 = &assignment.release.artifact.sha256;
        let link = self.links.link(self.now, execution, sha256, self.links.life).unwrap_or_default();
        let document = match slot(&assignment) {
            Some(slot) => serde_json::to_value(fota(&assignment, slot, link)),
            None => serde_json::to_value(UpdateDocument::from(update::assignment(&assignment, link))),
        };
        document.expect("a document is plain data")
    }

    fn assignment(&self, rollout: &Rollout, execution: &Execution) -> Option<Assignment> {
        let (product, version) = rollout.release()?;
        Some(Assignment {
            rollout: rollout.id.clone(),
            attempt: execution.attempt,
            release: self.fleet.release(product, version).ok()?,
            downgrade: rollout.plan.downgrade,
        })
    }
}

/// The slot a release's image was linked for, if it is one for Zerynth devices.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a small whole number"
)]
fn slot(assignment: &Assignment) -> Option<u32> {
    match assignment.release.attributes.get(SLOT_ATTRIBUTE)? {
        attributes::Value::Number(number)
            if number.fract() == 0.0 && (0.0..=f64::from(u16::MAX)).contains(number) =>
        {
            Some(*number as u32)
        }
        attributes::Value::Text(text) => text.as_str().parse().ok(),
        attributes::Value::Null
        | attributes::Value::Bool(_)
        | attributes::Value::Number(_)
        | attributes::Value::List(_) => None,
    }
}

fn fota(assignment: &Assignment, slot: u32, link: String) -> FotaDocument {
    FotaDocument {
        operation: OPERATION_FOTA.to_owned(),
        bc_idx: slot,
        bc_crc: assignment.release.artifact.md5.clone(),
        bc_size: assignment.release.artifact.size,
        bc_url: link,
    }
}
