//! The check-in by jobs: what the device should do is the job that is next, how it stands is that job's status.
//!
//! Jobs have no place for what a device is, so that goes to the replica, and a success is told only after it: the version
//! that runs is what an end is judged by.

use crate::mqtt::line::{Ask, Line, Topics};
use crate::mqtt::replica::{self, Replica};
use crate::mqtt::{answer, not_understood, refusal};
use crate::transport::CheckInError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use updraft_wire::jobs::{
    DescribeRequest, Details, Execution, ExecutionReply, NEXT, OPERATION_UPDATE, Rejected, RejectedCode,
    Status, Topic, UpdateDocument, UpdateReply, UpdateRequest, failure, said,
};
use updraft_wire::replica::Verdict;
use updraft_wire::{Assignment, CheckIn, CheckInAnswer, JobId, Reason, UpdateState, UpdateStatus};

/// Most tries to say one thing of a job that others change at the same time.
const TRIES_MAX: u32 = 3;
/// Most jobs that this agent cannot do, refused in one check-in.
const UNFIT_MAX: u32 = 8;

/// What to listen to. Of a job's replies, those of any job: which one is known only later.
pub(super) fn topics(thing: &str) -> Topics {
    let mut topics = replica::topics(thing);
    let notify_next = Topic::NotifyNext.name(thing);
    topics.filters.push(notify_next.clone());
    topics.filters.push(Topic::Describe("+").name(thing) + "/+");
    topics.filters.push(Topic::Update("+").name(thing) + "/+");
    topics.hints.push(notify_next);
    topics
}

/// An execution as the server was last heard to have it.
#[derive(Debug, Clone)]
struct Known {
    /// Our name for it.
    job: JobId,
    /// The contract's names for it.
    job_id: String,
    number: Option<i64>,
    version: i64,
}

/// What is known of the server's side.
pub(super) struct Jobs {
    thing: String,
    description: Replica,
    connection: u64,
    known: Option<Known>,
    /// What was accepted last on this connection.
    told: Option<UpdateStatus>,
}

/// A job's document, as far as this agent can do it.
enum Fit {
    Update(Box<Assignment>),
    /// It cannot; why.
    Not(Status, String),
}

impl Jobs {
    pub(super) fn new(thing: &str) -> Self {
        let description = Replica::new(thing);
        Self { thing: thing.to_owned(), description, connection: 0, known: None, told: None }
    }

    /// Says what the device is and how it stands, then asks for the next job.
    pub(super) fn check_in(
        &mut self,
        line: &Line,
        connection: u64,
        words: &CheckIn,
    ) -> Result<CheckInAnswer, CheckInError> {
        if self.connection != connection {
            (self.connection, self.known, self.told) = (connection, None, None);
        }
        let update = words.update.as_ref();
        // A failure is told with its reason, before the old version, which runs again, lets the server find one of its own.
        if update.is_some_and(|update| update.state.is_settled() && update.state != UpdateState::Succeeded) {
            self.tell_once(line, words)?;
        }
        // A version on trial is described as that: the version alone would be taken for success.
        let trial = update.filter(|update| update.state == UpdateState::Trial);
        self.description.report(line, connection, words, trial.cloned())?;
        self.tell_once(line, words)?;
        let ended = words.update.as_ref().filter(|update| update.state.is_settled());
        let noted = ended.map(|update| update.job.clone());
        Ok(answer(words, self.next(line)?, noted))
    }

    /// Says how the device stands with a job, unless it was accepted on this connection.
    fn tell_once(&mut self, line: &Line, words: &CheckIn) -> Result<(), CheckInError> {
        let Some(update) = words.update.as_ref().filter(|update| self.told.as_ref() != Some(update)) else {
            return Ok(());
        };
        self.tell(line, update, &words.version)?;
        self.told = Some(update.clone());
        Ok(())
    }

