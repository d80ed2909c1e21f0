//! One boot of the agent, as far as the disk is concerned: carries out what the updater decides on storage, and
//! hands the rest (fetching, probing, restarting, talking) to whoever runs it.
//!
//! No socket, process, thread or clock is used here, so that a test can run the very same code on a simulated
//! disk and cut the power anywhere.

use crate::assignment::Terms;
use crate::boot::BootControl;
use crate::file_slots::FileSlots;
use crate::image::{ImageError, Intake, Taken};
use crate::ledger::{LEDGER_FORMAT, Ledger, Phase};
use crate::record::{self, Found, RecordError};
use crate::slots::{SlotError, SlotName, SlotRecord, Slots};
use crate::start::Start;
use crate::storage::Storage;
use crate::target::target;
use crate::updater::{Action, Event, Installer, Updater};
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use updraft_wire::{Manifest, Reason, UpdateStatus};

/// The ledger's name in the state folder.
pub const LEDGER_NAME: &str = "ledger.rec";
/// The downloaded image's name in the state folder, where no slots are used: the Ioto agent's name for it.
pub const UPDATE_NAME: &str = "update.bin";

/// Where things are, and what the device is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The state folder.
    pub state: PathBuf,
    /// The slots' folder; without one a script or the embedding program installs.
    pub slots: Option<PathBuf>,
    /// The version that runs where no slot says otherwise.
    pub version: String,
    /// The kernel's name for this boot, where starts are counted by it rather than by the agent's own.
    pub boot_id: Option<String>,
    /// What the device takes.
    pub terms: Terms,
    /// How often a version may start without being confirmed.
    pub trial_boots_max: u32,
    /// Bytes between two checkpoints of a download: what a power cut costs at most.
    pub checkpoint_bytes: u64,
}

/// What the storage cannot do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Fetch what [`Session::wanted`] says.
    Fetch,
    /// Stop fetching.
    StopFetch,
    /// Say [`Event::ApplyNow`] as soon as nothing speaks against it.
    AwaitApply,
    /// Hand this file to the script or the embedding program.
    Apply(PathBuf),
    /// Check the health until it passes or the trial's time is over.
    Probe,
    /// Start anew, with a new session.
    Restart,
    /// Check in soon.
    CheckIn,
    /// Tell the embedding program.
    Announce(UpdateStatus),
    /// Tell whoever reads the log.
    Note(String),
}

/// Why a session cannot go on. What is on disk decides when the next one begins.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The state folder.
    #[error("cannot use the state folder {}", path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The ledger.
    #[error("the ledger failed")]
    Ledger(#[from] RecordError),
    /// A slot.
    #[error("a slot failed")]
    Slot(#[from] SlotError),
}

/// What to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// From where.
    pub link: String,
    /// The artifact's announced size, in bytes; none of a package.
    pub size: Option<u64>,
    /// The first byte wanted.
    pub offset: u64,
    /// The entity tag of the bytes before it.
    pub etag: Option<String>,
}

/// One boot.
#[derive(Debug)]
pub struct Session<S> {
    pub(crate) storage: S,
    pub(crate) settings: Settings,
    pub(crate) slots: Option<FileSlots>,
    pub(crate) updater: Updater,
    pub(crate) intake: Option<Intake>,
    /// Whether the current artifact's bytes came in more than one answer: a wrong digest may then be a splice.
    pub(crate) is_pieced: bool,
}

impl<S: Storage> Session<S> {
    /// Begins a boot: reads the disk, counts the start, and says what is to be done first.
    ///
    /// # Errors
    /// [`SessionError`] if the disk fails.
    pub fn open(mut storage: S, settings: Settings) -> Result<(Self, Vec<Effect>), SessionError> {
        let state = settings.state.clone();
        storage
            .create_folder(&state)
            .map_err(|source| SessionError::State { path: state.clone(), source })?;
        let found = record::load::<Ledger>(&mut storage, &state.join(LEDGER_NAME))?;
        let mut notes = Vec::new();
        if found == Found::Torn {
            notes.push(Effect::Note("the ledger is damaged; going on by what the slots say".into()));
        }
        let is_first_start = found == Found::Absent;
        let ledger = found.whole().filter(|ledger| ledger.format == LEDGER_FORMAT);
        let slots = match &settings.slots {
            Some(root) => {
                let mut slots = FileSlots::open(&mut storage, root, &settings.version, is_first_start)?;
                notes.extend(
                    slots.torn().iter().map(|slot| Effect::Note(format!("slot {slot}'s record is damaged"))),
                );
                let awaits_restart =
                    ledger.as_ref().is_some_and(|l| l.awaits_restart(settings.boot_id.as_deref()));
                if !awaits_restart {
                    slots.start(&mut storage)?;
                }
                Some(slots)
            }
            None => None,
        };
        let start = Self::start_of(&settings, slots.as_ref());
        let (updater, actions) = Updater::start(ledger, start, settings.terms.clone());
        let mut session = Self { storage, settings, slots, updater, intake: None, is_pieced: false };
        let mut effects = notes;
        effects.extend(session.carry_out(actions)?);
        Ok((session, effects))
    }

