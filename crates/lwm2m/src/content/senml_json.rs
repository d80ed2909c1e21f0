//! SenML in JSON (RFC 8428 §5, Core §7.4.5).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json, json};

use super::senml::{self, Label, Record, VERSION};
use super::{ENTRIES_MAX, FormatError, typed};
use crate::path::Path;
use crate::value::{Entry, Value};

/// Reads records, one by one into their final place: nothing is kept of what is not understood.
pub(super) fn decode(body: &[u8]) -> Result<Vec<Record>, FormatError> {
    let mut records = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(body);
    let outcome = Pack(&mut records).deserialize(&mut json).and_then(|()| json.end());
    if records.len() > ENTRIES_MAX {
        return Err(FormatError::TooMany);
    }
    outcome.map_err(|_| FormatError::Malformed("the JSON is none of SenML"))?;
    Ok(records)
}

/// The array of records.
struct Pack<'a>(&'a mut Vec<Record>);

impl<'de> DeserializeSeed<'de> for Pack<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Pack<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of SenML records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while let Some(record) = sequence.next_element_seed(One)? {
            self.0.push(record);
            if self.0.len() > ENTRIES_MAX {
                return Err(A::Error::custom("too many records"));
            }
        }
        Ok(())
    }
}

/// A record.
struct One;

impl<'de> DeserializeSeed<'de> for One {
    type Value = Record;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Record, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for One {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a SenML record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
        let mut record = Record::default();
        while let Some(label) = map.next_key::<String>()? {
            let label = Label::of_text(&label).map_err(A::Error::custom)?;
            let outcome = match label {
                Label::BaseName => senml::set(&mut record.base_name, map.next_value()?),
                Label::BaseTime => senml::set(&mut record.base_time, map.next_value()?),
                Label::Name => senml::set(&mut record.name, map.next_value()?),
                Label::Time => senml::set(&mut record.time, map.next_value()?),
                Label::Number => number(&map.next_value()?).and_then(|value| record.set_value(value)),
                Label::Text => record.set_value(Value::Text(map.next_value()?)),
                Label::Boolean => record.set_value(Value::Boolean(map.next_value()?)),
                Label::Data => {
                    unarmour(&map.next_value::<String>()?).and_then(|value| record.set_value(value))
                }
                Label::Link => link(&map.next_value::<String>()?).and_then(|value| record.set_value(value)),
                Label::BaseVersion if map.next_value::<u64>()? <= VERSION => Ok(()),
                Label::BaseVersion | Label::BaseValue => Err(FormatError::Malformed("another SenML")),
                Label::Ignored => map.next_value::<IgnoredAny>().map(|_| Ok(()))?,
            };
            outcome.map_err(A::Error::custom)?;
        }
        Ok(record)
    }
}

/// A number of JSON: whole where it is written so, and fits.
pub(super) fn number(number: &Number) -> Result<Value, FormatError> {
    let whole = number.as_i64().map(Value::Integer).or_else(|| number.as_u64().map(Value::Unsigned));
    whole.or_else(|| number.as_f64().map(Value::Float)).ok_or(FormatError::Malformed("a number is too large"))
}

/// Data is base64url without padding (RFC 8428 §5); devices write each of the four kinds.
pub(super) fn unarmour(text: &str) -> Result<Value, FormatError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text))
        .or_else(|_| URL_SAFE.decode(text))
        .or_else(|_| STANDARD.decode(text));
    bytes.map(Value::Opaque).map_err(|_| FormatError::Malformed("data is not base64"))
}

/// An object link is text (Core §7.4.5).
pub(super) fn link(text: &str) -> Result<Value, FormatError> {
    typed::object_link(text).ok_or(FormatError::Malformed("an object link is two numbers"))
}

/// Writes entries, which are sorted and within `base`.
pub(super) fn encode(base: &Path, entries: &[&Entry]) -> Vec<u8> {
    let records = entries.iter().enumerate().map(|(index, entry)| {
        let (base_name, name) = senml::written_names(base, index == 0, &entry.path);
        let mut record = Map::new();
        let names = [("bn", base_name), ("n", name)];
        record.extend(
            names.into_iter().filter_map(|(label, name)| Some((label.to_owned(), Json::String(name?)))),
        );
        let (label, value) = value(&entry.value);
        record.insert(label.to_owned(), value);
        Json::Object(record)
    });
    bytes(&records.collect())
}

fn value(value: &Value) -> (&'static str, Json) {
    match value {
        Value::Text(text) | Value::CoreLink(text) => ("vs", json!(text)),
        Value::Integer(number) | Value::Time(number) => ("v", json!(number)),
        Value::Unsigned(number) => ("v", json!(number)),
        Value::Float(number) => ("v", json!(number)),
        Value::Boolean(truth) => ("vb", json!(truth)),
        Value::Opaque(bytes) => ("vd", json!(URL_SAFE_NO_PAD.encode(bytes))),
        Value::ObjectLink(..) => ("vlo", json!(value.to_string())),
    }
}

/// Writes records without values.
pub(super) fn encode_paths(paths: &[Path]) -> Vec<u8> {
    bytes(&paths.iter().map(|path| json!({ "n": path.to_string() })).collect())
}

fn bytes(records: &Json) -> Vec<u8> {
    serde_json::to_vec(records).expect("keys are text, and each number is finite")
}