    /// Says how the device stands with a job. A job that the server has closed hears no more, and need not.
    fn tell(&mut self, line: &Line, update: &UpdateStatus, version: &str) -> Result<(), CheckInError> {
        let (status, details) = said(update, version);
        for _ in 0..TRIES_MAX {
            let Some(known) = self.known(line, &update.job)? else { return Ok(()) };
            match self.update(line, &known, status, details.clone())? {
                None => return Ok(()),
                Some(rejected) => match rejected.code {
                    RejectedCode::VersionMismatch => self.known = None,
                    RejectedCode::InvalidStateTransition
                    | RejectedCode::ResourceNotFound
                    | RejectedCode::TerminalStateReached => {
                        self.known = None;
                        return Ok(());
                    }
                    code @ (RejectedCode::InvalidTopic
                    | RejectedCode::InvalidJson
                    | RejectedCode::InvalidRequest
                    | RejectedCode::InternalError
                    | RejectedCode::RequestThrottled) => {
                        return Err(refusal(http_status(code), &rejected.message));
                    }
                },
            }
        }
        Err(refusal(503, "the job changes faster than it can be spoken of"))
    }

    /// The execution of a job, described anew where it is not known.
    fn known(&mut self, line: &Line, job: &JobId) -> Result<Option<Known>, CheckInError> {
        if self.known.as_ref().is_none_or(|known| known.job != *job) {
            // The next job is the one in progress, if one is.
            let next = self.describe(line, NEXT, None)?;
            self.known = next.and_then(|execution| Known::of(job, execution));
        }
        if self.known.is_none() {
            let number = i64::from(job.attempt());
            let named = self.describe(line, job.rollout(), Some(number))?;
            self.known = named.and_then(|execution| Known::of(job, execution));
        }
        Ok(self.known.clone())
    }

    /// The next job that this agent can do. Others would stand before it for ever: they are refused.
    fn next(&mut self, line: &Line) -> Result<Option<Assignment>, CheckInError> {
        for _ in 0..UNFIT_MAX {
            let Some(execution) = self.describe(line, NEXT, None)? else { return Ok(None) };
            let (job_id, number) = (execution.job_id.clone(), execution.execution_number);
            let version = execution.version_number;
            match fit(execution.job_document.as_ref()) {
                Fit::Update(assignment) => {
                    self.known = Some(Known { job: assignment.job.clone(), job_id, number, version });
                    return Ok(Some(*assignment));
                }
                Fit::Not(status, why) => {
                    let details = failure(Reason::UnsupportedPackage, &why);
                    // The next description shows what became of it, accepted or not.
                    let _ = self.update_execution(line, &job_id, number, version, status, details)?;
                }
            }
        }
        Err(CheckInError::NotUnderstood(format!("{UNFIT_MAX} jobs in a row are none that can be done here")))
    }

    fn describe(
        &self,
        line: &Line,
        job_id: &str,
        number: Option<i64>,
    ) -> Result<Option<Execution>, CheckInError> {
        let token = line.token();
        let body = DescribeRequest {
            execution_number: number,
            include_job_document: None,
            client_token: Some(token.clone()),
        };
        let reply = |verdict| Topic::DescribeReply(job_id, verdict).name(&self.thing);
        let replies = [reply(Verdict::Accepted), reply(Verdict::Rejected)];
        match self.ask::<_, ExecutionReply>(line, Topic::Describe(job_id), replies, token, &body)? {
            Ok(reply) => Ok(reply.execution.filter(|execution| !execution.status.is_terminal())),
            Err(rejected) => match rejected.code {
                RejectedCode::ResourceNotFound | RejectedCode::TerminalStateReached => Ok(None),
                code @ (RejectedCode::InvalidTopic
                | RejectedCode::InvalidJson
                | RejectedCode::InvalidRequest
                | RejectedCode::InvalidStateTransition
                | RejectedCode::VersionMismatch
                | RejectedCode::InternalError
                | RejectedCode::RequestThrottled) => Err(refusal(http_status(code), &rejected.message)),
            },
        }
    }

