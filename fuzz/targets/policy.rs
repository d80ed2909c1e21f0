//! Any text as a policy, on any document as a device: a policy and its negation never both match, the explanation
//! agrees with the result, an error points into the source.
//!
//! The input is the policy's source, a NUL, and the device as JSON. The update is always the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::attributes::Attributes;
use updraft_core::policy::{Facts, Policy};

fuzz_target!(|input: &str| {
    let (source, document) = input.split_once('\0').unwrap_or((input, "{}"));
    let policy = match Policy::compile(source) {
        Ok(policy) => policy,
        Err(error) => {
            let line = source.split('\n').nth(error.line - 1).expect("an error is on a line of the source");
            assert!((1..=line.chars().count() + 1).contains(&error.column), "{error}");
            assert!(error.render(source).ends_with(&error.to_string()));
            return;
        }
    };
    let device: Attributes = serde_json::from_str(document).unwrap_or_default();
    let written = serde_json::to_string(&device).expect("attributes can be written");
    assert_eq!(serde_json::from_str::<Attributes>(&written).ok().as_ref(), Some(&device));
    let mut update = Attributes::new();
    update.insert("version", "1.10.0").expect("a version is within the limits");

    let facts = Facts { device: &device, update: &update };
    let matches = policy.matches(&facts);
    let explanation = policy.explain(&facts);
    assert_eq!(explanation.matches, matches);
    assert!(explanation.clauses.iter().all(|clause| source.contains(&clause.source)));
    // The negation of a policy at a limit may be beyond it.
    if let Ok(negation) = Policy::compile(&format!("!({source})")) {
        assert!(!(matches && negation.matches(&facts)));
    }
});
