//! What goes wrong, and when.

use super::World;
use super::books::{Books, Moment};
use super::device::Identity;
use super::server::Crash;
use super::{Event, FACTORY_VERSIONS, Scenario};
use crate::random::Random;

/// Shortest and longest pause between two faults, in milliseconds.
const PAUSE_MS: (u64, u64) = (15_000, 240_000);
/// Furthest that the server's clock is set, in milliseconds.
const CLOCK_STEP_MS_MAX: u64 = 30 * 60 * 1_000;
/// One device in so many may fall silent for ever.
const SILENT_ONE_IN: usize = 6;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server ends at once.
    Crash,
    /// The server ends in the middle of its next batch.
    CrashInTurn(Crash),
    /// The next save fails.
    SaveFails,
    /// The server goes back to an earlier commit.
    Restore,
    /// The server's clock is set.
    ClockStep,
    /// A device loses power.
    PowerCut(usize),
    /// Somebody flashes a device by hand.
    FlashByHand(usize),
    /// A device becomes something else.
    NewIdentity(usize),
    /// A device is cut off for a while.
    CutOff(usize),
    /// A device falls silent for ever.
    Silence(usize),
    /// The server is stopped and started again, as for a new version of it.
    Restart,
    /// A device is seen from another address.
    NewAddress(usize),
}

/// Draws faults.
#[derive(Debug)]
pub(super) struct Faults {
    random: Random,
    devices: usize,
    /// How many more speak LwM2M.
    constrained: usize,
    /// How many devices a fault of devices hits.
    reach: usize,
    silent: usize,
    /// Whether the server of this run is ever put back.
    restores: bool,
    /// Whether the server's clock of this run is ever set.
    clock_steps: bool,
}

impl Faults {
    pub(super) fn new(mut random: Random, scenario: &Scenario) -> Self {
        let Scenario { devices, constrained, .. } = *scenario;
        let reach = scenario.scale();
        let (restores, clock_steps) = (random.chance(250), random.chance(250));
        Self { random, devices: devices + constrained, constrained, reach, silent: 0, restores, clock_steps }
    }

    /// A fault; half of those of devices hit one of the `busy`, where there is more to break.
    fn draw(&mut self, busy: &[usize]) -> Fault {
        let any = self.random.index(self.devices);
        let device = self.random.pick(busy).copied().filter(|_| self.random.chance(500)).unwrap_or(any);
        if self.constrained > 0 && self.random.chance(200) {
            let first = self.devices - self.constrained;
            let is_restart = self.random.chance(300);
            let moved = first + self.random.index(self.constrained);
            return if is_restart { Fault::Restart } else { Fault::NewAddress(moved) };
        }
        match self.random.below(20) {
            0 => Fault::Crash,
            1 | 2 => Fault::CrashInTurn(Crash::BeforeCommit),
            3 | 4 => Fault::CrashInTurn(Crash::BeforeAnswers),
            5 | 6 => Fault::SaveFails,
            7 if self.restores => Fault::Restore,
            8 if self.clock_steps => Fault::ClockStep,
            9 => Fault::FlashByHand(device),
            10 => Fault::NewIdentity(device),
            11 if self.silent < self.devices / SILENT_ONE_IN => {
                self.silent += self.reach;
                Fault::Silence(device)
            }
            12 | 13 => Fault::CutOff(device),
            _ => Fault::PowerCut(device),
        }
    }
}

impl Faults {
    /// The devices that a fault of one hits: it, and in a large fleet so many more.
    fn hit(&mut self, device: usize) -> Vec<usize> {
        let others = (1..self.reach).map(|_| self.random.index(self.devices));
        std::iter::once(device).chain(others).collect()
    }
}

impl World {
    /// The next fault.
    pub(super) fn fault(&mut self) {
        if !self.is_chaos {
            return;
        }
        let pause = self.random.between(PAUSE_MS.0, PAUSE_MS.1);
        self.at(self.now + pause, Event::Fault);
        let busy: Vec<usize> = (0..self.devices.len()).filter(|device| self.is_busy(*device)).collect();
        let fault = self.faults.draw(&busy);
        self.truth.count("faults");
        self.truth.tell(self.now, &format!("fault: {fault:?}"));
        match fault {
            Fault::Crash => {
                self.server.crash();
                self.recover();
            }
            Fault::Restart => self.restart_server(),
            Fault::NewAddress(device) => self.each_hit(device, Self::move_address),
            Fault::CrashInTurn(crash) => self.crash = Some(crash),
            Fault::SaveFails => self.server.disk.fail_next(),
            Fault::Restore => self.restore(),
            Fault::ClockStep => self.step_clock(),
            Fault::PowerCut(device) => self.each_hit(device, Self::cut_power),
            Fault::FlashByHand(device) => self.each_hit(device, Self::flash_by_hand),
            Fault::NewIdentity(device) => self.each_hit(device, Self::change_identity),
            Fault::CutOff(device) => self.each_hit(device, Self::cut_off),
            Fault::Silence(device) => self.each_hit(device, Self::silence),
        }
    }

