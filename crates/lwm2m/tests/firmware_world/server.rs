//! The server of the world: the driver, what is durable of it, and the way to the device.

use super::{Dice, GIVEN_UP_MS, IMAGE_BYTES, World, device::Device};
use updraft_lwm2m::firmware::driver::{Answer, Ask, Driver, Event, Operation, Outcome};
use updraft_lwm2m::firmware::object::Refusal;
use updraft_lwm2m::firmware::{Campaign, Delivery, INSTANCE, Marker, State};
use updraft_lwm2m::path::Path;
use updraft_lwm2m::value::{Entry, Value};
use updraft_lwm2m::{Moment, firmware};

/// One way, over the air.
const LATENCY_MS: u64 = 50;
/// A block of a push.
const BLOCK_BYTES: u64 = 4_096;
/// The server's process is away for so long when it dies.
const DOWN_MS: u64 = 5_000;

/// Faults of the server's own, which the checker must see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Fault {
    #[default]
    None,
    /// It executes whenever the device says Downloaded.
    ExecutesAnything,
    /// It takes any result 1 for its own.
    BelievesOldResults,
}

enum Flight {
    /// On its way to the device.
    Out { ask: Ask, at: Moment },
    /// The answer is on its way back, or is given up.
    Back { id: u32, answer: Answer, at: Moment },
    /// A push, so many bytes of it done.
    Push { id: u32, sent: u64, at: Moment },
}

pub(crate) struct Server {
    pub(crate) driver: Driver,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) complaints: Vec<String>,
    pub(crate) log: Vec<String>,
    pub(crate) steps: u64,
    pub(crate) fault: Fault,
    /// How long people take to decide.
    pub(crate) gate_ms: u64,
    pub(crate) cancel_at: Option<u64>,
    pub(crate) executes: u32,
    pub(crate) pushes: u32,
    campaign: Campaign,
    push: bool,
    durable: Option<Vec<u8>>,
    flight: Option<Flight>,
    decide_at: Option<Moment>,
    proceed_at: Option<Moment>,
    links: u32,
}

impl Server {
    pub(crate) fn new(campaign: Campaign, push: bool, now: Moment) -> Self {
        Self {
            driver: Driver::new(campaign.clone(), now),
            outcome: None,
            complaints: Vec::new(),
            log: Vec::new(),
            steps: 0,
            fault: Fault::None,
            gate_ms: 30_000,
            cancel_at: None,
            executes: 0,
            pushes: 0,
            durable: campaign.marker.as_ref().map(Marker::encode),
            campaign,
            push,
            flight: None,
            decide_at: None,
            proceed_at: None,
            links: 0,
        }
    }

    pub(crate) fn next_moment(&self) -> Option<Moment> {
        let flight = self.flight.as_ref().map(|flight| match flight {
            Flight::Out { at, .. } | Flight::Back { at, .. } | Flight::Push { at, .. } => *at,
        });
        let cancel = self.cancel_at.filter(|at| *at > 0).map(Moment);
        let moments = [flight, self.driver.poll_timeout(), self.decide_at, self.proceed_at, cancel];
        moments.into_iter().flatten().min()
    }

    /// The process dies, and a new one begins with what is durable.
    fn restart(&mut self, now: Moment) {
        self.log.push(format!("{:>9} KILLED", now.0));
        let marker = self.durable.as_deref().map(|bytes| Marker::decode(bytes).expect("a whole marker"));
        let campaign = Campaign { marker, ..self.campaign.clone() };
        self.flight = None;
        self.decide_at = None;
        self.proceed_at = None;
        self.driver = Driver::new(campaign, now);
        if self.cancel_at == Some(0) {
            self.driver.cancel(now);
        }
    }
}

/// One step of the server: true where the process died at it.
fn step(world: &mut World) -> bool {
    world.server.steps += 1;
    let dies = world.troubles.kill_at == Some(world.server.steps);
    if dies {
        world.troubles.kill_at = None;
        world.now = Moment(world.now.0 + DOWN_MS);
        world.server.restart(world.now);
    }
    dies
}

/// Lets the driver have its say, until it waits.
pub(crate) fn pump(world: &mut World) {
    loop {
        let now = world.now;
        if let Some(event) = world.server.driver.poll_event() {
            world.server.log.push(format!("{:>9} {event:?}", now.0));
            if step(world) {
                continue;
            }
            handle_event(world, event);
            if world.server.outcome.is_some() {
                return;
            }
        } else if let Some(ask) = world.server.driver.poll_ask() {
            world.server.log.push(format!("{:>9} {ask:?}", now.0));
            if step(world) {
                continue;
            }
            send(world, ask);
        } else {
            return;
        }
    }
}

