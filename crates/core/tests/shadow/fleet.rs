//! Shadows within the fleet's batches.

use crate::{at, later, state};
use serde_json::json;
use updraft_core::fleet::Fleet;
use updraft_core::id::DeviceId;
use updraft_core::memory::MemoryStore;
use updraft_core::shadow::{
    NAMED_SHADOWS_MAX, SHADOW_BYTES_MAX, ShadowChange, ShadowName, ShadowRefused, Update, VERSION_KEPT,
};
use updraft_core::store::Store;
use updraft_core::time::Timestamp;

fn fleet() -> Fleet<MemoryStore> {
    Fleet::open(MemoryStore::new()).unwrap()
}

fn device(id: &str) -> DeviceId {
    id.parse().unwrap()
}

fn name(text: &str) -> ShadowName {
    text.parse().unwrap()
}

fn desire(value: u64) -> Update {
    Update::new(Some(json!({ "value": value })), None, None).unwrap()
}

/// Updates a shadow of `d1`.
fn update(
    fleet: &mut Fleet<MemoryStore>,
    now: Timestamp,
    shadow: &ShadowName,
    value: u64,
) -> Result<ShadowChange, ShadowRefused> {
    fleet.update_shadow(now, &device("d1"), shadow, &desire(value)).unwrap()
}

