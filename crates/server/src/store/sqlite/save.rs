//! One batch of changes, table by table, within a transaction that the caller commits.

use crate::store::row;
use rusqlite::{CachedStatement, Connection, params};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use updraft_core::device::Device;
use updraft_core::execution::{Execution, HistoryEntry};
use updraft_core::id::DeviceId;
use updraft_core::release::Release;
use updraft_core::rollout::{Rollout, RolloutState, Work};
use updraft_core::store::{Changes, RolloutEntry};
use updraft_core::time::Timestamp;

/// Saves releases, rollouts and their history.
pub(super) fn catalogue(connection: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    changes.releases.iter().try_for_each(|release| insert_release(connection, release))?;
    changes.rollouts.iter().try_for_each(|rollout| put_rollout(connection, rollout))?;
    changes.rollout_history.iter().try_for_each(|entry| append_rollout_entry(connection, entry))
}

fn insert_release(connection: &Connection, release: &Release) -> rusqlite::Result<()> {
    let Release { product, version, policy, artifact, attributes, created } = release;
    let mut insert = connection.prepare_cached(
        "INSERT INTO release (product, precedence, version, policy, sha256, md5, size, attributes, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    // Build metadata begins with the first plus (SemVer 2.0 §10) and does not count.
    let precedence = version.as_str().split('+').next();
    insert.execute(params![
        product.as_str(),
        precedence,
        version.as_str(),
        policy.source(),
        artifact.sha256,
        artifact.md5,
        artifact.size.cast_signed(),
        json(attributes)?,
        created.as_millis(),
    ])?;
    Ok(())
}

fn put_rollout(connection: &Connection, rollout: &Rollout) -> rusqlite::Result<()> {
    let mut put = connection.prepare_cached(
        "INSERT INTO rollout (id, product, version, plan, state, state_since, state_note, created, survey_at,
                              survey_due, retry_before, task, retired)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
         ON CONFLICT (id) DO UPDATE SET product = excluded.product, version = excluded.version,
             task = excluded.task, retired = excluded.retired, plan = excluded.plan, state = excluded.state, state_since = excluded.state_since,
             state_note = excluded.state_note, created = excluded.created, survey_at = excluded.survey_at,
             survey_due = excluded.survey_due, retry_before = excluded.retry_before",
    )?;
    let Rollout { id, work, plan, state, state_since, state_note, created, survey, retry_before, retired } =
        rollout;
    let (product, version, task) = match work {
        Work::Release { product, version } => (Some(product.as_str()), Some(version.as_str()), None),
        Work::Task(task) => (None, None, Some(json(&**task)?)),
    };
    put.execute(params![
        id.as_str(),
        product,
        version,
        json(plan)?,
        state.as_str(),
        state_since.as_millis(),
        state_note,
        created.as_millis(),
        survey.map(|survey| survey.at.as_millis()),
        survey.map(|survey| survey.due.cast_signed()),
        retry_before.map(Timestamp::as_millis),
        task,
        retired.map(Timestamp::as_millis),
    ])?;
    Ok(())
}

fn append_rollout_entry(connection: &Connection, entry: &RolloutEntry) -> rusqlite::Result<()> {
    let mut append = connection.prepare_cached(
        "INSERT INTO rollout_history (rollout, sequence, at, from_state, to_state, note)
         SELECT ?1, coalesce(max(sequence), 0) + 1, ?2, ?3, ?4, ?5 FROM rollout_history WHERE rollout = ?1",
    )?;
    let RolloutEntry { rollout, at, from, to, note } = entry;
    append.execute(params![
        rollout.as_str(),
        at.as_millis(),
        from.map(RolloutState::as_str),
        to.as_str(),
        note
    ])?;
    Ok(())
}

/// Saves devices, and learns their numbers.
pub(super) fn devices(
    connection: &Connection,
    devices: &[Device],
    numbers: &mut HashMap<DeviceId, u32>,
) -> rusqlite::Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    // Most changes leave product and version as they are; then the two indexes over them are left alone as well.
    let mut update = connection.prepare_cached(
        "UPDATE device SET boot = ?4, first_seen = ?5, changed = ?6
         WHERE id = ?1 AND product = ?2 AND version = ?3 RETURNING number",
    )?;
    let mut put = connection.prepare_cached(
        "INSERT INTO device (id, product, version, boot, first_seen, changed) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO UPDATE SET product = excluded.product, version = excluded.version,
             boot = excluded.boot, first_seen = excluded.first_seen, changed = excluded.changed
         RETURNING number",
    )?;
    let mut put_document = connection.prepare_cached(
        "INSERT INTO device_document (number, attributes) VALUES (?1, ?2)
         ON CONFLICT (number) DO UPDATE SET attributes = excluded.attributes
             WHERE attributes <> excluded.attributes",
    )?;
    let mut sorted: Vec<_> = devices.iter().collect();
    sorted.sort_by(|left, right| left.id.cmp(&right.id));
    for device in sorted {
        let number = match put_device(&mut update, device)? {
            Some(number) => number,
            None => put_device(&mut put, device)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?,
        };
        put_document.execute(params![number, json(&device.attributes)?])?;
        numbers.insert(device.id.clone(), number);
    }
    Ok(())
}

