//! What an update makes of a shadow, and what is left to do.

use crate::{at, metadata, shadow, state, update};
use serde_json::{Value, json};
use updraft_core::shadow::{
    InvalidUpdate, NESTING_MAX, Part, SHADOW_BYTES_MAX, Shadow, ShadowRefused, Update,
};

/// Checks what a list of updates of `desired` comes to.
#[track_caller]
fn check(updates: &[Value], expected: &Value) {
    let updates: Vec<_> = updates.iter().map(|desired| json!({ "desired": desired })).collect();
    assert_eq!(state(&shadow(&updates).desired), *expected);
}

#[test]
fn objects_merge_at_every_depth_and_anything_else_replaces() {
    check(
        &[json!({"a": {"b": {"c": 1, "d": 2}}}), json!({"a": {"b": {"c": 3}}})],
        &json!({"a": {"b": {"c": 3, "d": 2}}}),
    );
    check(&[json!({"a": [1, 2, 3]}), json!({"a": [4]})], &json!({"a": [4]}));
    check(&[json!({"a": [{"x": 1}]}), json!({"a": [{"y": 2}]})], &json!({"a": [{"y": 2}]}));
    check(&[json!({"a": {"b": 1}}), json!({"a": 2})], &json!({"a": 2}));
    check(&[json!({"a": 2}), json!({"a": {"b": 1}})], &json!({"a": {"b": 1}}));
    check(&[json!({"a": [1]}), json!({"a": {"b": 1}})], &json!({"a": {"b": 1}}));
}

