//! The driver against the object, in a world that loses, kills, cuts and meddles.

mod firmware_world;

use std::time::Duration;

use firmware_world::device::{Habits, Install, Kept};
use firmware_world::server::Fault;
use firmware_world::{IMAGE, TARGET, Troubles, World, is_failed_with};
use updraft_lwm2m::firmware::driver::{Failure, Outcome, Proof};
use updraft_lwm2m::firmware::{Campaign, DeliveryMethod, State, UpdateResult, Upgrade};

/// How many seeds each kind of world is tried with.
const SEEDS: u64 = 400;

fn campaign() -> Campaign {
    Campaign { package_version: Some(TARGET.to_owned()), ..Campaign::new(TARGET, IMAGE) }
}

fn world(push: bool, habits: Habits, troubles: Troubles) -> World {
    World::new(1, campaign(), push, habits, troubles)
}

fn succeeded(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Succeeded(_))
}

/// Runs one world per way of delivery.
fn both(habits: &Habits, expected: impl Fn(&Outcome) -> bool) {
    for push in [false, true] {
        let mut world = world(push, habits.clone(), Troubles::default());
        let outcome = world.run_well(&format!("push {push}, {habits:?}"));
        assert!(expected(&outcome), "push {push}: {outcome:?}\n{}", world.server.log.join("\n"));
    }
}

#[test]
fn an_update_goes_through_each_way_with_one_download_and_one_execute() {
    for push in [false, true] {
        let mut world = world(push, Habits::default(), Troubles::default());
        assert_eq!(world.run_well("plain"), Outcome::Succeeded(Proof::Version));
        assert_eq!((world.server.executes, world.device.installs), (1, 1));
        assert_eq!(world.server.pushes, u32::from(push));
    }
}

#[test]
fn a_device_on_the_target_is_left_alone() {
    let mut world = world(false, Habits::default(), Troubles::default());
    world.device.running = TARGET;
    assert_eq!(world.run_well("already"), Outcome::Succeeded(Proof::Already));
    assert_eq!(world.device.fetched, 0);
}

#[test]
fn each_habit_of_devices_is_lived_with() {
    let all = [
        Habits { forgets: true, ..Habits::default() },
        Habits { observes: false, ..Habits::default() },
        Habits { reads_instance: false, ..Habits::default() },
        Habits { reads_instance: false, observes: false, forgets: true, ..Habits::default() },
        Habits { tells_uri: false, ..Habits::default() },
        Habits { tells_uri: false, reads_instance: false, ..Habits::default() },
        Habits { sleeps_ms: Some(600_000), ..Habits::default() },
        Habits { sleeps_ms: Some(86_400_000), observes: false, ..Habits::default() },
        Habits { lost_downloads: 2, delivery: DeliveryMethod::Both, ..Habits::default() },
        Habits { bad_images: (1, UpdateResult::Integrity), ..Habits::default() },
        Habits { stalls: 1, ..Habits::default() },
        Habits { stalls: 1, ignores_empty_uri: true, cancels: false, ..Habits::default() },
    ];
    for habits in all {
        both(&habits, succeeded);
    }
}

#[test]
fn all_notifications_may_be_lost() {
    for push in [false, true] {
        let troubles = Troubles { notifications_lost: 100, ..Troubles::default() };
        assert!(succeeded(&world(push, Habits::default(), troubles).run_well("deaf")));
    }
}

#[test]
fn results_3_and_4_are_tried_again_within_bounds_and_5_once() {
    let lost = Habits { lost_downloads: 99, ..Habits::default() };
    let mut pulled = world(false, lost, Troubles::default());
    assert!(is_failed_with(&pulled.run_well("4"), UpdateResult::ConnectionLost));
    assert_eq!(pulled.device.habits.lost_downloads, 95, "the first try and three more");
    for (result, tries) in [
        (UpdateResult::NoMemory, 4),
        (UpdateResult::Integrity, 2),
        (UpdateResult::NoFlash, 1),
        (UpdateResult::UnsupportedPackage, 1),
        (UpdateResult::Other(13), 1),
    ] {
        for push in [false, true] {
            let habits = Habits { bad_images: (99, result), ..Habits::default() };
            let mut world = world(push, habits, Troubles::default());
            assert!(is_failed_with(&world.run_well("bad image"), result));
            assert_eq!(99 - world.device.habits.bad_images.0, tries, "{result}");
        }
    }
}

#[test]
fn a_device_that_goes_back_is_rolled_back_with_the_reason() {
    for kept in [Kept::Yes, Kept::No] {
        let habits = Habits { install: Install::RollsBack(kept), ..Habits::default() };
        both(&habits, |outcome| {
            matches!(outcome, Outcome::RolledBack { result: UpdateResult::UpdateFailed, .. })
        });
        let failing = Habits { install: Install::Fails(kept), ..Habits::default() };
        both(&failing, |outcome| is_failed_with(outcome, UpdateResult::UpdateFailed));
    }
    let forgetful = Habits { install: Install::RollsBack(Kept::No), forgets: true, ..Habits::default() };
    both(&forgetful, |outcome| matches!(outcome, Outcome::RolledBack { result: UpdateResult::Initial, .. }));
}

