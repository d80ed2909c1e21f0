//! What the control plane answers: rollouts of tasks and executions, in the contract's words.

use serde_json::{Map, Value, json};
use updraft_core::execution::Execution;
use updraft_core::rollout::{Rollout, RolloutState};
use updraft_core::state::{ExecutionState, StateKind, Tally};
use updraft_core::task::{Membership, Task};
use updraft_core::time::Timestamp;
use updraft_wire::jobs::Status;

use super::super::arn::{self, Target};
use super::limits;

/// Most targets that a description shows (AWS IoT Jobs allows as many): a snapshot's groups become devices, and there
/// may be 10,000 of them.
pub(super) const TARGETS_SHOWN_MAX: usize = 100;
/// What the note of a job begins with that was deleted: nothing shows it, but its history.
pub(super) const DELETED: &str = "deleted by ";

/// A time as the control plane has it: seconds since 1970, with a fraction.
pub(super) fn time(at: Timestamp) -> Value {
    // Exact: a double holds milliseconds of the next 280,000 years.
    json!(at.as_millis() as f64 / 1000.0)
}

/// How a job stands, in the contract's word.
pub(super) fn job_status(state: RolloutState) -> &'static str {
    match state {
        RolloutState::Draft | RolloutState::Running | RolloutState::Paused => "IN_PROGRESS",
        RolloutState::Completed => "COMPLETED",
        RolloutState::Aborted => "CANCELED",
    }
}

pub(super) fn selection(membership: Membership) -> &'static str {
    match membership {
        Membership::Snapshot => "SNAPSHOT",
        Membership::Continuous => "CONTINUOUS",
    }
}

/// How an execution stands, in the contract's word.
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

/// Whether an execution was deleted.
pub(super) fn is_deleted(execution: &Execution) -> bool {
    execution.retired.contains(&execution.attempt)
}

/// How a device stands that is meant and has not asked.
pub(super) fn status_unasked(rollout: &Rollout) -> Status {
    if rollout.state == RolloutState::Aborted { Status::Canceled } else { Status::Queued }
}

/// `{jobArn, jobId, description}`.
pub(super) fn named(region: &str, task: &Task) -> Value {
    json!({
        "jobArn": arn::job(region, task.name.as_str()),
        "jobId": task.name,
        "description": task.description,
    })
}

fn ended(rollout: &Rollout) -> Option<Value> {
    let is_over = matches!(rollout.state, RolloutState::Completed | RolloutState::Aborted);
    is_over.then(|| time(rollout.state_since))
}

/// A line in a list of jobs.
pub(super) fn job_line(region: &str, rollout: &Rollout, task: &Task) -> Value {
    let mut line = json!({
        "jobArn": arn::job(region, task.name.as_str()),
        "jobId": task.name,
        "targetSelection": selection(task.membership),
        "status": job_status(rollout.state),
        "createdAt": time(rollout.created),
        "lastUpdatedAt": time(rollout.state_since.max(rollout.created)),
        "isConcurrent": false,
    });
    if let Some(at) = ended(rollout) {
        line["completedAt"] = at;
    }
    line
}

/// A job, described.
pub(super) fn job(region: &str, rollout: &Rollout, task: &Task, tally: &Tally) -> Value {
    let Value::Object(mut shown) = job_line(region, rollout, task) else {
        unreachable!("a line is an object");
    };
    let groups = task.groups.iter().map(|group| Target::Group(group.as_str()).arn(region));
    let things = task.devices.iter().map(|device| arn::thing(region, device));
    let targets: Vec<_> = groups.chain(things).take(TARGETS_SHOWN_MAX).collect();
    shown.insert("targets".to_owned(), json!(targets));
    shown.insert("description".to_owned(), json!(task.description));
    let life = task.link_life.as_secs();
    shown.insert("presignedUrlConfig".to_owned(), json!({ "expiresInSec": life }));
    shown.insert("jobProcessDetails".to_owned(), counts(rollout, task, tally));
    shown.extend(limits::render(&rollout.plan));
    if rollout.state == RolloutState::Aborted {
        let Note { reason_code, comment } = Note::parse(&rollout.state_note);
        shown.insert("comment".to_owned(), json!(comment));
        shown.extend(reason_code.map(|code| ("reasonCode".to_owned(), json!(code))));
    }
    Value::Object(shown)
}

