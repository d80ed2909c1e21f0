//! The device's Firmware Update object: each row of its table of states (LwM2M Core §E.6.1), and what else it promises.

use updraft_lwm2m::Moment;
use updraft_lwm2m::firmware::object::{Abilities, Action, Image, Object, Origin, Record, Refusal, Restart};
use updraft_lwm2m::firmware::{DeliveryMethod, Scheme, Schemes, State, UpdateResult};
use updraft_lwm2m::value::Value;

const NOW: Moment = Moment(10_000);
const URI: &str = "coap://h/i";

fn abilities() -> Abilities {
    let schemes: Schemes = [Scheme::Coap, Scheme::Https].into_iter().collect();
    Abilities { schemes, delivery: DeliveryMethod::Both, image_bytes_max: 4096 }
}

fn idle() -> Object {
    Object::new(abilities())
}

fn fetching() -> Object {
    let mut object = idle();
    object.handle_write(NOW, 1, &Value::from(URI)).expect("it is taken in this state");
    object
}

fn pushing() -> Object {
    let mut object = idle();
    object.handle_block(NOW, 0, &[1; 64], false, Some(128)).expect("it is taken in this state");
    object
}

fn downloaded() -> Object {
    let mut object = fetching();
    let attempt = object.record().attempt;
    object.handle_downloaded(attempt);
    object.handle_verified(NOW, attempt, Some("fw".to_owned()), Some("2.0.0".to_owned()));
    object
}

fn updating() -> Object {
    let mut object = downloaded();
    object.handle_execute(NOW, 2).expect("it is taken in this state");
    object.handle_answered();
    object
}

fn actions(object: &mut Object) -> Vec<Action> {
    std::iter::from_fn(|| object.poll_action()).collect()
}

fn changed(object: &mut Object) -> Vec<u16> {
    std::iter::from_fn(|| object.poll_changed()).collect()
}

/// Does something to an object, and says what it then holds.
fn row(
    mut object: Object,
    trigger: impl FnOnce(&mut Object) -> Result<(), Refusal>,
) -> (Result<(), Refusal>, State, u8) {
    let said = trigger(&mut object);
    (said, object.state(), object.record().result.code())
}

fn write(resource: u16, value: impl Into<Value>) -> impl FnOnce(&mut Object) -> Result<(), Refusal> {
    let value = value.into();
    move |object| object.handle_write(NOW, resource, &value)
}

fn execute(resource: u16) -> impl FnOnce(&mut Object) -> Result<(), Refusal> {
    move |object| object.handle_execute(NOW, resource)
}

/// A word of the host on the object's latest attempt.
fn host(word: impl FnOnce(&mut Object, u32)) -> impl FnOnce(&mut Object) -> Result<(), Refusal> {
    move |object| {
        let attempt = object.record().attempt;
        word(object, attempt);
        Ok(())
    }
}

const BAD: Result<(), Refusal> = Err(Refusal::BadRequest);
const NOT_ALLOWED: Result<(), Refusal> = Err(Refusal::MethodNotAllowed);

#[test]
fn a_fresh_device_is_idle_without_a_result() {
    assert_eq!(row(idle(), |_| Ok(())), (Ok(()), State::Idle, 0));
}

#[test]
fn a_uri_that_is_accepted_starts_the_download() {
    assert_eq!(row(idle(), write(1, URI)), (Ok(()), State::Downloading, 0));
}

#[test]
fn the_first_block_of_a_package_starts_the_download() {
    let first = |object: &mut Object| object.handle_block(NOW, 0, &[1; 64], false, None);
    assert_eq!(row(idle(), first), (Ok(()), State::Downloading, 0));
}

#[test]
fn a_uri_of_an_unsupported_scheme_is_result_9() {
    for uri in ["coaps://h/i", "ftp://h/i"] {
        assert_eq!(row(idle(), write(1, uri)), (BAD, State::Idle, 9), "{uri}");
    }
}

#[test]
fn what_is_no_uri_and_a_uri_that_leads_nowhere_are_result_7() {
    for uri in ["no uri", "coap://", "coap:///path", "coap://h/ä", "coap://:5683/x"] {
        assert_eq!(row(idle(), write(1, uri)), (BAD, State::Idle, 7), "{uri}");
    }
    let not_found = host(|object, attempt| object.handle_failed(NOW, attempt, UpdateResult::InvalidUri));
    assert_eq!(row(fetching(), not_found), (Ok(()), State::Idle, 7));
}

