//! What the control plane is asked: JSON in, each field checked, out come typed requests. Nothing that is asked for and
//! not supported is passed over.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use updraft_core::id::{DeviceId, GroupName};
use updraft_core::task::{DESCRIPTION_CHARS_MAX, DOCUMENT_CHARS_MAX, GROUPS_MAX, Membership};

use super::super::arn::Target;
use super::super::door::{json, name};
use super::super::failure::Failure;
use super::limits::{AbortConfig, Limits, RetryConfig, RolloutConfig, TimeoutConfig};
use crate::placeholder::{self, Placeholder};

/// Longest URL of a document (AWS IoT Jobs).
const SOURCE_BYTES_MAX: usize = 1350;
/// How long links in a document work, unless the job says (AWS IoT Jobs), and within which limits, in seconds.
const LINK_SECONDS: u64 = 3600;
const LINK_SECONDS_MIN: u64 = 60;
/// Longest comment, in characters (AWS IoT Jobs).
pub(super) const COMMENT_CHARS_MAX: usize = 2028;
/// Longest reason code, in bytes (AWS IoT Jobs).
const REASON_BYTES_MAX: usize = 128;
/// Longest role name, in bytes (AWS IoT Jobs).
const ROLE_BYTES_MAX: usize = 2048;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawCreate {
    targets: Vec<String>,
    document: Option<String>,
    document_source: Option<String>,
    description: Option<String>,
    presigned_url_config: Option<RawLinks>,
    target_selection: Option<Selection>,
    job_executions_rollout_config: Option<RolloutConfig>,
    abort_config: Option<AbortConfig>,
    timeout_config: Option<TimeoutConfig>,
    job_executions_retry_config: Option<RetryConfig>,
    scheduling_config: Option<Value>,
    tags: Option<Vec<Value>>,
    namespace_id: Option<Value>,
    job_template_arn: Option<Value>,
    document_parameters: Option<Value>,
    destination_package_versions: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawLinks {
    role_arn: Option<String>,
    expires_in_sec: Option<u64>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Selection {
    Snapshot,
    Continuous,
}

impl From<Selection> for Membership {
    fn from(selection: Selection) -> Self {
        match selection {
            Selection::Snapshot => Self::Snapshot,
            Selection::Continuous => Self::Continuous,
        }
    }
}

/// Where a job's document is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DocumentFrom {
    /// In the request.
    Text(String),
    /// In an artifact of ours.
    Artifact(Placeholder),
}

/// Whom a job is for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Targets {
    pub(super) devices: BTreeSet<DeviceId>,
    pub(super) groups: BTreeSet<GroupName>,
}

/// A job to be made.
#[derive(Debug, PartialEq)]
pub(super) struct CreateJob {
    pub(super) targets: Targets,
    pub(super) document: DocumentFrom,
    pub(super) description: String,
    pub(super) membership: Membership,
    pub(super) link_life: Duration,
    pub(super) limits: Limits,
}

impl CreateJob {
    pub(super) fn read(body: &[u8]) -> Result<Self, Failure> {
        let raw: RawCreate = json(body)?;
        raw.check_supported()?;
        let document = match (raw.document, raw.document_source) {
            (Some(text), None) => DocumentFrom::Text(text),
            (None, Some(source)) if source.len() <= SOURCE_BYTES_MAX => {
                DocumentFrom::Artifact(placeholder::artifact(&source)?)
            }
            (None, Some(_)) => return Err(Failure::invalid("documentSource: at most 1350 characters")),
            (Some(_), Some(_)) | (None, None) => {
                return Err(Failure::invalid("give document or documentSource, one of them"));
            }
        };
        Ok(Self {
            targets: targets(&raw.targets)?,
            document,
            description: raw.description.map_or(Ok(String::new()), |text| description(&text))?,
            membership: raw.target_selection.unwrap_or(Selection::Snapshot).into(),
            link_life: link_life(raw.presigned_url_config)?.unwrap_or(Duration::from_secs(LINK_SECONDS)),
            limits: Limits::read(
                raw.job_executions_rollout_config,
                raw.abort_config,
                raw.timeout_config,
                raw.job_executions_retry_config,
            )?,
        })
    }
}

