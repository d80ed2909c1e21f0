//! Jobs: made, described, listed, changed, ended.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use object_store::GetResult;
use serde_json::{Value, json};
use updraft_core::fleet::Error as FleetError;
use updraft_core::id::TaskName;
use updraft_core::rollout::{AbortReach, Rollout, RolloutState};
use updraft_core::task::{DEVICES_MAX, DOCUMENT_CHARS_MAX, Membership, Task};

use super::super::door::{BODY_BYTES_MAX, Doors, answer as json_answer};
use super::super::failure::{Exception, Failure};
use super::answer::{self, Note};
use super::request::{self, CancelJob, CreateJob, DocumentFrom, Selection, Targets, UpdateJob};
use super::{LOOKED_AT_MAX, admit, job_name, limits, page, state_is_invalid};
use crate::placeholder::{self, Placeholder};

/// Most targets of a job to which targets are added (AWS IoT Jobs).
const ASSOCIATED_MAX: usize = 100;

/// `PUT /jobs/{job}`.
pub(in super::super) async fn create(
    State(doors): State<Arc<Doors>>,
    Path(job): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let call = doors.enter(request, BODY_BYTES_MAX).await?;
    let by = admit(&doors, &call)?;
    call.query.clone().finish()?;
    let name = job_name(&job)?;
    let wanted = CreateJob::read(&call.body)?;
    let now = doors.engine.now();
    let mut plan = limits::plan(now);
    wanted.limits.apply(&mut plan)?;
    let document = document_of(&doors, wanted.document).await?;
    let Targets { mut devices, groups } = wanted.targets;
    if wanted.membership == Membership::Snapshot {
        for group in &groups {
            devices.extend(doors.books.members(group.clone(), None, DEVICES_MAX + 1).await?);
        }
        if devices.is_empty() {
            return Err(Failure::invalid("targets: no device is in these thing groups"));
        }
    }
    let task = Task {
        name,
        description: wanted.description,
        document,
        devices,
        groups,
        membership: wanted.membership,
        link_life: wanted.link_life,
    };
    let rollout = doors.engine.start_task(task, plan, by).await?;
    Ok(json_answer(&answer::named(call.caller.region(), task_of(&rollout)?)))
}

/// The text of a document, checked: a JSON object, whose placeholders name artifacts that there are.
async fn document_of(doors: &Doors, from: DocumentFrom) -> Result<String, Failure> {
    let text = match from {
        DocumentFrom::Text(text) => text,
        DocumentFrom::Artifact(place) => stored(doors, &place).await?,
    };
    request::check_document(&text)?;
    for place in placeholder::all(&text)? {
        release_of(doors, &place).await?;
    }
    Ok(text)
}

async fn release_of(
    doors: &Doors,
    place: &Placeholder,
) -> Result<Arc<updraft_core::release::Release>, Failure> {
    let found = doors.engine.release(place.product.clone(), place.version.clone()).await;
    found.map_err(|error| match Failure::from(error) {
        Failure { exception: Exception::ResourceNotFound, .. } => unknown(place),
        failure => failure,
    })
}

/// What is said of a placeholder whose release is not there.
fn unknown(place: &Placeholder) -> Failure {
    let Placeholder { product, version } = place;
    let may_be = placeholder::MAY_BE;
    Failure::invalid(format!("there is no release {version} of {product} for a placeholder: {may_be}"))
}

/// A document that is an artifact, read once, as the contract says.
async fn stored(doors: &Doors, place: &Placeholder) -> Result<String, Failure> {
    // A character takes four bytes at most.
    const BYTES_MAX: u64 = 4 * DOCUMENT_CHARS_MAX as u64;
    let release = release_of(doors, place).await?;
    let too_large = || Failure::invalid(format!("documentSource: at most {DOCUMENT_CHARS_MAX} characters"));
    if release.artifact.size > BYTES_MAX {
        return Err(too_large());
    }
    let digest = release.artifact.sha256.parse().expect("artifacts are named by digests");
    let unavailable = |error: &dyn std::error::Error| {
        tracing::error!(error = %error, "a job's document could not be read");
        Failure::new(Exception::ServiceUnavailable, "the artifact cannot be read now")
    };
    let opened: GetResult = doors.artifacts.open(&digest).await.map_err(|error| unavailable(&error))?;
    let bytes = opened.bytes().await.map_err(|error| unavailable(&error))?;
    String::from_utf8(bytes.into()).map_err(|_| Failure::invalid("documentSource: the artifact is no text"))
}

