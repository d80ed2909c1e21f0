//! Rows into the domain's types and back. What does not read as what it should be is an error, never a guess.

use rusqlite::Row;
use rusqlite::types::Type;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use std::str::FromStr;
use std::sync::Arc;
use updraft_core::device::Device;
use updraft_core::execution::{Execution, HistoryEntry};
use updraft_core::policy::Policy;
use updraft_core::release::{Artifact, Release};
use updraft_core::rollout::{Rollout, RolloutState, Survey, Work};
use updraft_core::state::{ExecutionState, FailureReason, StateKind, Step};
use updraft_core::store::RolloutEntry;
use updraft_core::time::Timestamp;
use updraft_core::version::Version;

/// What a state without its reason is stored with.
#[derive(Debug, thiserror::Error)]
#[error("a failed execution needs a reason, and no other has one")]
struct ReasonMismatch;

/// The words of a state: itself, and why it failed.
pub(super) fn words(state: ExecutionState) -> (&'static str, Option<&'static str>) {
    (state.kind().as_str(), state.reason().map(FailureReason::as_str))
}

/// The columns of [`device`], of tables `device` and `device_document`.
pub(super) const DEVICE: &str = "device.number, device.id, device.product, device.version, device.boot, \
     device.first_seen, device.changed, device_document.attributes";

pub(super) fn device(row: &Row<'_>) -> rusqlite::Result<(u32, Device)> {
    let device = Device {
        id: parsed(row, 1)?,
        product: parsed(row, 2)?,
        version: row.get(3)?,
        boot: row.get::<_, i64>(4)?.cast_unsigned(),
        first_seen: time(row, 5)?,
        changed: time(row, 6)?,
        attributes: json(row, 7)?,
    };
    Ok((row.get(0)?, device))
}

/// The columns of [`execution`], of table `execution`.
pub(super) const EXECUTION: &str = "execution.rollout, execution.device, execution.is_task, execution.attempt, \
     execution.state, execution.reason, execution.from_version, execution.boot, execution.offers, \
     execution.downloads, execution.percent, execution.detail, execution.opened, execution.changed, \
     execution.deadline, execution.unchanged_seen, execution.late, execution.revision, execution.details, \
     execution.started, execution.step_deadline, execution.earlier_failures, execution.earlier_timeouts, \
     execution.retired";

pub(super) fn execution(row: &Row<'_>) -> rusqlite::Result<Execution> {
    Ok(Execution {
        rollout: parsed(row, 0)?,
        device: parsed(row, 1)?,
        is_task: row.get(2)?,
        attempt: row.get(3)?,
        state: state(row, 4)?,
        from_version: row.get(6)?,
        boot: row.get::<_, i64>(7)?.cast_unsigned(),
        offers: row.get(8)?,
        downloads: row.get(9)?,
        percent: row.get(10)?,
        detail: row.get(11)?,
        opened: time(row, 12)?,
        changed: time(row, 13)?,
        deadline: time(row, 14)?,
        unchanged_seen: row.get(15)?,
        late: row.get(16)?,
        revision: row.get(17)?,
        details: json(row, 18)?,
        started: optional_time(row, 19)?,
        step_deadline: optional_time(row, 20)?,
        earlier_failures: row.get(21)?,
        earlier_timeouts: row.get(22)?,
        retired: json(row, 23)?,
    })
}

/// The columns of [`history_entry`].
pub(super) const HISTORY: &str =
    "rollout, device, attempt, at, from_state, from_reason, to_state, to_reason, note";

pub(super) fn history_entry(row: &Row<'_>) -> rusqlite::Result<HistoryEntry> {
    let is_first = row.get_ref(4)?.data_type() == Type::Null;
    Ok(HistoryEntry {
        rollout: parsed(row, 0)?,
        device: parsed(row, 1)?,
        attempt: row.get(2)?,
        at: time(row, 3)?,
        from: if is_first { None } else { Some(state(row, 4)?) },
        to: state(row, 6)?,
        note: row.get(8)?,
    })
}

/// The columns of [`rollout`].
pub(super) const ROLLOUT: &str = "rollout.id, rollout.product, rollout.version, rollout.plan, rollout.state, \
     rollout.state_since, rollout.state_note, rollout.created, rollout.survey_at, rollout.survey_due, \
     rollout.retry_before, rollout.task, rollout.retired";

