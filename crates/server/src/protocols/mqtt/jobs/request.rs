//! Reading requests: what is JSON, what has the contract's shape, what is within its limits.

use super::{DescribeRequest, Rejected, RejectedCode, StartNextRequest, Status, Topic, UpdateRequest};
use super::{Details, Execution, Timestamp, render, seconds};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use updraft_core::execution::StepTimer;
use updraft_wire::jobs::{DETAIL_CHARS_MAX, DETAILS_MAX, ExecutionState, JOB_ID_BYTES_MAX, NEXT};

/// Longest client token, in bytes (AWS IoT Jobs).
const CLIENT_TOKEN_BYTES_MAX: usize = 64;
/// Longest name of a status detail, in bytes (AWS IoT Jobs).
const DETAIL_NAME_BYTES_MAX: usize = 128;
/// Longest step timer, in minutes: a week (AWS IoT Jobs).
const STEP_MINUTES_MAX: i64 = 10_080;

/// Why a request is rejected.
#[derive(Debug)]
pub(super) struct Refused {
    code: RejectedCode,
    message: String,
    state: Option<ExecutionState>,
}

impl Refused {
    pub(super) fn new(code: RejectedCode, message: String) -> Self {
        Self { code, message, state: None }
    }

    fn invalid(message: &str) -> Self {
        Self::new(RejectedCode::InvalidRequest, message.to_owned())
    }

    /// With how the execution stands.
    pub(super) fn with(self, execution: &Execution) -> Self {
        Self { state: Some(render::state(execution)), ..self }
    }

    pub(super) fn into_body(self, now: Timestamp, client_token: Option<String>) -> Rejected {
        let Self { code, message, state } = self;
        Rejected { code, message, execution_state: state, timestamp: seconds(now), client_token }
    }
}

/// A payload as JSON, with the token that its reply echoes, also where all else is wrong.
pub(super) struct Payload {
    pub(super) body: Result<Value, Refused>,
    pub(super) token: Option<String>,
}

/// Reads a payload; an empty one is an empty object.
pub(super) fn read(payload: &[u8]) -> Payload {
    let payload = if payload.trim_ascii().is_empty() { b"{}" } else { payload };
    let invalid = |message: String| Refused::new(RejectedCode::InvalidJson, message);
    let value = std::str::from_utf8(payload)
        .map_err(|_| invalid("the payload is not UTF-8".to_owned()))
        .and_then(|text| serde_json::from_str::<Value>(text).map_err(|error| invalid(error.to_string())));
    let body = match value {
        Ok(value) if value.is_object() => value,
        Ok(_) => {
            return Payload { body: Err(Refused::invalid("the payload must be an object")), token: None };
        }
        Err(refused) => return Payload { body: Err(refused), token: None },
    };
    match body.get("clientToken") {
        None | Some(Value::Null) => Payload { body: Ok(body), token: None },
        Some(Value::String(token)) if token.len() <= CLIENT_TOKEN_BYTES_MAX => {
            let token = Some(token.clone());
            Payload { body: Ok(body), token }
        }
        Some(_) => {
            Payload { body: Err(Refused::invalid("clientToken: a text of at most 64 bytes")), token: None }
        }
    }
}

/// A request within its limits.
pub(super) enum Request<'a> {
    Get,
    StartNext(StartNextRequest),
    Describe(&'a str, DescribeRequest),
    Update(&'a str, UpdateRequest),
}

impl<'a> Request<'a> {
    pub(super) fn parse(topic: Topic<'a>, body: Value) -> Result<Self, Refused> {
        match topic {
            Topic::Get => Ok(Self::Get),
            Topic::StartNext => {
                let request: StartNextRequest = parse(body)?;
                check_details(request.status_details.as_ref())?;
                Ok(Self::StartNext(request))
            }
            Topic::Describe(job) => {
                check_job(job)?;
                parse(body).map(|request| Self::Describe(job, request))
            }
            Topic::Update(job) => {
                check_job(job)?;
                let request: UpdateRequest = parse(body)?;
                check_details(request.status_details.as_ref())?;
                check_status(request.status)?;
                Ok(Self::Update(job, request))
            }
            Topic::Notify
            | Topic::NotifyNext
            | Topic::GetReply(_)
            | Topic::StartNextReply(_)
            | Topic::DescribeReply(..)
            | Topic::UpdateReply(..) => {
                Err(Refused::new(RejectedCode::InvalidTopic, "nothing is asked on this topic".to_owned()))
            }
        }
    }
}

fn parse<T: DeserializeOwned>(body: Value) -> Result<T, Refused> {
    serde_json::from_value(body).map_err(|error| Refused::invalid(&error.to_string()))
}

fn check_job(job: &str) -> Result<(), Refused> {
    let is_job = (1..=JOB_ID_BYTES_MAX).contains(&job.len())
        && job.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if is_job || job == NEXT {
        Ok(())
    } else {
        Err(Refused::invalid("jobId: 1 to 64 of A-Z a-z 0-9 _ -, or $next"))
    }
}

fn check_status(status: Status) -> Result<(), Refused> {
    match status {
        Status::InProgress | Status::Succeeded | Status::Failed | Status::Rejected => Ok(()),
        Status::Queued | Status::TimedOut | Status::Removed | Status::Canceled => {
            Err(Refused::invalid("status: a device sets IN_PROGRESS, SUCCEEDED, FAILED or REJECTED"))
        }
    }
}

fn check_details(details: Option<&Details>) -> Result<(), Refused> {
    let Some(details) = details else { return Ok(()) };
    let is_name = |name: &str| {
        (1..=DETAIL_NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'-'))
    };
    let is_value = |value: &str| {
        (1..=DETAIL_CHARS_MAX).contains(&value.chars().count()) && !value.chars().any(char::is_control)
    };
    if details.len() <= DETAILS_MAX && details.iter().all(|(name, value)| is_name(name) && is_value(value)) {
        Ok(())
    } else {
        Err(Refused::invalid(
            "statusDetails: at most 10 entries, names of A-Z a-z 0-9 : _ -, values of 1 to 1024 printable characters",
        ))
    }
}

/// What a device does with its step timer.
pub(super) fn step_timer(minutes: Option<i64>) -> Result<Option<StepTimer>, Refused> {
    match minutes {
        None => Ok(None),
        Some(-1) => Ok(Some(StepTimer::Cancel)),
        Some(minutes @ 1..=STEP_MINUTES_MAX) => {
            Ok(Some(StepTimer::Set(Duration::from_secs(60 * minutes.unsigned_abs()))))
        }
        Some(_) => Err(Refused::invalid("stepTimeoutInMinutes: 1 to 10080, or -1 to stop the timer")),
    }
}
