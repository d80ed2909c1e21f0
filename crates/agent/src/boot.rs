//! Which slot starts: the words every boot loader has in some form, as one trait.
//!
//! The file slots' own loader is the first behind it; boot loaders of real systems follow the same words.

use crate::slots::{SlotError, SlotName};
use crate::storage::Storage;

/// What became of a trial that was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FallBack {
    /// What ran before starts again.
    Previous,
    /// Nothing that was ever confirmed is left to start: the slot on trial runs on, unconfirmed.
    Stayed,
}

/// Chooses what starts.
pub trait BootControl {
    /// The slot that starts, or `None` if the system as it left the factory does.
    fn active(&self) -> Option<SlotName>;
    /// How often the active slot has started on trial, or `None` if it is on no trial.
    fn trial_boots(&self) -> Option<u32>;
    /// Counts a start, and puts right what a power cut left between two steps. Called once per start, first.
    ///
    /// # Errors
    /// Any failure of the storage.
    fn start(&mut self, storage: &mut dyn Storage) -> Result<(), SlotError>;
    /// Makes a slot the one that starts, on trial. The last step of an installation.
    ///
    /// # Errors
    /// Any failure of the storage; [`SlotError::OutOfOrder`] unless the slot is ready.
    fn activate(&mut self, storage: &mut dyn Storage, slot: SlotName) -> Result<(), SlotError>;
    /// Makes the slot on trial the one that starts for good.
    ///
    /// # Errors
    /// Any failure of the storage; [`SlotError::OutOfOrder`] without a trial.
    fn confirm(&mut self, storage: &mut dyn Storage) -> Result<(), SlotError>;
    /// Ends a trial badly: what ran before it starts again, if it is still whole and was ever confirmed.
    ///
    /// # Errors
    /// Any failure of the storage; [`SlotError::OutOfOrder`] without a trial.
    fn fall_back(&mut self, storage: &mut dyn Storage) -> Result<FallBack, SlotError>;
}
