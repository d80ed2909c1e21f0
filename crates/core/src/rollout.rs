//! A rollout: the decision to bring a release or a task to devices, how fast, and when to stop.

use crate::execution::Execution;
use crate::id::{ProductName, RolloutId};
use crate::state::{ExecutionState, StateKind, Tally};
use crate::task::Task;
use crate::time::Timestamp;
use crate::version::Version;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Most waves of one rollout.
pub const WAVES_MAX: usize = 32;
/// Positions of devices within a rollout run from 0 to one less than this: hundredths of a percent.
pub const POSITIONS: u16 = 10_000;
/// Most executions a rollout may have open at once, whatever its pace says.
pub const IN_FLIGHT_LIMIT: u32 = 1_000_000;
/// Most attempts a rollout may make with one device.
pub const ATTEMPTS_LIMIT: u32 = 100;
/// Most further rules for stopping of one rollout.
pub const CRITERIA_MAX: usize = 10;

/// A share of the fleet, and when it may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// Devices with a position below this belong to this wave or an earlier one: 1 to [`POSITIONS`], rising
    /// from wave to wave.
    pub positions: u16,
    /// From when.
    pub starts: Timestamp,
}

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Most executions open at once: 1 to [`IN_FLIGHT_LIMIT`].
    pub in_flight_max: u32,
    /// Most executions opened in one minute, at least 1; `None`: as many as may be open.
    #[serde(default)]
    pub per_minute_max: Option<u32>,
}

/// When to stop by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbortRule {
    /// Abort when at least this share of the ended executions went badly: 1 to 100; above 100: never.
    pub failed_percent: u8,
    /// Judge only once this many executions have ended.
    pub ended_min: u32,
}

/// Whether and when to try a device again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRule {
    /// Most attempts with one device: 1 to [`ATTEMPTS_LIMIT`].
    pub attempts_max: u32,
    /// Wait before the second attempt; doubles with each further one.
    pub back_off: Duration,
    /// How often a failure is tried again, whatever its reason; `None`: whenever the reason may pass.
    #[serde(default)]
    pub after_failure_max: Option<u32>,
    /// How often silence is tried again; `None`: always.
    #[serde(default)]
    pub after_timeout_max: Option<u32>,
}

/// A further rule for stopping, by how executions end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbortCriterion {
    /// Which ends count against it.
    pub counts: BadEnd,
    /// Abort when at least this share of the ended executions did so, in hundredths of a percent: 1 to 10000.
    pub share: u16,
    /// Judge only once this many executions have ended, at least 1.
    pub ended_min: u32,
}

/// A way to end badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadEnd {
    /// Failed.
    Failed,
    /// Declined by the device.
    Rejected,
    /// Timed out.
    TimedOut,
    /// Any of these.
    Any,
}

/// What an abort does to executions that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbortReach {
    /// Cancels all of them.
    #[default]
    Open,
    /// Cancels those that no device has begun; the others may end by themselves.
    Queued,
}

impl AbortReach {
    /// Whether an abort cancels an open execution that stands at `state`.
    #[must_use]
    pub fn covers(self, state: ExecutionState) -> bool {
        match self {
            Self::Open => state.is_open(),
            Self::Queued => state == ExecutionState::Queued,
        }
    }
}

/// How long a device may be silent, phase by phase, before its execution counts as timed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadlines {
    /// From the offer to the first sign that the device took it.
    pub queued: Duration,
    /// Between signs of life while downloading.
    pub downloading: Duration,
    /// Between signs of life while installing, the wait for an allowed moment included.
    pub installing: Duration,
    /// From the restart to the report of the version that runs.
    pub rebooting: Duration,
    /// From the device's beginning to the end of the attempt, whatever it says in between; `None`: no such limit.
    #[serde(default)]
    pub in_progress: Option<Duration>,
}

