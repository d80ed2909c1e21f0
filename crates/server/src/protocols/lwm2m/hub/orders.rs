//! Orders of operators: asked of a device that is awake, kept for one that sleeps.

use super::super::books::{Change, SavedOrder};
use super::super::desk::{DeskError, ORDER_LIFE, Operation, Order, Outcome, Taken};
use super::asks::{self, Came, Purpose};
use super::timers::Key;
use super::{Action, Hub};
use std::collections::{BTreeMap, BTreeSet};
use updraft_core::id::DeviceId;
use updraft_lwm2m::coap::{Failure, Method, Observe, Request, RequestId};
use updraft_lwm2m::content::{self, ContentFormat};
use updraft_lwm2m::{Entry, Moment, Path, Value, model};

/// Orders that may wait for one device.
const WAITING_MAX: usize = 16;

/// Whom to tell what came of which order.
#[derive(Debug)]
pub(super) struct Tickets {
    next: u64,
    open: BTreeMap<u64, u64>,
    /// Those that are kept, since they wait.
    kept: BTreeSet<u64>,
}

impl Tickets {
    pub(super) fn new(next: u64) -> Self {
        Self { next: next.max(1), open: BTreeMap::new(), kept: BTreeSet::new() }
    }
}

impl Hub {
    /// Takes in an order that an earlier process kept.
    pub fn restore_order(&mut self, order: Order) {
        self.orders.next = self.orders.next.max(order.number + 1);
        self.orders.kept.insert(order.number);
        match self.devices.get_mut(&order.device) {
            Some(registered) => {
                let device = order.device.clone();
                registered.active().orders.push_back(order);
                self.await_oldest(&device);
            }
            None => self.end_order(order, Outcome::NoAnswer("the device is no longer registered".to_owned())),
        }
    }

    /// An operator asks something of a device, now or when it is awake. `ticket` names the answer.
    pub fn handle_order(&mut self, now: Moment, ticket: u64, mut order: Order) {
        let device = order.device.clone();
        let refuse = |hub: &mut Self, error| hub.actions.push_back(Action::Told(ticket, Err(error)));
        let Some(registered) = self.devices.get_mut(&device) else {
            return refuse(self, DeskError::NotRegistered);
        };
        if registered.active().orders.len() >= WAITING_MAX {
            return refuse(self, DeskError::TooMany);
        }
        order.number = self.orders.next;
        self.orders.next += 1;
        self.orders.open.insert(order.number, ticket);
        registered.active().orders.push_back(order);
        self.await_oldest(&device);
        self.order_on(now, &device);
    }

    /// Asks a device what was ordered next; if it sleeps, tells who ordered that it waits.
    pub(super) fn order_on(&mut self, now: Moment, device: &DeviceId) {
        let Some(registered) = self.devices.get_mut(device) else { return };
        let is_awake = registered.is_awake(now);
        let Some(active) = registered.active.as_mut() else { return };
        if active.order_at.is_some() {
            return;
        }
        if !is_awake {
            return self.all_wait(device);
        }
        let Some(order) = active.orders.front().cloned() else { return };
        match self.request_of(&order) {
            Ok(request) => {
                let number = order.number;
                if self.ask(now, device, request, Purpose::Order(number))
                    && let Some(registered) = self.devices.get_mut(device)
                {
                    registered.active().order_at = Some(number);
                }
            }
            Err(outcome) => self.order_ended(now, device, order.number, outcome),
        }
    }

    /// Each order of a device that sleeps waits, and whoever gave it is told so once.
    fn all_wait(&mut self, device: &DeviceId) {
        let Some(active) = self.devices.get(device).and_then(|known| known.active.as_ref()) else { return };
        for order in active.orders.clone() {
            if self.orders.kept.insert(order.number) {
                let saved = SavedOrder { order: order.clone(), outcome: None };
                self.actions.push_back(Action::Keep(Change::Order(saved)));
            }
            if let Some(ticket) = self.orders.open.remove(&order.number) {
                self.actions.push_back(Action::Told(ticket, Ok(Taken::Waits(order.number))));
            }
        }
    }

    fn request_of(&self, order: &Order) -> Result<Request, Outcome> {
        let (device, path) = (&order.device, &order.path);
        Ok(match &order.operation {
            Operation::Read => self.request_for(device, Method::Get, path),
            Operation::Observe => self.request_for(device, Method::Get, path).with_observe(Observe::Register),
            Operation::Ignore => {
                self.request_for(device, Method::Get, path).with_observe(Observe::Deregister)
            }
            Operation::Discover => {
                self.request_for(device, Method::Get, path).with_accept(ContentFormat::LINK.0)
            }
            Operation::Write(text) => {
                let value = value(path, text)?;
                self.request_to_write(device, path, &value).map_err(|error| {
                    Outcome::Refused("4.00".to_owned(), format!("the value cannot be written: {error}"))
                })?
            }
            Operation::Execute(arguments) => {
                let request = self.request_for(device, Method::Post, path);
                match arguments {
                    Some(text) => request.with_payload(ContentFormat::TEXT.0, text.as_bytes().to_vec()),
                    None => request,
                }
            }
        })
    }

