//! A world of one server and one device, on virtual time, from one seed: asks, answers and notifications are lost, either
//! end stops at any step, strangers meddle. The device's object and the server's driver are the real ones.

pub(crate) mod device;
pub(crate) mod server;

use device::{Device, Habits};
use server::Server;
use updraft_lwm2m::Moment;
use updraft_lwm2m::firmware::driver::{Failure, Outcome};
use updraft_lwm2m::firmware::{Campaign, UpdateResult};
use updraft_lwm2m::value::Value;

pub(crate) const OLD: &str = "1.0.0";
pub(crate) const TARGET: &str = "2.0.0";
pub(crate) const FOREIGN: &str = "6.6.6";
pub(crate) const IMAGE: [u8; 8] = [0xa1; 8];
pub(crate) const IMAGE_BYTES: u64 = 40_960;

/// The message layer gives up so long after it began (MAX_TRANSMIT_WAIT, RFC 7252 §4.8.2).
pub(crate) const GIVEN_UP_MS: u64 = 93_000;

/// A world is looked at for so long, which is more than all of a campaign's bounds together.
const END_MS: u64 = 200 * 24 * 3600 * 1000;

/// And for so many turns: a world that takes more moves without getting anywhere.
const TURNS_MAX: u32 = 100_000;

/// splitmix64.
pub(crate) struct Dice(pub u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// What goes wrong between and around the two.
#[derive(Clone, Default, Debug)]
pub(crate) struct Troubles {
    /// Asks and answers, each, that the message layer cannot save, in percent.
    pub(crate) loss: u64,
    /// Notifications lost, in percent.
    pub(crate) notifications_lost: u64,
    /// The server's process dies at this step of its, and comes back.
    pub(crate) kill_at: Option<u64>,
    /// The device's power is cut at this action of its.
    pub(crate) cut_at: Option<u64>,
    /// The device is away from then, for so long.
    pub(crate) away: Option<(u64, u64)>,
    /// Strangers put an image of their own on the device at these times.
    pub(crate) strangers: Vec<u64>,
}

pub(crate) struct World {
    pub(crate) now: Moment,
    pub(crate) dice: Dice,
    pub(crate) troubles: Troubles,
    pub(crate) device: Device,
    pub(crate) server: Server,
    pub(crate) violations: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, campaign: Campaign, push: bool, habits: Habits, troubles: Troubles) -> Self {
        let now = Moment(1000);
        let device = Device::new(habits, now);
        let server = Server::new(campaign, push, now);
        Self { now, dice: Dice(seed), troubles, device, server, violations: Vec::new() }
    }

    pub(crate) fn is_away(&self) -> bool {
        self.troubles.away.is_some_and(|(from, length)| self.now.0 >= from && self.now.0 < from + length)
    }

    /// Runs until the campaign has ended, and says how; then judges it.
    pub(crate) fn run(&mut self) -> Option<Outcome> {
        let mut turns = 0;
        while self.now.0 < END_MS && turns < TURNS_MAX {
            turns += 1;
            self.device.pump(self.now, &mut self.troubles, &mut self.violations);
            self.tell_changes();
            server::pump(self);
            if let Some(outcome) = self.server.outcome.clone() {
                self.judge(&outcome);
                return Some(outcome);
            }
            let Some(next) = self.next_moment() else {
                self.violations.push("everything waits, and nothing will come".to_owned());
                return None;
            };
            self.now = next.max(self.now);
            self.meddle();
            server::deliver_due(self);
            let away = self.is_away();
            let registered = self.device.tick(self.now, away);
            if away {
                continue;
            }
            if registered {
                self.server.driver.handle_registered(self.now);
            } else if self.device.woke(self.now) {
                self.server.driver.handle_awake(self.now);
            }
        }
        let waits = (self.server.next_moment(), self.device.next_moment(self.now));
        self.violations.push(format!("at {:?} the campaign has no end: {waits:?}", self.now));
        None
    }

    fn next_moment(&self) -> Option<Moment> {
        let away = self.troubles.away.into_iter().flat_map(|(from, length)| [from, from + length]);
        let strangers = self.troubles.strangers.iter().copied();
        let later = away.chain(strangers).filter(|at| *at > self.now.0).map(Moment);
        later.chain(self.server.next_moment()).chain(self.device.next_moment(self.now)).min()
    }

    /// What the device tells of itself: it may be lost, and the device does not know.
    fn tell_changes(&mut self) {
        while let Some(resource) = self.device.object.poll_changed() {
            let lost = self.is_away() || self.dice.percent(self.troubles.notifications_lost);
            if self.device.observed.contains(&resource) && !lost && !self.device.is_asleep(self.now) {
                let entries = self.device.object.read(resource).unwrap_or_default();
                self.server.driver.handle_notification(self.now, &entries);
            }
        }
    }

    fn meddle(&mut self) {
        let now = self.now;
        if !self.troubles.strangers.contains(&now.0) {
            return;
        }
        self.troubles.strangers.retain(|at| *at != now.0);
        let object = &mut self.device.object;
        let _ = object.handle_write(now, 1, &Value::from(""));
        if self.dice.percent(50) {
            let _ = object.handle_write(now, 1, &Value::from("coap://stranger/image"));
        } else {
            self.device.push_by_us = false;
            let image = Value::Opaque(vec![6; 100]);
            let _ = object.handle_write(now, 0, &image);
        }
        object.handle_answered();
    }

    fn judge(&mut self, outcome: &Outcome) {
        let there = self.device.running == TARGET;
        let patience = match outcome {
            Outcome::Failed(failure) => matches!(failure, Failure::NoReturn | Failure::Silent),
            Outcome::Succeeded(_) | Outcome::RolledBack { .. } | Outcome::Cancelled => false,
        };
        let succeeded = matches!(outcome, Outcome::Succeeded(_));
        if succeeded != there && !patience {
            self.violations.push(format!("{outcome:?}, and the device runs {}", self.device.running));
        }
        if let Outcome::RolledBack { result, .. } = outcome
            && *result != UpdateResult::Initial
            && self.device.installs == 0
        {
            self.violations.push(format!("rolled back ({result}) what was never installed"));
        }
        if self.device.installs_of_target > 1 && self.device.habits.install == device::Install::Works {
            self.violations.push("the device installed the target more than once".to_owned());
        }
        self.violations.append(&mut self.server.complaints);
    }

    /// Runs, and demands that nothing was violated.
    pub(crate) fn run_well(&mut self, what: &str) -> Outcome {
        let outcome = self.run();
        assert!(
            self.violations.is_empty(),
            "{what}: {:?}\n{outcome:?} {:#?}\n{}",
            self.violations,
            self.troubles,
            self.server.log.join("\n")
        );
        outcome.expect("a world without violations ends")
    }
}

/// Results that a device's habit of failing leads to.
pub(crate) fn is_failed_with(outcome: &Outcome, result: UpdateResult) -> bool {
    *outcome == Outcome::Failed(Failure::Result(result))
}