#[test]
fn a_uri_that_is_too_long_is_refused_without_effect() {
    let longest = format!("coap://h/{}", "x".repeat(246));
    assert_eq!(row(idle(), write(1, longest.clone())), (Ok(()), State::Downloading, 0));
    assert_eq!(row(idle(), write(1, longest + "x")), (BAD, State::Idle, 0));
}

#[test]
fn an_image_that_is_whole_and_right_is_downloaded() {
    let verified = host(|object, attempt| {
        object.handle_downloaded(attempt);
        object.handle_verified(NOW, attempt, None, None);
    });
    assert_eq!(row(fetching(), verified), (Ok(()), State::Downloaded, 0));
    let mut pushed = pushing();
    pushed.handle_block(NOW, 64, &[2; 64], true, None).unwrap();
    assert_eq!(pushed.state(), State::Downloading, "it is not checked yet");
    assert!(actions(&mut pushed).contains(&Action::Verify { attempt: 1 }));
    let verified = host(|object, attempt| object.handle_verified(NOW, attempt, None, None));
    assert_eq!(row(pushed, verified), (Ok(()), State::Downloaded, 0));
}

#[test]
fn a_failed_download_or_check_is_idle_with_its_result() {
    for code in [2, 3, 4, 5, 6] {
        let result = UpdateResult::from_code(code.into());
        let failed = host(move |object, attempt| object.handle_failed(NOW, attempt, result));
        assert_eq!(row(fetching(), failed), (Ok(()), State::Idle, code));
        let failed = host(move |object, attempt| object.handle_failed(NOW, attempt, result));
        assert_eq!(row(pushing(), failed), (Ok(()), State::Idle, code));
    }
}

#[test]
fn an_empty_uri_and_a_single_zero_byte_reset() {
    for object in [fetching, pushing, downloaded] {
        assert_eq!(row(object(), write(1, "")), (Ok(()), State::Idle, 0));
        assert_eq!(row(object(), write(0, vec![0])), (Ok(()), State::Idle, 0));
        let mut reset = object();
        actions(&mut reset);
        reset.handle_write(NOW, 1, &Value::from("")).unwrap();
        assert!(actions(&mut reset).contains(&Action::Discard { attempt: 1 }), "the image is deleted");
    }
}

#[test]
fn cancel_is_idle_with_result_10() {
    for object in [fetching, pushing, downloaded] {
        assert_eq!(row(object(), execute(10)), (Ok(()), State::Idle, 10));
    }
}

#[test]
fn other_writes_while_downloading_are_refused_and_change_nothing() {
    for object in [fetching, pushing] {
        assert_eq!(row(object(), write(1, "coap://h/other")), (BAD, State::Downloading, 0));
    }
    assert_eq!(row(fetching(), write(0, vec![1; 64])), (BAD, State::Downloading, 0));
}

#[test]
fn an_update_begins_and_the_server_is_answered_first() {
    let mut object = downloaded();
    actions(&mut object);
    assert_eq!(object.handle_execute(NOW, 2), Ok(()));
    assert_eq!((object.state(), object.record().result), (State::Updating, UpdateResult::Initial));
    let before = actions(&mut object);
    assert_eq!(before, [Action::Persist(object.record().clone())], "nothing but the record");
    object.handle_answered();
    assert_eq!(actions(&mut object), [Action::Install { attempt: 1 }]);
    object.handle_answered();
    assert_eq!(actions(&mut object), [], "once");
}

#[test]
fn an_update_that_is_put_off_is_downloaded_with_result_11_until_the_period_ends() {
    let mut object = downloaded();
    object.handle_write(NOW, 13, &Value::Unsigned(60)).unwrap();
    object.handle_execute(NOW, 2).unwrap();
    object.handle_answered();
    assert!(object.handle_deferred(NOW, 1));
    assert_eq!((object.state(), object.record().result), (State::Downloaded, UpdateResult::Deferred));
    assert_eq!(object.poll_timeout(), Some(Moment(70_000)));
    actions(&mut object);
    object.handle_timeout(Moment(69_999));
    assert_eq!(actions(&mut object), []);
    object.handle_timeout(Moment(70_000));
    assert_eq!(object.state(), State::Updating);
    assert!(actions(&mut object).contains(&Action::Install { attempt: 1 }));
    assert!(!object.handle_deferred(Moment(70_001), 1), "the period is over");
    assert_eq!(object.poll_timeout(), None);
}