#[test]
fn a_device_that_never_returns_is_given_up_at_the_deadline() {
    let habits = Habits { dies: true, ..Habits::default() };
    both(&habits, |outcome| *outcome == Outcome::Failed(Failure::NoReturn));
}

#[test]
fn a_device_puts_the_update_off_as_long_as_it_was_given() {
    for push in [false, true] {
        let habits = Habits { install: Install::Deferred, ..Habits::default() };
        let campaign = Campaign { defer_max: Some(Duration::from_secs(7200)), ..campaign() };
        let mut world = World::new(1, campaign, push, habits, Troubles::default());
        assert!(succeeded(&world.run_well("deferred")));
        assert!(world.now.0 > 7_200_000, "it waited");
        assert_eq!(world.server.executes, 1, "and was told once");
    }
}

#[test]
fn a_device_that_goes_on_by_itself_is_not_told_to() {
    for push in [false, true] {
        let campaign = Campaign { upgrade: Upgrade::Automatic, ..campaign() };
        let mut world = World::new(1, campaign, push, Habits::default(), Troubles::default());
        assert!(succeeded(&world.run_well("automatic")));
        assert_eq!(world.server.executes, 0);
    }
}

#[test]
fn a_device_may_vanish_for_days_in_each_state() {
    let days = 3 * 86_400_000;
    for push in [false, true] {
        let mut plain = world(push, Habits::default(), Troubles::default());
        plain.run_well("plain");
        for from in (1_000..plain.now.0 + 1_000).step_by(1_700) {
            let troubles = Troubles { away: Some((from, days)), ..Troubles::default() };
            let mut world = world(push, Habits::default(), troubles);
            let outcome = world.run_well(&format!("push {push}, away from {from}"));
            let given_up = outcome == Outcome::Failed(Failure::NoReturn);
            assert!(succeeded(&outcome) || given_up && world.server.executes > 0, "{from}: {outcome:?}");
        }
    }
}

#[test]
fn a_server_killed_at_each_step_comes_to_the_same_end() {
    let habits = [
        Habits::default(),
        Habits { forgets: true, ..Habits::default() },
        Habits { observes: false, reads_instance: false, tells_uri: false, ..Habits::default() },
    ];
    for (push, habits) in [false, true].into_iter().flat_map(|push| habits.clone().map(|one| (push, one))) {
        let mut plain = world(push, habits.clone(), Troubles::default());
        plain.run_well("plain");
        for kill_at in 1..=plain.server.steps {
            let troubles = Troubles { kill_at: Some(kill_at), ..Troubles::default() };
            let mut world = world(push, habits.clone(), troubles);
            let outcome = world.run_well(&format!("push {push}, {habits:?}"));
            assert!(succeeded(&outcome), "killed at {kill_at}: {outcome:?}\n{}", world.server.log.join("\n"));
            assert_eq!(world.device.installs, 1, "killed at {kill_at}");
        }
    }
}

#[test]
fn a_server_killed_at_each_step_of_a_rollback_does_not_call_it_a_success() {
    for push in [false, true] {
        let habits = Habits { install: Install::RollsBack(Kept::Yes), ..Habits::default() };
        let mut plain = world(push, habits.clone(), Troubles::default());
        plain.run_well("plain");
        for kill_at in 1..=plain.server.steps {
            let troubles = Troubles { kill_at: Some(kill_at), ..Troubles::default() };
            let outcome = world(push, habits.clone(), troubles).run_well("rollback");
            let rolled_back = matches!(outcome, Outcome::RolledBack { .. });
            let failed = is_failed_with(&outcome, UpdateResult::UpdateFailed);
            assert!(rolled_back || failed, "killed at {kill_at}: {outcome:?}");
        }
    }
}

#[test]
fn a_device_whose_power_is_cut_at_each_action_comes_to_the_target() {
    for (push, forgets) in [(false, false), (true, false), (false, true), (true, true)] {
        let habits = Habits { forgets, ..Habits::default() };
        for cut_at in 1..40 {
            let troubles = Troubles { cut_at: Some(cut_at), ..Troubles::default() };
            let mut world = world(push, habits.clone(), troubles);
            let outcome = world.run_well(&format!("push {push}, forgets {forgets}"));
            // One that forgets and is cut while it installs is back on the old version, and says nothing else.
            let back = forgets && matches!(outcome, Outcome::RolledBack { .. });
            assert!(
                succeeded(&outcome) || back,
                "cut at {cut_at}: {outcome:?}\n{}",
                world.server.log.join("\n")
            );
        }
    }
}

