//! Reading, writing, executing and discovering, and what is refused.

use super::*;
use crate::Value;

const FORMATS: [ContentFormat; 4] =
    [ContentFormat::TLV, ContentFormat::SENML_JSON, ContentFormat::SENML_CBOR, ContentFormat::LWM2M_CBOR];

#[test]
fn each_object_reads_the_same_in_each_format() {
    let mut world = World::registered();
    world.client.set_clock(world.now, 1_700_000_000);
    for base in ["/1/0", "/3/0", "/4/0", "/5/0", "/3", "/5/0/8"] {
        let values = |response: &Response| -> Vec<(Path, String)> {
            let entries = entries(response, base);
            entries.into_iter().map(|entry| (entry.path, entry.value.to_string())).collect()
        };
        let reference = values(&world.get(base, Some(ContentFormat::SENML_CBOR)));
        assert!(reference.len() >= 2, "{base}");
        for format in FORMATS {
            let response = world.get(base, Some(format));
            assert_eq!(response.content_format(), Some(format.0));
            assert_eq!(values(&response), reference, "{base} in {format}");
        }
    }
}

#[test]
fn one_resource_is_answered_plainly_and_an_instance_in_senml_cbor() {
    let mut world = World::registered();
    assert_eq!(text(&world.get("/3/0/3", None)), "1.0.0");
    assert_eq!(text(&world.get("/5/0/3", None)), "0");
    assert_eq!(text(&world.get("/5/0/8/1", None)), "3");
    assert_eq!(world.get("/3/0", None).content_format(), Some(112));
    assert_eq!(world.get("/5/0/8", None).content_format(), Some(112));
    let response = world.get("/3/0/3", Some(ContentFormat::TLV));
    assert_eq!(entries(&response, "/3/0/3")[0].value, Value::from("1.0.0"));
}

#[test]
fn what_is_not_there_or_not_allowed_is_refused_with_its_code() {
    let mut world = World::registered();
    for (path, code) in [
        ("/0", Code::UNAUTHORIZED),
        ("/0/0/5", Code::UNAUTHORIZED),
        ("/21/0", Code::UNAUTHORIZED),
        ("/", Code::METHOD_NOT_ALLOWED),
        ("/9", Code::NOT_FOUND),
        ("/3/1", Code::NOT_FOUND),
        ("/3/0/99", Code::NOT_FOUND),
        ("/3/0/2/0", Code::NOT_FOUND),
        ("/5/0/8/9", Code::NOT_FOUND),
        ("/3/0/x", Code::NOT_FOUND),
        ("/65535", Code::NOT_FOUND),
        ("/3/0/4", Code::METHOD_NOT_ALLOWED),
        ("/5/0/0", Code::METHOD_NOT_ALLOWED),
    ] {
        assert_eq!(world.get(path, None).code, code, "{path}");
    }
    for (path, format) in [("/3/0", 0), ("/3/0/0", 42), ("/3/0/0", 9_999), ("/3/0", 60)] {
        assert_eq!(world.get(path, Some(ContentFormat(format))).code, Code::NOT_ACCEPTABLE, "{path}");
    }
}

#[test]
fn a_wrong_method_or_body_is_refused_and_changes_nothing() {
    let mut world = World::registered();
    assert_eq!(world.put("/3/0/3", "9.9.9"), Code::METHOD_NOT_ALLOWED);
    assert_eq!(world.put("/3/0/4", ""), Code::METHOD_NOT_ALLOWED);
    assert_eq!(world.post("/3/0/3"), Code::METHOD_NOT_ALLOWED);
    assert_eq!(world.post("/3"), Code::METHOD_NOT_ALLOWED);
    assert_eq!(world.put("/1/0/1", "soon"), Code::BAD_REQUEST);
    let foreign = Request::new(Method::Put, "/1/0/1").with_payload(9_999, vec![1]);
    assert_eq!(world.ask(foreign).code, Code::UNSUPPORTED_CONTENT_FORMAT);
    let broken = Request::new(Method::Put, "/1/0").with_payload(ContentFormat::TLV.0, vec![0xff; 9]);
    assert_eq!(world.ask(broken).code, Code::BAD_REQUEST);
    for method in [Method::Delete, Method::Patch] {
        assert_eq!(world.ask(Request::new(method, "/3/0")).code, Code::METHOD_NOT_ALLOWED);
    }
    // The second of two values is refused: the first is not taken either.
    let values =
        [Entry::new(Path::resource(1, 0, 2), Value::Integer(9)), Entry::new(Path::resource(1, 0, 7), "T")];
    let body = content::encode(ContentFormat::SENML_CBOR, &Path::instance(1, 0), &values).unwrap();
    let both = Request::new(Method::Post, "/1/0").with_payload(112, body);
    assert_eq!(world.ask(both).code, Code::BAD_REQUEST);
    assert_eq!(text(&world.get("/1/0/2", None)), "0");
}

