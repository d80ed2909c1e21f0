//! Stories: one thing goes wrong at a chosen moment, and what must come of it.

mod absence;
mod delivery;
mod restart;
mod sleep;

use super::super::operator::Command;
use super::super::truth::Image;
use super::super::{Event, Scenario, World, rest};
use super::device::Constrained;
use super::nature::Nature;
use crate::random::Random;
use crate::world::device::{Device, Identity};
use std::time::Duration;
use updraft_core::attributes::Attributes;
use updraft_core::fleet::NewRollout;
use updraft_core::id::{ProductName, RolloutId};
use updraft_core::policy::Policy;
use updraft_core::release::{Artifact, Release};
use updraft_core::rollout::{Pace, Plan, RetryRule};
use updraft_core::state::{ExecutionState, FailureReason, StateKind};
use updraft_core::version::Version;
use updraft_lwm2m::client::Client;
use updraft_lwm2m::firmware::{Object, State};
use updraft_server::interval::Interval;
use updraft_server::protocols::lwm2m::config::{DeliveryConfig, Preference};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// What devices run at first.
const OLD: &str = "1.0.0";
/// What they are brought.
const NEW: &str = "2.0.0";
/// An image of a few dozen blocks.
const IMAGE_BYTES: usize = 40_000;
/// Attempts a device has in a story.
const ATTEMPTS_MAX: u32 = 3;

/// A world in which nothing happens by chance but the network's delays.
struct Story {
    world: World,
}

impl Story {
    /// Devices of these natures, and a server that prefers to push, or to let them fetch.
    fn new(prefer: Preference, natures: impl IntoIterator<Item = Nature>) -> Self {
        let natures: Vec<_> = natures.into_iter().collect();
        let scenario = Scenario { seed: 2, devices: 0, constrained: natures.len(), sabotage: None };
        let mut world = World::new(scenario);
        world.queue.retain(|_, event| !matches!(event, Event::Calm | Event::Fault | Event::Operator));
        world.is_chaos = false;
        world.network.heal();
        world.host.rules = DeliveryConfig { prefer, defer_max: Interval(HOUR), ..DeliveryConfig::default() };
        for (number, nature) in natures.into_iter().enumerate() {
            let mut random = Random::new(number as u64);
            let identity = Identity::draw(format!("device-{number}"), "pump".to_owned(), &mut random);
            world.truth.allow(number, OLD);
            let device = Constrained::of(number, identity, OLD, nature, None);
            world.devices[number] = Device::Constrained(device);
        }
        Self { world }
    }

    /// A plain device that is pushed to.
    fn pushed() -> Self {
        Self::new(Preference::Push, [Nature::PLAIN])
    }

    /// A plain device that fetches.
    fn pulled() -> Self {
        Self::new(Preference::Pull, [Nature::PLAIN])
    }

    /// Releases an image, and rolls it out to all.
    fn release(&mut self, version: &str, bytes: usize, bad_percent: u64) {
        let product: ProductName = "pump".parse().unwrap();
        let image = Image::new(&product, version, bytes, bad_percent);
        let clock = self.world.server.clock(self.world.now);
        let text = version;
        let version = Version::parse(text).unwrap();
        let mut attributes = Attributes::new();
        for (name, value) in [("product", product.as_str()), ("version", text)] {
            attributes.insert(name, value).unwrap();
        }
        let artifact =
            Artifact { sha256: image.sha256.clone(), md5: "0".repeat(32), size: image.bytes.len() as u64 };
        self.world.truth.add_image(image);
        let release = Release {
            product: product.clone(),
            version: version.clone(),
            policy: Policy::compile("device.version < update.version").unwrap(),
            artifact,
            attributes,
            created: clock,
        };
        self.world.server.command(Command::AddRelease(Box::new(release)));
        let plan = Plan {
            pace: Pace { in_flight_max: 10_000, per_minute_max: None },
            retry: RetryRule {
                attempts_max: ATTEMPTS_MAX,
                back_off: 5 * MINUTE,
                ..Plan::standard(clock).retry
            },
            ..Plan::standard(clock)
        };
        let id = rollout(text);
        self.world.server.command(Command::Start(Box::new(NewRollout { id, product, version, plan })));
        self.world.schedule_turn();
        self.pass(Duration::from_secs(1));
    }

    /// Lets time pass.
    fn pass(&mut self, duration: Duration) {
        let end = self.world.now + u64::try_from(duration.as_millis()).unwrap();
        self.run(end, |_| false);
        self.world.now = end;
    }

