//! CBOR (RFC 8949): what the three formats in it have in common, and the format of one value (Core §7.4.3).
//!
//! Deliberately absent: unbounded nesting. A value is a scalar; what the formats nest, they count themselves.

use std::convert::Infallible;

use minicbor::data::{IanaTag, Type};
use minicbor::decode::Error;
use minicbor::encode::Error as WriteError;
use minicbor::{Decoder, Encoder};

use super::{FormatError, text, typed};
use crate::path::Path;
use crate::value::{Entry, Value};

/// What writing into a vector answers.
pub(super) type Written = Result<(), WriteError<Infallible>>;

/// The reason why [`Written`] is no error.
pub(super) const TAKES_ALL: &str = "a vector takes all that is written to it";

/// Any complaint of the decoder.
pub(super) fn malformed(_error: Error) -> FormatError {
    FormatError::Malformed("the CBOR is malformed")
}

/// The count that an array or a map declares; refused where there are fewer bytes than items, before anything is reserved.
pub(super) struct Count(Option<u64>);

impl Count {
    /// Begins an array.
    pub(super) fn array(decoder: &mut Decoder<'_>) -> Result<Self, FormatError> {
        let count = decoder.array().map_err(malformed)?;
        Self::checked(count, decoder)
    }

    /// Begins a map.
    pub(super) fn map(decoder: &mut Decoder<'_>) -> Result<Self, FormatError> {
        let count = decoder.map().map_err(malformed)?;
        Self::checked(count, decoder)
    }

    fn checked(count: Option<u64>, decoder: &Decoder<'_>) -> Result<Self, FormatError> {
        let left = (decoder.input().len() - decoder.position()) as u64;
        if count.is_some_and(|count| count > left) {
            return Err(FormatError::Malformed("the CBOR declares more than there is"));
        }
        Ok(Self(count))
    }

    /// Whether there is one more; takes the end of what had no count.
    pub(super) fn more(&mut self, decoder: &mut Decoder<'_>) -> Result<bool, FormatError> {
        match &mut self.0 {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if decoder.datatype().map_err(malformed)? == Type::Break => {
                decoder.set_position(decoder.position() + 1);
                Ok(false)
            }
            None => Ok(true),
        }
    }
}

/// Nothing may follow.
pub(super) fn end(decoder: &Decoder<'_>) -> Result<(), FormatError> {
    let ended = decoder.position() == decoder.input().len();
    if ended { Ok(()) } else { Err(FormatError::Malformed("something follows the CBOR")) }
}

/// Reads a scalar.
pub(super) fn value(decoder: &mut Decoder<'_>) -> Result<Value, FormatError> {
    match decoder.datatype().map_err(malformed)? {
        Type::Bool => decoder.bool().map(Value::Boolean).map_err(malformed),
        Type::String | Type::StringIndef => string(decoder).map(Value::Text),
        Type::Bytes | Type::BytesIndef => bytes(decoder).map(Value::Opaque),
        Type::Tag => tagged(decoder),
        Type::U8
        | Type::U16
        | Type::U32
        | Type::U64
        | Type::I8
        | Type::I16
        | Type::I32
        | Type::I64
        | Type::Int
        | Type::F16
        | Type::F32
        | Type::F64 => number(decoder),
        Type::Null
        | Type::Undefined
        | Type::Simple
        | Type::Array
        | Type::ArrayIndef
        | Type::Map
        | Type::MapIndef
        | Type::Break
        | Type::Unknown(_) => Err(FormatError::Malformed("the CBOR has no value where one must be")),
    }
}

/// Reads a number.
pub(super) fn number(decoder: &mut Decoder<'_>) -> Result<Value, FormatError> {
    let kind = decoder.datatype().map_err(malformed)?;
    if kind == Type::F16 {
        return half(decoder).map(Value::Float);
    }
    if matches!(kind, Type::F32 | Type::F64) {
        return decoder.f64().map(Value::Float).map_err(malformed);
    }
    if matches!(kind, Type::U8 | Type::U16 | Type::U32 | Type::U64) {
        let number = decoder.u64().map_err(malformed)?;
        return Ok(i64::try_from(number).map_or(Value::Unsigned(number), Value::Integer));
    }
    // Below what 64 bits hold is an error of the decoder.
    decoder.i64().map(Value::Integer).map_err(malformed)
}

