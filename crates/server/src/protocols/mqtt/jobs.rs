//! Jobs: requests on topics to the fleet, and its answers to replies and notifications. Pure.
//!
//! The contract is that of AWS IoT Jobs (Developer Guide, "Jobs device MQTT and HTTPS APIs"). A job is a rollout: of a
//! task, under the task's name; of a release, under the rollout's ID, with the attempt as execution number. Replies go to
//! whoever asked, subscribed or not, and to nobody else.

mod notify;
mod render;
mod request;
#[cfg(test)]
mod tests;

pub use notify::{Told, notifications};
pub(super) use render::job_id;

use super::door::{Effects, Message};
use super::links::Links;
use crate::update;
use render::Renderer;
use request::{Refused, Request, read, step_timer};
use serde::Serialize;
use updraft_core::execution::{Details, Execution};
use updraft_core::fleet::{Answer, AnswerRefused, Error, Fleet, Pending};
use updraft_core::id::{DeviceId, RolloutId, TaskName};
use updraft_core::rollout::Rollout;
use updraft_core::state::ExecutionState;
use updraft_core::store::Store;
use updraft_core::time::Timestamp;
use updraft_wire::jobs::{
    DescribeRequest, ExecutionReply, GetReply, NEXT, Rejected, RejectedCode, StartNextRequest, Status, Topic,
    UpdateReply, UpdateRequest, heard,
};
use updraft_wire::replica::Verdict;

/// What comes of a request.
#[derive(Debug, Clone, Default)]
pub struct Handled {
    /// The reply.
    pub effects: Effects,
    /// What the device knows by the reply of what it has before it, where the reply says so.
    pub told: Option<Told>,
}

/// Takes in a request of a device.
///
/// # Errors
/// [`Error::Store`]; whatever is wrong with the request is rejected on its own topic.
pub fn handle<S: Store>(
    fleet: &mut Fleet<S>,
    now: Timestamp,
    device: &DeviceId,
    topic: Topic<'_>,
    payload: &[u8],
    links: &Links,
) -> Result<Handled, Error> {
    let mut desk = Desk { fleet, now, device, links, told: None };
    let Some((accepted, rejected)) = replies(topic) else { return Ok(Handled::default()) };
    let request = read(payload);
    let token = request.token.clone();
    let outcome = match request.body.and_then(|body| Request::parse(topic, body)) {
        Err(refused) => Err(refused),
        Ok(Request::Get) => desk.get(token.clone())?,
        Ok(Request::StartNext(request)) => desk.start_next(&request)?,
        Ok(Request::Describe(job, request)) => desk.describe(job, &request)?,
        Ok(Request::Update(job, request)) => desk.update(job, &request)?,
    };
    let reply = match outcome {
        Ok(payload) => message(accepted, device, &payload),
        Err(refused) => message(rejected, device, &refused.into_body(now, token)),
    };
    Ok(Handled { effects: Effects { replies: vec![reply], published: Vec::new() }, told: desk.told })
}

/// Where a request is answered; `None` if nothing is asked on the topic.
fn replies(topic: Topic<'_>) -> Option<(Topic<'_>, Topic<'_>)> {
    use Verdict::{Accepted, Rejected};
    Some(match topic {
        Topic::Get => (Topic::GetReply(Accepted), Topic::GetReply(Rejected)),
        Topic::StartNext => (Topic::StartNextReply(Accepted), Topic::StartNextReply(Rejected)),
        Topic::Describe(job) => (Topic::DescribeReply(job, Accepted), Topic::DescribeReply(job, Rejected)),
        Topic::Update(job) => (Topic::UpdateReply(job, Accepted), Topic::UpdateReply(job, Rejected)),
        Topic::Notify
        | Topic::NotifyNext
        | Topic::GetReply(_)
        | Topic::StartNextReply(_)
        | Topic::DescribeReply(..)
        | Topic::UpdateReply(..) => return None,
    })
}

/// The answer to a request of a device for which nothing is pending, where that alone decides it: what [`handle`] answers
/// when it finds nothing.
#[must_use]
pub fn nothing_pending(
    now: Timestamp,
    device: &DeviceId,
    topic: Topic<'_>,
    payload: &[u8],
) -> Option<Effects> {
    if !matches!(topic, Topic::Get | Topic::StartNext | Topic::Describe(NEXT)) {
        return None;
    }
    let (accepted, _) = replies(topic)?;
    let request = read(payload);
    let (timestamp, client_token) = (seconds(now), request.token);
    // What is wrong with a request, `handle` says.
    let reply = match Request::parse(topic, request.body.ok()?).ok()? {
        Request::Get => {
            let (in_progress_jobs, queued_jobs) = (Vec::new(), Vec::new());
            message(accepted, device, &GetReply { in_progress_jobs, queued_jobs, timestamp, client_token })
        }
        Request::StartNext(_) | Request::Describe(..) => {
            message(accepted, device, &ExecutionReply { execution: None, timestamp, client_token })
        }
        Request::Update(..) => return None,
    };
    Some(Effects { replies: vec![reply], published: Vec::new() })
}