fn names(fleet: &mut Fleet<MemoryStore>, after: Option<&str>, limit: usize) -> Vec<String> {
    let after = after.map(name);
    let names = fleet.shadow_names(&device("d1"), after.as_ref(), limit).unwrap();
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn what_a_batch_says_of_a_shadow_is_seen_within_it_and_saved_at_its_end() {
    let mut fleet = fleet();
    update(&mut fleet, at(1), &ShadowName::CLASSIC, 1).unwrap();
    let change = update(&mut fleet, at(1), &ShadowName::CLASSIC, 2).unwrap();
    assert_eq!((change.previous.version, change.current.version), (1, 2));
    assert_eq!(fleet.shadow(&device("d1"), &ShadowName::CLASSIC).unwrap(), Some(change.current.clone()));
    assert!(fleet.has_changes());
    let stored = |fleet: &mut Fleet<MemoryStore>| {
        fleet.store_mut().shadow(&device("d1"), &ShadowName::CLASSIC).unwrap()
    };
    assert_eq!(stored(&mut fleet), None);
    fleet.commit().unwrap();
    assert!(!fleet.has_changes());
    assert_eq!(stored(&mut fleet).unwrap().live(), Some(&change.current));
    assert_eq!(update(&mut fleet, at(2), &ShadowName::CLASSIC, 3).unwrap().previous, change.current);
}

#[test]
fn a_device_never_heard_of_may_have_a_shadow_and_stays_unheard_of() {
    let mut fleet = fleet();
    update(&mut fleet, at(1), &ShadowName::CLASSIC, 1).unwrap();
    fleet.commit().unwrap();
    assert_eq!(fleet.device(&device("d1")).unwrap(), None);
}

#[test]
fn looking_at_a_shadow_changes_nothing() {
    let mut fleet = fleet();
    assert_eq!(fleet.shadow(&device("d1"), &ShadowName::CLASSIC).unwrap(), None);
    assert_eq!(fleet.delete_shadow(at(1), &device("d1"), &ShadowName::CLASSIC).unwrap(), None);
    assert!(names(&mut fleet, None, 10).is_empty());
    assert!(!fleet.has_changes());
}

#[test]
fn a_refused_update_changes_nothing() {
    let mut fleet = fleet();
    let large = Update::new(Some(json!({ "a": "x".repeat(SHADOW_BYTES_MAX) })), None, None).unwrap();
    let refused = fleet.update_shadow(at(1), &device("d1"), &name("n"), &large).unwrap();
    assert!(matches!(refused, Err(ShadowRefused::TooLarge { .. })));
    assert!(!fleet.has_changes());
    assert!(names(&mut fleet, None, 10).is_empty());
}

#[test]
fn shadows_of_other_names_and_devices_are_others() {
    let mut fleet = fleet();
    update(&mut fleet, at(1), &ShadowName::CLASSIC, 1).unwrap();
    update(&mut fleet, at(1), &name("n"), 2).unwrap();
    fleet.update_shadow(at(1), &device("d10"), &name("n"), &desire(3)).unwrap().unwrap();
    for is_committed in [false, true] {
        if is_committed {
            fleet.commit().unwrap();
        }
        for (id, shadow, value) in
            [("d1", ShadowName::CLASSIC, 1), ("d1", name("n"), 2), ("d10", name("n"), 3)]
        {
            let found = fleet.shadow(&device(id), &shadow).unwrap().unwrap();
            assert_eq!(state(&found.desired), json!({ "value": value }));
        }
        assert_eq!(fleet.shadow(&device("d10"), &ShadowName::CLASSIC).unwrap(), None);
        assert_eq!(names(&mut fleet, None, 10), ["n"]);
    }
}

#[test]
fn a_deleted_shadow_is_gone_and_its_version_goes_on_across_batches() {
    let mut fleet = fleet();
    let (id, shadow) = (device("d1"), name("n"));
    update(&mut fleet, at(1), &shadow, 1).unwrap();
    update(&mut fleet, at(1), &shadow, 2).unwrap();
    fleet.commit().unwrap();
    assert_eq!(fleet.delete_shadow(at(2), &id, &shadow).unwrap(), Some(2));
    for _ in 0..2 {
        assert_eq!(fleet.shadow(&id, &shadow).unwrap(), None);
        assert_eq!(fleet.delete_shadow(at(3), &id, &shadow).unwrap(), None, "deleted once");
        assert!(names(&mut fleet, None, 10).is_empty());
        fleet.commit().unwrap();
    }
    let change = update(&mut fleet, at(4), &shadow, 3).unwrap();
    assert_eq!((change.previous.version, change.current.version), (2, 3));
    assert!(change.previous.desired.is_empty());
}

#[test]
fn names_are_listed_page_by_page_without_the_classic_shadow_and_the_deleted() {
    let mut fleet = fleet();
    for shadow in ["b", "a", "d"] {
        update(&mut fleet, at(1), &name(shadow), 1).unwrap();
    }
    update(&mut fleet, at(1), &ShadowName::CLASSIC, 1).unwrap();
    fleet.commit().unwrap();
    update(&mut fleet, at(1), &name("c"), 1).unwrap();
    fleet.delete_shadow(at(1), &device("d1"), &name("b")).unwrap();
    assert_eq!(names(&mut fleet, None, 10), ["a", "c", "d"]);
    assert_eq!(names(&mut fleet, None, 2), ["a", "c"]);
    assert_eq!(names(&mut fleet, Some("c"), 2), ["d"]);
    assert_eq!(names(&mut fleet, Some("b"), 10), ["c", "d"], "a page may begin at a name that is gone");
    assert!(names(&mut fleet, None, 0).is_empty());
}

#[test]
fn a_device_cannot_fill_the_disk_with_names_not_even_by_deleting_them() {
    let mut fleet = fleet();
    for number in 0..NAMED_SHADOWS_MAX {
        update(&mut fleet, at(1), &name(&format!("n{number}")), 1).unwrap();
        if number == NAMED_SHADOWS_MAX / 2 {
            fleet.commit().unwrap();
        }
    }
    assert_eq!(update(&mut fleet, at(1), &name("more"), 1), Err(ShadowRefused::TooMany));
    fleet.delete_shadow(at(2), &device("d1"), &name("n0")).unwrap();
    fleet.commit().unwrap();
    assert_eq!(update(&mut fleet, at(3), &name("more"), 1), Err(ShadowRefused::TooMany));
    update(&mut fleet, at(3), &ShadowName::CLASSIC, 1).expect("the classic shadow is none of them");
    update(&mut fleet, at(3), &name("n1"), 2).expect("those there are can be updated");
    update(&mut fleet, at(3), &name("n0"), 2).expect("and the one that was deleted");
    fleet.delete_shadow(at(4), &device("d1"), &name("n0")).unwrap();
    let forgotten = later(at(4), VERSION_KEPT.as_secs());
    assert_eq!(update(&mut fleet, forgotten, &name("more"), 1).unwrap().current.version, 1);
    fleet.commit().unwrap();
    let kept = fleet.store_mut().shadow_heads(&device("d1")).unwrap();
    assert_eq!(kept.len(), NAMED_SHADOWS_MAX + 1, "the forgotten one is not kept");
}
