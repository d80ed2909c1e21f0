//! What is no policy: the error points at the column and says what was expected.

use updraft_core::policy::{Policy, PolicyError};

fn error(source: &str) -> PolicyError {
    Policy::compile(source).expect_err(source)
}

#[test]
fn an_error_points_at_the_column_and_says_what_was_found_and_expected() {
    let table = [
        ("", 1, "an empty policy", "true"),
        ("  \n ", 1, "an empty policy", "device.version < update.version"),
        ("device.version = update.version", 16, "`=`", "`==`"),
        ("device.a === 1", 10, "`===`", "`==`"),
        ("device.a !== 1", 10, "`!==`", "`!=`"),
        ("device.a == 1 & device.b == 2", 15, "`&`", "`&&`"),
        ("device.a == 1 | device.b == 2", 15, "`|`", "`||`"),
        ("device.a == 1; device.b", 14, "`;`", "`&&`"),
        ("device.a ==", 12, "the end of the policy", "a value"),
        ("device.a == )", 13, "`)`", "a value"),
        ("(device.a == 1", 15, "the end of the policy", "`)`"),
        ("device.a == 1)", 14, "`)`", "an operator"),
        ("device.a 1", 10, "`1`", "an operator"),
        ("region == 'us'", 1, "`region`", "`device.region`"),
        ("device == 1", 8, "`==`", "`.`"),
        ("device. == 1", 9, "`==`", "an attribute's name"),
        ("device.1", 8, "`1`", "an attribute's name"),
        ("device[x] == 1", 8, "`x`", "in quotes"),
        ("device[''] == 1", 8, "`''`", "in quotes"),
        ("device['x' == 1", 12, "`==`", "`]`"),
        ("device.x-y == 1", 10, "`y`", "device['a-b']"),
        ("device.a == 'us", 13, "a text that does not end", "a closing '"),
        ("device.a == 'u\\qs'", 15, "`\\q`", "one of"),
        ("device.a == 'us\\", 13, "a text that does not end", "a closing '"),
        ("device.a == /us", 13, "a regular expression that does not end", "a closing /"),
        ("device.a == /(/", 13, "`/(/`", "unclosed group"),
        ("device.a == /a/x", 13, "`x`", "`i`, `m` and `s`"),
        ("device.a < /us/", 12, "`/`", "on the right of `==`"),
        ("device.version < 1.2.3", 18, "`1.2.3`", "a version in quotes"),
        ("device.a == 1x", 13, "`1x`", "a number"),
        ("device.a == 1.", 13, "`1.`", "a number"),
        ("device.a == 1e999", 13, "`1e999`", "a number"),
        ("1 < device.a < 3", 1, "`1 < device.a`", "`&&`"),
        ("device.a == 1 && 'x'", 18, "`'x'`", "a condition"),
        ("'x' || true", 1, "`'x'`", "a condition"),
        ("!5", 2, "`5`", "a condition"),
        ("device.a + 1", 1, "`device.a + 1`", "a condition"),
        ("bucket(device.id)", 1, "`bucket(device.id)`", "a condition"),
        ("has(1)", 5, "`1`", "an attribute"),
        ("has device.x", 5, "`device`", "`(`"),
        ("bucket(device.id < 10", 22, "the end of the policy", "`)`"),
        ("device.a in [device.b]", 14, "`device.b`", "a text, a number"),
        ("device.a in [[1]]", 14, "`[`", "a text, a number"),
        ("device.a in [1 2]", 16, "`2`", "`,` or `]`"),
        ("device.a in [1", 15, "the end of the policy", "`,` or `]`"),
        ("device.a == undefined", 13, "`undefined`", "`null`"),
        ("grün.ß == 1", 1, "`grün`", "`device.grün`"),
        ("'grün' ==  §", 12, "`§`", "an operator"),
        ("device.a == {1}", 13, "`{`", "`(`"),
        ("in == 1", 1, "`in`", "a value"),
        ("device.a == \u{1}", 13, "`\\u{1}`", "an operator"),
    ];
    for (source, column, found, expected) in table {
        let error = error(source);
        assert_eq!((error.line, error.column), (1, column), "{source}: {error}");
        assert_eq!(error.found, found, "{source}: {error}");
        assert!(error.expected.contains(expected), "{source}: {error}");
    }
}

#[test]
fn an_error_is_shown_under_its_line_with_a_caret() {
    let source = "device.größe == 1\n&& device.b = 2";
    let error = error(source);
    assert_eq!((error.line, error.column), (2, 13));
    assert_eq!(error.to_string(), "line 2, column 13: found `=`, expected `==` to compare");
    let expected = "&& device.b = 2\n            ^\nline 2, column 13: found `=`, expected `==` to compare";
    assert_eq!(error.render(source), expected);
}

#[test]
fn a_tab_does_not_move_the_caret_from_its_column() {
    let source = "\t\tdevice.a = 1";
    assert_eq!(error(source).render(source).lines().nth(1), Some("           ^"));
}
