//! Registers and updates, as devices of each version send them and as nobody should.

use updraft_lwm2m::Path;
use updraft_lwm2m::link::{LinkError, Objects};
use updraft_lwm2m::registration::{
    Binding, LIFETIME_S_DEFAULT, LIFETIME_S_MAX, LIFETIME_S_MIN, Lifetime, QUERIES_MAX, QueueMode, Refusal,
    Registration, Update, Version,
};

const OBJECTS: &[u8] = b"</1/0>,</3/0>,</5/0>";

#[track_caller]
fn registered(queries: &[&str]) -> Registration {
    Registration::parse(queries, None, OBJECTS).expect("it is accepted")
}

fn refused(queries: &[&str]) -> Refusal {
    Registration::parse(queries, None, OBJECTS).expect_err("it is refused")
}

#[test]
fn a_register_of_each_version_is_read() {
    let plain = registered(&["lwm2m=1.1", "ep=meter-1", "lt=300"]);
    assert_eq!((&*plain.endpoint, plain.version), ("meter-1", Version::V1_1));
    assert_eq!((plain.lifetime, plain.queue_mode), (Lifetime::Seconds(300), QueueMode::Off));
    assert_eq!((plain.binding.as_str(), plain.sms.as_deref()), ("U", None));
    assert_eq!(plain.objects.paths(), [Path::instance(1, 0), Path::instance(3, 0), Path::instance(5, 0)]);

    let old = registered(&["ep=m", "lt=60", "lwm2m=1.0", "b=UQ", "sms=15551234"]);
    assert_eq!((old.version, old.queue_mode, old.binding.as_str()), (Version::V1_0, QueueMode::On, "U"));
    assert_eq!(old.sms.as_deref(), Some("15551234"));
    assert_eq!(registered(&["ep=m", "b=UQS"]).binding.as_str(), "US");
    assert_eq!(registered(&["ep=m"]).version, Version::V1_0);

    for queries in [&["ep=m", "lwm2m=1.2", "b=UT", "Q"][..], &["ep=m", "lwm2m=1.2", "Q=", "b=UT"]] {
        let later = registered(queries);
        assert_eq!(
            (later.version, later.queue_mode, later.binding.as_str()),
            (Version::V1_2, QueueMode::On, "UT")
        );
    }
}

#[test]
fn queries_of_vendors_are_kept_and_not_refused() {
    let device = registered(&["ep=m", "lwm2m=1.1", "fw=1.2.3", "et=thing", "flag", "=x"]);
    let attributes: Vec<(&str, &str)> =
        device.attributes.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(attributes, [("fw", "1.2.3"), ("et", "thing"), ("flag", ""), ("", "x")]);
}

#[test]
fn a_lifetime_is_clamped_and_nought_is_for_ever() {
    for (text, expected) in [
        ("lt=0", Lifetime::Infinite),
        ("lt=1", Lifetime::Seconds(LIFETIME_S_MIN)),
        ("lt=20", Lifetime::Seconds(20)),
        ("lt=86400", Lifetime::Seconds(86_400)),
        ("lt=4294967295", Lifetime::Seconds(LIFETIME_S_MAX)),
        ("lt=99999999999999999999999", Lifetime::Seconds(LIFETIME_S_MAX)),
    ] {
        assert_eq!(registered(&["ep=m", text]).lifetime, expected, "{text}");
    }
    assert_eq!(registered(&["ep=m"]).lifetime, Lifetime::Seconds(LIFETIME_S_DEFAULT));
    for text in ["lt=", "lt=-1", "lt=+1", "lt=1.5", "lt=x", "lt", "lt= 1"] {
        assert_eq!(refused(&["ep=m", text]), Refusal::Query, "{text}");
    }
}

#[test]
fn a_version_that_is_not_spoken_is_told_apart() {
    for text in ["lwm2m=0.9", "lwm2m=1.3", "lwm2m=2.0", "lwm2m=", "lwm2m=1"] {
        assert_eq!(
            (refused(&["ep=m", text]), refused(&["ep=m", text]).code()),
            (Refusal::Version, 0x8c),
            "{text}"
        );
    }
}

#[test]
fn an_endpoint_name_is_short_plain_text() {
    let longest = format!("ep={}", "x".repeat(255));
    assert_eq!(registered(&[&longest]).endpoint.len(), 255);
    let longer = format!("ep={}", "\u{e9}".repeat(128));
    for text in [&longer, "ep=", "ep", "ep=a\nb", "ep=a\0", "ep=\u{7f}", "ep=\u{85}"] {
        assert_eq!((refused(&[text]), refused(&[text]).code()), (Refusal::Endpoint, 0x80), "{text:?}");
    }
    // What would be an attack elsewhere is a name here, byte for byte.
    for name in ["'; DROP TABLE devices; --", "../../etc/passwd", "a=b&c", "urn:imei:490154203237518"] {
        assert_eq!(&*registered(&[&format!("ep={name}")]).endpoint, name);
    }
}