#[test]
fn without_a_period_an_update_is_not_put_off() {
    let mut object = updating();
    assert!(!object.handle_deferred(NOW, 1));
    assert_eq!(object.state(), State::Updating);
}

#[test]
fn an_update_that_was_put_off_stays_so_over_a_restart() {
    let mut object = downloaded();
    object.handle_write(NOW, 13, &Value::Unsigned(60)).unwrap();
    object.handle_execute(NOW, 2).unwrap();
    assert!(object.handle_deferred(NOW, 1));
    let again = Object::restored(abilities(), object.record().clone(), Restart::Plain, Moment(5));
    assert_eq!((again.state(), again.poll_timeout()), (State::Downloaded, Some(Moment(60_005))));
}

#[test]
fn other_images_are_refused_in_downloaded() {
    assert_eq!(row(downloaded(), write(1, "coap://h/other")), (BAD, State::Downloaded, 0));
    assert_eq!(row(downloaded(), write(0, vec![1; 64])), (BAD, State::Downloaded, 0));
}

#[test]
fn success_is_idle_with_result_1() {
    let done = host(|object, attempt| object.handle_installed(NOW, attempt));
    assert_eq!(row(updating(), done), (Ok(()), State::Idle, 1));
    let record = updating().record().clone();
    let restarted = Object::restored(abilities(), record.clone(), Restart::Updated, NOW);
    assert_eq!((restarted.state(), restarted.record().result), (State::Idle, UpdateResult::Success));
    let on_trial = Object::restored(abilities(), record, Restart::OnTrial, NOW);
    assert_eq!(on_trial.state(), State::Updating, "on trial is not success");
}

#[test]
fn what_runs_after_an_update_is_not_thrown_away() {
    let mut object = Object::restored(abilities(), updating().record().clone(), Restart::Updated, NOW);
    assert!(!actions(&mut object).iter().any(|action| matches!(action, Action::Discard { .. })));
}

#[test]
fn a_failed_update_is_result_8_in_downloaded_or_idle() {
    for (image, state) in [(Image::Kept, State::Downloaded), (Image::Dropped, State::Idle)] {
        let failed = host(move |object, attempt| {
            object.handle_install_failed(NOW, attempt, UpdateResult::UpdateFailed, image);
        });
        assert_eq!(row(updating(), failed), (Ok(()), state, 8));
        let record = updating().record().clone();
        let back = Object::restored(abilities(), record, Restart::RolledBack(image), NOW);
        assert_eq!((back.state(), back.record().result.code()), (state, 8));
    }
}

#[test]
fn while_updating_nothing_is_taken() {
    for (resource, value) in [
        (0, Value::from(vec![0])),
        (0, Value::from(vec![1; 64])),
        (1, Value::from("")),
        (1, Value::from(URI)),
        (11, Value::Integer(0)),
        (13, Value::Unsigned(1)),
        (14, Value::from(true)),
    ] {
        assert_eq!(row(updating(), write(resource, value)), (NOT_ALLOWED, State::Updating, 0), "{resource}");
    }
    assert_eq!(row(updating(), execute(10)), (NOT_ALLOWED, State::Updating, 0));
}

#[test]
fn update_is_executed_in_downloaded_only() {
    for (object, state) in [
        (idle(), State::Idle),
        (fetching(), State::Downloading),
        (pushing(), State::Downloading),
        (updating(), State::Updating),
    ] {
        assert_eq!(row(object, execute(2)), (NOT_ALLOWED, state, 0));
    }
}

#[test]
fn cancel_is_not_for_idle() {
    assert_eq!(row(idle(), execute(10)), (NOT_ALLOWED, State::Idle, 0));
}

#[test]
fn a_download_resets_the_result_of_the_one_before() {
    let mut object = fetching();
    object.handle_execute(NOW, 10).unwrap();
    assert_eq!(object.record().result, UpdateResult::Cancelled);
    object.handle_write(NOW, 1, &Value::from(URI)).unwrap();
    assert_eq!(object.record().result, UpdateResult::Initial);
}

