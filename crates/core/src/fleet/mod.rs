//! The fleet: what protocols and operators ask, decided in one place.
//!
//! Works in batches: [`Fleet::load`] what a batch touches, any number of verbs and commands, then [`Fleet::commit`]
//! once; only then may answers leave. A verb for a device that was not loaded loads it.

mod attempt;
mod batch;
mod catalogue;
mod command;
mod minute;
mod question;
mod shadow;
mod survey;
mod task;

use crate::device::Device;
use crate::execution::{Effect, Execution, OFFERS_MAX};
use crate::explain::Obstacle;
use crate::id::{DeviceId, ProductName, RolloutId, TaskName};
use crate::release::Release;
use crate::report::{Description, Report};
use crate::rollout::{Downgrade, Rollout, RolloutState};
use crate::selection::Case;
use crate::state::{ExecutionState, FailureReason, Step, Tally};
use crate::store::{DeviceRecord, Store, StoreError};
use crate::time::Timestamp;
use crate::version::Version;
pub use attempt::{Answer, AnswerRefused, Cancel, Retire};
use batch::Batch;
use catalogue::Index;
pub use command::{NOTE_BYTES_MAX, NewRollout, RELEASES_MAX, ROLLOUTS_MAX};
use minute::Minute;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
pub use survey::SURVEY_SLICE;
use survey::Surveys;
pub use task::{NewTask, Pending, TASKS_MAX};

/// Most executions that one tick ends: what is left over is ended by the next.
pub const CLOSED_PER_TICK_MAX: usize = 256;

/// Most hints kept until they are taken; what is beyond is dropped, as any hint may be.
pub const HINTS_MAX: usize = 20_000;