fn message(topic: Topic<'_>, device: &DeviceId, body: &impl Serialize) -> Message {
    let payload = serde_json::to_vec(body).expect("a body is plain data");
    Message { topic: topic.name(device.as_str()).into(), payload: payload.into() }
}

/// What answers one request.
struct Desk<'a, S> {
    fleet: &'a mut Fleet<S>,
    now: Timestamp,
    device: &'a DeviceId,
    links: &'a Links,
    told: Option<Told>,
}

type Outcome = Result<Result<serde_json::Value, Refused>, Error>;

fn reply(body: &impl Serialize) -> Result<serde_json::Value, Refused> {
    Ok(serde_json::to_value(body).expect("a body is plain data"))
}

/// Whole seconds since 1970, as the contract wants its times: clients take anything larger for another century.
fn seconds(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(1000)
}

impl<S: Store> Desk<'_, S> {
    fn pending(&mut self) -> Result<Vec<Pending>, Error> {
        let pending = self.fleet.pending(self.now, self.device)?;
        self.told = Some(Told::of(&pending));
        Ok(pending)
    }

    fn renderer(&self) -> Renderer<'_, S> {
        Renderer { fleet: self.fleet, now: self.now, links: self.links }
    }

    fn get(&mut self, client_token: Option<String>) -> Outcome {
        let pending = self.pending()?;
        let (begun, queued): (Vec<_>, Vec<_>) =
            pending.iter().partition(|one| one.execution.state != ExecutionState::Queued);
        Ok(reply(&GetReply {
            in_progress_jobs: begun.into_iter().map(render::summary).collect(),
            queued_jobs: queued.into_iter().map(render::summary).collect(),
            timestamp: seconds(self.now),
            client_token,
        }))
    }

    fn start_next(&mut self, request: &StartNextRequest) -> Outcome {
        let pending = self.pending()?;
        let Some(mut next) = pending.into_iter().next() else {
            return Ok(self.execution_reply(None, request.client_token.clone()));
        };
        if next.execution.state == ExecutionState::Queued {
            let timer = match step_timer(request.step_timeout_in_minutes) {
                Ok(timer) => timer,
                Err(refused) => return Ok(Err(refused)),
            };
            let details = request.status_details.clone();
            let answer = said(&next.execution, Status::InProgress, details, timer);
            match self.fleet.answer(self.now, self.device, &next.rollout.id, &answer)? {
                Ok(execution) => next.execution = execution,
                Err(refused) => return Ok(Err(self.refused(refused))),
            }
        }
        let execution = self.renderer().execution(&next.rollout, &next.execution, true);
        Ok(self.execution_reply(Some(execution), request.client_token.clone()))
    }

    fn execution_reply(
        &self,
        execution: Option<updraft_wire::jobs::Execution>,
        client_token: Option<String>,
    ) -> Result<serde_json::Value, Refused> {
        reply(&ExecutionReply { execution, timestamp: seconds(self.now), client_token })
    }

    fn describe(&mut self, job: &str, request: &DescribeRequest) -> Outcome {
        let pending = self.pending()?;
        let token = request.client_token.clone();
        let found = if job == NEXT {
            match pending.into_iter().next() {
                Some(next) => (next.rollout, next.execution),
                None => return Ok(self.execution_reply(None, token)),
            }
        } else {
            match self.find(job, request.execution_number)? {
                Ok(found) => found,
                Err(refused) => return Ok(Err(refused)),
            }
        };
        let (rollout, execution) = found;
        if !execution.state.is_open() {
            let message = format!("the execution of job {job} has ended: {}", execution.state.kind());
            return Ok(Err(Refused::new(RejectedCode::TerminalStateReached, message)));
        }
        let with_document = request.include_job_document.unwrap_or(true);
        let execution = self.renderer().execution(&rollout, &execution, with_document);
        Ok(self.execution_reply(Some(execution), token))
    }

    /// The device's execution of a job.
    fn find(
        &mut self,
        job: &str,
        number: Option<i64>,
    ) -> Result<Result<(Rollout, Execution), Refused>, Error> {
        let Some(rollout) = rollout(self.fleet, job) else { return Ok(Err(unknown(job))) };
        let execution = self.fleet.execution(self.device, &rollout.id)?;
        let is_meant = |one: &Execution| number.is_none_or(|number| number == i64::from(one.attempt));
        Ok(execution.filter(is_meant).map(|one| (rollout, one)).ok_or_else(|| unknown(job)))
    }

    fn update(&mut self, job: &str, request: &UpdateRequest) -> Outcome {
        let found = if job == NEXT {
            let next = self.pending()?.into_iter().next();
            next.map(|next| (next.rollout, next.execution)).ok_or_else(|| unknown(job))
        } else {
            self.find(job, request.execution_number)?
        };
        let (rollout, execution) = match found {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        };
        let timer = match step_timer(request.step_timeout_in_minutes) {
            Ok(timer) => timer,
            Err(refused) => return Ok(Err(refused)),
        };
        let mut answer = said(&execution, request.status, request.status_details.clone(), timer);
        // A version that no execution can have is another one than it has.
        answer.revision = request.expected_version.map(|version| u32::try_from(version).unwrap_or(0));
        let execution = match self.fleet.answer(self.now, self.device, &rollout.id, &answer)? {
            Ok(execution) => execution,
            Err(refused) => return Ok(Err(self.refused(refused))),
        };
        let document = request.include_job_document.then(|| self.renderer().document(&rollout, &execution));
        Ok(reply(&UpdateReply {
            execution_state: request.include_job_execution_state.then(|| render::state(&execution)),
            job_document: document,
            timestamp: seconds(self.now),
            client_token: request.client_token.clone(),
        }))
    }

    fn refused(&self, refused: AnswerRefused) -> Refused {
        match refused {
            AnswerRefused::Unknown => {
                Refused::new(RejectedCode::ResourceNotFound, "the device has no such execution".to_owned())
            }
            AnswerRefused::Revision(execution) => {
                let message = format!("the execution has version {}", execution.revision);
                Refused::new(RejectedCode::VersionMismatch, message).with(&execution)
            }
            AnswerRefused::State(execution) => {
                let message = format!("the execution is {}", execution.state.kind());
                Refused::new(RejectedCode::InvalidStateTransition, message).with(&execution)
            }
            AnswerRefused::TooManyDetails => {
                Refused::new(RejectedCode::InvalidRequest, "statusDetails: at most 10 entries".to_owned())
            }
        }
    }
}