    /// Lets time pass until something is so, which must be within `duration`.
    #[track_caller]
    fn until(&mut self, duration: Duration, what: &str, is_so: impl Fn(&World) -> bool) {
        let end = self.world.now + u64::try_from(duration.as_millis()).unwrap();
        assert!(self.run(end, is_so), "not so in time: {what}\n{}", self.world.truth.story().join("\n"));
    }

    #[track_caller]
    fn run(&mut self, end: u64, is_so: impl Fn(&World) -> bool) -> bool {
        while !is_so(&self.world) {
            let Some(entry) = self.world.queue.first_entry() else { return false };
            if entry.key().0 > end {
                return false;
            }
            let ((time, _), event) = entry.remove_entry();
            self.world.now = time;
            self.world.happen(event);
            let complaints = &self.world.truth.complaints;
            assert!(complaints.is_empty(), "{complaints:?}\n{}", self.world.truth.story().join("\n"));
        }
        true
    }

    /// Everything comes to rest, and rightly so.
    #[track_caller]
    fn rest(&mut self, duration: Duration) {
        let end = self.world.now + u64::try_from(duration.as_millis()).unwrap();
        let mut unrest = rest::unrest(&mut self.world);
        while !unrest.is_empty() {
            assert!(self.world.now < end, "{unrest:?}\n{}", self.world.truth.story().join("\n"));
            self.pass(MINUTE);
            unrest = rest::unrest(&mut self.world);
        }
        rest::check_store(&mut self.world);
        assert_eq!(self.world.truth.complaints, Vec::<String>::new());
    }

    /// The server is stopped and started again; or killed.
    fn restart_server(&mut self, is_asked: bool) {
        if is_asked {
            self.world.restart_server();
        } else {
            self.world.server.crash();
            self.world.recover();
        }
        self.until(2 * MINUTE, "the server is up again", |world| world.server.is_up());
    }

    /// A device loses power for a while.
    fn cut_power(&mut self, device: usize, duration: Duration) {
        self.world.act(device, |device, io| {
            if let Device::Constrained(device) = device {
                device.switch_off(io, u64::try_from(duration.as_millis()).unwrap());
            }
        });
    }

    /// Nothing of a device, or for it, arrives for a while.
    fn cut_off(&mut self, device: usize, duration: Duration) {
        let until = self.world.now + u64::try_from(duration.as_millis()).unwrap();
        self.world.network.cut_off(device, until);
    }

    fn count(&self, what: &'static str) -> u64 {
        self.world.truth.counts.get(what).copied().unwrap_or_default()
    }

    /// How the first attempts at the new version stand, by device.
    fn states(&self) -> Vec<(u32, ExecutionState)> {
        self.world.books.rows().map(|row| (row.execution.attempt, row.execution.state)).collect()
    }

    /// All devices run the new version, and the books say so.
    #[track_caller]
    fn all_succeeded(&self, attempts_max: u32) {
        for (attempt, state) in self.states() {
            assert_eq!(state, ExecutionState::Succeeded);
            assert!(attempt <= attempts_max, "attempt {attempt}");
        }
        assert_eq!(self.states().len(), self.world.devices.len());
        assert!(self.world.truth.devices.iter().all(|device| device.version() == NEW));
    }
}

fn rollout(version: &str) -> RolloutId {
    format!("r{}", version.replace('.', "x")).parse().unwrap()
}

fn constrained(world: &World, device: usize) -> &Constrained {
    match &world.devices[device] {
        Device::Constrained(device) => device,
        Device::Native(_) | Device::Ioto(_) => panic!("the devices of stories speak LwM2M"),
    }
}

/// Where object 5 of a device stands; `None`: it is off.
fn state(world: &World, device: usize) -> Option<State> {
    constrained(world, device).client.as_ref().and_then(Client::firmware_object).map(Object::state)
}

fn is_registered(world: &World, device: usize) -> bool {
    constrained(world, device).client.as_ref().is_some_and(|client| client.location().is_some())
}

/// Whether a device has so much of an image.
fn has_bytes(world: &World, device: usize, bytes: usize) -> bool {
    constrained(world, device).chip.slot.len() >= bytes
}

/// Whether the books know all devices.
fn are_known(world: &World) -> bool {
    world.books.devices.len() == world.devices.len()
}

fn has_succeeded(world: &World) -> bool {
    world.books.count(&rollout(NEW), StateKind::Succeeded) == world.devices.len() as u64
}
