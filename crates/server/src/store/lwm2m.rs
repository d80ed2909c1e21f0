//! What LwM2M keeps, as rows: registrations, and orders with what came of them.

mod outcome;

use super::sqlite::{all, failed};
use super::{Database, row};
use crate::protocols::lwm2m::books::{Books, BooksError, Change, ORDERS_MAX, SavedOrder, SavedRegistration};
use crate::protocols::lwm2m::desk::{Order, Outcome};
use outcome::SavedOutcome;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use std::sync::{Mutex, MutexGuard, PoisonError};
use updraft_core::id::DeviceId;
use updraft_core::store::StoreError;

/// An order that may not wait: as many of its device do.
#[derive(Debug, thiserror::Error)]
#[error("{ORDERS_MAX} orders wait for device {0}")]
struct TooManyWait(DeviceId);

/// What LwM2M keeps, on a connection of its own: a storm of registrations never waits for the fleet's transaction to be
/// built, only for the disk.
#[derive(Debug)]
pub struct Lwm2mBooks {
    connection: Mutex<Connection>,
    /// Keeps the folder locked while this is in use.
    _database: Database,
}

/// The columns of [`order`].
const ORDER: &str = "number, device, operation, path, by, at, outcome";

fn registration(row: &Row<'_>) -> rusqlite::Result<SavedRegistration> {
    Ok(SavedRegistration { device: row::parsed(row, 0)?, record: row.get(1)? })
}

fn order(row: &Row<'_>) -> rusqlite::Result<SavedOrder> {
    let waits = row.get_ref(6)?.data_type() == Type::Null;
    let outcome = if waits { None } else { Some(row::json::<SavedOutcome>(row, 6)?) };
    let order = Order {
        number: row.get::<_, i64>(0)?.cast_unsigned(),
        device: row::parsed(row, 1)?,
        operation: row::json(row, 2)?,
        path: row::parsed(row, 3)?,
        by: row.get(4)?,
        at: row::time(row, 5)?,
    };
    Ok(SavedOrder { order, outcome: outcome.map(Outcome::from) })
}

fn apply(connection: &mut Connection, changes: &[Change]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for change in changes {
        match change {
            Change::Register(SavedRegistration { device, record }) => {
                let sql = "INSERT OR REPLACE INTO lwm2m_registration (device, record) VALUES (?1, ?2)";
                transaction.prepare_cached(sql)?.execute([device.as_str(), record])?;
            }
            Change::Deregister(device) => {
                let sql = "DELETE FROM lwm2m_registration WHERE device = ?1";
                transaction.prepare_cached(sql)?.execute([device.as_str()])?;
            }
            Change::Order(saved) => {
                put(&transaction, saved)?;
                make_room(&transaction, saved)?;
            }
        }
    }
    transaction.commit()
}

fn put(connection: &Connection, saved: &SavedOrder) -> rusqlite::Result<()> {
    let Order { number, device, operation, path, by, at } = &saved.order;
    let number = i64::try_from(*number).map_err(unwritable)?;
    let operation = serde_json::to_string(operation).map_err(unwritable)?;
    let outcome = saved.outcome.as_ref().map(|outcome| serde_json::to_string(&SavedOutcome::from(outcome)));
    let outcome = outcome.transpose().map_err(unwritable)?;
    // Not REPLACE, which would delete the row before: the number stays where it is.
    let sql = "INSERT INTO lwm2m_order (number, device, operation, path, by, at, outcome)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (number) DO UPDATE SET device = excluded.device, operation = excluded.operation,
                   path = excluded.path, by = excluded.by, at = excluded.at, outcome = excluded.outcome";
    connection.prepare_cached(sql)?.execute(params![
        number,
        device.as_str(),
        operation,
        path.to_string(),
        by,
        at.as_millis(),
        outcome
    ])?;
    Ok(())
}

/// Keeps the orders of a device at [`ORDERS_MAX`]: the oldest that are done go.
fn make_room(connection: &Connection, saved: &SavedOrder) -> rusqlite::Result<()> {
    let device = saved.order.device.as_str();
    let sql = "SELECT count(*) FROM lwm2m_order WHERE device = ?1";
    let kept: u32 = connection.prepare_cached(sql)?.query_row([device], |row| row.get(0))?;
    let excess = kept.saturating_sub(u32::try_from(ORDERS_MAX).expect("the limit is small"));
    if excess == 0 {
        return Ok(());
    }
    let sql = "DELETE FROM lwm2m_order WHERE number IN
                   (SELECT number FROM lwm2m_order WHERE device = ?1 AND outcome IS NOT NULL
                    ORDER BY number LIMIT ?2)";
    connection.prepare_cached(sql)?.execute(params![device, excess])?;
    if connection.changes() < u64::from(excess) {
        Err(unwritable(TooManyWait(saved.order.device.clone())))
    } else {
        Ok(())
    }
}

/// Gives each row to `take`.
fn each<T>(
    connection: &Connection,
    sql: &str,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
    take: &mut dyn FnMut(T),
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(sql)?;
    for row in statement.query_map((), read)? {
        take(row?);
    }
    Ok(())
}

fn unwritable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.into())
}

fn unkept(error: StoreError) -> BooksError {
    BooksError(Box::new(error))
}

impl Lwm2mBooks {
    pub(super) fn new(database: Database, connection: Connection) -> Self {
        Self { connection: Mutex::new(connection), _database: database }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books for Lwm2mBooks {
    fn registrations(&self, take: &mut dyn FnMut(SavedRegistration)) -> Result<(), BooksError> {
        let sql = "SELECT device, record FROM lwm2m_registration ORDER BY device";
        let read = each(&self.connection(), sql, registration, take);
        read.map_err(failed("read registrations of LwM2M")).map_err(unkept)
    }

    fn waiting(&self) -> Result<Vec<Order>, BooksError> {
        let sql = format!("SELECT {ORDER} FROM lwm2m_order WHERE outcome IS NULL ORDER BY number");
        let found = all(&self.connection(), &sql, (), |row| order(row).map(|saved| saved.order));
        found.map_err(failed("read orders of LwM2M")).map_err(unkept)
    }

    fn orders(&self, device: &DeviceId) -> Result<Vec<SavedOrder>, BooksError> {
        let sql = format!("SELECT {ORDER} FROM lwm2m_order WHERE device = ?1 ORDER BY number");
        let found = all(&self.connection(), &sql, [device.as_str()], order);
        found.map_err(failed("read orders of LwM2M")).map_err(unkept)
    }

    fn next_number(&self) -> Result<u64, BooksError> {
        // SQLite writes down the largest number that a table with AUTOINCREMENT ever had.
        let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'lwm2m_order'";
        let largest = self.connection().query_row(sql, (), |row| row.get::<_, i64>(0)).optional();
        let largest = largest.map_err(failed("read orders of LwM2M")).map_err(unkept)?;
        Ok(largest.unwrap_or(0).cast_unsigned() + 1)
    }

    fn save(&self, changes: &[Change]) -> Result<(), BooksError> {
        apply(&mut self.connection(), changes).map_err(failed("save what LwM2M keeps")).map_err(unkept)
    }
}
