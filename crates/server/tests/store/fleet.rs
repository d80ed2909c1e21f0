//! Devices, rollouts and executions to fill a store with.

use updraft_core::attributes::Attributes;
use updraft_core::device::Device;
use updraft_core::execution::{Details, Execution, HistoryEntry};
use updraft_core::id::{DeviceId, ProductName};
use updraft_core::rollout::{Plan, Rollout, RolloutState, Work};
use updraft_core::state::ExecutionState;
use updraft_core::store::{Changes, Store};
use updraft_core::time::Timestamp;
use updraft_core::version::Version;
use updraft_server::store::SqliteStore;

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn id(id: &str) -> DeviceId {
    id.parse().unwrap()
}

pub(crate) fn product(name: &str) -> ProductName {
    name.parse().unwrap()
}

pub(crate) fn device(id_text: &str, product_name: &str) -> Device {
    let mut attributes = Attributes::new();
    attributes.insert("id", id_text).unwrap();
    attributes.insert("serial", "4711").unwrap();
    Device {
        id: id(id_text),
        product: product(product_name),
        version: "1.0.0".to_owned(),
        boot: 1,
        attributes,
        first_seen: at(1),
        changed: at(2),
    }
}

pub(crate) fn rollout(id: &str) -> Rollout {
    Rollout {
        id: id.parse().unwrap(),
        work: Work::Release { product: product("p"), version: Version::parse("1.1.0").unwrap() },
        plan: Plan::standard(at(0)),
        state: RolloutState::Running,
        state_since: at(1),
        state_note: String::new(),
        created: at(1),
        survey: None,
        retry_before: None,
        retired: None,
    }
}

pub(crate) fn execution(rollout: &str, device: &str, state: ExecutionState) -> Execution {
    Execution {
        rollout: rollout.parse().unwrap(),
        device: id(device),
        is_task: false,
        attempt: 1,
        state,
        from_version: "1.0.0".to_owned(),
        boot: 1,
        offers: 1,
        downloads: 0,
        percent: None,
        detail: String::new(),
        opened: at(3),
        changed: at(4),
        deadline: at(5),
        unchanged_seen: false,
        late: false,
        revision: 1,
        details: Details::new(),
        started: None,
        step_deadline: None,
        earlier_failures: 0,
        earlier_timeouts: 0,
        retired: [].into(),
    }
}

pub(crate) fn entry(
    rollout: &str,
    device: &str,
    from: Option<ExecutionState>,
    to: ExecutionState,
) -> HistoryEntry {
    HistoryEntry {
        rollout: rollout.parse().unwrap(),
        device: id(device),
        attempt: 1,
        at: at(6),
        from,
        to,
        note: "a reason".to_owned(),
    }
}

pub(crate) fn save(store: &mut SqliteStore, changes: &Changes) {
    store.save(changes).unwrap();
}