#[test]
fn an_image_that_a_stranger_put_there_is_never_executed() {
    for push in [false, true] {
        for at in (500..150_000).step_by(2_300) {
            for kill_at in [None, Some(9), Some(14), Some(20), Some(26)] {
                let strangers = vec![at];
                let troubles = Troubles { strangers, kill_at, ..Troubles::default() };
                world(push, Habits::default(), troubles)
                    .run_well(&format!("push {push}, a stranger at {at}"));
            }
        }
    }
}

#[test]
fn a_cancelled_update_leaves_the_device_idle_and_an_installation_goes_on() {
    for push in [false, true] {
        for at in (1_100..150_000).step_by(2_300) {
            for cancels in [true, false] {
                let habits = Habits { cancels, ..Habits::default() };
                let mut world = world(push, habits, Troubles::default());
                world.server.cancel_at = Some(at);
                let outcome = world.run_well(&format!("cancelled at {at}"));
                let state = world.device.object.state();
                match outcome {
                    Outcome::Cancelled => assert_eq!(state, State::Idle, "cancelled at {at}"),
                    Outcome::Succeeded(_) => assert!(world.server.executes > 0),
                    Outcome::RolledBack { .. } | Outcome::Failed(_) => {
                        panic!("cancelled at {at}: {outcome:?}")
                    }
                }
            }
        }
    }
}

/// A world of all troubles at once.
fn wild(seed: u64, push: bool) -> World {
    let mut dice = firmware_world::Dice(seed);
    let install = match dice.below(6) {
        0 => Install::RollsBack(Kept::Yes),
        1 => Install::Fails(Kept::No),
        2 => Install::Deferred,
        _ => Install::Works,
    };
    let habits = Habits {
        install,
        forgets: dice.percent(30),
        observes: dice.percent(70),
        reads_instance: dice.percent(80),
        ignores_empty_uri: dice.percent(30),
        cancels: dice.percent(60),
        tells_uri: dice.percent(80),
        bad_images: (dice.below(2) as u32, UpdateResult::Integrity),
        stalls: dice.below(2) as u32,
        lost_downloads: dice.below(3) as u32,
        sleeps_ms: dice.percent(30).then(|| 60_000 + dice.below(7_200_000)),
        ..Habits::default()
    };
    let maybe =
        |chance: u64, dice: &mut firmware_world::Dice| dice.percent(chance).then(|| 1 + dice.below(60));
    let troubles = Troubles {
        loss: dice.below(30),
        notifications_lost: dice.below(101),
        kill_at: maybe(60, &mut dice),
        cut_at: maybe(50, &mut dice),
        away: dice.percent(30).then(|| (1_000 + dice.below(300_000), dice.below(2 * 86_400_000))),
        strangers: (0..dice.below(3)).map(|_| 1_000 + dice.below(400_000)).collect(),
    };
    World::new(seed, campaign(), push, habits, troubles)
}

#[test]
fn every_campaign_ends_and_success_is_the_device_on_the_target() {
    let mut successes = 0;
    for seed in 0..SEEDS {
        for push in [false, true] {
            let mut world = wild(seed, push);
            let outcome = world.run_well(&format!("seed {seed}, push {push}, {:?}", world.device.habits));
            successes += u32::from(succeeded(&outcome));
        }
    }
    assert!(successes > 100, "most troubles pass: {successes}");
}

#[test]
fn the_checker_sees_a_device_that_lies_about_its_version() {
    let mut world = world(false, Habits { install: Install::Lies, ..Habits::default() }, Troubles::default());
    world.run();
    assert!(
        world.violations.iter().any(|one| one.contains("the device runs 1.0.0")),
        "{:?}",
        world.violations
    );
}

#[test]
fn the_checker_sees_a_device_that_installs_twice() {
    let mut world = world(true, Habits { install: Install::Twice, ..Habits::default() }, Troubles::default());
    world.run();
    assert!(world.violations.iter().any(|one| one.contains("more than once")), "{:?}", world.violations);
}

#[test]
fn the_checker_sees_a_server_that_executes_what_a_stranger_put_there() {
    let seen = (500..150_000).step_by(2_300).any(|at| {
        let troubles = Troubles { strangers: vec![at], ..Troubles::default() };
        let mut world = world(true, Habits::default(), troubles);
        world.server.fault = Fault::ExecutesAnything;
        world.run();
        world.violations.iter().any(|one| one.contains("did not put there"))
    });
    assert!(seen);
}

#[test]
fn the_checker_sees_a_server_that_believes_anything() {
    let mut world = world(false, Habits::default(), Troubles::default());
    world.server.fault = Fault::BelievesOldResults;
    world.run();
    assert!(!world.violations.is_empty());
}