#[test]
fn an_instance_is_written_as_a_whole() {
    let mut world = World::registered();
    let values = [
        Entry::new(Path::resource(1, 0, 0), Value::Integer(7)),
        Entry::new(Path::resource(1, 0, 1), Value::Integer(600)),
        Entry::new(Path::resource(1, 0, 3), Value::Integer(60)),
    ];
    let body = content::encode(ContentFormat::TLV, &Path::instance(1, 0), &values).unwrap();
    let write = Request::new(Method::Put, "/1/0").with_payload(ContentFormat::TLV.0, body);
    assert_eq!(world.ask(write).code, Code::CHANGED);
    assert_eq!(
        (text(&world.get("/1/0/1", None)), text(&world.get("/1/0/3", None))),
        ("600".into(), "60".into())
    );
}

#[test]
fn a_reboot_is_asked_of_the_host() {
    let mut world = World::registered();
    assert_eq!(world.post("/3/0/4"), Code::CHANGED);
    assert_eq!(world.actions, [Action::Reboot]);
}

#[test]
fn the_clock_is_set_by_the_server_and_goes_on() {
    let mut world = World::registered();
    assert_eq!(world.get("/3/0/13", None).code, Code::NOT_FOUND);
    assert_eq!(world.put("/3/0/13", "1700000000"), Code::CHANGED);
    assert!(world.actions.contains(&Action::ClockSet(1_700_000_000)));
    world.pass(Duration::from_secs(10));
    assert_eq!(text(&world.get("/3/0/13", None)), "1700000010");
}

#[test]
fn discover_lists_resources_with_their_attributes() {
    let mut world = World::registered();
    assert_eq!(world.attributes("/5/0/3", "pmin=1&pmax=60"), Code::CHANGED);
    let list = |world: &mut World, path: &str| {
        let response = world.get(path, Some(ContentFormat::LINK));
        assert_eq!((response.code, response.content_format()), (Code::CONTENT, Some(40)));
        String::from_utf8(response.payload).unwrap()
    };
    assert_eq!(list(&mut world, "/5/0/3"), "</5/0/3>;pmin=1;pmax=60");
    let object = list(&mut world, "/5");
    assert!(object.starts_with("</5>;ver=1.2,</5/0>,</5/0/0>,</5/0/1>"), "{object}");
    assert!(object.contains("</5/0/8>;dim=2"), "{object}");
    assert_eq!(world.get("/0", Some(ContentFormat::LINK)).code, Code::UNAUTHORIZED);
}

#[test]
fn several_paths_are_read_at_once_and_what_is_not_there_is_left_out() {
    let mut world = World::registered();
    let paths = ["/3/0/3", "/5/0/3", "/9/9/9"].map(|path| path.parse().unwrap());
    let body = content::encode_paths(ContentFormat::SENML_CBOR, &paths).unwrap();
    let response = world.ask(Request::new(Method::Fetch, "/").with_payload(112, body.clone()));
    let read: Vec<Path> = entries(&response, "/").into_iter().map(|entry| entry.path).collect();
    assert_eq!(read, paths[..2]);
    let as_text = Request::new(Method::Fetch, "/").with_payload(112, body).with_accept(0);
    assert_eq!(world.ask(as_text).code, Code::NOT_ACCEPTABLE);
}

#[derive(Debug)]
struct Lamp(bool);

impl Object for Lamp {
    fn id(&self) -> u16 {
        3311
    }

    fn instances(&self) -> Vec<u16> {
        vec![0]
    }

    fn resources(&self, _instance: u16) -> Vec<u16> {
        vec![5850]
    }

    fn operations(&self, _resource: u16) -> Option<crate::model::Operations> {
        Some(crate::model::Operations::ReadWrite)
    }

    fn read(&self, _time: Time, _instance: u16) -> Vec<Entry> {
        vec![Entry::new(Path::resource(3311, 0, 5850), self.0)]
    }

    fn write(&mut self, _time: Time, _write: object::Write, entries: &[Entry]) -> Result<(), Code> {
        for entry in entries {
            self.0 = entry.value.as_boolean().ok_or(Code::BAD_REQUEST)?;
        }
        Ok(())
    }
}

#[test]
fn an_object_of_the_hosts_own_is_registered_read_written_and_observed() {
    let client = Client::new(config(), [7; 32], server_object(), device()).with_object(Box::new(Lamp(false)));
    let mut world = World::of(client);
    world.client.start(world.now);
    world.settle();
    let register = world.answer(Response::new(Code::CREATED).with_location("/rd/1"));
    assert!(String::from_utf8(register.payload).unwrap().contains("</3311/0>"));
    assert_eq!(world.observe("/3311/0/5850").code, Code::CONTENT);
    let value = [Entry::new(Path::resource(3311, 0, 5850), true)];
    let body = content::encode(ContentFormat::SENML_CBOR, &Path::resource(3311, 0, 5850), &value).unwrap();
    let write = Request::new(Method::Put, "/3311/0/5850").with_payload(112, body);
    assert_eq!(world.ask(write).code, Code::CHANGED);
    assert_eq!(world.notifications.len(), 1);
    let request = Request { method: Method::Get, options: Options::new(), payload: Vec::new() };
    assert_eq!(world.ask(request).code, Code::METHOD_NOT_ALLOWED);
}
