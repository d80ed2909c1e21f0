//! OMA's TLV: type, length, value; nested, and without types (Core §7.4.4).

use std::str::from_utf8;

use super::{ENTRIES_MAX, FormatError, push, typed};
use crate::model::{self, Instances};
use crate::path::Path;
use crate::value::{Entry, Kind, Value};

/// What a TLV says it is: bits 7 and 6 of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// 00: an object instance, with resources in it.
    ObjectInstance,
    /// 01: a resource instance, with a value.
    ResourceInstance,
    /// 10: a multiple resource, with resource instances in it.
    MultipleResource,
    /// 11: a resource, with a value.
    Resource,
}

impl Level {
    fn of(kind: u8) -> Self {
        match kind >> 6 {
            0b00 => Self::ObjectInstance,
            0b01 => Self::ResourceInstance,
            0b10 => Self::MultipleResource,
            // Two bits: the one that is left.
            _ => Self::Resource,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::ObjectInstance => 0b00 << 6,
            Self::ResourceInstance => 0b01 << 6,
            Self::MultipleResource => 0b10 << 6,
            Self::Resource => 0b11 << 6,
        }
    }

    /// How many ids the path of such a TLV has.
    fn depth(self) -> usize {
        match self {
            Self::ObjectInstance => 2,
            Self::MultipleResource | Self::Resource => 3,
            Self::ResourceInstance => 4,
        }
    }
}

/// One TLV of a body: its level, id, and content.
struct Item<'a> {
    level: Level,
    id: u16,
    content: &'a [u8],
}

/// Takes one TLV off the front of `bytes`.
fn take<'a>(bytes: &mut &'a [u8]) -> Result<Item<'a>, FormatError> {
    const SHORT: FormatError = FormatError::Malformed("a TLV ends early");
    let number = |bytes: &mut &'a [u8], size: usize| -> Result<usize, FormatError> {
        let (head, rest) = bytes.split_at_checked(size).ok_or(SHORT)?;
        *bytes = rest;
        Ok(head.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    let kind = u8::try_from(number(bytes, 1)?).expect("one byte is one byte");
    let id = number(bytes, if kind & 0x20 == 0 { 1 } else { 2 })?;
    let id = u16::try_from(id).expect("two bytes are two bytes");
    let length = match usize::from(kind >> 3 & 0b11) {
        0 => usize::from(kind & 0b111),
        size => number(bytes, size)?,
    };
    let (content, rest) = bytes.split_at_checked(length).ok_or(SHORT)?;
    *bytes = rest;
    Ok(Item { level: Level::of(kind), id, content })
}

/// Reads a body about `base`. Devices differ in where they begin: an answer to `/3/0` has resources, or the instance with
/// resources in it; an answer to `/5/0/8` has the resource, or only its instances. All of them name what `base` names.
pub(super) fn decode(base: &Path, body: &[u8]) -> Result<Vec<Entry>, FormatError> {
    let mut entries = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let item = take(&mut rest)?;
        let container = container(base, item.level)?;
        item_entries(base, &container, &item, &mut entries)?;
    }
    Ok(entries)
}

/// The node that a TLV of this level is in, at the top of a body about `base`.
fn container(base: &Path, level: Level) -> Result<Path, FormatError> {
    let depth = level.depth() - 1;
    let container = base.truncated(depth);
    if container.depth() == depth {
        return Ok(container);
    }
    // Resources in an answer about an object: of its one instance, where it can have but one.
    let only =
        base.object_id().and_then(model::object).filter(|object| object.instances == Instances::Single);
    match (only, depth) {
        (Some(_), 2) => base.child(0).ok_or(FormatError::Outside(*base)),
        _ => Err(FormatError::Outside(*base)),
    }
}

fn item_entries(
    base: &Path,
    container: &Path,
    item: &Item<'_>,
    entries: &mut Vec<Entry>,
) -> Result<(), FormatError> {
    let path = container.child(item.id).ok_or(FormatError::Malformed("65535 is no id"))?;
    if path.depth() != item.level.depth() {
        return Err(FormatError::Malformed("a TLV is in one that it cannot be in"));
    }
    if !base.contains(&path) && !path.contains(base) {
        return Err(FormatError::Outside(path));
    }
    match item.level {
        Level::Resource | Level::ResourceInstance if !base.contains(&path) => Err(FormatError::Outside(path)),
        Level::Resource | Level::ResourceInstance => push(entries, leaf(path, item.content)?),
        // Three levels at most: an instance is never in an instance, by the check of depth above.
        Level::ObjectInstance | Level::MultipleResource => {
            let mut rest = item.content;
            while !rest.is_empty() {
                let inner = take(&mut rest)?;
                item_entries(base, &path, &inner, entries)?;
            }
            Ok(())
        }
    }
}

