//! The device's Firmware Update object, and blocks that come twice, not at all, or not any more.

use updraft_lwm2m::Moment;
use updraft_lwm2m::firmware::object::{Abilities, Action, Object, Origin, Refusal};
use updraft_lwm2m::firmware::{DeliveryMethod, Schemes, State};

const NOW: Moment = Moment(10_000);

fn idle() -> Object {
    let delivery = DeliveryMethod::Push;
    Object::new(Abilities { schemes: Schemes::NONE, delivery, image_bytes_max: 4096 })
}

fn pushing() -> Object {
    let mut object = idle();
    object.handle_block(NOW, 0, &[1; 64], false, Some(128)).expect("the first block fits");
    object
}

fn actions(object: &mut Object) -> Vec<Action> {
    std::iter::from_fn(|| object.poll_action()).collect()
}

#[test]
fn a_repeated_block_is_acknowledged_not_appended() {
    let mut object = pushing();
    object.handle_block(NOW, 64, &[2; 64], false, None).unwrap();
    actions(&mut object);
    assert_eq!(object.handle_block(NOW, 64, &[2; 64], false, None), Ok(()));
    assert_eq!(actions(&mut object), []);
    object.handle_block(NOW, 128, &[3; 10], true, None).unwrap();
    actions(&mut object);
    assert_eq!(object.handle_block(NOW, 128, &[3; 10], true, None), Ok(()), "the last one, too");
    assert_eq!(actions(&mut object), []);
    assert_eq!(object.handle_block(NOW, 64, &[3; 10], true, None), Err(Refusal::BadRequest));
}

#[test]
fn a_gap_between_blocks_is_4_08_and_the_first_block_begins_again() {
    let mut object = pushing();
    for offset in [32, 128, u64::MAX - 63] {
        assert!(object.handle_block(NOW, offset, &[2; 64], false, None).is_err(), "{offset}");
    }
    assert_eq!(Refusal::Incomplete.code(), 0x88);
    actions(&mut object);
    object.handle_block(NOW, 0, &[1; 64], false, None).unwrap();
    let again = Action::Begin { attempt: 1, origin: Origin::Push };
    assert_eq!(actions(&mut object)[0], again, "what was there is overwritten");
    assert_eq!(object.handle_block(NOW, 64, &[2; 64], false, None), Ok(()));
    assert_eq!(idle().handle_block(NOW, 64, &[1; 64], false, None), Err(Refusal::Incomplete));
}

#[test]
fn a_push_that_stops_is_result_4() {
    let mut object = pushing();
    let until = object.poll_timeout().unwrap();
    assert_eq!(until, Moment(NOW.0 + 247_000));
    object.handle_timeout(until);
    assert_eq!(
        (object.state(), object.record().result.code(), object.poll_timeout()),
        (State::Idle, 4, None)
    );
}
