//! Updates in the shape of Zerynth's AWS FOTA library, for programs that embed them: a job's document names a slot by its
//! index (`bc_idx`), an image by its MD5 (`bc_crc`), its size and its link.
//!
//! The contract is the original's, its faults are not: an image whose MD5 differs never starts, each download counts its
//! own bytes, an update that was confirmed is a success even if the word of it was lost, the slot that is written is the
//! slot that is named, every wait ends, and what is already done is not restarted once more.
//!
//! ```no_run
//! use updraft_agent::zerynth::{Fota, FotaSettings, Jobs};
//! # fn run(settings: FotaSettings, mut jobs: impl Jobs) -> Result<(), Box<dyn std::error::Error>> {
//! let mut fota = Fota::open(settings)?;
//! while !fota.handle_fota_jobs(&mut jobs, false, true, true, None)? { /* the application's own work */ }
//! # Ok(())
//! # }
//! ```

mod image;
#[cfg(feature = "mqtt")]
mod mqtt;

#[cfg(feature = "mqtt")]
pub use mqtt::{MqttJobs, MqttJobsSettings};

use crate::boot::BootControl;
use crate::file_slots::FileSlots;
use crate::http::{ClientError, client};
use crate::session::sentence;
use crate::slots::{SlotError, SlotName, SlotState, Slots};
use crate::storage::FileStorage;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use updraft_wire::Reason;
use updraft_wire::jobs::{Details, FotaDocument, OPERATION_FOTA, Status, failure};

/// How often an image may start without being confirmed: once, as in the original.
const TRIAL_BOOTS: u32 = 1;

/// Where things are.
pub struct FotaSettings {
    /// The slots' folder: `bc_idx` 0 is `a`, 1 is `b`.
    pub slots: PathBuf,
    /// Certificates to trust; those of the public web without.
    pub ca: Option<PathBuf>,
    /// Whether links without TLS are followed: in a lab only.
    pub plain_links: bool,
    /// Longest silence of the file server.
    pub silence_time: Duration,
    /// Restarts the device, or asks for it: what `reset()` does.
    pub reset: Box<dyn FnMut() + Send>,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum FotaError {
    /// The HTTP client's settings.
    #[error("cannot make a client")]
    Client(#[from] ClientError),
    /// A slot.
    #[error("a slot failed")]
    Slot(#[from] SlotError),
    /// The document asks for what cannot be done here.
    #[error("the document cannot be carried out: {0}")]
    Document(String),
    /// The image did not come, or is not the one announced.
    #[error("{detail}")]
    Image {
        /// The published reason.
        reason: Reason,
        /// A sentence.
        detail: String,
    },
    /// The jobs.
    #[error("the jobs failed")]
    Jobs(#[from] JobsError),
}

/// Why the server could not be spoken with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobsError {
    /// No connection, or no answer in time.
    #[error("{0}")]
    Unanswered(String),
    /// The server refuses: another hand was faster, or the job has ended.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// The answer is of another shape.
    #[error("the server's answer is not understood: {0}")]
    NotUnderstood(String),
}

/// One job of this device.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its ID.
    pub id: String,
    /// How it stands.
    pub status: Status,
    /// How often it has changed.
    pub version: i64,
    /// What to do.
    pub document: Value,
}

/// The pending jobs, by ID, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pending {
    /// Those begun.
    pub in_progress: Vec<String>,
    /// Those not begun.
    pub queued: Vec<String>,
}

/// The jobs of this device, as the server has them. Every wait in here ends.
pub trait Jobs {
    /// Whether the list may have changed since the last time.
    fn changed(&mut self) -> bool;
    /// The pending jobs.
    ///
    /// # Errors
    /// [`JobsError`].
    fn list(&mut self) -> Result<Pending, JobsError>;
    /// One job; `None` if it has ended since it was listed.
    ///
    /// # Errors
    /// [`JobsError`].
    fn describe(&mut self, id: &str) -> Result<Option<Job>, JobsError>;
    /// Says how the device stands with a job, unless another hand has changed it since it was described.
    ///
    /// # Errors
    /// [`JobsError::Refused`] if so, or if it has ended.
    fn update(&mut self, job: &mut Job, status: Status, details: Details) -> Result<(), JobsError>;
    /// Ends the connection, for a device without memory for two. The next call connects again.
    fn disconnect(&mut self);
}

/// What to do with jobs that are no FOTA jobs.
pub type JobCallback<'a> = &'a mut dyn FnMut(&mut dyn Jobs, &mut Job);

/// The slots of a device, and what updates them.
pub struct Fota {
    storage: FileStorage,
    slots: FileSlots,
    client: ureq::Agent,
    plain_links: bool,
    reset: Box<dyn FnMut() + Send>,
    /// The slot that this program was started from.
    running: Option<SlotName>,
    is_reset_due: bool,
}

impl Fota {
    /// Begins a start of the device: counts it, and leaves an image that has started before without being confirmed.
    /// Call it once per start, first.
    ///
    /// # Errors
    /// [`FotaError`] if the slots or the settings are of no use.
    pub fn open(settings: FotaSettings) -> Result<Self, FotaError> {
        let client = client(settings.ca.as_deref(), settings.silence_time)?;
        let mut storage = FileStorage::new();
        let mut slots = FileSlots::open(&mut storage, &settings.slots, crate::config::VERSION_UNKNOWN, true)?;
        slots.start(&mut storage)?;
        let running = slots.active();
        let is_spent = slots.trial_boots().is_some_and(|boots| boots > TRIAL_BOOTS);
        let mut is_reset_due = false;
        if is_spent {
            slots.fall_back(&mut storage)?;
            is_reset_due = slots.active() != running;
        }
        let (plain_links, reset) = (settings.plain_links, settings.reset);
        Ok(Self { storage, slots, client, plain_links, reset, running, is_reset_due })
    }

