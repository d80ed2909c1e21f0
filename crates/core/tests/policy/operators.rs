//! What every operator means, and how tightly it binds.

use super::facts::{check, check_false, check_true};

#[test]
fn the_documented_examples_of_the_contract_work() {
    check(&[
        ("device.version < update.version", Some(true)),
        ("device.version < update.version && device.pro == true", Some(true)),
        (
            "device.version < update.version && (device.region == 'us-west' || device.tier == 'premium')",
            Some(true),
        ),
        ("device.region == /us/", Some(true)),
    ]);
}

#[test]
fn values_are_equal_as_loosely_as_they_are_sent() {
    check_true(&[
        "device.pro == true",
        "device.pro == 'true'",
        "device.pro == 1",
        "device.beta == false",
        "device.beta != true",
        "device.memory == 16",
        "device.memory == '16'",
        "device.memory == 16.0",
        "device.cores == '4'",
        "device.cores == 4",
        "device.nothing == null",
        "null == null",
        "'a' == \"a\"",
        "device.groups == ['field', 'canary', '7']",
        "device.region != 'us-east'",
        "'' != 0",
        "' 16' != 16",
        "device.nothing != 0",
        "device.nothing != false",
        "'yes' != true",
        "'TRUE' != true",
        "2 != true",
        "'16' != '16.0'",
        "device.groups != 'field'",
        "'1' == true",
        "0 == false",
        "'+16' != 16",
        "'1e2' == 100",
        "'inf' != 1",
        "'NaN' != 0",
    ]);
}

#[test]
fn numbers_have_an_order_also_when_sent_as_text() {
    check_true(&[
        "device.memory > 4",
        "device.memory > '4'",
        "device.memory >= 16",
        "device.load < 0.5",
        "device.load <= 0.25",
        "-1 < 0",
        "'-1' < 0",
        "9 < 10",
        "'9' < '10'",
        "1.10 < 1.9",
        "'1.10' < '1.9'",
        "1e3 > 999",
        "device.cores < 5",
    ]);
    check_false(&["device.memory < 4", "device.memory < '4'", "1 < 1", "1 > 1", "'10' < '9'"]);
}

#[test]
fn texts_that_are_no_numbers_have_the_order_of_their_characters() {
    check_true(&["'abc' < 'abd'", "'B' < 'a'", "'a' < 'ab'", "'a' <= 'a'", "'ä' > 'z'", "'x9' > 'x10'"]);
}

#[test]
fn versions_have_the_order_of_semver() {
    check_true(&[
        "device.version < update.version",
        "device.version < '1.10.0'",
        "'1.9.0' < '1.10.0'",
        "'1.0.0-rc.1' < '1.0.0'",
        "device.hwVersion < update.version",
        "device.hwVersion > '1.10.0-rc.0'",
        "device.build == update.build",
        "device.build <= update.build",
        "'1.0.0-1' < '1.0.0-a'",
        "'1.0.0-2' < '1.0.0-10'",
        "'99999.0.0' < '100000.0.0'",
        "'99999.0.0-2' < '99999.0.0-10'",
        "'1.0.99999999999' > '1.0.9999999999'",
    ]);
    check_false(&["device.version > update.version", "'1.0.0' < '1.0.0+b'", "device.build < update.build"]);
}

#[test]
fn an_attribute_named_version_is_never_ordered_as_a_number_with_a_fraction() {
    check(&[
        ("device.baseVersion < '1.9'", None),
        ("device.baseVersion < 1.9", None),
        ("device.baseVersion > update.version", None),
        ("device.version < 'latest'", None),
        ("update.minimum < '1.9'", Some(true)),
        ("device.schemaVersion < 16", Some(true)),
        ("device.schemaVersion < '16'", Some(true)),
        ("device.baseVersion == '1.10'", Some(true)),
        ("device.version != 'latest'", Some(true)),
    ]);
}

#[test]
fn texts_are_tested_at_start_end_and_inside() {
    check_true(&[
        "device.serial ^= 'SN-'",
        "device.serial ^!= 'XN'",
        "device.serial $= '-A'",
        "device.serial $!= '-B'",
        "device.serial >< '77'",
        "device.serial <> '78'",
        "device.memory ^= 1",
        "device.long $= 'ße'",
        "'abc' ^= ''",
        "device.groups >< 'canary'",
        "device.groups >< '7'",
        "device.groups <> 'other'",
        "device.pro ^= 'tr'",
    ]);
    check_false(&[
        "device.serial ^= 'sn-'",
        "device.serial ^!= 'SN'",
        "device.serial $= 'SN'",
        "device.serial $!= 'A'",
        "device.serial >< '78'",
        "device.serial <> '77'",
        "device.groups >< 'can'",
    ]);
}

#[test]
fn regular_expressions_search_on_the_right_of_equality() {
    check_true(&[
        "device.region == /west/",
        "device.region == /^us-/",
        "device.region != /^west/",
        "device.region == /WEST$/i",
        "device.cores == /^4$/",
        "device.long == /^gr\\w+$/",
        "'a/b' == /a\\/b/",
        "'a/b' == /a[/]b/",
        "device.region == /us/ && device.tier == /basic/",
        "'a\nb' == /a.b/s",
        "'a\nb' == /^b/m",
        "(device.region) == /us/",
    ]);
    check_false(&["device.region == /west-/", "device.region != /us/", "'a\nb' == /a.b/", "'ab' == /^b/m"]);
}

