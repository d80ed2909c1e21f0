//! What is done to the target of an update: the slot that does not run, or the file a script gets.

use crate::boot::{BootControl, FallBack};
use crate::file_slots::FileSlots;
use crate::image::{Image, ImageError, Intake};
use crate::ledger::{Phase, Position};
use crate::package;
use crate::record;
use crate::session::{Effect, Session, SessionError, UPDATE_NAME, sentence};
use crate::slots::{Intent, SlotError, SlotName, Slots};
use crate::storage::Storage;
use crate::updater::Event;
use updraft_wire::Reason;
use updraft_wire::manifest::is_lower_hex;

/// Room left free beside an image, in bytes: the records, each twice while it is replaced.
const ROOM_RESERVED_BYTES: u64 = 4 * record::RECORD_BYTES_MAX;

impl<S: Storage> Session<S> {
    /// The files of the assignment in work, in the place they are installed from.
    pub(crate) fn image(&self) -> Option<Image> {
        let manifest = &self.updater.ledger().phase.assignment()?.manifest;
        match &self.slots {
            Some(slots) => Some(slots.image(target(slots), manifest)),
            None => {
                let mut image = Image::in_folder(&self.settings.state, manifest);
                image.files.truncate(1);
                image.files.first_mut()?.path = self.settings.state.join(UPDATE_NAME);
                Some(image)
            }
        }
    }

    pub(crate) fn claim(&mut self) -> Result<Vec<Effect>, SessionError> {
        let Some(image) = self.image() else { return Ok(Vec::new()) };
        match self.room(&image) {
            Err(error) => return self.handle(Event::Failed(Reason::InstallFailed, error)),
            Ok(Some(missing)) => {
                let detail = format!("{missing} bytes of storage are missing");
                return self.handle(Event::Failed(Reason::InsufficientStorage, detail));
            }
            Ok(None) => {}
        }
        if let Some(error) = self.invalidate().err() {
            return self.handle(Event::Failed(Reason::InstallFailed, sentence(&error)));
        }
        self.is_pieced = false;
        match Intake::begin(&mut self.storage, image, self.settings.checkpoint_bytes) {
            Ok(intake) => {
                self.intake = Some(intake);
                let mut effects = self.handle(Event::Claimed)?;
                effects.push(Effect::Fetch);
                Ok(effects)
            }
            Err(error) => self.handle_image_error(&error),
        }
    }

    /// How many bytes are missing for an image; `None` if it fits. What the target holds is room as well.
    fn room(&mut self, image: &Image) -> Result<Option<u64>, String> {
        let (folder, reclaimable) = match &self.slots {
            Some(slots) => {
                let slot = target(slots);
                let reclaimable = slots.reclaimable(&mut self.storage, slot).map_err(|e| sentence(&e))?;
                (slots.folder(slot), reclaimable)
            }
            None => {
                let path = self.settings.state.join(UPDATE_NAME);
                let length = self.storage.len(&path).map_err(|e| sentence(&e))?;
                (self.settings.state.clone(), length.unwrap_or(0))
            }
        };
        let available = self.storage.available(&folder).map_err(|e| sentence(&e))?;
        let needed = image.size().saturating_add(ROOM_RESERVED_BYTES);
        Ok(needed.checked_sub(available.saturating_add(reclaimable)).filter(|missing| *missing > 0))
    }

    fn invalidate(&mut self) -> Result<(), SlotError> {
        let ledger = self.updater.ledger();
        let (Some(slots), Some(assignment)) = (&mut self.slots, ledger.phase.assignment()) else {
            return Ok(());
        };
        let intent = Intent {
            job: &assignment.job,
            manifest: &assignment.manifest,
            boot: ledger.boot,
            settled: ledger.settled.as_ref(),
        };
        let slot = target(slots);
        slots.invalidate(&mut self.storage, slot, intent)
    }

    pub(crate) fn resume(&mut self) -> Result<Vec<Effect>, SessionError> {
        let Some(image) = self.image() else { return Ok(Vec::new()) };
        let position = match &self.updater.ledger().phase {
            Phase::Downloading { position, .. } => position.clone(),
            Phase::Idle | Phase::Staged { .. } | Phase::Trial { .. } | Phase::Applying { .. } => {
                Position::default()
            }
        };
        let is_whole = image
            .files
            .get(position.artifact)
            .is_some_and(|file| file.size == position.offset && !file.is_package());
        if is_whole && position.artifact + 1 == image.files.len() {
            return self.handle(Event::Fetched);
        }
        let checkpoint_bytes = self.settings.checkpoint_bytes;
        self.is_pieced = position.offset > 0;
        match Intake::resume(&mut self.storage, image, position, checkpoint_bytes) {
            Ok(intake) => {
                self.intake = Some(intake);
                Ok(vec![Effect::Fetch])
            }
            Err(error) => {
                let mut effects = vec![Effect::Note(format!("{}; fetching it anew", sentence(&error)))];
                effects.extend(self.claim()?);
                Ok(effects)
            }
        }
    }

