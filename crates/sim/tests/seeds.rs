//! Seeds: each is a different hour of bad luck for a server and its devices, the same one every time.

use updraft_sim::world::{self, Scenario};

/// Devices in each run: enough for caps and waves to bite, few enough for hundreds of runs.
const DEVICES: usize = 8;

fn check(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        if let Err(violation) =
            world::run(Scenario { seed, devices: DEVICES, constrained: 0, sabotage: None })
        {
            panic!("{violation}");
        }
    }
}

#[test]
fn seeds_0_to_49_keep_every_rule() {
    check(0..50);
}

#[test]
fn seeds_50_to_99_keep_every_rule() {
    check(50..100);
}

#[test]
fn seeds_100_to_149_keep_every_rule() {
    check(100..150);
}

#[test]
fn seeds_150_to_199_keep_every_rule() {
    check(150..200);
}

/// Repeats one seed: `UPDRAFT_SEED=7 cargo test -p updraft-sim --test seeds one_seed -- --nocapture`.
#[test]
fn one_seed() {
    let seed = std::env::var("UPDRAFT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    match world::run(Scenario { seed, devices: DEVICES, constrained: 0, sabotage: None }) {
        Ok(summary) => println!("{summary:#?}"),
        Err(violation) => panic!("{violation}"),
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 4] {
        let scenario = Scenario { seed, devices: DEVICES, constrained: 0, sabotage: None };
        assert_eq!(world::run(scenario), world::run(scenario));
    }
}
