//! The rules of the tree that no compiler holds: who may depend on whom, how long a file may be.
//!
//! How long a function may be, and what pure crates may not call, clippy holds (`clippy.toml`).

#![expect(clippy::unwrap_used, reason = "a tree that cannot be read fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file, in lines.
const FILE_LINES_MAX: usize = 500;

/// Which of our crates each of our crates may use. Dependencies point one way.
const MAY_USE: [(&str, &[&str]); 8] = [
    ("updraft-core", &[]),
    ("updraft-wire", &[]),
    ("updraft-lwm2m", &[]),
    ("updraft-dtls", &[]),
    ("updraft-agent", &["updraft-wire", "updraft-lwm2m", "updraft-dtls"]),
    ("updraft-server", &["updraft-core", "updraft-wire", "updraft-lwm2m", "updraft-dtls"]),
    (
        "updraft-sim",
        &["updraft-core", "updraft-wire", "updraft-lwm2m", "updraft-dtls", "updraft-server", "updraft-agent"],
    ),
    ("updraft", &["updraft-core", "updraft-wire", "updraft-server", "updraft-sim"]),
];

/// What pure crates must never depend on.
const IMPURE: [&str; 6] = ["tokio", "hyper", "axum", "rusqlite", "ureq", "getrandom"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["crates", "fuzz"] {
        sources(&root().join(folder), &mut found);
    }
    assert!(found.len() > 50, "the sources were not found");
    found
}

/// The dependencies of each crate, those of its tests among them.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let manifest = fs::read_to_string(entry.unwrap().path().join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let name = manifest["package"]["name"].as_str().unwrap().to_owned();
        let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
        let used = tables
            .iter()
            .filter_map(|table| manifest.get(*table)?.as_table())
            .flat_map(|table| table.keys().cloned())
            .collect();
        all.insert(name, used);
    }
    all
}

#[test]
fn dependencies_point_one_way() {
    let all = dependencies();
    assert_eq!(all.len(), MAY_USE.len(), "a crate is missing from the list");
    for (name, allowed) in MAY_USE {
        for used in all[name].iter().filter(|used| used.starts_with("updraft")) {
            assert!(allowed.contains(&used.as_str()), "{name} must not use {used}");
        }
    }
}

#[test]
fn pure_crates_depend_on_nothing_that_does_io() {
    let all = dependencies();
    for name in ["updraft-core", "updraft-wire", "updraft-lwm2m"] {
        let impure: Vec<_> = all[name].iter().filter(|used| IMPURE.contains(&used.as_str())).collect();
        assert!(impure.is_empty(), "{name} uses {impure:?}");
    }
}

#[test]
fn pure_crates_ban_clocks_files_and_sockets() {
    for name in ["core", "wire", "lwm2m"] {
        let bans = fs::read_to_string(root().join("crates").join(name).join("clippy.toml")).unwrap();
        for ban in ["SystemTime::now", "Instant::now", "fs::File", "TcpStream", "HashMap"] {
            assert!(bans.contains(ban), "crates/{name}/clippy.toml does not ban {ban}");
        }
    }
}

#[test]
fn protocols_never_reach_into_the_store_nor_into_each_other() {
    let mut found = Vec::new();
    let protocols = root().join("crates/server/src/protocols");
    sources(&protocols, &mut found);
    let names: Vec<_> = fs::read_dir(&protocols)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("crate::store"), "{} reaches into the store", path.display());
        for other in names.iter().filter(|name| !path.starts_with(protocols.join(name.as_str()))) {
            let mention = format!("protocols::{other}");
            assert!(!text.contains(&mention) || path.ends_with("mod.rs"), "{}: {mention}", path.display());
        }
    }
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    for path in all_sources() {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines: cut it along a noun", path.display());
    }
}

#[test]
fn lints_are_expected_with_a_reason_never_allowed() {
    let allow = concat!("#[al", "low(");
    for path in all_sources() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(allow), "{} allows a lint: expect it, with a reason", path.display());
    }
}

/// Documents of XML can name files to be read and addresses to be asked (CVE-2023-41034): here nothing reads any.
#[test]
fn nothing_reads_xml() {
    let lock: toml::Table = fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let names: Vec<_> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    assert!(names.len() > 100, "the packages were not found");
    let readers: Vec<_> = names.iter().filter(|name| name.contains("xml")).collect();
    assert!(readers.is_empty(), "{readers:?}");
}