fn handle_event(world: &mut World, event: Event) {
    let now = world.now;
    let server = &mut world.server;
    match event {
        Event::Persist(marker) => {
            server.durable = Some(marker.encode());
            // Dead between the commit and the word of it.
            if !step(world) {
                world.server.driver.handle_persisted(now);
            }
        }
        Event::Decide(_) => server.decide_at = Some(Moment(now.0 + server.gate_ms)),
        Event::Ready => server.proceed_at = Some(Moment(now.0 + server.gate_ms)),
        Event::Ended(outcome) => server.outcome = Some(outcome),
        Event::Downloading { .. }
        | Event::Downloaded
        | Event::Executing
        | Event::Deferred { .. }
        | Event::Retrying { .. } => {}
    }
}

fn send(world: &mut World, ask: Ask) {
    let now = world.now;
    let asleep = world.device.is_asleep(now);
    let lost = world.is_away() || !world.device.is_up() || world.dice.percent(world.troubles.loss);
    let id = ask.id;
    world.server.flight = Some(if asleep {
        Flight::Back { id, answer: Answer::Asleep, at: now }
    } else if lost {
        Flight::Back { id, answer: Answer::NoAnswer, at: Moment(now.0 + GIVEN_UP_MS) }
    } else if matches!(ask.operation, Operation::Push { .. }) {
        world.server.pushes += 1;
        Flight::Push { id, sent: 0, at: Moment(now.0 + LATENCY_MS) }
    } else {
        Flight::Out { ask, at: Moment(now.0 + LATENCY_MS) }
    });
}

/// What is due now: messages, and decisions of people.
pub(crate) fn deliver_due(world: &mut World) {
    let now = world.now;
    let due = |flight: &mut Flight| match flight {
        Flight::Out { at, .. } | Flight::Back { at, .. } | Flight::Push { at, .. } => *at <= now,
    };
    if let Some(flight) = world.server.flight.take_if(due) {
        deliver(world, flight);
    }
    let server = &mut world.server;
    if server.decide_at.take_if(|at| *at <= now).is_some() {
        server.links += 1;
        let delivery = if server.push {
            Delivery::Push { size: IMAGE_BYTES }
        } else {
            Delivery::Pull { uri: format!("coap://server/image-{:04}", server.links), size: IMAGE_BYTES }
        };
        server.driver.deliver(now, delivery).expect("the delivery fits the device");
    }
    if server.proceed_at.take_if(|at| *at <= now).is_some() {
        server.driver.proceed(now, Moment(now.0 + 3_600_000));
    }
    if server.cancel_at.is_some_and(|at| at > 0 && at <= now.0) {
        server.cancel_at = Some(0);
        server.driver.cancel(now);
    }
    server.driver.handle_served(now, world.device.fetched);
    if server.driver.poll_timeout().is_some_and(|at| at <= now) {
        server.driver.handle_timeout(now);
    }
}

fn deliver(world: &mut World, flight: Flight) {
    let now = world.now;
    match flight {
        Flight::Back { id, answer, .. } => {
            world.server.log.push(format!("{:>9}   {id} {answer:?}", now.0));
            world.server.driver.handle_answer(now, id, answer);
        }
        Flight::Push { id, sent, .. } => push_block(world, id, sent),
        Flight::Out { ask, .. } => {
            if world.is_away() || !world.device.is_up() {
                let at = Moment(now.0 + GIVEN_UP_MS);
                world.server.flight = Some(Flight::Back { id: ask.id, answer: Answer::NoAnswer, at });
                return;
            }
            world.device.stay_awake(now);
            let told = world.server.fault;
            check_execute(world, &ask.operation);
            let answer = answer(&mut world.device, now, &ask.operation);
            // What the answer rests on is durable before it leaves; or the power went, and with it the answer.
            world.device.pump(now, &mut world.troubles, &mut world.violations);
            let lost = !world.device.is_up() || lost(&mut world.dice, world.troubles.loss);
            world.device.object.handle_answered();
            let answer = twist(told, answer);
            let (answer, wait) = if lost { (Answer::NoAnswer, GIVEN_UP_MS) } else { (answer, LATENCY_MS) };
            let at = Moment(now.0 + wait);
            world.server.flight = Some(Flight::Back { id: ask.id, answer, at });
        }
    }
}

fn lost(dice: &mut Dice, chance: u64) -> bool {
    dice.percent(chance)
}