#[test]
fn a_device_without_a_name_has_that_of_its_credential() {
    let device = Registration::parse(&["lwm2m=1.1"], Some("psk-7"), OBJECTS).unwrap();
    assert_eq!(&*device.endpoint, "psk-7");
    assert_eq!(refused(&["lwm2m=1.1"]), Refusal::NoEndpoint);
    assert_eq!(Registration::parse(&[], Some("a\nb"), OBJECTS), Err(Refusal::Endpoint));
    // A name that is said is the caller's to compare.
    assert_eq!(&*Registration::parse(&["ep=m"], Some("psk-7"), OBJECTS).unwrap().endpoint, "m");
}

#[test]
fn what_is_said_twice_or_malformed_or_too_often_is_refused() {
    for queries in [
        &["ep=a", "ep=b"][..],
        &["ep=a", "lt=60", "lt=61"],
        &["ep=a", "lwm2m=1.1", "lwm2m=1.1"],
        &["ep=a", "b=U", "b=U"],
        &["ep=a", "Q", "Q"],
        &["ep=a", "b="],
        &["ep=a", "b=u"],
        &["ep=a", "b=UUUUUUUUU"],
        &["ep=a", "sms=1", "sms=2"],
        &["ep=a", "sms=012345678901234567890123456789012"],
    ] {
        assert_eq!(refused(queries), Refusal::Query, "{queries:?}");
    }
    let mut many = vec!["ep=a"];
    many.extend(["x=1"; QUERIES_MAX]);
    assert_eq!(refused(&many), Refusal::TooMany);
    assert_eq!(Registration::parse(&["ep=a"], None, b"objects"), Err(Refusal::Objects(LinkError::Malformed)));
}

#[test]
fn an_update_changes_what_it_says_and_nothing_else() {
    let mut device = registered(&["ep=m", "lwm2m=1.1", "lt=300", "b=UT", "Q", "sms=1", "x=1"]);
    let before = device.clone();
    device.apply(Update::parse(&[], b"").unwrap());
    assert_eq!(device, before);

    device.apply(Update::parse(&["lt=60"], b"").unwrap());
    assert_eq!((device.lifetime, &device.objects), (Lifetime::Seconds(60), &before.objects));

    device.apply(Update::parse(&["b=U", "sms=2", "ep=other", "lwm2m=1.0"], b"</5/0>,</5/1>").unwrap());
    assert_eq!((&*device.endpoint, device.version), ("m", Version::V1_1));
    assert_eq!((device.binding.as_str(), device.sms.as_deref()), ("U", Some("2")));
    assert_eq!(device.queue_mode, QueueMode::On);
    assert_eq!(device.objects.paths(), [Path::instance(5, 0), Path::instance(5, 1)]);

    assert_eq!(Update::parse(&["lt=x"], b""), Err(Refusal::Query));
    assert_eq!(Update::parse(&[], b"x"), Err(Refusal::Objects(LinkError::Malformed)));
}

#[test]
fn in_1_0_the_queue_mode_goes_with_the_binding() {
    let mut device = registered(&["ep=m", "lwm2m=1.0", "b=UQ"]);
    device.apply(Update::parse(&["lt=60"], b"").unwrap());
    assert_eq!(device.queue_mode, QueueMode::On);
    device.apply(Update::parse(&["b=U"], b"").unwrap());
    assert_eq!(device.queue_mode, QueueMode::Off);
}

#[test]
fn a_device_says_only_what_is_not_the_default() {
    let mut device = registered(&["ep=m", "lwm2m=1.2", "lt=300"]);
    assert_eq!(device.queries(), ["ep=m", "lwm2m=1.2", "lt=300"]);
    device.queue_mode = QueueMode::On;
    assert_eq!(device.queries(), ["ep=m", "lwm2m=1.2", "lt=300", "Q"]);
    device.version = Version::V1_0;
    assert_eq!(device.queries(), ["ep=m", "lwm2m=1.0", "lt=300", "b=UQ"]);
    let update = Update { lifetime: Some(Lifetime::Infinite), ..Update::default() };
    assert_eq!(update.queries(Version::V1_1), ["lt=0"]);
    let update =
        Update { binding: Some(Binding::udp()), queue_mode: Some(QueueMode::On), ..Update::default() };
    assert_eq!(update.queries(Version::V1_0), ["b=UQ"]);
}

#[test]
fn what_a_device_says_is_read_as_it_was_meant() {
    for queries in [
        &["ep=m", "lwm2m=1.0", "lt=300", "b=UQS", "sms=1"][..],
        &["ep=m", "lwm2m=1.1", "lt=0", "Q", "model=x", "flag"],
        &["ep=m", "lwm2m=1.2", "b=UTS"],
    ] {
        let device = registered(queries);
        let said = device.queries();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        let body = device.objects.write();
        assert_eq!(Registration::parse(&said, None, body.as_bytes()), Ok(device), "{queries:?}");
    }
    let update = Update {
        lifetime: Some(Lifetime::Seconds(60)),
        sms: Some("1".into()),
        objects: Some(Objects::parse(OBJECTS).unwrap()),
        ..Update::default()
    };
    let said = update.queries(Version::V1_1);
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    assert_eq!(Update::parse(&said, OBJECTS), Ok(update));
}

#[test]
fn a_registration_is_small() {
    // A server holds 100,000 of them: the words of a plain one take some hundred bytes more.
    assert!(size_of::<Registration>() <= 168, "{}", size_of::<Registration>());
}
