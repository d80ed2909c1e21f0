//! What operators command.

use super::{Error, Fleet, Minute};
use crate::id::{ProductName, RolloutId};
use crate::release::Release;
use crate::rollout::{Plan, Rollout, RolloutState, Work};
use crate::store::{RolloutEntry, Store};
use crate::time::Timestamp;
use crate::version::Version;
use std::sync::Arc;

/// Most releases of one product: each check-in that something changed for may walk over all of them.
pub const RELEASES_MAX: usize = 10_000;
/// Most rollouts of one product, over all time.
pub const ROLLOUTS_MAX: usize = 10_000;
/// Longest note of an operator kept, in bytes.
pub const NOTE_BYTES_MAX: usize = 512;

/// A rollout to be started.
#[derive(Debug, Clone)]
pub struct NewRollout {
    /// Its ID, drawn at random by the caller.
    pub id: RolloutId,
    /// The product.
    pub product: ProductName,
    /// The version to bring.
    pub version: Version,
    /// How to go about it.
    pub plan: Plan,
}

impl<S: Store> Fleet<S> {
    /// Adds a release. Adding the same again changes nothing.
    ///
    /// # Errors
    /// [`Error::ReleaseExists`] if there is one of the same precedence that differs; [`Error::TooMany`].
    pub fn add_release(&mut self, release: Release) -> Result<Arc<Release>, Error> {
        self.load(&[])?;
        if let Some(there) = self.index.release(&release.product, &release.version) {
            return match difference(there, &release) {
                None => Ok(there.clone()),
                Some(differs) => Err(Error::ReleaseExists {
                    product: there.product.clone(),
                    version: there.version.clone(),
                    differs,
                }),
            };
        }
        if self.index.releases_count(&release.product) >= RELEASES_MAX {
            return Err(Error::TooMany { product: release.product, what: "releases", max: RELEASES_MAX });
        }
        self.batch.appended.releases.push(release.clone());
        self.generation += 1;
        Ok(self.index.add_release(release))
    }

    /// A release, if there is one of this precedence.
    ///
    /// # Errors
    /// [`Error::UnknownRelease`].
    pub fn release(&self, product: &ProductName, version: &Version) -> Result<Arc<Release>, Error> {
        self.index
            .release(product, version)
            .cloned()
            .ok_or_else(|| Error::UnknownRelease { product: product.clone(), version: version.clone() })
    }

    /// A rollout.
    ///
    /// # Errors
    /// [`Error::UnknownRollout`].
    pub fn rollout(&self, id: &RolloutId) -> Result<&Rollout, Error> {
        self.index.rollout(id).ok_or_else(|| Error::UnknownRollout(id.clone()))
    }

    /// Starts a rollout. `by` says who commands it.
    ///
    /// # Errors
    /// [`Error::UnknownRelease`]; [`Error::RolloutExists`] if one brings the release already; [`Error::InvalidPlan`];
    /// [`Error::TooMany`].
    pub fn start_rollout(&mut self, now: Timestamp, new: NewRollout, by: &str) -> Result<Rollout, Error> {
        self.load(&[])?;
        new.plan.check().map_err(Error::InvalidPlan)?;
        let release = self.release(&new.product, &new.version)?;
        if let Some(current) = self.index.rollout_of(&new.product, &new.version)
            && current.state != RolloutState::Aborted
        {
            return Err(Error::RolloutExists(current.id.clone()));
        }
        if self.index.rollout(&new.id).is_some() {
            return Err(Error::RolloutExists(new.id));
        }
        if self.index.rollouts_count(&new.product) >= ROLLOUTS_MAX {
            return Err(Error::TooMany { product: new.product, what: "rollouts", max: ROLLOUTS_MAX });
        }
        let work = Work::Release { product: new.product, version: release.version.clone() };
        Ok(self.begin_rollout(now, new.id, work, new.plan, by))
    }

