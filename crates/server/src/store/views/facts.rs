//! Facts about the database itself: how large, how sound, whether the books are right.

use super::Views;
use crate::store::row;
use crate::store::sqlite::{all, failed};
use rusqlite::Connection;
use serde::Serialize;
use updraft_core::id::RolloutId;
use updraft_core::state::StateKind;
use updraft_core::store::StoreError;

/// Most faults told of at once; where there are more, the first ones say enough.
const FAULTS_MAX: i64 = 20;

/// How large the database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// How many migrations it has taken.
    pub form: u32,
    /// Its size in bytes, without the write-ahead log.
    pub bytes: u64,
    /// How much of that is free for use again, in bytes.
    pub bytes_free: u64,
    /// How many devices it knows.
    pub devices: u64,
    /// How many executions it holds.
    pub executions: u64,
    /// How many releases there are.
    pub releases: u64,
    /// How many rollouts there are.
    pub rollouts: u64,
}

/// A count that is not what the rows say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TallyMismatch {
    /// The rollout.
    pub rollout: RolloutId,
    /// The state counted.
    pub state: StateKind,
    /// The count as kept.
    pub kept: u64,
    /// The count of rows.
    pub counted: u64,
}

impl Views {
    /// How large the database is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn facts(&mut self) -> Result<Facts, StoreError> {
        let operation = "read facts about the database";
        let snapshot = self.connection.transaction().map_err(failed(operation))?;
        facts(&snapshot).map_err(failed(operation))
    }

    /// What is wrong with the file: damaged pages, rows that lack what they refer to. Empty: it is sound. Reads the whole
    /// file; with a million devices, some seconds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn faults(&mut self) -> Result<Vec<String>, StoreError> {
        faults(&self.connection).map_err(failed("check the database"))
    }

    /// Counts that are not what the rows say. Empty: the books are right.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn verify_tallies(&mut self) -> Result<Vec<TallyMismatch>, StoreError> {
        let sql = "
            WITH counted AS (SELECT rollout, state, count(*) AS count FROM execution GROUP BY rollout, state)
            SELECT coalesce(tally.rollout, counted.rollout), coalesce(tally.state, counted.state),
                   coalesce(tally.count, 0) AS kept, coalesce(counted.count, 0) AS found
            FROM tally FULL JOIN counted USING (rollout, state) WHERE kept <> found";
        all(&self.connection, sql, [], |row| {
            Ok(TallyMismatch {
                rollout: row::parsed(row, 0)?,
                state: row::word(row, 1)?,
                kept: row.get::<_, i64>(2)?.cast_unsigned(),
                counted: row.get::<_, i64>(3)?.cast_unsigned(),
            })
        })
        .map_err(failed("compare the tallies with the executions"))
    }
}

fn facts(connection: &Connection) -> rusqlite::Result<Facts> {
    let count = |sql: &str| -> rusqlite::Result<u64> {
        connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
    };
    let page_bytes = count("PRAGMA page_size")?;
    Ok(Facts {
        form: connection.query_row("PRAGMA user_version", [], |row| row.get(0))?,
        bytes: count("PRAGMA page_count")? * page_bytes,
        bytes_free: count("PRAGMA freelist_count")? * page_bytes,
        devices: count("SELECT count(*) FROM device")?,
        executions: count("SELECT coalesce(sum(count), 0) FROM tally")?,
        releases: count("SELECT count(*) FROM release")?,
        rollouts: count("SELECT count(*) FROM rollout")?,
    })
}

fn faults(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let check = format!("PRAGMA quick_check({FAULTS_MAX})");
    let mut faults: Vec<String> = all(connection, &check, [], |row| row.get(0))?;
    faults.retain(|fault| fault != "ok");
    let dangling =
        format!("SELECT DISTINCT \"table\", parent FROM pragma_foreign_key_check LIMIT {FAULTS_MAX}");
    faults.extend(all(connection, &dangling, [], |row| {
        let (table, parent): (String, String) = (row.get(0)?, row.get(1)?);
        Ok(format!("a row of {table} refers to a missing row of {parent}"))
    })?);
    Ok(faults)
}
