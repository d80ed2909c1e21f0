//! The books: what the server has made durable, read commit by commit, and checked as it comes.

use super::claims;
use super::reference::{Case, Prior};
use super::truth::Truth;
use std::collections::{BTreeMap, BTreeSet};
use updraft_core::device::Device;
use updraft_core::execution::{Execution, HistoryEntry};
use updraft_core::id::{DeviceId, ProductName, RolloutId};
use updraft_core::release::Release;
use updraft_core::rollout::{Rollout, RolloutState};
use updraft_core::state::{ExecutionState, StateKind};
use updraft_core::store::Changes;
use updraft_core::time::Timestamp;
use updraft_core::version::Version;

/// When, and as part of what, something was made durable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// World time.
    pub(super) now: u64,
    /// What the server's clock showed.
    pub(super) clock: Timestamp,
    /// How many calls the batch had: of a batch of one it is known what came before what.
    pub(super) calls: usize,
}

/// An execution as the books have it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) execution: Execution,
    /// When it was opened, in world time.
    pub(super) opened: u64,
    /// Whether a late word has been booked.
    late: bool,
}

/// The books.
#[derive(Debug, Default)]
pub(super) struct Books {
    rows: BTreeMap<(DeviceId, RolloutId), Row>,
    pub(super) devices: BTreeMap<DeviceId, Device>,
    releases: BTreeMap<ProductName, BTreeMap<Version, Release>>,
    rollouts: BTreeMap<RolloutId, Rollout>,
    /// Rollouts in the order in which they were started.
    started: Vec<RolloutId>,
    /// The rows that are open, so that nothing that is asked of every batch walks over all.
    open: BTreeMap<RolloutId, BTreeSet<DeviceId>>,
}

impl Books {
    /// The books of a server put back to an earlier time.
    pub(super) fn replayed(saved: &[Changes], moment: Moment, truth: &mut Truth) -> Self {
        let mut books = Self::default();
        // What was right when it was booked is not judged again, at another time.
        let judged = std::mem::take(&mut truth.complaints);
        for changes in saved {
            books.absorb(changes, moment, truth);
        }
        truth.complaints = judged;
        books
    }

