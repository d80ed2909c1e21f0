//! Lists for people: filters, pages, counts.

use crate::fleet::{at, device, entry, execution, id, product, rollout, save};
use updraft_core::device::Device;
use updraft_core::execution::Execution;
use updraft_core::id::DeviceId;
use updraft_core::state::{ExecutionState, FailureReason, StateKind, Step};
use updraft_core::store::{Changes, Store};
use updraft_server::store::{Cause, Database, DeviceFilter, SqliteStore, Views, cause};

/// Twelve devices `d00` to `d11`: every third runs 1.1.0, `d05` is of another product; of rollout `r1`, `d01` succeeded,
/// `d02` failed and `d03` is downloading.
fn fleet() -> (Database, SqliteStore, Views) {
    let database = Database::in_memory().unwrap();
    let mut store = database.fleet().unwrap();
    let describe = |index: usize| {
        let name = if index == 5 { "other" } else { "p" };
        let version = if index.is_multiple_of(3) { "1.1.0" } else { "1.0.0" };
        Device { version: version.to_owned(), ..device(&format!("d{index:02}"), name) }
    };
    let states = [
        ("d01", ExecutionState::Succeeded),
        ("d02", ExecutionState::Failed(FailureReason::RolledBack)),
        ("d03", ExecutionState::InProgress(Step::Downloading)),
    ];
    save(
        &mut store,
        &Changes {
            devices: (0..12).map(describe).collect(),
            rollouts: vec![rollout("r1"), rollout("r2")],
            executions: states.iter().map(|(id, state)| execution("r1", id, *state)).collect(),
            history: states.iter().map(|(id, state)| entry("r1", id, None, *state)).collect(),
            ..Changes::default()
        },
    );
    let views = database.views().unwrap();
    (database, store, views)
}

fn ids(views: &mut Views, filter: &DeviceFilter) -> Vec<String> {
    let page = views.devices(filter, None, 100).unwrap();
    assert_eq!(page.next, None);
    page.devices.iter().map(|line| line.id.to_string()).collect()
}

#[test]
fn each_filter_narrows_the_list_of_devices() {
    let (_database, _store, mut views) = fleet();
    let all = DeviceFilter::default;
    let cases: [(DeviceFilter, &[&str]); 9] = [
        (DeviceFilter { product: Some(product("other")), ..all() }, &["d05"]),
        (DeviceFilter { version: Some("1.1.0".into()), ..all() }, &["d00", "d03", "d06", "d09"]),
        (DeviceFilter { id_prefix: Some("d1".into()), ..all() }, &["d10", "d11"]),
        (DeviceFilter { id_prefix: Some("%".into()), ..all() }, &[]),
        (DeviceFilter { state: Some(StateKind::Failed), ..all() }, &["d02"]),
        (DeviceFilter { rollout: Some("r1".parse().unwrap()), ..all() }, &["d01", "d02", "d03"]),
        (DeviceFilter { rollout: Some("r2".parse().unwrap()), ..all() }, &[]),
        (
            DeviceFilter { product: Some(product("p")), version: Some("1.1.0".into()), ..all() },
            &["d00", "d03", "d06", "d09"],
        ),
        (DeviceFilter { product: Some(product("p")), state: Some(StateKind::Succeeded), ..all() }, &["d01"]),
    ];
    for (filter, expected) in cases {
        assert_eq!(ids(&mut views, &filter), expected, "{filter:?}");
    }
    assert_eq!(ids(&mut views, &all()).len(), 12);
}

