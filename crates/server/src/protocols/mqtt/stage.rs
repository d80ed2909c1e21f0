//! A fleet in memory with one device and one release, for the adapters' claims.

use super::door::{Effects, Identity, Message};
use super::jobs::{self, Handled, Told};
use super::links::Links;
use super::replica::{self, Desk};
use super::topic::Route;
use crate::artifacts::LinkSigner;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use updraft_core::attributes::Attributes;
use updraft_core::execution::Execution;
use updraft_core::fleet::{Fleet, NewRollout, NewTask};
use updraft_core::id::{DeviceId, RolloutId};
use updraft_core::memory::MemoryStore;
use updraft_core::policy::Policy;
use updraft_core::release::{Artifact, DEFAULT_POLICY, Release};
use updraft_core::report::{Description, Report};
use updraft_core::rollout::Plan;
use updraft_core::task::{Membership, Task};
use updraft_core::time::Timestamp;
use updraft_core::version::Version;
use updraft_wire::jobs::Topic as Jobs;
use updraft_wire::replica::Topic as Replica;

pub(super) const PRODUCT: &str = "cam";

pub(super) struct Stage {
    pub(super) fleet: Fleet<MemoryStore>,
    pub(super) now: Timestamp,
    pub(super) links: Links,
    rollouts: u32,
    _folder: tempfile::TempDir,
}

pub(super) fn id(name: &str) -> DeviceId {
    name.parse().unwrap()
}

pub(super) fn device(name: &str) -> Identity {
    Identity::Device { id: id(name), product: None }
}

pub(super) fn application() -> Identity {
    Identity::Application { name: "shop".into() }
}

impl Stage {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signer = Arc::new(LinkSigner::open(&folder.path().join("link.keys"), 1_772_366_400).unwrap());
        let life = Duration::from_secs(3600);
        let links = Links { signer, base_url: "https://updates.example".into(), life };
        let now = Timestamp::from_millis(1_772_366_400_123);
        Self { fleet: Fleet::open(MemoryStore::new()).unwrap(), now, links, rollouts: 0, _folder: folder }
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    pub(super) fn knows(&mut self, name: &str, version: &str) {
        let mut attributes = Attributes::new();
        for (name, value) in [("product", PRODUCT), ("version", version)] {
            attributes.insert(name, value).unwrap();
        }
        let description = Description {
            product: PRODUCT.parse().unwrap(),
            version: version.to_owned(),
            boot: None,
            attributes,
        };
        let report = Report { description: Some(description), progress: None };
        self.fleet.report(self.now, &id(name), &report).unwrap();
    }

    /// A release with what an operator adds to it.
    pub(super) fn release(&mut self, version: &str, meta: &[(&str, &str)]) {
        let mut attributes = Attributes::new();
        for (name, value) in [("product", PRODUCT), ("version", version)].iter().chain(meta) {
            attributes.insert(name, *value).unwrap();
        }
        let release = Release {
            product: PRODUCT.parse().unwrap(),
            version: Version::parse(version).unwrap(),
            policy: Policy::compile(DEFAULT_POLICY).unwrap(),
            artifact: Artifact { sha256: "a".repeat(64), md5: "b".repeat(32), size: 5 },
            attributes,
            created: self.now,
        };
        self.fleet.add_release(release).unwrap();
    }

    pub(super) fn rollout(&mut self, version: &str) -> RolloutId {
        let id: RolloutId = "r1".parse().unwrap();
        let version = Version::parse(version).unwrap();
        let plan = Plan::standard(self.now);
        let new = NewRollout { id: id.clone(), product: PRODUCT.parse().unwrap(), version, plan };
        self.fleet.start_rollout(self.now, new, "a test").unwrap();
        id
    }

    pub(super) fn task(&mut self, name: &str, document: &str, devices: &[&str]) -> RolloutId {
        let id: RolloutId = format!("t{}", name.replace('-', "").to_lowercase()).parse().unwrap();
        let task = Task {
            name: name.parse().unwrap(),
            description: String::new(),
            document: document.to_owned(),
            devices: devices.iter().map(|name| name.parse().unwrap()).collect(),
            groups: [].into(),
            membership: Membership::Snapshot,
            link_life: Duration::from_secs(60),
        };
        let plan = Plan::standard(self.now);
        self.fleet.start_task(self.now, NewTask { id: id.clone(), task, plan }, "a test").unwrap();
        id
    }

