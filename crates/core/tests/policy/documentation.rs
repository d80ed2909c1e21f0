//! The examples of `docs/policy.md`, each line of which is tried as it stands.

use updraft_core::policy::Policy;

use super::facts::{answer_for, explain_for};

const REFERENCE: &str = include_str!("../../../../docs/policy.md");

/// The blocks of the reference with their language, in order.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let parts: Vec<&str> = REFERENCE.split("```").collect();
    assert!(parts.len() % 2 == 1, "every block of the reference ends");
    let inside = parts.iter().skip(1).step_by(2);
    inside.map(|block| block.split_once('\n').expect("a block has lines")).collect()
}

#[test]
fn every_example_of_the_reference_comes_out_as_it_says() {
    let (mut device, mut update, mut tried) = ("{}", "{}", 0);
    for (language, text) in blocks() {
        match language {
            "json device" => device = text,
            "json update" => update = text,
            "policy" => {
                for line in text.lines().filter(|line| !line.is_empty()) {
                    let (source, expected) = line.split_once("  # ").expect(line);
                    let answer = answer_for(source.trim(), device, update);
                    let expected = match expected.trim() {
                        "true" => Some(true),
                        "false" => Some(false),
                        "no answer" => None,
                        other => panic!("{line}: {other:?} is no outcome"),
                    };
                    assert_eq!(answer, expected, "{line}");
                    tried += 1;
                }
            }
            _ => {}
        }
    }
    assert!(tried > 40, "{tried} examples were found");
}

#[test]
fn the_errors_and_explanations_of_the_reference_are_the_real_ones() {
    let (mut device, mut update, mut tried) = ("{}", "{}", 0);
    for (language, text) in blocks() {
        match language {
            "json device" => device = text,
            "json update" => update = text,
            "text error" => {
                let source = text.lines().next().expect("an error begins with its source");
                let error = Policy::compile(source).expect_err(source);
                assert_eq!(error.render(source), text.trim_end());
                tried += 1;
            }
            "text explanation" => {
                let (source, lines) = text.split_once('\n').expect("an explanation follows its policy");
                let clauses = explain_for(source, device, update).clauses;
                let shown: Vec<String> = clauses.iter().map(ToString::to_string).collect();
                assert_eq!(shown.join("\n"), lines.trim_end());
                tried += 1;
            }
            _ => {}
        }
    }
    assert_eq!(tried, 2);
}
