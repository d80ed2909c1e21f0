//! The first moments of a boot: the ledger and the slots are compared, and the slots are right.

use crate::ledger::{Ledger, Phase};
use crate::package::is_package;
use crate::slots::{SlotRecord, SlotState};
use crate::updater::{Action, Installer, Updater, ended};
use updraft_wire::{Assignment, JobId, Reason, UpdateState, UpdateStatus};

/// How far a boot counter jumps when the ledger is lost. The slots know only the boot of their last writing, and
/// the counter must not go back: no device starts this often between two updates that it settles.
const BOOTS_UNRECORDED: u64 = 1_000_000;

/// What is known as a boot begins, before the ledger is believed.
#[derive(Debug, Clone)]
pub struct Start {
    /// The version that runs.
    pub running: String,
    /// Who installs.
    pub installer: Installer,
    /// The slot that runs, if one does.
    pub active: Option<SlotRecord>,
    /// The other slot.
    pub other: Option<SlotRecord>,
    /// The kernel's name for this boot, where starts are counted by it.
    pub boot_id: Option<String>,
    /// How often a version may start without being confirmed.
    pub trial_boots_max: u32,
}

impl Start {
    /// The ledger for this boot: the one kept, or what the slots remember of it.
    pub(crate) fn ledger(&self, kept: Option<Ledger>) -> Ledger {
        let mut ledger = kept.unwrap_or_else(|| self.recovered());
        let same_boot = self.boot_id.is_some() && self.boot_id == ledger.boot_id;
        if !same_boot {
            ledger.boot += 1;
            ledger.restart_due = None;
            ledger.boot_id.clone_from(&self.boot_id);
        }
        ledger
    }

    fn recovered(&self) -> Ledger {
        let mut ledger = Ledger::blank();
        let records = [&self.other, &self.active];
        // The other slot ended after the active one was confirmed, or it would not be the other one.
        let settled = records
            .into_iter()
            .flatten()
            .find_map(|record| end_of(record).or_else(|| record.settled.clone()));
        if let Some(settled) = settled {
            ledger.settle(settled);
        }
        let boots = records.into_iter().flatten().map(|record| record.boot.saturating_add(BOOTS_UNRECORDED));
        ledger.boot = boots.max().unwrap_or(0);
        ledger
    }

    /// Whether what runs was confirmed, or is what left the factory.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.active.as_ref().is_none_or(|record| matches!(record.state, SlotState::Confirmed { .. }))
    }

    fn is_active(&self, job: &JobId) -> bool {
        self.active.as_ref().is_some_and(|record| record.job.as_ref() == Some(job))
    }

    /// The slot that was written for a job.
    fn slot_of(&self, job: &JobId) -> Option<&SlotRecord> {
        [&self.active, &self.other].into_iter().flatten().find(|record| record.job.as_ref() == Some(job))
    }
}

/// How the assignment a slot was written for ended, as its state tells.
fn end_of(record: &SlotRecord) -> Option<UpdateStatus> {
    let job = record.job.clone()?;
    match record.state {
        SlotState::Confirmed { .. } => Some(ended(job, UpdateState::Succeeded, None, String::new())),
        SlotState::Bad => {
            let detail = "the trial ended without a confirmation".into();
            Some(ended(job, UpdateState::RolledBack, Some(Reason::RolledBack), detail))
        }
        SlotState::Forced { .. } => {
            let detail = "the trial ended without a confirmation, and nothing else could start".into();
            Some(ended(job, UpdateState::Failed, Some(Reason::InstallFailed), detail))
        }
        SlotState::Writing | SlotState::Ready | SlotState::Trial { .. } => None,
    }
}

/// The assignment a slot on trial was written for, from the slot alone.
fn assignment_of(record: &SlotRecord) -> Option<Assignment> {
    Some(Assignment {
        job: record.job.clone()?,
        manifest: record.manifest.clone()?,
        links: Vec::new(),
        allow_downgrade: true,
    })
}

