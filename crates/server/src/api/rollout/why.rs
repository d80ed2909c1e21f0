//! What a rollout is waiting for, in a sentence: the first thing an operator asks of one that does not move.

use updraft_core::rollout::{Rollout, RolloutState};
use updraft_core::state::{StateKind, Tally};
use updraft_core::time::Timestamp;

use crate::api::render;

/// The sentence.
pub(super) fn is_it_waiting(rollout: &Rollout, tally: &Tally, now: Timestamp) -> String {
    let in_flight = tally.in_flight();
    match rollout.state {
        RolloutState::Draft => "It was not started.".to_owned(),
        RolloutState::Paused if in_flight == 0 => format!("It is paused: {}.", rollout.state_note),
        RolloutState::Paused => {
            format!("It is paused ({}); {} under way go on.", rollout.state_note, devices(in_flight))
        }
        RolloutState::Aborted if in_flight == 0 => format!("It was aborted: {}.", rollout.state_note),
        RolloutState::Aborted => {
            format!(
                "It was aborted ({}); {} under way are being canceled.",
                rollout.state_note,
                devices(in_flight)
            )
        }
        RolloutState::Completed => completed(tally),
        RolloutState::Running => running(rollout, tally, now),
    }
}

fn running(rollout: &Rollout, tally: &Tally, now: Timestamp) -> String {
    let in_flight = tally.in_flight();
    let next_wave = rollout.plan.waves.iter().map(|wave| wave.starts).filter(|starts| *starts > now).min();
    if in_flight >= u64::from(rollout.plan.pace.in_flight_max) {
        return format!(
            "{} are under way, as many as may be at once; the next begin as these end.",
            devices(in_flight)
        );
    }
    if in_flight > 0 {
        return format!("{}: it goes on as they report.", stages(tally));
    }
    match (rollout.survey.map(|survey| survey.due), next_wave) {
        (_, Some(starts)) if rollout.plan.positions_open(now) == 0 => {
            format!("Its first wave begins at {}.", render::time(starts))
        }
        (None, _) => "The fleet is being looked over for devices that are due.".to_owned(),
        (Some(0), Some(starts)) => {
            format!("Nothing is left to do before the next wave at {}.", render::time(starts))
        }
        (Some(0), None) => "No device is due; it completes when the fleet was looked over again.".to_owned(),
        (Some(due), _) => format!("{} due; each is offered the release when it next checks in.", are(due)),
    }
}

fn completed(tally: &Tally) -> String {
    let bad = tally.count(StateKind::Failed) + tally.count(StateKind::TimedOut);
    let good = tally.count(StateKind::Succeeded);
    if bad + good == 0 {
        return "It is complete: no known device is due. A device that turns up later is still served."
            .to_owned();
    }
    if bad == 0 {
        return format!(
            "It is complete: {} updated. A device that turns up later is still served.",
            devices(good)
        );
    }
    format!(
        "It is complete: {} updated, {} ended badly; `rollout retry` makes those due again.",
        devices(good),
        devices(bad)
    )
}

/// Where those under way are.
fn stages(tally: &Tally) -> String {
    let stages: Vec<String> = StateKind::ALL
        .into_iter()
        .filter(|kind| kind.is_open() && tally.count(*kind) > 0)
        .map(|kind| format!("{} {kind}", tally.count(kind)))
        .collect();
    format!("{} under way ({})", devices(tally.in_flight()), stages.join(", "))
}

fn devices(count: u64) -> String {
    if count == 1 { "1 device".to_owned() } else { format!("{count} devices") }
}

fn are(count: u64) -> String {
    if count == 1 { "1 device is".to_owned() } else { format!("{count} devices are") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use updraft_core::rollout::{Plan, Survey, Work};

    const NOW: Timestamp = Timestamp::from_millis(1_772_366_400_000);

    fn check(change: impl FnOnce(&mut Rollout, &mut Tally), expected: &str) {
        let mut rollout = Rollout {
            id: "r1".parse().unwrap(),
            work: Work::Release { product: "cam".parse().unwrap(), version: "1.1.0".parse().unwrap() },
            plan: Plan::standard(NOW),
            state: RolloutState::Running,
            state_since: NOW,
            state_note: "operator ann".into(),
            created: NOW,
            survey: None,
            retry_before: None,
            retired: None,
        };
        let mut tally = Tally::default();
        change(&mut rollout, &mut tally);
        assert_eq!(is_it_waiting(&rollout, &tally, NOW), expected);
    }

    #[test]
    fn each_reason_to_stand_still_has_its_sentence() {
        check(|_, _| {}, "The fleet is being looked over for devices that are due.");
        check(
            |rollout, _| rollout.survey = Some(Survey { at: NOW, due: 7 }),
            "7 devices are due; each is offered the release when it next checks in.",
        );
        check(
            |rollout, tally| {
                rollout.plan.pace.in_flight_max = 2;
                tally.set(StateKind::Downloading, 2);
            },
            "2 devices are under way, as many as may be at once; the next begin as these end.",
        );
        check(
            |_, tally| tally.set(StateKind::Rebooting, 1),
            "1 device under way (1 rebooting): it goes on as they report.",
        );
        check(
            |rollout, _| rollout.plan.waves[0].starts = NOW.plus(std::time::Duration::from_secs(3600)),
            "Its first wave begins at 2026-03-01T13:00:00Z.",
        );
        check(|rollout, _| rollout.state = RolloutState::Paused, "It is paused: operator ann.");
        check(
            |rollout, tally| {
                rollout.state = RolloutState::Completed;
                tally.set(StateKind::Succeeded, 9);
                tally.set(StateKind::Failed, 1);
            },
            "It is complete: 9 devices updated, 1 device ended badly; `rollout retry` makes those due again.",
        );
    }
}
