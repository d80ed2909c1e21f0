//! Shadows, within the fleet's batches. A device has one as soon as someone speaks of it: nothing else need be known of
//! it, since an application may say what a device should be before it was ever heard.

use super::{Error, Fleet};
use crate::id::DeviceId;
use crate::shadow::{
    NAMED_SHADOWS_MAX, Shadow, ShadowChange, ShadowEntry, ShadowHead, ShadowName, ShadowRefused, Update,
    is_forgotten,
};
use crate::store::{ShadowRow, Store};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The shadows that a batch has touched.
#[derive(Debug, Default)]
pub(super) struct Shadows {
    entries: BTreeMap<(DeviceId, ShadowName), Option<ShadowEntry>>,
    changed: BTreeSet<(DeviceId, ShadowName)>,
}

impl Shadows {
    pub(super) fn is_unchanged(&self) -> bool {
        self.changed.is_empty()
    }

    pub(super) fn into_changes(self) -> Vec<ShadowRow> {
        let Self { mut entries, changed } = self;
        let row = |(device, name): (DeviceId, ShadowName)| {
            let entry = entries.remove(&(device.clone(), name.clone())).flatten();
            ShadowRow { device, name, entry }
        };
        changed.into_iter().map(row).collect()
    }

    fn put(&mut self, device: &DeviceId, name: &ShadowName, entry: Option<ShadowEntry>) {
        let key = (device.clone(), name.clone());
        self.changed.insert(key.clone());
        self.entries.insert(key, entry);
    }

    /// The names of a device as the batch leaves them, from those that the store has.
    fn heads(&self, device: &DeviceId, stored: Vec<ShadowHead>) -> BTreeMap<ShadowName, Option<Timestamp>> {
        let mut heads: BTreeMap<_, _> = stored.into_iter().map(|head| (head.name, head.deleted)).collect();
        let first = (device.clone(), ShadowName::CLASSIC);
        for ((_, name), entry) in self.entries.range(first..).take_while(|((of, _), _)| of == device) {
            match entry {
                Some(entry) => heads.insert(name.clone(), entry.deleted()),
                None => heads.remove(name),
            };
        }
        heads
    }
}

impl<S: Store> Fleet<S> {
    /// One of a device's shadows, if there is one.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn shadow(&mut self, device: &DeviceId, name: &ShadowName) -> Result<Option<Shadow>, Error> {
        Ok(self.shadow_entry(device, name)?.and_then(ShadowEntry::live).cloned())
    }

    /// Takes in an update of a shadow, and makes the shadow if there is none.
    ///
    /// # Errors
    /// [`Error::Store`]. The inner error is for whoever sent the update: nothing has changed.
    pub fn update_shadow(
        &mut self,
        now: Timestamp,
        device: &DeviceId,
        name: &ShadowName,
        update: &Update,
    ) -> Result<Result<ShadowChange, ShadowRefused>, Error> {
        let entry = self.shadow_entry(device, name)?;
        let is_new = entry.is_none();
        let change = match ShadowEntry::update(entry, now, update) {
            Ok(change) => change,
            Err(refused) => return Ok(Err(refused)),
        };
        if is_new && !name.is_classic() && !self.has_room_for_shadow(now, device)? {
            return Ok(Err(ShadowRefused::TooMany));
        }
        self.batch.shadows.put(device, name, Some(ShadowEntry::Live(change.current.clone())));
        Ok(Ok(change))
    }

    /// Deletes a shadow. Its version, which is kept for a while; `None` if there is no such shadow.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn delete_shadow(
        &mut self,
        now: Timestamp,
        device: &DeviceId,
        name: &ShadowName,
    ) -> Result<Option<u64>, Error> {
        let entry = self.shadow_entry(device, name)?;
        let Some(version) = entry.and_then(ShadowEntry::live).map(|shadow| shadow.version) else {
            return Ok(None);
        };
        self.batch.shadows.put(device, name, Some(ShadowEntry::Deleted { version, at: now }));
        Ok(Some(version))
    }

    /// At most `limit` names of a device's named shadows after `after`, by name.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn shadow_names(
        &mut self,
        device: &DeviceId,
        after: Option<&ShadowName>,
        limit: usize,
    ) -> Result<Vec<ShadowName>, Error> {
        let heads = self.shadow_heads(device)?;
        let after = after.unwrap_or(&ShadowName::CLASSIC);
        let live = heads.into_iter().filter(|(name, deleted)| deleted.is_none() && name > after);
        Ok(live.take(limit).map(|(name, _)| name).collect())
    }

    fn shadow_entry(&mut self, device: &DeviceId, name: &ShadowName) -> Result<Option<&ShadowEntry>, Error> {
        let key = (device.clone(), name.clone());
        if !self.batch.shadows.entries.contains_key(&key) {
            let entry = self.store.shadow(device, name)?;
            self.batch.shadows.entries.insert(key.clone(), entry);
        }
        Ok(self.batch.shadows.entries.get(&key).and_then(Option::as_ref))
    }

    fn shadow_heads(&mut self, device: &DeviceId) -> Result<BTreeMap<ShadowName, Option<Timestamp>>, Error> {
        let stored = self.store.shadow_heads(device)?;
        Ok(self.batch.shadows.heads(device, stored))
    }

    /// Whether a device may have one more named shadow. Drops the versions that need not be kept, so that what is kept of
    /// a device stays below the bound.
    fn has_room_for_shadow(&mut self, now: Timestamp, device: &DeviceId) -> Result<bool, Error> {
        let mut named = 0;
        for (name, deleted) in self.shadow_heads(device)? {
            if deleted.is_some_and(|deleted| is_forgotten(deleted, now)) {
                self.batch.shadows.put(device, &name, None);
            } else if !name.is_classic() {
                named += 1;
            }
        }
        Ok(named < NAMED_SHADOWS_MAX)
    }
}
