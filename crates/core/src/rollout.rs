//! A rollout: the decision to bring a release to a fleet, how fast, and when to stop.

use crate::id::{ProductName, RolloutId};
use crate::state::{FailureReason, StateKind, Tally};
use crate::time::Timestamp;
use crate::version::Version;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Most waves of one rollout.
pub const WAVES_MAX: usize = 32;
/// Positions of devices within a rollout run from 0 to one less than this: hundredths of a percent.
pub const POSITIONS: u16 = 10_000;
/// Most executions a rollout may have open at once, whatever its pace says.
pub const IN_FLIGHT_LIMIT: u32 = 1_000_000;
/// Most attempts a rollout may make with one device.
pub const ATTEMPTS_LIMIT: u32 = 100;

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
            pace: Pace { in_flight_max: 1_000 },
            abort: AbortRule { failed_percent: 10, ended_min: 20 },
            retry: RetryRule { attempts_max: 3, back_off: HOUR / 6 },
            deadlines: Deadlines {
                queued: 26 * HOUR,
                downloading: 26 * HOUR,
                installing: 26 * HOUR,
                rebooting: 26 * HOUR,
            },
            downgrade: Downgrade::Refused,
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
        let Deadlines { queued, downloading, installing, rebooting } = self.deadlines;
        if [queued, downloading, installing, rebooting]
            .iter()
            .any(|deadline| *deadline < Duration::from_secs(1))
        {
            return Err("deadlines: at least 1 second each");
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

/// The fleet-level decision about one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its ID.
    pub id: RolloutId,
    /// The product.
    pub product: ProductName,
    /// The version it brings.
    pub version: Version,
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
}

impl Rollout {
    /// Whether the abort rule says stop, given how executions stand. A sentence saying why, if so.
    #[must_use]
    pub fn abort_reason(&self, tally: &Tally) -> Option<String> {
        let AbortRule { failed_percent, ended_min } = self.plan.abort;
        let bad = tally.count(StateKind::Failed) + tally.count(StateKind::TimedOut);
        let ended = bad + tally.count(StateKind::Succeeded);
        let judged = ended >= u64::from(ended_min) && bad > 0;
        (judged && bad * 100 >= u64::from(failed_percent) * ended).then(|| {
            format!("{bad} of {ended} ended executions went badly; the abort rule allows less than {failed_percent} %")
        })
    }

    /// When a device whose execution ended may be tried again; `None`: never. `reason` is why it failed, if it did.
    #[must_use]
    pub fn retry_at(
        &self,
        reason: Option<FailureReason>,
        attempt: u32,
        ended: Timestamp,
    ) -> Option<Timestamp> {
        let again = reason.is_none_or(FailureReason::is_transient) && attempt < self.plan.retry.attempts_max;
        let doublings = attempt.saturating_sub(1).min(16);
        again.then(|| ended.plus(self.plan.retry.back_off.saturating_mul(1 << doublings)))
    }
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
