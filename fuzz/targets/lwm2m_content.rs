//! Any body in any format of LwM2M: what is read lies within what the body is about, has no leaf twice, and means the same
//! when it is written again.
//!
//! The first byte chooses the format, the second what the body is about.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_lwm2m::content::{self, ContentFormat, ENTRIES_MAX, FormatError};
use updraft_lwm2m::{Path, Value};

const FORMATS: [u16; 9] = [0, 42, 60, 110, 112, 1542, 11542, 11543, 11544];

const BASES: [Path; 8] = [
    Path::ROOT,
    Path::object(5),
    Path::instance(3, 0),
    Path::instance(0, 1),
    Path::resource(5, 0, 3),
    Path::resource(3, 0, 13),
    Path::resource_instance(5, 0, 8, 0),
    Path::instance(33629, 0),
];

fuzz_target!(|input: &[u8]| {
    let [format, base, body @ ..] = input else { return };
    let format = ContentFormat(FORMATS[usize::from(*format) % FORMATS.len()]);
    let base = BASES[usize::from(*base) % BASES.len()];
    let _ = content::decode_paths(format, body);
    let Ok(entries) = content::decode(format, &base, body) else { return };
    assert!(entries.len() <= ENTRIES_MAX);
    assert!(entries.windows(2).all(|two| two[0].path < two[1].path && !two[0].path.contains(&two[1].path)));
    assert!(entries.iter().all(|entry| base.contains(&entry.path) && entry.path.depth() >= 3));
    assert!(!entries.iter().any(|entry| matches!(entry.value, Value::Float(float) if !float.is_finite())));
    match content::encode(ContentFormat::SENML_CBOR, &base, &entries) {
        Ok(again) => assert_eq!(content::decode(ContentFormat::SENML_CBOR, &base, &again), Ok(entries)),
        Err(error) => assert_eq!(error, FormatError::TooBig),
    }
});
