//! The server's store, outside the server: it outlives crashes, can fail to save, and can be put back to an earlier
//! time.
//!
//! A real store does the work. In front of it every saved batch is kept, for the checkers and as the backup: the state
//! of any earlier commit is that of the batches up to it.

use super::sabotage::Sabotage;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use updraft_core::id::{DeviceId, ProductName, RolloutId};
use updraft_core::memory::MemoryStore;
use updraft_core::rollout::AbortReach;
use updraft_core::shadow::{ShadowEntry, ShadowHead, ShadowName};
use updraft_core::state::{StateKind, Tally};
use updraft_core::store::{Catalogue, Changes, DeviceRecord, Store, StoreError};
use updraft_core::time::Timestamp;
use updraft_server::store::Database;

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The one in memory.
    Memory,
    /// SQLite, in memory.
    Sqlite,
}

/// Why a save failed: the world said so.
#[derive(Debug, thiserror::Error)]
#[error("the simulated disk failed")]
struct DiskFailed;

struct Disk {
    backend: Backend,
    store: Box<dyn Store>,
    /// Every batch saved, oldest first.
    saved: Vec<Changes>,
    /// How many of them the checkers have seen.
    audited: usize,
    fails_next: bool,
    sabotage: Option<Sabotage>,
}

/// A handle on the store; what the fleet stands on. Clones share it.
#[derive(Clone)]
pub(super) struct Handle(Rc<RefCell<Disk>>);

fn open(backend: Backend) -> Box<dyn Store> {
    match backend {
        Backend::Memory => Box::new(MemoryStore::new()),
        Backend::Sqlite => {
            let database = Database::in_memory().expect("memory suffices for a small database");
            Box::new(database.fleet().expect("the database was opened just before"))
        }
    }
}

impl Handle {
    pub(super) fn new(backend: Backend, sabotage: Option<Sabotage>) -> Self {
        let store = open(backend);
        let disk = Disk { backend, store, saved: Vec::new(), audited: 0, fails_next: false, sabotage };
        Self(Rc::new(RefCell::new(disk)))
    }

    /// The next save will fail.
    pub(super) fn fail_next(&self) {
        self.0.borrow_mut().fails_next = true;
    }

    /// Batches saved since this was last asked.
    pub(super) fn take_saved(&self) -> Vec<Changes> {
        let disk = &mut *self.0.borrow_mut();
        let unseen = disk.saved[disk.audited..].to_vec();
        disk.audited = disk.saved.len();
        unseen
    }

    /// How many batches were saved.
    pub(super) fn saved_count(&self) -> usize {
        self.0.borrow().saved.len()
    }

    /// Puts the store back to what it was after so many batches, and gives these.
    pub(super) fn restore(&self, batches: usize) -> Result<Vec<Changes>, StoreError> {
        let disk = &mut *self.0.borrow_mut();
        disk.saved.truncate(batches);
        disk.audited = disk.saved.len();
        disk.store = open(disk.backend);
        for changes in &disk.saved {
            disk.store.save(changes)?;
        }
        Ok(disk.saved.clone())
    }

    /// What the store holds of a device, without any sabotage.
    pub(super) fn record(&self, device: &DeviceId) -> Result<DeviceRecord, StoreError> {
        let mut records = self.0.borrow_mut().store.load(std::slice::from_ref(device))?;
        Ok(records.pop().unwrap_or_default())
    }

    /// The store's own count, without any sabotage.
    pub(super) fn counted(&self) -> Result<BTreeMap<RolloutId, Tally>, StoreError> {
        self.0.borrow_mut().store.tallies()
    }
}

impl Store for Handle {
    fn catalogue(&mut self) -> Result<Catalogue, StoreError> {
        self.0.borrow_mut().store.catalogue()
    }

    fn load(&mut self, devices: &[DeviceId]) -> Result<Vec<DeviceRecord>, StoreError> {
        let disk = &mut *self.0.borrow_mut();
        let mut records = disk.store.load(devices)?;
        if disk.sabotage == Some(Sabotage::ForgetsOpenExecutions) {
            for record in &mut records {
                record.executions.retain(|execution| !execution.state.is_open());
            }
        }
        Ok(records)
    }

    fn tallies(&mut self) -> Result<BTreeMap<RolloutId, Tally>, StoreError> {
        let disk = &mut *self.0.borrow_mut();
        let mut tallies = disk.store.tallies()?;
        if disk.sabotage == Some(Sabotage::LeaksInFlight) {
            for tally in tallies.values_mut() {
                tally.set(StateKind::Downloading, tally.count(StateKind::Downloading) + 1);
            }
        }
        Ok(tallies)
    }

    fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        let disk = &mut *self.0.borrow_mut();
        if std::mem::take(&mut disk.fails_next) {
            return Err(StoreError { operation: "save a batch of changes", source: Box::new(DiskFailed) });
        }
        let mut changes = changes.clone();
        if disk.sabotage == Some(Sabotage::LosesHistory) {
            changes.history.clear();
        }
        disk.store.save(&changes)?;
        disk.saved.push(changes);
        Ok(())
    }

    fn overdue(&mut self, now: Timestamp, limit: usize) -> Result<Vec<DeviceId>, StoreError> {
        self.0.borrow_mut().store.overdue(now, limit)
    }

    fn open_in(
        &mut self,
        rollout: &RolloutId,
        reach: AbortReach,
        limit: usize,
    ) -> Result<Vec<DeviceId>, StoreError> {
        self.0.borrow_mut().store.open_in(rollout, reach, limit)
    }

    fn devices_after(
        &mut self,
        product: &ProductName,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<DeviceId>, StoreError> {
        self.0.borrow_mut().store.devices_after(product, after, limit)
    }

    fn shadow(&mut self, device: &DeviceId, name: &ShadowName) -> Result<Option<ShadowEntry>, StoreError> {
        self.0.borrow_mut().store.shadow(device, name)
    }

    fn shadow_heads(&mut self, device: &DeviceId) -> Result<Vec<ShadowHead>, StoreError> {
        self.0.borrow_mut().store.shadow_heads(device)
    }
}

/// Whether an error is one that the world made.
pub(super) fn is_simulated(error: &updraft_core::fleet::Error) -> bool {
    match error {
        updraft_core::fleet::Error::Store(error) => error.source.is::<DiskFailed>(),
        updraft_core::fleet::Error::UnknownDevice(_)
        | updraft_core::fleet::Error::UnknownRelease { .. }
        | updraft_core::fleet::Error::UnknownRollout(_)
        | updraft_core::fleet::Error::ReleaseExists { .. }
        | updraft_core::fleet::Error::TooMany { .. }
        | updraft_core::fleet::Error::RolloutExists(_)
        | updraft_core::fleet::Error::TaskExists(_)
        | updraft_core::fleet::Error::UnknownTask(_)
        | updraft_core::fleet::Error::InvalidTask(_)
        | updraft_core::fleet::Error::WrongState { .. }
        | updraft_core::fleet::Error::InvalidPlan(_) => false,
    }
}
