//! From what a format says (a number, a text, bytes) to the type of the resource, by the model.
//!
//! Deliberately absent: tolerance. A value of the wrong type is refused here, so that no later code meets a text where the
//! registry has a number.

use super::FormatError;
use crate::model;
use crate::path::Path;
use crate::value::{Entry, Kind, Value};

/// The value of `path` in the type its resource has; as it came, where the resource is unknown.
///
/// Numbers become one another where nothing is lost, a time loses its fraction (Core §7.4.5 has times as floats), and an
/// object link may come as text.
pub(super) fn typed(path: Path, value: Value) -> Result<Entry, FormatError> {
    let value = match model::kind(&path) {
        None => plain(value),
        Some(kind) => in_kind(kind, value, path)?,
    };
    let entry = Entry { path, value };
    check_writable(&entry)?;
    Ok(entry)
}

/// Refuses a float that is not finite: no format has a word for it that every peer reads.
pub(super) fn check_writable(entry: &Entry) -> Result<(), FormatError> {
    match entry.value {
        Value::Float(number) if !number.is_finite() => Err(FormatError::Range(entry.path)),
        Value::Text(_)
        | Value::Integer(_)
        | Value::Unsigned(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Opaque(_)
        | Value::Time(_)
        | Value::ObjectLink(..)
        | Value::CoreLink(_) => Ok(()),
    }
}

/// One spelling of a whole number: signed, where it fits.
fn plain(value: Value) -> Value {
    if let Value::Unsigned(number) = value
        && let Ok(number) = i64::try_from(number)
    {
        return Value::Integer(number);
    }
    value
}

fn in_kind(kind: Kind, value: Value, path: Path) -> Result<Value, FormatError> {
    let number = value.as_float().is_some();
    let lost = if number { FormatError::Range(path) } else { FormatError::Type(path) };
    let fits = match (kind, value) {
        (Kind::Text, Value::Text(text)) => Some(Value::Text(text)),
        (Kind::CoreLink, Value::Text(text) | Value::CoreLink(text)) => Some(Value::CoreLink(text)),
        (Kind::Boolean, Value::Boolean(truth)) => Some(Value::Boolean(truth)),
        (Kind::Opaque, Value::Opaque(bytes)) => Some(Value::Opaque(bytes)),
        (Kind::ObjectLink, Value::ObjectLink(object, instance)) => Some(Value::ObjectLink(object, instance)),
        (Kind::ObjectLink, Value::Text(text)) => object_link(&text),
        (Kind::Integer, value) => value.as_integer().map(Value::Integer),
        (Kind::Unsigned, Value::Unsigned(number)) => Some(Value::Unsigned(number)),
        (Kind::Unsigned, value) => {
            value.as_integer().and_then(|number| u64::try_from(number).ok()).map(Value::Unsigned)
        }
        (Kind::Float, value) => value.as_float().map(Value::Float),
        (Kind::Time, Value::Float(number)) => Value::Float(number.floor()).as_integer().map(Value::Time),
        (Kind::Time, value) => value.as_integer().map(Value::Time),
        (Kind::Text | Kind::CoreLink | Kind::Boolean | Kind::Opaque | Kind::ObjectLink, _) => {
            return Err(FormatError::Type(path));
        }
    };
    fits.ok_or(lost)
}

/// An object link as text formats have it: `3:0` (Core appendix C).
pub(super) fn object_link(text: &str) -> Option<Value> {
    let (object, instance) = text.split_once(':')?;
    let id = |text: &str| -> Option<u16> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits)
    };
    Some(Value::ObjectLink(id(object)?, id(instance)?))
}
