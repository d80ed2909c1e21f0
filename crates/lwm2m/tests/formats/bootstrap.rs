//! Bootstrap: both ends against each other, and each against an end that does not behave.

use updraft_lwm2m::bootstrap::{
    self, AccountStore, Ask, BootstrapRequest, BootstrapSequence, Failure, Rejection, Security, SecurityMode,
    ServerAccount,
};
use updraft_lwm2m::content::{self, ContentFormat};
use updraft_lwm2m::link;
use updraft_lwm2m::registration::{Lifetime, Refusal};
use updraft_lwm2m::{Entry, Path, Value};

const CREATED: u8 = 0x41;
const DELETED: u8 = 0x42;
const CHANGED: u8 = 0x44;
const CONTENT: u8 = 0x45;
const BAD_REQUEST: u8 = 0x80;
const NOT_FOUND: u8 = 0x84;
const NOT_ACCEPTABLE: u8 = 0x86;
const UNSUPPORTED_FORMAT: u8 = 0x8f;

fn psk(uri: &str) -> Security {
    Security {
        uri: uri.to_owned(),
        mode: SecurityMode::Psk,
        identity: b"meter-1".to_vec(),
        server_key: Vec::new(),
        secret: b"0123456789abcdef".to_vec(),
    }
}

fn accounts() -> Vec<ServerAccount> {
    let plain = Security {
        uri: "coap://127.0.0.1:5683".to_owned(),
        mode: SecurityMode::NoSec,
        identity: Vec::new(),
        server_key: Vec::new(),
        secret: Vec::new(),
    };
    let mut second = ServerAccount::new(plain, 102);
    second.lifetime = Lifetime::Infinite;
    second.stores_notifications = false;
    vec![ServerAccount::new(psk("coaps://updates.example:5684"), 101), second]
}

fn factory() -> AccountStore {
    AccountStore::new(&psk("coaps://bootstrap.example"), &[])
}

/// Plays a device that answers each request from its store. Returns the requests, in words.
fn play(sequence: &mut BootstrapSequence, store: &mut AccountStore) -> Vec<String> {
    let mut said = Vec::new();
    while let Some(ask) = sequence.poll_ask() {
        assert_eq!(sequence.poll_ask(), None, "one request at a time");
        let (words, outcome) = match &ask {
            Ask::Discover => {
                let list = link::write_discovered(&store.discovered());
                sequence.handle_answer(CONTENT, list.as_bytes());
                said.push("discover".to_owned());
                continue;
            }
            Ask::Delete(path) => (format!("delete {path}"), store.handle_delete(path).map(|()| DELETED)),
            Ask::Write { path, format, body } => {
                let entries = content::decode(*format, path, body).expect("a body that the server wrote");
                (format!("write {path} {format}"), store.handle_write(path, entries).map(|()| CHANGED))
            }
            Ask::Finish => ("finish".to_owned(), store.handle_finish().map(|_| CHANGED)),
        };
        said.push(words);
        sequence.handle_answer(outcome.unwrap_or_else(|rejection| rejection.code()), b"");
    }
    said
}

#[test]
fn a_factory_device_is_given_its_servers_in_each_format() {
    for (preferred, format) in [
        (None, "TLV"),
        (Some(ContentFormat::TLV), "TLV"),
        (Some(ContentFormat::SENML_CBOR), "SenML CBOR"),
        (Some(ContentFormat::SENML_JSON), "SenML JSON"),
        (Some(ContentFormat::LWM2M_CBOR), "LwM2M CBOR"),
        (Some(ContentFormat::TEXT), "TLV"),
    ] {
        let mut store = factory();
        let mut sequence = BootstrapSequence::new(accounts(), preferred);
        let said = play(&mut sequence, &mut store);
        let writes = ["/0/1", "/1/0", "/0/2", "/1/1"].map(|path| format!("write {path} {format}"));
        let expected = [
            vec!["discover".into(), "delete /0".into(), "delete /1".into()],
            writes.into(),
            vec!["finish".into()],
        ];
        assert_eq!(said, expected.concat());
        assert_eq!(sequence.outcome(), Some(Ok(())));
        assert_eq!(store.handle_finish(), Ok(accounts()));
    }
}