/// The value of a leaf, by the type of its resource; bytes, where that is unknown (Core appendix C).
fn leaf(path: Path, content: &[u8]) -> Result<Entry, FormatError> {
    let wrong = FormatError::Type(path);
    let value = match model::kind(&path).unwrap_or(Kind::Opaque) {
        Kind::Text | Kind::CoreLink => {
            let text = from_utf8(content).map_err(|_| FormatError::Malformed("a text is not UTF-8"))?;
            Value::Text(text.to_owned())
        }
        Kind::Integer | Kind::Time => Value::Integer(signed(content).ok_or(wrong)?),
        Kind::Unsigned => Value::Unsigned(unsigned(content).ok_or(wrong)?),
        Kind::Float => Value::Float(float(content).ok_or(wrong)?),
        Kind::Boolean => match content {
            [0] => Value::Boolean(false),
            [1] => Value::Boolean(true),
            _ => return Err(wrong),
        },
        Kind::Opaque => Value::Opaque(content.to_vec()),
        Kind::ObjectLink => match *content {
            [a, b, c, d] => Value::ObjectLink(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            _ => return Err(wrong),
        },
    };
    typed::typed(path, value)
}

fn signed(content: &[u8]) -> Option<i64> {
    match *content {
        [a] => Some(i64::from(i8::from_be_bytes([a]))),
        [a, b] => Some(i64::from(i16::from_be_bytes([a, b]))),
        [a, b, c, d] => Some(i64::from(i32::from_be_bytes([a, b, c, d]))),
        _ => content.try_into().ok().map(i64::from_be_bytes),
    }
}

fn unsigned(content: &[u8]) -> Option<u64> {
    let known = matches!(content.len(), 1 | 2 | 4 | 8);
    known.then(|| content.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn float(content: &[u8]) -> Option<f64> {
    match *content {
        [a, b, c, d] => Some(f64::from(f32::from_be_bytes([a, b, c, d]))),
        _ => content.try_into().ok().map(f64::from_be_bytes),
    }
}

/// Writes entries, which are sorted and within `base`.
pub(super) fn encode(base: &Path, entries: &[&Entry]) -> Result<Vec<u8>, FormatError> {
    debug_assert!(entries.len() <= ENTRIES_MAX);
    let mut body = Vec::new();
    match base.depth() {
        0 => return Err(FormatError::Outside(*base)),
        1 => {
            for instance in entries.chunk_by(|one, other| one.path.instance_id() == other.path.instance_id())
            {
                let mut content = Vec::new();
                write_resources(&mut content, instance);
                write(&mut body, Level::ObjectInstance, instance[0].path.instance_id(), &content);
            }
        }
        2 | 3 => write_resources(&mut body, entries),
        _ => write_leaves(&mut body, entries),
    }
    Ok(body)
}

fn write_resources(body: &mut Vec<u8>, entries: &[&Entry]) {
    for resource in entries.chunk_by(|one, other| one.path.resource_id() == other.path.resource_id()) {
        if resource[0].path.depth() == Level::Resource.depth() {
            write_leaves(body, resource);
        } else {
            let mut content = Vec::new();
            write_leaves(&mut content, resource);
            write(body, Level::MultipleResource, resource[0].path.resource_id(), &content);
        }
    }
}

fn write_leaves(body: &mut Vec<u8>, entries: &[&Entry]) {
    for entry in entries {
        let content = content(&entry.value);
        match entry.path.resource_instance_id() {
            None => write(body, Level::Resource, entry.path.resource_id(), &content),
            id => write(body, Level::ResourceInstance, id, &content),
        }
    }
}

fn write(body: &mut Vec<u8>, level: Level, id: Option<u16>, content: &[u8]) {
    let id = id.expect("a leaf within the base has each id down to itself").to_be_bytes();
    let id = if id[0] == 0 { &id[1..] } else { &id[..] };
    let long_id = if id.len() == 2 { 0x20 } else { 0 };
    let length = content.len().to_be_bytes();
    let length = match content.len() {
        0..=7 => &[][..],
        8..=0xff => &length[length.len() - 1..],
        0x100..=0xffff => &length[length.len() - 2..],
        _ => &length[length.len() - 3..],
    };
    let inline = if length.is_empty() { content.len() } else { length.len() << 3 };
    body.push(level.bits() | long_id | u8::try_from(inline).expect("at most 24"));
    body.extend_from_slice(id);
    body.extend_from_slice(length);
    body.extend_from_slice(content);
}

/// The bytes of a value. A number takes the fewest of 1, 2, 4 or 8 bytes that read the same signed and unsigned: versions
/// of an object differ in which it is.
fn content(value: &Value) -> Vec<u8> {
    match value {
        Value::Text(text) | Value::CoreLink(text) => text.as_bytes().to_vec(),
        Value::Integer(number) | Value::Time(number) => integer(*number),
        Value::Unsigned(number) => {
            i64::try_from(*number).map_or_else(|_| number.to_be_bytes().to_vec(), integer)
        }
        Value::Float(number) => float_bytes(*number),
        Value::Boolean(truth) => vec![u8::from(*truth)],
        Value::Opaque(bytes) => bytes.clone(),
        Value::ObjectLink(object, instance) => [object.to_be_bytes(), instance.to_be_bytes()].concat(),
    }
}

fn integer(number: i64) -> Vec<u8> {
    if let Ok(number) = i8::try_from(number) {
        number.to_be_bytes().to_vec()
    } else if let Ok(number) = i16::try_from(number) {
        number.to_be_bytes().to_vec()
    } else if let Ok(number) = i32::try_from(number) {
        number.to_be_bytes().to_vec()
    } else {
        number.to_be_bytes().to_vec()
    }
}

/// Four bytes, where they hold the float exactly.
#[expect(clippy::cast_possible_truncation, reason = "what is lost is seen on the way back")]
fn float_bytes(number: f64) -> Vec<u8> {
    let short = number as f32;
    if f64::from(short) == number { short.to_be_bytes().to_vec() } else { number.to_be_bytes().to_vec() }
}
