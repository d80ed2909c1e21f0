//! A virtual world: one server, a dozen devices, a network between them and an operator, in one thread, on virtual time,
//! from one seed.
//!
//! Real here: the fleet, its store (in memory or SQLite), the pure halves of the check-in contracts with their JSON, and
//! the agent's session and updater; of LwM2M the server's hub and the device's client ([`lwm2m`]). Simulated: sockets, TLS, the clock, flash, and the clients of the Ioto contract,
//! which are modelled after their published behaviour.
//!
//! A run has two parts. First chaos: faults and commands at random. Then calm: everything works, nobody interferes, and
//! within a bounded time every device must be where the rules say. After every commit [`books`] checks what became
//! durable, [`claims`] holds it against [`truth`], what the devices really did; [`rest`] judges the end.
//!
//! To add a fault: a variant of [`faults::Fault`], drawn and done there. To add a checker: a complaint
//! ([`truth::Truth::complain`]) where the fact is known; in `books` for what is durable, in `truth` for what a device
//! does, in `rest` for what must be so in the end. To test a checker: a [`Sabotage`] that only it finds.
//!
//! Absent: threads, real time, and every place where one seed could give two runs.

mod books;
mod claims;
mod device;
mod disk;
mod exchange;
mod faults;
mod flash;
mod ioto;
mod lwm2m;
mod native;
mod network;
mod operator;
mod policies;
mod reference;
mod rest;
mod sabotage;
mod scenario;
mod server;
mod timers;
mod truth;

pub use disk::Backend;
pub use sabotage::Sabotage;
pub use scenario::{Scenario, Summary, Violation};

use crate::random::Random;
use books::{Books, Moment};
use device::{Device, Identity, Io};
use disk::Handle;
use exchange::{Request, Response};
use faults::Faults;
use ioto::Ioto;
use lwm2m::device::Constrained;
use lwm2m::{Host, Packet, Step};
use native::Native;
use network::Network;
use operator::Operator;
use server::{Answer, Crash, Server, Turn};
use std::collections::BTreeMap;
use truth::{DeviceTruth, Truth};
use updraft_core::id::ProductName;

/// How long faults and commands go on, in milliseconds of virtual time.
const CHAOS_MS: u64 = 60 * 60 * 1_000;
/// How long everything may take to come to rest after that: the longest deadlines, pauses and waves one after the other,
/// and a clock that was set back.
const CALM_MS_MAX: u64 = 8 * 60 * 60 * 1_000;
/// How often it is looked whether everything has come to rest.
const REST_EVERY_MS: u64 = 10 * 60 * 1_000;
/// Between two ticks of the server.
const TICK_MS: u64 = 10_000;
/// How long calls may gather for one batch.
const TURN_MS_MAX: u64 = 30;
/// What devices leave the factory with.
const FACTORY_VERSIONS: [&str; 3] = ["1.0.0", "1.0.0", "0.9.4"];

/// Runs a scenario to its end. The same scenario gives the same result, always.
///
/// # Errors
/// [`Violation`] if a rule was broken.
pub fn run(scenario: Scenario) -> Result<Summary, Violation> {
    World::new(scenario).run()
}

/// What happens at a time.
enum Event {
    Wake(usize),
    Arrive(Request),
    Return {
        device: usize,
        request: u64,
        response: Response,
    },
    /// A packet arrives at a device that speaks LwM2M.
    Packet(usize, Packet),
    /// The server's end of LwM2M.
    Hub(Step),
    Turn,
    Tick,
    ServerStart,
    Fault,
    Operator,
    Calm,
    Rest,
}

struct World {
    scenario: Scenario,
    backend: Backend,
    now: u64,
    /// In the order of time, then of making.
    queue: BTreeMap<(u64, u64), Event>,
    made: u64,
    random: Random,
    devices: Vec<Device>,
    /// When each device's next wake is in the queue.
    wakes: Vec<Option<u64>>,
    next_request: u64,
    server: Server,
    host: Host,
    is_turn_due: bool,
    crash: Option<Crash>,
    network: Network,
    operator: Operator,
    faults: Faults,
    is_chaos: bool,
    books: Books,
    truth: Truth,
    is_over: bool,
}

