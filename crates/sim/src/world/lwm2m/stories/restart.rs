//! The server ends in the middle of something.

use super::*;

/// Ends the server once a device has half of an image.
fn in_the_middle(mut story: Story, is_asked: bool, within: Duration) -> Story {
    story.until(5 * MINUTE, "the device is known", are_known);
    story.pass(MINUTE);
    story.release(NEW, IMAGE_BYTES, 0);
    story.until(30 * MINUTE, "half is there", |world| has_bytes(world, 0, IMAGE_BYTES / 2));
    story.restart_server(is_asked);
    story.until(within, "the device runs the new version", has_succeeded);
    story.rest(HOUR);
    story.all_succeeded(1);
    story
}

#[test]
fn a_push_goes_on_after_a_graceful_restart_of_the_server() {
    in_the_middle(Story::pushed(), true, HOUR);
}

#[test]
fn a_push_goes_on_after_the_server_was_killed() {
    in_the_middle(Story::pushed(), false, HOUR);
}

#[test]
fn a_pull_goes_on_after_a_graceful_restart_of_the_server() {
    in_the_middle(Story::pulled(), true, HOUR);
}

#[test]
fn a_pull_goes_on_after_the_server_was_killed() {
    in_the_middle(Story::pulled(), false, HOUR);
}

#[test]
fn a_session_that_was_kept_needs_no_new_registration() {
    let secured = || Story::new(Preference::Push, [Nature { is_secured: true, ..Nature::PLAIN }]);
    let story = in_the_middle(secured(), true, HOUR);
    assert_eq!(story.count("registrations"), 2, "once at first, once on the new version");
    in_the_middle(secured(), false, HOUR);
}

#[test]
fn a_device_whose_registration_was_not_yet_kept_registers_anew() {
    let mut story = Story::pushed();
    story.until(MINUTE, "the device is registered", |world| is_registered(world, 0));
    story.world.host.unsaved.clear();
    story.restart_server(false);
    story.until(HOUR, "the device is registered anew, and known", |world| {
        world.truth.counts.get("registrations") == Some(&2) && are_known(world)
    });
    story.release(NEW, 1_000, 0);
    story.rest(HOUR);
    story.all_succeeded(1);
}

#[test]
fn what_a_device_is_is_read_after_a_restart_if_the_fleet_was_not_told_before() {
    let mut story = Story::pushed();
    story.until(MINUTE, "the device is registered", |world| is_registered(world, 0));
    // The registration is kept, and the server ends before the fleet was told what the device is.
    story.world.host.keep(0);
    assert!(!are_known(&story.world));
    story.restart_server(false);
    story.until(HOUR, "the device is known", are_known);
}

/// The server's tick, which closes what was aborted, comes late: a trial is no success in between either.
#[test]
fn a_version_on_trial_is_no_success_of_a_rollout_that_was_aborted_meanwhile() {
    let mut story = Story::new(Preference::Push, [Nature { has_trial: true, ..Nature::PLAIN }]);
    story.until(5 * MINUTE, "the device is known", are_known);
    story.release(NEW, 3_000, 100);
    story.until(HOUR, "the device is on trial", |world| world.truth.devices[0].version() == NEW);
    let registrations = story.count("registrations");
    story.world.queue.retain(|_, event| !matches!(event, Event::Tick));
    story.world.server.command(Command::Abort(rollout(NEW)));
    story.until(MINUTE, "it has registered on trial", |world| {
        world.truth.counts.get("registrations").is_some_and(|count| *count > registrations)
    });
    story.pass(Duration::from_secs(5));
    let (now, trial) = (story.world.now, constrained(&story.world, 0).chip.trial.is_some());
    assert!(trial, "it is on trial yet");
    assert!(story.states()[0].1.is_open(), "{:?}", story.states());
    story.world.at(now, Event::Tick);
    story.rest(2 * HOUR);
    assert_eq!(story.world.truth.devices[0].version(), OLD);
    assert_eq!(story.states(), [(1, ExecutionState::Canceled)]);
}

#[test]
fn an_installation_that_the_server_did_not_see_the_end_of_is_a_success_all_the_same() {
    for is_asked in [true, false] {
        let mut story = Story::pushed();
        story.until(5 * MINUTE, "the device is known", are_known);
        story.release(NEW, 3_000, 0);
        story.until(HOUR, "the device installs", |world| state(world, 0) == Some(State::Updating));
        story.restart_server(is_asked);
        story.until(2 * HOUR, "the books say so", has_succeeded);
        story.rest(HOUR);
        story.all_succeeded(1);
        assert_eq!(story.count("installations"), 1);
    }
}