/// A server's fault, as if the driver had not looked.
fn twist(fault: Fault, answer: Answer) -> Answer {
    let Answer::Content(mut entries) = answer else { return answer };
    match fault {
        Fault::None => {}
        // Whatever is there looks like the campaign's own.
        Fault::ExecutesAnything => entries.retain(|entry| {
            !matches!(entry.path.resource_id(), Some(1 | 7)) || entry.path.object_id() != Some(5)
        }),
        Fault::BelievesOldResults => {
            for entry in entries.iter_mut().filter(|entry| entry.path == firmware::RUNNING_VERSION) {
                entry.value = Value::from(super::TARGET);
            }
        }
    }
    Answer::Content(entries)
}

fn check_execute(world: &mut World, operation: &Operation) {
    if *operation != Operation::Execute(firmware::UPDATE) {
        return;
    }
    world.server.executes += 1;
    if world.device.object.state() == State::Downloaded && !world.device.holds_ours() {
        world
            .server
            .complaints
            .push("told to install an image that this campaign did not put there".to_owned());
    }
}

fn push_block(world: &mut World, id: u32, sent: u64) {
    let now = world.now;
    let given_up = Flight::Back { id, answer: Answer::NoAnswer, at: Moment(now.0 + GIVEN_UP_MS) };
    if world.is_away() || !world.device.is_up() || world.dice.percent(world.troubles.loss / 5) {
        world.server.flight = Some(given_up);
        return;
    }
    world.device.stay_awake(now);
    world.device.push_by_us = true;
    let end = sent + BLOCK_BYTES;
    let last = end >= IMAGE_BYTES;
    let block = vec![1; BLOCK_BYTES as usize];
    let taken = world.device.object.handle_block(now, sent, &block, last, Some(IMAGE_BYTES));
    world.device.pump(now, &mut world.troubles, &mut world.violations);
    let at = Moment(now.0 + LATENCY_MS);
    world.server.flight = Some(if !world.device.is_up() {
        given_up
    } else if let Err(refusal) = taken {
        Flight::Back { id, answer: Answer::Refused(refusal.code()), at }
    } else if last {
        Flight::Back { id, answer: Answer::Done, at }
    } else {
        Flight::Push { id, sent: end, at }
    });
    if taken.is_ok() {
        world.server.driver.handle_served(now, end);
    }
}

/// The device's answer to all but a push.
fn answer(device: &mut Device, now: Moment, operation: &Operation) -> Answer {
    match operation {
        Operation::Read(path) => read(device, path),
        Operation::Observe(path) if device.habits.observes => {
            device.observed.extend(path.resource_id());
            read(device, path)
        }
        Operation::Observe(_) => Answer::Refused(Refusal::MethodNotAllowed.code()),
        Operation::Write { path, value } => {
            let empty_uri = path.resource_id() == Some(1) && value.as_text() == Some("");
            if empty_uri && device.habits.ignores_empty_uri && device.object.state() == State::Downloading {
                return Answer::Done;
            }
            said(device.object.handle_write(
                now,
                path.resource_id().expect("the driver writes and executes resources"),
                value,
            ))
        }
        Operation::Execute(path) if path.resource_id() == Some(10) && !device.habits.cancels => {
            said(Err(Refusal::NotFound))
        }
        Operation::Execute(path) => said(
            device
                .object
                .handle_execute(now, path.resource_id().expect("the driver writes and executes resources")),
        ),
        Operation::Push { .. } => said(Err(Refusal::BadRequest)),
    }
}

fn said(taken: Result<(), Refusal>) -> Answer {
    taken.map_or_else(|refusal| Answer::Refused(refusal.code()), |()| Answer::Done)
}

fn read(device: &Device, path: &Path) -> Answer {
    if *path == firmware::RUNNING_VERSION {
        return Answer::Content(vec![Entry::new(*path, device.running)]);
    }
    if *path == INSTANCE {
        if !device.habits.reads_instance {
            return Answer::Refused(Refusal::MethodNotAllowed.code());
        }
        let mut entries = device.object.read_all();
        entries.retain(|entry| device.habits.tells_uri || entry.path != firmware::PACKAGE_URI);
        return Answer::Content(entries);
    }
    if *path == firmware::PACKAGE_URI && !device.habits.tells_uri {
        return Answer::Refused(Refusal::NotFound.code());
    }
    match device.object.read(path.resource_id().unwrap_or_default()) {
        Ok(entries) => Answer::Content(entries),
        Err(refusal) => Answer::Refused(refusal.code()),
    }
}
