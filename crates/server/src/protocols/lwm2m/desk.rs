//! The desk: where operators ask something of one device, and are told what came of it.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use updraft_core::id::DeviceId;
use updraft_core::time::Timestamp;

pub use updraft_lwm2m::{Entry, Path, Value};

/// Orders of all operators that may wait to be taken in.
pub const DESK_MAX: usize = 256;
/// Longest argument of an order, in bytes.
pub const ARGUMENT_BYTES_MAX: usize = 4_096;
/// How long an order waits for a device that sleeps, before it is given up.
pub const ORDER_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is asked of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// What is there.
    Read,
    /// What is there, and from now on each change.
    Observe,
    /// No further changes.
    Ignore,
    /// What there is, without values.
    Discover,
    /// Write a resource, as text: numbers in decimals, bytes in base64.
    Write(String),
    /// Execute a resource, with arguments.
    Execute(Option<String>),
}

/// Something asked of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its number, given by the desk; 0 before.
    pub number: u64,
    /// Which device.
    pub device: DeviceId,
    /// What.
    pub operation: Operation,
    /// Of which part of its tree.
    pub path: Path,
    /// Who asks.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// What was read.
    Content(Vec<Entry>),
    /// What was discovered, as CoRE links.
    Links(String),
    /// It was done.
    Done,
    /// The device said no: its code, as `4.04`, and what it added.
    Refused(String, String),
    /// The device did not answer, or not in time, or is no longer registered: why.
    NoAnswer(String),
}

/// An order was taken in.
#[derive(Debug, Clone, PartialEq)]
pub enum Taken {
    /// It has come to its end.
    Ended(u64, Outcome),
    /// The device sleeps: its number; it waits.
    Waits(u64),
}

/// A device as it is registered.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Its endpoint name.
    pub endpoint: String,
    /// From where it was last heard.
    pub address: String,
    /// How it proved who it is, in words: `psk`, `x509`, `none`.
    pub security: String,
    /// The version of LwM2M it speaks.
    pub version: String,
    /// Seconds until its registration ends, unless it renews it; `None`: it does not end.
    pub lifetime_s: Option<u64>,
    /// When it registered.
    pub registered: Timestamp,
    /// When it was last heard.
    pub heard: Timestamp,
    /// Whether it sleeps between its words.
    pub is_queue_mode: bool,
    /// Whether it can be reached now.
    pub is_awake: bool,
    /// Its objects and instances.
    pub objects: Vec<Path>,
    /// What is known of its tree, by path.
    pub known: Vec<Entry>,
    /// Orders that wait.
    pub waiting: usize,
}

/// Why the desk did not take an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// No such device is registered.
    #[error("the device is not registered by LwM2M")]
    NotRegistered,
    /// Too many orders wait for it.
    #[error("too many orders wait for the device")]
    TooMany,
    /// Too many orders wait to be taken in, or the server stops.
    #[error("the server is busy; try again in a few seconds")]
    Busy,
}

/// One call at the desk.
#[derive(Debug)]
pub enum Call {
    /// Take an order.
    Order(Order, oneshot::Sender<Result<Taken, DeskError>>),
    /// Say how a device stands.
    Look(DeviceId, oneshot::Sender<Option<Standing>>),
}

/// A handle on the desk; cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk {
    calls: mpsc::Sender<Call>,
}

impl Desk {
    /// A desk, and where its calls come out.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Call>) {
        let (calls, taken) = mpsc::channel(DESK_MAX);
        (Self { calls }, taken)
    }

    /// Asks something of a device. Ends when the device has answered, or at once if it sleeps.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn order(&self, order: Order) -> Result<Taken, DeskError> {
        let (answer, answered) = oneshot::channel();
        self.calls.try_send(Call::Order(order, answer)).map_err(|_| DeskError::Busy)?;
        answered.await.map_err(|_| DeskError::Busy)?
    }

    /// How a device stands; `None`: it is not registered.
    ///
    /// # Errors
    /// [`DeskError::Busy`].
    pub async fn look(&self, device: DeviceId) -> Result<Option<Standing>, DeskError> {
        let (answer, answered) = oneshot::channel();
        self.calls.try_send(Call::Look(device, answer)).map_err(|_| DeskError::Busy)?;
        answered.await.map_err(|_| DeskError::Busy)
    }
}