#[test]
fn null_removes_a_value_an_object_or_nothing_at_all() {
    check(&[json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": null}})], &json!({"a": {"c": 2}}));
    check(&[json!({"a": {"b": 1}, "d": 1}), json!({"a": null})], &json!({"d": 1}));
    check(&[json!({"a": 1}), json!({"b": null, "c": {"d": null}})], &json!({"a": 1, "c": {}}));
}

#[test]
fn an_object_that_lost_its_last_value_stays_as_an_empty_one() {
    check(&[json!({"a": {"b": 1}}), json!({"a": {"b": null}})], &json!({"a": {}}));
}

#[test]
fn null_for_a_section_removes_it_and_leaves_the_other() {
    let shadow = shadow(&[json!({"desired": {"a": 1}, "reported": {"a": 2}}), json!({"desired": null})]);
    assert!(shadow.desired.is_empty());
    assert_eq!(state(&shadow.reported), json!({"a": 2}));
    assert_eq!(shadow.version, 2);
}

#[test]
fn an_update_without_a_section_leaves_it_alone_and_still_counts() {
    let shadow = shadow(&[json!({"desired": {"a": 1}}), json!({})]);
    assert_eq!(state(&shadow.desired), json!({"a": 1}));
    assert_eq!(shadow.version, 2);
}

#[test]
fn each_value_has_the_time_when_it_was_set_and_arrays_have_it_in_each_place() {
    let shadow = shadow(&[
        json!({"desired": {"a": {"b": 1, "c": true}, "l": [1, {"x": "y"}, []]}}),
        json!({"desired": {"a": {"c": true}}}),
    ]);
    let (first, second) = (json!({"timestamp": 1}), json!({"timestamp": 2}));
    let expected = json!({"a": {"b": first, "c": second}, "l": [first, {"x": first}, []]});
    assert_eq!(metadata(&shadow.desired), expected);
}

#[test]
fn times_before_1970_and_within_a_second_are_rounded_down() {
    let update = update(&json!({"desired": {"a": 1}})).unwrap();
    for (millis, second) in [(1_999, 1), (2_000, 2), (-1, -1)] {
        let now = updraft_core::time::Timestamp::from_millis(millis);
        let shadow = Shadow::default().apply(now, &update).unwrap();
        assert_eq!(metadata(&shadow.desired), json!({"a": {"timestamp": second}}));
    }
}

/// Checks what is left to do with `desired` set first and `reported` after it.
#[track_caller]
fn check_delta(desired: &Value, reported: &Value, expected: &Value) {
    let shadow = shadow(&[json!({ "desired": desired }), json!({ "reported": reported })]);
    assert_eq!(state(&shadow.delta()), *expected);
}

#[test]
fn the_delta_is_every_desired_value_that_is_not_reported_under_its_path() {
    check_delta(&json!({"a": 1, "b": 2}), &json!({"a": 1}), &json!({"b": 2}));
    check_delta(&json!({"a": 1}), &json!({"a": 1, "only": "reported"}), &json!({}));
    check_delta(
        &json!({"a": {"b": {"c": 1, "d": 2}}}),
        &json!({"a": {"b": {"c": 1, "d": 3}, "only": 1}}),
        &json!({"a": {"b": {"d": 2}}}),
    );
    check_delta(&json!({"a": {"x": 1}}), &json!({"a": {"x": 1, "y": 2}}), &json!({}));
    check_delta(&json!({"a": [1, 2, 3]}), &json!({"a": [1, 2]}), &json!({"a": [1, 2, 3]}));
    check_delta(&json!({"a": {"b": 1}}), &json!({"a": 5}), &json!({"a": {"b": 1}}));
    check_delta(&json!({"a": 5}), &json!({"a": {"b": 1}}), &json!({"a": 5}));
    check_delta(&json!({"a": "1"}), &json!({"a": 1}), &json!({"a": "1"}));
}

#[test]
fn an_empty_desired_object_asks_for_nothing() {
    check_delta(&json!({"a": {}, "b": {"c": {}}}), &json!({"b": 5}), &json!({}));
}

#[test]
fn numbers_that_are_equal_make_no_delta_however_they_are_written() {
    check_delta(
        &json!({"a": 20, "l": [1, {"x": 2.0}]}),
        &json!({"a": 20.0, "l": [1.0, {"x": 2}]}),
        &json!({}),
    );
    check_delta(&json!({"a": -0.0}), &json!({"a": 0}), &json!({}));
    // As doubles these two would be equal.
    check_delta(
        &json!({"a": 9_007_199_254_740_993_u64}),
        &json!({"a": 9_007_199_254_740_992.0}),
        &json!({"a": 9_007_199_254_740_993_u64}),
    );
    check_delta(&json!({"a": u64::MAX}), &json!({"a": -1}), &json!({"a": u64::MAX}));
}

#[test]
fn the_deltas_times_are_those_of_desired() {
    let shadow = shadow(&[
        json!({"desired": {"a": {"b": 1, "c": 2}}}),
        json!({"desired": {"a": {"c": 3}}}),
        json!({"reported": {"a": {"b": 5, "c": 5}}}),
    ]);
    assert_eq!(metadata(&shadow.delta()), json!({"a": {"b": {"timestamp": 1}, "c": {"timestamp": 2}}}));
}

#[test]
fn a_section_that_is_no_object_is_refused_by_name() {
    for value in [json!(1), json!("x"), json!([]), json!(true)] {
        let refused = Update::new(Some(value.clone()), None, None);
        assert_eq!(refused, Err(InvalidUpdate::NotAnObject(Part::Desired)));
        let refused = Update::new(None, Some(value), None);
        assert_eq!(refused, Err(InvalidUpdate::NotAnObject(Part::Reported)));
    }
}

#[test]
fn null_inside_an_array_is_refused_at_any_depth_and_the_attribute_named() {
    for array in [json!([null]), json!([1, [null]]), json!([{"x": null}]), json!([{"x": {"y": [null]}}])] {
        let refused = update(&json!({"reported": {"a": {"list": array}}}));
        assert_eq!(refused, Err(InvalidUpdate::NullInArray("list".to_owned())));
    }
}

/// A value with so many objects around it, the section among them.
fn nested(around: usize) -> Value {
    (0..around).fold(json!(1), |inner, _| json!({ "n": inner }))
}

#[test]
fn six_levels_are_taken_and_seven_refused_be_they_objects_or_arrays() {
    assert!(update(&json!({ "desired": nested(NESTING_MAX) })).is_ok());
    assert_eq!(update(&json!({ "desired": nested(NESTING_MAX + 1) })), Err(InvalidUpdate::TooDeep));
    let lists = |around| (1..around).fold(json!(1), |inner, _| json!([inner]));
    assert!(update(&json!({"desired": {"a": lists(NESTING_MAX)}})).is_ok());
    assert_eq!(update(&json!({"desired": {"a": lists(NESTING_MAX + 1)}})), Err(InvalidUpdate::TooDeep));
    let mixed = json!([{"x": [{"y": [[1]]}]}]);
    assert_eq!(update(&json!({"desired": {"a": mixed}})), Err(InvalidUpdate::TooDeep));
}

#[test]
fn a_shadow_may_have_8_kib_of_state_in_both_sections_together_and_no_byte_more() {
    let text = |bytes: usize| "x".repeat(bytes);
    let frame = r#"{"a":""}"#.len();
    let half = shadow(&[json!({"desired": {"a": text(4_000)}})]);
    let rest = SHADOW_BYTES_MAX - half.bytes() - frame;
    let full = update(&json!({"reported": {"a": text(rest)}})).unwrap();
    assert_eq!(half.apply(at(2), &full).unwrap().bytes(), SHADOW_BYTES_MAX);
    let over = update(&json!({"reported": {"a": text(rest + 1)}})).unwrap();
    let bytes = SHADOW_BYTES_MAX + 1;
    assert_eq!(half.apply(at(2), &over), Err(ShadowRefused::TooLarge { bytes }));
    let exchanged = json!({"desired": {"a": text(3_999)}, "reported": {"a": text(rest + 1)}});
    assert!(half.apply(at(2), &update(&exchanged).unwrap()).is_ok(), "what counts is what comes of it");
}

#[test]
fn an_update_for_another_version_is_refused_and_says_the_current_one() {
    let shadow = shadow(&[json!({"desired": {"a": 1}}), json!({"desired": {"a": 2}})]);
    let at_version = |version| Update::new(Some(json!({"a": 3})), None, Some(version)).unwrap();
    for version in [0, 1, 3, u64::MAX] {
        let refused = shadow.apply(at(3), &at_version(version));
        assert_eq!(refused, Err(ShadowRefused::VersionConflict { current: 2 }));
    }
    assert_eq!(shadow.apply(at(3), &at_version(2)).unwrap().version, 3);
}
