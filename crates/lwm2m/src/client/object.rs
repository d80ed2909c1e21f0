//! What an object of a device is to its client: instances, resources, and what may be done to them.

use crate::coap::Code;
use crate::link::ObjectVersion;
use crate::model::{self, Operations};
use crate::{Entry, Moment, Path};
use std::fmt::Debug;

/// The time, as the objects need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Since a beginning of the caller's choosing.
    pub now: Moment,
    /// Seconds since 1970; none where the device does not know.
    pub utc_s: Option<i64>,
}

/// What a write does to the resources it does not name (Core §6.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// They are gone, where they are optional.
    Replace,
    /// They stay.
    Partial,
}

/// An object of the device. What is not supported is refused with 4.05 by default.
///
/// Paths and operations are checked before: `read` is called for instances that exist, `write` with resources that exist
/// and are writable, `execute` with one that is executable.
pub trait Object: Debug + Send {
    /// Its number.
    fn id(&self) -> u16;

    /// Its version, where that is not 1.0 (Core §7.2.2).
    fn version(&self) -> Option<ObjectVersion> {
        None
    }

    /// Its instances, by number.
    fn instances(&self) -> Vec<u16>;

    /// The resources of an instance, by number, readable or not.
    fn resources(&self, instance: u16) -> Vec<u16>;

    /// What may be done to a resource: what the registry says, unless the object knows better.
    fn operations(&self, resource: u16) -> Option<Operations> {
        let known = model::object(self.id())?.resources.iter().find(|known| known.id == resource)?;
        Some(known.operations)
    }

    /// The leaves of an instance that may be read.
    fn read(&self, time: Time, instance: u16) -> Vec<Entry>;

    /// Takes in all of these values, or none.
    ///
    /// # Errors
    /// The code of the answer.
    fn write(&mut self, time: Time, write: Write, entries: &[Entry]) -> Result<(), Code> {
        let _ = (time, write, entries);
        Err(Code::METHOD_NOT_ALLOWED)
    }

    /// Does what a resource stands for.
    ///
    /// # Errors
    /// The code of the answer.
    fn execute(&mut self, time: Time, resource: Path, arguments: &str) -> Result<(), Code> {
        let _ = (time, resource, arguments);
        Err(Code::METHOD_NOT_ALLOWED)
    }

    /// Makes an instance of these values, with the number given or one of its own; gives the number.
    ///
    /// # Errors
    /// The code of the answer.
    fn create(&mut self, time: Time, instance: Option<u16>, entries: &[Entry]) -> Result<u16, Code> {
        let _ = (time, instance, entries);
        Err(Code::METHOD_NOT_ALLOWED)
    }

    /// Removes an instance.
    ///
    /// # Errors
    /// The code of the answer.
    fn delete(&mut self, instance: u16) -> Result<(), Code> {
        let _ = instance;
        Err(Code::METHOD_NOT_ALLOWED)
    }
}
