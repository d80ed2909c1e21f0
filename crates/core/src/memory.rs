//! A store in memory: the contract in its simplest form, for tests and as the reference other stores are held
//! against. It searches by walking over everything, on purpose.

use crate::device::Device;
use crate::execution::{Execution, HistoryEntry};
use crate::id::{DeviceId, ProductName, RolloutId};
use crate::release::Release;
use crate::rollout::{AbortReach, Rollout};
use crate::shadow::{ShadowEntry, ShadowHead, ShadowName};
use crate::state::Tally;
use crate::store::{Catalogue, Changes, DeviceRecord, RolloutEntry, ShadowRow, Store, StoreError};
use crate::time::Timestamp;
use crate::version::Version;
use std::collections::{BTreeMap, BTreeSet};

/// Keeps everything in memory, until it is dropped. A clone is a backup.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    devices: BTreeMap<DeviceId, Device>,
    executions: BTreeMap<DeviceId, BTreeMap<RolloutId, Execution>>,
    releases: BTreeMap<(ProductName, Version), Release>,
    rollouts: BTreeMap<RolloutId, Rollout>,
    history: Vec<HistoryEntry>,
    rollout_history: Vec<RolloutEntry>,
    shadows: BTreeMap<DeviceId, BTreeMap<ShadowName, ShadowEntry>>,
}

/// Why a batch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The batch would leave a device with two open executions.
    #[error("device {0} would have two open executions that bring releases")]
    TwoOpen(DeviceId),
    /// The batch names a device that is neither stored nor in it.
    #[error("device {0} is not known")]
    UnknownDevice(DeviceId),
    /// The batch names a rollout that is neither stored nor in it.
    #[error("rollout {0} is not known")]
    UnknownRollout(RolloutId),
    /// The product has a release of the same precedence.
    #[error("release {0} {1} exists")]
    ReleaseExists(ProductName, Version),
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All devices, by ID.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.values()
    }

    /// All executions, by device and rollout.
    pub fn executions(&self) -> impl Iterator<Item = &Execution> {
        self.executions.values().flat_map(BTreeMap::values)
    }

    /// The history of all executions, oldest first.
    #[must_use]
    pub fn history(&self) -> &[HistoryEntry] {
        &self.history
    }

    /// The history of all rollouts, oldest first.
    #[must_use]
    pub fn rollout_history(&self) -> &[RolloutEntry] {
        &self.rollout_history
    }

    fn check(&self, changes: &Changes) -> Result<(), Refusal> {
        let devices: BTreeSet<_> = changes.devices.iter().map(|device| &device.id).collect();
        let rollouts: BTreeSet<_> = changes.rollouts.iter().map(|rollout| &rollout.id).collect();
        let executions = changes.executions.iter().map(|execution| (&execution.device, &execution.rollout));
        let history = changes.history.iter().map(|entry| (&entry.device, &entry.rollout));
        for (device, rollout) in executions.chain(history) {
            if !devices.contains(device) && !self.devices.contains_key(device) {
                return Err(Refusal::UnknownDevice(device.clone()));
            }
            if !rollouts.contains(rollout) && !self.rollouts.contains_key(rollout) {
                return Err(Refusal::UnknownRollout(rollout.clone()));
            }
        }
        for RolloutEntry { rollout, .. } in &changes.rollout_history {
            if !rollouts.contains(rollout) && !self.rollouts.contains_key(rollout) {
                return Err(Refusal::UnknownRollout(rollout.clone()));
            }
        }
        self.check_releases(&changes.releases)?;
        self.check_open(&changes.executions)
    }

    fn check_releases(&self, releases: &[Release]) -> Result<(), Refusal> {
        let mut added = BTreeSet::new();
        for Release { product, version, .. } in releases {
            let key = (product.clone(), version.clone());
            if self.releases.contains_key(&key) || !added.insert(key) {
                return Err(Refusal::ReleaseExists(product.clone(), version.clone()));
            }
        }
        Ok(())
    }

    fn check_open(&self, executions: &[Execution]) -> Result<(), Refusal> {
        let mut after: BTreeMap<_, bool> = BTreeMap::new();
        for execution in executions {
            for stored in self.executions_of(&execution.device) {
                after.entry((&stored.device, &stored.rollout)).or_insert(stored.is_open_update());
            }
            after.insert((&execution.device, &execution.rollout), execution.is_open_update());
        }
        let mut open = after.iter().filter(|(_, is_open)| **is_open).map(|((device, _), _)| *device);
        let mut before = open.next();
        for device in open {
            if before.replace(device) == Some(device) {
                return Err(Refusal::TwoOpen(device.clone()));
            }
        }
        Ok(())
    }

    fn put_shadow(&mut self, row: ShadowRow) {
        let of_device = self.shadows.entry(row.device).or_default();
        match row.entry {
            Some(entry) => of_device.insert(row.name, entry),
            None => of_device.remove(&row.name),
        };
    }

    fn executions_of(&self, device: &DeviceId) -> impl Iterator<Item = &Execution> {
        self.executions.get(device).into_iter().flat_map(BTreeMap::values)
    }
}