fn task_of(rollout: &Rollout) -> Result<&Arc<Task>, Failure> {
    rollout.task().ok_or_else(|| Failure::unknown("there is no such job"))
}

/// The rollout of a job.
pub(super) async fn rollout_of(doors: &Doors, name: TaskName) -> Result<Rollout, Failure> {
    Ok(doors.engine.command(move |fleet, _| fleet.task(&name).cloned()).await?)
}

/// `GET /jobs/{job}`.
pub(in super::super) async fn describe(
    State(doors): State<Arc<Doors>>,
    Path(job): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let mut call = doors.enter(request, 0).await?;
    admit(&doors, &call)?;
    call.query.flag("beforeSubstitution")?;
    call.query.finish()?;
    let rollout = rollout_of(&doors, job_name(&job)?).await?;
    let tally = doors.books.tally(rollout.id.clone()).await?;
    let shown = answer::job(call.caller.region(), &rollout, task_of(&rollout)?, &tally);
    Ok(json_answer(&json!({ "job": shown })))
}

/// `GET /jobs/{job}/job-document`: as it was given, placeholders and all.
pub(in super::super) async fn document(
    State(doors): State<Arc<Doors>>,
    Path(job): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let mut call = doors.enter(request, 0).await?;
    admit(&doors, &call)?;
    call.query.flag("beforeSubstitution")?;
    call.query.finish()?;
    let rollout = rollout_of(&doors, job_name(&job)?).await?;
    Ok(json_answer(&json!({ "document": task_of(&rollout)?.document })))
}

/// `GET /jobs?status=&targetSelection=&thingGroupName=&maxResults=&nextToken=`: by ID.
pub(in super::super) async fn list(
    State(doors): State<Arc<Doors>>,
    request: Request,
) -> Result<Response, Failure> {
    let mut call = doors.enter(request, 0).await?;
    admit(&doors, &call)?;
    let (after, limit) = page(&mut call.query)?;
    let status = call.query.take("status")?;
    let known = ["IN_PROGRESS", "CANCELED", "COMPLETED", "DELETION_IN_PROGRESS", "SCHEDULED"];
    if status.as_ref().is_some_and(|status| !known.contains(&status.as_str())) {
        return Err(Failure::invalid(format!("status: one of {}", known.join(", "))));
    }
    let wanted = call.query.take("targetSelection")?;
    let wanted: Option<Selection> = wanted
        .map(|word| serde_json::from_value(Value::String(word)))
        .transpose()
        .map_err(|_| Failure::invalid("targetSelection: SNAPSHOT or CONTINUOUS"))?;
    let group = call.query.take("thingGroupName")?;
    call.query.finish()?;
    let after = after.map(|token| job_name(&token)).transpose()?;
    let region = call.caller.region().to_owned();
    let looked_at =
        doors.engine.command(move |fleet, _| Ok(fleet.tasks(after.as_ref(), LOOKED_AT_MAX))).await?;
    let is_last = looked_at.len() < LOOKED_AT_MAX;
    let is_wanted = |rollout: &Rollout, task: &Task| {
        status.as_ref().is_none_or(|status| answer::job_status(rollout.state) == status)
            && wanted.is_none_or(|selection| task.membership == selection.into())
            && group.as_ref().is_none_or(|group| task.groups.iter().any(|one| one.as_str() == group))
    };
    let (mut jobs, mut seen, mut count) = (Vec::new(), None, 0);
    for rollout in &looked_at {
        let Some(task) = rollout.task() else { continue };
        if jobs.len() == limit {
            break;
        }
        (seen, count) = (Some(task.name.clone()), count + 1);
        if is_wanted(rollout, task) {
            jobs.push(answer::job_line(&region, rollout, task));
        }
    }
    let mut body = json!({ "jobs": jobs });
    if let Some(seen) = seen.filter(|_| !is_last || count < looked_at.len()) {
        body["nextToken"] = json!(seen);
    }
    Ok(json_answer(&body))
}

