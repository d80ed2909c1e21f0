//! Seeds with devices that speak LwM2M beside those that speak HTTP, and the mistakes that must be found there.

use updraft_sim::world::{self, Sabotage, Scenario};

/// Devices in each run that speak LwM2M.
const CONSTRAINED: usize = 8;
/// Devices beside them, in the same rollouts.
const OTHERS: usize = 2;
/// Seeds after which a mistake must have been found.
const SABOTAGE_SEEDS: u64 = 30;

fn scenario(seed: u64) -> Scenario {
    Scenario { seed, devices: OTHERS, constrained: CONSTRAINED, sabotage: None }
}

fn check(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        if let Err(violation) = world::run(scenario(seed)) {
            panic!("{violation}");
        }
    }
}

#[test]
fn seeds_0_to_24_keep_every_rule() {
    check(0..25);
}

#[test]
fn seeds_25_to_49_keep_every_rule() {
    check(25..50);
}

/// Repeats one seed: `UPDRAFT_SEED=7 cargo test -p updraft-sim --test lwm2m one_seed -- --nocapture`.
#[test]
fn one_seed() {
    let seed = std::env::var("UPDRAFT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    match world::run(scenario(seed)) {
        Ok(summary) => println!("{summary:#?}"),
        Err(violation) => panic!("{violation}"),
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 4] {
        assert_eq!(world::run(scenario(seed)), world::run(scenario(seed)));
    }
}

/// Runs seeds until one finds the mistake, by a complaint that says so.
fn finds(sabotage: Sabotage, complaint: &str) {
    let found = (0..SABOTAGE_SEEDS)
        .find_map(|seed| world::run(Scenario { sabotage: Some(sabotage), ..scenario(seed) }).err());
    let violation = found.unwrap_or_else(|| panic!("{sabotage:?} is not found in {SABOTAGE_SEEDS} seeds"));
    assert!(violation.complaints.iter().any(|text| text.contains(complaint)), "{sabotage:?}: {violation}");
}

#[test]
fn success_booked_for_a_downloaded_image_is_found() {
    finds(Sabotage::TakesMarkersForSuccess, "did not run");
}

#[test]
fn a_hub_that_hears_of_nothing_is_found() {
    finds(Sabotage::NeverPatrols, "should take part");
}

#[test]
fn other_bytes_than_the_image_s_are_found() {
    finds(Sabotage::ReadsOtherBytes, "nobody made");
}

#[test]
fn a_device_that_installs_twice_is_found() {
    finds(Sabotage::InstallsTwice, "which it has settled");
}

#[test]
fn a_version_confirmed_without_its_health_check_is_found() {
    finds(Sabotage::ConfirmsUnseen, "which does not work on it");
}

#[test]
fn markers_that_are_not_kept_are_found() {
    finds(Sabotage::LosesMarkers, "");
}

#[test]
fn an_answer_that_the_hub_is_told_twice_breaks_no_rule() {
    for seed in 0..5 {
        if let Err(violation) =
            world::run(Scenario { sabotage: Some(Sabotage::HearsTwice), ..scenario(seed) })
        {
            panic!("{violation}");
        }
    }
}

#[test]
fn records_of_devices_that_are_not_kept_are_found() {
    finds(Sabotage::RecordsLie, "");
}