/// Why a verb or a command was refused, or could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is known of the device.
    #[error("device {0} was never heard of")]
    UnknownDevice(DeviceId),
    /// There is no such release.
    #[error("product {product} has no release {version}")]
    UnknownRelease {
        /// The product asked for.
        product: ProductName,
        /// The version asked for.
        version: Version,
    },
    /// There is no such rollout.
    #[error("there is no rollout {0}")]
    UnknownRollout(RolloutId),
    /// The product has another release of the same precedence.
    #[error("product {product} has a release {version} already, with another {differs}")]
    ReleaseExists {
        /// The product.
        product: ProductName,
        /// The version, as the release there is spells it.
        version: Version,
        /// What differs.
        differs: &'static str,
    },
    /// The product has as many releases, or rollouts, as it may.
    #[error("product {product} has {max} {what}, the most there may be")]
    TooMany {
        /// The product.
        product: ProductName,
        /// Of what.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// A task of this name was started and is not retired.
    #[error("there is a task {0} already")]
    TaskExists(TaskName),
    /// There is no such task, or it is retired.
    #[error("there is no task {0}")]
    UnknownTask(TaskName),
    /// A task is not as it must be.
    #[error("{0}")]
    InvalidTask(&'static str),
    /// A rollout of the release is under way.
    #[error("rollout {0} brings this release already; abort it before starting another")]
    RolloutExists(RolloutId),
    /// The rollout's state does not allow the command.
    #[error("rollout {rollout} is {state}; it cannot be {verb}")]
    WrongState {
        /// The rollout.
        rollout: RolloutId,
        /// Its state.
        state: RolloutState,
        /// What was to be done, as a participle.
        verb: &'static str,
    },
    /// A setting of the plan is outside its limits.
    #[error("{0}")]
    InvalidPlan(&'static str),
    /// The world failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a device should do.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The rollout.
    pub rollout: RolloutId,
    /// The attempt, from 1. Rollout and attempt name the job on the wire.
    pub attempt: u32,
    /// What to install.
    pub release: Arc<Release>,
    /// Whether the device may go back from a newer version.
    pub downgrade: Downgrade,
}

/// The answer to "what should I do?".
#[derive(Debug, Clone)]
pub enum Offer {
    /// Do this.
    Assigned(Assignment),
    /// Nothing. The answer holds until the device says something else, [`Fleet::generation`] moves, or this time.
    Nothing {
        /// When time alone may change the answer.
        recheck: Option<Timestamp>,
    },
}

/// All devices, releases, rollouts and executions, over a store.
pub struct Fleet<S> {
    store: S,
    index: Index,
    tallies: BTreeMap<RolloutId, Tally>,
    batch: Batch,
    surveys: Surveys,
    /// How many executions each rollout with a pace by the minute opened in which minute.
    minutes: BTreeMap<RolloutId, Minute>,
    hints: BTreeSet<DeviceId>,
    generation: u64,
    /// A save failed: what is in memory may be ahead of the store.
    stale: bool,
}

impl<S: Store> Fleet<S> {
    /// The fleet that a store holds.
    ///
    /// # Errors
    /// [`Error::Store`] if it cannot be read.
    pub fn open(mut store: S) -> Result<Self, Error> {
        let index = Index::from(store.catalogue()?);
        let tallies = store.tallies()?;
        let (batch, surveys) = (Batch::default(), Surveys::default());
        let (minutes, hints) = (BTreeMap::new(), BTreeSet::new());
        Ok(Self { store, index, tallies, batch, surveys, minutes, hints, generation: 0, stale: false })
    }

    /// Devices for whom something may have changed since this was last asked: worth a hint, by whatever protocol holds a
    /// connection to them. Hints may be lost and carry no data.
    pub fn take_hints(&mut self) -> BTreeSet<DeviceId> {
        std::mem::take(&mut self.hints)
    }

    fn hint(&mut self, device: &DeviceId) {
        if self.hints.len() < HINTS_MAX {
            self.hints.insert(device.clone());
        }
    }

    /// Moves whenever an [`Offer::Nothing`] given earlier may no longer hold.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The store, for what only its owner needs of it.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// Takes in what a device says. Says nothing back.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] for progress of a device that never described itself; [`Error::Store`].
    pub fn report(&mut self, now: Timestamp, device: &DeviceId, report: &Report) -> Result<(), Error> {
        let mut record = self.take(device)?;
        let outcome = self.report_to(now, device, report, &mut record);
        self.batch.put_back(device.clone(), record);
        outcome
    }

    fn report_to(
        &mut self,
        now: Timestamp,
        device: &DeviceId,
        report: &Report,
        record: &mut DeviceRecord,
    ) -> Result<(), Error> {
        if let Some(description) = &report.description {
            if describe(now, device, description, &mut record.device) {
                self.batch.device_changed(device);
                self.leave_groups(now, record);
            }
        } else if record.device.is_none() {
            return Err(Error::UnknownDevice(device.clone()));
        }
        let spoken_of = report.progress.as_ref().map(|progress| &progress.rollout);
        for execution in &mut record.executions {
            if execution.state.is_open() || spoken_of == Some(&execution.rollout) {
                self.hear(now, report, execution);
            }
        }
        Ok(())
    }

    fn hear(&mut self, now: Timestamp, report: &Report, execution: &mut Execution) {
        let Some(rollout) = self.index.rollout(&execution.rollout) else { return };
        let before = execution.state;
        let product = rollout.release().map(|(product, _)| product);
        let moved = report.description.as_ref().is_some_and(|description| {
            before.is_open() && product.is_some_and(|product| description.product != *product)
        });
        let effect = if moved {
            execution.close(now, ExecutionState::Canceled, "the device says it is another product")
        } else if before.is_open() && is_outgrown(report, rollout) {
            // To go on offering would take it back: a client that compares no versions installs what it is told.
            execution.close(now, ExecutionState::Canceled, "the device runs a newer version than the target")
        } else {
            let (target, deadlines) =
                (rollout.release().map(|(_, version)| version), &rollout.plan.deadlines);
            execution.hear(now, report.description.as_ref(), report.progress.as_ref(), target, deadlines)
        };
        self.record_effect(now, before, execution, effect);
    }

    /// What the device should do now, if anything; opens the execution that it answers with. Safe to ask twice.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] if it never described itself; [`Error::Store`].
    pub fn offer(&mut self, now: Timestamp, device: &DeviceId) -> Result<Offer, Error> {
        let mut record = self.take(device)?;
        let outcome = self.offer_to(now, device, &mut record);
        self.batch.put_back(device.clone(), record);
        outcome
    }

    fn offer_to(&mut self, now: Timestamp, id: &DeviceId, record: &mut DeviceRecord) -> Result<Offer, Error> {
        let Some(device) = &record.device else { return Err(Error::UnknownDevice(id.clone())) };
        if let Some(open) = record.executions.iter_mut().find(|execution| execution.is_open_update())
            && let Some(offer) = self.offer_again(now, open)
        {
            return Ok(offer);
        }
        match self.select(now, device, &record.executions) {
            Selected::Release(rollout, release) => {
                let attempt = self.open_update(now, record, &rollout, &release);
                let downgrade = rollout.plan.downgrade;
                Ok(Offer::Assigned(Assignment { rollout: rollout.id, attempt, release, downgrade }))
            }
            Selected::Nothing { recheck } => Ok(Offer::Nothing { recheck }),
        }
    }

    /// What to answer a device whose execution is open. `None`: the execution has ended just now.
    fn offer_again(&mut self, now: Timestamp, open: &mut Execution) -> Option<Offer> {
        let before = open.state;
        let rollout = self.index.rollout(&open.rollout)?.clone();
        let release = self.index.release_of(&rollout)?.clone();
        if rollout.state == RolloutState::Aborted && !spares(&rollout, before) {
            let effect = open.close(now, ExecutionState::Canceled, "the rollout was aborted");
            self.record_effect(now, before, open, effect);
            return None;
        }
        // A device that tells its starts tells its progress as well: silence from it means that it did not get the
        // answer. Of the others, the same old version is all that is ever heard.
        if open.unchanged_seen && open.boot == 0 {
            if open.state == ExecutionState::InProgress(Step::Rebooting) {
                return Some(Offer::Nothing { recheck: Some(open.deadline) });
            }
            open.offers += 1;
            if open.offers > OFFERS_MAX {
                let state = ExecutionState::Failed(FailureReason::VersionUnchanged);
                let detail = format!("offered {OFFERS_MAX} times, and the version stayed the same");
                let effect = open.close(now, state, &detail);
                self.record_effect(now, before, open, effect);
                return None;
            }
            self.record_effect(now, before, open, Effect::Row);
        }
        let downgrade = rollout.plan.downgrade;
        Some(Offer::Assigned(Assignment { rollout: rollout.id, attempt: open.attempt, release, downgrade }))
    }

    /// Opens the execution of a release, of which nothing is in the way. The attempt.
    fn open_update(
        &mut self,
        now: Timestamp,
        record: &mut DeviceRecord,
        rollout: &Rollout,
        release: &Release,
    ) -> u32 {
        let runs = record.device.as_ref().map_or("", |device| device.version.as_str());
        let note = format!("offered {} to a device on {runs}", release.version);
        self.open_execution(now, record, rollout, note)
    }

    /// Opens an execution, of which nothing is in the way: the only place that does. The attempt.
    fn open_execution(
        &mut self,
        now: Timestamp,
        record: &mut DeviceRecord,
        rollout: &Rollout,
        note: String,
    ) -> u32 {
        let device = record.device.as_ref().expect("the caller found the device");
        let place = record.executions.binary_search_by(|execution| execution.rollout.cmp(&rollout.id));
        let before = place.ok().map(|index| &record.executions[index]);
        let execution = Execution::open(now, device, rollout, before);
        let attempt = execution.attempt;
        let counted = before.map(|before| before.state);
        self.transition(now, counted, &execution, None, note);
        self.count_opening(now, rollout);
        match place {
            Ok(index) => record.executions[index] = execution,
            Err(index) => record.executions.insert(index, execution),
        }
        if rollout.state == RolloutState::Completed {
            self.set_rollout_state(now, &rollout.id, RolloutState::Running, "a device that is due turned up");
        }
        attempt
    }

    /// Walks the product's releases from the newest down. A release that is not for this device, or whose rollout is not
    /// open to it, is passed over; the first that is for it settles the matter, even if it must wait.
    fn select(&self, now: Timestamp, device: &Device, executions: &[Execution]) -> Selected {
        let installed = device.semver();
        let mut recheck: Option<Timestamp> = None;
        for (release, rollout) in self.index.newest_first(&device.product) {
            let Some(rollout) = rollout else { continue };
            let case = self.case(now, device, installed.as_ref(), executions, Some(release), rollout);
            let Some(obstacle) = case.obstacle() else {
                return Selected::Release(Box::new(rollout.clone()), release.clone());
            };
            let (bearing, time) = bearing(&obstacle);
            recheck = [recheck, time].into_iter().flatten().min();
            match bearing {
                Bearing::PassOver => {}
                Bearing::Wait | Bearing::Settled => break,
            }
        }
        Selected::Nothing { recheck }
    }

    fn case<'a>(
        &self,
        now: Timestamp,
        device: &'a Device,
        installed: Option<&'a Version>,
        executions: &'a [Execution],
        release: Option<&'a Release>,
        rollout: &'a Rollout,
    ) -> Case<'a> {
        let prior = executions.iter().find(|execution| execution.rollout == rollout.id);
        let tally = self.tallies.get(&rollout.id).copied().unwrap_or_default();
        let next_opening = self.next_opening(now, rollout);
        Case { now, device, installed, release, rollout, prior, tally, next_opening }
    }

    /// Time passes: deadlines, aborted rollouts, a look at the next part of the fleet. Bounded work, no other input.
    /// What it finds worth a hint is in [`Fleet::take_hints`].
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn tick(&mut self, now: Timestamp) -> Result<(), Error> {
        self.refresh()?;
        self.begin_minutes(now);
        for device in self.store.overdue(now, CLOSED_PER_TICK_MAX)? {
            self.close_open(now, &device, |execution| {
                (execution.deadline <= now).then(|| execution.expire(now))
            })?;
        }
        for (rollout, reach) in self.index.aborted_with_open(&self.tallies) {
            for device in self.store.open_in(&rollout, reach, CLOSED_PER_TICK_MAX)? {
                self.close_open(now, &device, |execution| {
                    (execution.rollout == rollout && reach.covers(execution.state))
                        .then(|| execution.close(now, ExecutionState::Canceled, "the rollout was aborted"))
                })?;
            }
        }
        self.survey(now)
    }

    /// Ends those of a device's open executions for which `end` says so.
    fn close_open(
        &mut self,
        now: Timestamp,
        device: &DeviceId,
        mut end: impl FnMut(&mut Execution) -> Option<Effect>,
    ) -> Result<(), Error> {
        let mut record = self.take(device)?;
        for open in record.executions.iter_mut().filter(|execution| execution.state.is_open()) {
            let before = open.state;
            if let Some(effect) = end(open) {
                self.record_effect(now, before, open, effect);
            }
        }
        self.batch.put_back(device.clone(), record);
        Ok(())
    }
}

