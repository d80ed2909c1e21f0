//! What every store must do, as functions: one claim each, run against an empty store. Every back end runs them all.
//!
//! Absent: what outlives the process. Each back end shows that itself, since only it knows how to be killed.

mod sample;
mod shadow;
mod walk;

use crate::device::Device;
use crate::execution::Execution;
use crate::id::DeviceId;
use crate::rollout::{AbortReach, Rollout, RolloutState, Survey};
use crate::state::ExecutionState;
use crate::store::{Changes, DeviceRecord, Store};
use sample::{
    at, device, entry, execution, load, prepare, product, release, release_facts, rollout, rollout_entry,
    rollout_id, save, states, task_rollout,
};
pub use shadow::{
    a_shadow_is_loaded_as_it_was_saved, a_shadow_is_of_one_device_and_one_name,
    what_is_kept_of_a_shadow_is_replaced_deleted_and_dropped,
};
use std::collections::BTreeMap;
use std::time::Duration;
pub use walk::tallies_equal_the_executions_whatever_happens;

/// A claim about any store, checked against an empty one; it panics where the claim does not hold.
pub type Claim = fn(&mut dyn Store);

/// Every claim, with its name.
pub const CLAIMS: [(&str, Claim); 19] = [
    ("an_empty_store_knows_nothing", an_empty_store_knows_nothing),
    ("a_device_is_loaded_as_it_was_saved", a_device_is_loaded_as_it_was_saved),
    ("a_device_saved_again_replaces_the_first", a_device_saved_again_replaces_the_first),
    (
        "an_execution_in_any_state_is_loaded_as_it_was_saved",
        an_execution_in_any_state_is_loaded_as_it_was_saved,
    ),
    ("records_come_in_the_order_asked", records_come_in_the_order_asked),
    (
        "the_catalogue_holds_releases_and_rollouts_as_saved",
        the_catalogue_holds_releases_and_rollouts_as_saved,
    ),
    ("a_second_release_of_equal_precedence_is_refused", a_second_release_of_equal_precedence_is_refused),
    ("a_second_open_execution_of_a_device_is_refused", a_second_open_execution_of_a_device_is_refused),
    (
        "one_batch_may_close_one_execution_and_open_another",
        one_batch_may_close_one_execution_and_open_another,
    ),
    ("nothing_may_name_a_device_or_rollout_unknown", nothing_may_name_a_device_or_rollout_unknown),
    ("a_refused_batch_leaves_no_trace", a_refused_batch_leaves_no_trace),
    ("tallies_equal_the_executions_whatever_happens", tallies_equal_the_executions_whatever_happens),
    (
        "the_overdue_are_open_and_the_most_overdue_come_first",
        the_overdue_are_open_and_the_most_overdue_come_first,
    ),
    ("a_device_may_have_tasks_open_beside_an_update", a_device_may_have_tasks_open_beside_an_update),
    ("the_open_of_a_rollout_come_by_id", the_open_of_a_rollout_come_by_id),
    ("a_products_devices_are_walked_by_id_page_by_page", a_products_devices_are_walked_by_id_page_by_page),
    ("a_shadow_is_loaded_as_it_was_saved", a_shadow_is_loaded_as_it_was_saved),
    ("a_shadow_is_of_one_device_and_one_name", a_shadow_is_of_one_device_and_one_name),
    (
        "what_is_kept_of_a_shadow_is_replaced_deleted_and_dropped",
        what_is_kept_of_a_shadow_is_replaced_deleted_and_dropped,
    ),
];

/// Checks every claim, each against a store of its own.
pub fn all(empty: &mut dyn FnMut() -> Box<dyn Store>) {
    for (_, claim) in CLAIMS {
        claim(&mut *empty());
    }
}

/// Nothing is in it, and saving nothing is fine.
pub fn an_empty_store_knows_nothing(store: &mut dyn Store) {
    save(store, &Changes::default());
    let catalogue = store.catalogue().expect("a catalogue");
    assert!(catalogue.releases.is_empty() && catalogue.rollouts.is_empty());
    assert_eq!(load(store, &["d1"]), [DeviceRecord::default()]);
    assert_eq!(store.tallies().expect("tallies"), BTreeMap::new());
    assert_eq!(store.overdue(at(i64::MAX), 10).expect("the overdue"), []);
    assert_eq!(store.open_in(&rollout_id("r1"), AbortReach::Open, 10).expect("the open"), []);
    assert_eq!(store.devices_after(&product("p"), None, 10).expect("devices"), []);
}

