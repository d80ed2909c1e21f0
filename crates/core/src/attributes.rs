//! What a device reported about itself, and what a release says about itself: names with values, flat.
//!
//! A policy reads these a million times per rollout step and the server holds many of them, so an [`Attributes`] is
//! one sorted allocation, and short names and texts live inside it. Nested objects are flattened: `{"a": {"b": 1}}`
//! is the attribute `a.b`. Whether a text is a version is found out once, when it comes in.
//!
//! There is no schema and no meaning here: which attribute is the version or the region is for the reader to know.

mod document;
mod text;

use std::fmt;

pub(crate) use text::Key;
use text::Name;
pub use text::Text;

/// Most attributes of one device. Real documents have 10 to 50; the bound keeps a hostile one from filling memory.
pub const ATTRIBUTES_MAX: usize = 256;

/// Longest name, in bytes, with the names of the enclosing objects and the dots between them.
pub const NAME_BYTES_MAX: usize = 256;

/// Most bytes of text in one value, all elements of a list together: room for a PEM certificate, not for a log.
pub const VALUE_BYTES_MAX: usize = 4096;

/// Most elements in one list value, nested lists together.
pub const ELEMENTS_MAX: usize = 128;

/// Deepest nesting of objects and lists. It bounds the recursion of every walk over a value.
pub const DEPTH_MAX: usize = 16;

/// How many entries, the first by name, have a tag. Most devices report fewer attributes; 16 bytes compare at once.
const TAGS: usize = 16;

/// One attribute's value.
#[derive(Clone, PartialEq, Default)]
pub enum Value {
    /// Present without a value.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A finite number. Whole numbers are exact up to 2^53.
    Number(f64),
    /// A text, which may be a version.
    Text(Text),
    /// A list of values.
    List(Vec<Self>),
}

/// A device's attributes (or an update's), sorted by name.
///
/// ```
/// use updraft_core::attributes::{Attributes, Value};
///
/// let mut device = Attributes::new();
/// device.insert("version", "1.0.0")?;
/// device.insert("power.battery", 87)?;
/// assert_eq!(device.get("power.battery"), Some(&Value::Number(87.0)));
/// # Ok::<(), updraft_core::attributes::AttributeError>(())
/// ```
#[derive(Clone, PartialEq, Default)]
pub struct Attributes {
    /// A byte of hash for each of the first entries, so that a search touches the memory of the entry it wants and
    /// of no other: attributes of many devices are never all in the processor's caches.
    tags: [u8; TAGS],
    /// Sorted by name.
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq)]
struct Entry {
    name: Name,
    value: Value,
}

/// Why an attribute was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// More than [`ATTRIBUTES_MAX`] attributes.
    #[error(
        "too many attributes: at most {ATTRIBUTES_MAX} are allowed, counted after flattening nested objects"
    )]
    TooMany,
    /// The name is empty.
    #[error("an attribute's name is empty")]
    NameEmpty,
    /// The name is longer than [`NAME_BYTES_MAX`].
    #[error(
        "an attribute's name has {bytes} bytes; at most {NAME_BYTES_MAX} are allowed, with its enclosing objects"
    )]
    NameTooLong {
        /// Length of the flattened name.
        bytes: usize,
    },
    /// The text of the value is longer than [`VALUE_BYTES_MAX`].
    #[error("the value of attribute {name:?} has more than {VALUE_BYTES_MAX} bytes of text")]
    ValueTooLong {
        /// The attribute.
        name: String,
    },
    /// The value is a list of more than [`ELEMENTS_MAX`] elements.
    #[error(
        "the value of attribute {name:?} has more than {ELEMENTS_MAX} list elements, nested lists included"
    )]
    ListTooLong {
        /// The attribute.
        name: String,
    },
    /// Objects or lists are nested deeper than [`DEPTH_MAX`].
    #[error("attribute {name:?} is nested deeper than {DEPTH_MAX} levels")]
    TooDeep {
        /// The attribute, as far as it was read.
        name: String,
    },
    /// A number that is infinite or not a number.
    #[error("the value of attribute {name:?} is not a finite number")]
    NotFinite {
        /// The attribute.
        name: String,
    },
}

