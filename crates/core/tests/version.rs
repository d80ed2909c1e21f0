//! Versions: the grammar and the precedence of SemVer 2.0.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use updraft_core::version::{VERSION_BYTES_MAX, Version, VersionError};

fn version(text: &str) -> Version {
    Version::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn precedence_is_that_of_semver_11() {
    // The chains of §11.2 and §11.4 of the standard, and the corners around them.
    let chains: [&[&str]; 5] = [
        &["1.0.0", "2.0.0", "2.1.0", "2.1.1"],
        &[
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
        ],
        &[
            "1.9.0",
            "1.10.0",
            "1.11.0",
            "2.0.0-0",
            "2.0.0-1",
            "2.0.0--",
            "2.0.0-A",
            "2.0.0-a",
            "2.0.0-a.0",
            "2.0.0",
        ],
        &["0.0.0-0", "0.0.0", "32767.65535.2147483647", "32768.0.0-rc.1", "32768.0.0", "20261121.1.0"],
        &["1.0.0-18446744073709551615", "1.0.0-18446744073709551616", "1.0.18446744073709551615"],
    ];
    for chain in chains {
        for (left_index, left) in chain.iter().enumerate() {
            for (right_index, right) in chain.iter().enumerate() {
                let order = version(left).cmp(&version(right));
                assert_eq!(order, left_index.cmp(&right_index), "{left} and {right}");
                assert_eq!(version(left) == version(right), order == Ordering::Equal, "{left} and {right}");
            }
        }
    }
}

#[test]
fn precedence_agrees_with_another_implementation() {
    let mut texts = Vec::new();
    for core in ["0.0.0", "0.1.0", "1.0.0", "1.2.3", "1.2.10", "10.0.0", "99999.0.0", "1.0.4294967296"] {
        for pre in ["", "-0", "-a", "-a.b", "-a-b", "-1", "-1.a", "-10", "-2", "-rc.1"] {
            texts.extend(["", "+1", "+a.b-c"].map(|build| format!("{core}{pre}{build}")));
        }
    }
    for left in &texts {
        for right in &texts {
            let parse = |text: &str| semver::Version::parse(text).unwrap();
            let expected = parse(left).cmp_precedence(&parse(right));
            assert_eq!(version(left).cmp(&version(right)), expected, "{left} and {right}");
        }
    }
}

#[test]
fn build_metadata_does_not_count_but_stays() {
    let (left, right) = (version("1.0.0+a"), version("1.0.0+b"));
    assert_eq!(left, right);
    assert_eq!(left.cmp(&right), Ordering::Equal);
    assert_eq!(BTreeSet::from([left.clone(), right]).len(), 1);
    assert_eq!(left.as_str(), "1.0.0+a");
    assert_eq!(format!("{left:>9}"), "  1.0.0+a");
    assert!(
        !left.is_prerelease()
            && !version("1.0.0+a-b").is_prerelease()
            && version("1.0.0-b+a").is_prerelease()
    );
}

#[test]
fn what_is_no_version_is_refused_with_a_reason() {
    assert_eq!(Version::parse(""), Err(VersionError::Empty));
    assert_eq!(Version::parse("v1.2.3"), Err(VersionError::LeadingV { text: "v1.2.3".into() }));
    let refused = [
        "1",
        "1.2",
        "1.2.3.4",
        "01.2.3",
        "1.02.3",
        "1.2.3-",
        "1.2.3-01",
        "1.2.3-a..b",
        "1.2.3+",
        " 1.2.3",
        "1.2.3 ",
        "1.2.x",
        "latest",
        "1.2.3-ß",
        "-1.2.3",
        "1.2.18446744073709551616",
        "1.2.3\0",
    ];
    for text in refused {
        let error = Version::parse(text).expect_err(text);
        assert!(matches!(error, VersionError::Grammar { .. }), "{text}: {error}");
        assert!(error.to_string().contains("MAJOR.MINOR.PATCH"), "{text}: {error}");
    }
}

#[test]
fn the_length_is_bounded() {
    let longest = format!("1.0.0-{}", "a".repeat(VERSION_BYTES_MAX - 6));
    assert_eq!(version(&longest).as_str(), longest);
    let bytes = VERSION_BYTES_MAX + 1;
    assert_eq!(Version::parse(&format!("{longest}a")), Err(VersionError::TooLong { bytes }));
}

#[test]
fn a_version_is_a_text_in_a_document() {
    let read: Version = serde_json::from_str("\"1.2.3-rc.1+b\"").unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), "\"1.2.3-rc.1+b\"");
    assert!(serde_json::from_str::<Version>("\"1.2\"").unwrap_err().to_string().contains("SemVer"));
    assert!(serde_json::from_str::<Version>("1.2").unwrap_err().to_string().contains("SemVer"));
}
