//! The operator's commands, each run within a batch of the engine.

use super::{By, Engine, EngineError};
use std::sync::Arc;
use updraft_core::explain::Explanation;
use updraft_core::fleet::{self, Assignment, NewRollout, NewTask};
use updraft_core::id::{DeviceId, ProductName, RolloutId};
use updraft_core::release::{Artifact, Release};
use updraft_core::report::{Progress, Report, Word};
use updraft_core::rollout::{Plan, Rollout};
use updraft_core::task::Task;
use updraft_core::version::Version;

/// Characters of a rollout ID after its `r`: no `l` and no `o`, which people mistake for digits. 32 of them, so that
/// five bits of randomness make one without bias.
const ID_ALPHABET: &[u8; 32] = b"0123456789abcdefghijkmnpqrstuvwx";
/// Random characters of a rollout ID: 50 bits, so that no ID comes twice, not even after a restore from a backup.
const ID_RANDOM_CHARS: usize = 10;

impl Engine {
    /// Adds a release; see [`updraft_core::fleet::Fleet::add_release`].
    ///
    /// # Errors
    /// [`EngineError`]; so for each command.
    pub async fn add_release(&self, release: Release) -> Result<Arc<Release>, EngineError> {
        self.command(move |fleet, _| fleet.add_release(release)).await
    }

    /// A release; see [`updraft_core::fleet::Fleet::release`].
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn release(&self, product: ProductName, version: Version) -> Result<Arc<Release>, EngineError> {
        self.command(move |fleet, _| fleet.release(&product, &version)).await
    }

    /// Starts a rollout under an ID drawn at random; `by` says who commands it. See
    /// [`updraft_core::fleet::Fleet::start_rollout`].
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn start_rollout(
        &self,
        product: ProductName,
        version: Version,
        plan: Plan,
        by: String,
    ) -> Result<Rollout, EngineError> {
        let id = random_rollout_id();
        self.command(move |fleet, now| {
            fleet.start_rollout(now, NewRollout { id, product, version, plan }, &by)
        })
        .await
    }

    /// Starts the rollout of a task under an ID drawn at random; `by` says who commands it. See
    /// [`updraft_core::fleet::Fleet::start_task`].
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn start_task(&self, task: Task, plan: Plan, by: String) -> Result<Rollout, EngineError> {
        let id = random_rollout_id();
        self.command(move |fleet, now| fleet.start_task(now, NewTask { id, task, plan }, &by)).await
    }

    /// Pauses a rollout; see [`updraft_core::fleet::Fleet::pause`].
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn pause(&self, id: RolloutId, by: String) -> Result<Rollout, EngineError> {
        self.command(move |fleet, now| fleet.pause(now, &id, &by)).await
    }

    /// Resumes a rollout; see [`updraft_core::fleet::Fleet::resume`].
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn resume(&self, id: RolloutId, by: String) -> Result<Rollout, EngineError> {
        self.command(move |fleet, now| fleet.resume(now, &id, &by)).await
    }

    /// Aborts a rollout; see [`updraft_core::fleet::Fleet::abort`].
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn abort(&self, id: RolloutId, by: String) -> Result<Rollout, EngineError> {
        self.command(move |fleet, now| fleet.abort(now, &id, &by)).await
    }

    /// Makes failed devices due again; see [`updraft_core::fleet::Fleet::retry`].
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn retry(&self, id: RolloutId, by: String) -> Result<Rollout, EngineError> {
        self.command(move |fleet, now| fleet.retry(now, &id, &by)).await
    }

    /// Why a device gets what it gets; see [`updraft_core::fleet::Fleet::explain`].
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn explain(
        &self,
        device: DeviceId,
        version: Option<Version>,
    ) -> Result<Explanation, EngineError> {
        self.command(move |fleet, now| fleet.explain(now, &device, version.as_ref())).await
    }

    /// Takes in something a device did or said apart from a check-in, about one job.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn progress(&self, device: DeviceId, progress: Progress) -> Result<(), EngineError> {
        let report = Report { description: None, progress: Some(progress) };
        self.about(device.clone(), By::Device, move |fleet, now| fleet.report(now, &device, &report)).await
    }

    /// What a device was told to do and has not ended; see [`updraft_core::fleet::Fleet::assigned`].
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn assigned(&self, device: DeviceId) -> Result<Option<Assignment>, EngineError> {
        self.command(move |fleet, _| fleet.assigned(&device)).await
    }

    /// The artifact of one attempt of a device at a rollout, while that is open; `None` also if it brings a task.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn artifact_of(
        &self,
        device: DeviceId,
        rollout: RolloutId,
        attempt: u32,
    ) -> Result<Option<Artifact>, EngineError> {
        self.command(move |fleet, _| {
            let assignment = match fleet.assigned(&device) {
                Err(fleet::Error::UnknownDevice(_)) => None,
                assigned => assigned?,
            };
            let assignment = assignment.filter(|one| one.rollout == rollout && one.attempt == attempt);
            Ok(assignment.map(|one| one.release.artifact.clone()))
        })
        .await
    }

    /// A device asks for the bytes of a job. Whether the job is still open; if the download `begins` anew, that is
    /// booked first, and may end the job of a device that begins again and again.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn admit_download(
        &self,
        device: DeviceId,
        rollout: RolloutId,
        attempt: u32,
        begins: bool,
    ) -> Result<bool, EngineError> {
        self.about(device.clone(), By::Device, move |fleet, now| {
            if begins {
                let (word, detail) = (Word::Fetching, String::new());
                let progress = Progress { rollout: rollout.clone(), attempt, word, percent: None, detail };
                fleet.report(now, &device, &Report { description: None, progress: Some(progress) })?;
            }
            let execution = fleet.execution(&device, &rollout)?;
            Ok(execution.is_some_and(|one| one.attempt == attempt && one.state.is_open()))
        })
        .await
    }
}

/// A rollout ID drawn at random.
pub(crate) fn random_rollout_id() -> RolloutId {
    let mut bytes = [0; ID_RANDOM_CHARS];
    getrandom::fill(&mut bytes).expect("the system has a random source");
    let random = bytes.map(|byte| char::from(ID_ALPHABET[usize::from(byte % 32)]));
    let id: String = std::iter::once('r').chain(random).collect();
    id.parse().expect("made of the allowed characters")
}