/// Reads a number as a float: the times of SenML.
pub(super) fn float(decoder: &mut Decoder<'_>) -> Result<f64, FormatError> {
    value(decoder)?.as_float().ok_or(FormatError::Malformed("a time is a number"))
}

/// A float of 16 bits, which canonical writers choose for 0.5 (RFC 8949 appendix D).
fn half(decoder: &mut Decoder<'_>) -> Result<f64, FormatError> {
    let at = decoder.position() + 1;
    let bytes = decoder.input().get(at..at + 2).ok_or(FormatError::Malformed("the CBOR ends early"))?;
    let bits = u16::from_be_bytes([bytes[0], bytes[1]]);
    decoder.set_position(at + 2);
    let mantissa = f64::from(bits & 0x3ff);
    let size = match i32::from(bits >> 10 & 0x1f) {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (mantissa + 1024.0) * 2f64.powi(exponent - 25),
    };
    Ok(if bits & 0x8000 == 0 { size } else { -size })
}

/// Reads a text, in one piece or in chunks.
pub(super) fn string(decoder: &mut Decoder<'_>) -> Result<String, FormatError> {
    let mut whole = String::new();
    for chunk in decoder.str_iter().map_err(malformed)? {
        whole.push_str(chunk.map_err(malformed)?);
    }
    Ok(whole)
}

/// Reads bytes, in one piece or in chunks.
pub(super) fn bytes(decoder: &mut Decoder<'_>) -> Result<Vec<u8>, FormatError> {
    let mut whole = Vec::new();
    for chunk in decoder.bytes_iter().map_err(malformed)? {
        whole.extend_from_slice(chunk.map_err(malformed)?);
    }
    Ok(whole)
}

/// Tag 1 is a time since 1970, tag 4 a decimal fraction: the two that devices write (RFC 8949 §3.4).
fn tagged(decoder: &mut Decoder<'_>) -> Result<Value, FormatError> {
    let tag = decoder.tag().map_err(malformed)?;
    if tag == IanaTag::Timestamp.tag() {
        return number(decoder);
    }
    if tag != IanaTag::Decimal.tag() || decoder.array().map_err(malformed)? != Some(2) {
        return Err(FormatError::Malformed("the CBOR has a tag that values have not"));
    }
    let exponent = decoder.i16().map_err(malformed)?;
    let mantissa = decoder.i64().map_err(malformed)?;
    let number = format!("{mantissa}e{exponent}").parse().map_err(|_| FormatError::Malformed("no number"))?;
    Ok(Value::Float(number))
}

/// Reads the one resource of a body.
pub(super) fn decode(base: &Path, body: &[u8]) -> Result<Entry, FormatError> {
    text::check_resource(base)?;
    let mut decoder = Decoder::new(body);
    let value = value(&mut decoder)?;
    end(&decoder)?;
    typed::typed(*base, value)
}

/// Writes one resource.
pub(super) fn encode(entry: &Entry) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    write(&mut encoder, &entry.value).expect(TAKES_ALL);
    encoder.into_writer()
}

/// Writes a value: a time with its tag (Core §7.4.3), a float in four bytes where they hold it exactly.
#[expect(clippy::cast_possible_truncation, reason = "what is lost is seen on the way back")]
pub(super) fn write(encoder: &mut Encoder<Vec<u8>>, value: &Value) -> Written {
    match value {
        Value::Text(text) | Value::CoreLink(text) => encoder.str(text)?,
        Value::Integer(number) => encoder.i64(*number)?,
        Value::Time(number) => encoder.tag(IanaTag::Timestamp)?.i64(*number)?,
        Value::Unsigned(number) => encoder.u64(*number)?,
        Value::Float(number) if f64::from(*number as f32) == *number => encoder.f32(*number as f32)?,
        Value::Float(number) => encoder.f64(*number)?,
        Value::Boolean(truth) => encoder.bool(*truth)?,
        Value::Opaque(bytes) => encoder.bytes(bytes)?,
        Value::ObjectLink(..) => encoder.str(&value.to_string())?,
    };
    Ok(())
}
