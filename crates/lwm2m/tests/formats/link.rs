//! Lists of links: registrations and Discover, as devices write them and as nobody should.

use updraft_lwm2m::link::{
    self, ATTRIBUTES_MAX, BODY_BYTES_MAX, Discovered, LINKS_MAX, LinkError, ObjectVersion, Objects,
};
use updraft_lwm2m::{ContentFormat, Path};

#[track_caller]
fn check(body: &str, root: Option<&str>, paths: &[&str]) -> Objects {
    let objects = Objects::parse(body.as_bytes()).expect("a list of links");
    let expected: Vec<Path> = paths.iter().map(|path| path.parse().expect("a path")).collect();
    assert_eq!((objects.root(), objects.paths()), (root, &expected[..]), "{body}");
    objects
}

#[test]
fn a_registration_is_read_however_it_is_spelled() {
    for body in [
        "</1/0>,</3/0>,</5>",
        "</1/0>, </3/0>, </5>",
        " </1/0> , </3/0>\t,\r\n</5> ",
        "</5>,</3/0>,</1/0>,</1/0>",
        "</>;rt=\"oma.lwm2m\",</1/0>,</3/0>,</5>",
        "</1/0>;if=\"x,y;z\";obs,</3/0>;title*=UTF-8'en'a;;,</5>,",
        "</1/0>,</3/0>,</5>,</sensors/t>;rt=\"temperature\",</.well-known/core>,<coap://x/1>,</65535/0>,</3/0/1>",
        "</0/0>,</21/0>,</1/0>,</3/0>,</5>",
    ] {
        check(body, None, &["/1/0", "/3/0", "/5"]);
    }
    check("", None, &[]);
}

#[test]
fn versions_and_formats_of_a_registration_are_kept() {
    let objects = check(
        "</>;rt=\"oma.lwm2m\";ct=\"60 110 112 11542\",</1>;ver=1.1,</1/0>,</3>;ver=\"1.2\",</3/0>,</5/0>",
        None,
        &["/1", "/1/0", "/3", "/3/0", "/5/0"],
    );
    assert_eq!(objects.version(1), Some(ObjectVersion { major: 1, minor: 1 }));
    assert_eq!(objects.version(3), Some(ObjectVersion { major: 1, minor: 2 }));
    assert_eq!(objects.version(5), None);
    assert_eq!(objects.formats().len(), 4);
    assert!(objects.formats().contains(&ContentFormat::SENML_CBOR));
    assert!(objects.has(5) && !objects.has(9));
    assert_eq!(objects.instances(3).collect::<Vec<_>>(), [0]);
    assert_eq!(
        check("</>;rt=\"oma.lwm2m\";ct=110,</5/0>", None, &["/5/0"]).formats(),
        [ContentFormat::SENML_JSON]
    );
    // A version that is none says nothing.
    assert_eq!(check("</5>;ver=x,</5/0>", None, &["/5", "/5/0"]).version(5), None);
}

#[test]
fn an_alternate_root_is_taken_off_each_path() {
    for body in [
        "</lwm2m>;rt=\"oma.lwm2m\",</lwm2m/1/0>,</lwm2m/5/0>",
        "</lwm2m/1/0>,</lwm2m/5/0>,</lwm2m>;ct=110;rt=\"other oma.lwm2m\"",
        "</lwm2m/>;rt=oma.lwm2m, </lwm2m/1/0>, </lwm2m/5/0>, </other/3/0>, </3/0>",
    ] {
        check(body, Some("/lwm2m"), &["/1/0", "/5/0"]);
    }
}

#[test]
fn a_registration_is_read_as_it_was_written() {
    let versions = [(1, ObjectVersion { major: 1, minor: 2 }), (5, ObjectVersion { major: 1, minor: 1 })];
    let paths = [Path::instance(1, 0), Path::instance(3, 0), Path::object(5), Path::instance(5, 0)];
    let objects = Objects::new(&paths, &versions, &[ContentFormat::SENML_CBOR, ContentFormat::TLV]);
    let list = objects.write();
    assert_eq!(list, "</>;rt=\"oma.lwm2m\";ct=\"112 11542\",</1>;ver=1.2,</1/0>,</3/0>,</5>;ver=1.1,</5/0>");
    let again = Objects::parse(list.as_bytes()).unwrap();
    assert_eq!(again.write(), list);
    assert_eq!(again.version(5), objects.version(5));
    assert_eq!(Objects::new(&[Path::object(5)], &[], &[]).write(), "</5>");
    assert_eq!(Objects::new(&[], &[], &[]).write(), "");
    let rooted = check("</lwm2m>;rt=\"oma.lwm2m\",</lwm2m/5/0>", Some("/lwm2m"), &["/5/0"]);
    assert_eq!(rooted.write(), "</lwm2m>;rt=\"oma.lwm2m\",</lwm2m/5/0>");
}

