//! One device's part in a job, as operators see it: listed, described, ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use updraft_core::execution::{Details, Execution, HistoryEntry};
use updraft_core::fleet::{AnswerRefused, Cancel, Retire};
use updraft_core::id::DeviceId;
use updraft_core::rollout::Rollout;
use updraft_core::state::ExecutionState;
use updraft_core::task::Membership;
use updraft_core::time::Timestamp;
use updraft_wire::jobs::Status;

use super::super::arn;
use super::super::door::{Call, Doors, answer as json_answer};
use super::super::failure::{Exception, Failure};
use super::super::jobs::REQUEST_BYTES_MAX;
use super::super::query::Query;
use super::answer::{self, is_deleted};
use super::job::rollout_of;
use super::request::CancelExecution;
use super::{LOOKED_AT_MAX, admit, job_name, page, thing_name};

fn wanted_status(query: &mut Query) -> Result<Option<Status>, Failure> {
    let word = query.take("status")?.map(|word| serde_json::from_value(Value::String(word)));
    word.transpose().map_err(|_| {
        Failure::invalid(
            "status: QUEUED, IN_PROGRESS, SUCCEEDED, FAILED, TIMED_OUT, REJECTED, REMOVED or CANCELED",
        )
    })
}

fn stands(rollout: &Rollout, execution: Option<&Execution>) -> Status {
    execution.map_or_else(|| answer::status_unasked(rollout), |execution| answer::status(execution.state))
}

/// `GET /jobs/{job}/things`: by device.
pub(in super::super) async fn of_job(
    State(doors): State<Arc<Doors>>,
    Path(job): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let mut call = doors.enter(request, 0).await?;
    admit(&doors, &call)?;
    let (after, limit) = page(&mut call.query)?;
    let status = wanted_status(&mut call.query)?;
    std::mem::take(&mut call.query).finish()?;
    let mut after = after.map(|token| thing_name(&token)).transpose()?;
    let rollout = rollout_of(&doors, job_name(&job)?).await?;
    let (mut lines, mut looked_at, mut is_last) = (Vec::new(), 0, false);
    while !is_last && lines.len() < limit && looked_at < LOOKED_AT_MAX {
        let next = next_of_job(&doors, &rollout, after.clone(), limit).await?;
        is_last = next.len() < limit;
        for (device, execution) in next {
            if lines.len() == limit {
                is_last = false;
                break;
            }
            looked_at += 1;
            let is_shown = execution.as_ref().is_none_or(|execution| !is_deleted(execution))
                && status.is_none_or(|status| stands(&rollout, execution.as_ref()) == status);
            if is_shown {
                lines.push(json!({
                    "thingArn": arn::thing(call.caller.region(), &device),
                    "jobExecutionSummary": answer::execution_line(&rollout, execution.as_ref()),
                }));
            }
            after = Some(device);
        }
    }
    let mut body = json!({ "executionSummaries": lines });
    if let Some(after) = after.filter(|_| !is_last) {
        body["nextToken"] = json!(after);
    }
    Ok(json_answer(&body))
}

/// The next devices of a job, with their executions where they have one.
async fn next_of_job(
    doors: &Doors,
    rollout: &Rollout,
    after: Option<DeviceId>,
    limit: usize,
) -> Result<Vec<(DeviceId, Option<Execution>)>, Failure> {
    let rows = doors.books.executions(rollout.id.clone(), after.clone(), limit).await?;
    let task = rollout.task().ok_or_else(|| Failure::unknown("there is no such job"))?;
    let is_after = |device: &&DeviceId| after.as_ref().is_none_or(|after| *device > after);
    // Those named, and those in the groups, also before they ask.
    let named = task.devices.iter().filter(is_after).take(limit).map(|device| (device.clone(), None));
    let mut next: BTreeMap<_, _> = named.collect();
    if task.membership == Membership::Continuous && rollout.state.offers() {
        for group in &task.groups {
            let members = doors.books.members(group.clone(), after.clone(), limit).await?;
            next.extend(members.into_iter().map(|device| (device, None)));
        }
    }
    next.extend(rows.into_iter().map(|execution| (execution.device.clone(), Some(execution))));
    Ok(next.into_iter().take(limit).collect())
}