    pub(super) fn row(&self, device: &DeviceId, rollout: &RolloutId) -> Option<&Row> {
        self.rows.get(&(device.clone(), rollout.clone()))
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    pub(super) fn rollout(&self, id: &RolloutId) -> Option<&Rollout> {
        self.rollouts.get(id)
    }

    pub(super) fn rollouts(&self) -> impl Iterator<Item = &Rollout> {
        self.rollouts.values()
    }

    /// What the latest attempt of a device in a rollout came to.
    pub(super) fn prior(&self, device: &DeviceId, rollout: &RolloutId) -> Option<Prior> {
        let Execution { attempt, state, changed, .. } = self.row(device, rollout)?.execution;
        Some(Prior { attempt, state, changed })
    }

    /// A product's releases, each with the rollout started last of it.
    pub(super) fn releases_newest_first(
        &self,
        product: &ProductName,
    ) -> impl Iterator<Item = (&Release, Option<&Rollout>)> {
        let releases = self.releases.get(product).into_iter().flat_map(BTreeMap::values);
        releases.rev().map(|release| (release, self.rollout_of(release)))
    }

    fn rollout_of(&self, release: &Release) -> Option<&Rollout> {
        let started = self.started.iter().rev().filter_map(|id| self.rollouts.get(id));
        started.into_iter().find(|rollout| rollout.release() == Some((&release.product, &release.version)))
    }

    pub(super) fn release(&self, rollout: &Rollout) -> Option<&Release> {
        let (product, version) = rollout.release()?;
        self.releases.get(product)?.get(version)
    }

    /// How many executions of a rollout are open.
    pub(super) fn in_flight(&self, rollout: &RolloutId) -> usize {
        self.open.get(rollout).map_or(0, BTreeSet::len)
    }

    /// The executions that are open.
    pub(super) fn open_rows(&self) -> impl Iterator<Item = &Row> {
        let keys =
            self.open.iter().flat_map(|(rollout, devices)| devices.iter().map(move |one| (one, rollout)));
        keys.filter_map(|(device, rollout)| self.row(device, rollout))
    }

    /// How many executions of a device are open.
    pub(super) fn open_of(&self, device: &DeviceId) -> usize {
        self.open.values().filter(|devices| devices.contains(device)).count()
    }

    /// How many executions of a rollout stand at a state.
    pub(super) fn count(&self, rollout: &RolloutId, kind: StateKind) -> u64 {
        let there = |row: &&Row| row.execution.rollout == *rollout && row.execution.state.kind() == kind;
        self.rows().filter(there).count() as u64
    }

    /// Takes in a saved batch, and checks it.
    pub(super) fn absorb(&mut self, changes: &Changes, moment: Moment, truth: &mut Truth) {
        for release in &changes.releases {
            let of_product = self.releases.entry(release.product.clone()).or_default();
            if of_product.insert(release.version.clone(), release.clone()).is_some() {
                truth.complain(format!("release {} {} is added twice", release.product, release.version));
            }
        }
        self.check_rollouts(changes, truth);
        let replay = self.replay(changes, moment, truth);
        self.take_rows(changes, &replay, moment, truth);
        for device in &changes.devices {
            self.devices.insert(device.id.clone(), device.clone());
        }
        for rollout in &changes.rollouts {
            if self.rollouts.insert(rollout.id.clone(), rollout.clone()).is_none() {
                self.started.push(rollout.id.clone());
            }
        }
        self.check_counts(changes, truth);
    }

    /// A rollout's history says the same as its row, and aborted is for ever.
    fn check_rollouts(&self, changes: &Changes, truth: &mut Truth) {
        let mut states: BTreeMap<&RolloutId, RolloutState> =
            self.rollouts.values().map(|rollout| (&rollout.id, rollout.state)).collect();
        for entry in &changes.rollout_history {
            let from = states.insert(&entry.rollout, entry.to);
            if from != entry.from {
                truth.complain(format!(
                    "rollout {}: history goes on from {:?}, it was {from:?}",
                    entry.rollout, entry.from
                ));
            }
            if from == Some(RolloutState::Aborted) && entry.to != RolloutState::Aborted {
                truth.complain(format!("rollout {} was aborted and becomes {}", entry.rollout, entry.to));
            }
        }
        for rollout in &changes.rollouts {
            let told = states.get(&rollout.id).copied();
            if told != Some(rollout.state) {
                truth.complain(format!(
                    "rollout {} is {}; its history says {told:?}",
                    rollout.id, rollout.state
                ));
            }
        }
    }

    /// Replays a batch's history over the rows as they were.
    fn replay(&self, changes: &Changes, moment: Moment, truth: &mut Truth) -> Replay {
        let mut replay = Replay::default();
        for entry in &changes.history {
            let key = (entry.device.clone(), entry.rollout.clone());
            let mut known = replay.rows.get(&key).cloned().or_else(|| self.rows.get(&key).map(Replayed::of));
            if entry.at != moment.clock {
                truth.complain(format!("{} is booked at another time than it is", line(entry)));
            }
            match entry.from {
                None => self.check_opening(entry, known.as_ref(), changes, moment, truth),
                Some(_) => self.check_step(entry, known.as_ref(), moment, truth),
            }
            let late = entry.from == Some(entry.to);
            let opened = match (&known, entry.from) {
                (Some(known), Some(_)) => known.opened,
                (_, _) => moment.now,
            };
            let was_late = known.take().is_some_and(|known| known.late && entry.from.is_some());
            if late && was_late {
                truth.complain(format!("{}: a second late word is booked", line(entry)));
            }
            let changed = if late { replay.changed(&key, self) } else { entry.at };
            let row =
                Replayed { attempt: entry.attempt, state: entry.to, opened, late: late || was_late, changed };
            truth.tell(moment.now, &format!("books: {}", line(entry)));
            replay.rows.insert(key, row);
        }
        replay
    }

    fn check_opening(
        &self,
        entry: &HistoryEntry,
        known: Option<&Replayed>,
        changes: &Changes,
        moment: Moment,
        truth: &mut Truth,
    ) {
        truth.count("executions opened");
        if entry.to != ExecutionState::Queued {
            truth.complain(format!("{} begins elsewhere than queued", line(entry)));
        }
        let attempt = known.map_or(1, |known| known.attempt + 1);
        if entry.attempt != attempt || known.is_some_and(|known| known.state.is_open()) {
            truth.complain(format!("{} is opened; before it was {known:?}", line(entry)));
        }
        let prior =
            known.map(|known| Prior { attempt: known.attempt, state: known.state, changed: known.changed });
        let rollouts = || {
            let after = changes.rollouts.iter().find(|rollout| rollout.id == entry.rollout);
            [self.rollouts.get(&entry.rollout), after].into_iter().flatten()
        };
        // In a larger batch it cannot be told which description held as the offer was made.
        let devices = || {
            let after = changes.devices.iter().rfind(|device| device.id == entry.device);
            let before = self.devices.get(&entry.device).filter(|_| after.is_none() || moment.calls > 1);
            [before, after].into_iter().flatten()
        };
        let mut bars = Vec::new();
        for rollout in rollouts() {
            let Some(release) = self.release(rollout) else { continue };
            for device in devices() {
                match (Case { clock: moment.clock, device, release, rollout, prior }).bar() {
                    None => return,
                    Some(bar) => bars.push(bar),
                }
            }
        }
        truth.complain(format!("{} is opened against the rules: {bars:?}", line(entry)));
    }

    fn check_step(&self, entry: &HistoryEntry, known: Option<&Replayed>, moment: Moment, truth: &mut Truth) {
        let before = known.map(|known| (known.attempt, Some(known.state)));
        if before != Some((entry.attempt, entry.from)) {
            truth.complain(format!("{}: history goes on from what it was not: {known:?}", line(entry)));
            return;
        }
        let Some(known) = known else { return };
        if entry.from == Some(entry.to) {
            if entry.to.is_open() {
                truth.complain(format!("{} changes into itself", line(entry)));
            }
            return;
        }
        if !known.state.is_open() {
            truth.complain(format!("{} was closed and changes", line(entry)));
        }
        if entry.to.is_open() && entry.to.kind() <= known.state.kind() {
            truth.complain(format!("{} steps back", line(entry)));
        }
        if let Some(rollout) = self.rollouts.get(&entry.rollout) {
            let row = self.rows.get(&(entry.device.clone(), entry.rollout.clone()));
            claims::check(entry, rollout, row, known.opened, moment.now, truth);
        }
    }

    /// Takes over the rows of a batch, which must say what its history says.
    fn take_rows(&mut self, changes: &Changes, replay: &Replay, moment: Moment, truth: &mut Truth) {
        let mut rowless: BTreeSet<_> = replay.rows.keys().cloned().collect();
        for execution in &changes.executions {
            let key = (execution.device.clone(), execution.rollout.clone());
            rowless.remove(&key);
            let known = replay.rows.get(&key).cloned().or_else(|| self.rows.get(&key).map(Replayed::of));
            let told = known.as_ref().map(|known| (known.attempt, known.state));
            if told != Some((execution.attempt, execution.state)) {
                truth.complain(format!(
                    "{} of {} is {:?} (attempt {}); its history says {told:?}",
                    execution.rollout, execution.device, execution.state, execution.attempt
                ));
            }
            let (opened, late) = known.map_or((moment.now, false), |known| (known.opened, known.late));
            let open = self.open.entry(execution.rollout.clone()).or_default();
            if execution.state.is_open() {
                open.insert(execution.device.clone());
            } else {
                open.remove(&execution.device);
            }
            self.rows.insert(key, Row { execution: execution.clone(), opened, late });
        }
        for (device, rollout) in rowless {
            truth.complain(format!("{rollout} of {device} has history and no row"));
        }
    }

    /// At most one execution open per device, and no more per rollout than its pace allows.
    fn check_counts(&self, changes: &Changes, truth: &mut Truth) {
        for execution in &changes.executions {
            if self.open_of(&execution.device) > 1 {
                truth.complain(format!("{} has two executions open", execution.device));
            }
        }
        for entry in changes.history.iter().filter(|entry| entry.from.is_none()) {
            let Some(rollout) = self.rollouts.get(&entry.rollout) else { continue };
            let in_flight = self.in_flight(&rollout.id);
            if in_flight > rollout.plan.pace.in_flight_max as usize {
                truth.complain(format!("rollout {} has {in_flight} in flight", rollout.id));
            }
        }
    }
}

/// An execution, as far as a history tells.
#[derive(Debug, Clone)]
struct Replayed {
    attempt: u32,
    state: ExecutionState,
    opened: u64,
    late: bool,
    changed: Timestamp,
}

impl Replayed {
    fn of(row: &Row) -> Self {
        let Row { execution, opened, late } = row;
        let Execution { attempt, state, changed, .. } = *execution;
        Self { attempt, state, opened: *opened, late: *late, changed }
    }
}

#[derive(Debug, Default)]
struct Replay {
    rows: BTreeMap<(DeviceId, RolloutId), Replayed>,
}

impl Replay {
    fn changed(&self, key: &(DeviceId, RolloutId), books: &Books) -> Timestamp {
        let known = self.rows.get(key).map(|row| row.changed);
        known
            .or_else(|| books.rows.get(key).map(|row| row.execution.changed))
            .unwrap_or(Timestamp::from_millis(0))
    }
}

/// An entry of a history, for a reader.
pub(super) fn line(entry: &HistoryEntry) -> String {
    let HistoryEntry { rollout, device, attempt, from, to, note, .. } = entry;
    format!("{rollout}-{attempt} of {device}: {from:?} to {to:?} ({note})")
}
