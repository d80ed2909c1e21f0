//! The update state machine: what happened in, what to do out. Pure: no file, no socket, no clock.
//!
//! The ledger is written before each step that the outside can see ([`Action::Save`] comes first in every list),
//! and after a restart [`Updater::start`] compares it with what the slots say. Where the two differ, the slots
//! are right: their records change in one step with what they describe.

use crate::assignment::{Judgement, Terms};
use crate::boot::FallBack;
use crate::ledger::{Ledger, Phase, Position};
use crate::package::is_package;
use crate::start::Start;
use updraft_wire::check_in::DETAIL_BYTES_MAX;
use updraft_wire::{Assignment, CheckInAnswer, JobId, Reason, UpdateState, UpdateStatus};

/// How often a verified image may turn out wrong when read back, before the update is given up. Once is a power
/// cut's doing; twice is a broken device.
const READ_BACKS_FAILED_MAX: u32 = 2;

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The server answered a check-in.
    Answered(Box<CheckInAnswer>),
    /// The target is ready to be written.
    Claimed,
    /// A checkpoint: so much is safe.
    Safe(Position),
    /// The whole image is fetched and safe.
    Fetched,
    /// A package is fetched and safe: what it is.
    Sealed {
        /// Its version.
        version: String,
        /// Its size, in bytes.
        size: u64,
        /// Its SHA-256, in lower-case hex.
        sha256: String,
    },
    /// The image read back is right.
    Verified,
    /// The image read back is wrong.
    VerifyFailed(String),
    /// Nothing speaks against activating now.
    ApplyNow,
    /// The image is handed over; the script, if there is one, ended well.
    Applied,
    /// A step failed for good.
    Failed(Reason, String),
    /// The trial's health check passed, in this boot.
    Healthy,
    /// The slot on trial is confirmed.
    Confirmed,
    /// The trial is over without a confirmation.
    TrialOver(String),
    /// What became of the trial.
    FellBack(FallBack, String),
    /// The version that runs was read again.
    Running(String),
}

/// What to do, in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Write the ledger. What follows may be seen from outside.
    Save,
    /// Check that there is room, mark the target as being written, and begin at the first byte.
    Claim,
    /// Go on at the ledger's position.
    Resume,
    /// Stop fetching.
    StopFetch,
    /// Give up what was written to the target.
    Discard,
    /// Write the manifest, as it is by now, to the target's record.
    Describe,
    /// Read the target back, and mark it ready if it is right.
    Verify,
    /// Wait until the update may be applied, then say [`Event::ApplyNow`].
    AwaitApply,
    /// Make the target the slot that starts, then restart.
    Activate,
    /// Hand the image to the script or the embedding program.
    Apply,
    /// Check the health until it passes or the trial's time is over.
    Probe,
    /// Confirm the slot on trial.
    Confirm,
    /// End the trial badly.
    FallBack(String),
    /// Start anew: the active slot has changed.
    Restart,
    /// Tell the server soon.
    CheckIn,
    /// Tell the embedding program.
    Announce(UpdateStatus),
}

/// Who installs what was downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installer {
    /// The agent: into a slot.
    Slots,
    /// A script or the embedding program.
    External,
}

/// The update state machine.
#[derive(Debug)]
pub struct Updater {
    pub(crate) ledger: Ledger,
    pub(crate) running: String,
    /// Whether what runs was confirmed, or came so from the factory: only then is it a floor for versions.
    pub(crate) is_confirmed: bool,
    pub(crate) installer: Installer,
    pub(crate) trial_boots_max: u32,
    /// Whether this boot runs the slot on trial.
    pub(crate) on_trial: bool,
    terms: Terms,
    read_backs_failed: u32,
}

impl Updater {
    /// Begins a boot: counts it, and compares the ledger with the slots.
    #[must_use]
    pub fn start(ledger: Option<Ledger>, start: Start, terms: Terms) -> (Self, Vec<Action>) {
        let mut updater = Self {
            ledger: start.ledger(ledger),
            running: start.running.clone(),
            is_confirmed: start.is_confirmed(),
            installer: start.installer,
            trial_boots_max: start.trial_boots_max,
            on_trial: false,
            terms,
            read_backs_failed: 0,
        };
        if updater.ledger.awaits_restart(start.boot_id.as_deref()) {
            return (updater, vec![Action::Restart]);
        }
        let mut actions = updater.reconcile(&start);
        actions.insert(0, Action::Save);
        actions.push(Action::CheckIn);
        (updater, actions)
    }

