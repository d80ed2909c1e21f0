//! Releases and rollouts in memory, in the order in which they are asked for.

use crate::id::{ProductName, RolloutId, TaskName};
use crate::release::Release;
use crate::rollout::{AbortReach, Rollout, RolloutState, Work};
use crate::state::{StateKind, Tally};
use crate::store::Catalogue;
use crate::version::Version;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// A release and its current rollout: the latest that was started of it.
#[derive(Debug)]
struct Entry {
    release: Arc<Release>,
    rollout: Option<RolloutId>,
}

/// All releases by product, newest first, and all rollouts by ID.
#[derive(Debug, Default)]
pub(super) struct Index {
    products: BTreeMap<ProductName, BTreeMap<Reverse<Version>, Entry>>,
    rollouts: BTreeMap<RolloutId, Rollout>,
    tasks: BTreeMap<TaskName, RolloutId>,
}

impl From<Catalogue> for Index {
    fn from(catalogue: Catalogue) -> Self {
        let mut index = Self::default();
        for release in catalogue.releases {
            index.add_release(release);
        }
        let mut rollouts = catalogue.rollouts;
        // A release gets another rollout only once the one before is aborted; the clock may have stepped back between
        // the two, so that their times alone could make an aborted one current again.
        let is_live = |rollout: &Rollout| rollout.state != RolloutState::Aborted;
        rollouts.sort_by(|a, b| (is_live(a), a.created, &a.id).cmp(&(is_live(b), b.created, &b.id)));
        for rollout in rollouts {
            index.add_rollout(rollout);
        }
        index
    }
}

impl Index {
    pub(super) fn add_release(&mut self, release: Release) -> Arc<Release> {
        let release = Arc::new(release);
        let entry = Entry { release: release.clone(), rollout: None };
        let releases = self.products.entry(release.product.clone()).or_default();
        releases.insert(Reverse(release.version.clone()), entry);
        release
    }

    /// Adds a rollout, which becomes its release's current one.
    pub(super) fn add_rollout(&mut self, rollout: Rollout) {
        match &rollout.work {
            Work::Release { product, version } => {
                let releases = self.products.get_mut(product);
                if let Some(entry) = releases.and_then(|releases| releases.get_mut(&Reverse(version.clone())))
                {
                    entry.rollout = Some(rollout.id.clone());
                }
            }
            Work::Task(task) if rollout.retired.is_none() => {
                self.tasks.insert(task.name.clone(), rollout.id.clone());
            }
            Work::Task(_) => {}
        }
        self.rollouts.insert(rollout.id.clone(), rollout);
    }

    /// Takes a task out of the names.
    pub(super) fn retire(&mut self, name: &TaskName) {
        self.tasks.remove(name);
    }

    /// The rollout of a task that is not retired.
    pub(super) fn task(&self, name: &TaskName) -> Option<&Rollout> {
        self.rollout(self.tasks.get(name)?)
    }

    /// The rollouts of tasks that are not retired, by name.
    pub(super) fn tasks(&self) -> impl Iterator<Item = &Rollout> {
        self.tasks.values().filter_map(|id| self.rollouts.get(id))
    }

    /// How many rollouts of tasks there are, retired ones included.
    pub(super) fn tasks_count(&self) -> usize {
        self.rollouts.values().filter(|rollout| rollout.task().is_some()).count()
    }

    /// The release that a rollout brings, if it brings one.
    pub(super) fn release_of(&self, rollout: &Rollout) -> Option<&Arc<Release>> {
        let (product, version) = rollout.release()?;
        self.release(product, version)
    }

    pub(super) fn rollout(&self, id: &RolloutId) -> Option<&Rollout> {
        self.rollouts.get(id)
    }

    pub(super) fn rollout_mut(&mut self, id: &RolloutId) -> Option<&mut Rollout> {
        self.rollouts.get_mut(id)
    }

    pub(super) fn rollouts(&self) -> impl Iterator<Item = &Rollout> {
        self.rollouts.values()
    }

    pub(super) fn release(&self, product: &ProductName, version: &Version) -> Option<&Arc<Release>> {
        self.entry(product, version).map(|entry| &entry.release)
    }

    /// Releases by product, each product's newest first, after one of them in that order.
    pub(super) fn releases_after<'a>(
        &'a self,
        product: Option<&'a ProductName>,
        after: Option<&'a (ProductName, Version)>,
    ) -> impl Iterator<Item = &'a Arc<Release>> {
        let from = after.map(|(product, _)| product).max(product);
        self.products
            .range::<ProductName, _>((from.map_or(Bound::Unbounded, Bound::Included), Bound::Unbounded))
            .filter(move |(name, _)| product.is_none_or(|product| *name == product))
            .flat_map(move |(name, releases)| {
                let passed = after.filter(|(product, _)| product == name);
                let from =
                    passed.map_or(Bound::Unbounded, |(_, version)| Bound::Excluded(Reverse(version.clone())));
                releases.range((from, Bound::Unbounded)).map(|(_, entry)| &entry.release)
            })
    }

    /// The release's current rollout.
    pub(super) fn rollout_of(&self, product: &ProductName, version: &Version) -> Option<&Rollout> {
        self.rollout(self.entry(product, version)?.rollout.as_ref()?)
    }

    pub(super) fn releases_count(&self, product: &ProductName) -> usize {
        self.products.get(product).map_or(0, BTreeMap::len)
    }

    pub(super) fn rollouts_count(&self, product: &ProductName) -> usize {
        let is_its = |rollout: &&Rollout| rollout.release().is_some_and(|(its, _)| its == product);
        self.rollouts.values().filter(is_its).count()
    }

    fn entry(&self, product: &ProductName, version: &Version) -> Option<&Entry> {
        self.products.get(product)?.get(&Reverse(version.clone()))
    }

    /// A product's releases from the newest down, each with its current rollout.
    pub(super) fn newest_first(
        &self,
        product: &ProductName,
    ) -> impl Iterator<Item = (&Arc<Release>, Option<&Rollout>)> {
        self.products.get(product).into_iter().flat_map(BTreeMap::values).map(|entry| {
            (&entry.release, entry.rollout.as_ref().and_then(|rollout| self.rollouts.get(rollout)))
        })
    }

    /// Aborted rollouts that still have executions open which their abort reaches.
    pub(super) fn aborted_with_open(
        &self,
        tallies: &BTreeMap<RolloutId, Tally>,
    ) -> Vec<(RolloutId, AbortReach)> {
        let reached = |rollout: &Rollout, tally: &Tally| match rollout.plan.abort_reach {
            AbortReach::Open => tally.in_flight(),
            AbortReach::Queued => tally.count(StateKind::Queued),
        };
        self.rollouts
            .values()
            .filter(|rollout| rollout.state == RolloutState::Aborted)
            .filter(|rollout| tallies.get(&rollout.id).is_some_and(|tally| reached(rollout, tally) > 0))
            .map(|rollout| (rollout.id.clone(), rollout.plan.abort_reach))
            .collect()
    }
}
