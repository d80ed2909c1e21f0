//! Whose turn, how fast, when to stop: what a rollout holds to.

use crate::stage::{PRODUCT, Stage, version};
use std::time::Duration;
use updraft_core::execution::OFFERS_MAX;
use updraft_core::fleet::{Error, NewRollout};
use updraft_core::report::Word;
use updraft_core::rollout::{Downgrade, Plan, RolloutState};
use updraft_core::state::{FailureReason, StateKind};

fn devices(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("d{number}"))
}

#[test]
fn the_newest_release_that_matches_is_offered_by_semver_never_by_text() {
    let mut stage = Stage::new();
    for text in ["1.9.0", "1.10.0", "1.10.0-rc.1", "1.2.0"] {
        stage.rollout(text, |_| {});
    }
    assert_eq!(stage.legacy("d", "1.0.0").as_deref(), Some("1.10.0"));
}

#[test]
fn a_release_whose_policy_does_not_match_is_passed_over_for_the_next_older_one() {
    let mut stage = Stage::new();
    stage.rollout("1.1.0", |_| {});
    stage.release_for("2.0.0", "device.model == 'M-2'");
    stage.rollout("2.0.0", |_| {});
    assert_eq!(stage.legacy("d", "1.0.0").as_deref(), Some("1.1.0"));
    let explanation = stage.fleet.explain(stage.now, &"d".parse().unwrap(), Some(&version("2.0.0"))).unwrap();
    let text = explanation.releases[0].obstacles[0].to_string();
    assert!(text.contains("policy does not match") && text.contains("device.model"), "{text}");
}

#[test]
fn a_device_that_runs_the_version_already_downloads_nothing() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    assert_eq!(stage.legacy("factory-fresh", "1.1.0"), None);
    assert_eq!(stage.legacy("same-by-precedence", "1.1.0+build.7"), None);
    stage.tick();
    assert_eq!(stage.rollout_state(&rollout), RolloutState::Completed);
}

#[test]
fn a_device_that_has_taken_an_update_is_explained_by_that_alone() {
    let mut stage = Stage::new();
    stage.release_for("1.1.0", "true");
    stage.rollout("1.1.0", |_| {});
    stage.native("d", "1.0.0", 1, None);
    stage.native("d", "1.1.0", 2, None);
    let explanation = stage.fleet.explain(stage.now, &"d".parse().unwrap(), None).unwrap();
    let obstacles: Vec<_> = explanation.releases[0].obstacles.iter().map(ToString::to_string).collect();
    assert_eq!(obstacles, ["the device runs this version already"]);
}

#[test]
fn a_device_on_a_newer_version_is_taken_back_only_where_the_rollout_says_so() {
    let mut stage = Stage::new();
    stage.release_for("1.0.0", "true");
    let rollout = stage.rollout("1.0.0", |_| {});
    assert_eq!(stage.legacy("d", "1.1.0"), None);
    stage.fleet.abort(stage.now, &rollout, "a test").unwrap();
    stage.fleet.commit().unwrap();
    let mut plan = Plan::standard(stage.now);
    plan.downgrade = Downgrade::Allowed;
    let product = PRODUCT.parse().unwrap();
    let new = NewRollout { id: "rback".parse().unwrap(), product, version: version("1.0.0"), plan };
    stage.fleet.start_rollout(stage.now, new, "a test").unwrap();
    assert_eq!(stage.legacy("d", "1.1.0").as_deref(), Some("1.0.0"));
}

#[test]
fn a_version_that_is_not_semver_gets_nothing_and_an_explanation() {
    let mut stage = Stage::new();
    stage.rollout("1.1.0", |_| {});
    assert_eq!(stage.legacy("d", "build 7"), None);
    let explanation = stage.fleet.explain(stage.now, &"d".parse().unwrap(), None).unwrap();
    let text = explanation.releases[0].obstacles[0].to_string();
    assert!(text.contains("\"build 7\"") && text.contains("not a SemVer version"), "{text}");
}

#[test]
fn no_more_executions_are_open_than_the_pace_allows_and_a_silent_device_gives_its_place_back() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |plan| {
        plan.pace.in_flight_max = 2;
        plan.abort.failed_percent = 101;
    });
    let offered: Vec<_> =
        devices(5).filter(|device| stage.native(device, "1.0.0", 1, None).is_some()).collect();
    assert_eq!(offered.len(), 2);
    assert_eq!(stage.native("d4", "1.0.0", 1, None), None);
    let generation = stage.fleet.generation();
    stage.wait(Duration::from_secs(27 * 3600));
    stage.tick();
    assert_eq!(stage.kind(&offered[0], &rollout), StateKind::TimedOut);
    assert!(stage.fleet.generation() > generation, "a refusal for want of room no longer holds");
    assert_eq!(stage.native("d4", "1.0.0", 1, None).as_deref(), Some("1.1.0"));
}

#[test]
fn a_percentage_takes_its_share_and_a_larger_one_keeps_those_who_were_in() {
    let share = |percent: u16| {
        let mut stage = Stage::new();
        stage.rollout("1.1.0", |plan| plan.waves[0].positions = percent * 100);
        devices(1_000).filter(|device| stage.legacy(device, "1.0.0").is_some()).collect::<Vec<_>>()
    };
    let (tenth, fifth) = (share(10), share(20));
    assert!((70..130).contains(&tenth.len()), "{}", tenth.len());
    assert!(tenth.iter().all(|device| fifth.contains(device)));
}

