//! Two places for a system, and what each is known to hold.
//!
//! [`Slots`] is about bytes (what is written where), [`crate::boot::BootControl`] about which slot starts. Neither
//! knows of assignments in work; that is the updater's.

use crate::image::Image;
use crate::record::RecordError;
use crate::storage::Storage;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::PathBuf;
use updraft_wire::{JobId, Manifest, UpdateStatus};

/// The slot record's format: a reader takes another for no record.
pub const SLOT_FORMAT: u32 = 1;

/// One of the two slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotName {
    /// The folder `a`.
    A,
    /// The folder `b`.
    B,
}

impl SlotName {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The one that this is not.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The folder's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What ran before a trial, and runs again if the trial fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Previous {
    /// No slot: the system as it left the factory.
    Factory,
    /// This slot.
    Slot(SlotName),
}

/// What a slot is good for. Each change is one replacement of one record: there is no moment in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SlotState {
    /// Its bytes are being written, or the writing was given up: never started from.
    Writing,
    /// Its bytes were read back and are right; not started from yet.
    Ready,
    /// Starts, a limited number of times.
    Trial {
        /// How often it has started.
        boots: u32,
        /// What starts again if the trial fails.
        previous: Previous,
    },
    /// Proved healthy. Of two such slots the one with the higher sequence starts.
    Confirmed {
        /// Counts confirmations on this device.
        sequence: u64,
    },
    /// Failed its trial, and nothing else can start: it runs on, is never confirmed and never fallen back to.
    Forced {
        /// Counts confirmations on this device.
        sequence: u64,
    },
    /// Failed its trial.
    Bad,
}

/// What is known of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// Always [`SLOT_FORMAT`].
    pub format: u32,
    /// What it is good for.
    #[serde(flatten)]
    pub state: SlotState,
    /// The version it holds.
    pub version: String,
    /// The manifest it was written by; none for a slot that left the factory filled.
    pub manifest: Option<Manifest>,
    /// The assignment it was written for. With the state it says how that ended, should the ledger be lost.
    pub job: Option<JobId>,
    /// The boot in which the record was written: a lost ledger counts on from here.
    pub boot: u64,
    /// How the assignment settled last before this one ended, should the ledger be lost.
    pub settled: Option<UpdateStatus>,
}

impl SlotRecord {
    /// Whether its bytes are no more than an update that was not started yet.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        match self.state {
            SlotState::Writing | SlotState::Ready => true,
            SlotState::Trial { .. }
            | SlotState::Confirmed { .. }
            | SlotState::Forced { .. }
            | SlotState::Bad => false,
        }
    }
}

/// What went wrong with a slot.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// Its record.
    #[error("the slot's record failed")]
    Record(#[from] RecordError),
    /// Its folder or its files.
    #[error("cannot change {}", path.display())]
    Change {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A step was asked for that the slot's state does not allow: a fault of the caller, stopped before it harms.
    #[error("slot {slot} cannot take this step from its state")]
    OutOfOrder {
        /// Which slot.
        slot: SlotName,
    },
}

/// What is to be written into a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent<'a> {
    /// The assignment's job.
    pub job: &'a JobId,
    /// What to write.
    pub manifest: &'a Manifest,
    /// The boot in which this happens.
    pub boot: u64,
    /// How the assignment before this one ended.
    pub settled: Option<&'a UpdateStatus>,
}

/// Two places for a system.
pub trait Slots {
    /// What a slot is known to hold; `None` if it was never written or its record is lost.
    fn record(&self, slot: SlotName) -> Option<&SlotRecord>;
    /// The folder of a slot.
    fn folder(&self, slot: SlotName) -> PathBuf;
    /// The files of a slot, as a manifest names them.
    fn image(&self, slot: SlotName, manifest: &Manifest) -> Image;
    /// Bytes that removing a slot's content gives back.
    ///
    /// # Errors
    /// Any failure of the storage.
    fn reclaimable(&self, storage: &mut dyn Storage, slot: SlotName) -> Result<u64, SlotError>;
    /// Marks a slot as being written, then removes what it held. In that order: nothing half removed ever starts.
    ///
    /// # Errors
    /// Any failure of the storage; [`SlotError::OutOfOrder`] for the slot that runs.
    fn invalidate(
        &mut self,
        storage: &mut dyn Storage,
        slot: SlotName,
        intent: Intent<'_>,
    ) -> Result<(), SlotError>;
    /// Marks a slot as read back and found right.
    ///
    /// # Errors
    /// Any failure of the storage; [`SlotError::OutOfOrder`] unless it was being written.
    fn mark_ready(&mut self, storage: &mut dyn Storage, slot: SlotName) -> Result<(), SlotError>;
    /// Gives up what was written into a slot that does not run, and frees its room.
    ///
    /// # Errors
    /// Any failure of the storage; [`SlotError::OutOfOrder`] for a slot that runs or ran.
    fn discard(&mut self, storage: &mut dyn Storage, slot: SlotName) -> Result<(), SlotError>;
}
