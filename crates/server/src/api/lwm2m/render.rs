//! What the desk says, as the API's bodies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Number;
use updraft_lwm2m::{Kind, model};
use updraft_wire::operator::lwm2m as wire;

use crate::api::render::time;
use crate::protocols::lwm2m::books::SavedOrder;
use crate::protocols::lwm2m::desk::{Entry, Operation, Outcome, Standing, Value};

/// What the codes of a refusal mean (RFC 7252 §12.1.2, RFC 7959 §6, Transport §6.4.4).
const CODES: [(&str, &str); 13] = [
    ("4.00", "bad request"),
    ("4.01", "unauthorised: this server may not do that"),
    ("4.02", "bad option"),
    ("4.03", "forbidden"),
    ("4.04", "not found: the device has no such thing"),
    ("4.05", "method not allowed: this cannot be done to it"),
    ("4.06", "not acceptable"),
    ("4.08", "request incomplete"),
    ("4.09", "conflict"),
    ("4.13", "request too large"),
    ("4.15", "format not supported"),
    ("5.00", "the device made a mistake"),
    ("5.03", "the device is busy"),
];

pub(super) fn standing(standing: Standing) -> wire::Standing {
    wire::Standing {
        endpoint: standing.endpoint,
        address: standing.address,
        security: standing.security,
        version: standing.version,
        lifetime_s: standing.lifetime_s,
        registered: time(standing.registered),
        heard: time(standing.heard),
        queue_mode: standing.is_queue_mode,
        awake: standing.is_awake,
        objects: standing.objects.iter().map(ToString::to_string).collect(),
        tree: standing.known.into_iter().map(resource).collect(),
        waiting: standing.waiting,
    }
}

fn resource(entry: Entry) -> wire::Resource {
    use serde_json::Value as Json;
    let Entry { path, value } = entry;
    let kind = word(value.kind());
    let value = match value {
        Value::Text(text) | Value::CoreLink(text) => Json::String(text),
        Value::Integer(number) | Value::Time(number) => Json::from(number),
        Value::Unsigned(number) => Json::from(number),
        // JSON has no infinities.
        Value::Float(number) => {
            Number::from_f64(number).map_or_else(|| Json::String(number.to_string()), Json::Number)
        }
        Value::Boolean(truth) => Json::Bool(truth),
        Value::Opaque(bytes) => Json::String(STANDARD.encode(bytes)),
        link @ Value::ObjectLink(..) => Json::String(link.to_string()),
    };
    let name = model::resource(&path).map(|resource| resource.name.to_owned());
    wire::Resource { path: path.to_string(), name, kind: kind.to_owned(), value }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Integer => "integer",
        Kind::Unsigned => "unsigned",
        Kind::Float => "float",
        Kind::Boolean => "boolean",
        Kind::Opaque => "opaque",
        Kind::Time => "time",
        Kind::ObjectLink => "object_link",
        Kind::CoreLink => "core_link",
    }
}

/// What a resource of a type holds, for whoever wrote something else.
pub(super) fn holds(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "a text",
        Kind::Integer => "a whole number of at most 8 bytes",
        Kind::Unsigned => "a whole number from 0 on, of at most 8 bytes",
        Kind::Float => "a number",
        Kind::Boolean => "a truth: 0 or 1",
        Kind::Opaque => "bytes, to be given in base64",
        Kind::Time => "a time, to be given as seconds since 1970",
        Kind::ObjectLink => "an object and an instance of it, such as 3:0",
        Kind::CoreLink => "a link, such as </3/0>",
    }
}

pub(super) fn outcome(outcome: Outcome) -> wire::Outcome {
    match outcome {
        Outcome::Content(entries) => {
            wire::Outcome::Content { tree: entries.into_iter().map(resource).collect() }
        }
        Outcome::Links(links) => wire::Outcome::Links { links },
        Outcome::Done => wire::Outcome::Done,
        Outcome::Refused(code, added) => wire::Outcome::Refused { message: refused(&code, &added), code },
        Outcome::NoAnswer(message) => wire::Outcome::NoAnswer { message },
    }
}

/// What a code means, and what the device added.
fn refused(code: &str, added: &str) -> String {
    let meaning = CODES.iter().find(|(known, _)| *known == code).map(|(_, meaning)| *meaning);
    match (meaning, added) {
        (None, added) => added.to_owned(),
        (Some(meaning), "") => meaning.to_owned(),
        (Some(meaning), added) => format!("{meaning}: {added}"),
    }
}

pub(super) fn order(saved: SavedOrder) -> wire::Order {
    let SavedOrder { order, outcome: came } = saved;
    let (operation, value, arguments) = match order.operation {
        Operation::Read => (wire::Operation::Read, None, None),
        Operation::Observe => (wire::Operation::Observe, None, None),
        Operation::Ignore => (wire::Operation::Ignore, None, None),
        Operation::Discover => (wire::Operation::Discover, None, None),
        Operation::Write(value) => (wire::Operation::Write, Some(value), None),
        Operation::Execute(arguments) => (wire::Operation::Execute, None, arguments),
    };
    wire::Order {
        number: order.number,
        operation,
        path: order.path.to_string(),
        value,
        arguments,
        by: order.by,
        at: time(order.at),
        waits: came.is_none(),
        outcome: came.map(outcome),
    }
}