    fn update(
        &mut self,
        line: &Line,
        known: &Known,
        status: Status,
        details: Details,
    ) -> Result<Option<Rejected>, CheckInError> {
        match self.update_execution(line, &known.job_id, known.number, known.version, status, details)? {
            Ok(reply) => {
                let version = reply.execution_state.map_or(known.version + 1, |state| state.version_number);
                self.known = Some(Known { version, ..known.clone() }).filter(|_| !status.is_terminal());
                Ok(None)
            }
            Err(rejected) => Ok(Some(rejected)),
        }
    }

    fn update_execution(
        &self,
        line: &Line,
        job_id: &str,
        number: Option<i64>,
        version: i64,
        status: Status,
        details: Details,
    ) -> Result<Result<UpdateReply, Rejected>, CheckInError> {
        let token = line.token();
        let body = UpdateRequest {
            expected_version: Some(version),
            execution_number: number,
            include_job_execution_state: true,
            client_token: Some(token.clone()),
            ..UpdateRequest::new(status, Some(details))
        };
        let reply = |verdict| Topic::UpdateReply(job_id, verdict).name(&self.thing);
        let replies = [reply(Verdict::Accepted), reply(Verdict::Rejected)];
        self.ask(line, Topic::Update(job_id), replies, token, &body)
    }

    fn ask<B: Serialize, T: DeserializeOwned>(
        &self,
        line: &Line,
        topic: Topic<'_>,
        [accepted, rejected]: [String; 2],
        token: String,
        body: &B,
    ) -> Result<Result<T, Rejected>, CheckInError> {
        let payload = serde_json::to_vec(body).map_err(not_understood)?;
        let ask = Ask { topic: topic.name(&self.thing), payload, token, accepted, rejected };
        let reply = line.ask(self.connection, ask)?;
        match reply.verdict {
            Verdict::Accepted => serde_json::from_slice(&reply.payload).map(Ok).map_err(not_understood),
            Verdict::Rejected => serde_json::from_slice(&reply.payload).map(Err).map_err(not_understood),
        }
    }
}

impl Known {
    /// What an execution is known as, if it is this job's.
    fn of(job: &JobId, execution: Execution) -> Option<Self> {
        match fit(execution.job_document.as_ref()) {
            Fit::Update(assignment) if assignment.job == *job => Some(Self {
                job: job.clone(),
                job_id: execution.job_id,
                number: execution.execution_number,
                version: execution.version_number,
            }),
            Fit::Update(_) | Fit::Not(..) => None,
        }
    }
}

fn fit(document: Option<&Value>) -> Fit {
    let operation = document.and_then(|document| document.get("operation")?.as_str());
    match (document, operation) {
        (Some(document), Some(OPERATION_UPDATE)) => match UpdateDocument::deserialize(document) {
            Ok(document) => Fit::Update(Box::new(document.into())),
            Err(error) => Fit::Not(Status::Failed, format!("the update's document is not valid: {error}")),
        },
        (_, Some(operation)) => {
            Fit::Not(Status::Rejected, format!("operation {operation:?} is not known to this agent"))
        }
        (_, None) => Fit::Not(Status::Rejected, "the job's document names no operation".into()),
    }
}

/// The HTTP status that means the same (the service's own table for its HTTP interface).
fn http_status(code: RejectedCode) -> u16 {
    match code {
        RejectedCode::InvalidTopic | RejectedCode::InvalidJson | RejectedCode::InvalidRequest => 400,
        RejectedCode::ResourceNotFound => 404,
        RejectedCode::InvalidStateTransition | RejectedCode::VersionMismatch => 409,
        RejectedCode::TerminalStateReached => 410,
        RejectedCode::RequestThrottled => 429,
        RejectedCode::InternalError => 500,
    }
}
