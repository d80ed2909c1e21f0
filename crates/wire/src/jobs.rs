//! Jobs over MQTT, as AWS IoT Jobs has them: topics, the JSON bodies on them, and our document inside a job.
//!
//! The contract's own words stand here: a *thing* is a device, a *job execution* is an execution. Times are whole
//! seconds since 1970. Unknown fields are ignored on both sides.

use crate::replica::Verdict;
use crate::{Assignment, JobId, Manifest, Reason, UpdateState, UpdateStatus};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What comes before the thing's name in every topic of a device.
pub const ROOT: &str = "$aws/things";
/// In place of a job ID: the job that is next.
pub const NEXT: &str = "$next";
/// Longest job ID, in bytes.
pub const JOB_ID_BYTES_MAX: usize = 64;
/// Longest value of a status detail, in characters.
pub const DETAIL_CHARS_MAX: usize = 1024;
/// Most status details of one execution.
pub const DETAILS_MAX: usize = 10;
/// Largest job document, in characters.
pub const DOCUMENT_CHARS_MAX: usize = 32_768;

/// A thing's topics. Job IDs are as they stand in the topic, unchecked; [`NEXT`] is among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic<'a> {
    /// `notify`: the list of pending executions has changed.
    Notify,
    /// `notify-next`: another execution is next.
    NotifyNext,
    /// `get`: asks for the pending executions.
    Get,
    /// `get/accepted` and `get/rejected`.
    GetReply(Verdict),
    /// `start-next`: starts the next execution.
    StartNext,
    /// `start-next/accepted` and `start-next/rejected`.
    StartNextReply(Verdict),
    /// `{job}/get`: asks for one execution.
    Describe(&'a str),
    /// `{job}/get/accepted` and `{job}/get/rejected`.
    DescribeReply(&'a str, Verdict),
    /// `{job}/update`: says how the device stands with an execution.
    Update(&'a str),
    /// `{job}/update/accepted` and `{job}/update/rejected`.
    UpdateReply(&'a str, Verdict),
}

impl<'a> Topic<'a> {
    /// The topic's name for a thing.
    #[must_use]
    pub fn name(self, thing: &str) -> String {
        let path = match self {
            Self::Notify => "notify".to_owned(),
            Self::NotifyNext => "notify-next".to_owned(),
            Self::Get => "get".to_owned(),
            Self::GetReply(verdict) => format!("get/{}", verdict.as_str()),
            Self::StartNext => "start-next".to_owned(),
            Self::StartNextReply(verdict) => format!("start-next/{}", verdict.as_str()),
            Self::Describe(job) => format!("{job}/get"),
            Self::DescribeReply(job, verdict) => format!("{job}/get/{}", verdict.as_str()),
            Self::Update(job) => format!("{job}/update"),
            Self::UpdateReply(job, verdict) => format!("{job}/update/{}", verdict.as_str()),
        };
        format!("{ROOT}/{thing}/jobs/{path}")
    }

    /// Whose topic a name is, and which.
    #[must_use]
    pub fn parse(name: &'a str) -> Option<(&'a str, Self)> {
        let (thing, rest) = name.strip_prefix(ROOT)?.strip_prefix('/')?.split_once('/')?;
        let path = rest.strip_prefix("jobs/").filter(|_| !thing.is_empty())?;
        Some((thing, Self::parse_path(path)?))
    }

    fn parse_path(path: &'a str) -> Option<Self> {
        let mut levels = path.split('/');
        let topic = match (levels.next()?, levels.next(), levels.next()) {
            ("", _, _) => return None,
            ("notify", None, None) => Self::Notify,
            ("notify-next", None, None) => Self::NotifyNext,
            ("get", None, None) => Self::Get,
            ("start-next", None, None) => Self::StartNext,
            // A job may be called `get`: what is asked of it comes first, and a verdict is never a verb.
            (job, Some("get"), None) => Self::Describe(job),
            (job, Some("update"), None) => Self::Update(job),
            ("get", Some(level), None) => Self::GetReply(Verdict::parse(level)?),
            ("start-next", Some(level), None) => Self::StartNextReply(Verdict::parse(level)?),
            (job, Some("get"), Some(level)) => Self::DescribeReply(job, Verdict::parse(level)?),
            (job, Some("update"), Some(level)) => Self::UpdateReply(job, Verdict::parse(level)?),
            _ => return None,
        };
        Some(topic).filter(|_| levels.next().is_none())
    }
}

/// How an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Waits for the device.
    Queued,
    /// The device works on it.
    InProgress,
    /// The device says that it is done.
    Succeeded,
    /// The device says that it is not done.
    Failed,
    /// A timer ended it.
    TimedOut,
    /// The device does not take it.
    Rejected,
    /// Its device is no longer a target.
    Removed,
    /// An operator ended it.
    Canceled,
}

impl Status {
    /// Whether it has ended.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Queued | Self::InProgress => false,
            Self::Succeeded
            | Self::Failed
            | Self::TimedOut
            | Self::Rejected
            | Self::Removed
            | Self::Canceled => true,
        }
    }
}