impl Store for MemoryStore {
    fn catalogue(&mut self) -> Result<Catalogue, StoreError> {
        Ok(Catalogue {
            releases: self.releases.values().cloned().collect(),
            rollouts: self.rollouts.values().cloned().collect(),
        })
    }

    fn load(&mut self, devices: &[DeviceId]) -> Result<Vec<DeviceRecord>, StoreError> {
        let record = |id| DeviceRecord {
            device: self.devices.get(id).cloned(),
            executions: self.executions_of(id).cloned().collect(),
        };
        Ok(devices.iter().map(record).collect())
    }

    fn tallies(&mut self) -> Result<BTreeMap<RolloutId, Tally>, StoreError> {
        let mut tallies: BTreeMap<RolloutId, Tally> = BTreeMap::new();
        for execution in self.executions() {
            let tally = tallies.entry(execution.rollout.clone()).or_default();
            tally.shift(None, execution.state.kind());
        }
        Ok(tallies)
    }

    fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        self.check(changes)
            .map_err(|refusal| StoreError { operation: "save a batch of changes", source: refusal.into() })?;
        let Changes { devices, executions, history, releases, rollouts, rollout_history, shadows } =
            changes.clone();
        self.devices.extend(devices.into_iter().map(|device| (device.id.clone(), device)));
        for execution in executions {
            let of_device = self.executions.entry(execution.device.clone()).or_default();
            of_device.insert(execution.rollout.clone(), execution);
        }
        self.history.extend(history);
        self.releases
            .extend(releases.into_iter().map(|row| ((row.product.clone(), row.version.clone()), row)));
        self.rollouts.extend(rollouts.into_iter().map(|rollout| (rollout.id.clone(), rollout)));
        self.rollout_history.extend(rollout_history);
        shadows.into_iter().for_each(|row| self.put_shadow(row));
        Ok(())
    }

    fn overdue(&mut self, now: Timestamp, limit: usize) -> Result<Vec<DeviceId>, StoreError> {
        let mut overdue: Vec<_> = self
            .executions()
            .filter(|execution| execution.state.is_open() && execution.deadline <= now)
            .map(|execution| (execution.deadline, execution.device.clone()))
            .collect();
        overdue.sort();
        Ok(overdue.into_iter().take(limit).map(|(_, device)| device).collect())
    }

    fn open_in(
        &mut self,
        rollout: &RolloutId,
        reach: AbortReach,
        limit: usize,
    ) -> Result<Vec<DeviceId>, StoreError> {
        let is_meant =
            |execution: &&Execution| execution.rollout == *rollout && reach.covers(execution.state);
        let open = self.executions().filter(is_meant);
        Ok(open.take(limit).map(|execution| execution.device.clone()).collect())
    }

    fn devices_after(
        &mut self,
        product: &ProductName,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<DeviceId>, StoreError> {
        let due = self
            .devices
            .values()
            .filter(|device| device.product == *product && after.is_none_or(|after| device.id > *after));
        Ok(due.take(limit).map(|device| device.id.clone()).collect())
    }

    fn shadow(&mut self, device: &DeviceId, name: &ShadowName) -> Result<Option<ShadowEntry>, StoreError> {
        Ok(self.shadows.get(device).and_then(|of_device| of_device.get(name)).cloned())
    }

    fn shadow_heads(&mut self, device: &DeviceId) -> Result<Vec<ShadowHead>, StoreError> {
        let of_device = self.shadows.get(device).into_iter().flatten();
        let head = |(name, entry): (&ShadowName, &ShadowEntry)| ShadowHead {
            name: name.clone(),
            deleted: entry.deleted(),
        };
        Ok(of_device.map(head).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_in_memory_keeps_the_contract() {
        crate::conformance::all(&mut || Box::new(MemoryStore::new()));
    }
}
