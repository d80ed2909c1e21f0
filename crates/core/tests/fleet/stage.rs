//! A fleet on a memory store, with short words for what devices and operators do.

use std::time::Duration;
use updraft_core::attributes::Attributes;
use updraft_core::execution::Execution;
use updraft_core::fleet::{Fleet, NewRollout, Offer};
use updraft_core::id::{DeviceId, RolloutId};
use updraft_core::memory::MemoryStore;
use updraft_core::policy::Policy;
use updraft_core::release::{Artifact, DEFAULT_POLICY, Release};
use updraft_core::report::{Description, Progress, Report, Word};
use updraft_core::rollout::{Plan, RolloutState};
use updraft_core::state::{ExecutionState, StateKind};
use updraft_core::time::Timestamp;
use updraft_core::version::Version;

pub(crate) const PRODUCT: &str = "thermostat";

pub(crate) struct Stage {
    pub(crate) fleet: Fleet<MemoryStore>,
    pub(crate) now: Timestamp,
}

pub(crate) fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    let mut attributes = Attributes::new();
    for (name, value) in pairs {
        attributes.insert(name, *value).unwrap();
    }
    attributes
}

impl Stage {
    pub(crate) fn new() -> Self {
        let now = Timestamp::from_millis(1_700_000_000_000);
        Self { fleet: Fleet::open(MemoryStore::new()).unwrap(), now }
    }

    pub(crate) fn release(&mut self, text: &str) {
        self.release_for(text, DEFAULT_POLICY);
    }

    pub(crate) fn release_for(&mut self, text: &str, policy: &str) {
        let release = Release {
            product: PRODUCT.parse().unwrap(),
            version: version(text),
            policy: Policy::compile(policy).unwrap(),
            artifact: Artifact { sha256: "a".repeat(64), md5: "b".repeat(32), size: 1 },
            attributes: attributes(&[("product", PRODUCT), ("version", text)]),
            created: self.now,
        };
        self.fleet.add_release(release).unwrap();
        self.fleet.commit().unwrap();
    }

    /// A release and a rollout of it, by the standard plan changed as `change` says.
    pub(crate) fn rollout(&mut self, text: &str, change: impl FnOnce(&mut Plan)) -> RolloutId {
        if self.fleet.release(&PRODUCT.parse().unwrap(), &version(text)).is_err() {
            self.release(text);
        }
        let mut plan = Plan::standard(self.now);
        change(&mut plan);
        let id: RolloutId =
            format!("r{}", text.replace(|c: char| !c.is_ascii_alphanumeric(), "x")).parse().unwrap();
        let new =
            NewRollout { id: id.clone(), product: PRODUCT.parse().unwrap(), version: version(text), plan };
        self.fleet.start_rollout(self.now, new, "a test").unwrap();
        self.fleet.commit().unwrap();
        id
    }

    pub(crate) fn wait(&mut self, duration: Duration) {
        self.now = self.now.plus(duration);
    }

    /// The device describes itself by a protocol that tells its starts, and asks. The version it is to install.
    pub(crate) fn native(
        &mut self,
        device: &str,
        runs: &str,
        boot: u64,
        word: Option<(&RolloutId, u32, Word)>,
    ) -> Option<String> {
        self.check_in(device, runs, Some(boot), word)
    }

    /// The device describes itself by a protocol that knows no words of progress, and asks.
    pub(crate) fn legacy(&mut self, device: &str, runs: &str) -> Option<String> {
        self.check_in(device, runs, None, None)
    }

    /// The device says which group it is in, and nothing of what it does.
    pub(crate) fn in_group(&mut self, device: &str, group: &str) {
        let pairs = [("id", device), ("product", PRODUCT), ("version", "1.0.0"), ("group", group)];
        let description = Description {
            product: PRODUCT.parse().unwrap(),
            version: "1.0.0".to_owned(),
            boot: Some(1),
            attributes: attributes(&pairs),
        };
        let report = Report { description: Some(description), progress: None };
        self.fleet.report(self.now, &device.parse().unwrap(), &report).unwrap();
        self.fleet.commit().unwrap();
    }

    fn check_in(
        &mut self,
        device: &str,
        runs: &str,
        boot: Option<u64>,
        word: Option<(&RolloutId, u32, Word)>,
    ) -> Option<String> {
        let id: DeviceId = device.parse().unwrap();
        let description = Description {
            product: PRODUCT.parse().unwrap(),
            version: runs.to_owned(),
            boot,
            attributes: attributes(&[("id", device), ("product", PRODUCT), ("version", runs)]),
        };
        let progress = word.map(|(rollout, attempt, word)| progress(rollout, attempt, word));
        self.fleet.report(self.now, &id, &Report { description: Some(description), progress }).unwrap();
        let offer = self.fleet.offer(self.now, &id).unwrap();
        self.fleet.commit().unwrap();
        match offer {
            Offer::Assigned(assignment) => Some(assignment.release.version.to_string()),
            Offer::Nothing { .. } => None,
        }
    }

    /// A word about a job, without a description.
    pub(crate) fn word(&mut self, device: &str, rollout: &RolloutId, attempt: u32, word: Word) {
        let report = Report { description: None, progress: Some(progress(rollout, attempt, word)) };
        self.fleet.report(self.now, &device.parse().unwrap(), &report).unwrap();
        self.fleet.commit().unwrap();
    }

    /// Ticks until nothing more comes of it.
    pub(crate) fn tick(&mut self) {
        for _ in 0..8 {
            self.fleet.tick(self.now).unwrap();
            self.fleet.commit().unwrap();
        }
    }

    pub(crate) fn execution(&mut self, device: &str, rollout: &RolloutId) -> Execution {
        let device: DeviceId = device.parse().unwrap();
        let store = self.fleet.store_mut();
        let found =
            store.executions().find(|execution| execution.device == device && execution.rollout == *rollout);
        found.cloned().expect("the device has an execution in the rollout")
    }

    pub(crate) fn state(&mut self, device: &str, rollout: &RolloutId) -> ExecutionState {
        self.execution(device, rollout).state
    }

    pub(crate) fn kind(&mut self, device: &str, rollout: &RolloutId) -> StateKind {
        self.state(device, rollout).kind()
    }

    pub(crate) fn rollout_state(&self, rollout: &RolloutId) -> RolloutState {
        self.fleet.rollout(rollout).unwrap().state
    }

    /// The notes of a device's history, oldest first.
    pub(crate) fn notes(&mut self, device: &str) -> Vec<String> {
        let device: DeviceId = device.parse().unwrap();
        let history = self.fleet.store_mut().history();
        history.iter().filter(|entry| entry.device == device).map(|entry| entry.note.clone()).collect()
    }
}

fn progress(rollout: &RolloutId, attempt: u32, word: Word) -> Progress {
    Progress { rollout: rollout.clone(), attempt, word, percent: None, detail: String::new() }
}
