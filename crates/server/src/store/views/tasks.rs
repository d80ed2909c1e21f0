//! What tasks need of lists: who is in a group, and whose executions there are.

use super::{PAGE_ROWS_MAX, Views, page};
use crate::store::row;
use crate::store::sqlite::{all, failed};
use updraft_core::execution::Execution;
use updraft_core::id::{DeviceId, GroupName, RolloutId};
use updraft_core::store::StoreError;
use updraft_core::task::GROUP_ATTRIBUTE;

impl Views {
    /// At most `limit` devices that are in a group, by ID: those whose product is called so, and those that say so in their
    /// attribute. Looks at every device there is, a page at a time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn members(
        &mut self,
        group: &GroupName,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<DeviceId>, StoreError> {
        let sql = format!(
            "SELECT device.id FROM device LEFT JOIN device_document ON device_document.number = device.number
             WHERE device.id > ?2 AND (device.product = ?1 OR json_extract(attributes, '$.{GROUP_ATTRIBUTE}') = ?1)
             ORDER BY device.id LIMIT ?3"
        );
        let mut members: Vec<DeviceId> = Vec::new();
        while members.len() < limit {
            let rows = (limit - members.len()).min(PAGE_ROWS_MAX);
            let after = members.last().or(after).map_or("", DeviceId::as_str).to_owned();
            let found: Vec<DeviceId> =
                all(&self.connection, &sql, (group.as_str(), after, page(rows)), |row| row::parsed(row, 0))
                    .map_err(failed("list a group's devices"))?;
            let is_last = found.len() < rows;
            members.extend(found);
            if is_last {
                break;
            }
        }
        Ok(members)
    }

    /// At most `limit` executions of a rollout, wherever they stand, by device, after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn all_executions(
        &mut self,
        rollout: &RolloutId,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<Execution>, StoreError> {
        let sql = format!(
            "SELECT {} FROM execution WHERE rollout = ?1 AND device > ?2 ORDER BY device LIMIT ?3",
            row::EXECUTION
        );
        let after = after.map_or("", DeviceId::as_str);
        all(&self.connection, &sql, (rollout.as_str(), after, page(limit)), row::execution)
            .map_err(failed("list a rollout's executions"))
    }
}
