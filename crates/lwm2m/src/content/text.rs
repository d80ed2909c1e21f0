//! Plain text and opaque: one resource, as it is (Core §7.4.1, §7.4.2, appendix C).

use std::str::from_utf8;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::{FormatError, typed};
use crate::model;
use crate::path::Path;
use crate::value::{Entry, Kind, Value};

/// Reads the one resource of a text, by its type; as text, where that is unknown.
pub(super) fn decode(base: &Path, body: &[u8]) -> Result<Entry, FormatError> {
    check_resource(base)?;
    let text = from_utf8(body).map_err(|_| FormatError::Malformed("the text is not UTF-8"))?;
    let kind = model::kind(base).unwrap_or(Kind::Text);
    let value = parse(kind, text, *base)?;
    typed::typed(*base, value)
}

fn parse(kind: Kind, text: &str, path: Path) -> Result<Value, FormatError> {
    let wrong = FormatError::Type(path);
    match kind {
        Kind::Text | Kind::CoreLink => Ok(Value::Text(text.to_owned())),
        Kind::Integer | Kind::Time => integer(text, path).map(Value::Integer),
        Kind::Unsigned if number(text) => {
            text.parse().map(Value::Unsigned).map_err(|_| FormatError::Range(path))
        }
        // Rust reads "inf" and "nan", which the text format does not have.
        Kind::Float if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) => {
            text.parse().map(Value::Float).map_err(|_| wrong)
        }
        Kind::Unsigned | Kind::Float => Err(wrong),
        Kind::Boolean => match text {
            "0" => Ok(Value::Boolean(false)),
            "1" => Ok(Value::Boolean(true)),
            _ => Err(wrong),
        },
        Kind::Opaque => unarmour(text).map(Value::Opaque).ok_or(wrong),
        Kind::ObjectLink => typed::object_link(text).ok_or(wrong),
    }
}

fn integer(text: &str, path: Path) -> Result<i64, FormatError> {
    if !number(text.strip_prefix('-').unwrap_or(text)) {
        return Err(FormatError::Type(path));
    }
    text.parse().map_err(|_| FormatError::Range(path))
}

fn number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Bytes from base64; devices leave the padding out at times.
fn unarmour(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()
}

/// Writes one resource as text.
pub(super) fn encode(entry: &Entry) -> Result<Vec<u8>, FormatError> {
    let text = match &entry.value {
        Value::Boolean(truth) => u8::from(*truth).to_string(),
        Value::Opaque(bytes) => STANDARD.encode(bytes),
        Value::Text(_)
        | Value::Integer(_)
        | Value::Unsigned(_)
        | Value::Float(_)
        | Value::Time(_)
        | Value::ObjectLink(..)
        | Value::CoreLink(_) => entry.value.to_string(),
    };
    Ok(text.into_bytes())
}

/// Reads the one opaque resource of a body; an unknown one is opaque too.
pub(super) fn decode_opaque(base: &Path, body: &[u8]) -> Result<Entry, FormatError> {
    check_resource(base)?;
    typed::typed(*base, Value::Opaque(body.to_vec()))
}

/// Writes one opaque resource.
pub(super) fn encode_opaque(entry: &Entry) -> Result<Vec<u8>, FormatError> {
    entry.value.as_opaque().map(<[u8]>::to_vec).ok_or(FormatError::Type(entry.path))
}

/// Formats of one value are about a resource or one instance of it.
pub(super) fn check_resource(base: &Path) -> Result<(), FormatError> {
    if base.depth() >= 3 { Ok(()) } else { Err(FormatError::Single) }
}
