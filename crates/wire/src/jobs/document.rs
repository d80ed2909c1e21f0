//! Our documents inside a job, and how a device's word about its update is said in Jobs.

use super::{DETAIL_CHARS_MAX, Details, Status};
use crate::{Assignment, JobId, Manifest, Reason, UpdateState, UpdateStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// The details of a failure or a refusal.
#[must_use]
pub fn failure(reason: Reason, why: &str) -> Details {
    let details = [(detail::REASON, word(reason)), (detail::DETAIL, Some(why.to_owned()))];
    let details =
        details.into_iter().filter_map(|(name, value)| Some((name.to_owned(), printable(&value?)?)));
    details.collect()
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
pub(super) fn printable(text: &str) -> Option<String> {
    let text: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(DETAIL_CHARS_MAX).collect();
    Some(text).filter(|text| !text.is_empty())
}