#[test]
fn a_rollout_that_goes_badly_aborts_itself_and_opens_nothing_more() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |plan| {
        plan.abort.failed_percent = 20;
        plan.abort.ended_min = 5;
    });
    for device in devices(6) {
        stage.native(&device, "1.0.0", 1, None);
    }
    for device in devices(4) {
        stage.native(&device, "1.1.0", 2, None);
    }
    assert_eq!(stage.rollout_state(&rollout), RolloutState::Running);
    stage.native("d4", "1.0.0", 3, Some((&rollout, 1, Word::Failed(FailureReason::RolledBack))));
    assert_eq!(stage.rollout_state(&rollout), RolloutState::Aborted);
    assert_eq!(stage.native("d7", "1.0.0", 1, None), None);
    stage.tick();
    assert_eq!(stage.kind("d5", &rollout), StateKind::Canceled, "what was open is canceled");
}

#[test]
fn silence_counts_for_the_abort_rule() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |plan| plan.abort.ended_min = 5);
    for device in devices(5) {
        stage.native(&device, "1.0.0", 1, None);
    }
    stage.wait(Duration::from_secs(27 * 3600));
    stage.tick();
    assert_eq!(stage.rollout_state(&rollout), RolloutState::Aborted);
}

#[test]
fn a_paused_rollout_opens_nothing_and_lets_finish_what_is_open() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    stage.native("d0", "1.0.0", 1, None);
    stage.fleet.pause(stage.now, &rollout, "a test").unwrap();
    stage.fleet.commit().unwrap();
    assert_eq!(stage.native("d1", "1.0.0", 1, None), None);
    assert_eq!(stage.native("d0", "1.0.0", 1, None).as_deref(), Some("1.1.0"));
    stage.native("d0", "1.1.0", 2, None);
    assert_eq!(stage.kind("d0", &rollout), StateKind::Succeeded);
    stage.fleet.resume(stage.now, &rollout, "a test").unwrap();
    assert_eq!(stage.native("d1", "1.0.0", 1, None).as_deref(), Some("1.1.0"));
}

#[test]
fn an_aborted_rollout_is_over_at_once_for_everyone() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    stage.native("d", "1.0.0", 1, None);
    stage.fleet.abort(stage.now, &rollout, "a test").unwrap();
    stage.fleet.commit().unwrap();
    assert_eq!(stage.native("d", "1.0.0", 1, Some((&rollout, 1, Word::Downloading))), None);
    assert_eq!(stage.kind("d", &rollout), StateKind::Canceled);
    let again = stage.fleet.resume(stage.now, &rollout, "a test");
    assert!(matches!(again, Err(Error::WrongState { .. })));
}

#[test]
fn a_completed_rollout_still_serves_a_device_that_turns_up_later() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    stage.native("d0", "1.0.0", 1, None);
    stage.tick();
    assert_eq!(stage.rollout_state(&rollout), RolloutState::Running);
    stage.native("d0", "1.1.0", 2, None);
    stage.tick();
    assert_eq!(stage.rollout_state(&rollout), RolloutState::Completed);
    assert_eq!(stage.native("from-a-drawer", "1.0.0", 1, None).as_deref(), Some("1.1.0"));
    assert_eq!(stage.rollout_state(&rollout), RolloutState::Running);
}

#[test]
fn asking_twice_gives_the_same_job_and_opens_nothing_twice() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    for _ in 0..=OFFERS_MAX + 3 {
        assert_eq!(stage.native("d", "1.0.0", 1, None).as_deref(), Some("1.1.0"));
    }
    assert_eq!(stage.execution("d", &rollout).attempt, 1);
    assert_eq!(stage.notes("d").len(), 1);
}

#[test]
fn one_release_has_one_rollout_under_way() {
    let mut stage = Stage::new();
    stage.rollout("1.1.0", |_| {});
    let (product, plan) = (PRODUCT.parse().unwrap(), Plan::standard(stage.now));
    let new = NewRollout { id: "rtwo".parse().unwrap(), product, version: version("1.1.0"), plan };
    assert!(matches!(stage.fleet.start_rollout(stage.now, new, "a test"), Err(Error::RolloutExists(_))));
}

#[test]
fn a_device_is_in_one_execution_at_a_time() {
    let mut stage = Stage::new();
    let first = stage.rollout("1.1.0", |_| {});
    assert_eq!(stage.native("d", "1.0.0", 1, None).as_deref(), Some("1.1.0"));
    stage.rollout("1.2.0", |_| {});
    assert_eq!(
        stage.native("d", "1.0.0", 1, None).as_deref(),
        Some("1.1.0"),
        "what is open is finished first"
    );
    assert_eq!(stage.native("d", "1.1.0", 2, None).as_deref(), Some("1.2.0"));
    assert_eq!(stage.kind("d", &first), StateKind::Succeeded);
}

#[test]
fn a_second_rollout_stays_current_though_the_clock_stepped_back_before_it() {
    let mut stage = Stage::new();
    let first = stage.rollout("1.1.0", |_| {});
    stage.fleet.abort(stage.now, &first, "a test").unwrap();
    stage.fleet.commit().unwrap();
    let before = updraft_core::time::Timestamp::from_millis(stage.now.as_millis() - 3_600_000);
    let plan = Plan::standard(before);
    let second: updraft_core::id::RolloutId = "rsecond".parse().unwrap();
    let (product, version) = (PRODUCT.parse().unwrap(), version("1.1.0"));
    let new = NewRollout { id: second, product, version, plan };
    stage.fleet.start_rollout(before, new, "a test").unwrap();
    stage.fleet.commit().unwrap();
    let store = stage.fleet.store_mut().clone();
    stage.fleet = updraft_core::fleet::Fleet::open(store).unwrap();
    assert_eq!(stage.native("d", "1.0.0", 1, None).as_deref(), Some("1.1.0"));
}
