//! A shadow's beginning, its end, and its name.

use crate::{at, later, update};
use serde_json::json;
use updraft_core::shadow::{
    SHADOW_NAME_BYTES_MAX, Shadow, ShadowEntry, ShadowName, ShadowRefused, Update, VERSION_KEPT,
};

#[test]
fn the_first_update_makes_version_1_out_of_an_empty_shadow_of_version_0() {
    let change = ShadowEntry::update(None, at(1), &update(&json!({"desired": {"a": 1}})).unwrap()).unwrap();
    assert_eq!(change.previous, Shadow::default());
    assert_eq!(change.current.version, 1);
    let for_nothing = Update::new(None, None, Some(0)).unwrap();
    assert_eq!(ShadowEntry::update(None, at(1), &for_nothing).unwrap().current.version, 1);
    let for_something = Update::new(None, None, Some(1)).unwrap();
    let refused = ShadowEntry::update(None, at(1), &for_something);
    assert_eq!(refused, Err(ShadowRefused::VersionConflict { current: 0 }));
}

#[test]
fn a_deleted_shadow_goes_on_counting_for_48_hours_and_is_empty() {
    let deleted = ShadowEntry::Deleted { version: 7, at: at(1_000) };
    let kept = VERSION_KEPT.as_secs();
    let update = update(&json!({"reported": {"a": 1}})).unwrap();
    let version = |seconds| {
        let change = ShadowEntry::update(Some(&deleted), later(at(1_000), seconds), &update).unwrap();
        assert!(change.previous.desired.is_empty() && change.previous.reported.is_empty());
        (change.previous.version, change.current.version)
    };
    assert_eq!(version(0), (7, 8));
    assert_eq!(version(kept - 1), (7, 8));
    assert_eq!(version(kept), (0, 1));
}

#[test]
fn a_clock_that_steps_back_forgets_no_version() {
    let deleted = ShadowEntry::Deleted { version: 7, at: at(1_000_000) };
    let update = update(&json!({})).unwrap();
    assert_eq!(ShadowEntry::update(Some(&deleted), at(1), &update).unwrap().current.version, 8);
}

#[test]
fn names_that_could_mislead_a_topic_a_path_or_a_reader_are_refused() {
    let long = "x".repeat(SHADOW_NAME_BYTES_MAX + 1);
    for text in ["", "a/b", "+", "#", "a b", "ä", "a.b", "a\0", "..", "%24", long.as_str()] {
        assert!(text.parse::<ShadowName>().is_err(), "{text:?}");
    }
    for text in ["a", "$config", "A-b_c:9", &long[1..]] {
        let name: ShadowName = text.parse().unwrap();
        assert_eq!(name.as_str(), text);
        assert!(!name.is_classic());
    }
}

#[test]
fn the_classic_shadow_has_no_name_and_sorts_first() {
    assert!(ShadowName::CLASSIC.is_classic());
    assert_eq!(ShadowName::CLASSIC.as_str(), "");
    assert!(ShadowName::CLASSIC < "$".parse().unwrap());
}