/// How a rollout goes about its work; what an operator sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Which share may start when; at least one, at most [`WAVES_MAX`].
    pub waves: Vec<Wave>,
    /// How fast.
    pub pace: Pace,
    /// When to stop by itself.
    pub abort: AbortRule,
    /// Whether and when to try a device again.
    pub retry: RetryRule,
    /// How long silence may last.
    pub deadlines: Deadlines,
    /// Whether devices on a newer version are taken back to this one.
    pub downgrade: Downgrade,
    /// Further rules for stopping by itself; at most [`CRITERIA_MAX`].
    #[serde(default)]
    pub criteria: Vec<AbortCriterion>,
    /// What an abort does to executions that are open.
    #[serde(default)]
    pub abort_reach: AbortReach,
}

/// Whether devices on a newer version are taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Downgrade {
    /// Only devices on an older version are due.
    Refused,
    /// Devices on a newer version are due as well, and are told that they may go back.
    Allowed,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Plan {
    /// The plan of an operator who says nothing: one wave of the whole fleet from `starts` on, careful limits.
    ///
    /// The deadlines leave room for devices that check in once a day: 24 hours and two of grace.
    #[must_use]
    pub fn standard(starts: Timestamp) -> Self {
        Self {
            waves: vec![Wave { positions: POSITIONS, starts }],
            pace: Pace { in_flight_max: 1_000, per_minute_max: None },
            abort: AbortRule { failed_percent: 10, ended_min: 20 },
            retry: RetryRule {
                attempts_max: 3,
                back_off: HOUR / 6,
                after_failure_max: None,
                after_timeout_max: None,
            },
            deadlines: Deadlines {
                queued: 26 * HOUR,
                downloading: 26 * HOUR,
                installing: 26 * HOUR,
                rebooting: 26 * HOUR,
                in_progress: None,
            },
            downgrade: Downgrade::Refused,
            criteria: Vec::new(),
            abort_reach: AbortReach::Open,
        }
    }

    /// Checks every number against its limits.
    ///
    /// # Errors
    /// A sentence naming the setting and what it may be.
    pub fn check(&self) -> Result<(), &'static str> {
        let rising = self.waves.windows(2).all(|pair| pair[0].positions < pair[1].positions);
        let in_range = self.waves.iter().all(|wave| (1..=POSITIONS).contains(&wave.positions));
        if self.waves.is_empty() || self.waves.len() > WAVES_MAX || !rising || !in_range {
            return Err("waves: 1 to 32, each a larger share than the one before, up to 100 percent");
        }
        if !(1..=IN_FLIGHT_LIMIT).contains(&self.pace.in_flight_max) {
            return Err("in-flight maximum: 1 to 1000000");
        }
        if self.abort.failed_percent == 0 {
            return Err("abort threshold: 1 to 100 percent; 101 for never");
        }
        if !(1..=ATTEMPTS_LIMIT).contains(&self.retry.attempts_max) {
            return Err("attempts: 1 to 100");
        }
        let Deadlines { queued, downloading, installing, rebooting, in_progress } = self.deadlines;
        let phases = [queued, downloading, installing, rebooting];
        if phases.into_iter().chain(in_progress).any(|deadline| deadline < Duration::from_secs(1)) {
            return Err("deadlines: at least 1 second each");
        }
        self.check_limits()
    }

    fn check_limits(&self) -> Result<(), &'static str> {
        if self.pace.per_minute_max == Some(0) {
            return Err("executions per minute: at least 1");
        }
        let is_valid =
            |criterion: &AbortCriterion| (1..=10_000).contains(&criterion.share) && criterion.ended_min >= 1;
        if self.criteria.len() > CRITERIA_MAX || !self.criteria.iter().all(is_valid) {
            return Err("abort criteria: at most 10, each 0.01 to 100 percent of at least 1 ended execution");
        }
        Ok(())
    }

    /// Devices with a position below this may start now.
    #[must_use]
    pub fn positions_open(&self, now: Timestamp) -> u16 {
        self.waves.iter().filter(|wave| wave.starts <= now).map(|wave| wave.positions).max().unwrap_or(0)
    }

    /// When a device at `position` may start; `None` if no wave reaches it.
    #[must_use]
    pub fn turn(&self, position: u16) -> Option<Timestamp> {
        self.waves.iter().filter(|wave| position < wave.positions).map(|wave| wave.starts).min()
    }

    /// Whether every wave has begun.
    #[must_use]
    pub fn all_waves_open(&self, now: Timestamp) -> bool {
        self.waves.iter().all(|wave| wave.starts <= now)
    }
}

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Prepared, not begun.
    Draft,
    /// Offers its release.
    Running,
    /// Opens no execution; those open go on.
    Paused,
    /// No known device is due. A device that turns up later is still served, and makes it run again.
    Completed,
    /// Over, by its abort rule or an operator; open executions are canceled.
    Aborted,
}

