//! Reading requests: size, encoding, JSON, then what each must say, so that each mistake has its own reason.

use super::{CLIENT_TOKEN_BYTES_MAX, REQUEST_BYTES_MAX, Reason};
use serde_json::{Map, Value};
use updraft_core::shadow::Update;

/// Reads a request's object, after its size and its encoding.
fn read_object(payload: &[u8]) -> Result<Map<String, Value>, Reason> {
    if payload.len() > REQUEST_BYTES_MAX {
        return Err(Reason::TooLarge);
    }
    let text = std::str::from_utf8(payload).map_err(|_| Reason::NotUtf8)?;
    serde_json::from_str(text).map_err(|error| {
        // The reader stops at 128 levels, with a syntax error of these words.
        let is_deep = error.to_string().starts_with("recursion limit exceeded");
        if is_deep { Reason::TooDeep } else { Reason::InvalidJson }
    })
}

fn read_token(request: &mut Map<String, Value>) -> Result<Option<String>, Reason> {
    match request.remove("clientToken") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) if token.len() <= CLIENT_TOKEN_BYTES_MAX => Ok(Some(token)),
        Some(Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(Reason::InvalidClientToken)
        }
    }
}

/// A get says nothing, or an object with a client token.
pub(super) fn get(payload: &[u8], token: &mut Option<String>) -> Result<(), Reason> {
    if !payload.trim_ascii().is_empty() {
        *token = read_token(&mut read_object(payload)?)?;
    }
    Ok(())
}

/// What a delete says is ignored, but for a client token if there happens to be one.
pub(super) fn delete(payload: &[u8]) -> Option<String> {
    read_object(payload).and_then(|mut request| read_token(&mut request)).ok().flatten()
}

pub(super) fn update(payload: &[u8], token: &mut Option<String>) -> Result<Update, Reason> {
    let mut request = read_object(payload)?;
    *token = read_token(&mut request)?;
    let mut state = match request.remove("state") {
        None => return Err(Reason::MissingState),
        Some(Value::Object(state)) => state,
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            return Err(Reason::StateNotAnObject);
        }
    };
    let version = read_version(request.remove("version"))?;
    let (desired, reported) = (state.remove("desired"), state.remove("reported"));
    if let Some((name, _)) = state.into_iter().next() {
        return Err(Reason::InvalidNode(name));
    }
    Ok(Update::new(desired, reported, version)?)
}

/// A whole number, or the text of one, as some clients send it.
fn read_version(version: Option<Value>) -> Result<Option<u64>, Reason> {
    let number = match version {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
    };
    number.map(Some).ok_or(Reason::InvalidVersion)
}
