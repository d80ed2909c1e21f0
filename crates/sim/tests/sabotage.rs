//! The test of the tests: mistakes put in on purpose, each of which the checkers must find.

use updraft_sim::world::{self, Sabotage, Scenario};

/// Seeds after which a mistake must have been found.
const SEEDS: u64 = 40;

/// Runs seeds until one finds the mistake, by a complaint that says so.
fn check(sabotage: Sabotage, complaint: &str) {
    let found = (0..SEEDS).find_map(|seed| {
        world::run(Scenario { seed, devices: 8, constrained: 0, sabotage: Some(sabotage) }).err()
    });
    let violation = found.unwrap_or_else(|| panic!("{sabotage:?} is not found in {SEEDS} seeds"));
    assert!(violation.complaints.iter().any(|text| text.contains(complaint)), "{sabotage:?}: {violation}");
}

#[test]
fn an_answer_before_the_commit_is_found() {
    check(Sabotage::AnswersBeforeCommit, "in the books");
}

#[test]
fn success_booked_for_an_installed_version_is_found() {
    check(Sabotage::TakesInstalledForUpdated, "did not run");
}

#[test]
fn a_fall_back_booked_without_a_start_is_found() {
    check(Sabotage::CountsCheckInsAsStarts, "did not fall back");
}

#[test]
fn an_execution_counted_that_nobody_has_is_found() {
    check(Sabotage::LeaksInFlight, "in flight");
}

#[test]
fn lost_history_is_found() {
    check(Sabotage::LosesHistory, "its history says");
}

#[test]
fn open_executions_that_are_forgotten_are_found() {
    check(Sabotage::ForgetsOpenExecutions, "");
}

#[test]
fn an_answer_from_memory_that_no_longer_holds_is_found() {
    check(Sabotage::NeverLooksAgain, "told to do nothing");
}

#[test]
fn an_offer_before_its_time_is_found() {
    check(Sabotage::OffersFromTomorrow, "another time");
}

#[test]
fn flash_that_lies_about_syncs_is_found() {
    check(Sabotage::SyncsLie, "");
}

#[test]
fn a_version_confirmed_without_its_health_check_is_found() {
    check(Sabotage::ConfirmsUnseen, "which does not work on it");
}
