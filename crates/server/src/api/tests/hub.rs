//! A stand-in for what is behind the desk: it answers as the test says, and keeps orders as the real one does.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use updraft_core::time::Timestamp;

use super::World;
use crate::api::Lwm2m;
use crate::protocols::lwm2m::books::{Books, Change, SavedOrder};
use crate::protocols::lwm2m::desk::{Call, Desk, DeskError, Entry, Order, Outcome, Standing, Taken, Value};

/// What comes of an order: an outcome, `None` if it waits, or why it is not taken.
pub(super) type Answer = Result<Option<Outcome>, DeskError>;

/// A server with a stand-in behind its desk.
pub(super) struct HubWorld {
    pub(super) world: World,
    /// Every order that was taken, in the order in which they came.
    pub(super) taken: Arc<Mutex<Vec<Order>>>,
    hub: JoinHandle<()>,
}

impl HubWorld {
    /// A hub that knows one device, and gives the same answer to each order.
    pub(super) fn new(device: &'static str, answer: impl Fn(&Order) -> Answer + Send + 'static) -> Self {
        let (desk, calls) = Desk::new();
        let taken = Arc::default();
        let mut hub = None;
        let world = World::with(|database| {
            let books: Arc<dyn Books> = Arc::new(database.lwm2m().unwrap());
            hub = Some(tokio::spawn(run(calls, books.clone(), device, Arc::clone(&taken), answer)));
            Some(Lwm2m { desk, books })
        });
        Self { world, taken, hub: hub.unwrap() }
    }

    /// Ends the server; the hub ends with the last handle on the desk.
    pub(super) async fn end(self) {
        self.world.end();
        self.hub.await.unwrap();
    }
}

async fn run(
    mut calls: mpsc::Receiver<Call>,
    books: Arc<dyn Books>,
    device: &'static str,
    taken: Arc<Mutex<Vec<Order>>>,
    answer: impl Fn(&Order) -> Answer,
) {
    while let Some(call) = calls.recv().await {
        match call {
            Call::Look(id, answer) => {
                let _ = answer.send((id.as_str() == device).then(standing));
            }
            Call::Order(order, said) => {
                let is_known = order.device.as_str() == device;
                let answer = if is_known { answer(&order) } else { Err(DeskError::NotRegistered) };
                let answer = answer.map(|outcome| keep(&*books, &taken, order, outcome));
                let _ = said.send(answer);
            }
        }
    }
}

fn keep(books: &dyn Books, taken: &Mutex<Vec<Order>>, mut order: Order, outcome: Option<Outcome>) -> Taken {
    order.number = books.next_number().unwrap();
    taken.lock().unwrap().push(order.clone());
    let number = order.number;
    books.save(&[Change::Order(SavedOrder { order, outcome: outcome.clone() })]).unwrap();
    match outcome {
        Some(outcome) => Taken::Ended(number, outcome),
        None => Taken::Waits(number),
    }
}

pub(super) fn entry(path: &str, value: impl Into<Value>) -> Entry {
    Entry { path: path.parse().unwrap(), value: value.into() }
}

/// A device that sleeps at times.
fn standing() -> Standing {
    let noon = 1_772_366_400_000;
    Standing {
        endpoint: "cam-0001".to_owned(),
        address: "192.0.2.7:50412".to_owned(),
        security: "psk".to_owned(),
        version: "1.1".to_owned(),
        lifetime_s: Some(3_600),
        registered: Timestamp::from_millis(noon - 3_600_000),
        heard: Timestamp::from_millis(noon),
        is_queue_mode: true,
        is_awake: true,
        objects: ["/1/0", "/3/0", "/5/0"].map(|path| path.parse().unwrap()).into(),
        known: vec![entry("/3/0/3", "1.0.0"), entry("/5/0/3", 0), entry("/5/0/5", 0)],
        waiting: 0,
    }
}
