//! What the fleet needs of a store: load what a batch touches, save what it changed, in one transaction.
//!
//! The fleet decides in memory between the two. Lists for people (pages, filters, searches) are absent: they are
//! the server's own business with its database.

use crate::device::Device;
use crate::execution::{Execution, HistoryEntry};
use crate::id::{DeviceId, ProductName, RolloutId};
use crate::release::Release;
use crate::rollout::{AbortReach, Rollout, RolloutState};
use crate::shadow::{ShadowEntry, ShadowHead, ShadowName};
use crate::state::Tally;
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// The store failed. What to do is the caller's decision; nothing of the batch was written.
#[derive(Debug, thiserror::Error)]
#[error("the store failed to {operation}")]
pub struct StoreError {
    /// What was being done, as an infinitive.
    pub operation: &'static str,
    /// Why it failed.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// All releases and rollouts.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// All releases, in any order.
    pub releases: Vec<Release>,
    /// All rollouts, in any order.
    pub rollouts: Vec<Rollout>,
}

/// All that is known of one device.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceRecord {
    /// Its description; `None` if it was never heard of.
    pub device: Option<Device>,
    /// Its executions: the latest attempt in each rollout, ordered by rollout ID.
    pub executions: Vec<Execution>,
}

/// One line of a rollout's history: append-only, written together with the state it explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutEntry {
    /// The rollout.
    pub rollout: RolloutId,
    /// When.
    pub at: Timestamp,
    /// From where; `None` when it was made.
    pub from: Option<RolloutState>,
    /// To where.
    pub to: RolloutState,
    /// Who decided it, or which rule, and why.
    pub note: String,
}

/// What a batch leaves under the name of one shadow.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowRow {
    /// The device. It need not be known otherwise.
    pub device: DeviceId,
    /// The shadow's name.
    pub name: ShadowName,
    /// What is kept; `None`: nothing any longer.
    pub entry: Option<ShadowEntry>,
}

/// What a batch changed. Rows are whole: saving replaces the row of the same key.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Devices, by ID.
    pub devices: Vec<Device>,
    /// Executions, by rollout and device.
    pub executions: Vec<Execution>,
    /// History of executions, to append, in order.
    pub history: Vec<HistoryEntry>,
    /// Releases, to insert.
    pub releases: Vec<Release>,
    /// Rollouts, by ID.
    pub rollouts: Vec<Rollout>,
    /// History of rollouts, to append, in order.
    pub rollout_history: Vec<RolloutEntry>,
    /// Shadows, by device and name.
    pub shadows: Vec<ShadowRow>,
}

impl Changes {
    /// Whether there is nothing to save.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { devices, executions, history, releases, rollouts, rollout_history, shadows } = self;
        devices.is_empty()
            && executions.is_empty()
            && history.is_empty()
            && releases.is_empty()
            && rollouts.is_empty()
            && rollout_history.is_empty()
            && shadows.is_empty()
    }
}

/// A place where the fleet's state outlives the process. [`crate::conformance`] is its contract as tests.
pub trait Store {
    /// All releases and rollouts. Called at the start and after a failed save.
    ///
    /// # Errors
    /// [`StoreError`]; so for each method.
    fn catalogue(&mut self) -> Result<Catalogue, StoreError>;

    /// What is known of each device, in the order asked; a device never heard of gives an empty record.
    ///
    /// # Errors
    /// See [`Store::catalogue`].
    fn load(&mut self, devices: &[DeviceId]) -> Result<Vec<DeviceRecord>, StoreError>;

    /// How many executions of each rollout stand where. Derived from the executions themselves; a rollout without any may
    /// be left out.
    ///
    /// # Errors
    /// See [`Store::catalogue`].
    fn tallies(&mut self) -> Result<BTreeMap<RolloutId, Tally>, StoreError>;

    /// Makes all changes durable, or none.
    ///
    /// # Errors
    /// See [`Store::catalogue`]. Two open executions of one device that bring releases are refused.
    fn save(&mut self, changes: &Changes) -> Result<(), StoreError>;

    /// Devices with an open execution whose deadline is at or before `now`, the most overdue first.
    ///
    /// # Errors
    /// See [`Store::catalogue`].
    fn overdue(&mut self, now: Timestamp, limit: usize) -> Result<Vec<DeviceId>, StoreError>;

    /// Devices with an open execution in a rollout that an abort of this reach cancels, ordered by ID.
    ///
    /// # Errors
    /// See [`Store::catalogue`].
    fn open_in(
        &mut self,
        rollout: &RolloutId,
        reach: AbortReach,
        limit: usize,
    ) -> Result<Vec<DeviceId>, StoreError>;

    /// Devices of a product after `after`, ordered by ID.
    ///
    /// # Errors
    /// See [`Store::catalogue`].
    fn devices_after(
        &mut self,
        product: &ProductName,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<DeviceId>, StoreError>;

    /// What is kept under the name of one shadow of a device.
    ///
    /// # Errors
    /// See [`Store::catalogue`].
    fn shadow(&mut self, device: &DeviceId, name: &ShadowName) -> Result<Option<ShadowEntry>, StoreError>;

    /// All names under which something is kept for a device, by name. The fleet holds them below a bound.
    ///
    /// # Errors
    /// See [`Store::catalogue`].
    fn shadow_heads(&mut self, device: &DeviceId) -> Result<Vec<ShadowHead>, StoreError>;
}
