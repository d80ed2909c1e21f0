//! Attributes from and to a document (JSON or any other format serde reads), bounded while reading.
//!
//! Reading stops at the first thing beyond a limit, so a hostile document costs no more than the limits allow.
//! Writing gives the flat form, `{"a.b": 1}`, which reads back as the same attributes.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

use super::{AttributeError, Attributes, DEPTH_MAX, ELEMENTS_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX, Value};

/// Largest whole number that a double holds exactly, 2^53, and up to which one is written without a fraction.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            #[expect(clippy::cast_possible_truncation, reason = "a whole number within 2^53 fits an i64")]
            Self::Number(number) if number.fract() == 0.0 && number.abs() <= WHOLE_MAX => {
                serializer.serialize_i64(*number as i64)
            }
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text.as_str()),
            Self::List(values) => {
                let mut sequence = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    sequence.serialize_element(value)?;
                }
                sequence.end()
            }
        }
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Attributes {
    /// Reads an object. Nested objects are flattened with dots; an object inside a list leaves null in its place
    /// and its fields under the list's name and the index: `{"disks": [{"free": 1}]}` gives `disks.0.free`.
    /// Of a name that comes twice the last one counts.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Root;
        impl<'de> Visitor<'de> for Root {
            type Value = Attributes;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object with the device's attributes")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Attributes, A::Error> {
                let mut attributes = Attributes::new();
                let mut path = String::new();
                Node::new(&mut attributes, &mut path).read_fields(map)?;
                attributes.shrink_to_fit();
                Ok(attributes)
            }
        }
        deserializer.deserialize_map(Root)
    }
}

impl<'de> Deserialize<'de> for Value {
    /// Reads null, a boolean, a number, a text or a list of these. An object is an error: only [`Attributes`] can
    /// flatten one.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut attributes = Attributes::new();
        let mut path = String::from("value");
        let value = Node::new(&mut attributes, &mut path).deserialize(deserializer)?;
        let flattened = || D::Error::custom("an object cannot be a single value");
        let value = value.ok_or_else(flattened)?;
        if !attributes.is_empty() {
            return Err(flattened());
        }
        value.check("value").map_err(D::Error::custom)?;
        Ok(value)
    }
}

/// One place in the document: reads the value there. Objects go into `attributes` under their path, and give none.
struct Node<'a> {
    attributes: &'a mut Attributes,
    path: &'a mut String,
    depth: usize,
}

impl<'a> Node<'a> {
    fn new(attributes: &'a mut Attributes, path: &'a mut String) -> Self {
        Self { attributes, path, depth: 0 }
    }

    /// The node one level further down, whose name is appended to the path; give the path back with `truncate`.
    fn child(&mut self, name: &str) -> Node<'_> {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(name);
        Node { attributes: self.attributes, path: self.path, depth: self.depth + 1 }
    }

    fn check_depth<E: Error>(&self) -> Result<(), E> {
        if self.depth > DEPTH_MAX {
            return Err(E::custom(AttributeError::TooDeep { name: self.path.clone() }));
        }
        Ok(())
    }

    fn read_fields<'de, A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        self.check_depth()?;
        let end = self.path.len();
        while let Some(name) = map.next_key_seed(FieldName { path_bytes: end })? {
            let value = map.next_value_seed(self.child(&name))?;
            if let Some(value) = value {
                self.attributes.insert(self.path, value).map_err(A::Error::custom)?;
            }
            self.path.truncate(end);
        }
        Ok(())
    }

    fn text<E: Error>(&self, text: &str) -> Result<Option<Value>, E> {
        if text.len() > VALUE_BYTES_MAX {
            return Err(E::custom(AttributeError::ValueTooLong { name: self.path.clone() }));
        }
        Ok(Some(Value::from(text)))
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Option<Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "null, a boolean, a number, a text, a list or an object at {:?}", self.path)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Some(Value::Null))
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Some(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(Value::Bool(value)))
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers are doubles, as in JSON: exact up to 2^53")]
    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(Value::Number(value as f64)))
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers are doubles, as in JSON: exact up to 2^53")]
    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(Value::Number(value as f64)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(Value::Number(value)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.text(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut sequence: A) -> Result<Self::Value, A::Error> {
        self.check_depth()?;
        let end = self.path.len();
        let mut values = Vec::new();
        loop {
            let index = values.len().to_string();
            let Some(value) = sequence.next_element_seed(self.child(&index))? else { break };
            self.path.truncate(end);
            if values.len() == ELEMENTS_MAX {
                return Err(A::Error::custom(AttributeError::ListTooLong { name: self.path.clone() }));
            }
            values.push(value.unwrap_or_default());
        }
        self.path.truncate(end);
        Ok(Some(Value::List(values)))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<Self::Value, A::Error> {
        self.read_fields(map)?;
        Ok(None)
    }
}

/// Reads a field's name, refusing one that cannot fit behind its path before it is kept.
struct FieldName {
    path_bytes: usize,
}

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of an attribute")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<String, E> {
        let bytes = self.path_bytes + name.len();
        if name.is_empty() {
            return Err(E::custom(AttributeError::NameEmpty));
        }
        if bytes > NAME_BYTES_MAX {
            return Err(E::custom(AttributeError::NameTooLong { bytes }));
        }
        Ok(name.to_owned())
    }
}
