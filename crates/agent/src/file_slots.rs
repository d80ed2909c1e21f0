//! Slots as two folders, `a` and `b`, and a symbolic link `current` to the one that starts.
//!
//! ```text
//! slots/
//!   a/ .slot.rec <artifact>...     what the slot holds and what it is good for, in one record
//!   b/ .slot.rec <artifact>...
//!   current -> a                   for everyone else to start from; follows the records
//! ```
//!
//! The records alone decide what starts: the slot on trial, else the slot confirmed last. Every step is therefore
//! one replacement of one record; the link is put right after it and again at each start.

use crate::boot::{BootControl, FallBack};
use crate::image::Image;
use crate::record::{self, Found};
use crate::slots::{Intent, Previous, SLOT_FORMAT, SlotError, SlotName, SlotRecord, SlotState, Slots};
use crate::storage::Storage;
use std::io;
use std::path::{Path, PathBuf};
use updraft_wire::Manifest;

/// The record's name in a slot's folder. Starts with a dot, which no artifact's name does.
const RECORD_NAME: &str = ".slot.rec";
/// The link to the slot that starts.
const CURRENT_NAME: &str = "current";
/// The link under its temporary name.
const CURRENT_TEMPORARY_NAME: &str = ".current.tmp";

/// Two folders and a link.
#[derive(Debug)]
pub struct FileSlots {
    root: PathBuf,
    a: Option<SlotRecord>,
    b: Option<SlotRecord>,
    /// Slots whose record is there but damaged.
    torn: Vec<SlotName>,
}

impl FileSlots {
    /// Reads what the slots hold, making the folders where there are none.
    ///
    /// A folder that `current` points to on a device without any record was filled at the factory: it is taken as
    /// confirmed, with the version given.
    ///
    /// # Errors
    /// Any failure of the storage.
    pub fn open(
        storage: &mut dyn Storage,
        root: &Path,
        factory_version: &str,
        is_first_start: bool,
    ) -> Result<Self, SlotError> {
        let mut slots = Self { root: root.to_owned(), a: None, b: None, torn: Vec::new() };
        for slot in SlotName::ALL {
            let folder = slots.folder(slot);
            storage.create_folder(&folder).map_err(|source| change(&folder, source))?;
            match record::load::<SlotRecord>(storage, &slots.record_path(slot))? {
                Found::Whole(found) if found.format == SLOT_FORMAT => *slots.record_mut(slot) = Some(found),
                Found::Whole(_) | Found::Torn => slots.torn.push(slot),
                Found::Absent => {}
            }
        }
        storage.sync_folder(root).map_err(|source| change(root, source))?;
        let untouched = slots.a.is_none() && slots.b.is_none() && slots.torn.is_empty();
        if is_first_start && untouched {
            slots.adopt_factory_slot(storage, factory_version)?;
        }
        Ok(slots)
    }

    /// Slots whose record is damaged: their content counts as unknown.
    #[must_use]
    pub fn torn(&self) -> &[SlotName] {
        &self.torn
    }

    /// Says what is being written into a slot, where that was not known when the writing began.
    ///
    /// # Errors
    /// Any failure of the storage; [`SlotError::OutOfOrder`] unless the slot is being written.
    pub fn describe(
        &mut self,
        storage: &mut dyn Storage,
        slot: SlotName,
        manifest: Manifest,
    ) -> Result<(), SlotError> {
        let writing = self.record(slot).filter(|record| record.state == SlotState::Writing).cloned();
        let record = writing.ok_or(SlotError::OutOfOrder { slot })?;
        let version = manifest.version.clone();
        self.put(storage, slot, SlotRecord { version, manifest: Some(manifest), ..record })
    }

    fn adopt_factory_slot(&mut self, storage: &mut dyn Storage, version: &str) -> Result<(), SlotError> {
        let Some(slot) = self.linked(storage)? else { return Ok(()) };
        let record = SlotRecord {
            format: SLOT_FORMAT,
            state: SlotState::Confirmed { sequence: 1 },
            version: version.to_owned(),
            manifest: None,
            job: None,
            boot: 0,
            settled: None,
        };
        self.put(storage, slot, record)
    }

    fn linked(&self, storage: &mut dyn Storage) -> Result<Option<SlotName>, SlotError> {
        let link = self.root.join(CURRENT_NAME);
        let target = storage.read_link(&link).map_err(|source| change(&link, source))?;
        Ok(target
            .and_then(|target| SlotName::ALL.into_iter().find(|slot| target == Path::new(slot.as_str()))))
    }

    fn record_path(&self, slot: SlotName) -> PathBuf {
        self.folder(slot).join(RECORD_NAME)
    }

    fn record_mut(&mut self, slot: SlotName) -> &mut Option<SlotRecord> {
        match slot {
            SlotName::A => &mut self.a,
            SlotName::B => &mut self.b,
        }
    }

