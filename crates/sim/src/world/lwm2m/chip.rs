//! What of a device survives a loss of power.

use super::super::truth::Truth;
use sha2::{Digest, Sha256};
use updraft_lwm2m::firmware::object::{Image, Restart};
use updraft_lwm2m::firmware::{Record, State};

/// Starts that an image on trial has, before the device goes back by itself.
const TRIAL_STARTS_MAX: u32 = 3;

/// An image that runs, not yet for good.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    pub(super) version: String,
    pub(super) sha256: String,
    pub(super) job: Option<String>,
    starts: u32,
}

/// Flash, as far as it matters: each change is whole, or not made.
#[derive(Debug)]
pub(super) struct Chip {
    /// What runs for good.
    pub(super) version: String,
    pub(super) trial: Option<Trial>,
    /// What object 5 remembers.
    pub(super) record: Record,
    /// The image, as far as it is in.
    pub(super) slot: Vec<u8>,
    /// How often the device has started.
    pub(super) boot: u64,
    /// What each start says of the installation before, until object 5 has kept what came of it.
    restart: Restart,
    /// Changes that are made until the power goes.
    changes_left: Option<u64>,
    /// It says that records are safe which are not.
    loses_records: bool,
}

impl Chip {
    pub(super) fn new(version: &str, loses_records: bool) -> Self {
        Self {
            version: version.to_owned(),
            trial: None,
            record: Record::default(),
            slot: Vec::new(),
            boot: 0,
            restart: Restart::Plain,
            changes_left: None,
            loses_records,
        }
    }

    /// The power will go after so many changes.
    pub(super) fn cut_after(&mut self, changes: u64) {
        self.changes_left = Some(changes);
    }

    /// The power is back.
    pub(super) fn restore_power(&mut self) {
        self.changes_left = None;
    }

    /// Counts a change; whether there was power for it.
    #[must_use]
    pub(super) fn change(&mut self) -> bool {
        match &mut self.changes_left {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    /// Keeps what object 5 remembers.
    pub(super) fn persist(&mut self, record: Record) {
        if record.state != State::Updating {
            self.restart = Restart::Plain;
        }
        if !self.loses_records {
            self.record = record;
        }
    }

    /// What the slot holds, by its digest.
    pub(super) fn digest(&self) -> String {
        hex::encode(Sha256::digest(&self.slot))
    }

    /// The next start runs the slot, on trial or for good.
    pub(super) fn switch(&mut self, version: String, job: Option<String>, on_trial: bool) {
        if on_trial {
            let sha256 = self.digest();
            self.trial = Some(Trial { version, sha256, job, starts: 0 });
            self.restart = Restart::OnTrial;
        } else {
            self.version = version;
            self.restart = Restart::Updated;
        }
    }

    /// What runs on trial runs for good from here on.
    pub(super) fn confirm(&mut self) -> Option<Trial> {
        let trial = self.trial.take()?;
        self.version.clone_from(&trial.version);
        self.restart = Restart::Updated;
        Some(trial)
    }

    /// What ran on trial does not run again.
    pub(super) fn fall_back(&mut self) -> Option<Trial> {
        let trial = self.trial.take()?;
        self.slot.clear();
        self.restart = Restart::RolledBack(Image::Dropped);
        Some(trial)
    }

    /// What is in the slot does not work, which was found before it ran.
    pub(super) fn refuse(&mut self) {
        self.slot.clear();
        self.restart = Restart::RolledBack(Image::Dropped);
    }

    /// A start: what object 5 is told of it. An image on trial that was started too often is given up, and told.
    pub(super) fn start(&mut self, now: u64, device: usize, truth: &mut Truth) -> Restart {
        self.boot += 1;
        let worn_out = self.trial.as_mut().is_some_and(|trial| {
            trial.starts += 1;
            trial.starts > TRIAL_STARTS_MAX
        });
        if worn_out && let Some(Trial { job: Some(job), .. }) = self.fall_back() {
            truth.settles(now, device, &job, "started too often on trial", true);
        }
        let (version, on_trial) = match &self.trial {
            Some(trial) => (trial.version.clone(), true),
            None => (self.version.clone(), false),
        };
        truth.starts(now, device, &version, on_trial, self.boot);
        if self.trial.is_some() { Restart::OnTrial } else { self.restart }
    }

    /// Somebody flashes the device by hand: nothing of before is left.
    pub(super) fn flash(&mut self, version: &str) {
        *self = Self { boot: self.boot, ..Self::new(version, self.loses_records) };
    }
}