#[test]
fn a_walk_over_the_pages_meets_each_device_once() {
    let (_database, mut store, mut views) = fleet();
    let mut walked = Vec::new();
    let mut after: Option<DeviceId> = None;
    loop {
        let page = views.devices(&DeviceFilter::default(), after.as_ref(), 5).unwrap();
        walked.extend(page.devices.into_iter().map(|line| line.id.to_string()));
        // A device that comes while somebody reads moves nobody.
        save(&mut store, &Changes { devices: vec![device("a", "p")], ..Changes::default() });
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    assert_eq!(walked, (0..12).map(|index| format!("d{index:02}")).collect::<Vec<_>>());
}

#[test]
fn the_silent_are_those_not_heard_of_since() {
    let (_database, mut store, mut views) = fleet();
    let number = |store: &mut SqliteStore, name| store.number(&id(name)).unwrap().unwrap() as usize;
    let mut seen = [0; 1024];
    seen[number(&mut store, "d04")] = 1_000;
    seen[number(&mut store, "d07")] = 2_000;
    store.save_last_seen(&[(0, &seen)]).unwrap();
    let silent = DeviceFilter { unseen_since: Some(at(2_000_000)), ..DeviceFilter::default() };
    let found = views.devices(&silent, None, 100).unwrap().devices;
    assert_eq!(found.len(), 11);
    assert!(found.iter().all(|line| line.id != id("d07")));
    assert_eq!(found[4].last_seen, Some(at(1_000_000)));
    assert_eq!(found[0].last_seen, None);
    assert_eq!(views.device(&id("d07"), 10).unwrap().unwrap().last_seen, Some(at(2_000_000)));
}

#[test]
fn a_device_comes_with_its_executions_and_its_history_newest_first() {
    let (_database, mut store, mut views) = fleet();
    let downloading = ExecutionState::InProgress(Step::Downloading);
    let end = ExecutionState::TimedOut;
    let history = vec![entry("r1", "d03", Some(downloading), end)];
    let executions = vec![execution("r1", "d03", end)];
    save(&mut store, &Changes { executions, history, ..Changes::default() });
    let detail = views.device(&id("d03"), 10).unwrap().unwrap();
    assert_eq!(detail.device.version, "1.1.0");
    assert_eq!(detail.executions, [execution("r1", "d03", end)]);
    let lines: Vec<_> = detail.history.iter().map(|line| (line.from, line.to)).collect();
    assert_eq!(lines, [(Some(downloading), end), (None, downloading)]);
    assert_eq!(views.device(&id("d03"), 1).unwrap().unwrap().history.len(), 1);
    assert_eq!(views.device(&id("nobody"), 10).unwrap(), None);
}

#[test]
fn devices_are_counted_by_product_and_version() {
    let (_database, _store, mut views) = fleet();
    let mut counts = |name: Option<&str>| -> Vec<(String, String, u64)> {
        let counts = views.versions(name.map(product).as_ref(), 10).unwrap();
        counts.into_iter().map(|line| (line.product.to_string(), line.version, line.devices)).collect()
    };
    let (other, old, new) = (
        ("other".to_owned(), "1.0.0".to_owned(), 1),
        ("p".to_owned(), "1.0.0".to_owned(), 7),
        ("p".to_owned(), "1.1.0".to_owned(), 4),
    );
    assert_eq!(counts(None), [other.clone(), old, new]);
    assert_eq!(counts(Some("other")), [other]);
    assert_eq!(counts(Some("none")), []);
}

#[test]
fn rollouts_come_newest_first_with_their_tallies() {
    let (_database, mut store, mut views) = fleet();
    let newer = updraft_core::rollout::Rollout { created: at(99), ..rollout("a3") };
    save(&mut store, &Changes { rollouts: vec![newer], ..Changes::default() });
    let mut page = |after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(|id| id.parse().unwrap());
        let lines = views.rollouts(Some(&product("p")), after.as_ref(), limit).unwrap();
        lines.iter().map(|line| line.rollout.id.to_string()).collect()
    };
    assert_eq!(page(None, 10), ["a3", "r2", "r1"]);
    assert_eq!(page(None, 2), ["a3", "r2"]);
    assert_eq!(page(Some("r2"), 2), ["r1"]);
    let line = views.rollout(&"r1".parse().unwrap()).unwrap().unwrap();
    let counts = [StateKind::Succeeded, StateKind::Failed, StateKind::Downloading, StateKind::Queued]
        .map(|kind| line.tally.count(kind));
    assert_eq!(counts, [1, 1, 1, 0]);
    assert!(views.rollout(&"none".parse().unwrap()).unwrap().is_none());
    assert_eq!(views.rollouts(Some(&product("none")), None, 10).unwrap(), []);
}

#[test]
fn a_rollouts_executions_are_listed_by_state() {
    let (_database, mut store, mut views) = fleet();
    let more: Vec<Execution> =
        ["d08", "d06", "d07"].map(|id| execution("r1", id, ExecutionState::Succeeded)).into();
    save(&mut store, &Changes { executions: more, ..Changes::default() });
    let mut page = |after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(id);
        let rows =
            views.executions(&"r1".parse().unwrap(), StateKind::Succeeded, after.as_ref(), limit).unwrap();
        rows.iter().map(|row| row.device.to_string()).collect()
    };
    assert_eq!(page(None, 3), ["d01", "d06", "d07"]);
    assert_eq!(page(Some("d07"), 3), ["d08"]);
}

#[test]
fn a_view_sees_nothing_of_a_refused_batch() {
    let (_database, mut store, mut views) = fleet();
    assert!(views.verify_tallies().unwrap().is_empty());
    assert!(views.faults().unwrap().is_empty());
    let facts = views.facts().unwrap();
    assert_eq!((facts.devices, facts.executions, facts.rollouts, facts.releases), (12, 3, 2, 0));
    let refused = vec![execution("r2", "d03", ExecutionState::Queued)];
    let devices = vec![device("late", "p")];
    let error = store.save(&Changes { devices, executions: refused, ..Changes::default() }).unwrap_err();
    assert_eq!(cause(&error), Cause::Refused);
    assert_eq!(views.facts().unwrap(), facts);
    assert_eq!(store.number(&id("late")).unwrap(), None);
}