/// Every field comes back, the extremes of each included.
pub fn a_device_is_loaded_as_it_was_saved(store: &mut dyn Store) {
    let mut rich = device("rich", "p");
    for (name, value) in [("region", "Zürich \u{1f5fb} \0 end"), ("empty", ""), ("version", "1.0.0-rc.1+b")]
    {
        rich.attributes.insert(name, value).expect("an attribute within limits");
    }
    rich.attributes.insert("power.battery", 87.25).expect("an attribute within limits");
    rich.attributes.insert("power.mains", false).expect("an attribute within limits");
    rich.attributes
        .insert("tags", vec!["a".into(), "b".into(), 3.into()])
        .expect("an attribute within limits");
    rich.version = "not a version, \u{fffd}\0".to_owned();
    let extreme =
        Device { boot: u64::MAX, first_seen: at(i64::MIN), changed: at(i64::MAX), ..device("extreme", "p") };
    let devices = vec![rich, extreme, device("plain", "p")];
    save(store, &Changes { devices: devices.clone(), ..Changes::default() });
    let loaded = load(store, &["rich", "extreme", "plain"]);
    let expected =
        devices.into_iter().map(|device| DeviceRecord { device: Some(device), executions: vec![] });
    assert_eq!(loaded, expected.collect::<Vec<_>>());
}

/// Each field can change, alone or together with the others.
pub fn a_device_saved_again_replaces_the_first(store: &mut dyn Store) {
    let first = device("d1", "p");
    save(store, &Changes { devices: vec![first.clone(), device("d2", "p")], ..Changes::default() });
    let mut attributes = first.attributes.clone();
    attributes.insert("region", "south").expect("an attribute within limits");
    let successors = [
        Device { boot: 2, ..first.clone() },
        Device { version: "1.1.0".to_owned(), boot: 3, ..first.clone() },
        Device { product: product("q"), ..first.clone() },
        Device { attributes, changed: at(77), ..first.clone() },
        Device { first_seen: at(5), ..first.clone() },
        first,
    ];
    for successor in successors {
        save(store, &Changes { devices: vec![successor.clone()], ..Changes::default() });
        assert_eq!(load(store, &["d1"])[0].device, Some(successor));
        assert_eq!(load(store, &["d2"])[0].device, Some(device("d2", "p")));
    }
}

/// Every state and reason, every field.
pub fn an_execution_in_any_state_is_loaded_as_it_was_saved(store: &mut dyn Store) {
    prepare(store, &["d1"], &["r1", "r2"]);
    let other =
        Execution { state: ExecutionState::Rejected, ..execution("r2", "d1", ExecutionState::Queued) };
    save(store, &Changes { executions: vec![other.clone()], ..Changes::default() });
    for (step, state) in states().into_iter().enumerate() {
        let saved = Execution {
            attempt: u32::MAX,
            from_version: "0.9 beta".to_owned(),
            boot: u64::MAX,
            offers: 3,
            downloads: u32::MAX,
            percent: (step % 2 == 0).then_some(100),
            detail: "Platte voll \u{1f4be}".to_owned(),
            opened: at(i64::MIN),
            changed: at(7),
            deadline: at(i64::MAX),
            unchanged_seen: step % 3 == 0,
            late: step % 3 == 1,
            ..execution("r1", "d1", state)
        };
        save(store, &Changes { executions: vec![saved.clone()], ..Changes::default() });
        assert_eq!(load(store, &["d1"])[0].executions, [saved, other.clone()]);
    }
}