#[test]
fn a_device_that_goes_on_by_itself_does_so() {
    let mut object = idle();
    object.handle_write(NOW, 14, &Value::from(true)).unwrap();
    object.handle_write(NOW, 1, &Value::from(URI)).unwrap();
    object.handle_verified(NOW, 1, None, None);
    assert_eq!(object.state(), State::Updating);
    assert_eq!(actions(&mut object).last(), Some(&Action::Install { attempt: 1 }));
}

#[test]
fn a_package_too_large_is_4_13_and_result_2() {
    let announced = |object: &mut Object| object.handle_block(NOW, 0, &[1; 64], false, Some(4097));
    assert_eq!(row(idle(), announced), (Err(Refusal::TooLarge), State::Idle, 2));
    let mut object = pushing();
    for offset in (64..4096).step_by(64) {
        object.handle_block(NOW, offset, &[1; 64], false, None).unwrap();
    }
    let beyond = |object: &mut Object| object.handle_block(NOW, 4096, &[1], true, None);
    assert_eq!(row(object, beyond), (Err(Refusal::TooLarge), State::Idle, 2));
    assert_eq!(fetching().handle_source(NOW, 1, None, Some(4097)), None);
}

#[test]
fn a_push_does_not_survive_a_restart_and_a_fetch_goes_on() {
    let push = Object::restored(abilities(), pushing().record().clone(), Restart::Plain, NOW);
    assert_eq!((push.state(), push.record().result.code()), (State::Idle, 4));
    let mut before = fetching();
    assert_eq!(before.handle_source(NOW, 1, Some(&[7]), Some(4096)), Some(0));
    let mut record = before.record().clone();
    if let Some(Origin::Uri { offset, .. }) = &mut record.origin {
        *offset = 2048;
    }
    for (etag, offset) in [(Some(&[7][..]), 2048), (Some(&[8][..]), 0), (None, 0), (Some(&[7; 9][..]), 0)] {
        let mut after = Object::restored(abilities(), record.clone(), Restart::Plain, NOW);
        assert_eq!(after.state(), State::Downloading);
        assert!(matches!(after.poll_action(), Some(Action::Begin { .. })));
        assert_eq!(after.handle_source(NOW, 1, etag, None), Some(offset), "{etag:?}");
    }
}

#[test]
fn progress_is_durable_now_and_then() {
    let large = Abilities { image_bytes_max: 1 << 30, ..abilities() };
    let mut object = Object::new(large);
    object.handle_write(NOW, 1, &Value::from(URI)).unwrap();
    object.handle_source(NOW, 1, Some(&[7]), None);
    actions(&mut object);
    for bytes in (0..=1 << 20).step_by(1024) {
        object.handle_progress(NOW, 1, bytes);
    }
    assert_eq!(actions(&mut object).len(), 16, "once in 64 KiB");
}

#[test]
fn late_words_on_an_earlier_attempt_change_nothing() {
    let mut object = fetching();
    object.handle_execute(NOW, 10).unwrap();
    object.handle_write(NOW, 1, &Value::from(URI)).unwrap();
    actions(&mut object);
    object.handle_failed(NOW, 1, UpdateResult::ConnectionLost);
    object.handle_verified(NOW, 1, None, None);
    object.handle_downloaded(1);
    object.handle_installed(NOW, 1);
    assert_eq!((object.state(), actions(&mut object)), (State::Downloading, vec![]));
    assert_eq!(object.handle_source(NOW, 1, None, None), None);
}

#[test]
fn a_push_is_not_verified_before_its_last_block() {
    let verified = host(|object, attempt| object.handle_verified(NOW, attempt, None, None));
    assert_eq!(row(pushing(), verified), (Ok(()), State::Downloading, 0));
}

#[test]
fn an_installation_that_was_cut_off_is_begun_again_within_bounds() {
    let mut record = updating().record().clone();
    for _ in 0..2 {
        let mut object = Object::restored(abilities(), record, Restart::Plain, NOW);
        assert!(actions(&mut object).contains(&Action::Install { attempt: 1 }));
        record = object.record().clone();
    }
    let object = Object::restored(abilities(), record, Restart::Plain, NOW);
    assert_eq!((object.state(), object.record().result.code()), (State::Downloaded, 8));
}