    fn start_of(settings: &Settings, slots: Option<&FileSlots>) -> Start {
        let active = slots.and_then(BootControl::active);
        let record = |slot| slots.and_then(|slots: &FileSlots| slots.record(slot)).cloned();
        let active_record: Option<SlotRecord> = active.and_then(record);
        Start {
            running: active_record.as_ref().map_or_else(|| settings.version.clone(), |r| r.version.clone()),
            installer: if slots.is_some() { Installer::Slots } else { Installer::External },
            active: active_record,
            other: slots.map(target).and_then(record),
            boot_id: settings.boot_id.clone(),
            trial_boots_max: settings.trial_boots_max,
        }
    }

    /// The state machine, to look at.
    #[must_use]
    pub fn updater(&self) -> &Updater {
        &self.updater
    }

    /// The storage, given back at the end of the boot.
    #[must_use]
    pub fn into_storage(self) -> S {
        self.storage
    }

    /// The folder of the slot that runs, if one does.
    #[must_use]
    pub fn active_folder(&self) -> Option<PathBuf> {
        let slots = self.slots.as_ref()?;
        Some(slots.folder(slots.active()?))
    }

    /// The slot that runs, if one does.
    #[must_use]
    pub fn active_slot(&self) -> Option<SlotName> {
        self.slots.as_ref().and_then(BootControl::active)
    }