    fn each_hit(&mut self, device: usize, strike: impl Fn(&mut Self, usize)) {
        for device in self.faults.hit(device) {
            strike(self, device);
        }
    }

    fn cut_power(&mut self, device: usize) {
        self.act_unless_silent(device, |device, io| device.cut_power(io));
    }

    fn cut_off(&mut self, device: usize) {
        let until = self.now + self.random.between(30_000, 1_200_000);
        self.network.cut_off(device, until);
    }

    fn silence(&mut self, device: usize) {
        self.truth.stops(self.now, device);
        self.truth.devices[device].is_silent = true;
    }

    fn is_busy(&self, device: usize) -> bool {
        self.books.open_of(&self.truth.devices[device].id) > 0
    }

    /// Stops the server as an operator does, after its last batch, and lets it start again.
    pub(super) fn restart_server(&mut self) {
        if self.server.is_up() {
            self.turn();
            self.host.stop(true, self.server.disk.saved_count());
            self.server.crash();
            self.recover();
        }
    }

    /// A device that speaks LwM2M is seen from another address.
    pub(super) fn move_address(&mut self, device: usize) {
        if let super::device::Device::Constrained(device) = &mut self.devices[device] {
            device.move_address();
            self.truth.count("addresses changed");
        }
    }

    /// Lets a crashed server start again.
    pub(super) fn recover(&mut self) {
        if self.host.is_up() {
            self.host.stop(false, self.server.disk.saved_count());
        }
        self.truth.count("server crashes");
        let pause = self.random.between(500, 60_000);
        self.at(self.now + pause, Event::ServerStart);
    }

    /// Puts the server back to an earlier commit, as an operator does with a backup.
    fn restore(&mut self) {
        let saved = self.server.disk.saved_count();
        let kept = saved - self.random.index(saved / 3 + 1);
        self.server.crash();
        self.host.restore(kept);
        match self.server.disk.restore(kept) {
            Ok(kept) => {
                // World time 0: what was booked before may have been done at any time before.
                let moment = Moment { now: 0, clock: self.server.clock(self.now), calls: 0 };
                self.books = Books::replayed(&kept, moment, &mut self.truth);
            }
            Err(error) => self.truth.complain(format!("a backup is refused: {error}: {error:?}")),
        }
        self.truth.count("restores");
        self.recover();
    }

    fn step_clock(&mut self) {
        let step = i64::try_from(self.random.below(CLOCK_STEP_MS_MAX)).unwrap_or(0);
        let back = self.random.chance(500) || self.server.clock_step_ms() > 0;
        self.server.step_clock(if back { -step } else { step });
        self.truth.count("clock steps");
    }

    fn flash_by_hand(&mut self, device: usize) {
        let product = self.devices[device].identity().product.clone();
        let newer = self.operator.some_version(&product).filter(|_| self.random.chance(600));
        let version =
            newer.unwrap_or_else(|| FACTORY_VERSIONS[self.random.index(FACTORY_VERSIONS.len())].to_owned());
        self.act_unless_silent(device, |device, io| device.flash_by_hand(io, &version));
    }

    fn change_identity(&mut self, device: usize) {
        let known = self.devices[device].identity();
        let (id, mut product) = (known.id.clone(), known.product.clone());
        if self.random.chance(300) {
            product = if product == "pump" { "valve".to_owned() } else { "pump".to_owned() };
        }
        let identity = Identity::draw(id, product, &mut self.random);
        self.devices[device].describe(identity);
    }

    fn act_unless_silent(
        &mut self,
        device: usize,
        action: impl FnOnce(&mut super::device::Device, &mut super::device::Io<'_>),
    ) {
        if !self.truth.devices[device].is_silent {
            self.act(device, action);
        }
    }
}
