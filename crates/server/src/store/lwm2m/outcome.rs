//! What came of an order, as JSON. What is read back is what was written, to the last bit of a float.

use crate::protocols::lwm2m::desk::{Entry, Outcome, Path, Value};
use serde::{Deserialize, Serialize};

/// An [`Outcome`] in its stored form.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SavedOutcome {
    Content(Vec<SavedEntry>),
    Links(String),
    Done,
    Refused { code: String, message: String },
    NoAnswer(String),
}

/// An [`Entry`] in its stored form.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedEntry {
    #[serde(with = "text")]
    path: Path,
    value: SavedValue,
}

/// A [`Value`] in its stored form.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedValue {
    Text(String),
    Integer(i64),
    Unsigned(u64),
    /// As text: a number of JSON is read to within a bit, and has neither infinities nor "not a number".
    #[serde(with = "text")]
    Float(f64),
    Boolean(bool),
    #[serde(with = "bytes")]
    Opaque(Vec<u8>),
    Time(i64),
    ObjectLink(u16, u16),
    CoreLink(String),
}

/// What is written as a text and read from it.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use std::fmt::Display;
    use std::str::FromStr;

    pub(super) fn serialize<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>, T: FromStr<Err: Display>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Bytes as hexadecimal digits.
mod bytes {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl From<&Outcome> for SavedOutcome {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Content(entries) => Self::Content(entries.iter().map(SavedEntry::from).collect()),
            Outcome::Links(links) => Self::Links(links.clone()),
            Outcome::Done => Self::Done,
            Outcome::Refused(code, message) => Self::Refused { code: code.clone(), message: message.clone() },
            Outcome::NoAnswer(why) => Self::NoAnswer(why.clone()),
        }
    }
}

impl From<SavedOutcome> for Outcome {
    fn from(saved: SavedOutcome) -> Self {
        match saved {
            SavedOutcome::Content(entries) => Self::Content(entries.into_iter().map(Entry::from).collect()),
            SavedOutcome::Links(links) => Self::Links(links),
            SavedOutcome::Done => Self::Done,
            SavedOutcome::Refused { code, message } => Self::Refused(code, message),
            SavedOutcome::NoAnswer(why) => Self::NoAnswer(why),
        }
    }
}

impl From<&Entry> for SavedEntry {
    fn from(entry: &Entry) -> Self {
        let value = match &entry.value {
            Value::Text(text) => SavedValue::Text(text.clone()),
            Value::Integer(number) => SavedValue::Integer(*number),
            Value::Unsigned(number) => SavedValue::Unsigned(*number),
            Value::Float(number) => SavedValue::Float(*number),
            Value::Boolean(truth) => SavedValue::Boolean(*truth),
            Value::Opaque(bytes) => SavedValue::Opaque(bytes.clone()),
            Value::Time(seconds) => SavedValue::Time(*seconds),
            Value::ObjectLink(object, instance) => SavedValue::ObjectLink(*object, *instance),
            Value::CoreLink(link) => SavedValue::CoreLink(link.clone()),
        };
        Self { path: entry.path, value }
    }
}

impl From<SavedEntry> for Entry {
    fn from(saved: SavedEntry) -> Self {
        let value = match saved.value {
            SavedValue::Text(text) => Value::Text(text),
            SavedValue::Integer(number) => Value::Integer(number),
            SavedValue::Unsigned(number) => Value::Unsigned(number),
            SavedValue::Float(number) => Value::Float(number),
            SavedValue::Boolean(truth) => Value::Boolean(truth),
            SavedValue::Opaque(bytes) => Value::Opaque(bytes),
            SavedValue::Time(seconds) => Value::Time(seconds),
            SavedValue::ObjectLink(object, instance) => Value::ObjectLink(object, instance),
            SavedValue::CoreLink(link) => Value::CoreLink(link),
        };
        Self { path: saved.path, value }
    }
}