    /// The manifest of what runs, where it is known.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        let slots = self.slots.as_ref()?;
        slots.record(slots.active()?)?.manifest.as_ref()
    }

    /// Percent of the download that is written, while one runs.
    #[must_use]
    pub fn progress(&self) -> Option<u8> {
        self.intake.as_ref().filter(|intake| !intake.is_package()).map(Intake::percent)
    }

    /// What to fetch, while something is to be fetched.
    #[must_use]
    pub fn wanted(&self) -> Option<Wanted> {
        let intake = self.intake.as_ref()?;
        let Phase::Downloading { assignment, .. } = &self.updater.ledger().phase else { return None };
        let position = intake.position();
        Some(Wanted {
            link: assignment.links.get(position.artifact)?.clone(),
            size: Some(intake.artifact_size()).filter(|_| !intake.is_package()),
            offset: position.offset,
            etag: position.etag.clone(),
        })
    }

    /// Takes in what happened.
    ///
    /// # Errors
    /// [`SessionError`] if the disk fails at a step that must not be skipped.
    pub fn handle(&mut self, event: Event) -> Result<Vec<Effect>, SessionError> {
        let actions = self.updater.handle(event);
        self.carry_out(actions)
    }

    /// The server begins to serve what was [`wanted`](Self::wanted), from `offset`: the one wanted, or 0.
    ///
    /// # Errors
    /// [`SessionError`] as [`Self::handle`].
    pub fn handle_fetch_begun(
        &mut self,
        offset: u64,
        etag: Option<String>,
    ) -> Result<Vec<Effect>, SessionError> {
        let Some(intake) = &mut self.intake else { return Ok(Vec::new()) };
        if offset > 0 && offset == intake.position().offset {
            self.is_pieced = true;
            return Ok(Vec::new());
        }
        self.is_pieced = false;
        match intake.restart(&mut self.storage, etag) {
            Ok(()) => Ok(Vec::new()),
            Err(error) => self.handle_image_error(&error),
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`SessionError`] as [`Self::handle`].
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Vec<Effect>, SessionError> {
        let Some(intake) = &mut self.intake else { return Ok(Vec::new()) };
        match intake.take(&mut self.storage, bytes) {
            Ok(Taken::More) => Ok(Vec::new()),
            Ok(Taken::CheckpointDue) => match intake.make_safe(&mut self.storage) {
                Ok(position) => self.handle(Event::Safe(position)),
                Err(error) => self.handle_image_error(&error),
            },
            Ok(Taken::ArtifactDone) => {
                let position = intake.position().clone();
                self.is_pieced = false;
                let mut effects = self.handle(Event::Safe(position))?;
                effects.push(Effect::Fetch);
                Ok(effects)
            }
            Ok(Taken::ImageDone) => {
                let position = intake.position().clone();
                let mut effects = self.handle(Event::Safe(position))?;
                effects.extend(self.handle(Event::Fetched)?);
                Ok(effects)
            }
            Err(error) => self.handle_image_error(&error),
        }
    }

    /// The source has given all it has. What is announced ends by its size; a package ends here.
    ///
    /// # Errors
    /// [`SessionError`] as [`Self::handle`].
    pub fn handle_fetch_ended(&mut self) -> Result<Vec<Effect>, SessionError> {
        if self.intake.as_ref().is_some_and(Intake::is_package) { self.seal() } else { Ok(Vec::new()) }
    }

    /// The server no longer has what the bytes so far belong to: the artifact begins anew.
    ///
    /// # Errors
    /// [`SessionError`] as [`Self::handle`].
    pub fn handle_fetch_restart(&mut self) -> Result<Vec<Effect>, SessionError> {
        self.handle_fetch_begun(0, None)
    }

    pub(crate) fn handle_image_error(&mut self, error: &ImageError) -> Result<Vec<Effect>, SessionError> {
        let detail = sentence(error);
        let reason = match error {
            ImageError::Digest { .. } if self.is_pieced => {
                let mut effects =
                    vec![Effect::StopFetch, Effect::Note(format!("{detail}; fetching it anew"))];
                effects.extend(self.handle_fetch_restart()?);
                effects.push(Effect::Fetch);
                return Ok(effects);
            }
            ImageError::Digest { .. } | ImageError::TooLong { .. } | ImageError::Length { .. } => {
                Reason::IntegrityCheckFailed
            }
            ImageError::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Reason::InsufficientStorage
            }
            ImageError::File { .. } => Reason::InstallFailed,
        };
        self.handle(Event::Failed(reason, detail))
    }

    fn carry_out(&mut self, actions: Vec<Action>) -> Result<Vec<Effect>, SessionError> {
        let mut effects = Vec::new();
        for action in actions {
            match action {
                Action::Save => self.save()?,
                Action::Claim => effects.extend(self.claim()?),
                Action::Resume => effects.extend(self.resume()?),
                Action::StopFetch => {
                    self.intake = None;
                    effects.push(Effect::StopFetch);
                }
                Action::Discard => effects.extend(self.discard()),
                Action::Describe => effects.extend(self.describe()?),
                Action::Verify => effects.extend(self.verify()?),
                Action::AwaitApply => effects.push(Effect::AwaitApply),
                Action::Activate => effects.extend(self.activate()?),
                Action::Apply => effects.push(Effect::Apply(self.settings.state.join(UPDATE_NAME))),
                Action::Probe => effects.push(Effect::Probe),
                Action::Confirm => effects.extend(self.confirm()?),
                Action::FallBack(detail) => effects.extend(self.fall_back(detail)?),
                Action::Restart => effects.push(Effect::Restart),
                Action::CheckIn => effects.push(Effect::CheckIn),
                Action::Announce(status) => effects.push(Effect::Announce(status)),
            }
        }
        Ok(effects)
    }

    fn save(&mut self) -> Result<(), SessionError> {
        let path = self.settings.state.join(LEDGER_NAME);
        Ok(record::store(&mut self.storage, &path, self.updater.ledger())?)
    }
}

/// An error and its causes, as one sentence.
pub fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The ledger as it is on disk, for someone who only looks.
///
/// # Errors
/// [`RecordError`] if the disk fails.
pub fn read_ledger(storage: &mut dyn Storage, state: &Path) -> Result<Found<Ledger>, RecordError> {
    record::load(storage, &state.join(LEDGER_NAME))
}