    /// Frees the target. A failure leaves garbage that is never started and that the next claim clears.
    pub(crate) fn discard(&mut self) -> Vec<Effect> {
        self.intake = None;
        let result = match &mut self.slots {
            Some(slots) => {
                let slot = target(slots);
                let is_partial = slots.record(slot).is_some_and(|record| record.is_partial());
                if is_partial { slots.discard(&mut self.storage, slot) } else { Ok(()) }
            }
            None => {
                let path = self.settings.state.join(UPDATE_NAME);
                self.storage.remove(&path).map_err(|source| SlotError::Change { path, source })
            }
        };
        result.err().map(|error| Effect::Note(sentence(&error))).into_iter().collect()
    }

    /// A package is whole: what it is, is taken down in the slot's record and in the ledger.
    pub(crate) fn seal(&mut self) -> Result<Vec<Effect>, SessionError> {
        let Some(intake) = &mut self.intake else { return Ok(Vec::new()) };
        let (size, sha256) = match intake.seal(&mut self.storage) {
            Ok(sealed) => sealed,
            Err(error) => return self.handle_image_error(&error),
        };
        // Updraft's entity tags are digests: one that is, is what was announced.
        let etag = intake.position().etag.as_deref().map(|etag| etag.trim_matches('"').to_owned());
        if let Some(announced) = etag.filter(|etag| is_lower_hex(etag, 64) && *etag != sha256) {
            return self.handle_image_error(&ImageError::Digest { announced, found: sha256 });
        }
        if size == 0 {
            return self.handle(Event::Failed(Reason::IntegrityCheckFailed, "the image is empty".into()));
        }
        let path = intake.path().to_owned();
        let label = match package::label(&mut self.storage, &path, size, &sha256) {
            Ok(label) => label,
            Err(source) => {
                return self.handle_image_error(&ImageError::File { operation: "read", path, source });
            }
        };
        let own = &self.settings.terms.product;
        if let Some(other) = label.product.as_ref().filter(|product| *product != own) {
            let detail = format!("the image is for product {other:?}, this device is {own:?}");
            return self.handle(Event::Failed(Reason::UnsupportedPackage, detail));
        }
        self.handle(Event::Sealed { version: label.version, size, sha256 })
    }

    /// Writes the manifest of the assignment in work to the record of the slot that is being written.
    pub(crate) fn describe(&mut self) -> Result<Vec<Effect>, SessionError> {
        let ledger = self.updater.ledger();
        if let (Some(slots), Some(assignment)) = (&mut self.slots, ledger.phase.assignment()) {
            let slot = target(slots);
            slots.describe(&mut self.storage, slot, assignment.manifest.clone())?;
        }
        Ok(Vec::new())
    }

    pub(crate) fn verify(&mut self) -> Result<Vec<Effect>, SessionError> {
        self.intake = None;
        let Some(image) = self.image() else { return Ok(Vec::new()) };
        if let Err(error) = image.verify(&mut self.storage) {
            return self.handle(Event::VerifyFailed(sentence(&error)));
        }
        if let Some(slots) = &mut self.slots {
            let slot = target(slots);
            if let Err(error) = slots.mark_ready(&mut self.storage, slot) {
                return self.handle(Event::Failed(Reason::InstallFailed, sentence(&error)));
            }
        }
        self.handle(Event::Verified)
    }

    pub(crate) fn activate(&mut self) -> Result<Vec<Effect>, SessionError> {
        let Some(slots) = &mut self.slots else { return Ok(Vec::new()) };
        let slot = target(slots);
        slots.activate(&mut self.storage, slot)?;
        Ok(vec![Effect::Restart])
    }

    pub(crate) fn confirm(&mut self) -> Result<Vec<Effect>, SessionError> {
        let Some(slots) = &mut self.slots else { return Ok(Vec::new()) };
        slots.confirm(&mut self.storage)?;
        self.handle(Event::Confirmed)
    }

    pub(crate) fn fall_back(&mut self, detail: String) -> Result<Vec<Effect>, SessionError> {
        let Some(slots) = &mut self.slots else { return Ok(Vec::new()) };
        let outcome: FallBack = slots.fall_back(&mut self.storage)?;
        self.handle(Event::FellBack(outcome, detail))
    }
}

/// The slot to write next: the one that does not run. A damaged record leaves its slot alone as long as the
/// other can be written.
pub(crate) fn target(slots: &FileSlots) -> SlotName {
    match slots.active() {
        Some(active) => active.other(),
        None if slots.torn() == [SlotName::A] => SlotName::B,
        None => SlotName::A,
    }
}
