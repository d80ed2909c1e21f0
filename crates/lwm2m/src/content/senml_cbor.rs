//! SenML in CBOR (RFC 8428 §6, Core §7.4.6).

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

use super::cbor::{self, Count, TAKES_ALL, Written, malformed};
use super::senml::{self, Label, Record, VERSION};
use super::{FormatError, senml_json};
use crate::path::Path;
use crate::value::{Entry, Value};

/// Reads records. Arrays and maps without a count are read too: small encoders write nothing else.
pub(super) fn decode(body: &[u8]) -> Result<Vec<Record>, FormatError> {
    let mut decoder = Decoder::new(body);
    let mut count = Count::array(&mut decoder)?;
    let mut records = Vec::new();
    while count.more(&mut decoder)? {
        senml::push(&mut records, record(&mut decoder)?)?;
    }
    cbor::end(&decoder)?;
    Ok(records)
}

fn record(decoder: &mut Decoder<'_>) -> Result<Record, FormatError> {
    let mut count = Count::map(decoder)?;
    let mut record = Record::default();
    while count.more(decoder)? {
        let kind = decoder.datatype().map_err(malformed)?;
        let label = if matches!(kind, Type::String | Type::StringIndef) {
            Label::of_text(&cbor::string(decoder)?)?
        } else {
            Label::of_number(decoder.i64().map_err(malformed)?)
        };
        field(&mut record, label, decoder)?;
    }
    Ok(record)
}

fn field(record: &mut Record, label: Label, decoder: &mut Decoder<'_>) -> Result<(), FormatError> {
    match label {
        Label::BaseName => senml::set(&mut record.base_name, cbor::string(decoder)?),
        Label::BaseTime => senml::set(&mut record.base_time, cbor::float(decoder)?),
        Label::Name => senml::set(&mut record.name, cbor::string(decoder)?),
        Label::Time => senml::set(&mut record.time, cbor::float(decoder)?),
        Label::Number => {
            let value = cbor::value(decoder)?;
            let number = value.as_float().is_some();
            if number { record.set_value(value) } else { Err(FormatError::Malformed("a number is none")) }
        }
        Label::Text => record.set_value(Value::Text(cbor::string(decoder)?)),
        Label::Boolean => record.set_value(Value::Boolean(decoder.bool().map_err(malformed)?)),
        Label::Data => record.set_value(Value::Opaque(cbor::bytes(decoder)?)),
        Label::Link => record.set_value(senml_json::link(&cbor::string(decoder)?)?),
        Label::BaseVersion if decoder.u64().map_err(malformed)? <= VERSION => Ok(()),
        Label::BaseVersion | Label::BaseValue => Err(FormatError::Malformed("another SenML")),
        // Units and sums are scalars; a tree in a field of no meaning is not walked.
        Label::Ignored => cbor::value(decoder).map(drop),
    }
}

/// Writes entries, which are sorted and within `base`.
pub(super) fn encode(base: &Path, entries: &[&Entry]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    write(&mut encoder, base, entries).expect(TAKES_ALL);
    encoder.into_writer()
}

fn write(encoder: &mut Encoder<Vec<u8>>, base: &Path, entries: &[&Entry]) -> Written {
    encoder.array(entries.len() as u64)?;
    for (index, entry) in entries.iter().enumerate() {
        let (base_name, name) = senml::written_names(base, index == 0, &entry.path);
        encoder.map(1 + u64::from(base_name.is_some()) + u64::from(name.is_some()))?;
        if let Some(base_name) = base_name {
            encoder.i8(-2)?.str(&base_name)?;
        }
        if let Some(name) = name {
            encoder.u8(0)?.str(&name)?;
        }
        match &entry.value {
            Value::Text(_) | Value::CoreLink(_) => encoder.u8(3)?,
            Value::Integer(_) | Value::Unsigned(_) | Value::Float(_) | Value::Time(_) => encoder.u8(2)?,
            Value::Boolean(_) => encoder.u8(4)?,
            Value::Opaque(_) => encoder.u8(8)?,
            Value::ObjectLink(..) => encoder.str("vlo")?,
        };
        if let Value::Time(time) = entry.value {
            // SenML has no tags.
            encoder.i64(time)?;
        } else {
            cbor::write(encoder, &entry.value)?;
        }
    }
    Ok(())
}

/// Writes records without values.
pub(super) fn encode_paths(paths: &[Path]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    write_paths(&mut encoder, paths).expect(TAKES_ALL);
    encoder.into_writer()
}

fn write_paths(encoder: &mut Encoder<Vec<u8>>, paths: &[Path]) -> Written {
    encoder.array(paths.len() as u64)?;
    for path in paths {
        encoder.map(1)?.u8(0)?.str(&path.to_string())?;
    }
    Ok(())
}