    /// Begins a rollout whose parts were checked.
    pub(super) fn begin_rollout(
        &mut self,
        now: Timestamp,
        id: RolloutId,
        work: Work,
        plan: Plan,
        by: &str,
    ) -> Rollout {
        let rollout = Rollout {
            id,
            work,
            plan,
            state: RolloutState::Running,
            state_since: now,
            state_note: truncated(by).to_owned(),
            created: now,
            survey: None,
            retry_before: None,
            retired: None,
        };
        self.batch.appended.rollout_history.push(RolloutEntry {
            rollout: rollout.id.clone(),
            at: now,
            from: None,
            to: RolloutState::Running,
            note: rollout.state_note.clone(),
        });
        self.batch.rollout_changed(&rollout.id);
        self.generation += 1;
        self.minutes.insert(rollout.id.clone(), Minute::default());
        self.index.add_rollout(rollout.clone());
        rollout
    }

    /// Opens nothing more; what is open goes on. Pausing what is paused changes nothing.
    ///
    /// # Errors
    /// [`Error::UnknownRollout`]; [`Error::WrongState`] if it is aborted or a draft.
    pub fn pause(&mut self, now: Timestamp, id: &RolloutId, by: &str) -> Result<Rollout, Error> {
        let from = [RolloutState::Running, RolloutState::Completed];
        self.move_rollout(now, id, &from, RolloutState::Paused, by, "paused")
    }

    /// Opens executions again. Resuming what runs changes nothing.
    ///
    /// # Errors
    /// [`Error::UnknownRollout`]; [`Error::WrongState`] if it is aborted or a draft.
    pub fn resume(&mut self, now: Timestamp, id: &RolloutId, by: &str) -> Result<Rollout, Error> {
        let from = [RolloutState::Paused, RolloutState::Completed];
        self.move_rollout(now, id, &from, RolloutState::Running, by, "resumed")
    }

    /// Ends it for good: nothing more is offered, and what is open is canceled. Aborting twice changes nothing.
    ///
    /// # Errors
    /// [`Error::UnknownRollout`].
    pub fn abort(&mut self, now: Timestamp, id: &RolloutId, by: &str) -> Result<Rollout, Error> {
        let from =
            [RolloutState::Draft, RolloutState::Running, RolloutState::Paused, RolloutState::Completed];
        self.move_rollout(now, id, &from, RolloutState::Aborted, by, "aborted")
    }

    /// Makes every device due again whose execution has ended badly.
    ///
    /// # Errors
    /// [`Error::UnknownRollout`]; [`Error::WrongState`] if it is aborted or a draft.
    pub fn retry(&mut self, now: Timestamp, id: &RolloutId, by: &str) -> Result<Rollout, Error> {
        self.load(&[])?;
        let state = self.rollout(id)?.state;
        if matches!(state, RolloutState::Aborted | RolloutState::Draft) {
            return Err(Error::WrongState { rollout: id.clone(), state, verb: "retried" });
        }
        // Executions that ended in this very millisecond are meant as well.
        let before = now.plus(std::time::Duration::from_millis(1));
        let next = if state == RolloutState::Completed { RolloutState::Running } else { state };
        self.set_rollout_state(now, id, next, truncated(&format!("failed devices are due again: {by}")));
        let rollout = self.index.rollout_mut(id).expect("found above");
        rollout.retry_before = Some(before);
        Ok(rollout.clone())
    }

    fn move_rollout(
        &mut self,
        now: Timestamp,
        id: &RolloutId,
        from: &[RolloutState],
        to: RolloutState,
        by: &str,
        verb: &'static str,
    ) -> Result<Rollout, Error> {
        self.load(&[])?;
        let state = self.rollout(id)?.state;
        if state != to {
            if !from.contains(&state) {
                return Err(Error::WrongState { rollout: id.clone(), state, verb });
            }
            self.set_rollout_state(now, id, to, truncated(by));
        }
        self.rollout(id).cloned()
    }
}

/// What differs between two releases of one version, if anything.
fn difference(there: &Release, new: &Release) -> Option<&'static str> {
    if there.version.as_str() != new.version.as_str() {
        return Some("spelling (SemVer ignores build metadata)");
    }
    if there.artifact.sha256 != new.artifact.sha256 {
        return Some("file");
    }
    if there.policy.source() != new.policy.source() {
        return Some("policy");
    }
    (there.attributes != new.attributes).then_some("metadata")
}

pub(super) fn truncated(note: &str) -> &str {
    &note[..note.floor_char_boundary(NOTE_BYTES_MAX)]
}
