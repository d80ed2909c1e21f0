//! Any list of links, as a registration and as an answer to Discover, and any queries of a Register: what is read means the
//! same when it is written again.
//!
//! The input is queries, one a line, then an empty line, then the list.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_lwm2m::link::{self, BODY_BYTES_MAX, LINKS_MAX, Objects};
use updraft_lwm2m::registration::{ENDPOINT_BYTES_MAX, QUERIES_MAX, Registration, Update};

fuzz_target!(|input: &[u8]| {
    let cut = input.windows(2).position(|two| two == b"\n\n");
    let (queries, list) = cut.map_or((&b""[..], input), |cut| (&input[..cut], &input[cut + 2..]));
    let queries = std::str::from_utf8(queries).unwrap_or_default();
    let queries: Vec<&str> = queries.lines().collect();
    let _ = Update::parse(&queries, list);

    if let Ok(objects) = Objects::parse(list) {
        assert!(objects.paths().len() <= LINKS_MAX && objects.paths().is_sorted());
        let written = objects.write();
        if written.len() <= BODY_BYTES_MAX {
            let again = Objects::parse(written.as_bytes()).expect("what was written is a list");
            assert_eq!(again.write(), written);
            assert!(objects.paths().iter().all(|path| again.paths().contains(path)));
        }
    }
    if let Ok(nodes) = link::parse_discovered(list, None) {
        let written = link::write_discovered(&nodes);
        if written.len() <= BODY_BYTES_MAX {
            assert_eq!(link::parse_discovered(written.as_bytes(), None), Ok(nodes));
        }
    }
    if let Ok(registration) = Registration::parse(&queries, None, b"") {
        assert!((1..=ENDPOINT_BYTES_MAX).contains(&registration.endpoint.len()));
        let written = registration.queries();
        let written: Vec<&str> = written.iter().map(String::as_str).collect();
        if written.len() <= QUERIES_MAX {
            assert_eq!(Registration::parse(&written, None, b""), Ok(registration));
        }
    }
});