    /// The index of the slot that this program was started from; none for the system as it left the factory.
    #[must_use]
    pub fn running(&self) -> Option<u32> {
        self.running.map(index)
    }

    /// Downloads the document's image into the slot it names, and checks it. What the slot held is gone.
    ///
    /// # Errors
    /// [`FotaError::Document`] if that slot runs or is none, [`FotaError::Image`] if the image is not the announced one:
    /// the slot then holds nothing that could start.
    pub fn update(&mut self, document: &FotaDocument) -> Result<(), FotaError> {
        let slot = self.target(document)?;
        image::write(&mut self.storage, &mut self.slots, slot, document, &self.client, self.plain_links)
    }

    /// Makes the image that was downloaded the one that starts next, once, unless it confirms itself.
    ///
    /// # Errors
    /// [`FotaError`] unless the slot holds that very image, checked.
    pub fn test(&mut self, document: &FotaDocument) -> Result<(), FotaError> {
        let slot = self.target(document)?;
        if !self.holds(slot, document) {
            return Err(FotaError::Document(format!("slot {} does not hold the image", index(slot))));
        }
        self.slots.activate(&mut self.storage, slot)?;
        Ok(())
    }

    /// Makes the image that runs the one that starts for good. Safe to say twice.
    ///
    /// # Errors
    /// [`FotaError::Slot`] if the disk fails.
    pub fn confirm(&mut self) -> Result<(), FotaError> {
        if self.is_on_trial() {
            self.slots.confirm(&mut self.storage)?;
        }
        Ok(())
    }

    /// Restarts the device, as the settings say.
    pub fn reset(&mut self) {
        (self.reset)();
    }

