//! How an execution ends: success, failure, silence, each its own outcome.

use crate::stage::Stage;
use std::time::Duration;
use updraft_core::report::Word;
use updraft_core::rollout::RolloutState;
use updraft_core::state::{ExecutionState, FailureReason, StateKind};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn success_is_the_target_version_reported_not_installed_said() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    assert_eq!(stage.native("d", "1.0.0", 1, None).as_deref(), Some("1.1.0"));
    for word in [Word::Downloading, Word::Downloaded, Word::Installing, Word::Rebooting, Word::Succeeded] {
        stage.native("d", "1.0.0", 1, Some((&rollout, 1, word)));
        assert!(stage.state("d", &rollout).is_open(), "{word:?} alone is no success");
    }
    stage.native("d", "1.1.0", 2, Some((&rollout, 1, Word::Succeeded)));
    assert_eq!(stage.state("d", &rollout), ExecutionState::Succeeded);
}

#[test]
fn a_trial_is_no_success_though_the_target_version_runs() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    stage.native("d", "1.0.0", 1, None);
    stage.native("d", "1.1.0", 2, Some((&rollout, 1, Word::Trial)));
    assert_eq!(stage.kind("d", &rollout), StateKind::Rebooting);
    stage.native("d", "1.0.0", 3, Some((&rollout, 1, Word::Failed(FailureReason::RolledBack))));
    assert_eq!(stage.state("d", &rollout), ExecutionState::Failed(FailureReason::RolledBack));
}

#[test]
fn a_device_that_says_it_failed_has_not_succeeded_though_the_target_version_runs() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    stage.native("d", "1.0.0", 1, None);
    stage.native("d", "1.1.0", 4, Some((&rollout, 1, Word::Failed(FailureReason::RolledBack))));
    assert_eq!(stage.state("d", &rollout), ExecutionState::Failed(FailureReason::RolledBack));
}

#[test]
fn the_old_version_after_a_restart_is_a_rollback_and_before_it_is_not() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    stage.native("d", "1.0.0", 7, None);
    stage.native("d", "1.0.0", 7, Some((&rollout, 1, Word::Rebooting)));
    // A late word from before the restart, spoken in the same boot.
    stage.native("d", "1.0.0", 7, None);
    assert_eq!(stage.kind("d", &rollout), StateKind::Rebooting);
    stage.native("d", "1.0.0", 8, None);
    assert_eq!(stage.state("d", &rollout), ExecutionState::Failed(FailureReason::RolledBack));
}

#[test]
fn silence_is_its_own_outcome_in_each_phase() {
    for word in [None, Some(Word::Downloading), Some(Word::Installing), Some(Word::Rebooting)] {
        let mut stage = Stage::new();
        let rollout = stage.rollout("1.1.0", |_| {});
        stage.native("d", "1.0.0", 1, None);
        if let Some(word) = word {
            stage.native("d", "1.0.0", 1, Some((&rollout, 1, word)));
        }
        stage.wait(DAY);
        stage.tick();
        assert!(stage.state("d", &rollout).is_open(), "a day is within the patience");
        stage.wait(DAY);
        stage.tick();
        assert_eq!(stage.state("d", &rollout), ExecutionState::TimedOut, "{word:?}");
    }
}

#[test]
fn the_same_old_version_after_every_offer_is_its_own_outcome_and_no_endless_download() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    for _ in 0..3 {
        assert_eq!(stage.legacy("d", "1.0.0").as_deref(), Some("1.1.0"));
        stage.wait(DAY);
    }
    assert_eq!(stage.legacy("d", "1.0.0"), None);
    assert_eq!(stage.state("d", &rollout), ExecutionState::Failed(FailureReason::VersionUnchanged));
    stage.wait(30 * DAY);
    assert_eq!(stage.legacy("d", "1.0.0"), None, "it is not tried again by itself");
}

#[test]
fn an_updater_whose_script_went_well_is_believed_only_with_its_version() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    stage.legacy("d", "1.0.0");
    stage.word("d", &rollout, 1, Word::Rebooting);
    assert_eq!(stage.legacy("d", "1.0.0"), None, "it waits for its restart; another download would be waste");
    assert_eq!(stage.legacy("d", "1.1.0"), None);
    assert_eq!(stage.state("d", &rollout), ExecutionState::Succeeded);
}

#[test]
fn an_updater_that_never_restarts_into_the_new_version_ends_as_unchanged_not_as_silent() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    stage.legacy("d", "1.0.0");
    stage.word("d", &rollout, 1, Word::Rebooting);
    stage.wait(DAY);
    stage.legacy("d", "1.0.0");
    stage.wait(DAY);
    stage.tick();
    assert_eq!(stage.state("d", &rollout), ExecutionState::Failed(FailureReason::VersionUnchanged));
}