    /// What the agent remembers.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The version that runs.
    #[must_use]
    pub fn running(&self) -> &str {
        &self.running
    }

    /// The version below which nothing is installed without leave: what runs, once it is confirmed.
    #[must_use]
    pub fn confirmed(&self) -> Option<&str> {
        Some(self.running.as_str()).filter(|_| self.is_confirmed)
    }

    /// Whether this boot runs a version on trial.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        self.on_trial
    }

    /// How the device stands with its assignment, for the server: ends first, until they are noted.
    #[must_use]
    pub fn status(&self, progress: Option<u8>) -> Option<UpdateStatus> {
        self.ledger.outbox.first().cloned().or_else(|| self.status_in_work(progress))
    }

    pub(crate) fn status_in_work(&self, progress: Option<u8>) -> Option<UpdateStatus> {
        let assignment = self.ledger.phase.assignment()?;
        let state = match &self.ledger.phase {
            Phase::Idle => return None,
            Phase::Downloading { .. } => UpdateState::Downloading,
            Phase::Staged { .. } => UpdateState::Downloaded,
            Phase::Trial { .. } if self.on_trial => UpdateState::Trial,
            Phase::Applying { applied: false, .. } => UpdateState::Installing,
            Phase::Trial { .. } | Phase::Applying { .. } => UpdateState::Rebooting,
        };
        let progress = progress.filter(|_| state == UpdateState::Downloading);
        Some(UpdateStatus { job: assignment.job.clone(), state, progress, reason: None, detail: None })
    }

    /// Takes in what happened; says what to do. An event that does not fit the phase is late, and changes nothing.
    #[must_use]
    pub fn handle(&mut self, event: Event) -> Vec<Action> {
        match event {
            Event::Answered(answer) => self.handle_answer(*answer),
            Event::Claimed => Vec::new(),
            Event::Safe(position) => self.handle_safe(position),
            Event::Fetched => self.handle_fetched(),
            Event::Sealed { version, size, sha256 } => self.handle_sealed(version, size, sha256),
            Event::Verified => self.handle_verified(),
            Event::VerifyFailed(detail) => self.handle_verify_failed(detail),
            Event::ApplyNow => self.handle_apply_now(),
            Event::Applied => self.handle_applied(),
            Event::Failed(reason, detail) => self.handle_failed(reason, detail),
            Event::Healthy if self.on_trial => vec![Action::Confirm],
            Event::Healthy => Vec::new(),
            Event::Confirmed => self.handle_confirmed(),
            Event::TrialOver(detail) => self.handle_trial_over(detail),
            Event::FellBack(outcome, detail) => self.handle_fell_back(outcome, detail),
            Event::Running(version) => self.handle_running(version),
        }
    }

    fn handle_answer(&mut self, answer: CheckInAnswer) -> Vec<Action> {
        let mut actions = Vec::new();
        if answer.noted.is_some_and(|job| self.ledger.noted(&job)) {
            actions.push(Action::Save);
        }
        match answer.assignment {
            None => actions.extend(self.drop_work()),
            Some(assignment) => actions.extend(self.handle_assignment(assignment)),
        }
        actions
    }

    fn drop_work(&mut self) -> Vec<Action> {
        let Some(assignment) = self.ledger.phase.assignment().filter(|_| self.ledger.phase.can_be_dropped())
        else {
            return Vec::new();
        };
        let status = ended(
            assignment.job.clone(),
            UpdateState::Failed,
            Some(Reason::Cancelled),
            "the server took the assignment back".into(),
        );
        self.ledger.phase = Phase::Idle;
        vec![Action::StopFetch, Action::Save, Action::Discard, Action::Announce(status)]
    }

    fn handle_assignment(&mut self, assignment: Assignment) -> Vec<Action> {
        if let Phase::Downloading { assignment: current, .. } = &mut self.ledger.phase
            && current.job == assignment.job
            && (current.manifest == assignment.manifest || is_package(&assignment.manifest))
        {
            // Links expire; each answer brings fresh ones.
            current.links = assignment.links;
            return Vec::new();
        }
        let same_job = self.ledger.phase.assignment().is_some_and(|current| current.job == assignment.job);
        let can_begin = matches!(self.ledger.phase, Phase::Idle) || self.ledger.phase.can_be_dropped();
        if same_job || !can_begin {
            return Vec::new();
        }
        if let Some(settled) = self.ledger.settled.clone().filter(|end| is_repeat(&assignment.job, &end.job))
        {
            if settled.job == assignment.job {
                // The server forgot, or never heard: told again at the next regular check-in.
                self.ledger.tell(settled);
                return vec![Action::Save];
            }
            return Vec::new();
        }
        let mut actions = self.drop_work();
        actions.extend(match self.terms.judge(&assignment, self.confirmed()) {
            Judgement::Refuse(refusal) => {
                self.settle(assignment.job, refusal.state, Some(refusal.reason), refusal.detail)
            }
            Judgement::Runs => self.settle(assignment.job, UpdateState::Succeeded, None, String::new()),
            Judgement::Take => {
                self.ledger.phase = Phase::Downloading { assignment, position: Position::default() };
                self.read_backs_failed = 0;
                let announce = self.status_in_work(None).map(Action::Announce);
                [Action::Save, Action::Claim].into_iter().chain(announce).collect()
            }
        });
        actions
    }

    fn handle_safe(&mut self, safe: Position) -> Vec<Action> {
        match &mut self.ledger.phase {
            Phase::Downloading { position, .. } => {
                *position = safe;
                vec![Action::Save]
            }
            Phase::Idle | Phase::Staged { .. } | Phase::Trial { .. } | Phase::Applying { .. } => Vec::new(),
        }
    }

    fn handle_fetched(&mut self) -> Vec<Action> {
        match &self.ledger.phase {
            Phase::Downloading { .. } => vec![Action::Verify],
            Phase::Idle | Phase::Staged { .. } | Phase::Trial { .. } | Phase::Applying { .. } => Vec::new(),
        }
    }

    fn handle_sealed(&mut self, version: String, size: u64, sha256: String) -> Vec<Action> {
        match &mut self.ledger.phase {
            Phase::Downloading { assignment, position } if is_package(&assignment.manifest) => {
                position.offset = size;
                assignment.manifest.version = version;
                for artifact in &mut assignment.manifest.artifacts {
                    (artifact.size, artifact.sha256) = (size, sha256.clone());
                }
                // Cut off between the two, the next start finds the package whole, and describes it.
                vec![Action::Save, Action::Describe, Action::Verify]
            }
            Phase::Idle
            | Phase::Downloading { .. }
            | Phase::Staged { .. }
            | Phase::Trial { .. }
            | Phase::Applying { .. } => Vec::new(),
        }
    }

    fn handle_verified(&mut self) -> Vec<Action> {
        let Some(assignment) = self.ledger.phase.assignment().cloned() else { return Vec::new() };
        self.ledger.phase = match &self.ledger.phase {
            // After a power cut in the middle of a script: the script gets its file again.
            Phase::Applying { .. } => return vec![Action::Apply],
            Phase::Idle | Phase::Downloading { .. } | Phase::Staged { .. } | Phase::Trial { .. } => {
                Phase::Staged { assignment }
            }
        };
        let announce = self.status_in_work(None).map(Action::Announce);
        [Action::Save].into_iter().chain(announce).chain([Action::CheckIn, Action::AwaitApply]).collect()
    }

    fn handle_verify_failed(&mut self, detail: String) -> Vec<Action> {
        self.read_backs_failed += 1;
        if self.read_backs_failed >= READ_BACKS_FAILED_MAX {
            return self.handle_failed(Reason::IntegrityCheckFailed, detail);
        }
        let Some(assignment) = self.ledger.phase.assignment().cloned() else { return Vec::new() };
        self.ledger.phase = Phase::Downloading { assignment, position: Position::default() };
        vec![Action::Save, Action::Claim]
    }

    fn handle_apply_now(&mut self) -> Vec<Action> {
        let Phase::Staged { assignment } = &self.ledger.phase else { return Vec::new() };
        let assignment = assignment.clone();
        let last = match self.installer {
            Installer::Slots => {
                self.ledger.phase = Phase::Trial { assignment };
                self.ledger.restart_due.clone_from(&self.ledger.boot_id);
                Action::Activate
            }
            Installer::External => {
                let since_boot = self.ledger.boot;
                self.ledger.phase = Phase::Applying { assignment, since_boot, applied: false };
                Action::Apply
            }
        };
        let announce = self.status_in_work(None).map(Action::Announce);
        [Action::Save].into_iter().chain(announce).chain([last]).collect()
    }

    fn handle_applied(&mut self) -> Vec<Action> {
        match &mut self.ledger.phase {
            Phase::Applying { applied, .. } => {
                *applied = true;
                vec![Action::Save, Action::Discard, Action::CheckIn, Action::Probe]
            }
            Phase::Idle | Phase::Downloading { .. } | Phase::Staged { .. } | Phase::Trial { .. } => {
                Vec::new()
            }
        }
    }

    fn handle_failed(&mut self, reason: Reason, detail: String) -> Vec<Action> {
        let Some(job) = self.job_in_work() else { return Vec::new() };
        let mut actions = vec![Action::StopFetch];
        actions.extend(self.settle(job, UpdateState::Failed, Some(reason), detail));
        actions.push(Action::Discard);
        actions
    }

    fn handle_confirmed(&mut self) -> Vec<Action> {
        self.on_trial = false;
        self.is_confirmed = true;
        let Some(job) = self.job_in_work() else { return Vec::new() };
        self.settle(job, UpdateState::Succeeded, None, String::new())
    }

    fn handle_trial_over(&mut self, detail: String) -> Vec<Action> {
        match &self.ledger.phase {
            Phase::Trial { .. } if self.on_trial => vec![Action::FallBack(detail)],
            Phase::Applying { assignment, .. } => {
                let job = assignment.job.clone();
                let mut actions = self.settle(job, UpdateState::RolledBack, Some(Reason::RolledBack), detail);
                actions.push(Action::Discard);
                actions
            }
            Phase::Idle | Phase::Downloading { .. } | Phase::Staged { .. } | Phase::Trial { .. } => {
                Vec::new()
            }
        }
    }

    fn handle_fell_back(&mut self, outcome: FallBack, detail: String) -> Vec<Action> {
        let Some(job) = self.job_in_work() else { return Vec::new() };
        self.on_trial = false;
        match outcome {
            FallBack::Previous => {
                self.ledger.restart_due.clone_from(&self.ledger.boot_id);
                let mut actions = self.settle(job, UpdateState::RolledBack, Some(Reason::RolledBack), detail);
                // The word is spoken by the version that runs then, in the boot that runs it.
                actions.retain(|action| *action != Action::CheckIn);
                actions.push(Action::Restart);
                actions
            }
            FallBack::Stayed => {
                let detail = format!("{detail}; nothing confirmed is left to start, so it runs on");
                self.settle(job, UpdateState::Failed, Some(Reason::InstallFailed), detail)
            }
        }
    }

    fn handle_running(&mut self, version: String) -> Vec<Action> {
        self.running = version;
        match &self.ledger.phase {
            Phase::Applying { assignment, .. } if assignment.manifest.version == self.running => {
                let job = assignment.job.clone();
                let mut actions = self.settle(job, UpdateState::Succeeded, None, String::new());
                actions.push(Action::Discard);
                actions
            }
            Phase::Idle
            | Phase::Downloading { .. }
            | Phase::Staged { .. }
            | Phase::Trial { .. }
            | Phase::Applying { .. } => Vec::new(),
        }
    }

    fn job_in_work(&self) -> Option<JobId> {
        self.ledger.phase.assignment().map(|assignment| assignment.job.clone())
    }

    pub(crate) fn settle(
        &mut self,
        job: JobId,
        state: UpdateState,
        reason: Option<Reason>,
        detail: String,
    ) -> Vec<Action> {
        let status = ended(job, state, reason, detail);
        self.ledger.phase = Phase::Idle;
        self.ledger.settle(status.clone());
        vec![Action::Save, Action::Announce(status), Action::CheckIn]
    }
}

/// Whether an assignment was settled before: the same attempt, or an earlier one of the same rollout.
fn is_repeat(job: &JobId, settled: &JobId) -> bool {
    job.rollout() == settled.rollout() && job.attempt() <= settled.attempt()
}

/// The end of an assignment, with its detail cut to what the wire carries.
pub(crate) fn ended(
    job: JobId,
    state: UpdateState,
    reason: Option<Reason>,
    mut detail: String,
) -> UpdateStatus {
    let mut length = detail.len().min(DETAIL_BYTES_MAX);
    while !detail.is_char_boundary(length) {
        length -= 1;
    }
    detail.truncate(length);
    UpdateStatus { job, state, progress: None, reason, detail: Some(detail).filter(|text| !text.is_empty()) }
}
