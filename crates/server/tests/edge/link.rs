//! Claims about signed links and temporary credentials, without a socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::signing::{Bench, NOW, bench};
use updraft_server::artifacts::credential::{CREDENTIAL_PREFIX, CredentialError, issue, verify};
use updraft_server::artifacts::link::{LINK_BYTES_MAX, SignError};
use updraft_server::artifacts::{
    CredentialClaims, Digest, KeyFileError, LINK_LIFE_SECONDS_MAX, LinkClaims, LinkError, LinkSigner,
};

const BASE: &str = "https://updates.example:8443";

fn digest() -> Digest {
    "0f".repeat(32).parse().unwrap()
}

fn claims() -> LinkClaims {
    LinkClaims {
        sha256: digest(),
        device: "dev:1_a.b@c-d".into(),
        job: "r1-2".into(),
        expires: NOW + 600,
        net: None,
        close: false,
    }
}

fn query(link: &str) -> &str {
    link.split_once('?').unwrap().1
}

impl Bench {
    fn sign(&self, claims: &LinkClaims) -> String {
        self.signer.sign(BASE, claims, NOW).unwrap()
    }

    fn check(&self, link: &str, now: u64, client: Option<&str>) -> Result<LinkClaims, LinkError> {
        self.signer.verify(&digest(), query(link), now, client.map(|text| text.parse().unwrap()))
    }
}

#[test]
fn a_link_says_what_was_signed() {
    let bench = bench();
    let table = [
        claims(),
        LinkClaims { job: String::new(), ..claims() },
        LinkClaims { close: true, ..claims() },
        LinkClaims { net: Some("10.1.0.0/16".parse().unwrap()), ..claims() },
        LinkClaims { net: Some("2001:db8::/32".parse().unwrap()), close: true, ..claims() },
        LinkClaims { device: "Ünï & co=?#%\"\\\n\0".into(), job: "a&signature=b".into(), ..claims() },
    ];
    for claims in table {
        let link = bench.sign(&claims);
        let client = claims.net.map(|net| net.addr().to_string());
        assert_eq!(bench.check(&link, NOW, client.as_deref()), Ok(claims), "{link}");
    }
}

#[test]
fn a_link_has_the_documented_shape_and_needs_no_escape_in_json() {
    let bench = bench();
    let claims = LinkClaims { net: Some("10.0.0.0/8".parse().unwrap()), close: true, ..claims() };
    let link = bench.sign(&claims);
    let begin = format!(
        "{BASE}/v1/artifacts/{}?device=dev:1_a.b@c-d&job=r1-2&expires={}&net=10.0.0.0/8&close=1&key=",
        digest(),
        claims.expires
    );
    assert!(link.starts_with(&begin), "{link}");
    let strange = bench.sign(&LinkClaims { device: "\"\\\u{1}\u{7f}é".into(), ..claims });
    for link in [link, strange] {
        assert_eq!(serde_json::to_string(&link).unwrap(), format!("\"{link}\""));
        assert!(link.len() < LINK_BYTES_MAX);
    }
}

#[test]
fn a_link_altered_at_any_character_opens_nothing() {
    let bench = bench();
    let link = bench.sign(&LinkClaims { net: Some("10.0.0.0/8".parse().unwrap()), close: true, ..claims() });
    let query = query(&link);
    for at in 0..query.len() {
        for replacement in ["0", "1", "a", "A", "%", "&", "=", "", "%41", "\0", "é"] {
            let altered = format!("{}{replacement}{}", &query[..at], &query[at + 1..]);
            if altered != query {
                let outcome = bench.signer.verify(&digest(), &altered, NOW, Some([10, 0, 0, 1].into()));
                assert!(outcome.is_err(), "{altered}");
            }
        }
    }
    assert!(bench.signer.verify(&digest(), query, NOW, Some([10, 0, 0, 1].into())).is_ok());
}

#[test]
fn a_link_for_another_artifact_opens_nothing() {
    let bench = bench();
    let other = "10".repeat(32).parse().unwrap();
    let link = bench.sign(&claims());
    assert_eq!(bench.signer.verify(&other, query(&link), NOW, None), Err(LinkError::Altered));
}

#[test]
fn a_link_ends_at_its_second() {
    let bench = bench();
    let link = bench.sign(&claims());
    assert!(bench.check(&link, NOW + 599, None).is_ok());
    assert_eq!(bench.check(&link, NOW + 600, None), Err(LinkError::Expired));
}

#[test]
fn a_bound_link_opens_only_from_its_network() {
    let bench = bench();
    let table = [
        ("10.1.2.0/24", Some("10.1.2.9"), true),
        ("10.1.2.0/24", Some("::ffff:10.1.2.9"), true),
        ("10.1.2.0/24", Some("10.1.3.9"), false),
        ("10.1.2.3/32", Some("10.1.2.3"), true),
        ("10.1.2.3/32", Some("10.1.2.4"), false),
        ("10.1.2.0/24", None, false),
        ("2001:db8::/32", Some("2001:db8:1::5"), true),
        ("2001:db8::/32", Some("2001:db9::5"), false),
        ("2001:db8::/32", Some("10.1.2.9"), false),
    ];
    for (net, client, is_good) in table {
        let link = bench.sign(&LinkClaims { net: Some(net.parse().unwrap()), ..claims() });
        let expected = if is_good { Ok(()) } else { Err(LinkError::WrongAddress) };
        assert_eq!(bench.check(&link, NOW, client).map(drop), expected, "{net} {client:?}");
    }
}

