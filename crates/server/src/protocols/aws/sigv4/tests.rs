//! Requests that botocore signed (`tests/aws/fixtures/sigv4.py` makes them), taken; and the same, tampered with, not.

use super::*;
use axum::http::{HeaderName, HeaderValue};
use serde::Deserialize;

/// 2026-03-01T12:00:00Z, when the fixtures were signed.
const SIGNED: Timestamp = Timestamp::from_millis(1_772_366_400_000);

#[derive(Deserialize)]
struct Fixtures {
    secret: String,
    requests: Vec<Request>,
}

#[derive(Deserialize, Clone)]
struct Request {
    name: String,
    method: String,
    path: String,
    query: String,
    headers: std::collections::BTreeMap<String, String>,
    body: String,
}

fn fixtures() -> Fixtures {
    serde_json::from_str(include_str!("../../../../tests/aws/fixtures/sigv4.json")).unwrap()
}

impl Request {
    fn named(name: &str) -> Self {
        fixtures().requests.into_iter().find(|request| request.name == name).unwrap()
    }

    fn headers(&self) -> HeaderMap {
        let pair = |(name, value): (&String, &String)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        self.headers.iter().map(pair).collect()
    }

    fn change(mut self, header: &str, from: &str, to: &str) -> Self {
        let value = self.headers.get_mut(header).unwrap();
        assert!(value.contains(from), "{value}");
        *value = value.replacen(from, to, 1);
        self
    }

    fn verdict_at(&self, now: Timestamp) -> Result<Claim, SignatureError> {
        let headers = self.headers();
        let query = Query::parse(&self.query).unwrap();
        let claim = Claim::read(&headers, now)?;
        let head = Head { method: &self.method, path: &self.path, query: &query, headers: &headers };
        claim.verify(head, &hex::decode(&self.body).unwrap(), &fixtures().secret).map(|()| claim)
    }

    fn verdict(&self) -> Result<Claim, SignatureError> {
        self.verdict_at(SIGNED)
    }
}

#[test]
fn what_botocore_signs_is_taken_with_its_scope() {
    let requests = fixtures().requests;
    assert_eq!(requests.len(), 6);
    for request in requests {
        let claim = request.verdict().unwrap_or_else(|error| panic!("{}: {error}", request.name));
        assert_eq!(claim.access_key_id, "UPDK0123456789ABCDEF");
        assert_eq!((claim.scope.date.as_str(), claim.scope.region.as_str()), ("20260301", "eu-central-1"));
        let is_temporary = request.name == "token";
        assert_eq!(claim.token.is_some(), is_temporary, "{}", request.name);
    }
    assert_eq!(Request::named("next").verdict().unwrap().scope.service, "iot-jobs-data");
}

#[test]
fn a_request_that_was_changed_on_the_way_is_refused() {
    let changes: [fn(&mut Request); 7] = [
        |request| request.method = "GET".to_owned(),
        |request| request.path = "/things/t2/shadow".to_owned(),
        |request| request.query = "name=s%242".to_owned(),
        |request| request.query.clear(),
        |request| request.body = hex::encode(b"{\"state\":{} }"),
        |request| drop(request.headers.insert("host".to_owned(), "elsewhere".to_owned())),
        |request| drop(request.headers.insert("x-amz-security-token".to_owned(), "another".to_owned())),
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut request = Request::named("token");
        change(&mut request);
        assert_eq!(request.verdict(), Err(SignatureError::Mismatch), "change {at}");
    }
}

#[test]
fn a_signature_with_one_bit_or_the_secret_changed_is_refused() {
    let request = Request::named("get");
    let signature = request.headers["authorization"].rsplit('=').next().unwrap().to_owned();
    for at in 0..64 {
        let mut changed = signature.clone().into_bytes();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        let changed = String::from_utf8(changed).unwrap();
        let request = request.clone().change("authorization", &signature, &changed);
        assert_eq!(request.verdict(), Err(SignatureError::Mismatch), "digit {at}");
    }
    let (headers, query) = (request.headers(), Query::default());
    let claim = Claim::read(&headers, SIGNED).unwrap();
    let head = Head { method: "GET", path: &request.path, query: &query, headers: &headers };
    assert_eq!(claim.verify(head, b"", &fixtures().secret), Ok(()));
    assert_eq!(claim.verify(head, b"", &"0e".repeat(32)), Err(SignatureError::Mismatch));
}

