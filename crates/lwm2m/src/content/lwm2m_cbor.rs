//! LwM2M CBOR (1.2): maps in maps, whose keys are ids or arrays of ids, and whose leaves are values.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

use super::cbor::{self, Count, TAKES_ALL, Written, malformed};
use super::{FormatError, check_place, push, typed};
use crate::path::Path;
use crate::value::Entry;

/// Reads a body about `base`; its keys begin at the root.
pub(super) fn decode(base: &Path, body: &[u8]) -> Result<Vec<Entry>, FormatError> {
    let mut decoder = Decoder::new(body);
    let mut entries = Vec::new();
    level(&mut decoder, base, Path::ROOT, &mut entries)?;
    cbor::end(&decoder)?;
    Ok(entries)
}

/// Each level adds at least one id to the path, so there are at most four.
fn level(
    decoder: &mut Decoder<'_>,
    base: &Path,
    parent: Path,
    entries: &mut Vec<Entry>,
) -> Result<(), FormatError> {
    let mut count = Count::map(decoder)?;
    while count.more(decoder)? {
        let path = key(decoder, parent)?;
        if matches!(decoder.datatype().map_err(malformed)?, Type::Map | Type::MapIndef) {
            level(decoder, base, path, entries)?;
        } else {
            check_place(base, &path)?;
            push(entries, typed::typed(path, cbor::value(decoder)?)?)?;
        }
    }
    Ok(())
}

/// A key: one id, or an array of some.
fn key(decoder: &mut Decoder<'_>, parent: Path) -> Result<Path, FormatError> {
    const DEEP: FormatError = FormatError::Malformed("a key is no id, or one too many");
    if !matches!(decoder.datatype().map_err(malformed)?, Type::Array | Type::ArrayIndef) {
        return parent.child(decoder.u16().map_err(malformed)?).ok_or(DEEP);
    }
    let mut count = Count::array(decoder)?;
    let mut path = parent;
    while count.more(decoder)? {
        path = path.child(decoder.u16().map_err(malformed)?).ok_or(DEEP)?;
    }
    if path == parent { Err(FormatError::Malformed("a key is empty")) } else { Ok(path) }
}

/// Writes entries, which are sorted and within `base`: the ids of the base as one key, then maps in maps.
pub(super) fn encode(base: &Path, entries: &[&Entry]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    write(&mut encoder, base, entries).expect(TAKES_ALL);
    encoder.into_writer()
}

fn write(encoder: &mut Encoder<Vec<u8>>, base: &Path, entries: &[&Entry]) -> Written {
    if entries.is_empty() {
        encoder.map(0)?;
        return Ok(());
    }
    let depth = base.depth();
    if depth == 0 {
        return write_level(encoder, 0, entries);
    }
    encoder.map(1)?.array(depth as u64)?;
    for id in base.ids() {
        encoder.u16(id)?;
    }
    write_node(encoder, depth, entries)
}

/// What is at a node of this depth: its value, where it is a leaf, or a map of what is in it.
fn write_node(encoder: &mut Encoder<Vec<u8>>, depth: usize, entries: &[&Entry]) -> Written {
    match entries {
        [leaf] if leaf.path.depth() == depth => cbor::write(encoder, &leaf.value),
        _ => write_level(encoder, depth, entries),
    }
}

fn write_level(encoder: &mut Encoder<Vec<u8>>, depth: usize, entries: &[&Entry]) -> Written {
    let id = |entry: &&Entry| entry.path.ids().nth(depth);
    let nodes = || entries.chunk_by(|one, other| id(one) == id(other));
    encoder.map(nodes().count() as u64)?;
    for node in nodes() {
        encoder.u16(id(&node[0]).expect("no leaf is in another, so each goes on"))?;
        write_node(encoder, depth + 1, node)?;
    }
    Ok(())
}
