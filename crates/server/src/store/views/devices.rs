//! Devices: pages, one in detail, counts by version.

use super::{Views, page};
use crate::store::sqlite::{all, failed};
use crate::store::{last_seen, row};
use rusqlite::{Connection, OptionalExtension, named_params};
use serde::Serialize;
use updraft_core::device::Device;
use updraft_core::execution::{Execution, HistoryEntry};
use updraft_core::id::{DeviceId, ProductName, RolloutId};
use updraft_core::state::StateKind;
use updraft_core::store::StoreError;
use updraft_core::time::Timestamp;

/// Most devices looked at for one page: some tenths of a second. A filter that hardly any device passes gives short
/// pages, each saying where to go on.
pub const SCAN_ROWS_MAX: usize = 100_000;

/// Which devices; all that is set must hold.
#[derive(Debug, Clone, Default)]
pub struct DeviceFilter {
    /// Of this product.
    pub product: Option<ProductName>,
    /// Running this version, as written.
    pub version: Option<String>,
    /// With an execution that stands here, in `rollout` or any.
    pub state: Option<StateKind>,
    /// With an execution in this rollout.
    pub rollout: Option<RolloutId>,
    /// With an ID that begins so.
    pub id_prefix: Option<String>,
    /// Not heard of at this time or later.
    pub unseen_since: Option<Timestamp>,
}

/// A device in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceLine {
    /// Its number in the store, by which the engine knows when it was last heard.
    pub number: u32,
    /// Its ID.
    pub id: DeviceId,
    /// The product it says it is.
    pub product: ProductName,
    /// The version it says it runs.
    pub version: String,
    /// When it was last heard of, to the second and some seconds behind; `None` if not since this is kept.
    pub last_seen: Option<Timestamp>,
}

/// A page of devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DevicePage {
    /// By ID. May be short, or empty, with more to come.
    pub devices: Vec<DeviceLine>,
    /// After which ID to go on; `None` at the end.
    pub next: Option<DeviceId>,
}

/// A device with all that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceDetail {
    /// See [`DeviceLine::number`].
    pub number: u32,
    /// Its description.
    pub device: Device,
    /// See [`DeviceLine::last_seen`].
    pub last_seen: Option<Timestamp>,
    /// Its executions, by rollout.
    pub executions: Vec<Execution>,
    /// What happened to them, newest first.
    pub history: Vec<HistoryEntry>,
}

/// How many devices run a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionCount {
    /// The product.
    pub product: ProductName,
    /// The version, as the devices write it.
    pub version: String,
    /// How many.
    pub devices: u64,
}

impl Views {
    /// At most `limit` devices that pass a filter, by ID, after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn devices(
        &mut self,
        filter: &DeviceFilter,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<DevicePage, StoreError> {
        let operation = "list devices";
        let snapshot = self.connection.transaction().map_err(failed(operation))?;
        device_page(&snapshot, filter, after, limit).map_err(failed(operation))
    }

    /// One device with its executions and the last `history` lines of what happened to them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn device(&mut self, id: &DeviceId, history: usize) -> Result<Option<DeviceDetail>, StoreError> {
        let operation = "read a device";
        let snapshot = self.connection.transaction().map_err(failed(operation))?;
        device_detail(&snapshot, id, history).map_err(failed(operation))
    }

    /// What happened to one attempt of a device, from its beginning; at most `limit` lines.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn attempt(
        &mut self,
        id: &DeviceId,
        rollout: &RolloutId,
        attempt: u32,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let sql = format!(
            "SELECT {} FROM history WHERE device = ?1 AND rollout = ?2 AND attempt = ?3 ORDER BY sequence LIMIT ?4",
            row::HISTORY
        );
        let parameters = (id.as_str(), rollout.as_str(), attempt, page(limit));
        all(&self.connection, &sql, parameters, row::history_entry)
            .map_err(failed("read an attempt's history"))
    }

    /// How many devices run which version, of one product or of all: by product, the most frequent first, at most
    /// `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn versions(
        &mut self,
        product: Option<&ProductName>,
        limit: usize,
    ) -> Result<Vec<VersionCount>, StoreError> {
        let of_product = if product.is_some() { "product = ?1" } else { "?1 IS NULL" };
        let sql = format!(
            "SELECT product, version, count(*) AS devices FROM device WHERE {of_product}
             GROUP BY product, version ORDER BY product, devices DESC, version LIMIT ?2"
        );
        let parameters = (product.map(ProductName::as_str), page(limit));
        all(&self.connection, &sql, parameters, |row| {
            let devices = row.get::<_, i64>(2)?.cast_unsigned();
            Ok(VersionCount { product: row::parsed(row, 0)?, version: row.get(1)?, devices })
        })
        .map_err(failed("count devices by version"))
    }
}