    /// Looks at the jobs, if they have changed or `force` is set: ends those whose image runs or was left, and begins the
    /// first that can be begun. Jobs with another operation go to `job_callback`. With `disconnect_mqtt` the connection
    /// is given up for the time of a download, with `auto_reset` the device restarts when another image is to start.
    ///
    /// Says whether a FOTA job was dealt with.
    ///
    /// # Errors
    /// [`FotaError`] if the server cannot be spoken with or the disk fails; calling again goes on.
    pub fn handle_fota_jobs(
        &mut self,
        jobs: &mut dyn Jobs,
        force: bool,
        disconnect_mqtt: bool,
        auto_reset: bool,
        mut job_callback: Option<JobCallback<'_>>,
    ) -> Result<bool, FotaError> {
        if self.is_reset_due {
            // Another image is to speak: what this one says would be of the wrong one.
            return Ok(self.end_start(auto_reset));
        }
        if !jobs.changed() && !force {
            return Ok(false);
        }
        let pending = jobs.list()?;
        for id in pending.in_progress.iter().chain(&pending.queued) {
            let Some(mut job) = jobs.describe(id)? else { continue };
            if job.document.get("operation").and_then(Value::as_str) != Some(OPERATION_FOTA) {
                if let Some(callback) = job_callback.as_mut() {
                    callback(jobs, &mut job);
                }
                continue;
            }
            match self.handle_fota_job(jobs, &mut job, disconnect_mqtt)? {
                Handled::Ended => return Ok(true),
                Handled::Started => return Ok(self.end_start(auto_reset)),
                Handled::PassedOver => {}
            }
        }
        Ok(false)
    }

    fn end_start(&mut self, auto_reset: bool) -> bool {
        self.is_reset_due = true;
        if auto_reset {
            self.reset();
        }
        true
    }

    fn handle_fota_job(
        &mut self,
        jobs: &mut dyn Jobs,
        job: &mut Job,
        disconnect_mqtt: bool,
    ) -> Result<Handled, FotaError> {
        let document = match serde_json::from_value::<FotaDocument>(job.document.clone()) {
            Ok(document) => document,
            Err(error) => {
                fail(jobs, job, Reason::UnsupportedPackage, &format!("bad fota data: {error}"))?;
                return Ok(Handled::PassedOver);
            }
        };
        if job.status == Status::InProgress {
            return self.handle_begun(jobs, job, &document, disconnect_mqtt);
        }
        match self.target(&document) {
            Ok(_) => self.begin(jobs, job, &document, disconnect_mqtt),
            Err(error) => {
                let detail = format!("bad fota data: {}", sentence(&error));
                fail(jobs, job, Reason::UnsupportedPackage, &detail)?;
                Ok(Handled::PassedOver)
            }
        }
    }

    /// A job that was begun before this start, or whose end the server has not heard.
    fn handle_begun(
        &mut self,
        jobs: &mut dyn Jobs,
        job: &mut Job,
        document: &FotaDocument,
        disconnect_mqtt: bool,
    ) -> Result<Handled, FotaError> {
        let named = slot(document.bc_idx);
        if named.is_some() && named == self.running {
            if !self.is_image_of(document) {
                return fail(
                    jobs,
                    job,
                    Reason::InstallFailed,
                    "invalid fota: another image runs in the slot",
                );
            }
            self.confirm()?;
            jobs.update(job, Status::Succeeded, Details::new())?;
            return Ok(Handled::Ended);
        }
        match named.and_then(|slot| self.slots.record(slot)).map(|record| record.state) {
            // It was tried, and the old image runs again.
            Some(SlotState::Bad | SlotState::Forced { .. }) => {
                fail(jobs, job, Reason::RolledBack, "invalid fota: the new image did not confirm itself")
            }
            // The device was to restart and has not.
            Some(SlotState::Trial { .. }) => Ok(Handled::Started),
            // The power went before the image was whole: it was never tried.
            Some(SlotState::Writing | SlotState::Ready) if self.target(document).is_ok() => {
                self.carry_on(jobs, job, document, disconnect_mqtt)
            }
            Some(SlotState::Writing | SlotState::Ready | SlotState::Confirmed { .. }) | None => {
                fail(jobs, job, Reason::InstallFailed, "invalid fota: the image does not run")
            }
        }
    }