/// Whether a device describes itself as newer than what a rollout brings, which takes nobody back. A device that tells
/// how it stands with an assignment ends it by its own word.
fn is_outgrown(report: &Report, rollout: &Rollout) -> bool {
    let version = report.description.as_ref().and_then(|said| Version::parse(&said.version).ok());
    report.progress.is_none()
        && rollout.plan.downgrade == Downgrade::Refused
        && rollout.release().zip(version).is_some_and(|((_, target), version)| version > *target)
}

/// Whether an aborted rollout lets an execution go on.
fn spares(rollout: &Rollout, state: ExecutionState) -> bool {
    rollout.state == RolloutState::Aborted && !rollout.plan.abort_reach.covers(state)
}

/// What the walk over the releases found.
enum Selected {
    Release(Box<Rollout>, Arc<Release>),
    Nothing { recheck: Option<Timestamp> },
}

/// What an obstacle means for the walk over the releases.
enum Bearing {
    /// The release is not for this device: look at the next older one.
    PassOver,
    /// The release is for this device, later.
    Wait,
    /// The release is for this device, and nothing is to be done.
    Settled,
}

/// What an obstacle means, and when time alone removes it.
fn bearing(obstacle: &Obstacle) -> (Bearing, Option<Timestamp>) {
    match obstacle {
        Obstacle::NoRollout | Obstacle::RolloutNotOffering { .. } | Obstacle::PolicyUnmatched { .. } => {
            (Bearing::PassOver, None)
        }
        Obstacle::NotItsTurn { turn, .. } => (Bearing::PassOver, *turn),
        Obstacle::BackOff { until, .. } => (Bearing::Wait, Some(*until)),
        Obstacle::MinuteFull { until } => (Bearing::Wait, Some(*until)),
        Obstacle::InFlightFull { .. } | Obstacle::UnderWay { .. } => (Bearing::Wait, None),
        Obstacle::AlreadyInstalled
        | Obstacle::OlderThanInstalled { .. }
        | Obstacle::VersionUnreadable { .. }
        | Obstacle::NotATarget
        | Obstacle::Ended { .. } => (Bearing::Settled, None),
    }
}

/// Takes over a description. Whether anything changed.
fn describe(now: Timestamp, id: &DeviceId, said: &Description, known: &mut Option<Device>) -> bool {
    let boot = said.boot.unwrap_or(0);
    if let Some(device) = known {
        let same = device.product == said.product
            && device.version == said.version
            && device.boot == boot
            && device.attributes == said.attributes;
        if same {
            return false;
        }
    }
    *known = Some(Device {
        id: id.clone(),
        product: said.product.clone(),
        version: said.version.clone(),
        boot,
        attributes: said.attributes.clone(),
        first_seen: known.as_ref().map_or(now, |device| device.first_seen),
        changed: now,
    });
    true
}