impl Updater {
    /// What follows from the ledger and the slots together.
    pub(crate) fn reconcile(&mut self, start: &Start) -> Vec<Action> {
        let trial = start.active.as_ref().filter(|record| matches!(record.state, SlotState::Trial { .. }));
        if let Some(assignment) = trial.and_then(assignment_of)
            && self.ledger.phase.assignment().map(|known| &known.job) != Some(&assignment.job)
        {
            // The ledger was lost, or is of another time: the slot on trial knows what it is.
            self.ledger.phase = Phase::Trial { assignment };
        }
        match self.ledger.phase.clone() {
            Phase::Idle => Vec::new(),
            Phase::Downloading { assignment, .. } | Phase::Staged { assignment }
                if self.installer == Installer::Slots =>
            {
                self.reconcile_written(start, &assignment)
            }
            Phase::Downloading { .. } => vec![Action::Resume],
            Phase::Staged { .. } => vec![Action::Verify],
            Phase::Trial { assignment } => self.reconcile_trial(start, assignment),
            Phase::Applying { assignment, since_boot, applied } => {
                self.reconcile_applying(&assignment, since_boot, applied)
            }
        }
    }

    fn reconcile_written(&mut self, start: &Start, assignment: &Assignment) -> Vec<Action> {
        let is_staged = matches!(self.ledger.phase, Phase::Staged { .. });
        let other = start.other.as_ref().filter(|record| record.job.as_ref() == Some(&assignment.job));
        let is_described = |record: &&SlotRecord| record.manifest.as_ref() == Some(&assignment.manifest);
        let is_package = other.is_some_and(|record| record.manifest.as_ref().is_some_and(is_package));
        let state = other.map(|record| record.state);
        if is_package && state == Some(SlotState::Writing) && !other.as_ref().is_some_and(is_described) {
            // The ledger knows what the package is, and the slot's record was to be told next.
            return vec![Action::Describe, Action::Verify];
        }
        let other = other.filter(is_described);
        match other.map(|record| record.state) {
            Some(SlotState::Ready) => vec![Action::Verify],
            Some(SlotState::Writing) if is_staged => vec![Action::Verify],
            Some(SlotState::Writing) => vec![Action::Resume],
            Some(
                SlotState::Trial { .. }
                | SlotState::Confirmed { .. }
                | SlotState::Forced { .. }
                | SlotState::Bad,
            )
            | None => {
                let assignment = assignment.clone();
                self.ledger.phase = Phase::Downloading { assignment, position: Default::default() };
                vec![Action::Save, Action::Claim]
            }
        }
    }

    fn reconcile_trial(&mut self, start: &Start, assignment: Assignment) -> Vec<Action> {
        let slot = start.slot_of(&assignment.job);
        let is_active = start.is_active(&assignment.job);
        match slot.map(|record| record.state) {
            Some(SlotState::Trial { boots, .. }) if is_active => {
                self.on_trial = true;
                if boots > self.trial_boots_max {
                    let detail = format!("not confirmed in {} starts", self.trial_boots_max);
                    vec![Action::FallBack(detail)]
                } else {
                    let announce = self.status_in_work(None).map(Action::Announce);
                    announce.into_iter().chain([Action::Probe]).collect()
                }
            }
            Some(SlotState::Ready | SlotState::Writing) => vec![Action::Verify],
            Some(SlotState::Confirmed { .. } | SlotState::Bad | SlotState::Forced { .. }) => {
                match slot.and_then(end_of) {
                    Some(end) => {
                        let detail = end.detail.unwrap_or_default();
                        self.settle(end.job, end.state, end.reason, detail)
                    }
                    None => Vec::new(),
                }
            }
            Some(SlotState::Trial { .. }) | None => {
                let detail = "the slot's record was lost before the version was confirmed".into();
                self.settle(assignment.job, UpdateState::Failed, Some(Reason::InstallFailed), detail)
            }
        }
    }

    fn reconcile_applying(&mut self, assignment: &Assignment, since_boot: u64, applied: bool) -> Vec<Action> {
        let job = assignment.job.clone();
        if self.running == assignment.manifest.version {
            let mut actions = self.settle(job, UpdateState::Succeeded, None, String::new());
            actions.push(Action::Discard);
            return actions;
        }
        if self.ledger.boot.saturating_sub(since_boot) > u64::from(self.trial_boots_max) {
            let detail = format!("{} still runs after {} starts", self.running, self.trial_boots_max);
            let mut actions = self.settle(job, UpdateState::RolledBack, Some(Reason::RolledBack), detail);
            actions.push(Action::Discard);
            return actions;
        }
        if applied { vec![Action::Probe] } else { vec![Action::Verify] }
    }
}
