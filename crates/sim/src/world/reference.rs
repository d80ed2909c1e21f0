//! What should happen, worked out a second time: which release is for a device, and whether an execution may be opened.
//!
//! The rules as the design states them, read from the books alone, in the most direct form: no caches, no counts kept,
//! no code of the fleet's.

use super::books::Books;
use super::policies::{Pair, meaning, precedence};
use std::cmp::Ordering;
use std::time::Duration;
use updraft_core::device::Device;
use updraft_core::id::RolloutId;
use updraft_core::position::position;
use updraft_core::release::Release;
use updraft_core::rollout::{Downgrade, Rollout, RolloutState};
use updraft_core::state::{ExecutionState, FailureReason};
use updraft_core::time::Timestamp;

/// What the latest attempt of a device in a rollout came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prior {
    pub(super) attempt: u32,
    pub(super) state: ExecutionState,
    pub(super) changed: Timestamp,
}

/// Why an execution may not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bar {
    /// The rollout's state.
    Rollout,
    /// It runs this version, or a newer one and may not go back, or nobody can tell.
    Version,
    /// The attempt before.
    Prior,
    /// The device's turn.
    Turn,
    /// The policy.
    Policy,
}

/// A device before a rollout.
pub(super) struct Case<'a> {
    pub(super) clock: Timestamp,
    pub(super) device: &'a Device,
    pub(super) release: &'a Release,
    pub(super) rollout: &'a Rollout,
    pub(super) prior: Option<Prior>,
}

impl Case<'_> {
    /// What forbids to open an execution, the pace apart.
    pub(super) fn bar(&self) -> Option<Bar> {
        let Self { clock, device, release, rollout, prior } = self;
        if !matches!(rollout.state, RolloutState::Running | RolloutState::Completed) {
            return Some(Bar::Rollout);
        }
        match precedence(&device.version, release.version.as_str()) {
            None | Some(Ordering::Equal) => return Some(Bar::Version),
            Some(Ordering::Greater) if rollout.plan.downgrade == Downgrade::Refused => {
                return Some(Bar::Version);
            }
            Some(Ordering::Greater | Ordering::Less) => {}
        }
        if prior.is_some_and(|prior| !may_retry(rollout, prior, *clock)) {
            return Some(Bar::Prior);
        }
        let place = position(device.id.as_str(), rollout.id.as_str());
        let open = rollout.plan.waves.iter().any(|wave| wave.starts <= *clock && place < wave.positions);
        if !open {
            return Some(Bar::Turn);
        }
        let pair = Pair {
            device: &device.attributes,
            device_version: &device.version,
            update_version: release.version.as_str(),
        };
        (meaning(release.policy.source(), &pair) != Some(true)).then_some(Bar::Policy)
    }
}

/// Whether the device may have another attempt.
fn may_retry(rollout: &Rollout, prior: Prior, clock: Timestamp) -> bool {
    if prior.state.is_open() {
        return false;
    }
    if rollout.retry_before.is_some_and(|before| prior.changed < before) {
        return true;
    }
    let transient = match prior.state {
        ExecutionState::Succeeded | ExecutionState::TimedOut => true,
        ExecutionState::Failed(
            FailureReason::InsufficientStorage
            | FailureReason::OutOfMemory
            | FailureReason::ConnectionLost
            | FailureReason::IntegrityCheckFailed
            | FailureReason::InvalidUri
            | FailureReason::Cancelled
            | FailureReason::Deferred,
        ) => true,
        ExecutionState::Failed(_)
        | ExecutionState::Rejected
        | ExecutionState::Canceled
        | ExecutionState::Removed
        | ExecutionState::Queued
        | ExecutionState::InProgress(_) => false,
    };
    let doublings = prior.attempt - 1;
    let wait = rollout.plan.retry.back_off * 2_u32.pow(doublings);
    transient && prior.attempt < rollout.plan.retry.attempts_max && prior.changed.plus(wait) <= clock
}

/// Whether time alone will allow another attempt.
fn will_retry(rollout: &Rollout, prior: Prior) -> bool {
    may_retry(rollout, prior, Timestamp::from_millis(i64::MAX))
}

/// What a device should be told, the pace apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// Install this, at once or after a pause.
    Update(RolloutId),
    /// Nothing, and nothing later by itself.
    Nothing,
}

/// What the books say of a device. `None` for a device they do not know.
pub(super) fn expected(books: &Books, device: &Device, clock: Timestamp) -> Expected {
    // Far enough ahead that every wave has begun: only what lasts counts.
    let later = clock.plus(Duration::from_secs(86_400));
    for (release, rollout) in books.releases_newest_first(&device.product) {
        let Some(rollout) = rollout else { continue };
        let prior = books.prior(&device.id, &rollout.id);
        let case = Case { clock: later, device, release, rollout, prior };
        match case.bar() {
            None => return Expected::Update(rollout.id.clone()),
            Some(Bar::Rollout | Bar::Turn | Bar::Policy) => {}
            Some(Bar::Prior) if prior.is_some_and(|prior| will_retry(rollout, prior)) => {
                return Expected::Update(rollout.id.clone());
            }
            Some(Bar::Version | Bar::Prior) => return Expected::Nothing,
        }
    }
    Expected::Nothing
}