    fn put(
        &mut self,
        storage: &mut dyn Storage,
        slot: SlotName,
        record: SlotRecord,
    ) -> Result<(), SlotError> {
        record::store(storage, &self.record_path(slot), &record)?;
        self.torn.retain(|torn| *torn != slot);
        *self.record_mut(slot) = Some(record);
        Ok(())
    }

    fn change_state(
        &mut self,
        storage: &mut dyn Storage,
        slot: SlotName,
        state: SlotState,
    ) -> Result<(), SlotError> {
        let record = self.record(slot).cloned().ok_or(SlotError::OutOfOrder { slot })?;
        self.put(storage, slot, SlotRecord { state, ..record })
    }

    fn sequence_max(&self) -> u64 {
        let sequences = SlotName::ALL.into_iter().filter_map(|slot| match self.record(slot)?.state {
            SlotState::Confirmed { sequence } | SlotState::Forced { sequence } => Some(sequence),
            SlotState::Writing | SlotState::Ready | SlotState::Trial { .. } | SlotState::Bad => None,
        });
        sequences.max().unwrap_or(0)
    }

    /// The slot on trial, how often it started, and what ran before it.
    fn trial(&self) -> Option<(SlotName, u32, Previous)> {
        SlotName::ALL.into_iter().find_map(|slot| match self.record(slot)?.state {
            SlotState::Trial { boots, previous } => Some((slot, boots, previous)),
            SlotState::Writing
            | SlotState::Ready
            | SlotState::Confirmed { .. }
            | SlotState::Forced { .. }
            | SlotState::Bad => None,
        })
    }

    fn on_trial(&self) -> Result<(SlotName, u32, Previous), SlotError> {
        self.trial().ok_or(SlotError::OutOfOrder { slot: self.active().unwrap_or(SlotName::A) })
    }

    /// Whether a slot may start again: confirmed once, and every byte still as it was then.
    fn is_startable(&self, storage: &mut dyn Storage, previous: Previous) -> bool {
        let slot = match previous {
            Previous::Factory => return true,
            Previous::Slot(slot) => slot,
        };
        let Some(record) = self.record(slot) else { return false };
        let confirmed = match record.state {
            SlotState::Confirmed { .. } => true,
            SlotState::Writing
            | SlotState::Ready
            | SlotState::Trial { .. }
            | SlotState::Forced { .. }
            | SlotState::Bad => false,
        };
        let whole = record
            .manifest
            .as_ref()
            .is_none_or(|manifest| self.image(slot, manifest).verify(storage).is_ok());
        confirmed && whole
    }

    /// Points `current` at what the records say, by way of a second link and a rename.
    fn point(&self, storage: &mut dyn Storage) -> Result<(), SlotError> {
        let wanted = self.active();
        let linked = self.linked(storage)?;
        // With a damaged record the link is the last trace of what ran: better kept than cleared.
        let is_last_trace = wanted.is_none() && linked.is_some_and(|slot| self.torn.contains(&slot));
        if linked == wanted || is_last_trace {
            return Ok(());
        }
        let link = self.root.join(CURRENT_NAME);
        self.point_steps(storage, &link, wanted).map_err(|source| change(&link, source))
    }

    fn point_steps(
        &self,
        storage: &mut dyn Storage,
        link: &Path,
        wanted: Option<SlotName>,
    ) -> io::Result<()> {
        match wanted {
            Some(slot) => {
                let temporary = self.root.join(CURRENT_TEMPORARY_NAME);
                storage.remove(&temporary)?;
                storage.link(Path::new(slot.as_str()), &temporary)?;
                storage.rename(&temporary, link)?;
            }
            None => storage.remove(link)?,
        }
        storage.sync_folder(&self.root)
    }

    fn remove_content(&self, storage: &mut dyn Storage, slot: SlotName) -> Result<(), SlotError> {
        let Some(manifest) = self.record(slot).and_then(|record| record.manifest.as_ref()) else {
            return Ok(());
        };
        for file in self.image(slot, manifest).files {
            storage.remove(&file.path).map_err(|source| change(&file.path, source))?;
        }
        Ok(())
    }
}

fn change(path: &Path, source: io::Error) -> SlotError {
    SlotError::Change { path: path.to_owned(), source }
}

impl Slots for FileSlots {
    fn record(&self, slot: SlotName) -> Option<&SlotRecord> {
        match slot {
            SlotName::A => self.a.as_ref(),
            SlotName::B => self.b.as_ref(),
        }
    }

    fn folder(&self, slot: SlotName) -> PathBuf {
        self.root.join(slot.as_str())
    }

    fn image(&self, slot: SlotName, manifest: &Manifest) -> Image {
        Image::in_folder(&self.folder(slot), manifest)
    }