impl RawCreate {
    /// What a job cannot have here. An empty list asks for nothing.
    fn check_supported(&self) -> Result<(), Failure> {
        let list = |list: &Option<Vec<Value>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let is_given = |value: &Option<Value>| value.as_ref().is_some_and(|value| !value.is_null());
        let unsupported = [
            ("schedulingConfig", is_given(&self.scheduling_config)),
            ("namespaceId", is_given(&self.namespace_id)),
            ("jobTemplateArn", is_given(&self.job_template_arn)),
            ("documentParameters", is_given(&self.document_parameters)),
            ("destinationPackageVersions", list(&self.destination_package_versions)),
            ("tags", list(&self.tags)),
        ];
        match unsupported.into_iter().find(|(_, is_given)| *is_given) {
            Some((field, _)) => Err(Failure::invalid(format!("{field} is not supported yet"))),
            None => Ok(()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawUpdate {
    description: Option<String>,
    presigned_url_config: Option<RawLinks>,
    job_executions_rollout_config: Option<RolloutConfig>,
    abort_config: Option<AbortConfig>,
    timeout_config: Option<TimeoutConfig>,
    job_executions_retry_config: Option<RetryConfig>,
}

/// What is to change of a job.
#[derive(Debug, PartialEq)]
pub(super) struct UpdateJob {
    pub(super) description: Option<String>,
    pub(super) link_life: Option<Duration>,
    pub(super) limits: Limits,
}

impl UpdateJob {
    pub(super) fn read(body: &[u8]) -> Result<Self, Failure> {
        let raw: RawUpdate = json(body)?;
        Ok(Self {
            description: raw.description.map(|text| description(&text)).transpose()?,
            link_life: link_life(raw.presigned_url_config)?,
            limits: Limits::read(
                raw.job_executions_rollout_config,
                raw.abort_config,
                raw.timeout_config,
                raw.job_executions_retry_config,
            )?,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawCancel {
    reason_code: Option<String>,
    comment: Option<String>,
}

/// Why a job is canceled.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CancelJob {
    pub(super) reason_code: Option<String>,
    pub(super) comment: Option<String>,
}

impl CancelJob {
    pub(super) fn read(body: &[u8]) -> Result<Self, Failure> {
        let RawCancel { reason_code, comment } = json(body)?;
        let is_code = |code: &String| {
            (1..=REASON_BYTES_MAX).contains(&code.len())
                && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        };
        if !reason_code.as_ref().is_none_or(is_code) {
            return Err(Failure::invalid("reasonCode: 1 to 128 of A-Z 0-9 _"));
        }
        let comment = comment.map(|text| sentence("comment", &text, COMMENT_CHARS_MAX)).transpose()?;
        Ok(Self { reason_code, comment })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawAssociate {
    targets: Vec<String>,
    comment: Option<String>,
}

/// Reads the targets that a job is to have as well.
pub(super) fn associate(body: &[u8]) -> Result<Targets, Failure> {
    let RawAssociate { targets: named, comment } = json(body)?;
    comment.map(|text| sentence("comment", &text, COMMENT_CHARS_MAX)).transpose()?;
    targets(&named)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawCancelExecution {
    expected_version: Option<u32>,
    status_details: Option<updraft_core::execution::Details>,
}

/// How one execution is to be canceled.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CancelExecution {
    pub(super) revision: Option<u32>,
    pub(super) details: Option<updraft_core::execution::Details>,
}

impl CancelExecution {
    pub(super) fn read(body: &[u8]) -> Result<Self, Failure> {
        let RawCancelExecution { expected_version, status_details } = json(body)?;
        let is_detail = |(key, value): (&String, &String)| {
            (1..=128).contains(&key.len())
                && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":_-".contains(&byte))
                && (1..=1024).contains(&value.chars().count())
                && !value.chars().any(char::is_control)
        };
        let details_max = updraft_core::execution::DETAILS_MAX;
        if status_details
            .as_ref()
            .is_some_and(|details| details.len() > details_max || !details.iter().all(is_detail))
        {
            return Err(Failure::invalid(
                "statusDetails: at most 10, names of 1 to 128 of A-Z a-z 0-9 : _ -, values of 1 to 1024 printable characters",
            ));
        }
        Ok(Self { revision: expected_version, details: status_details })
    }
}

fn targets(named: &[String]) -> Result<Targets, Failure> {
    let mut targets = Targets::default();
    for arn in named {
        match Target::parse(arn)? {
            Target::Thing(device) => drop(targets.devices.insert(name(device)?)),
            Target::Group(group) => drop(targets.groups.insert(name(group)?)),
        }
    }
    if named.is_empty() {
        return Err(Failure::invalid("targets: at least one thing or thing group"));
    }
    if targets.groups.len() > GROUPS_MAX {
        return Err(Failure::invalid(format!("targets: at most {GROUPS_MAX} thing groups")));
    }
    Ok(targets)
}

fn link_life(config: Option<RawLinks>) -> Result<Option<Duration>, Failure> {
    let Some(RawLinks { role_arn, expires_in_sec }) = config else { return Ok(None) };
    // Links are signed by this server: whatever the role, it has none to take.
    if role_arn.is_some_and(|role| !(20..=ROLE_BYTES_MAX).contains(&role.len())) {
        return Err(Failure::invalid("roleArn: 20 to 2048 characters"));
    }
    match expires_in_sec {
        None => Ok(None),
        Some(seconds) if (LINK_SECONDS_MIN..=LINK_SECONDS).contains(&seconds) => {
            Ok(Some(Duration::from_secs(seconds)))
        }
        Some(_) => Err(Failure::invalid("expiresInSec: 60 to 3600")),
    }
}

fn description(text: &str) -> Result<String, Failure> {
    sentence("description", text, DESCRIPTION_CHARS_MAX)
}

fn sentence(field: &str, text: &str, chars_max: usize) -> Result<String, Failure> {
    if text.chars().count() > chars_max || text.chars().any(char::is_control) {
        return Err(Failure::invalid(format!(
            "{field}: at most {chars_max} characters, none of them a control"
        )));
    }
    Ok(text.to_owned())
}

/// Refuses what is no document: it must be a JSON object of a bounded size.
pub(super) fn check_document(text: &str) -> Result<(), Failure> {
    let is_object = serde_json::from_str::<serde_json::Map<String, Value>>(text).is_ok();
    if text.chars().count() > DOCUMENT_CHARS_MAX || !is_object {
        let message =
            format!("the document must be a JSON object of at most {DOCUMENT_CHARS_MAX} characters");
        return Err(Failure::invalid(message));
    }
    Ok(())
}