impl RolloutState {
    /// Whether executions may be opened.
    #[must_use]
    pub fn offers(self) -> bool {
        match self {
            Self::Running | Self::Completed => true,
            Self::Draft | Self::Paused | Self::Aborted => false,
        }
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Aborted => "aborted",
        }
    }
}

impl fmt::Display for RolloutState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the last look over the whole fleet found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// When the look ended.
    pub at: Timestamp,
    /// How many devices were due and had no execution open.
    pub due: u64,
}

/// What a rollout brings to devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// A release of a product: for the devices its distribution policy matches.
    Release {
        /// The product.
        product: ProductName,
        /// The version.
        version: Version,
    },
    /// A task, for the devices it names.
    Task(Arc<Task>),
}

/// The fleet-level decision about one release or task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Its ID.
    pub id: RolloutId,
    /// What it brings.
    pub work: Work,
    /// How it goes about it.
    pub plan: Plan,
    /// Where it stands.
    pub state: RolloutState,
    /// Since when.
    pub state_since: Timestamp,
    /// Why, in a sentence, where someone or something decided it.
    pub state_note: String,
    /// When it was made.
    pub created: Timestamp,
    /// What the last look over the whole fleet found; `None` before the first.
    pub survey: Option<Survey>,
    /// Executions that ended badly before this are due again: an operator said so.
    pub retry_before: Option<Timestamp>,
    /// Since when it is only evidence: it is over, and a task of the same name may be started.
    pub retired: Option<Timestamp>,
}

impl Rollout {
    /// The release it brings, if it brings one: product and version.
    #[must_use]
    pub fn release(&self) -> Option<(&ProductName, &Version)> {
        match &self.work {
            Work::Release { product, version } => Some((product, version)),
            Work::Task(_) => None,
        }
    }

    /// The task it brings, if it brings one.
    #[must_use]
    pub fn task(&self) -> Option<&Arc<Task>> {
        match &self.work {
            Work::Task(task) => Some(task),
            Work::Release { .. } => None,
        }
    }

    /// Whether a rule for stopping says stop, given how executions stand. A sentence saying why, if so.
    #[must_use]
    pub fn abort_reason(&self, tally: &Tally) -> Option<String> {
        self.rule_reason(tally)
            .or_else(|| self.plan.criteria.iter().find_map(|criterion| criterion_reason(*criterion, tally)))
    }

    fn rule_reason(&self, tally: &Tally) -> Option<String> {
        let AbortRule { failed_percent, ended_min } = self.plan.abort;
        let bad = tally.count(StateKind::Failed) + tally.count(StateKind::TimedOut);
        let ended = bad + tally.count(StateKind::Succeeded);
        let judged = ended >= u64::from(ended_min) && bad > 0;
        (judged && bad * 100 >= u64::from(failed_percent) * ended).then(|| {
            format!("{bad} of {ended} ended executions went badly; the abort rule allows less than {failed_percent} %")
        })
    }