fn unknown(job: &str) -> Refused {
    let job: String = job.chars().take(64).collect();
    Refused::new(RejectedCode::ResourceNotFound, format!("the device has no execution of job {job}"))
}

/// The rollout that a job ID names: a task's by its name, a release's by its own ID.
pub(super) fn rollout<S: Store>(fleet: &Fleet<S>, job: &str) -> Option<Rollout> {
    let by_name = job.parse::<TaskName>().ok().and_then(|name| fleet.task(&name).ok().cloned());
    by_name.or_else(|| {
        let id = job.parse::<RolloutId>().ok()?;
        fleet.rollout(&id).ok().filter(|rollout| rollout.release().is_some()).cloned()
    })
}

/// The document of a device's execution, its links made as it asks.
pub(super) fn document<S: Store>(
    fleet: &Fleet<S>,
    now: Timestamp,
    rollout: &Rollout,
    execution: &Execution,
    links: &Links,
) -> serde_json::Value {
    Renderer { fleet, now, links }.document(rollout, execution)
}

/// A status with its details, in the domain's words.
fn said(
    execution: &Execution,
    status: Status,
    details: Option<Details>,
    timer: Option<updraft_core::execution::StepTimer>,
) -> Answer {
    let none = Details::new();
    let given = details.as_ref().unwrap_or(&none);
    let job = update::job_of(&execution.rollout, execution.attempt);
    let update = heard(job, status, given).map(update::progress);
    let reason = given.get(updraft_wire::jobs::detail::REASON);
    let (word, detail) = update.map_or_else(
        // The request was read: no other status gets this far.
        || (updraft_core::report::Word::Downloading, String::new()),
        |progress| (progress.word, progress.detail),
    );
    let detail = if detail.is_empty() { reason.cloned().unwrap_or_default() } else { detail };
    Answer {
        attempt: Some(execution.attempt),
        revision: None,
        word,
        detail,
        version: given.get(updraft_wire::jobs::detail::VERSION).cloned(),
        details,
        timer,
    }
}
