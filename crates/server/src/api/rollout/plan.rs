//! A rollout's plan from what an operator sets; the rest is the standard plan's.

use updraft_core::rollout::{Downgrade, POSITIONS, Plan};
use updraft_core::time::Timestamp;
use updraft_wire::operator::rollout::Start;

use crate::api::refusal::Refusal;
use crate::api::request::{duration, time};

/// The plan that a request asks for.
pub(super) fn of(start: &Start, now: Timestamp) -> Result<Plan, Refusal> {
    let starts = match &start.starts {
        Some(text) => time("starts", text)?,
        None => now,
    };
    let mut plan = Plan::standard(starts);
    if let Some(percentage) = start.percentage {
        plan.waves[0].positions = positions(percentage)?;
    }
    set(&mut plan.pace.in_flight_max, start.in_flight_max);
    plan.pace.per_minute_max = start.per_minute_max;
    set(&mut plan.abort.failed_percent, start.abort_percent);
    set(&mut plan.abort.ended_min, start.abort_ended_min);
    set(&mut plan.retry.attempts_max, start.attempts_max);
    if let Some(text) = &start.back_off {
        plan.retry.back_off = duration("back_off", text)?;
    }
    if let Some(change) = &start.deadlines {
        let deadlines = &mut plan.deadlines;
        for (name, text, deadline) in [
            ("queued", &change.queued, &mut deadlines.queued),
            ("downloading", &change.downloading, &mut deadlines.downloading),
            ("installing", &change.installing, &mut deadlines.installing),
            ("rebooting", &change.rebooting, &mut deadlines.rebooting),
        ] {
            if let Some(text) = text {
                *deadline = duration(&format!("deadlines.{name}"), text)?;
            }
        }
    }
    if start.allow_downgrade {
        plan.downgrade = Downgrade::Allowed;
    }
    plan.check().map_err(|message| Refusal::bad("plan_invalid", message))?;
    Ok(plan)
}

fn set<T>(setting: &mut T, wanted: Option<T>) {
    if let Some(wanted) = wanted {
        *setting = wanted;
    }
}

/// Hundredths of a percent.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the product is 1 to 10000, as was checked"
)]
fn positions(percentage: f64) -> Result<u16, Refusal> {
    let positions = (percentage * f64::from(POSITIONS) / 100.0).round();
    if (1.0..=f64::from(POSITIONS)).contains(&positions) {
        Ok(positions as u16)
    } else {
        Err(Refusal::bad("plan_invalid", "percentage: 0.01 to 100"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_kept_to_the_hundredth_and_nonsense_is_refused() {
        for (percentage, expected) in [(0.01, Some(1)), (12.34, Some(1_234)), (100.0, Some(10_000))] {
            assert_eq!(positions(percentage).ok(), expected, "{percentage}");
        }
        for percentage in [0.0, -1.0, 100.1, f64::NAN, f64::INFINITY] {
            assert!(positions(percentage).is_err(), "{percentage}");
        }
    }
}