/// The walk over candidates. What an index can find is in WHERE; the rest is told of each row (`passes`), so that the
/// number of rows looked at is known and bounded.
fn walk(filter: &DeviceFilter) -> String {
    let mut narrow = vec!["id > :after"];
    if filter.product.is_some() {
        narrow.push("product = :product");
    }
    if filter.product.is_some() && filter.version.is_some() {
        narrow.push("version = :version");
    }
    if filter.id_prefix.is_some() {
        // All characters of an ID come before DEL.
        narrow.push("id >= :prefix AND id < :prefix || char(127)");
    }
    format!(
        "SELECT id, product, version, number,
                (:version IS NULL OR version = :version) AND (:state IS NULL AND :rollout IS NULL OR EXISTS (
                    SELECT 1 FROM execution WHERE execution.device = device.id
                        AND (:state IS NULL OR execution.state = :state)
                        AND (:rollout IS NULL OR execution.rollout = :rollout))) AS passes,
                :product IS NULL, :prefix IS NULL
         FROM device WHERE {} ORDER BY id LIMIT :scan",
        narrow.join(" AND ")
    )
}

fn device_page(
    connection: &Connection,
    filter: &DeviceFilter,
    after: Option<&DeviceId>,
    limit: usize,
) -> rusqlite::Result<DevicePage> {
    let limit = usize::try_from(page(limit)).expect("a page is small");
    let unseen = match filter.unseen_since {
        Some(since) => Some((since, last_seen::read(connection)?)),
        None => None,
    };
    let mut select = connection.prepare_cached(&walk(filter))?;
    let mut rows = select.query(named_params! {
        ":after": after.map_or("", DeviceId::as_str),
        ":product": filter.product.as_ref().map(ProductName::as_str),
        ":version": filter.version,
        ":state": filter.state.map(StateKind::as_str),
        ":rollout": filter.rollout.as_ref().map(RolloutId::as_str),
        ":prefix": filter.id_prefix,
        ":scan": i64::try_from(SCAN_ROWS_MAX).expect("a scan is bounded"),
    })?;
    let mut found = DevicePage::default();
    let mut looked_at = 0;
    while let Some(row) = rows.next()? {
        looked_at += 1;
        let number: u32 = row.get(3)?;
        let is_unseen = |(since, seen): &(Timestamp, Vec<u32>)| {
            seen.get(number as usize).copied().and_then(last_seen::time).is_none_or(|seen| seen < *since)
        };
        let passes = row.get(4)? && unseen.as_ref().is_none_or(is_unseen);
        if passes {
            let last_seen = last_seen::time(last_seen::of(connection, number)?);
            let (id, product) = (row::parsed(row, 0)?, row::parsed(row, 1)?);
            found.devices.push(DeviceLine { number, id, product, version: row.get(2)?, last_seen });
        }
        if found.devices.len() == limit || looked_at == SCAN_ROWS_MAX {
            found.next = Some(row::parsed(row, 0)?);
            break;
        }
    }
    Ok(found)
}

fn device_detail(
    connection: &Connection,
    id: &DeviceId,
    history: usize,
) -> rusqlite::Result<Option<DeviceDetail>> {
    let select = format!(
        "SELECT {} FROM device LEFT JOIN device_document ON device_document.number = device.number
         WHERE device.id = ?1",
        row::DEVICE
    );
    let found = connection.prepare_cached(&select)?.query_row([id.as_str()], row::device).optional()?;
    let Some((number, device)) = found else { return Ok(None) };
    let executions = format!(
        "SELECT {} FROM execution JOIN rollout ON rollout.id = execution.rollout
         WHERE execution.device = ?1 ORDER BY execution.rollout",
        row::EXECUTION
    );
    let lines =
        format!("SELECT {} FROM history WHERE device = ?1 ORDER BY sequence DESC LIMIT ?2", row::HISTORY);
    Ok(Some(DeviceDetail {
        number,
        device,
        last_seen: last_seen::time(last_seen::of(connection, number)?),
        executions: all(connection, &executions, [id.as_str()], row::execution)?,
        history: all(connection, &lines, (id.as_str(), page(history)), row::history_entry)?,
    }))
}
