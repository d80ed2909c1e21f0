//! The bodies of requests and replies.

use super::{Details, Status};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The body on `get`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetRequest {
    /// Echoed in the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

/// The body on `start-next`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartNextRequest {
    /// Set with the start; unchanged for an execution that had started before.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "details")]
    pub status_details: Option<Details>,
    /// Ends the execution unless an update comes within so many minutes; -1 stops the timer.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number_or_text")]
    pub step_timeout_in_minutes: Option<i64>,
    /// Echoed in the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

/// The body on `{job}/get`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeRequest {
    /// Which execution of the job; the latest without it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number_or_text")]
    pub execution_number: Option<i64>,
    /// Whether the reply carries the document; it does without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_job_document: Option<bool>,
    /// Echoed in the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

/// The body on `{job}/update`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateRequest {
    /// How the device stands.
    pub status: Status,
    /// In place of the details there were; those stay without it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "details")]
    pub status_details: Option<Details>,
    /// Change nothing unless the execution has this version.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number_or_text")]
    pub expected_version: Option<i64>,
    /// Which execution of the job; the latest without it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number_or_text")]
    pub execution_number: Option<i64>,
    /// Whether the reply carries the execution's state.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_job_execution_state: bool,
    /// Whether the reply carries the document.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_job_document: bool,
    /// Ends the execution unless another update comes within so many minutes; -1 stops the timer.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number_or_text")]
    pub step_timeout_in_minutes: Option<i64>,
    /// Echoed in the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

impl UpdateRequest {
    /// An update that changes the status, whatever the execution's version.
    #[must_use]
    pub fn new(status: Status, details: Option<Details>) -> Self {
        Self {
            status,
            status_details: details,
            expected_version: None,
            execution_number: None,
            include_job_execution_state: false,
            include_job_document: false,
            step_timeout_in_minutes: None,
            client_token: None,
        }
    }
}

/// A whole number, or a text that spells one: some clients send all their numbers as texts.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    match Option::<Value>::deserialize(deserializer)? {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => number.as_i64().map(Some).ok_or(()),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|_| ()),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => Err(()),
    }
    .map_err(|()| serde::de::Error::custom("a whole number"))
}

/// Details are texts, and some clients send a number or a truth value as it is: the agent that AWS's first SDK for Node
/// comes with tells its uptime so.
fn details<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Details>, D::Error> {
    let Some(said) = Option::<BTreeMap<String, Value>>::deserialize(deserializer)? else { return Ok(None) };
    let text = |(name, value)| match value {
        Value::String(text) => Ok((name, text)),
        Value::Number(number) => Ok((name, number.to_string())),
        Value::Bool(truth) => Ok((name, truth.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(serde::de::Error::custom(format!("statusDetails.{name}: a text")))
        }
    };
    said.into_iter().map(text).collect::<Result<_, _>>().map(Some)
}

/// One line of a list of executions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The job.
    pub job_id: String,
    /// When the execution was made.
    pub queued_at: i64,
    /// When the device began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<i64>,
    /// When it changed last.
    pub last_updated_at: i64,
    /// How often it has changed.
    pub version_number: i64,
    /// Which execution of the job on this device it is.
    pub execution_number: i64,
}

/// One execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Execution {
    /// The job.
    pub job_id: String,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thing_name: Option<String>,
    /// How it stands.
    pub status: Status,
    /// What was said beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_details: Option<Details>,
    /// When it was made.
    #[serde(default)]
    pub queued_at: i64,
    /// When the device began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<i64>,
    /// When it changed last.
    #[serde(default)]
    pub last_updated_at: i64,
    /// Seconds until a timer ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approximate_seconds_before_timed_out: Option<i64>,
    /// How often it has changed.
    pub version_number: i64,
    /// Which execution of the job on this device it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_number: Option<i64>,
    /// What to do; absent where it was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_document: Option<Value>,
}

/// How an execution stands, in replies to updates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionState {
    /// How it stands.
    pub status: Status,
    /// What was said beside it.
    #[serde(default)]
    pub status_details: Details,
    /// How often it has changed.
    pub version_number: i64,
}

/// The body on `get/accepted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetReply {
    /// Executions begun, oldest first.
    pub in_progress_jobs: Vec<Summary>,
    /// Executions not begun, oldest first.
    pub queued_jobs: Vec<Summary>,
    /// When this was said.
    pub timestamp: i64,
    /// The request's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

/// The body on `start-next/accepted`, `{job}/get/accepted` and `notify-next`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionReply {
    /// The execution; absent where none is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<Execution>,
    /// When this was said.
    pub timestamp: i64,
    /// The request's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

/// The body on `{job}/update/accepted`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateReply {
    /// How the execution stands, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_state: Option<ExecutionState>,
    /// What to do, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_document: Option<Value>,
    /// When this was said.
    pub timestamp: i64,
    /// The request's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

/// The body on `notify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// When this was said.
    pub timestamp: i64,
    /// The pending executions by status; a status without any is absent.
    pub jobs: BTreeMap<Status, Vec<Summary>>,
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RejectedCode {
    /// No such topic.
    InvalidTopic,
    /// No JSON in UTF-8.
    InvalidJson,
    /// JSON of another shape.
    InvalidRequest,
    /// The execution's status does not allow it.
    InvalidStateTransition,
    /// No such execution.
    ResourceNotFound,
    /// The execution has another version than expected.
    VersionMismatch,
    /// The server failed.
    InternalError,
    /// Too many requests.
    RequestThrottled,
    /// Asked to describe an execution that has ended.
    TerminalStateReached,
}

/// The body on every `rejected` topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// Why, for programs.
    pub code: RejectedCode,
    /// Why, for people.
    pub message: String,
    /// How the execution stands; with `InvalidStateTransition` and `VersionMismatch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_state: Option<ExecutionState>,
    /// When this was said.
    #[serde(default)]
    pub timestamp: i64,
    /// The request's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}