fn counts(rollout: &Rollout, task: &Task, tally: &Tally) -> Value {
    let count = |kinds: &[StateKind]| kinds.iter().map(|kind| tally.count(*kind)).sum::<u64>();
    let in_progress =
        count(&[StateKind::Downloading, StateKind::Downloaded, StateKind::Installing, StateKind::Rebooting]);
    let all = count(&StateKind::ALL);
    // A snapshot's devices that have not asked are queued, or canceled with the job.
    let unasked = match task.membership {
        Membership::Snapshot => (task.devices.len() as u64).saturating_sub(all),
        Membership::Continuous => 0,
    };
    let (mut queued, mut canceled) = (count(&[StateKind::Queued]), count(&[StateKind::Canceled]));
    *(if status_unasked(rollout) == Status::Canceled { &mut canceled } else { &mut queued }) += unasked;
    json!({
        "numberOfQueuedThings": queued,
        "numberOfInProgressThings": in_progress,
        "numberOfSucceededThings": count(&[StateKind::Succeeded]),
        "numberOfFailedThings": count(&[StateKind::Failed]),
        "numberOfRejectedThings": count(&[StateKind::Rejected]),
        "numberOfTimedOutThings": count(&[StateKind::TimedOut]),
        "numberOfCanceledThings": canceled,
        "numberOfRemovedThings": count(&[StateKind::Removed]),
    })
}

/// A line in a list of executions, without the name of the device or the job.
pub(super) fn execution_line(rollout: &Rollout, execution: Option<&Execution>) -> Value {
    let mut line = Map::new();
    let mut set = |field: &str, value: Value| drop(line.insert(field.to_owned(), value));
    let Some(execution) = execution else {
        set("status", json!(status_unasked(rollout)));
        set("queuedAt", time(rollout.created));
        set("lastUpdatedAt", time(rollout.created.max(rollout.state_since)));
        set("executionNumber", json!(1));
        return Value::Object(line);
    };
    set("status", json!(status(execution.state)));
    set("queuedAt", time(execution.opened));
    set("lastUpdatedAt", time(execution.changed));
    set("executionNumber", json!(execution.attempt));
    if let Some(started) = execution.started {
        set("startedAt", time(started));
    }
    if execution.attempt > 1 {
        set("retryAttempt", json!(execution.attempt - 1));
    }
    Value::Object(line)
}

/// An execution, described.
pub(super) fn execution(
    region: &str,
    now: Timestamp,
    device: &updraft_core::id::DeviceId,
    rollout: &Rollout,
    task: &Task,
    execution: Option<&Execution>,
) -> Value {
    let mut shown = execution_line(rollout, execution);
    shown["jobId"] = json!(task.name);
    shown["thingArn"] = json!(arn::thing(region, device));
    shown["versionNumber"] = json!(execution.map_or(1, |execution| execution.revision));
    let Some(execution) = execution else { return shown };
    if !execution.details.is_empty() {
        shown["statusDetails"] = json!({ "detailsMap": execution.details });
    }
    let whole = execution.started.zip(rollout.plan.deadlines.in_progress).map(|(at, limit)| at.plus(limit));
    let timer = [whole, execution.step_deadline].into_iter().flatten().min();
    if let Some(at) = timer.filter(|_| execution.state.is_open()) {
        let seconds = (at.as_millis() - now.as_millis()).max(0) / 1000;
        shown["approximateSecondsBeforeTimedOut"] = json!(seconds);
    }
    shown
}

/// Why a job was canceled, as its rollout's note keeps it: `[CODE] comment`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note<'a> {
    pub(super) reason_code: Option<&'a str>,
    pub(super) comment: &'a str,
}

impl<'a> Note<'a> {
    pub(super) fn parse(note: &'a str) -> Self {
        match note.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            Some((code, comment)) => Self { reason_code: Some(code), comment },
            None => Self { reason_code: None, comment: note },
        }
    }

    pub(super) fn text(&self) -> String {
        match self.reason_code {
            Some(code) => format!("[{code}] {}", self.comment),
            None => self.comment.to_owned(),
        }
    }
}