impl Attributes {
    /// No attributes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many attributes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of an attribute, by its flattened name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.find(name).ok().map(|index| &self.entries[index].value)
    }

    /// The value under a name prepared once.
    #[inline]
    pub(crate) fn get_by_key(&self, key: &Key) -> Option<&Value> {
        const ONES: u128 = u128::MAX / 0xFF;
        const TOPS: u128 = ONES << 7;
        // All tags at once: a byte becomes zero where the tag fits, and then its top bit is set. Above such a byte
        // another may be set by mistake; the name decides.
        let differences = u128::from_le_bytes(self.tags) ^ u128::from_le_bytes(key.tags);
        let mut candidates = differences.wrapping_sub(ONES) & !differences & TOPS;
        while candidates != 0 {
            let index = candidates.trailing_zeros() as usize / 8;
            match self.entries.get(index) {
                Some(entry) if entry.name == key.name => return Some(&entry.value),
                Some(_) | None => candidates &= candidates - 1,
            }
        }
        if self.entries.len() > TAGS { self.get(key.name.as_str()) } else { None }
    }

    /// Whether there is an attribute of that name, or an object of that name whose fields are attributes.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self.find(name) {
            Ok(_) => true,
            // Fields sort behind their object's name, but `a-b` lies between `a` and `a.b`.
            Err(index) => self.entries[index..]
                .iter()
                .map_while(|entry| entry.name.as_bytes().strip_prefix(name.as_bytes()))
                .any(|rest| rest.first() == Some(&b'.')),
        }
    }

    /// Sets an attribute, in place of the one of that name.
    ///
    /// # Errors
    /// When the name or the value is beyond its limits, or there is no room for one more. The attributes are then
    /// as before.
    pub fn insert(&mut self, name: &str, value: impl Into<Value>) -> Result<(), AttributeError> {
        let value = value.into();
        check_name(name)?;
        value.check(name)?;
        match self.find(name) {
            Ok(index) => self.entries[index].value = value,
            Err(_) if self.entries.len() >= ATTRIBUTES_MAX => return Err(AttributeError::TooMany),
            Err(index) => {
                self.entries.insert(index, Entry { name: Name::new(name), value });
                self.tag();
            }
        }
        Ok(())
    }

    /// Removes an attribute and gives back its value.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let removed = self.entries.remove(self.find(name).ok()?);
        self.tag();
        Some(removed.value)
    }

    /// All attributes, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|entry| (entry.name.as_str(), &entry.value))
    }

    /// Gives back memory that growing left over, for attributes that are kept.
    pub fn shrink_to_fit(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// Makes the tags those of the first entries.
    fn tag(&mut self) {
        self.tags = [0; TAGS];
        for (tag, entry) in self.tags.iter_mut().zip(&self.entries) {
            *tag = entry.name.tag();
        }
    }

    /// The index of a name, or where it would be inserted.
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.name.as_bytes().cmp(name.as_bytes()))
    }
}

/// Refuses a name beyond its limits.
fn check_name(name: &str) -> Result<(), AttributeError> {
    match name.len() {
        0 => Err(AttributeError::NameEmpty),
        1..=NAME_BYTES_MAX => Ok(()),
        bytes => Err(AttributeError::NameTooLong { bytes }),
    }
}

impl Value {
    /// The word for what kind of value this is, as error messages and explanations say it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
        }
    }

    /// The text, if this is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) => None,
        }
    }

    /// Refuses a value beyond the limits of one attribute.
    fn check(&self, name: &str) -> Result<(), AttributeError> {
        let mut measure = Measure::default();
        measure.add(self, 0).map_err(|excess| excess.into_error(name))
    }
}

/// The size of one value, while it is walked.
#[derive(Default)]
struct Measure {
    elements: usize,
    text_bytes: usize,
}

/// Which limit of a value was passed.
enum Excess {
    Bytes,
    Elements,
    Depth,
    NotFinite,
}

impl Measure {
    fn add(&mut self, value: &Value, depth: usize) -> Result<(), Excess> {
        match value {
            Value::Null | Value::Bool(_) => Ok(()),
            Value::Number(number) if number.is_finite() => Ok(()),
            Value::Number(_) => Err(Excess::NotFinite),
            Value::Text(text) => {
                self.text_bytes += text.as_bytes().len();
                if self.text_bytes > VALUE_BYTES_MAX { Err(Excess::Bytes) } else { Ok(()) }
            }
            Value::List(_) if depth >= DEPTH_MAX => Err(Excess::Depth),
            Value::List(values) => {
                self.elements += values.len();
                if self.elements > ELEMENTS_MAX {
                    return Err(Excess::Elements);
                }
                values.iter().try_for_each(|value| self.add(value, depth + 1))
            }
        }
    }
}

impl Excess {
    fn into_error(self, name: &str) -> AttributeError {
        let name = name.to_owned();
        match self {
            Self::Bytes => AttributeError::ValueTooLong { name },
            Self::Elements => AttributeError::ListTooLong { name },
            Self::Depth => AttributeError::TooDeep { name },
            Self::NotFinite => AttributeError::NotFinite { name },
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Number(f64::from(value))
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Number(f64::from(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Text::new(value))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::from(value.as_str())
    }
}

impl From<&crate::version::Version> for Value {
    fn from(value: &crate::version::Version) -> Self {
        Self::from(value.as_str())
    }
}

impl From<Vec<Self>> for Value {
    fn from(value: Vec<Self>) -> Self {
        Self::List(value)
    }
}

/// Writes the value as a policy would: texts in single quotes, whole numbers without a fraction.
impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => formatter.write_str("null"),
            Self::Bool(value) => write!(formatter, "{value}"),
            Self::Number(value) => write!(formatter, "{value}"),
            Self::Text(text) => write!(formatter, "{text}"),
            Self::List(values) => {
                formatter.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(formatter, "{comma}{value}")?;
                }
                formatter.write_str("]")
            }
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}