    pub(super) fn take_order_answer(
        &mut self,
        now: Moment,
        device: &DeviceId,
        request: RequestId,
        number: u64,
        came: &Came,
    ) {
        let Some(registered) = self.devices.get_mut(device) else { return };
        let sleeps = registered.sleeps();
        let active = registered.active();
        active.order_at = None;
        let Some(order) = active.orders.iter().find(|order| order.number == number).cloned() else { return };
        if sleeps && matches!(came, Came::Nothing(Failure::Silent)) {
            // It has fallen asleep meanwhile: the order waits for its next word.
            return self.all_wait(device);
        }
        let outcome = outcome(&order, came);
        if let Outcome::Content(entries) = &outcome {
            registered.learn(&order.path, entries);
            let goes_on = matches!(came, Came::Response(response) if response.observe().is_some());
            if order.operation == Operation::Observe && goes_on {
                registered.active().observed.insert(request, order.path);
            }
        }
        if order.operation == Operation::Ignore {
            registered.active().observed.retain(|_, path| *path != order.path);
        }
        self.order_ended(now, device, number, outcome);
    }

    fn order_ended(&mut self, now: Moment, device: &DeviceId, number: u64, outcome: Outcome) {
        let Some(registered) = self.devices.get_mut(device) else { return };
        let orders = &mut registered.active().orders;
        let Some(place) = orders.iter().position(|order| order.number == number) else { return };
        let Some(order) = orders.remove(place) else { return };
        self.end_order(order, outcome);
        self.await_oldest(device);
        self.order_on(now, device);
    }

    fn end_order(&mut self, order: Order, outcome: Outcome) {
        if let Some(ticket) = self.orders.open.remove(&order.number) {
            let taken = Taken::Ended(order.number, outcome.clone());
            self.actions.push_back(Action::Told(ticket, Ok(taken)));
        }
        if self.orders.kept.remove(&order.number) {
            let saved = SavedOrder { order, outcome: Some(outcome) };
            self.actions.push_back(Action::Keep(Change::Order(saved)));
        }
    }

    /// Gives up the orders that have waited for too long.
    pub(super) fn expire_orders(&mut self, now: Moment, device: &DeviceId) {
        let Some(registered) = self.devices.get_mut(device) else { return };
        let orders = std::mem::take(&mut registered.active().orders);
        let is_late = |order: &Order| given(order).plus(ORDER_LIFE) <= now;
        let (late, rest) = orders.into_iter().partition(is_late);
        registered.active().orders = rest;
        registered.tidy();
        self.give_up_orders(late, "the device was not awake in time");
        self.await_oldest(device);
    }

    /// The orders of a device that is no longer registered end.
    pub(super) fn give_up_orders(&mut self, orders: std::collections::VecDeque<Order>, why: &str) {
        for order in orders {
            self.end_order(order, Outcome::NoAnswer(why.to_owned()));
        }
    }

    fn await_oldest(&mut self, device: &DeviceId) {
        let active = self.devices.get(device).and_then(|known| known.active.as_ref());
        let oldest = active.and_then(|active| active.orders.front());
        let due = oldest.map(|order| given(order).plus(ORDER_LIFE));
        self.timers.set(Key::Orders(device.clone()), due);
    }
}

/// When an order was given, as a moment of the hub, whose beginning is 1970.
fn given(order: &Order) -> Moment {
    Moment(u64::try_from(order.at.as_millis()).unwrap_or(0))
}

/// What an operator wrote, as what the resource holds; text, where that is not known.
fn value(path: &Path, text: &str) -> Result<Value, Outcome> {
    if model::kind(path).is_none() {
        return Ok(Value::Text(text.to_owned()));
    }
    let decoded = content::decode(ContentFormat::TEXT, path, text.as_bytes());
    let no_value = || {
        let sentence = format!("{text:?} is no value of {}", model::label(path));
        Outcome::Refused("4.00".to_owned(), sentence)
    };
    decoded.ok().and_then(|mut entries| entries.pop()).map(|Entry { value, .. }| value).ok_or_else(no_value)
}

fn outcome(order: &Order, came: &Came) -> Outcome {
    let response = match came {
        Came::Nothing(failure) => return Outcome::NoAnswer(failure.to_string()),
        Came::Response(response) => response,
    };
    if !response.code.is_success() {
        let words = String::from_utf8_lossy(&response.payload).into_owned();
        return Outcome::Refused(response.code.to_string(), words);
    }
    match order.operation {
        Operation::Write(_) | Operation::Execute(_) => Outcome::Done,
        Operation::Discover => Outcome::Links(String::from_utf8_lossy(&response.payload).into_owned()),
        Operation::Read | Operation::Observe | Operation::Ignore => {
            match asks::content_of(&order.path, came) {
                Ok(entries) => Outcome::Content(entries),
                Err(_) => Outcome::Refused(
                    response.code.to_string(),
                    "the device answered in a format that cannot be read".to_owned(),
                ),
            }
        }
    }
}
