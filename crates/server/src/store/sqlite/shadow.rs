//! The rows of table `shadow`.

use super::all;
use crate::store::row::{json, parsed, time};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use updraft_core::id::DeviceId;
use updraft_core::shadow::{Shadow, ShadowEntry, ShadowHead, ShadowName};
use updraft_core::store::ShadowRow;

/// What is kept under a name.
pub(super) fn find(
    connection: &Connection,
    device: &DeviceId,
    name: &ShadowName,
) -> rusqlite::Result<Option<ShadowEntry>> {
    let sql = "SELECT version, desired, reported, deleted FROM shadow WHERE device = ?1 AND name = ?2";
    let mut select = connection.prepare_cached(sql)?;
    select.query_row([device.as_str(), name.as_str()], entry).optional()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<ShadowEntry> {
    let version = row.get::<_, i64>(0)?.cast_unsigned();
    if row.get_ref(3)?.data_type() == Type::Null {
        return Ok(ShadowEntry::Live(Shadow { desired: json(row, 1)?, reported: json(row, 2)?, version }));
    }
    Ok(ShadowEntry::Deleted { version, at: time(row, 3)? })
}

/// Every name of a device, by name. No name is the empty text, so the classic shadow comes first.
pub(super) fn heads(connection: &Connection, device: &DeviceId) -> rusqlite::Result<Vec<ShadowHead>> {
    let sql = "SELECT name, deleted FROM shadow WHERE device = ?1 ORDER BY name";
    all(connection, sql, [device.as_str()], |row| {
        let is_classic = row.get_ref(0)?.as_bytes().is_ok_and(<[u8]>::is_empty);
        let is_live = row.get_ref(1)?.data_type() == Type::Null;
        Ok(ShadowHead {
            name: if is_classic { ShadowName::CLASSIC } else { parsed(row, 0)? },
            deleted: if is_live { None } else { Some(time(row, 1)?) },
        })
    })
}

/// Saves shadows.
pub(super) fn put(connection: &Connection, rows: &[ShadowRow]) -> rusqlite::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut put = connection.prepare_cached(
        "INSERT INTO shadow (device, name, version, desired, reported, deleted) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (device, name) DO UPDATE SET version = excluded.version, desired = excluded.desired,
             reported = excluded.reported, deleted = excluded.deleted",
    )?;
    let mut drop = connection.prepare_cached("DELETE FROM shadow WHERE device = ?1 AND name = ?2")?;
    let mut sorted: Vec<_> = rows.iter().collect();
    // Stable: of one name the last row counts.
    sorted.sort_by(|left, right| (&left.device, &left.name).cmp(&(&right.device, &right.name)));
    for ShadowRow { device, name, entry } in sorted {
        let (device, name) = (device.as_str(), name.as_str());
        match entry {
            Some(ShadowEntry::Live(Shadow { desired, reported, version })) => {
                let (desired, reported) = (text(desired)?, text(reported)?);
                put.execute(params![device, name, version.cast_signed(), desired, reported, None::<i64>])?
            }
            Some(ShadowEntry::Deleted { version, at }) => {
                let gone = None::<String>;
                put.execute(params![device, name, version.cast_signed(), gone, gone, at.as_millis()])?
            }
            None => drop.execute([device, name])?,
        };
    }
    Ok(())
}

fn text(section: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(section).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}
