//! Devices that vanish, move, lose power, or do not say what came of it.

use super::*;

/// A device that vanishes for days when it comes to a state.
fn vanishes(prefer: Preference, at: State) {
    let nature = Nature { defers: at == State::Downloaded, ..Nature::PLAIN };
    let mut story = Story::new(prefer, [nature]);
    story.until(5 * MINUTE, "the device is known", are_known);
    story.release(NEW, IMAGE_BYTES, 0);
    if at != State::Idle {
        story.until(HOUR, "the device is there", |world| state(world, 0) == Some(at));
    }
    story.cut_off(0, 2 * DAY);
    story.pass(2 * DAY);
    story.rest(9 * DAY);
    // An attempt that was out of time is over, whatever the device says later: what it runs is known all the same.
    assert!(story.states().iter().all(|(_, state)| !state.is_open()));
    assert_eq!(story.world.truth.devices[0].version(), NEW);
    assert_eq!(story.count("installations"), 1, "what ran is not run again");
}

#[test]
fn a_device_that_vanishes_for_days_before_it_begins_is_updated_when_it_is_back() {
    vanishes(Preference::Push, State::Idle);
    vanishes(Preference::Pull, State::Idle);
}

#[test]
fn a_device_that_vanishes_for_days_while_it_downloads_is_updated_when_it_is_back() {
    vanishes(Preference::Push, State::Downloading);
    vanishes(Preference::Pull, State::Downloading);
}

#[test]
fn a_device_that_vanishes_for_days_with_an_image_is_updated_when_it_is_back() {
    vanishes(Preference::Push, State::Downloaded);
    vanishes(Preference::Pull, State::Downloaded);
}

#[test]
fn a_device_that_vanishes_for_days_while_it_installs_is_believed_when_it_is_back() {
    vanishes(Preference::Push, State::Updating);
    vanishes(Preference::Pull, State::Updating);
}

#[test]
fn a_device_without_a_connection_id_that_moves_is_found_by_its_next_update() {
    for prefer in [Preference::Push, Preference::Pull] {
        let mut story = Story::new(prefer, [Nature::PLAIN]);
        story.until(5 * MINUTE, "the device is known", are_known);
        story.release(NEW, IMAGE_BYTES, 0);
        story.until(HOUR, "half is there", |world| has_bytes(world, 0, IMAGE_BYTES / 2));
        story.world.move_address(0);
        story.rest(2 * HOUR);
        story.all_succeeded(1);
    }
}

#[test]
fn a_device_with_a_connection_id_that_moves_is_found_by_its_next_word() {
    for (prefer, within) in [(Preference::Pull, 5 * MINUTE), (Preference::Push, 15 * MINUTE)] {
        let mut story = Story::new(prefer, [Nature { is_secured: true, ..Nature::PLAIN }]);
        story.until(5 * MINUTE, "the device is known", are_known);
        story.release(NEW, IMAGE_BYTES, 0);
        story.until(HOUR, "half is there", |world| has_bytes(world, 0, IMAGE_BYTES / 2));
        story.world.move_address(0);
        story.until(within, "the device runs the new version", has_succeeded);
        story.rest(HOUR);
        story.all_succeeded(1);
        assert_eq!(story.count("registrations"), 2, "once at first, once on the new version");
    }
}

#[test]
fn a_device_that_forgets_over_its_restart_what_came_of_the_update_is_judged_by_its_version() {
    for bad_percent in [0, 100] {
        let nature = Nature { forgets_results: true, has_trial: true, ..Nature::PLAIN };
        let mut story = Story::new(Preference::Push, [nature]);
        story.until(5 * MINUTE, "the device is known", are_known);
        story.release(NEW, 3_000, bad_percent);
        story.rest(3 * HOUR);
        if bad_percent == 0 {
            story.all_succeeded(1);
        } else {
            assert_eq!(story.count("rolled back"), 1, "{}", story.world.truth.story().join("\n"));
            assert_eq!(story.count("installations"), 1);
        }
    }
}

#[test]
fn a_device_that_loses_power_in_any_state_is_updated_once() {
    for at in [State::Downloading, State::Downloaded, State::Updating] {
        for prefer in [Preference::Push, Preference::Pull] {
            let mut story = Story::new(prefer, [Nature { has_trial: true, ..Nature::PLAIN }]);
            story.until(5 * MINUTE, "the device is known", are_known);
            story.release(NEW, IMAGE_BYTES, 0);
            story.until(HOUR, "the device is there", |world| state(world, 0) == Some(at));
            story.cut_power(0, 10 * MINUTE);
            story.rest(6 * HOUR);
            story.all_succeeded(ATTEMPTS_MAX);
        }
    }
}

#[test]
fn a_device_whose_image_does_not_work_is_tried_once_and_set_aside() {
    for has_trial in [false, true] {
        let mut story = Story::new(Preference::Push, [Nature { has_trial, ..Nature::PLAIN }]);
        story.until(5 * MINUTE, "the device is known", are_known);
        story.release(NEW, 3_000, 100);
        story.rest(3 * HOUR);
        story.pass(DAY);
        story.rest(HOUR);
        assert_eq!(story.count("installations"), 1);
        assert_eq!(story.world.truth.devices[0].version(), OLD);
    }
}

#[test]
fn a_device_that_is_never_heard_again_is_given_up_after_bounded_attempts() {
    let mut story = Story::pushed();
    story.until(5 * MINUTE, "the device is known", are_known);
    story.release(NEW, IMAGE_BYTES, 0);
    story.until(HOUR, "it downloads", |world| state(world, 0) == Some(State::Downloading));
    story.world.truth.stops(story.world.now, 0);
    story.world.truth.devices[0].is_silent = true;
    story.pass(5 * DAY);
    let states = story.states();
    assert_eq!(states.len(), 1);
    assert!(states[0].0 <= ATTEMPTS_MAX && !states[0].1.is_open(), "{states:?}");
    let sent = story.world.host.datagrams;
    story.pass(DAY);
    assert_eq!(story.world.host.datagrams, sent, "nothing is sent to it any more");
}
