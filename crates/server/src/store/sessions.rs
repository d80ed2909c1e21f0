//! MQTT sessions as rows: who, how long, which subscriptions. What they mean is the endpoint's business.

use super::sqlite::{all, failed};
use super::{Database, row};
use crate::protocols::mqtt::endpoint::{
    SavedSession, SavedSubscription, SessionChange, SessionKey, SessionStore, SessionStoreError,
};
use rusqlite::{Connection, Row, TransactionBehavior, params};
use std::sync::{Mutex, PoisonError};
use updraft_core::store::StoreError;

/// The word of a device's session.
const DEVICE: &str = "device";
/// The word of an application's session.
const APPLICATION: &str = "application";

/// All kept sessions, on a connection of their own: a storm of subscribers never waits for the fleet's transaction to be
/// built, only for the disk.
#[derive(Debug)]
pub struct Sessions {
    connection: Mutex<Connection>,
    /// Keeps the folder locked while this is in use.
    _database: Database,
}

/// The primary key of a session.
fn words(key: &SessionKey) -> (&'static str, &str, &str) {
    match key {
        SessionKey::Device(id) => (DEVICE, id.as_str(), ""),
        SessionKey::Application { name, client_id } => (APPLICATION, name, client_id),
    }
}

fn session(row: &Row<'_>) -> rusqlite::Result<SavedSession> {
    let kind: String = row.get(0)?;
    let key = if kind == DEVICE {
        SessionKey::Device(row::parsed(row, 1)?)
    } else {
        let (name, client_id): (String, String) = (row.get(1)?, row.get(2)?);
        SessionKey::Application { name: name.into(), client_id: client_id.into() }
    };
    let subscriptions: Vec<SavedSubscription> = row::json(row, 4)?;
    Ok(SavedSession { key, expiry: row.get(3)?, subscriptions })
}

fn apply(connection: &mut Connection, changes: &[SessionChange]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for change in changes {
        match change {
            SessionChange::Save(SavedSession { key, expiry, subscriptions }) => {
                let (kind, name, client) = words(key);
                let subscriptions = serde_json::to_string(subscriptions)
                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
                let sql = "INSERT OR REPLACE INTO session (kind, name, client, expiry, subscriptions) \
                           VALUES (?1, ?2, ?3, ?4, ?5)";
                let mut save = transaction.prepare_cached(sql)?;
                save.execute(params![kind, name, client, expiry, subscriptions])?;
            }
            SessionChange::Delete(key) => {
                let sql = "DELETE FROM session WHERE (kind, name, client) = (?1, ?2, ?3)";
                transaction.prepare_cached(sql)?.execute(words(key))?;
            }
        }
    }
    transaction.commit()
}

fn error(operation: &'static str) -> impl FnOnce(StoreError) -> SessionStoreError {
    move |source| SessionStoreError { operation, source: Box::new(source) }
}

impl Sessions {
    pub(super) fn new(database: Database, connection: Connection) -> Self {
        Self { connection: Mutex::new(connection), _database: database }
    }
}

impl SessionStore for Sessions {
    fn load_all(&self) -> Result<Vec<SavedSession>, SessionStoreError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let sql = "SELECT kind, name, client, expiry, subscriptions FROM session ORDER BY kind, name, client";
        all(&connection, sql, (), session).map_err(failed("read MQTT sessions")).map_err(error("read"))
    }

    fn apply(&self, changes: &[SessionChange]) -> Result<(), SessionStoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        apply(&mut connection, changes).map_err(failed("save MQTT sessions")).map_err(error("written"))
    }
}