/// `PATCH /jobs/{job}`.
pub(in super::super) async fn update(
    State(doors): State<Arc<Doors>>,
    Path(job): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let call = doors.enter(request, BODY_BYTES_MAX).await?;
    admit(&doors, &call)?;
    call.query.finish()?;
    let name = job_name(&job)?;
    let UpdateJob { description, link_life, limits } = UpdateJob::read(&call.body)?;
    let changed = doors.engine.command(move |fleet, _| {
        let mut plan = fleet.task(&name)?.plan.clone();
        if let Err(failure) = limits.apply(&mut plan) {
            return Ok(Err(failure));
        }
        let changed = fleet.change_task(&name, |task, kept| {
            *kept = plan;
            task.link_life = link_life.unwrap_or(task.link_life);
            if let Some(description) = description {
                task.description = description;
            }
        });
        Ok(changed.map(drop).map_err(state_is_invalid))
    });
    changed.await??;
    Ok(json_answer(&json!({})))
}

/// `POST /jobs/{job}/targets`: more targets, of a job that takes devices as they come.
pub(in super::super) async fn associate(
    State(doors): State<Arc<Doors>>,
    Path(job): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let call = doors.enter(request, BODY_BYTES_MAX).await?;
    admit(&doors, &call)?;
    call.query.clone().finish()?;
    let (name, targets) = (job_name(&job)?, request::associate(&call.body)?);
    let changed = doors.engine.command(move |fleet, _| {
        let rollout = fleet.task(&name)?;
        let Some(task) = rollout.task() else { return Err(FleetError::UnknownTask(name)) };
        if task.membership != Membership::Continuous || rollout.state == RolloutState::Aborted {
            return Ok(Err(Failure::invalid("only a CONTINUOUS job that is IN_PROGRESS takes more targets")));
        }
        let mut joined = Targets { devices: task.devices.clone(), groups: task.groups.clone() };
        joined.devices.extend(targets.devices);
        joined.groups.extend(targets.groups);
        if joined.devices.len() + joined.groups.len() > ASSOCIATED_MAX {
            let message = format!("the job would have more than {ASSOCIATED_MAX} targets");
            return Ok(Err(Failure::new(Exception::LimitExceeded, message)));
        }
        let changed = fleet.change_task(&name, |task, _| {
            (task.devices, task.groups) = (joined.devices, joined.groups);
        });
        Ok(changed.map_err(state_is_invalid))
    });
    let rollout = changed.await??;
    Ok(json_answer(&answer::named(call.caller.region(), task_of(&rollout)?)))
}

/// `PUT /jobs/{job}/cancel?force=`: what has not begun ends; by force also what has.
pub(in super::super) async fn cancel(
    State(doors): State<Arc<Doors>>,
    Path(job): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let mut call = doors.enter(request, BODY_BYTES_MAX).await?;
    let by = admit(&doors, &call)?;
    let force = call.query.flag("force")?;
    std::mem::take(&mut call.query).finish()?;
    let name = job_name(&job)?;
    let CancelJob { reason_code, comment } = CancelJob::read(&call.body)?;
    let comment = comment.unwrap_or_else(|| format!("canceled by {by}"));
    let note = Note { reason_code: reason_code.as_deref(), comment: &comment }.text();
    let canceled = doors.engine.command(move |fleet, now| {
        let Rollout { id, state, .. } = fleet.task(&name)?.clone();
        if matches!(state, RolloutState::Aborted | RolloutState::Completed) {
            let status = answer::job_status(state);
            return Ok(Err(Failure::invalid(format!("the job is {status}; it cannot be canceled"))));
        }
        if force {
            fleet.change_task(&name, |_, plan| plan.abort_reach = AbortReach::Open)?;
        }
        Ok(fleet.abort(now, &id, &note).map_err(state_is_invalid))
    });
    let rollout = canceled.await??;
    Ok(json_answer(&answer::named(call.caller.region(), task_of(&rollout)?)))
}

/// `DELETE /jobs/{job}?force=`: out of sight, its ID free again; history stays.
pub(in super::super) async fn delete(
    State(doors): State<Arc<Doors>>,
    Path(job): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let mut call = doors.enter(request, 0).await?;
    let by = admit(&doors, &call)?;
    let force = call.query.flag("force")?;
    call.query.finish()?;
    let name = job_name(&job)?;
    let note = format!("{}{by}", answer::DELETED);
    doors.engine.command(move |fleet, now| fleet.retire_task(now, &name, force, &note)).await?;
    Ok(json_answer(&json!({})))
}
