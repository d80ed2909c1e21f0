//! Which release or task a device gets: the checks that stand between the two, cheapest first.

use crate::device::Device;
use crate::execution::Execution;
use crate::explain::Obstacle;
use crate::policy::Facts;
use crate::position::position;
use crate::release::Release;
use crate::rollout::{Downgrade, Rollout};
use crate::state::{ExecutionState, Tally};
use crate::time::Timestamp;
use crate::version::Version;

/// One device before one rollout.
pub(crate) struct Case<'a> {
    pub(crate) now: Timestamp,
    pub(crate) device: &'a Device,
    /// The device's version, parsed once for all releases.
    pub(crate) installed: Option<&'a Version>,
    /// The release that the rollout brings; `None`: it brings a task.
    pub(crate) release: Option<&'a Release>,
    pub(crate) rollout: &'a Rollout,
    /// The device's latest attempt in this rollout.
    pub(crate) prior: Option<&'a Execution>,
    pub(crate) tally: Tally,
    /// When the rollout's pace lets it open an execution again, if it does not now.
    pub(crate) next_opening: Option<Timestamp>,
}

type Check = fn(&Case<'_>) -> Option<Obstacle>;

/// In the order in which they are asked: the policy, which reads the device's whole description, comes last but for
/// the pace, which concerns only devices that are due.
const CHECKS: [Check; 7] =
    [check_offering, check_version, check_prior, check_turn, check_policy, check_target, check_pace];

impl Case<'_> {
    /// The first thing in the way.
    pub(crate) fn obstacle(&self) -> Option<Obstacle> {
        CHECKS.iter().find_map(|check| check(self))
    }

    /// Everything in the way.
    pub(crate) fn obstacles(&self) -> Vec<Obstacle> {
        CHECKS.iter().filter_map(|check| check(self)).collect()
    }
}

/// What policies read.
pub(crate) fn facts<'a>(device: &'a Device, release: &'a Release) -> Facts<'a> {
    Facts { device: &device.attributes, update: &release.attributes }
}

fn check_offering(case: &Case<'_>) -> Option<Obstacle> {
    let Rollout { state, state_note, .. } = case.rollout;
    (!state.offers()).then(|| Obstacle::RolloutNotOffering { state: *state, note: state_note.clone() })
}

fn check_version(case: &Case<'_>) -> Option<Obstacle> {
    let release = case.release?;
    let Some(installed) = case.installed else {
        return Some(Obstacle::VersionUnreadable { version: case.device.version.clone() });
    };
    match installed.cmp(&release.version) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => Some(Obstacle::AlreadyInstalled),
        std::cmp::Ordering::Greater => match case.rollout.plan.downgrade {
            Downgrade::Allowed => None,
            Downgrade::Refused => {
                Some(Obstacle::OlderThanInstalled { installed: case.device.version.clone() })
            }
        },
    }
}

fn check_prior(case: &Case<'_>) -> Option<Obstacle> {
    let prior = case.prior?;
    if case.release.is_some_and(|release| case.installed == Some(&release.version)) {
        // It runs what the attempt was for: how that ended says nothing more.
        return None;
    }
    if prior.state == ExecutionState::Removed {
        // It left and is meant again: what it was taken from is before it once more.
        return None;
    }
    if prior.state.is_open() {
        return Some(Obstacle::UnderWay { state: prior.state, attempt: prior.attempt });
    }
    let forgiven = case.rollout.retry_before.is_some_and(|before| prior.changed < before);
    match case.rollout.retry_at(prior) {
        _ if forgiven => None,
        Some(until) if until <= case.now => None,
        Some(until) => Some(Obstacle::BackOff { outcome: prior.state, until }),
        None => Some(Obstacle::Ended {
            outcome: prior.state,
            detail: prior.detail.clone(),
            attempts: prior.attempt,
        }),
    }
}

fn check_turn(case: &Case<'_>) -> Option<Obstacle> {
    let position = position(case.device.id.as_str(), case.rollout.id.as_str());
    let plan = &case.rollout.plan;
    let open_to = plan.positions_open(case.now);
    (position >= open_to).then(|| Obstacle::NotItsTurn { position, open_to, turn: plan.turn(position) })
}

fn check_policy(case: &Case<'_>) -> Option<Obstacle> {
    let release = case.release?;
    let facts = facts(case.device, release);
    let policy = &release.policy;
    (!policy.matches(&facts)).then(|| Obstacle::PolicyUnmatched { explanation: policy.explain(&facts) })
}

fn check_target(case: &Case<'_>) -> Option<Obstacle> {
    let task = case.rollout.task()?;
    (!task.is_for(case.device)).then_some(Obstacle::NotATarget)
}

fn check_pace(case: &Case<'_>) -> Option<Obstacle> {
    let in_flight = case.tally.in_flight();
    let max = case.rollout.plan.pace.in_flight_max;
    if in_flight >= u64::from(max) {
        return Some(Obstacle::InFlightFull { in_flight, max });
    }
    case.next_opening.map(|until| Obstacle::MinuteFull { until })
}