impl World {
    fn new(scenario: Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let backend = if scenario.seed.is_multiple_of(2) { Backend::Memory } else { Backend::Sqlite };
        let products: Vec<ProductName> =
            ["pump", "valve"].map(|name| name.parse().expect("a valid name")).into();
        let mut truth = Truth::default();
        let devices: Vec<_> = (0..scenario.devices + scenario.constrained)
            .map(|index| make_device(index, scenario, &mut random, &mut truth))
            .collect();
        let network = Network::draw(random.branch(), devices.len());
        let mut world = Self {
            scenario,
            backend,
            now: 0,
            queue: BTreeMap::new(),
            made: 0,
            wakes: vec![None; devices.len()],
            next_request: 0,
            server: Server::new(Handle::new(backend, scenario.sabotage), scenario.sabotage),
            host: Host::draw(Random::new(!scenario.seed)),
            is_turn_due: false,
            crash: None,
            network,
            operator: Operator::new(random.branch(), products, &scenario),
            faults: Faults::new(random.branch(), &scenario),
            is_chaos: true,
            books: Books::default(),
            truth,
            is_over: false,
            random,
            devices,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for device in 0..self.devices.len() {
            self.schedule_wake(device);
        }
        self.at(0, Event::ServerStart);
        self.at(TICK_MS, Event::Tick);
        self.at(20_000, Event::Operator);
        self.at(60_000, Event::Fault);
        self.at(CHAOS_MS, Event::Calm);
    }

    fn at(&mut self, time: u64, event: Event) {
        self.made += 1;
        self.queue.insert((time.max(self.now), self.made), event);
    }

    fn run(mut self) -> Result<Summary, Violation> {
        while !self.is_over && self.truth.complaints.is_empty() {
            let Some(((time, _), event)) = self.queue.pop_first() else { break };
            self.now = time;
            self.happen(event);
        }
        if self.truth.complaints.is_empty() {
            let commits = self.server.disk.saved_count();
            let Self { backend, now, truth, .. } = self;
            Ok(Summary { backend, seconds: now / 1_000, commits, counts: truth.counts })
        } else {
            let story = self.truth.story();
            Err(Violation {
                seed: self.scenario.seed,
                test: self.scenario.test(),
                complaints: self.truth.complaints,
                story,
            })
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake(device) => {
                if self.wakes[device].take_if(|at| *at == self.now).is_some() {
                    self.act(device, |device, io| device.wake(io));
                }
            }
            Event::Arrive(request) => {
                if self.server.take(request) {
                    self.schedule_turn();
                }
            }
            Event::Return { device, request, response } => {
                if !self.truth.devices[device].is_silent {
                    self.act(device, |device, io| device.answer(io, request, response));
                }
            }
            Event::Packet(device, packet) => self.deliver(device, packet),
            Event::Hub(step) => self.step_hub(step),
            Event::Turn => self.turn(),
            Event::Tick => self.tick(),
            // It may have been started meanwhile, by the calm.
            Event::ServerStart if !self.server.is_up() => {
                self.server.start(&mut self.truth);
                self.start_hub();
            }
            Event::ServerStart => {}
            Event::Fault => self.fault(),
            Event::Operator => self.operate(),
            Event::Calm => self.calm_down(),
            Event::Rest => self.judge_rest(),
        }
    }

    /// Lets a device act, sends what it sends, and sees when it wants to act again.
    fn act(&mut self, device: usize, action: impl FnOnce(&mut Device, &mut Io<'_>)) {
        let (mut sent, mut packets) = (Vec::new(), Vec::new());
        let mut io = Io {
            now: self.now,
            random: &mut self.random,
            truth: &mut self.truth,
            sent: &mut sent,
            next_request: &mut self.next_request,
            packets: &mut packets,
            is_chaos: self.is_chaos,
        };
        action(&mut self.devices[device], &mut io);
        for (id, content) in sent {
            for delay in self.network.delays(self.now, device) {
                let request = Request { id, device, content: content.clone() };
                self.at(self.now + delay, Event::Arrive(request));
            }
        }
        for packet in packets {
            for delay in self.network.delays(self.now, device) {
                self.at(self.now + delay, Event::Hub(Step::Arrive(device, packet.clone())));
            }
        }
        self.schedule_wake(device);
    }

    fn schedule_wake(&mut self, device: usize) {
        if self.truth.devices[device].is_silent {
            return;
        }
        let wake = self.devices[device].next_wake().map(|at| at.max(self.now));
        if self.wakes[device] != wake {
            self.wakes[device] = wake;
            if let Some(at) = wake {
                self.at(at, Event::Wake(device));
            }
        }
    }

    fn schedule_turn(&mut self) {
        if !self.is_turn_due {
            self.is_turn_due = true;
            let delay = self.random.below(TURN_MS_MAX);
            self.at(self.now + delay, Event::Turn);
        }
    }

    /// The server works off what waits.
    fn turn(&mut self) {
        self.is_turn_due = false;
        if !self.server.has_work() {
            return;
        }
        let calls = self.server.waiting();
        let crash = self.crash.take();
        let clock = self.server.clock(self.now);
        let Turn { answers, came, hints } = self.server.turn(self.now, crash, &mut self.truth);
        self.audit(Moment { now: self.now, clock, calls });
        for answer in answers {
            self.send(answer);
        }
        self.answer_hub(came);
        self.hint_hub(hints);
        if !self.server.is_up() {
            self.recover();
        }
    }

    /// Sends an answer, whose promises must be durable.
    fn send(&mut self, answer: Answer) {
        let Answer { request, device, response, told, noted, .. } = answer;
        // A server put back to an earlier time opens a job anew whose end it hears: the device tells it again.
        let is_told_anew = told.as_ref().map(|told| &told.job) == noted.as_ref();
        if let Some(told) = told {
            self.check_told(device, &told);
            self.truth.allow(device, &told.version);
            if told.goes_back {
                self.truth.allow_back(device, &told.version);
            }
        }
        if let Some(job) = noted.filter(|_| !is_told_anew) {
            self.check_noted(device, &job);
        }
        for delay in self.network.delays(self.now, device) {
            self.at(self.now + delay, Event::Return { device, request, response: response.clone() });
        }
    }

    fn check_told(&mut self, device: usize, told: &server::Told) {
        let id = &self.truth.devices[device].id;
        let rollout = told.job.rollout().parse().ok();
        let row = rollout.and_then(|rollout| self.books.row(id, &rollout));
        // In a batch of many calls its end may have been heard right after it was told.
        let clock = self.server.clock(self.now);
        let is_booked = row.map(|row| &row.execution).is_some_and(|execution| {
            let is_of_now = execution.state.is_open() || execution.changed == clock;
            execution.attempt == told.job.attempt() && is_of_now
        });
        if !is_booked {
            let complaint = format!("{id} is told to do {}, which is not in the books", told.job);
            self.truth.complain(complaint);
        }
    }

    fn check_noted(&mut self, device: usize, job: &updraft_wire::JobId) {
        let id = &self.truth.devices[device].id;
        let rollout = job.rollout().parse().ok();
        let row = rollout.and_then(|rollout| self.books.row(id, &rollout));
        let is_open =
            row.is_some_and(|row| row.execution.attempt == job.attempt() && row.execution.state.is_open());
        if is_open {
            let complaint = format!("{id} is told that the end of {job} is noted; in the books it is open");
            self.truth.complain(complaint);
        }
    }

    /// Takes what was saved into the books.
    fn audit(&mut self, moment: Moment) {
        for changes in self.server.disk.take_saved() {
            self.books.absorb(&changes, moment, &mut self.truth);
        }
    }

    fn tick(&mut self) {
        self.at(self.now + TICK_MS, Event::Tick);
        if !self.server.is_up() {
            return;
        }
        let clock = self.server.clock(self.now);
        let saved = self.server.tick(self.now, &mut self.truth);
        self.audit(Moment { now: self.now, clock, calls: 0 });
        if saved {
            let hints = self.server.fleet().map(|fleet| fleet.take_hints()).unwrap_or_default();
            self.hint_hub(hints);
            self.patrol();
            rest::check_after_tick(self, clock);
        }
    }

    fn operate(&mut self) {
        if !self.is_chaos {
            return;
        }
        let pause = self.random.between(30_000, 400_000);
        self.at(self.now + pause, Event::Operator);
        let clock = self.server.clock(self.now);
        for command in self.operator.act(clock, &mut self.truth) {
            self.truth.tell(self.now, &format!("the operator: {}", command.line()));
            self.server.command(command);
        }
        self.schedule_turn();
    }

    /// From here on everything works and nobody interferes.
    fn calm_down(&mut self) {
        self.is_chaos = false;
        self.crash = None;
        self.network.heal();
        self.truth.tell(self.now, "calm");
        if !self.server.is_up() {
            self.at(self.now, Event::ServerStart);
        }
        self.at(self.now + REST_EVERY_MS, Event::Rest);
    }

    fn judge_rest(&mut self) {
        let open = rest::unrest(self);
        if open.is_empty() {
            rest::check_store(self);
            self.is_over = true;
        } else if self.now >= CHAOS_MS + CALM_MS_MAX {
            self.truth.complaints.extend(open);
        } else {
            self.at(self.now + REST_EVERY_MS, Event::Rest);
        }
    }
}

fn make_device(index: usize, scenario: Scenario, random: &mut Random, truth: &mut Truth) -> Device {
    let id = format!("device-{index}");
    let product = if random.chance(800) { "pump" } else { "valve" };
    let identity = Identity::draw(id.clone(), product.to_owned(), random);
    let version = FACTORY_VERSIONS[random.index(FACTORY_VERSIONS.len())];
    truth.devices.push(DeviceTruth::new(id.parse().expect("a valid ID")));
    truth.allow(index, version);
    if index >= scenario.devices {
        return Device::Constrained(Constrained::new(index, identity, version, random, scenario.sabotage));
    }
    match random.below(3) {
        0 => {
            let period_ms = random.between(60_000, 240_000);
            Device::Ioto(Ioto::new(index, identity, version, random.chance(500), period_ms))
        }
        _ => Device::Native(Native::new(index, identity, version, scenario.sabotage)),
    }
}