pub(super) fn rollout(row: &Row<'_>) -> rusqlite::Result<Rollout> {
    let survey_at = row.get::<_, Option<i64>>(8)?;
    let survey_due = row.get::<_, Option<i64>>(9)?;
    let survey = survey_at
        .zip(survey_due)
        .map(|(at, due)| Survey { at: Timestamp::from_millis(at), due: due.cast_unsigned() });
    let brings_task = row.get_ref(11)?.data_type() != Type::Null;
    Ok(Rollout {
        id: parsed(row, 0)?,
        work: if brings_task {
            Work::Task(Arc::new(json(row, 11)?))
        } else {
            Work::Release { product: parsed(row, 1)?, version: version(row, 2)? }
        },
        plan: json(row, 3)?,
        state: word(row, 4)?,
        state_since: time(row, 5)?,
        state_note: row.get(6)?,
        created: time(row, 7)?,
        survey,
        retry_before: optional_time(row, 10)?,
        retired: optional_time(row, 12)?,
    })
}

/// The columns of [`rollout_entry`].
pub(super) const ROLLOUT_HISTORY: &str = "rollout, at, from_state, to_state, note";

pub(super) fn rollout_entry(row: &Row<'_>) -> rusqlite::Result<RolloutEntry> {
    let is_first = row.get_ref(2)?.data_type() == Type::Null;
    Ok(RolloutEntry {
        rollout: parsed(row, 0)?,
        at: time(row, 1)?,
        from: if is_first { None } else { Some(word::<RolloutState>(row, 2)?) },
        to: word(row, 3)?,
        note: row.get(4)?,
    })
}

/// The columns of [`release`].
pub(super) const RELEASE: &str = "product, version, policy, sha256, md5, size, attributes, created";

pub(super) fn release(row: &Row<'_>) -> rusqlite::Result<Release> {
    let policy = text(row, 2)?;
    Ok(Release {
        product: parsed(row, 0)?,
        version: version(row, 1)?,
        policy: Policy::compile(policy).map_err(|error| unreadable(2, error))?,
        artifact: Artifact {
            sha256: row.get(3)?,
            md5: row.get(4)?,
            size: row.get::<_, i64>(5)?.cast_unsigned(),
        },
        attributes: json(row, 6)?,
        created: time(row, 7)?,
    })
}

/// Reads an ID at a column.
pub(super) fn parsed<T>(row: &Row<'_>, index: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    text(row, index)?.parse().map_err(|error| unreadable(index, error))
}

/// Reads one of an enum's words at a column.
pub(super) fn word<T: for<'a> Deserialize<'a>>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    let deserializer = text(row, index)?.into_deserializer();
    T::deserialize(deserializer).map_err(|error: serde::de::value::Error| unreadable(index, error))
}

/// Reads a point in time at a column.
pub(super) fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<Timestamp> {
    row.get(index).map(Timestamp::from_millis)
}

/// Reads a point in time at a column, if there is one.
fn optional_time(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(index)?.map(Timestamp::from_millis))
}

fn text<'a>(row: &'a Row<'_>, index: usize) -> rusqlite::Result<&'a str> {
    row.get_ref(index)?.as_str().map_err(|error| unreadable(index, error))
}

pub(super) fn json<T: for<'a> Deserialize<'a>>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    serde_json::from_str(text(row, index)?).map_err(|error| unreadable(index, error))
}

fn version(row: &Row<'_>, index: usize) -> rusqlite::Result<Version> {
    Version::parse(text(row, index)?).map_err(|error| unreadable(index, error))
}

/// Reads a state from its word at a column and its reason at the next.
fn state(row: &Row<'_>, index: usize) -> rusqlite::Result<ExecutionState> {
    let kind: StateKind = word(row, index)?;
    let has_reason = row.get_ref(index + 1)?.data_type() != Type::Null;
    if has_reason != (kind == StateKind::Failed) {
        return Err(unreadable(index + 1, ReasonMismatch));
    }
    Ok(match kind {
        StateKind::Queued => ExecutionState::Queued,
        StateKind::Downloading => ExecutionState::InProgress(Step::Downloading),
        StateKind::Downloaded => ExecutionState::InProgress(Step::Downloaded),
        StateKind::Installing => ExecutionState::InProgress(Step::Installing),
        StateKind::Rebooting => ExecutionState::InProgress(Step::Rebooting),
        StateKind::Succeeded => ExecutionState::Succeeded,
        StateKind::Failed => ExecutionState::Failed(word(row, index + 1)?),
        StateKind::TimedOut => ExecutionState::TimedOut,
        StateKind::Rejected => ExecutionState::Rejected,
        StateKind::Canceled => ExecutionState::Canceled,
        StateKind::Removed => ExecutionState::Removed,
    })
}

fn unreadable(index: usize, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, error.into())
}