/// `GET /things/{thing}/jobs` in the control plane's scope: by job.
pub(in super::super) async fn of_thing(
    doors: &Doors,
    thing: &str,
    mut call: Call,
) -> Result<Response, Failure> {
    admit(doors, &call)?;
    let (after, limit) = page(&mut call.query)?;
    let status = wanted_status(&mut call.query)?;
    let only = call.query.take("jobId")?.map(|job| job_name(&job)).transpose()?;
    std::mem::take(&mut call.query).finish()?;
    let device = thing_name(thing)?;
    let after = after.map(|token| job_name(&token)).transpose()?;
    let executions = doors.books.executions_of(device.clone()).await?;
    let asked = device.clone();
    let found = doors.engine.command(move |fleet, _| {
        let Some(device) = fleet.device(&asked)? else {
            return Err(updraft_core::fleet::Error::UnknownDevice(asked));
        };
        Ok((device, fleet.tasks(after.as_ref(), LOOKED_AT_MAX)))
    });
    let (device, tasks) = found.await?;
    let (mut lines, mut seen, mut count) = (Vec::new(), None, 0);
    for rollout in &tasks {
        let Some(task) = rollout.task() else { continue };
        if lines.len() == limit {
            break;
        }
        (seen, count) = (Some(task.name.clone()), count + 1);
        let execution = executions.iter().find(|execution| execution.rollout == rollout.id);
        let is_shown = execution
            .map_or_else(|| is_meant(rollout, &device), |execution| !is_deleted(execution))
            && status.is_none_or(|status| stands(rollout, execution) == status)
            && only.as_ref().is_none_or(|only| *only == task.name);
        if is_shown {
            lines.push(json!({
                "jobId": task.name,
                "jobExecutionSummary": answer::execution_line(rollout, execution),
            }));
        }
    }
    let mut body = json!({ "executionSummaries": lines });
    let is_last = tasks.len() < LOOKED_AT_MAX && count == tasks.len();
    if let Some(seen) = seen.filter(|_| !is_last) {
        body["nextToken"] = json!(seen);
    }
    Ok(json_answer(&body))
}

/// Whether a job is for a device that has not asked. A job that ended before it asked was for it only by name.
fn is_meant(rollout: &Rollout, device: &updraft_core::device::Device) -> bool {
    rollout.task().is_some_and(|task| {
        let may_come = rollout.state.offers() || task.membership == Membership::Snapshot;
        may_come && task.is_for(device)
    })
}

/// An execution with all that is needed to show it.
struct Found {
    now: Timestamp,
    device: DeviceId,
    rollout: Rollout,
    execution: Option<Execution>,
}

async fn find(doors: &Doors, thing: &str, job: &str) -> Result<Found, Failure> {
    let (id, name) = (thing_name(thing)?, job_name(job)?);
    let unknown = || Failure::unknown(format!("job {job} has no execution on {thing}"));
    let found = doors.engine.command(move |fleet, now| {
        let rollout = fleet.task(&name)?.clone();
        let (device, execution) = (fleet.device(&id)?, fleet.execution(&id, &rollout.id)?);
        Ok((device, Found { now, device: id, rollout, execution }))
    });
    let (device, found) = found.await?;
    let device = device.ok_or_else(unknown)?;
    let is_there = match &found.execution {
        Some(execution) => (1..=execution.attempt).any(|attempt| !execution.retired.contains(&attempt)),
        None => is_meant(&found.rollout, &device),
    };
    if is_there { Ok(found) } else { Err(unknown()) }
}

/// `GET /things/{thing}/jobs/{job}` in the control plane's scope.
pub(in super::super) async fn describe(
    doors: &Doors,
    thing: &str,
    job: &str,
    mut call: Call,
) -> Result<Response, Failure> {
    admit(doors, &call)?;
    let number = call.query.read::<u32>("executionNumber")?;
    std::mem::take(&mut call.query).finish()?;
    let Found { now, device, rollout, execution } = find(doors, thing, job).await?;
    let execution = match execution {
        Some(latest) => Some(numbered(doors, latest, number).await?),
        None if number.is_none_or(|number| number == 1) => None,
        None => return Err(no_number()),
    };
    let task = rollout.task().ok_or_else(|| Failure::unknown("there is no such job"))?;
    let region = call.caller.region();
    let shown = answer::execution(region, now, &device, &rollout, task, execution.as_ref());
    Ok(json_answer(&json!({ "execution": shown })))
}

fn no_number() -> Failure {
    Failure::unknown("there is no execution of this number")
}