#[test]
fn a_signature_for_another_scope_does_not_match() {
    for (from, to) in [("/iot/", "/iot-jobs-data/"), ("eu-central-1", "eu-central-2")] {
        let request = Request::named("get").change("authorization", from, to);
        assert_eq!(request.verdict(), Err(SignatureError::Mismatch), "{to}");
    }
    let request = Request::named("get").change("authorization", "/20260301/", "/20260228/");
    assert_eq!(request.verdict(), Err(SignatureError::Scope));
}

#[test]
fn a_request_from_more_than_five_minutes_before_or_after_is_refused() {
    let request = Request::named("get");
    for seconds in [-300, 0, 300] {
        assert!(request.verdict_at(Timestamp::from_millis(SIGNED.as_millis() + seconds * 1000)).is_ok());
    }
    for millis in [-300_001, 300_001, i64::MAX / 2, i64::MIN / 2] {
        let now = Timestamp::from_millis(SIGNED.as_millis().saturating_add(millis));
        assert_eq!(request.verdict_at(now), Err(SignatureError::Time), "{millis}");
    }
    let request = Request::named("get").change("x-amz-date", "20260301T1200", "20260301T1201");
    assert_eq!(request.verdict(), Err(SignatureError::Mismatch));
}

#[test]
fn an_authorization_that_is_not_in_its_form_is_refused_as_incomplete() {
    for (from, to) in [
        ("Credential=", "Credentials="),
        (", Signature=", ", Signature=00, Signature="),
        ("SignedHeaders=host;x-amz-date, ", ""),
        ("host;x-amz-date", "x-amz-date;host"),
        ("host;x-amz-date", "host;host;x-amz-date"),
        ("host;x-amz-date", "Host;x-amz-date"),
        ("host;x-amz-date", "x-amz-date"),
        ("host;x-amz-date", "host"),
        ("/aws4_request", "/aws5_request"),
        ("/iot/", "/i t/"),
        ("/iot/", "//"),
        ("/20260301/", "/2026031/"),
        ("Signature=8d", "Signature=8D"),
        ("Signature=8d", "Signature="),
    ] {
        let request = Request::named("get").change("authorization", from, to);
        let verdict = request.verdict();
        assert!(matches!(verdict, Err(SignatureError::Incomplete(_))), "{from} {to}: {verdict:?}");
    }
    for date in
        ["", "20260301", "2026-03-01T12:00Z", "20261301T120000Z", "20260301T12000 Z", "20260301T126000Z"]
    {
        let mut request = Request::named("get");
        request.headers.insert("x-amz-date".to_owned(), date.to_owned());
        assert!(matches!(request.verdict(), Err(SignatureError::Incomplete(_))), "{date:?}");
    }
    let mut request = Request::named("get");
    let huge = format!("{} {}", ALGORITHM, "x".repeat(5_000));
    request.headers.insert("authorization".to_owned(), huge);
    assert!(matches!(request.verdict(), Err(SignatureError::Incomplete(_))));
}

#[test]
fn a_header_that_changes_the_meaning_and_is_not_signed_is_refused() {
    let mut request = Request::named("get");
    request.headers.insert("x-amz-security-token".to_owned(), "stolen".to_owned());
    assert!(matches!(request.verdict(), Err(SignatureError::Incomplete(_))));
}

#[test]
fn a_header_of_the_signature_sent_twice_is_refused() {
    let request = Request::named("token");
    for name in ["authorization", "x-amz-date", "x-amz-security-token"] {
        let mut headers = request.headers();
        headers.append(HeaderName::from_static(name), HeaderValue::from_static("20260301T120000Z"));
        let verdict = Claim::read(&headers, SIGNED);
        assert!(matches!(verdict, Err(SignatureError::Incomplete(_))), "{name}: {verdict:?}");
    }
}

#[test]
fn no_signature_and_another_scheme_are_both_no_signature() {
    for value in [None, Some("Bearer updt_x"), Some("AWS4-ECDSA-P256-SHA256 Credential=x")] {
        let mut request = Request::named("get");
        request.headers.remove("authorization");
        request.headers.extend(value.map(|value| ("authorization".to_owned(), value.to_owned())));
        assert_eq!(request.verdict(), Err(SignatureError::Missing));
        assert!(!is_signed(&request.headers()));
    }
}
