//! Things to save, and short ways to save and load them.

use crate::attributes::Attributes;
use crate::device::Device;
use crate::execution::{Details, Execution, HistoryEntry};
use crate::id::{DeviceId, ProductName, RolloutId};
use crate::policy::Policy;
use crate::release::{Artifact, Release};
use crate::rollout::{Plan, Rollout, RolloutState, Work};
use crate::state::{ExecutionState, FailureReason, Step};
use crate::store::{Changes, DeviceRecord, RolloutEntry, Store};
use crate::task::{Membership, Task};
use crate::time::Timestamp;
use crate::version::Version;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(super) fn product(name: &str) -> ProductName {
    name.parse().expect("a product name")
}

pub(super) fn rollout_id(id: &str) -> RolloutId {
    id.parse().expect("a rollout ID")
}

fn device_id(id: &str) -> DeviceId {
    id.parse().expect("a device ID")
}

fn version(text: &str) -> Version {
    Version::parse(text).expect("a version")
}

pub(super) fn device(id: &str, product_name: &str) -> Device {
    let mut attributes = Attributes::new();
    for (name, value) in [("id", id), ("product", product_name), ("version", "1.0.0")] {
        attributes.insert(name, value).expect("an attribute within limits");
    }
    Device {
        id: device_id(id),
        product: product(product_name),
        version: "1.0.0".to_owned(),
        boot: 1,
        attributes,
        first_seen: at(1),
        changed: at(2),
    }
}

pub(super) fn execution(rollout: &str, device: &str, state: ExecutionState) -> Execution {
    Execution {
        rollout: rollout_id(rollout),
        device: device_id(device),
        is_task: false,
        attempt: 1,
        state,
        from_version: "1.0.0".to_owned(),
        boot: 1,
        offers: 1,
        downloads: 1,
        percent: None,
        detail: String::new(),
        opened: at(3),
        changed: at(4),
        deadline: at(5),
        unchanged_seen: false,
        late: false,
        revision: 2,
        details: Details::from([("step".to_owned(), "one".to_owned())]),
        started: Some(at(4)),
        step_deadline: None,
        earlier_failures: 1,
        earlier_timeouts: 0,
        retired: [1].into(),
    }
}

/// Every state there is, the open ones first, in the order of a good life.
pub(super) fn states() -> Vec<ExecutionState> {
    let steps = [Step::Downloading, Step::Downloaded, Step::Installing, Step::Rebooting];
    let reasons = [
        FailureReason::InsufficientStorage,
        FailureReason::OutOfMemory,
        FailureReason::ConnectionLost,
        FailureReason::IntegrityCheckFailed,
        FailureReason::UnsupportedPackage,
        FailureReason::InvalidUri,
        FailureReason::InstallFailed,
        FailureReason::UnsupportedProtocol,
        FailureReason::Cancelled,
        FailureReason::Deferred,
        FailureReason::RolledBack,
        FailureReason::VersionUnchanged,
    ];
    let mut states = vec![ExecutionState::Queued];
    states.extend(steps.map(ExecutionState::InProgress));
    states.push(ExecutionState::Succeeded);
    states.extend(reasons.map(ExecutionState::Failed));
    states.extend([
        ExecutionState::TimedOut,
        ExecutionState::Rejected,
        ExecutionState::Canceled,
        ExecutionState::Removed,
    ]);
    states
}

pub(super) fn entry(
    rollout: &str,
    device: &str,
    from: Option<ExecutionState>,
    to: ExecutionState,
) -> HistoryEntry {
    HistoryEntry {
        rollout: rollout_id(rollout),
        device: device_id(device),
        attempt: 1,
        at: at(6),
        from,
        to,
        note: "a reason".to_owned(),
    }
}

pub(super) fn rollout(id: &str) -> Rollout {
    Rollout {
        id: rollout_id(id),
        work: Work::Release { product: product("p"), version: version("1.1.0") },
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

pub(super) fn task_rollout(id: &str, name: &str) -> Rollout {
    let task = Task {
        name: name.parse().expect("a task name"),
        description: "what it is for".to_owned(),
        document: r#"{"operation":"reboot"}"#.to_owned(),
        devices: ["a", "b"].map(device_id).into(),
        groups: ["lab".parse().expect("a group name")].into(),
        membership: Membership::Continuous,
        link_life: Duration::from_secs(60),
    };
    Rollout { work: Work::Task(Arc::new(task)), retired: Some(at(9)), ..rollout(id) }
}

pub(super) fn rollout_entry(rollout: &str) -> RolloutEntry {
    RolloutEntry {
        rollout: rollout_id(rollout),
        at: at(1),
        from: None,
        to: RolloutState::Running,
        note: "an operator said so".to_owned(),
    }
}

pub(super) fn release(product_name: &str, version_text: &str) -> Release {
    let mut attributes = Attributes::new();
    attributes.insert("channel", "beta").expect("an attribute within limits");
    Release {
        product: product(product_name),
        version: version(version_text),
        policy: Policy::compile("device.version < update.version").expect("a policy"),
        artifact: Artifact { sha256: "a".repeat(64), md5: "b".repeat(32), size: u64::MAX },
        attributes,
        created: at(8),
    }
}

/// What can be compared of releases, by product and version as written.
pub(super) fn release_facts(releases: &[Release]) -> BTreeMap<String, String> {
    let facts = releases.iter().map(|release| {
        let Release { product, version, policy, artifact, attributes, created } = release;
        let value = format!("{:?} {artifact:?} {attributes:?} {created:?}", policy.source());
        (format!("{product} {}", version.as_str()), value)
    });
    facts.collect()
}

pub(super) fn save(store: &mut dyn Store, changes: &Changes) {
    store.save(changes).expect("the changes are saved");
}

pub(super) fn load(store: &mut dyn Store, devices: &[&str]) -> Vec<DeviceRecord> {
    let devices: Vec<_> = devices.iter().map(|id| device_id(id)).collect();
    store.load(&devices).expect("the records")
}

/// Saves devices of product `p` and rollouts for it.
pub(super) fn prepare(store: &mut dyn Store, devices: &[&str], rollouts: &[&str]) {
    let devices = devices.iter().map(|id| device(id, "p")).collect();
    let rollouts = rollouts.iter().map(|id| rollout(id)).collect();
    save(store, &Changes { devices, rollouts, ..Changes::default() });
}
