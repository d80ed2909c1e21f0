//! The database's form, and how it comes to be: numbered steps, applied in one transaction.
//!
//! A step that was released is never edited. There are no steps back: the copy made before a migration is the way.

use super::snapshot::{self, SnapshotError};
use super::{Cause, OpenError, open_error, sqlite_cause};
use rusqlite::{Connection, TransactionBehavior};
use std::path::{Path, PathBuf};

/// Every step there is; the database's `user_version` says how many of them it has taken.
pub(super) const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001_fleet.sql")];

/// Marks a database as one of Updraft's in its header, so that no other program's file is taken for one: "UPDR".
const APPLICATION_ID: i32 = 0x5550_4452;

/// Why the database could not be brought to this program's form. It is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A later release of the program has used the database.
    #[error(
        "the database is of form {found}, and this program knows forms up to {known}: run the newer program that \
         wrote it, or restore a backup made before the upgrade"
    )]
    Newer {
        /// The database's form.
        found: usize,
        /// The newest form this program knows.
        known: usize,
    },
    /// The copy to fall back on could not be written, so nothing was begun.
    #[error("the database is not migrated without a copy to fall back on; is there room on the disk?")]
    Copy(#[from] SnapshotError),
    /// The copy could not be put in its place, so nothing was begun.
    #[error("cannot name the copy of the database {}", .to.display())]
    Place {
        /// Its name.
        to: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A step failed.
    #[error("cannot migrate the database to form {to}")]
    Step {
        /// Which form was to be reached.
        to: usize,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

/// Brings the database to the newest form. If it holds anything, a copy is made beside it first.
pub(super) fn migrate(connection: &mut Connection, file: &Path, steps: &[&str]) -> Result<(), OpenError> {
    let found = form(connection, file)?;
    let known = steps.len();
    if found > known {
        return Err(MigrateError::Newer { found, known }.into());
    }
    if found == known {
        return Ok(());
    }
    if found > 0 {
        copy(connection, file, found)?;
    }
    apply(connection, found, steps).map_err(|source| {
        if sqlite_cause(&source) == Cause::Corrupt {
            open_error(file, source)
        } else {
            MigrateError::Step { to: known, source }.into()
        }
    })
}

/// How many steps the database has taken.
fn form(connection: &Connection, file: &Path) -> Result<usize, OpenError> {
    let number = |pragma| connection.pragma_query_value::<i32, _>(None, pragma, |row| row.get(0));
    let failed = |source| open_error(file, source);
    let (form, application) =
        (number("user_version").map_err(failed)?, number("application_id").map_err(failed)?);
    let objects: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    let fresh = objects == 0 && form == 0;
    match usize::try_from(form) {
        Ok(form) if fresh || application == APPLICATION_ID => Ok(form),
        Ok(_) | Err(_) => Err(OpenError::NotADatabase { file: file.to_owned(), source: None }),
    }
}

fn apply(connection: &mut Connection, found: usize, steps: &[&str]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in &steps[found..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    let form = i32::try_from(steps.len()).expect("there are few migrations");
    transaction.pragma_update(None, "user_version", form)?;
    transaction.commit()
}

/// Copies the database to `updraft.db.form-N`, whole or not at all.
fn copy(connection: &mut Connection, file: &Path, found: usize) -> Result<(), MigrateError> {
    let to = file.with_added_extension(format!("form-{found}"));
    let partial = to.with_added_extension("part");
    snapshot::write(connection, &partial, &mut |_, _| ())?;
    std::fs::rename(&partial, &to).map_err(|source| MigrateError::Place { to, source })
}