#[test]
fn a_device_that_has_servers_is_given_others() {
    let old = ServerAccount::new(psk("coaps://old.example"), 7);
    let mut store = AccountStore::new(&psk("coaps://bootstrap.example"), std::slice::from_ref(&old));
    assert_eq!(store.handle_finish(), Ok(vec![old]));
    let list = link::write_discovered(&store.discovered());
    assert_eq!(list, "</0>,</0/0>,</0/1>;ssid=7;uri=\"coaps://old.example\",</1>,</1/0>;ssid=7");
    play(&mut BootstrapSequence::new(accounts(), None), &mut store);
    assert_eq!(store.handle_finish(), Ok(accounts()));
}

#[test]
fn the_bootstrap_servers_own_account_is_never_written_over() {
    let asked = |discovered: Option<&str>| {
        let mut sequence = BootstrapSequence::new(accounts(), None);
        let mut paths = Vec::new();
        while let Some(ask) = sequence.poll_ask() {
            match (&ask, discovered) {
                (Ask::Discover, Some(list)) => sequence.handle_answer(CONTENT, list.as_bytes()),
                (Ask::Discover, None) => sequence.handle_answer(NOT_FOUND, b""),
                (Ask::Write { path, .. }, _) => {
                    paths.push(path.to_string());
                    sequence.handle_answer(CHANGED, b"");
                }
                (Ask::Delete(_) | Ask::Finish, _) => sequence.handle_answer(CHANGED, b""),
            }
        }
        assert_eq!(sequence.outcome(), Some(Ok(())));
        paths
    };
    assert_eq!(asked(Some("</0/1>,</0/0>;ssid=1,</1/0>;ssid=1")), ["/0/0", "/1/0", "/0/2", "/1/1"]);
    assert_eq!(asked(Some("</0/0>,</0/1>")), ["/0/2", "/1/0", "/0/3", "/1/1"]);
    // A device that cannot be asked, and one whose answer is none.
    assert_eq!(asked(None), ["/0/1", "/1/0", "/0/2", "/1/1"]);
    assert_eq!(asked(Some("nonsense")), ["/0/1", "/1/0", "/0/2", "/1/1"]);
    assert_eq!(asked(Some("</3/0>")), ["/0/1", "/1/0", "/0/2", "/1/1"]);
}

#[test]
fn a_device_that_does_not_know_the_format_is_written_in_tlv() {
    for code in [UNSUPPORTED_FORMAT, NOT_ACCEPTABLE] {
        let mut sequence = BootstrapSequence::new(accounts(), Some(ContentFormat::SENML_CBOR));
        let mut formats = Vec::new();
        while let Some(ask) = sequence.poll_ask() {
            let Ask::Write { path, format, .. } = ask else {
                sequence.handle_answer(CHANGED, b"");
                continue;
            };
            formats.push((path.to_string(), format));
            let known = format == ContentFormat::TLV;
            sequence.handle_answer(if known { CREATED } else { code }, b"");
        }
        assert_eq!(formats[0], ("/0/1".to_owned(), ContentFormat::SENML_CBOR));
        assert!(formats[1..].iter().all(|(_, format)| *format == ContentFormat::TLV));
        assert_eq!((formats.len(), sequence.outcome()), (5, Some(Ok(()))));
    }
}

#[test]
fn what_the_device_refuses_ends_the_sequence_with_its_reason() {
    // The number of requests that are answered well, the answer to the next, and the reason.
    for (good, code, expected) in [
        (1, BAD_REQUEST, Failure::Refused(BAD_REQUEST)),
        (2, BAD_REQUEST, Failure::Refused(BAD_REQUEST)),
        (3, UNSUPPORTED_FORMAT, Failure::Refused(UNSUPPORTED_FORMAT)),
        (6, BAD_REQUEST, Failure::Refused(BAD_REQUEST)),
        (7, NOT_ACCEPTABLE, Failure::Inconsistent),
        (7, BAD_REQUEST, Failure::Refused(BAD_REQUEST)),
    ] {
        let mut sequence = BootstrapSequence::new(accounts(), None);
        for _ in 0..good {
            assert!(sequence.poll_ask().is_some());
            sequence.handle_answer(CHANGED, b"");
        }
        assert!(sequence.poll_ask().is_some() && sequence.outcome().is_none());
        sequence.handle_answer(code, b"");
        assert_eq!((sequence.poll_ask(), sequence.outcome()), (None, Some(Err(expected))), "{good}");
        // Late words change nothing.
        sequence.handle_answer(CHANGED, b"");
        sequence.handle_silence();
        assert_eq!(sequence.outcome(), Some(Err(expected)));
    }
}

