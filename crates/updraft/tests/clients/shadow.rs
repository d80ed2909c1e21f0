//! Device shadows, with the clients that AWS made for devices.

use crate::case::{Case, Proof};
use crate::program::Kind;

fn tell_the_story(proof: Proof, program: &str, words: &[&str]) {
    if !Kind::Python.is_present() {
        return;
    }
    let case = Case::new(proof);
    case.run(Kind::Python, program, words);
    case.server.end();
}

#[test]
fn awsiotsdk_v1_has_a_classic_shadow_over_mqtt_3() {
    tell_the_story(Proof::OwnCertificate, "aws_shadow.py", &["v1", "3", "tls", "classic"]);
}

#[test]
fn awsiotsdk_v1_has_a_named_shadow_over_mqtt_5() {
    tell_the_story(Proof::OwnCertificate, "aws_shadow.py", &["v1", "5", "tls", "named"]);
}

#[test]
fn awsiotsdk_v2_has_a_classic_shadow_over_mqtt_5_with_an_rsa_key() {
    tell_the_story(Proof::FactoryCertificate, "aws_shadow.py", &["v2", "5", "tls", "classic"]);
}

#[test]
fn awsiotsdk_v2_has_a_named_shadow_over_mqtt_3_without_tls() {
    tell_the_story(Proof::Token, "aws_shadow.py", &["v2", "3", "plain", "named"]);
}

#[test]
fn the_first_python_sdk_has_a_shadow() {
    tell_the_story(Proof::OwnCertificate, "aws_first.py", &["shadow"]);
}