/// Writes the narrow row by one of the two statements; gives the device's number, if it wrote.
fn put_device(statement: &mut CachedStatement<'_>, device: &Device) -> rusqlite::Result<Option<u32>> {
    let Device { id, product, version, boot, attributes: _, first_seen, changed } = device;
    let mut rows = statement.query(params![
        id.as_str(),
        product.as_str(),
        version,
        boot.cast_signed(),
        first_seen.as_millis(),
        changed.as_millis(),
    ])?;
    let number = rows.next()?.map(|row| row.get(0)).transpose()?;
    // The statement is stepped to its end: only then is the write done.
    while rows.next()?.is_some() {}
    Ok(number)
}

/// Saves executions.
pub(super) fn executions(connection: &Connection, executions: &[Execution]) -> rusqlite::Result<()> {
    if executions.is_empty() {
        return Ok(());
    }
    let last: BTreeMap<_, _> =
        executions.iter().map(|execution| ((&execution.device, &execution.rollout), execution)).collect();
    // The closed ones first: a device may have one open at any moment, also between two rows of a batch.
    let (open, closed): (Vec<_>, Vec<_>) = last.into_values().partition(|row| row.state.is_open());
    let mut put = connection.prepare_cached(
        "INSERT INTO execution (device, rollout, attempt, state, reason, from_version, boot, offers, downloads,
                                percent, detail, opened, changed, deadline, unchanged_seen, late, is_task,
                                revision, details, started, step_deadline, earlier_failures, earlier_timeouts,
                                retired)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
                 ?22, ?23, ?24)
         ON CONFLICT (device, rollout) DO UPDATE SET attempt = excluded.attempt, state = excluded.state,
             reason = excluded.reason, from_version = excluded.from_version, boot = excluded.boot,
             offers = excluded.offers, downloads = excluded.downloads, percent = excluded.percent,
             detail = excluded.detail, opened = excluded.opened, changed = excluded.changed,
             deadline = excluded.deadline, unchanged_seen = excluded.unchanged_seen, late = excluded.late,
             revision = excluded.revision, details = excluded.details, started = excluded.started,
             step_deadline = excluded.step_deadline, earlier_failures = excluded.earlier_failures,
             earlier_timeouts = excluded.earlier_timeouts, retired = excluded.retired",
    )?;
    closed.into_iter().chain(open).try_for_each(|execution| put_execution(&mut put, execution))
}

fn put_execution(put: &mut CachedStatement<'_>, execution: &Execution) -> rusqlite::Result<()> {
    let Execution {
        rollout,
        device,
        is_task,
        attempt,
        state,
        from_version,
        boot,
        offers,
        downloads,
        percent,
        detail,
        opened,
        changed,
        deadline,
        unchanged_seen,
        late,
        revision,
        details,
        started,
        step_deadline,
        earlier_failures,
        earlier_timeouts,
        retired,
    } = execution;
    let (state, reason) = row::words(*state);
    put.execute(params![
        device.as_str(),
        rollout.as_str(),
        attempt,
        state,
        reason,
        from_version,
        boot.cast_signed(),
        offers,
        downloads,
        percent,
        detail,
        opened.as_millis(),
        changed.as_millis(),
        deadline.as_millis(),
        unchanged_seen,
        late,
        is_task,
        revision,
        json(details)?,
        started.map(Timestamp::as_millis),
        step_deadline.map(Timestamp::as_millis),
        earlier_failures,
        earlier_timeouts,
        json(retired)?,
    ])?;
    Ok(())
}

/// Appends the history of executions.
pub(super) fn history(connection: &Connection, history: &[HistoryEntry]) -> rusqlite::Result<()> {
    if history.is_empty() {
        return Ok(());
    }
    let mut append = connection.prepare_cached(
        "INSERT INTO history (device, sequence, rollout, attempt, at, from_state, from_reason, to_state,
                              to_reason, note)
         SELECT ?1, coalesce(max(sequence), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
         FROM history WHERE device = ?1",
    )?;
    // Stable: what happened to one device stays in order.
    let mut sorted: Vec<_> = history.iter().collect();
    sorted.sort_by(|left, right| left.device.cmp(&right.device));
    for HistoryEntry { rollout, device, attempt, at, from, to, note } in sorted {
        let (from_state, from_reason) = from.map(row::words).unzip();
        let (to_state, to_reason) = row::words(*to);
        append.execute(params![
            device.as_str(),
            rollout.as_str(),
            attempt,
            at.as_millis(),
            from_state,
            from_reason.flatten(),
            to_state,
            to_reason,
            note,
        ])?;
    }
    Ok(())
}

fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}
