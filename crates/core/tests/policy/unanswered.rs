//! What has no answer: attributes not reported, operators without a meaning for their values.

use super::facts::{answer, check};

#[test]
fn a_clause_about_a_missing_attribute_never_matches_not_even_negated() {
    for operator in ["==", "!=", "<", "<=", ">", ">=", "^=", "^!=", "$=", "$!=", "><", "<>"] {
        for source in [format!("device.absent {operator} 1"), format!("1 {operator} device.absent")] {
            assert_eq!(answer(&source), None, "{source}");
            assert_eq!(answer(&format!("!!({source})")), None, "{source}");
        }
    }
    check(&[
        ("device.absent", None),
        ("!device.absent", None),
        ("device.absent == null", None),
        ("device.absent == /x/", None),
        ("device.absent != /x/", None),
        ("device.absent in [1]", None),
        ("1 in device.absent", None),
        ("bucket(device.absent) < 50", None),
        ("device.absent + 1 == 2", None),
        ("-device.absent == 1", None),
        ("(device.absent == 1) == false", None),
        ("device.gps == 1", None),
        ("update.region == 'us'", None),
    ]);
}

#[test]
fn the_other_side_may_decide_alone() {
    check(&[
        ("device.absent == 1 || device.pro", Some(true)),
        ("device.pro || device.absent == 1", Some(true)),
        ("device.absent == 1 && device.beta", Some(false)),
        ("device.beta && device.absent == 1", Some(false)),
        ("device.absent == 1 && device.pro", None),
        ("device.pro && device.absent == 1", None),
        ("device.absent == 1 || device.beta", None),
        ("!(device.absent == 1 && device.beta)", Some(true)),
        ("!(device.absent == 1 || device.beta)", None),
        ("device.absent == 1 || 'a' * 2 == 1 || true", Some(true)),
    ]);
}

#[test]
fn a_wrong_type_never_matches_not_even_negated() {
    check(&[
        ("device.region * 2 == 4", None),
        ("device.region - 1 != 4", None),
        ("-device.region == 1", None),
        ("device.nothing + 1 == 1", None),
        ("device.nothing + 'a' == 'a'", None),
        ("device.pro + 1 == 2", None),
        ("device.groups + 1 == 2", None),
        ("device.cores / 0 == 1", None),
        ("device.cores % 0 == 1", None),
        ("1e308 * 10 > 1", None),
        ("device.pro < 2", None),
        ("device.nothing < 2", None),
        ("device.groups < 2", None),
        ("device.region < 2", None),
        ("device.nothing ^= 'a'", None),
        ("device.nothing >< 'a'", None),
        ("device.groups ^= 'a'", None),
        ("device.groups == /a/", None),
        ("'a' in device.region", None),
        ("bucket(device.nothing) < 50", None),
        ("bucket(device.groups) < 50", None),
        ("device.region && true", None),
        ("!device.region", None),
        ("device.region ^ 1 == 1", None),
    ]);
}