    fn begin(
        &mut self,
        jobs: &mut dyn Jobs,
        job: &mut Job,
        document: &FotaDocument,
        disconnect_mqtt: bool,
    ) -> Result<Handled, FotaError> {
        match jobs.update(job, Status::InProgress, Details::new()) {
            Ok(()) => self.carry_on(jobs, job, document, disconnect_mqtt),
            // Another hand was faster: the list has changed.
            Err(JobsError::Refused(_)) => Ok(Handled::PassedOver),
            Err(error) => Err(error.into()),
        }
    }

    fn carry_on(
        &mut self,
        jobs: &mut dyn Jobs,
        job: &mut Job,
        document: &FotaDocument,
        disconnect_mqtt: bool,
    ) -> Result<Handled, FotaError> {
        if disconnect_mqtt {
            jobs.disconnect();
        }
        match self.update(document).and_then(|()| self.test(document)) {
            Ok(()) => Ok(Handled::Started),
            Err(FotaError::Image { reason, detail }) => fail(jobs, job, reason, &detail),
            Err(FotaError::Document(detail)) => fail(jobs, job, Reason::UnsupportedPackage, &detail),
            Err(error @ FotaError::Slot(_)) => fail(jobs, job, Reason::InstallFailed, &sentence(&error)),
            Err(error @ (FotaError::Client(_) | FotaError::Jobs(_))) => Err(error),
        }
    }

    /// The slot that a document names, if it may be written.
    fn target(&self, document: &FotaDocument) -> Result<SlotName, FotaError> {
        let refused = |detail: &str| Err(FotaError::Document(detail.to_owned()));
        if !updraft_wire::manifest::is_lower_hex(&document.bc_crc, 32) {
            return refused("bc_crc is 32 lower-case hex digits");
        }
        if document.bc_size == 0 {
            return refused("bc_size is at least 1");
        }
        match slot(document.bc_idx) {
            None => refused("bc_idx is 0 or 1"),
            Some(slot) if Some(slot) == self.running => refused("bc_idx is the slot that runs"),
            Some(slot) => Ok(slot),
        }
    }

    fn is_on_trial(&self) -> bool {
        let record = self.running.and_then(|slot| self.slots.record(slot));
        record.is_some_and(|record| matches!(record.state, SlotState::Trial { .. }))
    }

    /// Whether what runs is the document's image. A slot filled at the factory has no manifest, and the word of the index.
    fn is_image_of(&self, document: &FotaDocument) -> bool {
        let record = self.running.and_then(|slot| self.slots.record(slot));
        record.is_some_and(|record| record.manifest.as_ref().is_none_or(|held| image::is_of(held, document)))
    }

    fn holds(&self, slot: SlotName, document: &FotaDocument) -> bool {
        self.slots.record(slot).is_some_and(|record| {
            record.state == SlotState::Ready
                && record.manifest.as_ref().is_some_and(|held| image::is_of(held, document))
        })
    }
}

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handled {
    /// Its end was said.
    Ended,
    /// Its image starts next.
    Started,
    /// Nothing: the next job is looked at.
    PassedOver,
}

fn fail(jobs: &mut dyn Jobs, job: &mut Job, reason: Reason, why: &str) -> Result<Handled, FotaError> {
    match jobs.update(job, Status::Failed, failure(reason, why)) {
        // It has ended without us: as good.
        Ok(()) | Err(JobsError::Refused(_)) => Ok(Handled::Ended),
        Err(error) => Err(error.into()),
    }
}

fn slot(index: u32) -> Option<SlotName> {
    match index {
        0 => Some(SlotName::A),
        1 => Some(SlotName::B),
        _ => None,
    }
}

fn index(slot: SlotName) -> u32 {
    match slot {
        SlotName::A => 0,
        SlotName::B => 1,
    }
}