    /// When a device whose attempt ended may be tried again; `None`: never.
    #[must_use]
    pub fn retry_at(&self, ended: &Execution) -> Option<Timestamp> {
        let RetryRule { attempts_max, back_off, after_failure_max, after_timeout_max } = self.plan.retry;
        let allowed = match ended.state {
            ExecutionState::Failed(reason) => {
                after_failure_max.map_or_else(|| reason.is_transient(), |max| ended.earlier_failures < max)
            }
            ExecutionState::TimedOut => after_timeout_max.is_none_or(|max| ended.earlier_timeouts < max),
            // A release: it ran this version and runs an older one, so somebody flashed it. Try as with a passing failure.
            ExecutionState::Succeeded => self.release().is_some(),
            ExecutionState::Rejected
            | ExecutionState::Canceled
            | ExecutionState::Removed
            | ExecutionState::Queued
            | ExecutionState::InProgress(_) => false,
        };
        let doublings = ended.attempt.saturating_sub(1).min(16);
        (allowed && ended.attempt < attempts_max)
            .then(|| ended.changed.plus(back_off.saturating_mul(1 << doublings)))
    }
}

/// Whether one further rule says stop. The share is that of all executions that ended, canceled ones left aside.
fn criterion_reason(criterion: AbortCriterion, tally: &Tally) -> Option<String> {
    let AbortCriterion { counts, share, ended_min } = criterion;
    let count = |kinds: &[StateKind]| kinds.iter().map(|kind| tally.count(*kind)).sum::<u64>();
    const BAD: [StateKind; 3] = [StateKind::Failed, StateKind::Rejected, StateKind::TimedOut];
    let (bad, what) = match counts {
        BadEnd::Failed => (count(&BAD[..1]), "failed"),
        BadEnd::Rejected => (count(&BAD[1..2]), "were rejected"),
        BadEnd::TimedOut => (count(&BAD[2..]), "timed out"),
        BadEnd::Any => (count(&BAD), "failed, were rejected or timed out"),
    };
    let ended = count(&BAD) + tally.count(StateKind::Succeeded);
    let judged = ended >= u64::from(ended_min) && bad > 0;
    (judged && bad * 10_000 >= u64::from(share) * ended).then(|| {
        let allowed = f64::from(share) / 100.0;
        format!("{bad} of {ended} ended executions {what}; an abort criterion allows less than {allowed} %")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::standard(Timestamp::from_millis(0))
    }

    #[test]
    fn the_standard_plan_is_within_its_own_limits() {
        assert_eq!(plan().check(), Ok(()));
    }

    #[test]
    fn each_setting_outside_its_limits_is_named() {
        type Spoil = fn(&mut Plan);
        let spoil: [(Spoil, &str); 7] = [
            (|plan| plan.waves.clear(), "waves"),
            (|plan| plan.waves[0].positions = POSITIONS + 1, "waves"),
            (|plan| plan.waves.push(plan.waves[0]), "waves"),
            (|plan| plan.pace.in_flight_max = 0, "in-flight"),
            (|plan| plan.abort.failed_percent = 0, "abort"),
            (|plan| plan.retry.attempts_max = 0, "attempts"),
            (|plan| plan.deadlines.rebooting = Duration::ZERO, "deadlines"),
        ];
        for (spoil, setting) in spoil {
            let mut plan = plan();
            spoil(&mut plan);
            assert!(plan.check().unwrap_err().starts_with(setting), "{setting}");
        }
    }

    #[test]
    fn a_wave_opens_its_share_at_its_time_and_canaries_stay_canaries() {
        let at = Timestamp::from_millis;
        let mut plan = plan();
        plan.waves =
            vec![Wave { positions: 100, starts: at(10) }, Wave { positions: POSITIONS, starts: at(20) }];
        assert_eq!([0, 10, 19, 20].map(|now| plan.positions_open(at(now))), [0, 100, 100, POSITIONS]);
        assert_eq!([99, 100].map(|position| plan.turn(position)), [Some(at(10)), Some(at(20))]);
    }
}
