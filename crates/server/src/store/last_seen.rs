//! When each device was last heard of: pages of a thousand times, so that a busy fleet costs a few hundred small writes
//! every few seconds and not one per check-in.

use super::sqlite::{SqliteStore, failed};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use updraft_core::store::StoreError;
use updraft_core::time::Timestamp;

/// Devices to a page, by number: page 0 holds numbers 0 to 1023. With 4 bytes each, a page of times fills a page of the
/// database.
pub const PAGE_DEVICES: usize = 1024;
/// Bytes of a stored page.
const PAGE_BYTES: usize = PAGE_DEVICES * size_of::<u32>();

/// What a page of the wrong size means.
#[derive(Debug, thiserror::Error)]
#[error("a page of last-seen times has {0} bytes instead of {PAGE_BYTES}")]
struct PageSize(usize);

impl SqliteStore {
    /// When each device was last heard of, by number: seconds since 1970, 0 for never. As long as the greatest number
    /// plus one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn last_seen(&mut self) -> Result<Vec<u32>, StoreError> {
        read(&self.connection).map_err(failed("read when devices were last heard of"))
    }

    /// Saves pages of such times, all or none. A page shorter than [`PAGE_DEVICES`] is filled up with 0; the times
    /// beyond one are not kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn save_last_seen(&mut self, pages: &[(u32, &[u32])]) -> Result<(), StoreError> {
        self.write_last_seen(pages).map_err(failed("save when devices were last heard of"))
    }

    fn write_last_seen(&mut self, pages: &[(u32, &[u32])]) -> rusqlite::Result<()> {
        if pages.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut put = transaction.prepare_cached(
            "INSERT INTO last_seen (page, seen) VALUES (?1, ?2)
             ON CONFLICT (page) DO UPDATE SET seen = excluded.seen",
        )?;
        let mut bytes = Vec::with_capacity(PAGE_BYTES);
        for (page, times) in pages {
            bytes.clear();
            bytes.extend(times.iter().take(PAGE_DEVICES).flat_map(|time| time.to_le_bytes()));
            bytes.resize(PAGE_BYTES, 0);
            put.execute((page, &bytes))?;
        }
        drop(put);
        transaction.commit()
    }
}

/// All times, by number.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Vec<u32>> {
    let greatest: Option<u32> =
        connection.query_row("SELECT max(number) FROM device", [], |row| row.get(0))?;
    let mut seen = vec![0; greatest.map_or(0, |number| number as usize + 1)];
    let mut select = connection.prepare_cached("SELECT page, seen FROM last_seen ORDER BY page")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let start = row.get::<_, u32>(0)? as usize * PAGE_DEVICES;
        let times = decode(row.get_ref(1)?.as_blob()?)?;
        for (index, time) in times.enumerate() {
            if let Some(slot) = seen.get_mut(start + index) {
                *slot = time;
            }
        }
    }
    Ok(seen)
}

/// The times of a stored page.
fn decode(bytes: &[u8]) -> rusqlite::Result<impl Iterator<Item = u32>> {
    let (times, rest) = bytes.as_chunks::<{ size_of::<u32>() }>();
    if times.len() != PAGE_DEVICES || !rest.is_empty() {
        let error = PageSize(bytes.len());
        return Err(rusqlite::Error::FromSqlConversionFailure(1, Type::Blob, error.into()));
    }
    Ok(times.iter().map(|time| u32::from_le_bytes(*time)))
}

/// When the device of a number was last heard of, read from the database: up to some seconds behind the engine.
pub(super) fn of(connection: &Connection, number: u32) -> rusqlite::Result<u32> {
    let index = number as usize % PAGE_DEVICES;
    let page = i64::from(number) / i64::try_from(PAGE_DEVICES).expect("a page is small");
    let seen = connection
        .prepare_cached("SELECT seen FROM last_seen WHERE page = ?1")?
        .query_row([page], |row| Ok(decode(row.get_ref(0)?.as_blob()?)?.nth(index).unwrap_or(0)))
        .optional()?;
    Ok(seen.unwrap_or(0))
}

/// A stored time in the domain's terms; `None` for never.
pub(super) fn time(seconds: u32) -> Option<Timestamp> {
    (seconds > 0).then(|| Timestamp::from_millis(i64::from(seconds) * 1_000))
}
