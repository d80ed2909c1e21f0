//! The domain's things as the API's bodies.

use std::time::Duration;

use serde_json::{Map, Value};
use updraft_core::attributes::Attributes;
use updraft_core::policy;
use updraft_core::release::Release;
use updraft_core::rollout::{Downgrade, POSITIONS, Plan, Rollout};
use updraft_core::state::ExecutionState;
use updraft_core::time::Timestamp;
use updraft_wire::operator as wire;

/// A time in RFC 3339, UTC; the nearest that can be written, if it is beyond the year 9999.
pub(super) fn time(time: Timestamp) -> String {
    let millis = time.as_millis();
    let limit = if millis < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_millisecond(millis).unwrap_or(limit).to_string()
}

/// A duration as people write it.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text: String = [(hours, "h"), (minutes, "m"), (seconds, "s")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit} "))
        .collect();
    if duration.subsec_millis() > 0 || text.is_empty() {
        text.push_str(&format!("{}ms", duration.subsec_millis()));
    }
    text.trim_end().to_owned()
}

/// Attributes as a flat object.
pub(super) fn attributes(attributes: &Attributes) -> Map<String, Value> {
    match serde_json::to_value(attributes) {
        Ok(Value::Object(map)) => map,
        Ok(_) | Err(_) => unreachable!("attributes are written as an object of plain values"),
    }
}

pub(super) fn release(release: &Release) -> wire::release::Release {
    wire::release::Release {
        product: release.product.to_string(),
        version: release.version.to_string(),
        sha256: release.artifact.sha256.clone(),
        md5: release.artifact.md5.clone(),
        size: release.artifact.size,
        policy: release.policy.source().to_owned(),
        attributes: attributes(&release.attributes),
        created: time(release.created),
    }
}

pub(super) fn rollout(rollout: &Rollout) -> wire::rollout::Rollout {
    wire::rollout::Rollout {
        id: rollout.id.to_string(),
        product: rollout.release().map(|(product, _)| product.to_string()),
        version: rollout.release().map(|(_, version)| version.to_string()),
        task: rollout.task().map(|task| task.name.to_string()),
        state: rollout.state.to_string(),
        state_since: time(rollout.state_since),
        note: rollout.state_note.clone(),
        created: time(rollout.created),
        plan: plan(&rollout.plan),
        history: Vec::new(),
    }
}

fn plan(plan: &Plan) -> wire::rollout::Plan {
    let waves = plan.waves.iter().map(|wave| wire::rollout::Wave {
        percentage: f64::from(wave.positions) * 100.0 / f64::from(POSITIONS),
        starts: time(wave.starts),
    });
    wire::rollout::Plan {
        waves: waves.collect(),
        in_flight_max: plan.pace.in_flight_max,
        per_minute_max: plan.pace.per_minute_max,
        abort_percent: plan.abort.failed_percent,
        abort_ended_min: plan.abort.ended_min,
        attempts_max: plan.retry.attempts_max,
        back_off: duration(plan.retry.back_off),
        deadlines: wire::rollout::Deadlines {
            queued: duration(plan.deadlines.queued),
            downloading: duration(plan.deadlines.downloading),
            installing: duration(plan.deadlines.installing),
            rebooting: duration(plan.deadlines.rebooting),
        },
        allow_downgrade: match plan.downgrade {
            Downgrade::Refused => false,
            Downgrade::Allowed => true,
        },
    }
}

/// A state in one word, with the reason of a failure.
pub(super) fn state(state: ExecutionState) -> String {
    match state.reason() {
        Some(reason) => format!("{} ({})", state.kind(), reason.as_str()),
        None => state.kind().to_string(),
    }
}

pub(super) fn outcome(explanation: &policy::Explanation) -> wire::policy::Outcome {
    let clauses = explanation.clauses.iter().map(|clause| wire::policy::Clause {
        text: clause.source.clone(),
        holds: clause.holds(),
        why: clause.why(),
    });
    wire::policy::Outcome { matches: explanation.matches, clauses: clauses.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_read_back_as_they_were_written() {
        for seconds in [1, 59, 60, 3_600, 93_600, 100_000] {
            let text = duration(Duration::from_secs(seconds));
            assert_eq!(crate::interval::parse_duration(&text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration(Duration::from_secs(26 * 3600)), "26h");
        assert_eq!(time(Timestamp::from_millis(1_772_366_400_123)), "2026-03-01T12:00:00.123Z");
        for far in [i64::MIN, i64::MAX] {
            let text = time(Timestamp::from_millis(far));
            assert!(text.ends_with('Z'), "{far}: {text:?}");
        }
    }
}