    fn reclaimable(&self, storage: &mut dyn Storage, slot: SlotName) -> Result<u64, SlotError> {
        let Some(manifest) = self.record(slot).and_then(|record| record.manifest.as_ref()) else {
            return Ok(0);
        };
        let mut bytes = 0_u64;
        for file in self.image(slot, manifest).files {
            let length = storage.len(&file.path).map_err(|source| change(&file.path, source))?;
            bytes = bytes.saturating_add(length.unwrap_or(0));
        }
        Ok(bytes)
    }

    fn invalidate(
        &mut self,
        storage: &mut dyn Storage,
        slot: SlotName,
        intent: Intent<'_>,
    ) -> Result<(), SlotError> {
        if self.active() == Some(slot) {
            return Err(SlotError::OutOfOrder { slot });
        }
        // The old record stays in memory until its files are removed, since it names them.
        let record = SlotRecord {
            format: SLOT_FORMAT,
            state: SlotState::Writing,
            version: intent.manifest.version.clone(),
            manifest: Some(intent.manifest.clone()),
            job: Some(intent.job.clone()),
            boot: intent.boot,
            settled: intent.settled.cloned(),
        };
        record::store(storage, &self.record_path(slot), &record)?;
        self.remove_content(storage, slot)?;
        self.torn.retain(|torn| *torn != slot);
        *self.record_mut(slot) = Some(record);
        Ok(())
    }

    fn mark_ready(&mut self, storage: &mut dyn Storage, slot: SlotName) -> Result<(), SlotError> {
        match self.record(slot).map(|record| record.state) {
            Some(SlotState::Writing) => self.change_state(storage, slot, SlotState::Ready),
            Some(SlotState::Ready) => Ok(()),
            Some(
                SlotState::Trial { .. }
                | SlotState::Confirmed { .. }
                | SlotState::Forced { .. }
                | SlotState::Bad,
            )
            | None => Err(SlotError::OutOfOrder { slot }),
        }
    }

    fn discard(&mut self, storage: &mut dyn Storage, slot: SlotName) -> Result<(), SlotError> {
        match self.record(slot).map(|record| record.state) {
            Some(SlotState::Writing | SlotState::Ready) => {
                self.change_state(storage, slot, SlotState::Writing)?;
                self.remove_content(storage, slot)
            }
            Some(
                SlotState::Trial { .. }
                | SlotState::Confirmed { .. }
                | SlotState::Forced { .. }
                | SlotState::Bad,
            )
            | None => Err(SlotError::OutOfOrder { slot }),
        }
    }
}

impl BootControl for FileSlots {
    fn active(&self) -> Option<SlotName> {
        if let Some((slot, _, _)) = self.trial() {
            return Some(slot);
        }
        let sequence = |slot| match self.record(slot)?.state {
            SlotState::Confirmed { sequence } | SlotState::Forced { sequence } => Some(sequence),
            SlotState::Writing | SlotState::Ready | SlotState::Trial { .. } | SlotState::Bad => None,
        };
        let runnable = SlotName::ALL.into_iter().filter_map(|slot| Some((sequence(slot)?, slot)));
        runnable.max().map(|(_, slot)| slot)
    }

    fn trial_boots(&self) -> Option<u32> {
        self.trial().map(|(_, boots, _)| boots)
    }

    fn start(&mut self, storage: &mut dyn Storage) -> Result<(), SlotError> {
        if let Some((slot, boots, previous)) = self.trial() {
            let boots = boots.saturating_add(1);
            self.change_state(storage, slot, SlotState::Trial { boots, previous })?;
        }
        self.point(storage)
    }

    fn activate(&mut self, storage: &mut dyn Storage, slot: SlotName) -> Result<(), SlotError> {
        let ready = self.record(slot).is_some_and(|record| record.state == SlotState::Ready);
        if !ready || self.trial().is_some() {
            return Err(SlotError::OutOfOrder { slot });
        }
        let previous = self.active().map_or(Previous::Factory, Previous::Slot);
        self.change_state(storage, slot, SlotState::Trial { boots: 0, previous })?;
        self.point(storage)
    }

    fn confirm(&mut self, storage: &mut dyn Storage) -> Result<(), SlotError> {
        let (slot, _, _) = self.on_trial()?;
        let sequence = self.sequence_max() + 1;
        self.change_state(storage, slot, SlotState::Confirmed { sequence })
    }

    fn fall_back(&mut self, storage: &mut dyn Storage) -> Result<FallBack, SlotError> {
        let (slot, _, previous) = self.on_trial()?;
        if !self.is_startable(storage, previous) {
            let sequence = self.sequence_max() + 1;
            self.change_state(storage, slot, SlotState::Forced { sequence })?;
            return Ok(FallBack::Stayed);
        }
        self.change_state(storage, slot, SlotState::Bad)?;
        self.point(storage)?;
        Ok(FallBack::Previous)
    }
}
