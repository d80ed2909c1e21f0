//! How a job goes about its work, as the control plane says it: read into a plan, and written from one.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use updraft_core::rollout::{
    ATTEMPTS_LIMIT, AbortCriterion, AbortReach, AbortRule, BadEnd, CRITERIA_MAX, Deadlines, Downgrade,
    IN_FLIGHT_LIMIT, POSITIONS, Pace, Plan, RetryRule, Wave,
};
use updraft_core::time::Timestamp;

use super::super::failure::Failure;

/// Longest life of an execution once begun, in minutes (AWS IoT Jobs): 7 days.
const TIMEOUT_MINUTES_MAX: u64 = 10_080;
/// Most retries of one device, over all criteria (AWS IoT Jobs).
const RETRIES_MAX: u32 = 10;
/// How long a job waits for a device that is silent: without an end, says the contract. A hundred years are one, and a
/// time that can be counted with.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);
/// An abort rule that never says stop: this contract's rules are criteria.
const NEVER: AbortRule = AbortRule { failed_percent: 101, ended_min: u32::MAX };

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RolloutConfig {
    maximum_per_minute: Option<u32>,
    exponential_rate: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AbortConfig {
    criteria_list: Vec<AbortEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AbortEntry {
    failure_type: FailureType,
    action: AbortAction,
    threshold_percentage: f64,
    min_number_of_executed_things: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum AbortAction {
    Cancel,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum FailureType {
    Failed,
    Rejected,
    TimedOut,
    All,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TimeoutConfig {
    in_progress_timeout_in_minutes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RetryConfig {
    criteria_list: Vec<RetryEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RetryEntry {
    failure_type: FailureType,
    number_of_retries: u32,
}

/// What a request says of a job's limits; what is `None` it does not say.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Limits {
    pub(super) per_minute_max: Option<u32>,
    pub(super) criteria: Option<Vec<AbortCriterion>>,
    pub(super) in_progress: Option<Duration>,
    pub(super) retry: Option<Retries>,
}

/// How often a device is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retries {
    after_failure: u32,
    after_timeout: u32,
    total: u32,
}

impl Limits {
    /// Reads them, each checked.
    pub(super) fn read(
        rollout: Option<RolloutConfig>,
        abort: Option<AbortConfig>,
        timeout: Option<TimeoutConfig>,
        retry: Option<RetryConfig>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            per_minute_max: rollout.map(per_minute_max).transpose()?.flatten(),
            criteria: abort.map(criteria).transpose()?,
            in_progress: timeout.map(in_progress).transpose()?.flatten(),
            retry: retry.map(retries).transpose()?,
        })
    }

    /// Puts them into a plan.
    pub(super) fn apply(self, plan: &mut Plan) -> Result<(), Failure> {
        if let Some(max) = self.per_minute_max {
            plan.pace.per_minute_max = Some(max);
        }
        if let Some(criteria) = self.criteria {
            plan.criteria = criteria;
        }
        if let Some(limit) = self.in_progress {
            plan.deadlines.in_progress = Some(limit);
        }
        if let Some(Retries { after_failure, after_timeout, total }) = self.retry {
            plan.retry.after_failure_max = Some(after_failure);
            plan.retry.after_timeout_max = Some(after_timeout);
            plan.retry.attempts_max = total + 1;
        }
        if plan.retry.after_timeout_max.is_some_and(|retries| retries > 0)
            && plan.deadlines.in_progress.is_none()
        {
            return Err(Failure::invalid(
                "jobExecutionsRetryConfig: to try again after TIMED_OUT takes a timeoutConfig",
            ));
        }
        Ok(())
    }
}

/// The plan of a job that says nothing: everyone at once, for ever, no retry, no abort.
pub(super) fn plan(now: Timestamp) -> Plan {
    Plan {
        waves: vec![Wave { positions: POSITIONS, starts: now }],
        pace: Pace { in_flight_max: IN_FLIGHT_LIMIT, per_minute_max: None },
        abort: NEVER,
        retry: RetryRule {
            attempts_max: 1,
            back_off: Duration::ZERO,
            after_failure_max: Some(0),
            after_timeout_max: Some(0),
        },
        deadlines: Deadlines {
            queued: FOR_EVER,
            downloading: FOR_EVER,
            installing: FOR_EVER,
            rebooting: FOR_EVER,
            in_progress: None,
        },
        downgrade: Downgrade::Refused,
        criteria: Vec::new(),
        abort_reach: AbortReach::Queued,
    }
}

fn per_minute_max(config: RolloutConfig) -> Result<Option<u32>, Failure> {
    if config.exponential_rate.is_some_and(|rate| !rate.is_null()) {
        return Err(Failure::invalid(
            "jobExecutionsRolloutConfig.exponentialRate is not supported yet; use maximumPerMinute",
        ));
    }
    match config.maximum_per_minute {
        Some(0) => Err(Failure::invalid("maximumPerMinute: at least 1")),
        max => Ok(max),
    }
}

fn criteria(config: AbortConfig) -> Result<Vec<AbortCriterion>, Failure> {
    if !(1..=CRITERIA_MAX).contains(&config.criteria_list.len()) {
        return Err(Failure::invalid(format!("abortConfig.criteriaList: 1 to {CRITERIA_MAX} criteria")));
    }
    config.criteria_list.into_iter().map(criterion).collect()
}

fn criterion(entry: AbortEntry) -> Result<AbortCriterion, Failure> {
    let AbortEntry { failure_type, action: AbortAction::Cancel, threshold_percentage, .. } = entry;
    let counts = match failure_type {
        FailureType::Failed => BadEnd::Failed,
        FailureType::Rejected => BadEnd::Rejected,
        FailureType::TimedOut => BadEnd::TimedOut,
        FailureType::All => BadEnd::Any,
    };
    let hundredths = (threshold_percentage * 100.0).round();
    if !(1.0..=10_000.0).contains(&hundredths) {
        return Err(Failure::invalid("thresholdPercentage: 0.01 to 100"));
    }
    if entry.min_number_of_executed_things == 0 {
        return Err(Failure::invalid("minNumberOfExecutedThings: at least 1"));
    }
    // Checked above: a whole number up to 10,000.
    let share = hundredths as u16;
    Ok(AbortCriterion { counts, share, ended_min: entry.min_number_of_executed_things })
}

fn in_progress(config: TimeoutConfig) -> Result<Option<Duration>, Failure> {
    match config.in_progress_timeout_in_minutes {
        None => Ok(None),
        Some(minutes) if (1..=TIMEOUT_MINUTES_MAX).contains(&minutes) => {
            Ok(Some(Duration::from_secs(60 * minutes)))
        }
        Some(_) => Err(Failure::invalid(format!("inProgressTimeoutInMinutes: 1 to {TIMEOUT_MINUTES_MAX}"))),
    }
}

fn retries(config: RetryConfig) -> Result<Retries, Failure> {
    let wrong = |what: &str| Err(Failure::invalid(format!("jobExecutionsRetryConfig: {what}")));
    let mut found = Retries { after_failure: 0, after_timeout: 0, total: 0 };
    let mut seen = Vec::new();
    if !(1..=2).contains(&config.criteria_list.len()) {
        return wrong("1 or 2 criteria");
    }
    for RetryEntry { failure_type, number_of_retries } in config.criteria_list {
        if seen.contains(&failure_type) || seen.contains(&FailureType::All) {
            return wrong("each failure type once, and ALL alone");
        }
        match failure_type {
            FailureType::Failed => found.after_failure = number_of_retries,
            FailureType::TimedOut => found.after_timeout = number_of_retries,
            FailureType::All if seen.is_empty() => {
                (found.after_failure, found.after_timeout) = (number_of_retries, number_of_retries);
            }
            FailureType::All => return wrong("each failure type once, and ALL alone"),
            FailureType::Rejected => return wrong("a failure type is FAILED, TIMED_OUT or ALL"),
        }
        found.total = found.total.saturating_add(number_of_retries);
        seen.push(failure_type);
    }
    const { assert!(RETRIES_MAX < ATTEMPTS_LIMIT) };
    if found.total > RETRIES_MAX { wrong("at most 10 retries in all") } else { Ok(found) }
}

/// The limits of a job as an answer shows them: those that are set.
pub(super) fn render(plan: &Plan) -> Map<String, Value> {
    let mut shown = Map::new();
    if let Some(max) = plan.pace.per_minute_max {
        shown.insert("jobExecutionsRolloutConfig".to_owned(), json!({ "maximumPerMinute": max }));
    }
    if !plan.criteria.is_empty() {
        let list: Vec<_> = plan.criteria.iter().map(render_criterion).collect();
        shown.insert("abortConfig".to_owned(), json!({ "criteriaList": list }));
    }
    if let Some(limit) = plan.deadlines.in_progress {
        let minutes = limit.as_secs() / 60;
        shown.insert("timeoutConfig".to_owned(), json!({ "inProgressTimeoutInMinutes": minutes }));
    }
    let RetryRule { attempts_max, after_failure_max, after_timeout_max, .. } = plan.retry;
    let (failed, timed_out) = (after_failure_max.unwrap_or(0), after_timeout_max.unwrap_or(0));
    let entry = |kind: &str, retries: u32| json!({ "failureType": kind, "numberOfRetries": retries });
    let list: Vec<_> = if failed == timed_out && attempts_max == failed + 1 {
        [("ALL", failed)]
            .into_iter()
            .filter(|(_, retries)| *retries > 0)
            .map(|(kind, n)| entry(kind, n))
            .collect()
    } else {
        let kinds = [("FAILED", failed), ("TIMED_OUT", timed_out)];
        kinds.into_iter().filter(|(_, retries)| *retries > 0).map(|(kind, n)| entry(kind, n)).collect()
    };
    if !list.is_empty() {
        shown.insert("jobExecutionsRetryConfig".to_owned(), json!({ "criteriaList": list }));
    }
    shown
}

fn render_criterion(criterion: &AbortCriterion) -> Value {
    let kind = match criterion.counts {
        BadEnd::Failed => "FAILED",
        BadEnd::Rejected => "REJECTED",
        BadEnd::TimedOut => "TIMED_OUT",
        BadEnd::Any => "ALL",
    };
    json!({
        "failureType": kind,
        "action": "CANCEL",
        "thresholdPercentage": f64::from(criterion.share) / 100.0,
        "minNumberOfExecutedThings": criterion.ended_min,
    })
}
