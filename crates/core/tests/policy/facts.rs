//! A device and an update to try policies on, and the three ways a policy can come out.

use updraft_core::attributes::Attributes;
use updraft_core::policy::{Explanation, Facts, Policy};

pub(crate) const DEVICE: &str = r#"{
    "id": "gw-0001", "product": "gateway", "version": "1.9.0", "hwVersion": "1.10.0-rc.1", "schemaVersion": 3,
    "pro": true, "beta": "false", "memory": "16", "cores": 4, "load": 0.25, "region": "us-west", "tier": "basic",
    "serial": "SN-77-A", "nothing": null, "groups": ["field", "canary", 7], "x-y": "dash",
    "gps": {"lat": 52.5}, "disks": [{"free": 10}], "long": "größe", "baseVersion": "1.10", "build": "1.0.0+a"
}"#;

pub(crate) const UPDATE: &str =
    r#"{"product": "gateway", "version": "1.10.0", "build": "1.0.0+b", "minimum": "1.2"}"#;

pub(crate) fn attributes(json: &str) -> Attributes {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// The explanation on [`DEVICE`] and [`UPDATE`], which always agrees with `matches`.
pub(crate) fn explain(source: &str) -> Explanation {
    explain_for(source, DEVICE, UPDATE)
}

pub(crate) fn explain_for(source: &str, device: &str, update: &str) -> Explanation {
    let policy = Policy::compile(source).unwrap_or_else(|error| panic!("{}", error.render(source)));
    let (device, update) = (attributes(device), attributes(update));
    let facts = Facts { device: &device, update: &update };
    let explanation = policy.explain(&facts);
    assert_eq!(explanation.matches, policy.matches(&facts), "{source}");
    explanation
}

/// How a policy comes out: true, false, or none when it has no answer, which neither it nor its negation matches.
pub(crate) fn answer(source: &str) -> Option<bool> {
    answer_for(source, DEVICE, UPDATE)
}

pub(crate) fn answer_for(source: &str, device: &str, update: &str) -> Option<bool> {
    let holds = explain_for(source, device, update).matches;
    let fails = explain_for(&format!("!({source})"), device, update).matches;
    assert!(!(holds && fails), "{source} both holds and fails");
    (holds || fails).then_some(holds)
}

/// Checks each policy of a table, on [`DEVICE`] and [`UPDATE`].
pub(crate) fn check(table: &[(&str, Option<bool>)]) {
    for (source, expected) in table {
        assert_eq!(answer(source), *expected, "{source}");
    }
}

/// Checks policies that all hold.
pub(crate) fn check_true(sources: &[&str]) {
    for source in sources {
        assert_eq!(answer(source), Some(true), "{source}");
    }
}

/// Checks policies that all fail.
pub(crate) fn check_false(sources: &[&str]) {
    for source in sources {
        assert_eq!(answer(source), Some(false), "{source}");
    }
}
