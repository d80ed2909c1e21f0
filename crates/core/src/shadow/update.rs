//! What someone says of a shadow, checked before anything is made of it.

use super::{NESTING_MAX, Section};
use crate::time::Timestamp;
use serde_json::{Map, Value};
use std::fmt;

/// A sound update of a shadow.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    pub(super) desired: SectionUpdate,
    pub(super) reported: SectionUpdate,
    pub(super) version: Option<u64>,
}

/// What an update says of one section.
#[derive(Debug, Clone, PartialEq)]
pub enum SectionUpdate {
    /// Nothing.
    Unchanged,
    /// It is to be removed.
    Removed,
    /// This is to be merged into it.
    Merged(Map<String, Value>),
}

/// Which half of a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What the device should be.
    Desired,
    /// What the device said it is.
    Reported,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Desired => "desired",
            Self::Reported => "reported",
        })
    }
}

/// Why an update is not sound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUpdate {
    /// A section is neither an object nor null.
    #[error("{0} must be an object")]
    NotAnObject(Part),
    /// A value has more than [`NESTING_MAX`] objects and arrays around it.
    #[error("nested deeper than {NESTING_MAX} levels")]
    TooDeep,
    /// There is a null inside an array, where it can remove nothing.
    #[error("null inside the array {0}")]
    NullInArray(String),
}

impl Update {
    /// An update, of what is there for each section: an object merges, null removes, `None` says nothing. With a `version`
    /// it is for that version of the shadow only.
    ///
    /// # Errors
    /// [`InvalidUpdate`].
    pub fn new(
        desired: Option<Value>,
        reported: Option<Value>,
        version: Option<u64>,
    ) -> Result<Self, InvalidUpdate> {
        let desired = section(Part::Desired, desired)?;
        Ok(Self { desired, reported: section(Part::Reported, reported)?, version })
    }

    /// What it says of a section.
    #[must_use]
    pub fn section(&self, part: Part) -> &SectionUpdate {
        match part {
            Part::Desired => &self.desired,
            Part::Reported => &self.reported,
        }
    }
}

impl SectionUpdate {
    /// What it sets, as if nothing had been there before; `None` if it sets nothing.
    #[must_use]
    pub fn set(&self, now: Timestamp) -> Option<Section> {
        match self {
            Self::Unchanged | Self::Removed => None,
            Self::Merged(object) => Some(Section::of(object, now)),
        }
    }
}

fn section(part: Part, value: Option<Value>) -> Result<SectionUpdate, InvalidUpdate> {
    match value {
        None => Ok(SectionUpdate::Unchanged),
        Some(Value::Null) => Ok(SectionUpdate::Removed),
        Some(Value::Object(object)) => {
            object.iter().try_for_each(|(name, value)| check(value, 1, name))?;
            Ok(SectionUpdate::Merged(object))
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(InvalidUpdate::NotAnObject(part))
        }
    }
}

/// Checks a value with `around` objects and arrays around it. `name` is that of the attribute it belongs to.
fn check(value: &Value, around: usize, name: &str) -> Result<(), InvalidUpdate> {
    if around > NESTING_MAX {
        return Err(InvalidUpdate::TooDeep);
    }
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        Value::Object(object) => object.iter().try_for_each(|(name, value)| check(value, around + 1, name)),
        Value::Array(values) => check_array(values, around, name),
    }
}

/// Within an array there is no null at any depth: an array is replaced as a whole, so nothing in it can be removed.
fn check_array(values: &[Value], around: usize, name: &str) -> Result<(), InvalidUpdate> {
    values.iter().try_for_each(|value| check_element(value, around + 1, name))
}

fn check_element(value: &Value, around: usize, name: &str) -> Result<(), InvalidUpdate> {
    if around > NESTING_MAX {
        return Err(InvalidUpdate::TooDeep);
    }
    match value {
        Value::Null => Err(InvalidUpdate::NullInArray(name.to_owned())),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        Value::Object(object) => object.values().try_for_each(|value| check_element(value, around + 1, name)),
        Value::Array(values) => check_array(values, around, name),
    }
}
