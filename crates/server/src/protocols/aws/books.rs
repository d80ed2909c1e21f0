//! The line to what is written down: lists over devices and executions, which the engine does not keep in memory.

use std::future::Future;
use std::pin::Pin;

use updraft_core::execution::{Execution, HistoryEntry};
use updraft_core::id::{DeviceId, GroupName, RolloutId};
use updraft_core::state::Tally;

use super::failure::Failure;

/// What was found.
pub type Found<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// What is written down.
pub trait Books: Send + Sync + 'static {
    /// Devices that are in a group and come after `after`, at most `limit`, by ID.
    fn members(&self, group: GroupName, after: Option<DeviceId>, limit: usize) -> Found<'_, Vec<DeviceId>>;

    /// What happened to one attempt of a device, from its beginning.
    fn attempt(&self, device: DeviceId, rollout: RolloutId, attempt: u32) -> Found<'_, Vec<HistoryEntry>>;

    /// Executions of a rollout whose devices come after `after`, at most `limit`, by device.
    fn executions(
        &self,
        rollout: RolloutId,
        after: Option<DeviceId>,
        limit: usize,
    ) -> Found<'_, Vec<Execution>>;

    /// Executions of a device, by rollout.
    fn executions_of(&self, device: DeviceId) -> Found<'_, Vec<Execution>>;

    /// How many executions of a rollout stand where.
    fn tally(&self, rollout: RolloutId) -> Found<'_, Tally>;
}