#[test]
fn what_is_no_link_is_malformed() {
    let bench = bench();
    let link = bench.sign(&claims());
    let good = query(&link);
    let doubled = good.replacen("device=", "device=x&device=", 1);
    let extra = format!("x=1&{good}");
    let upper = good.replace("dev:1", "dev%3A1");
    let long = good.replacen("job=", &format!("job={}", "x".repeat(LINK_BYTES_MAX)), 1);
    for bad in
        ["", "signature=", "&&&&", "device=a", &good[1..], &doubled, &extra, &upper, &long, "device=%ff&job="]
    {
        assert_eq!(bench.signer.verify(&digest(), bad, NOW, None), Err(LinkError::Malformed), "{bad}");
    }
}

#[test]
fn a_link_of_another_server_is_of_an_unknown_key() {
    let link = bench().sign(&claims());
    assert_eq!(bench().check(&link, NOW, None), Err(LinkError::UnknownKey));
}

#[test]
fn a_link_that_would_be_too_long_or_live_too_long_is_not_made() {
    let bench = bench();
    let sign = |claims, base| bench.signer.sign(base, &claims, NOW);
    assert_eq!(sign(LinkClaims { device: "é".repeat(400), ..claims() }, BASE), Err(SignError::TooLong));
    let expires = NOW + LINK_LIFE_SECONDS_MAX + 1;
    assert_eq!(sign(LinkClaims { expires, ..claims() }, BASE), Err(SignError::LifeTooLong));
    for base in ["", "ftp://x", "https://a b", "https://a\"b", "https://a?b"] {
        assert_eq!(sign(claims(), base), Err(SignError::PublicUrl), "{base}");
    }
}

#[test]
fn rotation_breaks_no_link_before_its_end() {
    let bench = bench();
    let old = bench.sign(&claims());
    bench.signer.rotate(NOW + 1).unwrap();
    let young = bench.sign(&claims());
    assert_ne!(query(&old), query(&young));
    assert!(bench.check(&old, NOW + 2, None).is_ok());
    // Another process, or the next start, reads the same keys.
    let again = LinkSigner::open(&bench.folder.path().join("link.keys"), NOW + 3).unwrap();
    for link in [&old, &young] {
        assert!(again.verify(&digest(), query(link), NOW + 3, None).is_ok());
    }
    bench.signer.rotate(NOW + 1 + LINK_LIFE_SECONDS_MAX).unwrap();
    assert_eq!(bench.check(&old, NOW, None), Err(LinkError::UnknownKey));
    assert!(bench.check(&young, NOW, None).is_ok());
}

#[test]
fn rotation_stops_before_it_would_break_links() {
    let bench = bench();
    let outcome = (0..100).map(|second| bench.signer.rotate(NOW + second)).find(Result::is_err);
    assert!(matches!(outcome, Some(Err(KeyFileError::TooMany))));
    assert!(bench.check(&bench.sign(&claims()), NOW, None).is_ok());
}

#[test]
fn the_key_file_is_private_and_a_bad_one_is_named() {
    let bench = bench();
    let path = bench.folder.path().join("link.keys");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let good = fs::read_to_string(&path).unwrap();
    for bad in
        ["", "{}", "{\"keys\":[]}", "\0\u{1}", &good.replace("secret", "secrets"), &good[..good.len() / 2]]
    {
        fs::write(&path, bad).unwrap();
        let error = LinkSigner::open(&path, NOW).err().unwrap();
        assert!(matches!(error, KeyFileError::Garbage { .. }), "{bad}");
        assert!(error.to_string().contains("link.keys"));
    }
    fs::write(&path, good).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(LinkSigner::open(&path, NOW), Err(KeyFileError::Exposed { mode: 0o644, .. })));
}

fn credential_claims() -> CredentialClaims {
    CredentialClaims { sha256: digest(), device: "dev-1".into(), job: "r1-1".into(), expires: NOW + 60 }
}

#[test]
fn a_credential_opens_its_artifact_until_its_end_and_nothing_else() {
    let signer = bench().signer;
    let credential = issue(&signer, &credential_claims(), NOW);
    let text = credential.reveal();
    assert!(text.starts_with(CREDENTIAL_PREFIX));
    assert_eq!(verify(&signer, text, &digest(), NOW), Ok(credential_claims()));
    assert_eq!(verify(&signer, text, &digest(), NOW + 60), Err(CredentialError::Expired));
    let other = "10".repeat(32).parse().unwrap();
    assert_eq!(verify(&signer, text, &other, NOW), Err(CredentialError::WrongArtifact));
    assert_eq!(verify(&bench().signer, text, &digest(), NOW), Err(CredentialError::UnknownKey));
    for bad in ["", CREDENTIAL_PREFIX, "token", &text[1..], &"x".repeat(5000)] {
        assert_eq!(verify(&signer, bad, &digest(), NOW), Err(CredentialError::Malformed), "{bad}");
    }
    assert!(!format!("{credential:?}").contains(text));
}

#[test]
fn a_credential_altered_at_any_character_opens_nothing() {
    let signer = bench().signer;
    let credential = issue(&signer, &credential_claims(), NOW);
    let text = credential.reveal();
    for at in 0..text.len() {
        for replacement in ["0", "1", "f", "F", ".", ""] {
            let altered = format!("{}{replacement}{}", &text[..at], &text[at + 1..]);
            assert!(altered == text || verify(&signer, &altered, &digest(), NOW).is_err(), "{altered}");
        }
    }
}
