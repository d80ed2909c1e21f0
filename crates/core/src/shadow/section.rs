//! One half of a shadow, desired or reported: values in objects, each with the time when it was set.
//!
//! State and metadata are two views of the one tree, so they cannot disagree.

use super::SectionUpdate;
use crate::time::Timestamp;
use serde::de::{Error as _, IgnoredAny};
use serde::ser::{SerializeMap, SerializeSeq, SerializeTuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

/// Values by name, nested.
///
/// It is stored as JSON in which a value is a pair of itself and its time: `{"power":{"battery":[87,1700000000]}}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Section(BTreeMap<String, Node>);

/// What stands under a name.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A value that is replaced as a whole: a scalar or an array.
    Leaf {
        /// The value: neither an object nor null, and no null within.
        value: Value,
        /// When it was set, in seconds since 1970.
        at: i64,
    },
    /// An object, which updates merge into.
    Branch(Section),
}

/// A section's values, as JSON.
#[derive(Debug, Clone, Copy)]
pub struct State<'a>(pub &'a Section);

/// A section's times, as JSON: `{"timestamp":…}` in the place of each scalar, those in arrays among them.
#[derive(Debug, Clone, Copy)]
pub struct Metadata<'a>(pub &'a Section);

impl Section {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What stands under a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.0.get(name)
    }

    /// All names with what stands under them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// The section that an object says, all of it set at one time.
    pub(super) fn of(object: &Map<String, Value>, at: Timestamp) -> Self {
        let mut section = Self::default();
        section.merge(object, seconds(at));
        section
    }

    /// Takes in an update of this section.
    pub(super) fn update(&mut self, update: &SectionUpdate, now: Timestamp) {
        match update {
            SectionUpdate::Unchanged => {}
            SectionUpdate::Removed => self.0.clear(),
            SectionUpdate::Merged(object) => self.merge(object, seconds(now)),
        }
    }

    /// Objects merge, null removes, anything else replaces what was there. As RFC 7396, with times.
    fn merge(&mut self, object: &Map<String, Value>, at: i64) {
        for (name, value) in object {
            match value {
                Value::Null => {
                    self.0.remove(name);
                }
                Value::Object(inner) => self.branch(name).merge(inner, at),
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    self.0.insert(name.clone(), Node::Leaf { value: value.clone(), at });
                }
            }
        }
    }

    /// The object under a name, made if something else or nothing is there.
    fn branch(&mut self, name: &str) -> &mut Self {
        let node = match self.0.entry(name.to_owned()) {
            Entry::Vacant(entry) => entry.insert(Node::Branch(Self::default())),
            Entry::Occupied(entry) => entry.into_mut(),
        };
        if let Node::Leaf { .. } = node {
            *node = Node::Branch(Self::default());
        }
        match node {
            Node::Branch(section) => section,
            Node::Leaf { .. } => unreachable!("made an object just before"),
        }
    }

    /// What of this section the other one does not say. An object is nothing of its own: only the values in it count.
    pub(super) fn beyond(&self, other: &Self) -> Self {
        let nothing = Self::default();
        let mut beyond = BTreeMap::new();
        for (name, node) in &self.0 {
            match (node, other.0.get(name)) {
                (Node::Leaf { value, .. }, Some(Node::Leaf { value: there, .. }))
                    if is_same(value, there) => {}
                (Node::Leaf { .. }, _) => {
                    beyond.insert(name.clone(), node.clone());
                }
                (Node::Branch(inner), there) => {
                    let there = match there {
                        Some(Node::Branch(there)) => there,
                        Some(Node::Leaf { .. }) | None => &nothing,
                    };
                    let inner = inner.beyond(there);
                    if !inner.is_empty() {
                        beyond.insert(name.clone(), Node::Branch(inner));
                    }
                }
            }
        }
        Self(beyond)
    }

    /// How long its values are as compact JSON; nothing if there are none.
    pub(super) fn bytes(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        serde_json::to_vec(&State(self)).expect("a tree of JSON values is JSON").len()
    }
}

/// A point in time as metadata have it.
fn seconds(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1_000)
}

/// Whether two values say the same. Numbers do if they are equal: a device that was told 20 and reports 20.0 has done it.
fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => is_same_number(left, right),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, value)| right.get(name).is_some_and(|there| is_same(value, there)))
        }
        (left, right) => left == right,
    }
}

fn is_same_number(left: &Number, right: &Number) -> bool {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => left == right,
        (Some(whole), None) => is_whole(right, whole),
        (None, Some(whole)) => is_whole(left, whole),
        (None, None) => left.as_f64() == right.as_f64(),
    }
}

/// Whether a double is exactly this whole number.
fn is_whole(number: &Number, whole: i128) -> bool {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a double beyond an i128 saturates, and equals no JSON integer"
    )]
    let is = |double: f64| double.fract() == 0.0 && double as i128 == whole;
    number.as_f64().is_some_and(is)
}

impl Serialize for State<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.0.len()))?;
        for (name, node) in &self.0.0 {
            match node {
                Node::Leaf { value, .. } => map.serialize_entry(name, value)?,
                Node::Branch(section) => map.serialize_entry(name, &State(section))?,
            }
        }
        map.end()
    }
}

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.0.len()))?;
        for (name, node) in &self.0.0 {
            match node {
                Node::Leaf { value, at } => map.serialize_entry(name, &Stamp { value, at: *at })?,
                Node::Branch(section) => map.serialize_entry(name, &Metadata(section))?,
            }
        }
        map.end()
    }
}

/// The times of one value.
struct Stamp<'a> {
    value: &'a Value,
    at: i64,
}

impl Serialize for Stamp<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = self.at;
        match self.value {
            Value::Array(values) => {
                let mut sequence = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    sequence.serialize_element(&Stamp { value, at })?;
                }
                sequence.end()
            }
            Value::Object(object) => {
                let mut map = serializer.serialize_map(Some(object.len()))?;
                for (name, value) in object {
                    map.serialize_entry(name, &Stamp { value, at })?;
                }
                map.end()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("timestamp", &at)?;
                map.end()
            }
        }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Leaf { value, at } => {
                let mut pair = serializer.serialize_tuple(2)?;
                pair.serialize_element(value)?;
                pair.serialize_element(at)?;
                pair.end()
            }
            Self::Branch(section) => section.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object, or a pair of a value and its time")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Node, A::Error> {
                let section = Section::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Node::Branch(section))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut pair: A) -> Result<Node, A::Error> {
                let short = |length| A::Error::invalid_length(length, &self);
                let value = pair.next_element()?.ok_or_else(|| short(0))?;
                let at = pair.next_element()?.ok_or_else(|| short(1))?;
                if pair.next_element::<IgnoredAny>()?.is_some() {
                    return Err(short(3));
                }
                Ok(Node::Leaf { value, at })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
