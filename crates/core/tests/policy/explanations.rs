//! Explanations: each clause with what it saw, as data and as sentences.

use updraft_core::policy::{Outcome, Policy};

use super::facts::explain;

#[test]
fn each_clause_of_the_top_tells_what_it_saw_and_how_it_came_out() {
    let source = "device.version < update.version && device.pro == false && \
                  (device.area == 'x' || device.region * 2 == 1) && !(device.beta || 1 == 2)";
    let explanation = explain(source);
    assert!(!explanation.matches);
    let lines: Vec<String> = explanation.clauses.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "`device.version < update.version` is true: device.version is '1.9.0', update.version is '1.10.0'",
            "`device.pro == false` is false: device.pro is true",
            "`device.area == 'x'` is without an answer: device.area was not reported",
            "`device.region * 2 == 1` is without an answer: arithmetic needs numbers (device.region is 'us-west')",
            "`!(device.beta || 1 == 2)` is true: device.beta is 'false'",
        ]
    );
    assert_eq!(explanation.to_string(), lines.join("; "));
    let holds: Vec<_> = explanation.clauses.iter().map(|clause| clause.holds()).collect();
    assert_eq!(holds, [Some(true), Some(false), None, None, Some(true)]);
}

#[test]
fn a_missing_attribute_is_named_as_a_policy_writes_it() {
    for (source, attribute) in [
        ("device.absent == 1", "device.absent"),
        ("device['a-b'].c == 1", "device['a-b.c']"),
        ("bucket(device.id + update.salt) < 5", "update.salt"),
    ] {
        let outcome = explain(source).clauses.remove(0).outcome;
        assert_eq!(outcome, Outcome::Missing { attribute: attribute.to_owned() }, "{source}");
    }
}

#[test]
fn an_explanation_is_data() {
    let json = serde_json::to_value(explain("device.pro && device.absent == 1")).unwrap();
    let expected = serde_json::json!({
        "matches": false,
        "clauses": [
            {
                "source": "device.pro",
                "seen": [{"attribute": "device.pro", "value": true}],
                "outcome": {"result": "true"}
            },
            {
                "source": "device.absent == 1",
                "seen": [{"attribute": "device.absent"}],
                "outcome": {"result": "missing", "attribute": "device.absent"}
            }
        ]
    });
    assert_eq!(json, expected);
}

#[test]
fn a_policy_names_its_attributes_once() {
    let policy = Policy::compile("device.a == 1 || device.a == 2 || update['x-y'] == device.b").unwrap();
    assert_eq!(policy.attributes().collect::<Vec<_>>(), ["device.a", "update['x-y']", "device.b"]);
    assert_eq!(policy.clone(), policy);
}
