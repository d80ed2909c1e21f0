//! What every store must do with shadows.

use super::sample::{at, save};
use crate::id::DeviceId;
use crate::shadow::{Shadow, ShadowEntry, ShadowHead, ShadowName, Update};
use crate::store::{Changes, ShadowRow, Store};
use serde_json::json;

fn device(id: &str) -> DeviceId {
    id.parse().expect("a device ID")
}

/// A shadow's name; the classic one's for the empty text.
fn named(text: &str) -> ShadowName {
    if text.is_empty() { ShadowName::CLASSIC } else { text.parse().expect("a shadow's name") }
}

/// A shadow with something in it, at `version`.
fn shadow(version: u64, value: &str) -> Shadow {
    let desired = json!({ "value": value, "object": {"list": [1, {"x": -0.5}]}, "empty": {} });
    let reported = json!({"number": 0.1, "big": u64::MAX, "small": i64::MIN, "flag": false});
    let update = Update::new(Some(desired), Some(reported), None).expect("a sound update");
    Shadow { version, ..Shadow::default().apply(at(1_500), &update).expect("a small shadow") }
}

/// The classic shadow of a device, to be saved.
pub(super) fn row(id: &str) -> ShadowRow {
    live(id, "", 1)
}

/// Whether nothing is kept of the classic shadow of a device.
pub(super) fn is_unknown(store: &mut dyn Store, id: &str) -> bool {
    find(store, id, "").is_none() && heads(store, id).is_empty()
}

fn live(id: &str, name: &str, version: u64) -> ShadowRow {
    let entry = Some(ShadowEntry::Live(shadow(version, name)));
    ShadowRow { device: device(id), name: named(name), entry }
}

fn put(store: &mut dyn Store, shadows: Vec<ShadowRow>) {
    save(store, &Changes { shadows, ..Changes::default() });
}

fn find(store: &mut dyn Store, id: &str, name: &str) -> Option<ShadowEntry> {
    store.shadow(&device(id), &named(name)).expect("a shadow, or none")
}

fn heads(store: &mut dyn Store, id: &str) -> Vec<ShadowHead> {
    store.shadow_heads(&device(id)).expect("names")
}

/// Every kind of value, times and extremes of the version included; for a device never heard of.
pub fn a_shadow_is_loaded_as_it_was_saved(store: &mut dyn Store) {
    assert!(is_unknown(store, "d1"));
    let rich = shadow(u64::MAX, "Zürich \u{1f5fb} \0 \" end");
    for expected in [rich, Shadow::default(), shadow(3, "")] {
        let entry = Some(ShadowEntry::Live(expected));
        put(store, vec![ShadowRow { device: device("d1"), name: ShadowName::CLASSIC, entry: entry.clone() }]);
        assert_eq!(find(store, "d1", ""), entry);
        assert_eq!(heads(store, "d1"), [ShadowHead { name: ShadowName::CLASSIC, deleted: None }]);
    }
}

/// Names are told apart to the letter, and listed by their bytes, the classic shadow first.
pub fn a_shadow_is_of_one_device_and_one_name(store: &mut dyn Store) {
    let names = ["b", "", "B", "$a", "a10", "a9"];
    let rows = names.iter().zip(1..).map(|(name, version)| live("d1", name, version));
    put(store, rows.chain([live("d2", "b", 99)]).collect());
    for (name, version) in names.iter().zip(1..) {
        assert_eq!(find(store, "d1", name), Some(ShadowEntry::Live(shadow(version, name))), "{name}");
    }
    let listed: Vec<_> = heads(store, "d1").into_iter().map(|head| head.name.to_string()).collect();
    assert_eq!(listed, ["", "$a", "B", "a10", "a9", "b"]);
    assert_eq!(find(store, "d2", ""), None);
    assert_eq!(heads(store, "d2").len(), 1);
}

/// Also within one batch, in which the last word counts.
pub fn what_is_kept_of_a_shadow_is_replaced_deleted_and_dropped(store: &mut dyn Store) {
    let deleted = Some(ShadowEntry::Deleted { version: 2, at: at(i64::MAX) });
    let row = |entry| ShadowRow { device: device("d1"), name: named("n"), entry };
    put(store, vec![live("d1", "n", 1), live("d1", "m", 1)]);
    put(store, vec![live("d1", "n", 2), row(deleted.clone())]);
    assert_eq!(find(store, "d1", "n"), deleted);
    let [kept, head] = &heads(store, "d1")[..] else { panic!("two names") };
    assert_eq!((kept.deleted, head.deleted), (None, Some(at(i64::MAX))));
    put(store, vec![live("d1", "n", 3)]);
    assert_eq!(find(store, "d1", "n"), live("d1", "n", 3).entry);
    put(store, vec![row(None)]);
    assert_eq!(find(store, "d1", "n"), None);
    put(store, vec![row(None)]);
    assert_eq!(heads(store, "d1"), [ShadowHead { name: named("m"), deleted: None }]);
}
