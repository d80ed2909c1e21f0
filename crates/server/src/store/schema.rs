//! The database's form, and how it comes to be: numbered steps, applied in one transaction.
//!
//! A step that was released is never edited. There are no steps back: the copy made before a migration is the way.

use super::snapshot::{self, SnapshotError};
use super::{Cause, OpenError, open_error, sqlite_cause};
use rusqlite::{Connection, TransactionBehavior};
use std::path::{Path, PathBuf};

/// Every step there is; the database's `user_version` says how many of them it has taken.
pub(super) const MIGRATIONS: [&str; 1] = [concat!(
    include_str!("migrations/0001_fleet.sql"),
    include_str!("migrations/0001_shadow.sql"),
    include_str!("migrations/0001_lwm2m.sql")
)];

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

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "CREATE TABLE one (x INTEGER)";
    const TWO: &str = "CREATE TABLE two (x INTEGER); INSERT INTO two SELECT x + 1 FROM one";

    fn open(folder: &Path) -> (Connection, PathBuf) {
        let file = folder.join("updraft.db");
        let connection = Connection::open(&file).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        (connection, file)
    }

    fn number(connection: &Connection, sql: &str) -> i64 {
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn an_older_database_is_copied_and_then_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let (mut connection, file) = open(folder.path());
        migrate(&mut connection, &file, &[ONE]).unwrap();
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().filter(is_copy).count(),
            0,
            "nothing to lose yet"
        );
        connection.execute_batch("INSERT INTO one VALUES (41)").unwrap();
        migrate(&mut connection, &file, &[ONE, TWO]).unwrap();
        assert_eq!(number(&connection, "SELECT x FROM two"), 42);
        let copy = Connection::open(folder.path().join("updraft.db.form-1")).unwrap();
        assert_eq!(number(&copy, "PRAGMA user_version"), 1);
        assert_eq!(number(&copy, "SELECT x FROM one"), 41);
        migrate(&mut connection, &file, &[ONE, TWO]).unwrap();
        assert_eq!(number(&connection, "SELECT count(*) FROM two"), 1, "a step is taken once");
    }

    fn is_copy(entry: &std::io::Result<std::fs::DirEntry>) -> bool {
        entry.as_ref().unwrap().file_name().to_string_lossy().contains("form")
    }

    #[test]
    fn a_step_that_fails_leaves_the_database_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (mut connection, file) = open(folder.path());
        migrate(&mut connection, &file, &[ONE]).unwrap();
        let error = migrate(&mut connection, &file, &[ONE, TWO, "CREATE TABLE one (y)"]).unwrap_err();
        assert!(matches!(error, OpenError::Migrate(MigrateError::Step { to: 3, .. })), "{error:?}");
        assert_eq!(number(&connection, "PRAGMA user_version"), 1);
        assert_eq!(number(&connection, "SELECT count(*) FROM sqlite_schema WHERE name = 'two'"), 0);
    }

    #[test]
    fn without_a_copy_nothing_is_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let (mut connection, file) = open(folder.path());
        migrate(&mut connection, &file, &[ONE]).unwrap();
        std::fs::create_dir(folder.path().join("updraft.db.form-1.part")).unwrap();
        let error = migrate(&mut connection, &file, &[ONE, TWO]).unwrap_err();
        assert!(matches!(error, OpenError::Migrate(MigrateError::Copy(_))), "{error:?}");
        assert_eq!(number(&connection, "PRAGMA user_version"), 1);
    }
}