#[test]
fn each_answer_rests_on_a_record_that_is_written_first() {
    for (object, resource, value) in [
        (idle(), 1, Value::from(URI)),
        (idle(), 0, Value::from(vec![1; 64])),
        (idle(), 11, Value::Integer(2)),
        (idle(), 13, Value::Unsigned(9)),
        (idle(), 14, Value::from(true)),
        (idle(), 1, Value::from("ftp://h/i")),
    ] {
        let mut object = object;
        let _ = object.handle_write(NOW, resource, &value);
        let first = actions(&mut object).remove(0);
        let Action::Persist(record) = first else { panic!("{resource}: {first:?}") };
        assert_eq!(&record, object.record());
    }
}

#[test]
fn observers_are_told_what_changed() {
    let mut object = idle();
    object.handle_write(NOW, 1, &Value::from(URI)).unwrap();
    assert_eq!(changed(&mut object), [1, 3, 12]);
    object.handle_verified(NOW, 1, None, None);
    assert_eq!(changed(&mut object), [3, 6, 7, 12]);
    object.handle_write(NOW, 11, &Value::Integer(0)).unwrap();
    assert_eq!(changed(&mut object), [11]);
    object.handle_execute(NOW, 10).unwrap();
    assert_eq!(changed(&mut object), [1, 3, 5, 6, 7, 12]);
    assert!(changed(&mut object).is_empty());
}

#[test]
fn settings_out_of_range_are_refused_without_effect() {
    for (resource, value) in [
        (11, Value::Integer(3)),
        (11, Value::from("x")),
        (13, Value::Integer(-1)),
        (13, Value::Unsigned(1 << 32)),
        (14, Value::from("x")),
        (0, Value::from("text")),
        (0, Value::from(Vec::new())),
        (1, Value::Integer(1)),
    ] {
        let mut object = idle();
        assert_eq!(object.handle_write(NOW, resource, &value), BAD, "{resource} {value:?}");
        assert_eq!(object.record(), &Record::default());
    }
}

#[test]
fn each_resource_is_read_written_and_executed_as_the_object_says() {
    let mut object = downloaded();
    for (resource, readable) in
        [(0, false), (1, true), (2, false), (3, true), (5, true), (6, true), (7, true)].into_iter().chain([
            (8, true),
            (9, true),
            (10, false),
            (11, true),
            (13, true),
            (14, true),
        ])
    {
        assert_eq!(object.read(resource).is_ok(), readable, "{resource}");
    }
    assert_eq!(object.read(12), Err(Refusal::NotFound), "the time is not known");
    for resource in [2, 3, 5, 6, 7, 8, 9, 10, 12] {
        assert_eq!(object.handle_write(NOW, resource, &Value::Integer(1)), NOT_ALLOWED, "{resource}");
    }
    for resource in [0, 1, 3, 5, 6, 7, 8, 9, 11, 12, 13, 14] {
        assert_eq!(object.handle_execute(NOW, resource), NOT_ALLOWED, "{resource}");
    }
    for resource in [4, 15, 99] {
        assert_eq!(object.read(resource), Err(Refusal::NotFound));
        assert_eq!(object.handle_execute(NOW, resource), Err(Refusal::NotFound));
    }
    assert_eq!(object.handle_write(NOW, 15, &Value::Integer(1)), Err(Refusal::NotFound));
}

#[test]
fn the_time_of_the_last_change_is_told_once_the_clock_is_known() {
    let mut object = idle();
    object.handle_clock(NOW, 1_700_000_000);
    object.handle_write(Moment(NOW.0 + 5_000), 1, &Value::from(URI)).unwrap();
    assert_eq!(object.snapshot().changed_s, Some(1_700_000_005));
}

#[test]
fn a_method_the_device_does_not_have_is_refused() {
    let only = |delivery| Object::new(Abilities { delivery, ..abilities() });
    assert_eq!(row(only(DeliveryMethod::Push), write(1, URI)), (BAD, State::Idle, 0));
    assert_eq!(row(only(DeliveryMethod::Pull), write(0, vec![1; 64])), (BAD, State::Idle, 0));
}