    pub(super) fn execution(&mut self, name: &str, rollout: &RolloutId) -> Execution {
        self.fleet.execution(&id(name), rollout).unwrap().unwrap()
    }

    /// Asks on a topic of jobs. The last levels of the reply's topic, and its body.
    pub(super) fn jobs(&mut self, name: &str, topic: Jobs<'_>, payload: &str) -> (String, Value) {
        let handled =
            jobs::handle(&mut self.fleet, self.now, &id(name), topic, payload.as_bytes(), &self.links);
        let Handled { effects, .. } = handled.unwrap();
        self.fleet.commit().unwrap();
        assert_eq!(effects.published, [], "replies are for whoever asked");
        let [reply] = &effects.replies[..] else { panic!("one reply: {effects:?}") };
        let levels = reply.topic.strip_prefix(&format!("$aws/things/{name}/jobs/")).unwrap().to_owned();
        (levels, serde_json::from_slice(&reply.payload).unwrap())
    }

    /// What is told to a device that was told `before`: levels and bodies.
    pub(super) fn told(&mut self, name: &str, before: &Told) -> (Vec<(String, Value)>, Told) {
        let pending = self.fleet.pending(self.now, &id(name)).unwrap();
        let messages = jobs::notifications(&self.fleet, self.now, &id(name), before, &pending, &self.links);
        let told = messages.iter().map(|message| {
            let levels = message.topic.rsplit('/').next().unwrap().to_owned();
            (levels, serde_json::from_slice(&message.payload).unwrap())
        });
        (told.collect(), Told::of(&pending))
    }

    fn desk<T>(
        &mut self,
        who: &Identity,
        name: &str,
        work: impl FnOnce(&mut Desk<'_, MemoryStore>) -> T,
    ) -> T {
        self.rollouts += 1;
        let number = self.rollouts;
        let mut desk = Desk {
            fleet: &mut self.fleet,
            now: self.now,
            device: &id(name),
            who,
            links: &self.links,
            new_rollout: format!("w{number}").parse().unwrap(),
        };
        let outcome = work(&mut desk);
        self.fleet.commit().unwrap();
        outcome
    }

    /// Says something on a topic of the replica: what is published below `state/{device}/`, by its last levels.
    pub(super) fn replica(
        &mut self,
        who: &Identity,
        name: &str,
        topic: Replica,
        payload: &str,
    ) -> Vec<(String, Value)> {
        let effects = self.desk(who, name, |desk| desk.handle(topic, payload.as_bytes()).unwrap());
        let Effects { replies, published } = effects;
        assert_eq!(replies, [], "whoever subscribed hears of the state");
        let prefix = format!("state/{name}/");
        let own = published.iter().filter_map(|message| {
            let levels = message.topic.strip_prefix(&prefix)?;
            Some((levels.to_owned(), serde_json::from_slice(&message.payload).unwrap()))
        });
        own.collect()
    }

    /// Publishes on any topic: what follows, for whoever asked or subscribed. Messages on the classic shadow's own topics
    /// are left out.
    pub(super) fn publish(&mut self, who: &Identity, topic: &str, payload: &str) -> Vec<(String, Value)> {
        let effects = match Route::parse(topic).unwrap() {
            Route::Jobs { device, topic } => {
                let (fleet, links) = (&mut self.fleet, &self.links);
                jobs::handle(fleet, self.now, &id(device), topic, payload.as_bytes(), links).unwrap().effects
            }
            Route::Replica { device, topic } => {
                self.desk(who, device, |desk| desk.handle(topic, payload.as_bytes()).unwrap())
            }
            Route::Shadow { .. } => panic!("the shadow has a page of its own"),
        };
        self.fleet.commit().unwrap();
        let messages = effects.replies.into_iter().chain(effects.published);
        let read =
            |message: Message| (message.topic.to_string(), serde_json::from_slice(&message.payload).unwrap());
        messages.map(read).filter(|(topic, _)| !topic.contains("/shadow/")).collect()
    }

    /// What the device missed.
    pub(super) fn missed(&mut self, name: &str) -> Option<Value> {
        let who = device(name);
        let message = self.desk(&who, name, |desk| replica::delta(desk).unwrap())?;
        Some(serde_json::from_slice(&message.payload).unwrap())
    }
}