#[test]
fn numbers_are_added_multiplied_and_divided() {
    check_true(&[
        "1 + 2 == 3",
        "5 - 7 == -2",
        "6 * 7 == 42",
        "7 / 2 == 3.5",
        "7 % 4 == 3",
        "-7 % 4 == -3",
        "- device.cores == -4",
        "device.memory - 1 == 15",
        "device.memory * '2' == 32",
        "- '3' == -3",
        "--3 == 3",
        "0.1 + 0.2 > 0.3",
        "2 * -3 == -6",
    ]);
}

#[test]
fn plus_joins_where_a_side_is_a_text() {
    check_true(&[
        "'a' + 'b' == 'ab'",
        "device.region + '-' + device.cores == 'us-west-4'",
        "'16' + 1 == '161'",
        "1 + '6' == 16",
        "'is ' + true == 'is true'",
    ]);
}

#[test]
fn bits_are_those_of_whole_numbers() {
    check_true(&[
        "(6 ^ 3) == 5",
        "1 << 4 == 16",
        "256 >> 4 == 16",
        "-8 >> 1 == -4",
        "1 << 31 == 2147483648",
        "(-1 ^ 0) == -1",
        "(device.memory ^ 1) == 17",
        "(device.pro == true) ^ (device.tier == 'premium')",
        "1 << 52 == 4503599627370496",
    ]);
    check_false(&["(device.pro == true) ^ (device.tier == 'basic')"]);
    check(&[("1.5 << 1 == 3", None), ("1 << 53 == 0", None), ("1 << -1 == 0", None), ("3 << 52 == 0", None)]);
}

#[test]
fn a_value_is_found_in_a_list() {
    check_true(&[
        "device.region in ['us-east', 'us-west']",
        "device.memory in [8, 16]",
        "device.pro in ['true']",
        "'canary' in device.groups",
        "device.build in ['1.0.0']",
        "null in [null]",
        "-1 in [-1,]",
        "!(1 in [])",
        "device.region in ['us-west'] == true",
    ]);
    check_false(&["device.region in ['us']", "1 in []"]);
}

#[test]
fn has_asks_whether_something_was_reported() {
    check_true(&[
        "has(device.region)",
        "has(device.nothing)",
        "has(device.gps)",
        "has(device.gps.lat)",
        "has(device['x-y'])",
        "!has(device.absent)",
        "!has(device.gp)",
        "!has(device.gps.l)",
        "has(update.version)",
        "has(device.disks)",
        "has(device.disks['0'].free)",
        "!has(device.absent) || device.absent == 1",
    ]);
    check_false(&["has(device.absent)"]);
}

#[test]
fn attributes_are_named_with_dots_and_brackets() {
    check_true(&[
        "device.gps.lat == 52.5",
        "device['gps'].lat == 52.5",
        "device['gps.lat'] == 52.5",
        "device[\"x-y\"] == 'dash'",
        "device.disks['0'].free == 10",
        "device . region == 'us-west'",
    ]);
}

#[test]
fn a_bare_value_is_a_condition_when_it_equals_true_or_false() {
    check(&[
        ("device.pro", Some(true)),
        ("device.beta", Some(false)),
        ("!device.beta", Some(true)),
        ("device.region", None),
        ("device.cores", None),
        ("device.nothing", None),
        ("true", Some(true)),
        ("false", Some(false)),
    ]);
}

#[test]
fn operators_bind_as_in_javascript() {
    check_true(&[
        "1 + 2 * 3 == 7",
        "(1 + 2) * 3 == 9",
        "10 - 2 - 3 == 5",
        "100 / 10 / 2 == 5",
        "1 + 1 << 2 == 8",
        "8 >> 1 + 1 == 2",
        "1 << 2 < 5",
        "1 < 2 == true",
        "true == 1 < 2",
        "false && false || true",
        "true || false && false",
        "!false && true",
        "!(false && true)",
        "1 == 1 && 2 == 2",
        "'a' + 'b' ^= 'a'",
        "!device.beta == true",
        "true ^ false && true",
        "1 == 1 ^ 1 == 2",
        "2 in [2] == true",
        "'ab' $= 'b' == true",
        "- 2 + 3 == 1",
        "7 % 4 * 2 == 6",
    ]);
    check_false(&["false && (false || true)", "(true || false) && false", "true ^ true || false"]);
}

#[test]
fn space_and_lines_between_words_mean_nothing() {
    check_true(&["1==1&&2==2", " 1 ==\n\t1 \r\n&& 2 == 2 ", "device.region\n  == 'us-west'"]);
}

#[test]
fn texts_may_hold_quotes_and_escapes() {
    check_true(&[
        r#"'it\'s' == "it's""#,
        r#""say \"x\"" == 'say "x"'"#,
        r"'a\\b' == 'a\\b'",
        "'a\\nb' == 'a\nb'",
        "'a\\tb' == 'a\tb'",
    ]);
}

#[test]
fn a_bucket_is_a_stable_percentage() {
    check_true(&[
        "bucket(device.id) < 100",
        "bucket(device.id) >= 0",
        "bucket('a') == bucket('a')",
        "bucket(16) == bucket('16')",
    ]);
}