#[test]
fn closed_is_closed_and_a_late_word_is_noted_once() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    stage.native("d", "1.0.0", 1, None);
    stage.wait(3 * DAY);
    stage.tick();
    assert_eq!(stage.state("d", &rollout), ExecutionState::TimedOut);
    for _ in 0..3 {
        stage.native("d", "1.1.0", 2, Some((&rollout, 1, Word::Succeeded)));
    }
    assert_eq!(stage.state("d", &rollout), ExecutionState::TimedOut);
    let late = stage.notes("d").iter().filter(|note| note.contains("late word")).count();
    assert_eq!(late, 1);
}

#[test]
fn steps_only_go_forward() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    stage.native("d", "1.0.0", 1, None);
    stage.native("d", "1.0.0", 1, Some((&rollout, 1, Word::Installing)));
    stage.native("d", "1.0.0", 1, Some((&rollout, 1, Word::Downloading)));
    assert_eq!(stage.kind("d", &rollout), StateKind::Installing);
}

#[test]
fn words_of_another_attempt_or_rollout_move_nothing() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    stage.native("d", "1.0.0", 1, None);
    let other = "rother".parse().unwrap();
    stage.native("d", "1.0.0", 1, Some((&rollout, 2, Word::Failed(FailureReason::InstallFailed))));
    stage.native("d", "1.0.0", 1, Some((&other, 1, Word::Failed(FailureReason::InstallFailed))));
    assert_eq!(stage.state("d", &rollout), ExecutionState::Queued);
}

#[test]
fn a_device_that_downloads_again_and_again_is_stopped() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    stage.native("d", "1.0.0", 1, None);
    for _ in 0..10 {
        stage.word("d", &rollout, 1, Word::Fetching);
        assert_eq!(stage.kind("d", &rollout), StateKind::Downloading);
    }
    stage.word("d", &rollout, 1, Word::Fetching);
    assert_eq!(stage.state("d", &rollout), ExecutionState::Failed(FailureReason::DownloadLoop));
}

#[test]
fn a_passing_failure_is_tried_again_after_a_growing_pause_and_a_bound() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |plan| plan.abort.failed_percent = 101);
    for attempt in 1..=3 {
        assert_eq!(stage.native("d", "1.0.0", 1, None).as_deref(), Some("1.1.0"), "attempt {attempt}");
        assert_eq!(stage.execution("d", &rollout).attempt, attempt);
        stage.native("d", "1.0.0", 1, Some((&rollout, attempt, Word::Failed(FailureReason::ConnectionLost))));
        assert_eq!(stage.native("d", "1.0.0", 1, None), None, "not at once");
        stage.wait(Duration::from_secs(600) * (1 << (attempt - 1)));
    }
    stage.wait(30 * DAY);
    assert_eq!(stage.native("d", "1.0.0", 1, None), None, "three attempts are enough");
    stage.fleet.retry(stage.now, &rollout, "a test").unwrap();
    assert_eq!(
        stage.native("d", "1.0.0", 1, None).as_deref(),
        Some("1.1.0"),
        "an operator may say otherwise"
    );
}

#[test]
fn a_bad_image_is_not_tried_again_by_itself_and_shows_as_needing_attention() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    stage.native("d", "1.0.0", 1, None);
    stage.native("d", "1.0.0", 3, Some((&rollout, 1, Word::Failed(FailureReason::RolledBack))));
    stage.wait(30 * DAY);
    assert_eq!(stage.native("d", "1.0.0", 3, None), None);
    let explanation = stage.fleet.explain(stage.now, &"d".parse().unwrap(), None).unwrap();
    let text = explanation.releases[0].obstacles[0].to_string();
    assert!(text.contains("rolled_back") && text.contains("not tried again"), "{text}");
}

#[test]
fn a_device_that_says_it_is_another_product_leaves_the_rollout() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    stage.native("d", "1.0.0", 1, None);
    let description = updraft_core::report::Description {
        product: "kettle".parse().unwrap(),
        version: "1.1.0".to_owned(),
        boot: Some(1),
        attributes: updraft_core::attributes::Attributes::new(),
    };
    let report = updraft_core::report::Report { description: Some(description), progress: None };
    stage.fleet.report(stage.now, &"d".parse().unwrap(), &report).unwrap();
    stage.fleet.commit().unwrap();
    assert_eq!(stage.state("d", &rollout), ExecutionState::Canceled);
    assert_eq!(stage.rollout_state(&rollout), RolloutState::Running);
}

#[test]
fn a_device_that_runs_a_newer_version_is_not_taken_back_by_an_open_offer() {
    let mut stage = Stage::new();
    let rollout = stage.rollout("1.1.0", |_| {});
    assert_eq!(stage.legacy("d", "1.0.0").as_deref(), Some("1.1.0"));
    assert_eq!(stage.legacy("d", "2.0.0"), None);
    assert_eq!(stage.state("d", &rollout), ExecutionState::Canceled);
}
