//! Every limit: just within it compiles, just beyond it is an error that says so.

use updraft_core::attributes::{Attributes, ELEMENTS_MAX, NAME_BYTES_MAX};
use updraft_core::policy::{Facts, NESTING_MAX, NODES_MAX, Policy, REGEXES_MAX, SOURCE_BYTES_MAX};

use super::facts::answer;

/// Checks that a source made for `limit` compiles and can be evaluated, and that the one for the next number is
/// refused.
fn check(limit: usize, expected: &str, source: impl Fn(usize) -> String) {
    let policy = Policy::compile(&source(limit)).unwrap_or_else(|error| panic!("{limit}: {error}"));
    let empty = Attributes::new();
    let explanation = policy.explain(&Facts { device: &empty, update: &empty });
    assert!(!explanation.clauses.is_empty());
    let error = Policy::compile(&source(limit + 1)).expect_err(expected);
    assert!(error.expected.contains("at most") && error.expected.contains(expected), "{error}");
}

#[test]
fn the_source_is_bounded() {
    check(SOURCE_BYTES_MAX, "bytes", |bytes| format!("true{}", " ".repeat(bytes - 4)));
}

#[test]
fn nesting_is_bounded() {
    check(NESTING_MAX, "brackets", |levels| format!("{}true{}", "(".repeat(levels), ")".repeat(levels)));
    // The innermost value is a level of the tree as well.
    check(NESTING_MAX - 1, "nested", |levels| format!("{}true", "!".repeat(levels)));
    check(NESTING_MAX - 2, "nested", |sums| format!("1{} == 1", "+1".repeat(sums)));
    check(NESTING_MAX, "brackets", |levels| {
        format!("{}'a'{} == 1", "bucket(".repeat(levels - 2), ")".repeat(levels - 2))
            .replace("'a'", "(('a'))")
    });
}

#[test]
fn the_number_of_values_and_operators_is_bounded() {
    // One value less than one node each: the chain of `||` adds a node for every value but the first.
    check(NODES_MAX / 2, "values and operators", |values| vec!["true"; values].join("||"));
}

#[test]
fn regular_expressions_are_bounded_in_number_and_size() {
    check(REGEXES_MAX, "regular expressions", |regexes| vec!["'a'==/a/"; regexes].join("&&"));
    for pattern in [
        "(((a{100}){100}){100}){100}",
        "\\w{50}",
        "((((((((((((((((((((((((((((((((((a))))))))))))))))))))))))))))))))))",
    ] {
        let error = Policy::compile(&format!("'a' == /{pattern}/")).expect_err(pattern);
        assert!(error.expected.starts_with("a regular expression ("), "{error}");
    }
    for pattern in ["\\w+-\\d{4}", "^\\w{1,10}$", "[a-f0-9]{64}", "(?i)größe", "(a|b|c){1,20}"] {
        assert!(Policy::compile(&format!("'a' == /{pattern}/")).is_ok(), "{pattern}");
    }
}

#[test]
fn lists_and_names_are_bounded() {
    check(ELEMENTS_MAX, "elements", |elements| format!("1 in [{}]", vec!["1"; elements].join(",")));
    check(NAME_BYTES_MAX, "bytes", |bytes| format!("device.{} == 1", "a".repeat(bytes)));
}

#[test]
fn a_joined_text_is_bounded() {
    let text = "x".repeat(1000);
    assert_eq!(answer(&format!("'{text}' + '{text}' + '{text}' ^= 'x'")), Some(true));
    let device = format!(r#"{{"t": "{}"}}"#, "x".repeat(3000));
    assert_eq!(super::facts::answer_for("device.t + device.t ^= 'x'", &device, "{}"), None);
}