#[test]
fn silence_ends_the_sequence_at_each_step() {
    for good in 0..8 {
        let mut sequence = BootstrapSequence::new(accounts(), None);
        // Before anything is asked there is nothing to wait for.
        sequence.handle_silence();
        sequence.handle_answer(BAD_REQUEST, b"");
        for _ in 0..good {
            assert!(sequence.poll_ask().is_some());
            sequence.handle_answer(CHANGED, b"");
        }
        assert!(sequence.poll_ask().is_some());
        sequence.handle_silence();
        assert_eq!((sequence.poll_ask(), sequence.outcome()), (None, Some(Err(Failure::Silent))));
    }
}

#[test]
fn what_there_is_not_to_delete_is_no_failure() {
    let mut sequence = BootstrapSequence::new(Vec::new(), None);
    for code in [NOT_FOUND, NOT_FOUND, NOT_FOUND, CHANGED] {
        assert!(sequence.poll_ask().is_some());
        sequence.handle_answer(code, b"");
    }
    assert_eq!(sequence.outcome(), Some(Ok(())));
}

#[test]
fn a_pack_is_the_whole_configuration() {
    for format in [ContentFormat::SENML_CBOR, ContentFormat::SENML_JSON, ContentFormat::LWM2M_CBOR] {
        let old = ServerAccount::new(psk("coaps://old.example"), 7);
        let mut store = AccountStore::new(&psk("coaps://bootstrap.example"), std::slice::from_ref(&old));
        let body = bootstrap::pack(&accounts(), format).unwrap();
        assert_eq!(store.handle_pack(format, &body), Ok(accounts()));
        // A pack that makes no accounts changes nothing.
        let broken = bootstrap::pack(&[accounts()[0].clone(), accounts()[0].clone()], format).unwrap();
        assert!(matches!(store.handle_pack(format, &broken), Err(Rejection::Inconsistent(_))));
        assert!(matches!(store.handle_pack(format, b"\xff"), Err(Rejection::Format(_))));
        assert_eq!(store.handle_finish(), Ok(accounts()));
    }
    assert!(bootstrap::pack(&accounts(), ContentFormat::TEXT).is_err());
}

/// Writes the accounts into a factory device, with a change.
fn written(change: impl Fn(&mut AccountStore)) -> Result<Vec<ServerAccount>, Rejection> {
    let mut store = factory();
    play(&mut BootstrapSequence::new(vec![accounts()[0].clone()], None), &mut store);
    assert!(store.handle_finish().is_ok());
    change(&mut store);
    store.handle_finish()
}

#[test]
fn accounts_that_do_not_fit_together_are_found_at_the_finish() {
    let set = |path: &'static str, value: Value| {
        move |store: &mut AccountStore| {
            let path: Path = path.parse().expect("a path");
            store.handle_write(&path, vec![Entry { path, value: value.clone() }]).expect("it is kept");
        }
    };
    assert!(written(|_| {}).is_ok());
    for (at, value) in [
        ("/0/1/0", Value::from("http://x")),
        ("/0/1/0", Value::from("coap://x")),
        ("/0/1/0", Value::from("")),
        ("/0/1/0", Value::from(format!("coaps://{}", "x".repeat(255)))),
        ("/0/1/1", Value::from(true)),
        ("/0/0/1", Value::from(false)),
        ("/0/1/2", Value::Integer(9)),
        ("/0/1/2", Value::Integer(2)),
        ("/0/1/3", Value::from(vec![1; 129])),
        ("/0/1/5", Value::from(Vec::new())),
        ("/0/1/5", Value::from(vec![1; 65])),
        ("/0/1/10", Value::Integer(0)),
        ("/0/1/10", Value::Integer(65_535)),
        ("/0/1/10", Value::Integer(102)),
        ("/1/0/0", Value::Integer(102)),
        ("/1/0/1", Value::Integer(-1)),
        ("/1/0/7", Value::from("udp")),
        ("/1/1/0", Value::Integer(101)),
    ] {
        let outcome = written(set(at, value.clone()));
        assert!(matches!(outcome, Err(Rejection::Inconsistent(_))), "{at} {value:?} {outcome:?}");
        assert_eq!(outcome.map_err(|rejection| rejection.code()), Err(NOT_ACCEPTABLE));
    }
    for path in ["/0", "/1", "/", "/0/1", "/1/0"] {
        let outcome = written(|store| store.handle_delete(&path.parse().unwrap()).unwrap());
        assert!(matches!(outcome, Err(Rejection::Inconsistent(_))), "{path}");
    }
}