/// Short texts beside a status, by name.
pub type Details = BTreeMap<String, String>;

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

/// The value of `operation` in the document of an update.
pub const OPERATION_UPDATE: &str = "update";
/// The value of `operation` in a Zerynth device's document.
pub const OPERATION_FOTA: &str = "fota";

/// The document of an update: the assignment, and its first artifact once more for clients that know one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpdateDocument {
    /// Always [`OPERATION_UPDATE`].
    pub operation: String,
    /// The version to run.
    pub version: String,
    /// Where the first artifact is.
    pub url: String,
    /// Its SHA-256, in lower-case hex.
    pub sha256: String,
    /// Its size, in bytes.
    pub size: u64,
    /// Names this attempt among the device's updates, whichever contract it speaks.
    pub job: JobId,
    /// What to install.
    pub manifest: Manifest,
    /// Where the manifest's artifacts are, in its order.
    pub links: Vec<String>,
    /// Whether a version below the confirmed one may be installed.
    #[serde(default)]
    pub allow_downgrade: bool,
}

impl From<Assignment> for UpdateDocument {
    fn from(assignment: Assignment) -> Self {
        let Assignment { job, manifest, links, allow_downgrade } = assignment;
        let first = manifest.artifacts.first();
        Self {
            operation: OPERATION_UPDATE.to_owned(),
            version: manifest.version.clone(),
            url: links.first().cloned().unwrap_or_default(),
            sha256: first.map(|artifact| artifact.sha256.clone()).unwrap_or_default(),
            size: first.map_or(0, |artifact| artifact.size),
            job,
            manifest,
            links,
            allow_downgrade,
        }
    }
}

impl From<UpdateDocument> for Assignment {
    fn from(document: UpdateDocument) -> Self {
        let UpdateDocument { job, manifest, links, allow_downgrade, .. } = document;
        Self { job, manifest, links, allow_downgrade }
    }
}

/// The document of a Zerynth device's update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FotaDocument {
    /// Always [`OPERATION_FOTA`].
    pub operation: String,
    /// The slot the image was linked for.
    pub bc_idx: u32,
    /// MD5 of the image, 32 lower-case hex digits.
    pub bc_crc: String,
    /// Size of the image, in bytes.
    pub bc_size: u64,
    /// Where the image is.
    pub bc_url: String,
}

/// Names of the details an Updraft device gives.
pub mod detail {
    /// How far it is: a step, while in progress.
    pub const STEP: &str = "step";
    /// Percent of the step.
    pub const PROGRESS: &str = "progress";
    /// The version that runs, with success.
    pub const VERSION: &str = "version";
    /// Why it ended badly, as a [`Reason`](crate::Reason).
    pub const REASON: &str = "reason";
    /// Why it ended badly, as a sentence.
    pub const DETAIL: &str = "detail";
}

/// How a device's word about its update is said in Jobs, with the version that runs as it is said.
#[must_use]
pub fn said(update: &UpdateStatus, version: &str) -> (Status, Details) {
    let status = match update.state {
        UpdateState::Downloading
        | UpdateState::Downloaded
        | UpdateState::Installing
        | UpdateState::Rebooting
        | UpdateState::Trial => Status::InProgress,
        UpdateState::Succeeded => Status::Succeeded,
        UpdateState::Failed | UpdateState::RolledBack => Status::Failed,
        UpdateState::Rejected => Status::Rejected,
    };
    let step = Some(update.state).filter(|state| !state.is_settled()).and_then(word);
    let version = Some(version.to_owned()).filter(|_| update.state == UpdateState::Succeeded);
    let details = [
        (detail::STEP, step),
        (detail::PROGRESS, update.progress.map(|percent| percent.to_string())),
        (detail::VERSION, version),
        (detail::REASON, update.reason.and_then(word)),
        (detail::DETAIL, update.detail.clone()),
    ];
    let details =
        details.into_iter().filter_map(|(name, value)| Some((name.to_owned(), printable(&value?)?)));
    (status, details.collect())
}

/// What a device's word in Jobs says of its update; `None` for a status that no device sets.
#[must_use]
pub fn heard(job: JobId, status: Status, details: &Details) -> Option<UpdateStatus> {
    let reason = details.get(detail::REASON).and_then(|word| of_word::<Reason>(word));
    let state = match status {
        Status::InProgress => details
            .get(detail::STEP)
            .and_then(|word| of_word::<UpdateState>(word))
            .filter(|state| !state.is_settled())
            .unwrap_or(UpdateState::Downloading),
        Status::Succeeded => UpdateState::Succeeded,
        Status::Failed if reason == Some(Reason::RolledBack) => UpdateState::RolledBack,
        Status::Failed => UpdateState::Failed,
        Status::Rejected => UpdateState::Rejected,
        Status::Queued | Status::TimedOut | Status::Removed | Status::Canceled => return None,
    };
    let progress = details.get(detail::PROGRESS).and_then(|percent| percent.parse().ok());
    Some(UpdateStatus {
        job,
        state,
        progress: progress.filter(|percent: &u8| *percent <= 100),
        reason,
        detail: details.get(detail::DETAIL).cloned(),
    })
}

