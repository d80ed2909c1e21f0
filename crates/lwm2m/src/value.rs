//! Values: what a resource holds (Core appendix C), and entries, the leaves of a tree.
//!
//! Deliberately absent: how a value is written. Each of [`crate::content`]'s formats does that in its own way.

use std::fmt;

use crate::path::Path;

/// The type of a resource (Core appendix C).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// A signed integer of at most 8 bytes.
    Integer,
    /// An unsigned integer of at most 8 bytes.
    Unsigned,
    /// A 32- or 64-bit float.
    Float,
    /// True or false.
    Boolean,
    /// Bytes.
    Opaque,
    /// Seconds since 1970.
    Time,
    /// An object and an instance of it.
    ObjectLink,
    /// A link in the CoRE format (RFC 6690).
    CoreLink,
}

/// The value of a resource, or of one of its instances.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// UTF-8 text.
    Text(String),
    /// A signed integer.
    Integer(i64),
    /// An unsigned integer.
    Unsigned(u64),
    /// A float. Formats neither read nor write one that is not finite.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// Bytes.
    Opaque(Vec<u8>),
    /// Seconds since 1970.
    Time(i64),
    /// An object and an instance; 65535 and 65535 say that it points nowhere.
    ObjectLink(u16, u16),
    /// A link in the CoRE format.
    CoreLink(String),
}

/// A leaf of the tree: a resource that is single, or one instance of a multiple one. A list of entries, by path, is the
/// one form of a tree in this crate.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where.
    pub path: Path,
    /// What.
    pub value: Value,
}

impl Entry {
    /// An entry.
    #[must_use]
    pub fn new(path: Path, value: impl Into<Value>) -> Self {
        Self { path, value: value.into() }
    }
}

impl Value {
    /// The value's type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Integer(_) => Kind::Integer,
            Self::Unsigned(_) => Kind::Unsigned,
            Self::Float(_) => Kind::Float,
            Self::Boolean(_) => Kind::Boolean,
            Self::Opaque(_) => Kind::Opaque,
            Self::Time(_) => Kind::Time,
            Self::ObjectLink(..) => Kind::ObjectLink,
            Self::CoreLink(_) => Kind::CoreLink,
        }
    }

    /// The text of a text or a link.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::CoreLink(text) => Some(text),
            Self::Integer(_)
            | Self::Unsigned(_)
            | Self::Float(_)
            | Self::Boolean(_)
            | Self::Opaque(_)
            | Self::Time(_)
            | Self::ObjectLink(..) => None,
        }
    }

    /// A whole number, whichever type it came as: formats without types know no other difference.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) | Self::Time(number) => Some(*number),
            Self::Unsigned(number) => i64::try_from(*number).ok(),
            Self::Float(number) => whole(*number),
            Self::Text(_) | Self::Boolean(_) | Self::Opaque(_) | Self::ObjectLink(..) | Self::CoreLink(_) => {
                None
            }
        }
    }

    /// A number.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a float is what is asked for")]
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            Self::Integer(number) | Self::Time(number) => Some(*number as f64),
            Self::Unsigned(number) => Some(*number as f64),
            Self::Text(_) | Self::Boolean(_) | Self::Opaque(_) | Self::ObjectLink(..) | Self::CoreLink(_) => {
                None
            }
        }
    }

    /// True or false.
    #[must_use]
    pub fn as_boolean(&self) -> Option<bool> {
        if let Self::Boolean(truth) = self { Some(*truth) } else { None }
    }

    /// The bytes of an opaque value.
    #[must_use]
    pub fn as_opaque(&self) -> Option<&[u8]> {
        if let Self::Opaque(bytes) = self { Some(bytes) } else { None }
    }

    /// The object and the instance that an object link names.
    #[must_use]
    pub fn as_object_link(&self) -> Option<(u16, u16)> {
        if let Self::ObjectLink(object, instance) = self { Some((*object, *instance)) } else { None }
    }
}

/// The integer that a float is exactly; none where it has a fraction, is not finite, or is beyond what `i64` holds.
#[expect(clippy::cast_possible_truncation, reason = "checked: it is whole and within range")]
pub(crate) fn whole(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0; // 2^63, which i64 does not reach
    (number.fract() == 0.0 && (-LIMIT..LIMIT).contains(&number)).then_some(number as i64)
}

/// As a person reads it: numbers and text plainly, bytes as hexadecimal, an object link as `3:0`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::CoreLink(text) => f.write_str(text),
            Self::Integer(number) | Self::Time(number) => write!(f, "{number}"),
            Self::Unsigned(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Boolean(truth) => write!(f, "{truth}"),
            Self::Opaque(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::ObjectLink(object, instance) => write!(f, "{object}:{instance}"),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Opaque(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_one_whichever_type_it_came_as() {
        for value in [Value::Integer(7), Value::Unsigned(7), Value::Time(7), Value::Float(7.0)] {
            assert_eq!((value.as_integer(), value.as_float()), (Some(7), Some(7.0)), "{value:?}");
        }
        for value in [
            Value::Float(7.5),
            Value::Float(f64::NAN),
            Value::Float(f64::INFINITY),
            Value::Float(9_223_372_036_854_775_808.0),
            Value::Unsigned(u64::MAX),
            Value::from("7"),
            Value::from(true),
        ] {
            assert_eq!(value.as_integer(), None, "{value:?}");
        }
        assert_eq!(Value::Float(-9_223_372_036_854_775_808.0).as_integer(), Some(i64::MIN));
    }

    #[test]
    fn a_value_is_read_only_as_what_it_is() {
        let entry = Entry::new(Path::resource(3, 0, 0), "Acme");
        assert_eq!((entry.value.as_text(), entry.value.as_opaque()), (Some("Acme"), None));
        assert_eq!(Value::from(vec![1, 2]).as_opaque(), Some(&[1, 2][..]));
        assert_eq!(Value::ObjectLink(10, 3).as_object_link(), Some((10, 3)));
        assert_eq!(Value::from(true).as_boolean(), Some(true));
        assert_eq!(Value::Integer(1).as_boolean(), None);
    }

    #[test]
    fn a_value_is_shown_as_a_person_reads_it() {
        for (value, text) in [
            (Value::from("1.2.3"), "1.2.3"),
            (Value::Integer(-3), "-3"),
            (Value::Float(0.5), "0.5"),
            (Value::from(vec![0, 0xab]), "00ab"),
            (Value::ObjectLink(10, 3), "10:3"),
            (Value::from(false), "false"),
        ] {
            assert_eq!(value.to_string(), text);
        }
    }
}