/// Also the unknown and the repeated; the executions of each device by rollout.
pub fn records_come_in_the_order_asked(store: &mut dyn Store) {
    prepare(store, &["a", "b", "c"], &["r1", "r2", "r3"]);
    let closed = |rollout, device| execution(rollout, device, ExecutionState::Succeeded);
    let executions = vec![closed("r3", "b"), closed("r1", "b"), closed("r2", "b"), closed("r2", "a")];
    save(store, &Changes { executions, ..Changes::default() });
    let loaded = load(store, &["c", "b", "nobody", "a", "b"]);
    let ids = loaded.iter().map(|record| record.device.as_ref().map_or("-", |device| device.id.as_str()));
    assert_eq!(ids.collect::<Vec<_>>(), ["c", "b", "-", "a", "b"]);
    let rollouts = |record: &DeviceRecord| {
        record.executions.iter().map(|execution| execution.rollout.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(rollouts(&loaded[0]), [""; 0]);
    assert_eq!(rollouts(&loaded[1]), ["r1", "r2", "r3"]);
    assert_eq!(rollouts(&loaded[3]), ["r2"]);
    assert_eq!(loaded[1], loaded[4]);
    assert_eq!(load(store, &[]), []);
}

/// Every field of both; a rollout saved again replaces the first.
pub fn the_catalogue_holds_releases_and_rollouts_as_saved(store: &mut dyn Store) {
    let releases = vec![release("p", "1.0.0"), release("p", "1.1.0-rc.1+build.7"), release("q", "1.0.0")];
    let rollouts = vec![rollout("r1"), rollout("r2")];
    save(store, &Changes { releases: releases.clone(), rollouts, ..Changes::default() });
    assert_eq!(release_facts(&store.catalogue().expect("a catalogue").releases), release_facts(&releases));
    let mut changed = rollout("r1");
    changed.plan.pace.in_flight_max = 7;
    changed.plan.retry.back_off = Duration::from_millis(1_500);
    changed.survey = Some(Survey { at: at(9), due: u64::MAX });
    changed.retry_before = Some(at(i64::MIN));
    for state in [
        RolloutState::Draft,
        RolloutState::Paused,
        RolloutState::Completed,
        RolloutState::Aborted,
        RolloutState::Running,
    ] {
        changed.state = state;
        state.as_str().clone_into(&mut changed.state_note);
        save(store, &Changes { rollouts: vec![changed.clone()], ..Changes::default() });
        let mut rollouts = store.catalogue().expect("a catalogue").rollouts;
        rollouts.sort_by(|left, right| left.id.cmp(&right.id));
        assert_eq!(rollouts, [changed.clone(), rollout("r2")]);
    }
}

/// A release is never changed once added, and build metadata makes no other release (SemVer 2.0 §10).
pub fn a_second_release_of_equal_precedence_is_refused(store: &mut dyn Store) {
    save(store, &Changes { releases: vec![release("p", "1.0.0+a")], ..Changes::default() });
    for batch in [vec!["1.0.0+a"], vec!["1.0.0+b"], vec!["1.0.0"], vec!["2.0.0", "2.0.0+c"]] {
        let releases = batch.iter().map(|version| release("p", version)).collect();
        assert!(store.save(&Changes { releases, ..Changes::default() }).is_err(), "{batch:?}");
    }
    save(
        store,
        &Changes { releases: vec![release("q", "1.0.0"), release("p", "1.0.1")], ..Changes::default() },
    );
    assert_eq!(store.catalogue().expect("a catalogue").releases.len(), 3);
}

/// Within one batch, and beside what is stored.
pub fn a_second_open_execution_of_a_device_is_refused(store: &mut dyn Store) {
    prepare(store, &["d1", "d2"], &["r1", "r2", "r3"]);
    let open = |rollout, device| execution(rollout, device, ExecutionState::Queued);
    let two = vec![open("r1", "d1"), open("r2", "d1")];
    assert!(store.save(&Changes { executions: two, ..Changes::default() }).is_err());
    save(store, &Changes { executions: vec![open("r1", "d1"), open("r1", "d2")], ..Changes::default() });
    for state in states().into_iter().filter(|state| state.is_open()) {
        let second = vec![execution("r2", "d1", state)];
        assert!(store.save(&Changes { executions: second, ..Changes::default() }).is_err(), "{state:?}");
    }
    assert_eq!(load(store, &["d1"])[0].executions, [open("r1", "d1")]);
    let closed = vec![execution("r2", "d1", ExecutionState::Rejected)];
    save(store, &Changes { executions: closed, ..Changes::default() });
}

/// In either order of rows.
pub fn one_batch_may_close_one_execution_and_open_another(store: &mut dyn Store) {
    prepare(store, &["d1"], &["r1", "r2"]);
    let state = |rollout, state| execution(rollout, "d1", state);
    let (open, closed) = (ExecutionState::Queued, ExecutionState::Canceled);
    save(store, &Changes { executions: vec![state("r1", open)], ..Changes::default() });
    for (r1, r2) in [(closed, open), (open, closed), (closed, open)] {
        for backwards in [false, true] {
            let mut executions = vec![state("r1", r1), state("r2", r2)];
            if backwards {
                executions.reverse();
            }
            save(store, &Changes { executions, ..Changes::default() });
            assert_eq!(load(store, &["d1"])[0].executions, [state("r1", r1), state("r2", r2)]);
        }
    }
}

/// An execution or a history that hangs in the air is a mistake of ours, and found at once.
pub fn nothing_may_name_a_device_or_rollout_unknown(store: &mut dyn Store) {
    prepare(store, &["d1"], &["r1"]);
    for (rollout, device) in [("r1", "nobody"), ("none", "d1")] {
        let executions = vec![execution(rollout, device, ExecutionState::Queued)];
        assert!(store.save(&Changes { executions, ..Changes::default() }).is_err());
        let history = vec![entry(rollout, device, None, ExecutionState::Queued)];
        assert!(store.save(&Changes { history, ..Changes::default() }).is_err());
    }
    let rollout_history = vec![rollout_entry("none")];
    assert!(store.save(&Changes { rollout_history, ..Changes::default() }).is_err());
    let together = Changes {
        devices: vec![device("d2", "p")],
        rollouts: vec![rollout("r2")],
        executions: vec![execution("r2", "d2", ExecutionState::Queued)],
        history: vec![entry("r2", "d2", None, ExecutionState::Queued)],
        rollout_history: vec![rollout_entry("r2")],
        ..Changes::default()
    };
    save(store, &together);
}

/// All of a batch is saved, or none.
pub fn a_refused_batch_leaves_no_trace(store: &mut dyn Store) {
    prepare(store, &["d1"], &["r1", "r2"]);
    let before = (load(store, &["d1", "d2"]), store.tallies().expect("tallies"));
    let mut batch = Changes {
        devices: vec![Device { boot: 9, ..device("d1", "p") }, device("d2", "p")],
        executions: vec![execution("r1", "d1", ExecutionState::Queued)],
        history: vec![entry("r1", "d1", None, ExecutionState::Queued)],
        releases: vec![release("p", "3.0.0")],
        rollouts: vec![Rollout { state: RolloutState::Aborted, ..rollout("r1") }],
        rollout_history: vec![rollout_entry("r1")],
        shadows: vec![shadow::row("d1")],
    };
    batch.executions.push(execution("r2", "d1", ExecutionState::Queued));
    assert!(store.save(&batch).is_err());
    assert!(shadow::is_unknown(store, "d1"));
    assert_eq!((load(store, &["d1", "d2"]), store.tallies().expect("tallies")), before);
    let catalogue = store.catalogue().expect("a catalogue");
    assert!(catalogue.releases.is_empty());
    assert!(catalogue.rollouts.iter().all(|rollout| rollout.state == RolloutState::Running));
    batch.executions.pop();
    save(store, &batch);
    assert_eq!(load(store, &["d1"])[0].executions, batch.executions);
}

/// Up to and including the moment itself, and no more than asked for.
pub fn the_overdue_are_open_and_the_most_overdue_come_first(store: &mut dyn Store) {
    prepare(store, &["a", "b", "c", "d", "e"], &["r1"]);
    let due =
        |device, state, deadline| Execution { deadline: at(deadline), ..execution("r1", device, state) };
    let executions = vec![
        due("a", ExecutionState::Queued, 30),
        due("b", states()[1], 10),
        due("c", ExecutionState::Succeeded, 5),
        due("d", states()[4], 20),
        due("e", ExecutionState::Queued, 31),
    ];
    save(store, &Changes { executions, ..Changes::default() });
    let mut overdue = |now, limit| ids(store.overdue(at(now), limit).expect("the overdue"));
    assert_eq!(overdue(9, 10), [""; 0]);
    assert_eq!(overdue(10, 10), ["b"]);
    assert_eq!(overdue(30, 10), ["b", "d", "a"]);
    assert_eq!(overdue(i64::MAX, 2), ["b", "d"]);
    assert_eq!(overdue(30, 0), [""; 0]);
    save(store, &Changes { executions: vec![due("b", ExecutionState::TimedOut, 10)], ..Changes::default() });
    assert_eq!(ids(store.overdue(at(20), 10).expect("the overdue")), ["d"]);
}

/// A task's rollout comes back whole, and its executions are under no limit of the store.
pub fn a_device_may_have_tasks_open_beside_an_update(store: &mut dyn Store) {
    prepare(store, &["a"], &["r1"]);
    let tasks = ["t1", "t2"].map(|id| task_rollout(id, "reboot"));
    save(store, &Changes { rollouts: tasks.to_vec(), ..Changes::default() });
    let mut rollouts = store.catalogue().expect("a catalogue").rollouts;
    rollouts.retain(|rollout| rollout.task().is_some());
    rollouts.sort_by(|left, right| left.id.cmp(&right.id));
    assert_eq!(rollouts, tasks);
    let open = |id| Execution { is_task: true, ..execution(id, "a", ExecutionState::Queued) };
    let executions = vec![execution("r1", "a", ExecutionState::Queued), open("t1"), open("t2")];
    save(store, &Changes { executions: executions.clone(), ..Changes::default() });
    assert_eq!(load(store, &["a"])[0].executions, executions);
}

/// Not those of another rollout, not the closed ones, and no more than asked for.
pub fn the_open_of_a_rollout_come_by_id(store: &mut dyn Store) {
    prepare(store, &["d", "c", "b", "a", "B"], &["r1", "r2"]);
    let executions = vec![
        execution("r1", "d", ExecutionState::Queued),
        execution("r1", "a", states()[3]),
        execution("r1", "B", states()[1]),
        execution("r1", "b", ExecutionState::Canceled),
        execution("r2", "b", ExecutionState::Queued),
        execution("r2", "d", ExecutionState::Succeeded),
    ];
    save(store, &Changes { executions, ..Changes::default() });
    let mut open =
        |rollout, reach, limit| ids(store.open_in(&rollout_id(rollout), reach, limit).expect("the open"));
    assert_eq!(open("r1", AbortReach::Open, 10), ["B", "a", "d"]);
    assert_eq!(open("r1", AbortReach::Open, 2), ["B", "a"]);
    assert_eq!(open("r1", AbortReach::Queued, 10), ["d"]);
    assert_eq!(open("r2", AbortReach::Queued, 10), ["b"]);
    assert_eq!(open("r1", AbortReach::Open, 0), [""; 0]);
    assert_eq!(open("none", AbortReach::Open, 10), [""; 0]);
}

/// By the bytes of the ID; a device that turns into another product moves over.
pub fn a_products_devices_are_walked_by_id_page_by_page(store: &mut dyn Store) {
    let mut devices: Vec<_> = ["d10", "d9", "D1", "d1", "_x"].map(|id| device(id, "p")).into();
    devices.push(device("d2", "q"));
    save(store, &Changes { devices, ..Changes::default() });
    let mut walked = Vec::new();
    let mut after: Option<DeviceId> = None;
    loop {
        let page = store.devices_after(&product("p"), after.as_ref(), 2).expect("a page");
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        walked.extend(ids(page));
    }
    assert_eq!(walked, ["D1", "_x", "d1", "d10", "d9"]);
    save(store, &Changes { devices: vec![device("d1", "q")], ..Changes::default() });
    let mut of = |product_name, after: &str| {
        let after = after.parse().expect("a device ID");
        ids(store.devices_after(&product(product_name), Some(&after), 10).expect("a page"))
    };
    assert_eq!(of("p", "_x"), ["d10", "d9"]);
    assert_eq!(of("q", "A"), ["d1", "d2"]);
    assert_eq!(of("q", "d1x"), ["d2"]);
    assert_eq!(of("none", "A"), [""; 0]);
}

fn ids(devices: Vec<DeviceId>) -> Vec<String> {
    devices.iter().map(DeviceId::to_string).collect()
}
