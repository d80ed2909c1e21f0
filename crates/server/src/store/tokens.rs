//! Credentials: rows, not decisions. The secret itself is never here, only the digest of what is presented; but for the
//! pre-shared keys that devices were made with, which follow from nothing.

use super::sqlite::{all, failed, rows};
use super::{Database, row};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use std::fmt;
use updraft_core::store::StoreError;
use updraft_core::time::Timestamp;

/// What a token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// One device.
    Device,
    /// Any device of a product.
    Product,
    /// A person or program that operates the server.
    Operator,
}

impl TokenKind {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Product => "product",
            Self::Operator => "operator",
        }
    }
}

/// How a token is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenForm {
    /// As a text, which is the secret.
    Text,
    /// As a certificate of the server's own authority, with its key.
    Certificate,
    /// As an access key: by an ID, and by what its secret signed.
    AccessKey,
    /// As a pre-shared key: by an identity, and by what the key did in a handshake.
    Psk,
}

impl TokenForm {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Certificate => "certificate",
            Self::AccessKey => "access_key",
            Self::Psk => "psk",
        }
    }
}

/// What is kept of a pre-shared key. Printing it for debugging does not show the key.
#[derive(Clone, PartialEq, Eq)]
pub struct PskRow {
    /// The name it goes by.
    pub identity: String,
    /// The key, if the device was made with it and while it is not revoked; else it follows from the identity.
    pub key: Option<Vec<u8>>,
}

impl fmt::Debug for PskRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PskRow").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// A token, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its ID, for people: nothing secret.
    pub id: String,
    /// SHA-256 of what is presented: the text, the certificate (DER), the access key's ID, the pre-shared key's identity.
    pub hash: [u8; 32],
    /// How it is presented.
    pub form: TokenForm,
    /// What it stands for.
    pub kind: TokenKind,
    /// The device, product or operator.
    pub subject: String,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it opens nothing, if ever.
    pub expires: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
    /// What it is for, in an operator's words.
    pub note: String,
    /// What there is of a pre-shared key, and of nothing else.
    pub psk: Option<PskRow>,
}

/// All tokens.
#[derive(Debug)]
pub struct Tokens {
    connection: Connection,
    /// Keeps the folder locked while this is in use.
    _database: Database,
}

const COLUMNS: &str = "id, hash, form, kind, subject, created, expires, revoked, note, identity, psk";

fn token(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    let time =
        |index| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(index)?.map(Timestamp::from_millis));
    let identity: Option<String> = row.get(9)?;
    let key = row.get(10)?;
    Ok(TokenRow {
        id: row.get(0)?,
        hash: row.get(1)?,
        form: row::word(row, 2)?,
        kind: row::word(row, 3)?,
        subject: row.get(4)?,
        created: row::time(row, 5)?,
        expires: time(6)?,
        revoked: time(7)?,
        note: row.get(8)?,
        psk: identity.map(|identity| PskRow { identity, key }),
    })
}

impl Tokens {
    pub(super) fn new(database: Database, connection: Connection) -> Self {
        Self { connection, _database: database }
    }

    /// Adds a token. It is durable when this returns.
    ///
    /// # Errors
    /// [`StoreError`]; its cause is [`super::Cause::Refused`] if the ID is taken, or the digest by one that is not revoked.
    pub fn insert(&mut self, token: &TokenRow) -> Result<(), StoreError> {
        let TokenRow { id, hash, form, kind, subject, created, expires, revoked, note, psk } = token;
        let sql =
            format!("INSERT INTO token ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)");
        let insert = || {
            self.connection.prepare_cached(&sql)?.execute(params![
                id,
                hash,
                form.as_str(),
                kind.as_str(),
                subject,
                created.as_millis(),
                expires.map(Timestamp::as_millis),
                revoked.map(Timestamp::as_millis),
                note,
                psk.as_ref().map(|psk| &psk.identity),
                psk.as_ref().and_then(|psk| psk.key.as_ref()),
            ])
        };
        insert().map_err(failed("save a token"))?;
        Ok(())
    }

    /// Revokes a token and gives it back; `None` if there is none of that ID. A token revoked before keeps its time. A
    /// pre-shared key that is kept is forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn revoke(&mut self, id: &str, now: Timestamp) -> Result<Option<TokenRow>, StoreError> {
        let sql = format!(
            "UPDATE token SET revoked = coalesce(revoked, ?2), psk = NULL WHERE id = ?1 RETURNING {COLUMNS}"
        );
        let revoke = || {
            let mut update = self.connection.prepare_cached(&sql)?;
            let mut rows = update.query((id, now.as_millis()))?;
            let revoked = rows.next()?.map(token).transpose()?;
            // Stepped to its end: only then is the write done.
            while rows.next()?.is_some() {}
            Ok(revoked)
        };
        revoke().map_err(failed("revoke a token"))
    }

    /// The token of an ID.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get(&mut self, id: &str) -> Result<Option<TokenRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM token WHERE id = ?1");
        let get = || self.connection.prepare_cached(&sql)?.query_row([id], token).optional();
        get().map_err(failed("read a token"))
    }

    /// The token of which this is presented, by its digest, if it is not revoked; it may have expired.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn presented(&mut self, hash: &[u8; 32]) -> Result<Option<TokenRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM token WHERE hash = ?1 AND revoked IS NULL");
        let get = || self.connection.prepare_cached(&sql)?.query_row([hash], token).optional();
        get().map_err(failed("read a token"))
    }

    /// At most `limit` tokens after `after`, by ID; revoked and expired ones too.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&mut self, after: Option<&str>, limit: usize) -> Result<Vec<TokenRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM token WHERE id > ?1 ORDER BY id LIMIT ?2");
        all(&self.connection, &sql, (after.unwrap_or(""), rows(limit)), token).map_err(failed("list tokens"))
    }

    /// Hands over every token that is neither revoked nor expired, one at a time, in no order.
    ///
    /// # Errors
    /// [`StoreError`]; some may have been handed over by then.
    pub fn each_live(&mut self, now: Timestamp, mut take: impl FnMut(TokenRow)) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM token WHERE revoked IS NULL AND (expires IS NULL OR expires > ?1)"
        );
        let mut walk = || -> rusqlite::Result<()> {
            let mut select = self.connection.prepare_cached(&sql)?;
            let mut rows = select.query([now.as_millis()])?;
            while let Some(row) = rows.next()? {
                take(token(row)?);
            }
            Ok(())
        };
        walk().map_err(failed("read the tokens"))
    }
}
