//! One world of thousands: the same faults and the same checkers as in the small ones, where faults hit hundreds at a time.

use updraft_sim::world::{self, Scenario, Summary};

/// Devices that speak LwM2M.
const CONSTRAINED: usize = 2_000;
/// Devices beside them, in the same rollouts.
const OTHERS: usize = 100;
/// A seed with updates that reach most of the fleet.
const SEED: u64 = 1;

fn run(seed: u64) -> Summary {
    let scenario = Scenario { seed, devices: OTHERS, constrained: CONSTRAINED, sabotage: None };
    match world::run(scenario) {
        Ok(summary) => summary,
        Err(violation) => panic!("{violation}"),
    }
}

#[test]
fn thousands_of_devices_in_one_world_keep_every_rule() {
    let summary = run(SEED);
    // What the seed is chosen for: a run in which little happens would prove little.
    for (what, least) in [
        ("succeeded", 600),
        ("rolled back", 30),
        ("pushes begun", 400),
        ("pulls begun", 200),
        ("server crashes", 3),
    ] {
        let count = summary.counts.get(what).copied().unwrap_or_default();
        assert!(count >= least, "{what}: {count}");
    }
}

/// Another seed, by hand: `UPDRAFT_SEED=7 cargo test -p updraft-sim --test fleet one_seed -- --nocapture`.
#[test]
fn one_seed() {
    if let Some(seed) = std::env::var("UPDRAFT_SEED").ok().and_then(|seed| seed.parse().ok()) {
        println!("{:#?}", run(seed));
    }
}