/// The attempt that is meant: the latest in sight, or the one named.
async fn numbered(doors: &Doors, latest: Execution, number: Option<u32>) -> Result<Execution, Failure> {
    let in_sight = (1..=latest.attempt).rev().find(|attempt| !latest.retired.contains(attempt));
    let number = number.or(in_sight).ok_or_else(no_number)?;
    if latest.retired.contains(&number) || !(1..=latest.attempt).contains(&number) {
        return Err(no_number());
    }
    if number == latest.attempt {
        return Ok(latest);
    }
    let lines = doors.books.attempt(latest.device.clone(), latest.rollout.clone(), number).await?;
    earlier(&latest, &lines).ok_or_else(no_number)
}

/// An earlier attempt, as far as its history tells: what the device noted on it is not kept.
fn earlier(latest: &Execution, lines: &[HistoryEntry]) -> Option<Execution> {
    let (first, last) = (lines.first()?, lines.last()?);
    let began = lines.iter().find(|line| line.to != ExecutionState::Queued);
    Some(Execution {
        attempt: first.attempt,
        state: last.to,
        opened: first.at,
        changed: last.at,
        started: began.map(|line| line.at),
        revision: u32::try_from(lines.len()).unwrap_or(u32::MAX),
        details: Details::new(),
        step_deadline: None,
        ..latest.clone()
    })
}

/// `PUT /things/{thing}/jobs/{job}/cancel?force=`.
pub(in super::super) async fn cancel(
    State(doors): State<Arc<Doors>>,
    Path((thing, job)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    let mut call = doors.enter(request, REQUEST_BYTES_MAX).await?;
    let by = admit(&doors, &call)?;
    let force = call.query.flag("force")?;
    std::mem::take(&mut call.query).finish()?;
    let CancelExecution { revision, details } = CancelExecution::read(&call.body)?;
    let found = find(&doors, &thing, &job).await?;
    let by = format!("canceled by {by}");
    end(&doors, found, Cancel { force, revision, details, by }).await?;
    Ok(json_answer(&json!({})))
}

/// `DELETE /things/{thing}/jobs/{job}/executionNumber/{number}?force=`: out of sight; history stays.
pub(in super::super) async fn delete(
    State(doors): State<Arc<Doors>>,
    Path((thing, job, number)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    let mut call = doors.enter(request, 0).await?;
    let by = admit(&doors, &call)?;
    let force = call.query.flag("force")?;
    std::mem::take(&mut call.query).finish()?;
    let attempt = number.parse().map_err(|_| Failure::invalid("executionNumber: a whole number"))?;
    let Found { device, rollout, execution, .. } = find(&doors, &thing, &job).await?;
    let not_ended = || {
        let message = "the execution has not ended; delete it by force, or cancel it";
        Failure::new(Exception::InvalidStateTransition, message)
    };
    let was_asked = execution.is_some();
    match (was_asked, attempt) {
        (false, 1) if !force => return Err(not_ended()),
        (false, 1) | (true, _) => {}
        (false, _) => return Err(no_number()),
    }
    let retire = Retire { attempt, force, by: format!("deleted by {by}") };
    let deleted = doors.engine.command(move |fleet, now| {
        if !was_asked {
            // It must be there to be out of sight.
            fleet.pending(now, &device)?;
        }
        fleet.retire_execution(now, &device, &rollout.id, &retire)
    });
    match deleted.await? {
        Ok(_) => Ok(json_answer(&json!({}))),
        Err(AnswerRefused::State(_)) => Err(not_ended()),
        Err(AnswerRefused::Unknown) if was_asked => Err(no_number()),
        Err(refused) => Err(failure(refused)),
    }
}

/// Ends an execution. One that the device has not asked for yet is opened first: it must be there to have ended.
async fn end(doors: &Doors, found: Found, cancel: Cancel) -> Result<(), Failure> {
    let Found { device, rollout, execution, .. } = found;
    let ended = doors.engine.command(move |fleet, now| {
        if execution.is_none() {
            fleet.pending(now, &device)?;
        }
        fleet.cancel_execution(now, &device, &rollout.id, cancel)
    });
    ended.await?.map(drop).map_err(failure)
}

fn failure(refused: AnswerRefused) -> Failure {
    match refused {
        AnswerRefused::Unknown => Failure::new(
            Exception::InvalidStateTransition,
            "the job's pace has not come to this device; cancel the job, or try again later",
        ),
        AnswerRefused::Revision(at) => {
            let message = format!("the execution is at version {}", at.revision);
            Failure::new(Exception::VersionConflict, message)
        }
        AnswerRefused::State(at) => {
            let message =
                format!("the execution is {}; it cannot be canceled so", json!(answer::status(at.state)));
            Failure::new(Exception::InvalidStateTransition, message)
        }
        AnswerRefused::TooManyDetails => Failure::invalid("statusDetails: at most 10"),
    }
}