fn word<T: Serialize>(value: T) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => Some(word),
        Ok(_) | Err(_) => None,
    }
}

fn of_word<T: serde::de::DeserializeOwned>(word: &str) -> Option<T> {
    serde_json::from_value(Value::String(word.to_owned())).ok()
}

/// A text as a detail's value may be: 1 to [`DETAIL_CHARS_MAX`] characters, none of them a control character.
fn printable(text: &str) -> Option<String> {
    let text: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(DETAIL_CHARS_MAX).collect();
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_topic_is_found_again_by_its_name() {
        let mut topics = vec![Topic::Notify, Topic::NotifyNext, Topic::Get, Topic::StartNext];
        for job in ["r1", "$next", "get", "notify"] {
            topics.extend([Topic::Describe(job), Topic::Update(job)]);
        }
        for verdict in Verdict::ALL {
            topics.extend([Topic::GetReply(verdict), Topic::StartNextReply(verdict)]);
            topics.extend([Topic::DescribeReply("$next", verdict), Topic::UpdateReply("r1", verdict)]);
        }
        for topic in topics {
            let name = topic.name("device-1");
            assert_eq!(Topic::parse(&name), Some(("device-1", topic)), "{name}");
        }
        assert_eq!(Topic::Describe(NEXT).name("d"), "$aws/things/d/jobs/$next/get");
    }

    #[test]
    fn a_name_of_another_shape_is_no_topic() {
        for path in ["", "jobs", "jobs/", "jobs//get", "jobs/r1", "jobs/r1/", "jobs/r1/get/", "jobs/r1/get/x"]
        {
            assert_eq!(Topic::parse(&format!("$aws/things/d/{path}")), None, "{path:?}");
        }
        for path in ["jobs/r1/update/accepted/x", "shadow/get", "jobs/notify/", "jobs/get/accepted/x"] {
            assert_eq!(Topic::parse(&format!("$aws/things/d/{path}")), None, "{path:?}");
        }
        assert_eq!(Topic::parse("$aws/things//jobs/get"), None);
    }

    #[test]
    fn a_number_may_be_a_text_and_nothing_else() {
        for (expected, value) in [(Some(3), json!(3)), (Some(3), json!("3")), (None, json!(null))] {
            let body = json!({"status": "IN_PROGRESS", "expectedVersion": value});
            assert_eq!(serde_json::from_value::<UpdateRequest>(body).unwrap().expected_version, expected);
        }
        for value in [json!("x"), json!(1.5), json!(true), json!([1]), json!("")] {
            let body = json!({"status": "IN_PROGRESS", "expectedVersion": value});
            assert!(serde_json::from_value::<UpdateRequest>(body).is_err(), "{value}");
        }
    }

    #[test]
    fn what_a_device_says_is_heard_as_it_was_meant() {
        let job = JobId::new("r1", 1).unwrap();
        let status = |state, progress, reason, detail: Option<&str>| UpdateStatus {
            job: job.clone(),
            state,
            progress,
            reason,
            detail: detail.map(str::to_owned),
        };
        for update in [
            status(UpdateState::Downloading, Some(42), None, None),
            status(UpdateState::Downloaded, None, None, None),
            status(UpdateState::Installing, None, None, None),
            status(UpdateState::Rebooting, None, None, None),
            status(UpdateState::Trial, None, None, None),
            status(UpdateState::Succeeded, None, None, None),
            status(UpdateState::Failed, None, Some(Reason::InstallFailed), Some("no room")),
            status(UpdateState::RolledBack, None, Some(Reason::RolledBack), Some("sick")),
            status(UpdateState::Rejected, None, Some(Reason::Downgrade), Some("too old")),
        ] {
            let (word, details) = said(&update, "1.1.0");
            assert_eq!(heard(job.clone(), word, &details), Some(update));
        }
        let (_, details) = said(&status(UpdateState::Succeeded, None, None, None), "1.1.0");
        assert_eq!(details, Details::from([("version".to_owned(), "1.1.0".to_owned())]));
    }

    #[test]
    fn a_detail_is_printable_and_short() {
        let text = format!("a\u{0}b\n{}", "x".repeat(2 * DETAIL_CHARS_MAX));
        let said = printable(&text).unwrap();
        assert!(said.starts_with("a b x") && said.chars().count() == DETAIL_CHARS_MAX);
        assert_eq!(printable(""), None);
    }
}
