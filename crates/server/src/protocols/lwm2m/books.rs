//! What of LwM2M outlives the process: registrations, and orders that wait for devices that sleep.

use super::desk::{Order, Outcome};
use updraft_core::id::DeviceId;

/// Most orders kept for one device, done ones among them: the oldest that is done goes first.
pub const ORDERS_MAX: usize = 32;

/// A registration as it is kept. What it holds is the adapter's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedRegistration {
    /// Whose.
    pub device: DeviceId,
    /// What is kept, as a JSON object.
    pub record: String,
}

/// An order as it is kept, with what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedOrder {
    /// The order.
    pub order: Order,
    /// What came of it; `None`: it waits.
    pub outcome: Option<Outcome>,
}

/// Something to be kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A registration is new, or another.
    Register(SavedRegistration),
    /// A device is no longer registered.
    Deregister(DeviceId),
    /// An order came, or came to its end: by its number, in place of what was kept.
    Order(SavedOrder),
}

/// What cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("the books of LwM2M cannot be kept")]
pub struct BooksError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Where it is kept. Every method may wait for the disk.
pub trait Books: Send + Sync + 'static {
    /// Gives all registrations to `take`, one after the other: a large fleet's are never in memory together.
    ///
    /// # Errors
    /// [`BooksError`]; so for each method.
    fn registrations(&self, take: &mut dyn FnMut(SavedRegistration)) -> Result<(), BooksError>;

    /// The orders that wait, by number.
    ///
    /// # Errors
    /// See [`Books::registrations`].
    fn waiting(&self) -> Result<Vec<Order>, BooksError>;

    /// The orders kept of one device, by number.
    ///
    /// # Errors
    /// See [`Books::registrations`].
    fn orders(&self, device: &DeviceId) -> Result<Vec<SavedOrder>, BooksError>;

    /// The number after the largest that any order ever had, those that are gone among them; 1 is the first.
    ///
    /// # Errors
    /// See [`Books::registrations`].
    fn next_number(&self) -> Result<u64, BooksError>;

    /// Makes changes durable, in order, all or none. An order beyond [`ORDERS_MAX`] of its device takes the place of the
    /// oldest that is done.
    ///
    /// # Errors
    /// See [`Books::registrations`]; and if an order is to wait where [`ORDERS_MAX`] of its device do.
    fn save(&self, changes: &[Change]) -> Result<(), BooksError>;
}