#[test]
fn deleting_everything_leaves_the_bootstrap_servers_account() {
    let mut store = AccountStore::new(&psk("coaps://bootstrap.example"), &accounts());
    store.handle_delete(&Path::ROOT).unwrap();
    assert_eq!(link::write_discovered(&store.discovered()), "</0>,</0/0>,</1>");
    assert_eq!(store.handle_delete(&Path::instance(0, 0)), Err(Rejection::Elsewhere));
    assert_eq!(store.handle_delete(&Path::object(3)), Err(Rejection::Elsewhere));
    assert_eq!(store.handle_delete(&Path::resource(0, 1, 0)), Err(Rejection::Elsewhere));
}

#[test]
fn a_write_replaces_an_instance_and_touches_no_other_object() {
    let mut store = AccountStore::new(&psk("coaps://bootstrap.example"), &accounts());
    let server = Path::instance(1, 0);
    let entry = |path: Path, value: i64| Entry { path, value: Value::Integer(value) };
    store.handle_write(&server, vec![entry(Path::resource(1, 0, 0), 101)]).unwrap();
    assert_eq!(store.read(&server), Ok(vec![entry(Path::resource(1, 0, 0), 101)]));
    assert_eq!(store.read(&Path::object(1)).unwrap().len(), 5);
    for (path, at) in [("/3/0", "/3/0/13"), ("/1/0", "/1/1/0"), ("/1/0", "/0/1/0"), ("/", "/5/0/1")] {
        let entries = vec![entry(at.parse().unwrap(), 1)];
        assert_eq!(
            store.handle_write(&path.parse().unwrap(), entries),
            Err(Rejection::Elsewhere),
            "{path} {at}"
        );
    }
}

/// Whether the key of [`psk`] is in the debug text of something: as numbers, as text, or as hexadecimal.
fn prints_secret(printed: &impl std::fmt::Debug) -> bool {
    let printed = format!("{printed:?}");
    ["48, 49, 50", "012345", "303132"].iter().any(|part| printed.contains(part))
}

#[test]
fn secrets_are_neither_read_nor_printed() {
    let store = AccountStore::new(&psk("coaps://bootstrap.example"), &accounts());
    for path in [Path::object(0), Path::resource(0, 1, 5), Path::ROOT, Path::object(3)] {
        assert_eq!(store.read(&path), Err(Rejection::Elsewhere));
    }
    let mut sequence = BootstrapSequence::new(accounts(), None);
    while let Some(ask) = sequence.poll_ask() {
        assert!(!prints_secret(&ask));
        sequence.handle_answer(CHANGED, b"");
    }
    assert!(!prints_secret(&accounts()) && !prints_secret(&sequence) && !prints_secret(&store));
    assert!(format!("{:?}", accounts()).contains("updates.example"));
}

#[test]
fn a_bootstrap_server_cannot_fill_the_device() {
    let mut store = factory();
    let mut accepted = 0;
    for instance in 1..1_000 {
        let path = Path::instance(0, instance);
        let entries = vec![Entry::new(Path::resource(0, instance, 3), vec![0; 1_000])];
        match store.handle_write(&path, entries) {
            Ok(()) => accepted += 1,
            Err(rejection) => assert_eq!((rejection, rejection.code()), (Rejection::TooBig, 0x8d)),
        }
    }
    assert!((20..40).contains(&accepted), "{accepted}");
    let mut store = factory();
    let full = (1..1_000).find(|instance| {
        let entries = vec![Entry::new(Path::resource(1, *instance, 0), 1)];
        store.handle_write(&Path::instance(1, *instance), entries).is_err()
    });
    assert!(full.is_some_and(|full| full < 300));
}

#[test]
fn a_bootstrap_request_is_read_as_it_was_written() {
    let request = BootstrapRequest::parse(&["ep=meter-1", "pct=112", "x=1"], None).unwrap();
    assert_eq!((&*request.endpoint, request.format), ("meter-1", Some(ContentFormat::SENML_CBOR)));
    assert_eq!(request.queries(), ["ep=meter-1", "pct=112"]);
    assert_eq!(&*BootstrapRequest::parse(&[], Some("psk-7")).unwrap().endpoint, "psk-7");
    for (queries, refusal) in [
        (&["pct=112"][..], Refusal::NoEndpoint),
        (&["ep="], Refusal::Endpoint),
        (&["ep=a", "ep=b"], Refusal::Query),
        (&["ep=a", "pct=x"], Refusal::Query),
        (&["ep=a", "pct=70000"], Refusal::Query),
    ] {
        assert_eq!(BootstrapRequest::parse(queries, None), Err(refusal), "{queries:?}");
    }
}