#[test]
fn an_answer_to_discover_has_its_attributes() {
    let body = b"</5>;ver=1.1,</5/0>;pmin=10;pmax=300, </5/0/3>;gt=2.5,</5/0/8>;dim=6,</5/0/2>";
    let nodes = link::parse_discovered(body, None).unwrap();
    assert_eq!(nodes.len(), 5);
    assert_eq!((nodes[1].path, nodes[1].number("pmin")), (Path::instance(5, 0), Some(10)));
    assert_eq!(nodes[2].attribute("gt"), Some("2.5"));
    assert_eq!(nodes[3].number("dim"), Some(6));
    let rooted = link::parse_discovered(b"</lwm2m/5/0>,</lwm2m/5/0/3>", Some("/lwm2m")).unwrap();
    assert_eq!(rooted[1].path, Path::resource(5, 0, 3));
}

#[test]
fn an_answer_to_bootstrap_discover_names_the_accounts() {
    for body in [
        &b"</>;lwm2m=1.1,</0>;ver=1.1,</0/0>,</0/1>;ssid=101;uri=\"coaps://a.example:5684\",</1/0>;ssid=101"
            [..],
        b"lwm2m=\"1.0\",</0>,</0/0>,</0/1>;ssid=101;uri=\"coaps://a.example:5684\",</1/0>;ssid=101",
    ] {
        let nodes = link::parse_discovered(body, None).unwrap();
        let account = nodes.iter().find(|node| node.path == Path::instance(0, 1)).unwrap();
        assert_eq!(
            (account.number("ssid"), account.attribute("uri")),
            (Some(101), Some("coaps://a.example:5684"))
        );
        assert!(nodes.iter().any(|node| node.path == Path::instance(0, 0) && node.number("ssid").is_none()));
    }
}

#[test]
fn an_answer_to_discover_is_read_as_it_was_written() {
    let attribute = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    let nodes = [
        Discovered {
            path: Path::instance(0, 1),
            attributes: vec![attribute("uri", Some("coaps://a:1/\"\\,;<>"))],
        },
        Discovered {
            path: Path::resource(5, 0, 8),
            attributes: vec![attribute("dim", Some("6")), attribute("x", None)],
        },
    ];
    let list = link::write_discovered(&nodes);
    assert!(list.ends_with(",</5/0/8>;dim=6;x"), "{list}");
    assert_eq!(link::parse_discovered(list.as_bytes(), None), Ok(nodes.to_vec()));
}

#[test]
fn what_is_no_list_of_links_is_refused() {
    for body in
        ["5/0", "<", "</5", "</5>x", "</5>,x", "</5>;a=\"b", "</5>;a=\"b\\", "</5>\0", "</5> </6>", ",</5>"]
    {
        assert_eq!(Objects::parse(body.as_bytes()), Err(LinkError::Malformed), "{body:?}");
    }
    assert_eq!(Objects::parse(b"</5>;a=\xff"), Err(LinkError::Utf8));
    assert_eq!(Objects::parse(b"<lwm2m>;rt=\"oma.lwm2m\""), Err(LinkError::Malformed));
    let root = format!("</{}>;rt=\"oma.lwm2m\"", "x".repeat(300));
    assert_eq!(Objects::parse(root.as_bytes()), Err(LinkError::Malformed));
}

#[test]
fn too_many_links_or_attributes_or_bytes_are_refused() {
    let list = vec!["</5/0>"; LINKS_MAX].join(",");
    assert!(Objects::parse(list.as_bytes()).is_ok());
    let list = vec!["</5/0>"; LINKS_MAX + 1].join(",");
    assert_eq!(Objects::parse(list.as_bytes()), Err(LinkError::TooMany));
    let link = format!("</5/0>{}", ";a=1".repeat(ATTRIBUTES_MAX + 1));
    assert_eq!(Objects::parse(link.as_bytes()), Err(LinkError::TooMany));
    assert_eq!(Objects::parse(&vec![b' '; BODY_BYTES_MAX + 1]), Err(LinkError::TooBig));
}
