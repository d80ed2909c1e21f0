//! Images on their way: slowly, to many, and to devices that do not say much.

use super::*;

/// Downloads that all attempts together may begin: each begins again so often after a loss.
const BEGINS_MAX: u64 = ATTEMPTS_MAX as u64 * 5;

/// A download over a network on which each block takes seconds.
fn takes_hours(prefer: Preference) -> Story {
    let mut story = Story::new(prefer, [Nature { lifetime_s: 3_600, ..Nature::PLAIN }]);
    story.until(5 * MINUTE, "the device is known", are_known);
    story.world.network.slow_down(4_000, 5_000);
    story.release(NEW, 1 << 20, 0);
    story.until(DAY, "the device runs the new version", has_succeeded);
    assert!(story.world.now > 2 * 3_600_000, "{} ms", story.world.now);
    story.rest(HOUR);
    story.all_succeeded(1);
    story
}

#[test]
fn a_push_that_takes_hours_succeeds_since_only_a_block_that_stalls_ends_it() {
    let story = takes_hours(Preference::Push);
    assert_eq!((story.count("pushes begun"), story.count("pulls begun")), (1, 0));
}

#[test]
fn a_pull_that_takes_hours_succeeds_since_only_a_block_that_stalls_ends_it() {
    let story = takes_hours(Preference::Pull);
    assert_eq!((story.count("pushes begun"), story.count("pulls begun")), (0, 1));
}

/// A download that breaks off for half an hour each time when half of the image is there.
fn breaks_off(prefer: Preference) -> Story {
    let mut story = Story::new(prefer, [Nature::PLAIN]);
    story.until(5 * MINUTE, "the device is known", are_known);
    story.release(NEW, IMAGE_BYTES, 0);
    for _ in 0..20 {
        if !has_succeeded(&story.world) {
            story.run(story.world.now + 3_600_000, |world| has_bytes(world, 0, IMAGE_BYTES / 2));
            story.cut_off(0, 30 * MINUTE);
            story.pass(40 * MINUTE);
        }
    }
    story.rest(2 * DAY);
    story
}

#[test]
fn a_push_of_which_nothing_moves_is_begun_again_so_often_and_not_more() {
    let story = breaks_off(Preference::Push);
    let (states, begun) = (story.states(), story.count("pushes begun"));
    assert!(states[0].0 <= ATTEMPTS_MAX && !states[0].1.is_open(), "{states:?}");
    assert!((2..=BEGINS_MAX).contains(&begun), "{begun}");
}

#[test]
fn a_pull_that_breaks_off_goes_on_where_it_stood() {
    let story = breaks_off(Preference::Pull);
    story.all_succeeded(1);
    assert_eq!(story.count("pulls begun"), 1);
}

#[test]
fn a_pull_of_which_nothing_moves_is_begun_again_so_often_and_not_more() {
    let mut story = Story::new(Preference::Pull, [Nature { fetches_nothing: true, ..Nature::PLAIN }]);
    story.until(5 * MINUTE, "the device is known", are_known);
    story.release(NEW, IMAGE_BYTES, 0);
    story.pass(DAY);
    // What hangs on the device goes on hanging there: nothing is open for it any more.
    assert_eq!(story.states(), [(ATTEMPTS_MAX, ExecutionState::Failed(FailureReason::ConnectionLost))]);
    let begun = story.count("pulls begun");
    assert!((u64::from(ATTEMPTS_MAX)..=BEGINS_MAX).contains(&begun), "{begun}");
    story.pass(3 * DAY);
    assert_eq!(story.count("pulls begun"), begun, "it is left alone");
}

#[test]
fn a_device_that_fails_each_time_is_tried_so_often_and_then_set_aside() {
    for (prefer, begun) in [(Preference::Push, "pushes begun"), (Preference::Pull, "pulls begun")] {
        let mut story = Story::new(prefer, [Nature { damages_images: true, ..Nature::PLAIN }]);
        story.until(5 * MINUTE, "the device is known", are_known);
        story.release(NEW, 3_000, 0);
        story.rest(12 * HOUR);
        let failed = ExecutionState::Failed(FailureReason::IntegrityCheckFailed);
        assert_eq!(story.states(), [(ATTEMPTS_MAX, failed)]);
        let (begins, registrations) = (story.count(begun), story.count("updates of registrations"));
        // Twice in each attempt: a damaged download is begun again once.
        assert_eq!(begins, 2 * u64::from(ATTEMPTS_MAX));
        story.pass(3 * DAY);
        assert_eq!(story.count(begun), begins, "it is left alone");
        assert!(story.count("updates of registrations") > registrations, "though it is there");
        assert_eq!(story.count("installations"), 0);
    }
}

#[test]
fn a_device_that_lets_nobody_observe_it_is_asked_instead() {
    for prefer in [Preference::Push, Preference::Pull] {
        let mut story = Story::new(prefer, [Nature { is_unobservable: true, ..Nature::PLAIN }]);
        story.until(5 * MINUTE, "the device is known", are_known);
        story.release(NEW, IMAGE_BYTES, 0);
        story.until(HOUR, "the device runs the new version", has_succeeded);
        story.rest(HOUR);
        story.all_succeeded(1);
    }
}

#[test]
fn a_device_whose_notifications_are_lost_is_asked_instead() {
    for prefer in [Preference::Push, Preference::Pull] {
        let mut story = Story::new(prefer, [Nature { is_mute: true, ..Nature::PLAIN }]);
        story.until(5 * MINUTE, "the device is known", are_known);
        story.release(NEW, IMAGE_BYTES, 0);
        story.until(HOUR, "the device runs the new version", has_succeeded);
        assert!(story.count("notifications lost") > 0);
        story.rest(HOUR);
        story.all_succeeded(1);
    }
}

#[test]
fn a_device_that_refuses_a_second_image_with_4_00_is_reset_first() {
    for prefer in [Preference::Push, Preference::Pull] {
        let mut story = Story::new(prefer, [Nature { defers: true, ..Nature::PLAIN }]);
        story.until(5 * MINUTE, "the device is known", are_known);
        story.release("1.5.0", IMAGE_BYTES, 0);
        story.until(HOUR, "the device puts it off", |world| {
            world.truth.counts.contains_key("updates put off")
        });
        story.world.server.command(Command::Abort(rollout("1.5.0")));
        story.release(NEW, IMAGE_BYTES, 0);
        story.until(4 * HOUR, "the device runs the new version", |world| {
            world.truth.devices[0].version() == NEW
        });
        assert_eq!(story.count("installations"), 1, "1.5.0 was never installed");
        story.rest(HOUR);
    }
}

#[test]
fn a_thousand_devices_pushed_at_once_read_the_image_once() {
    const DEVICES: u64 = 1_000;
    let natures = (0..DEVICES).map(|_| Nature { lifetime_s: 86_400, ..Nature::PLAIN });
    let mut story = Story::new(Preference::Push, natures);
    story.pass(MINUTE);
    assert!(are_known(&story.world));
    story.release(NEW, 6 * 1_024, 0);
    story.pass(5 * MINUTE);
    assert!(has_succeeded(&story.world));
    assert_eq!(story.world.host.reads, 1, "one piece of 64 KiB, for all");
}
