//! The fleet's store on SQLite.
//!
//! A batch is loaded by point reads and saved in one transaction, rows sorted by key. Many devices share the cost of
//! one write to the disk, and rows that lie side by side are written side by side.

mod save;
mod shadow;

use super::{Database, row};
use rusqlite::{Connection, OptionalExtension, Params, Row, TransactionBehavior};
use std::collections::{BTreeMap, HashMap};
use updraft_core::execution::Execution;
use updraft_core::id::{DeviceId, ProductName, RolloutId};
use updraft_core::rollout::AbortReach;
use updraft_core::shadow::{ShadowEntry, ShadowHead, ShadowName};
use updraft_core::state::Tally;
use updraft_core::store::{Catalogue, Changes, DeviceRecord, Store, StoreError};
use updraft_core::time::Timestamp;

/// The fleet's state in SQLite.
#[derive(Debug)]
pub struct SqliteStore {
    pub(super) connection: Connection,
    /// The numbers of the devices of the last batch: whoever reports is asked for right after.
    numbers: HashMap<DeviceId, u32>,
    /// Keeps the folder locked while this store is in use.
    _database: Database,
}

/// Names an operation that failed.
pub(super) fn failed(operation: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |error| StoreError { operation, source: error.into() }
}

impl SqliteStore {
    pub(super) fn new(database: Database, connection: Connection) -> Self {
        Self { connection, numbers: HashMap::new(), _database: database }
    }

    /// A device's number: small, dense, given at its first word, never changed. `None` if it was never heard of. Costs
    /// nothing for the devices of the last batch.
    ///
    /// # Errors
    /// [`StoreError`], when the database cannot be read.
    pub fn number(&mut self, device: &DeviceId) -> Result<Option<u32>, StoreError> {
        if let Some(number) = self.numbers.get(device) {
            return Ok(Some(*number));
        }
        self.connection
            .prepare_cached("SELECT number FROM device WHERE id = ?1")
            .and_then(|mut select| select.query_row([device.as_str()], |row| row.get(0)).optional())
            .map_err(failed("look up a device's number"))
    }

    fn load_batch(&mut self, devices: &[DeviceId]) -> rusqlite::Result<Vec<DeviceRecord>> {
        self.numbers.clear();
        // One read transaction: the batch sees one state, and takes the lock once.
        let transaction = self.connection.transaction()?;
        let mut select_device = transaction.prepare_cached(&format!(
            "SELECT {} FROM device LEFT JOIN device_document ON device_document.number = device.number
             WHERE device.id = ?1",
            row::DEVICE
        ))?;
        let mut select_executions = transaction.prepare_cached(&format!(
            "SELECT {} FROM execution WHERE execution.device = ?1 ORDER BY execution.rollout",
            row::EXECUTION
        ))?;
        let mut records = Vec::with_capacity(devices.len());
        for id in devices {
            let found = select_device.query_row([id.as_str()], row::device).optional()?;
            let Some((number, device)) = found else {
                // Executions name a known device; the schema holds that.
                records.push(DeviceRecord::default());
                continue;
            };
            self.numbers.insert(id.clone(), number);
            let executions = select_executions
                .query_map([id.as_str()], row::execution)?
                .collect::<rusqlite::Result<Vec<Execution>>>()?;
            records.push(DeviceRecord { device: Some(device), executions });
        }
        Ok(records)
    }

    fn save_batch(&mut self, changes: &Changes) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        save::catalogue(&transaction, changes)?;
        save::devices(&transaction, &changes.devices, &mut self.numbers)?;
        save::executions(&transaction, &changes.executions)?;
        save::history(&transaction, &changes.history)?;
        shadow::put(&transaction, &changes.shadows)?;
        transaction.commit()
    }
}

/// All rows of a query whose text is always the same.
pub(super) fn all<T, P: Params>(
    connection: &Connection,
    sql: &str,
    parameters: P,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map(parameters, read)?.collect()
}

/// A limit as SQLite counts.
pub(super) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl Store for SqliteStore {
    fn catalogue(&mut self) -> Result<Catalogue, StoreError> {
        let read = |connection: &Connection| {
            let releases = format!("SELECT {} FROM release", row::RELEASE);
            let rollouts = format!("SELECT {} FROM rollout", row::ROLLOUT);
            Ok(Catalogue {
                releases: all(connection, &releases, [], row::release)?,
                rollouts: all(connection, &rollouts, [], row::rollout)?,
            })
        };
        read(&self.connection).map_err(failed("read the releases and rollouts"))
    }

    fn load(&mut self, devices: &[DeviceId]) -> Result<Vec<DeviceRecord>, StoreError> {
        self.load_batch(devices).map_err(failed("load a batch of devices"))
    }

    fn tallies(&mut self) -> Result<BTreeMap<RolloutId, Tally>, StoreError> {
        tallies(&self.connection).map_err(failed("read the tallies"))
    }

    fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.save_batch(changes).map_err(|error| {
            // Numbers given in a batch that was taken back are given again, to others.
            self.numbers.clear();
            failed("save a batch of changes")(error)
        })
    }

    fn overdue(&mut self, now: Timestamp, limit: usize) -> Result<Vec<DeviceId>, StoreError> {
        let sql =
            "SELECT device FROM execution WHERE open AND deadline <= ?1 ORDER BY deadline, device LIMIT ?2";
        all(&self.connection, sql, (now.as_millis(), rows(limit)), |row| row::parsed(row, 0))
            .map_err(failed("find the overdue executions"))
    }

    fn open_in(
        &mut self,
        rollout: &RolloutId,
        reach: AbortReach,
        limit: usize,
    ) -> Result<Vec<DeviceId>, StoreError> {
        let sql = match reach {
            AbortReach::Open => {
                "SELECT device FROM execution WHERE open AND rollout = ?1 ORDER BY device LIMIT ?2"
            }
            AbortReach::Queued => {
                "SELECT device FROM execution WHERE state = 'queued' AND rollout = ?1 ORDER BY device LIMIT ?2"
            }
        };
        all(&self.connection, sql, (rollout.as_str(), rows(limit)), |row| row::parsed(row, 0))
            .map_err(failed("find a rollout's open executions"))
    }

    fn devices_after(
        &mut self,
        product: &ProductName,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<DeviceId>, StoreError> {
        // No ID is empty, so all come after the empty one.
        let after = after.map_or("", DeviceId::as_str);
        let sql = "SELECT id FROM device WHERE product = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
        all(&self.connection, sql, (product.as_str(), after, rows(limit)), |row| row::parsed(row, 0))
            .map_err(failed("walk over a product's devices"))
    }

    fn shadow(&mut self, device: &DeviceId, name: &ShadowName) -> Result<Option<ShadowEntry>, StoreError> {
        shadow::find(&self.connection, device, name).map_err(failed("read a shadow"))
    }

    fn shadow_heads(&mut self, device: &DeviceId) -> Result<Vec<ShadowHead>, StoreError> {
        shadow::heads(&self.connection, device).map_err(failed("list a device's shadows"))
    }
}

/// How many executions stand where, as kept by the schema's triggers.
pub(super) fn tallies(connection: &Connection) -> rusqlite::Result<BTreeMap<RolloutId, Tally>> {
    let mut tallies: BTreeMap<RolloutId, Tally> = BTreeMap::new();
    let mut select = connection.prepare_cached("SELECT rollout, state, count FROM tally WHERE count > 0")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let count: i64 = row.get(2)?;
        tallies.entry(row::parsed(row, 0)?).or_default().set(row::word(row, 1)?, count.cast_unsigned());
    }
    Ok(tallies)
}
