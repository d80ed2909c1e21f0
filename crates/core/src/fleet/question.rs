//! What people and doors ask of the fleet without changing anything.

use super::{Assignment, Error, Fleet, Selected};
use crate::device::Device;
use crate::execution::Execution;
use crate::explain::{Explanation, Obstacle, OpenExecution, ReleaseExplanation};
use crate::id::{DeviceId, ProductName};
use crate::release::Release;
use crate::rollout::Rollout;
use crate::selection::facts;
use crate::store::Store;
use crate::time::Timestamp;
use crate::version::Version;
use std::sync::Arc;

impl<S: Store> Fleet<S> {
    /// At most `limit` releases, of one product or of all: by product, each product's newest first, after `after` in
    /// that order.
    #[must_use]
    pub fn releases(
        &self,
        product: Option<&ProductName>,
        after: Option<&(ProductName, Version)>,
        limit: usize,
    ) -> Vec<Arc<Release>> {
        self.index.releases_after(product, after).take(limit).cloned().collect()
    }

    /// The newest release of whichever product that brings an artifact; `None` if none does.
    #[must_use]
    pub fn release_with(&self, sha256: &str) -> Option<Arc<Release>> {
        self.index.releases_after(None, None).find(|release| release.artifact.sha256 == sha256).cloned()
    }

    /// The rollouts of tasks that name a device themselves, and are not retired.
    #[must_use]
    pub fn tasks_of(&self, device: &DeviceId) -> Vec<Rollout> {
        let names = |rollout: &&Rollout| rollout.task().is_some_and(|task| task.devices.contains(device));
        self.index.tasks().filter(names).cloned().collect()
    }

    /// What is known of a device, if anything.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn device(&mut self, id: &DeviceId) -> Result<Option<Device>, Error> {
        let record = self.take(id)?;
        let device = record.device.clone();
        self.batch.put_back(id.clone(), record);
        Ok(device)
    }

    /// What a device was told to do and has not ended, without telling it again.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] if it never described itself; [`Error::Store`].
    pub fn assigned(&mut self, device: &DeviceId) -> Result<Option<Assignment>, Error> {
        let record = self.take(device)?;
        let open = record.executions.iter().find(|execution| execution.is_open_update());
        let assignment = open.and_then(|open| {
            let rollout = self.index.rollout(&open.rollout)?;
            let release = self.index.release_of(rollout)?.clone();
            let (attempt, downgrade) = (open.attempt, rollout.plan.downgrade);
            Some(Assignment { rollout: rollout.id.clone(), attempt, release, downgrade })
        });
        let is_known = record.device.is_some();
        self.batch.put_back(device.clone(), record);
        if is_known { Ok(assignment) } else { Err(Error::UnknownDevice(device.clone())) }
    }

    /// Why the device gets what it gets: for one version, or for all releases of its product.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`]; [`Error::UnknownRelease`] if a version is given that there is not; [`Error::Store`].
    pub fn explain(
        &mut self,
        now: Timestamp,
        id: &DeviceId,
        version: Option<&Version>,
    ) -> Result<Explanation, Error> {
        let record = self.take(id)?;
        self.batch.put_back(id.clone(), record.clone());
        let Some(device) = &record.device else { return Err(Error::UnknownDevice(id.clone())) };
        let installed = device.semver();
        let wanted = |release: &Release| version.is_none_or(|version| release.version == *version);
        let releases: Vec<_> = self
            .index
            .newest_first(&device.product)
            .filter(|(release, _)| wanted(release))
            .map(|(release, rollout)| ReleaseExplanation {
                version: release.version.clone(),
                rollout: rollout.map(|rollout| rollout.id.clone()),
                obstacles: rollout.map_or_else(
                    || vec![Obstacle::NoRollout],
                    |rollout| {
                        let (installed, executions) = (installed.as_ref(), &record.executions);
                        self.case(now, device, installed, executions, Some(release), rollout).obstacles()
                    },
                ),
                policy: release.policy.explain(&facts(device, release)),
            })
            .collect();
        if let Some(version) = version
            && releases.is_empty()
        {
            return Err(Error::UnknownRelease { product: device.product.clone(), version: version.clone() });
        }
        let open = record.executions.iter().find(|execution| execution.is_open_update());
        let version_of = |rollout: &Rollout| rollout.release().map(|(_, version)| version.clone());
        let would_offer = match (open, self.select(now, device, &record.executions)) {
            (Some(open), _) => self.index.rollout(&open.rollout).and_then(version_of),
            (None, Selected::Release(rollout, _)) => version_of(&rollout),
            (None, Selected::Nothing { .. }) => None,
        };
        Ok(Explanation {
            device: id.clone(),
            product: device.product.clone(),
            version: device.version.clone(),
            open: open.map(open_execution),
            would_offer,
            releases,
        })
    }
}

fn open_execution(open: &Execution) -> OpenExecution {
    OpenExecution {
        rollout: open.rollout.clone(),
        attempt: open.attempt,
        state: open.state,
        since: open.changed,
        deadline: open.deadline,
        detail: open.detail.clone(),
    }
}
