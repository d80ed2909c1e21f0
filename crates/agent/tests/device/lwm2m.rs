//! Updates over LwM2M: sent, and fetched by CoAP and HTTP; as they should go, and as they should not.

use crate::device::{Device, FACTORY};
use crate::lwm2m_server::{Server, certificate};
use crate::stub::{PRODUCT, Stub, image, serve};
use crate::tls::Authority;
use std::os::unix::fs::PermissionsExt;
use updraft_dtls::Identity;
use updraft_lwm2m::coap::{Code, Method, Request};

const LWM2M: [&str; 2] = ["--transport", "lwm2m"];
const HEALTHY: [&str; 2] = ["--health-cmd", "/bin/true"];
const SICK: [&str; 6] = ["--health-cmd", "/bin/false", "--health-every", "100ms", "--trial-time", "300ms"];

/// An image that says in its last line what it is.
fn labelled(bytes: usize, product: &str, version: &str) -> Vec<u8> {
    let mut image = image(bytes);
    image.extend(format!("\n{product} {version}\n").into_bytes());
    image
}

fn with<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    parts.concat()
}

/// A device that runs and is registered.
fn registered(more: &[&str]) -> (Server, Device, crate::device::Running) {
    let (mut server, device) = (Server::start(), Device::new());
    let agent = device.run_at(&server.url(), &with(&[&LWM2M, more]));
    server.registered(1);
    (server, device, agent)
}

#[test]
fn a_package_that_is_sent_goes_the_whole_way() {
    let (mut server, device, _agent) = registered(&HEALTHY);
    assert_eq!((server.read("/3/0/3"), server.read("/5/0/3")), (FACTORY.into(), "0".into()));
    let bytes = labelled(200_000, PRODUCT, "1.1.0");
    assert_eq!(server.push(&bytes), Code::CHANGED);
    server.until_firmware("2", "0");
    assert_eq!(server.read("/5/0/7"), "1.1.0");
    assert_eq!(device.active_version(), FACTORY, "nothing is applied before the server says so");
    assert_eq!(server.execute("/5/0/2"), Code::CHANGED);
    server.until_firmware("0", "1");
    assert_eq!(server.read("/3/0/3"), "1.1.0");
    assert!(server.registrations >= 2, "after its restart the device registers anew");
    assert_eq!(device.current_image(), Some(bytes));
    device.assert_startable();
}

#[test]
fn a_package_is_fetched_on_the_servers_own_session() {
    let (mut server, device, _agent) = registered(&HEALTHY);
    let bytes = labelled(100_000, PRODUCT, "1.1.0");
    server.file = (bytes.clone(), vec![1, 2]);
    let link = format!("{}/f", server.url());
    assert_eq!(server.write("/5/0/1", &link), Code::CHANGED);
    server.until_firmware("2", "0");
    assert_eq!(server.read("/5/0/1"), link);
    assert_eq!(server.execute("/5/0/2"), Code::CHANGED);
    server.until_firmware("0", "1");
    assert_eq!(device.current_image(), Some(bytes));
}

#[test]
fn a_package_is_fetched_from_another_coap_server() {
    let (mut server, device, _agent) = registered(&HEALTHY);
    let mut files = Server::start();
    let bytes = labelled(50_000, PRODUCT, "1.1.0");
    files.file = (bytes.clone(), vec![7]);
    assert_eq!(server.write("/5/0/1", &format!("{}/f", files.url())), Code::CHANGED);
    let last = (bytes.len() as u64 - 1) / 1024 * 1024;
    files.until("the last block", |files| files.blocks.contains(&last).then_some(()));
    server.until_firmware("2", "0");
    assert_eq!(server.execute("/5/0/2"), Code::CHANGED);
    server.until_firmware("0", "1");
    assert_eq!(device.current_image(), Some(bytes));
}

#[test]
fn a_package_is_fetched_by_http() {
    let (mut server, device, _agent) = registered(&HEALTHY);
    let files = Stub::start();
    let bytes = labelled(300_000, PRODUCT, "1.1.0");
    let served = bytes.clone();
    files.on_download(move |get| serve(&served, get));
    assert_eq!(server.write("/5/0/1", &format!("{}/image", files.url())), Code::CHANGED);
    server.until_firmware("2", "0");
    assert_eq!(server.execute("/5/0/2"), Code::CHANGED);
    server.until_firmware("0", "1");
    assert_eq!(device.current_image(), Some(bytes));
}

#[test]
fn a_version_that_does_not_become_healthy_ends_as_update_failed_on_the_old_one() {
    let (mut server, device, _agent) = registered(&SICK);
    assert_eq!(server.push(&labelled(5_000, PRODUCT, "1.1.0")), Code::CHANGED);
    server.until_firmware("2", "0");
    assert_eq!(server.execute("/5/0/2"), Code::CHANGED);
    server.until_firmware("0", "8");
    assert_eq!((server.read("/3/0/3"), device.active_version()), (FACTORY.into(), FACTORY.into()));
    // The next one is taken as if nothing had been.
    assert_eq!(server.push(&labelled(5_000, PRODUCT, "1.2.0")), Code::CHANGED);
    server.until_firmware("2", "0");
}

#[test]
fn a_package_for_another_product_is_refused_with_its_result() {
    let (mut server, device, _agent) = registered(&HEALTHY);
    assert_eq!(server.push(&labelled(5_000, "toaster", "1.1.0")), Code::CHANGED);
    server.until_firmware("0", "6");
    device.assert_startable();
}

#[test]
fn links_that_lead_nowhere_end_with_their_results() {
    let (mut server, _device, _agent) = registered(&HEALTHY);
    let files = Stub::start();
    for (link, code, result) in [
        (format!("{}/nothing", server.url()), Code::CHANGED, "7"),
        (format!("{}/nothing", files.url()), Code::CHANGED, "7"),
        ("ftp://127.0.0.1/x".to_owned(), Code::BAD_REQUEST, "9"),
        ("no link".to_owned(), Code::BAD_REQUEST, "7"),
    ] {
        assert_eq!(server.write("/5/0/1", &link), code, "{link}");
        server.until_firmware("0", result);
    }
}

#[test]
fn a_cancelled_package_is_thrown_away_and_the_next_one_is_taken() {
    let (mut server, device, _agent) = registered(&HEALTHY);
    assert_eq!(server.push(&labelled(5_000, PRODUCT, "1.1.0")), Code::CHANGED);
    server.until_firmware("2", "0");
    assert_eq!(server.execute("/5/0/10"), Code::CHANGED);
    server.until_firmware("0", "10");
    assert_eq!(server.execute("/5/0/2"), Code::METHOD_NOT_ALLOWED);
    let bytes = labelled(5_000, PRODUCT, "1.2.0");
    assert_eq!(server.push(&bytes), Code::CHANGED);
    server.until_firmware("2", "0");
    assert_eq!(server.execute("/5/0/2"), Code::CHANGED);
    server.until_firmware("0", "1");
    assert_eq!(device.current_image(), Some(bytes));
}

#[test]
fn a_closed_window_puts_an_update_off_for_as_long_as_the_server_allows() {
    let (mut server, device) = (Server::start(), Device::new());
    let ioto = device.path("ioto.json5");
    std::fs::write(&ioto, "{ update: { enable: true, apply: 'never' } }").unwrap();
    let ioto = ioto.display().to_string();
    let _agent = device.run_at(&server.url(), &with(&[&LWM2M, &HEALTHY, &["--ioto", &ioto]]));
    server.registered(1);
    assert_eq!(server.push(&labelled(5_000, PRODUCT, "1.1.0")), Code::CHANGED);
    server.until_firmware("2", "0");
    assert_eq!(server.write("/5/0/13", "2"), Code::CHANGED);
    assert_eq!(server.execute("/5/0/2"), Code::CHANGED);
    server.until_firmware("2", "11");
    assert_eq!(device.active_version(), FACTORY);
    server.until_firmware("0", "1");
    assert_eq!(device.active_version(), "1.1.0", "the period is over, and the window still closed");
    // Where the server allows no waiting, there is none.
    assert_eq!(server.write("/5/0/13", "0"), Code::CHANGED);
    assert_eq!(server.push(&labelled(5_000, PRODUCT, "1.2.0")), Code::CHANGED);
    server.until_firmware("2", "0");
    assert_eq!(server.execute("/5/0/2"), Code::CHANGED);
    server.until_firmware("0", "1");
    assert_eq!(device.active_version(), "1.2.0");
}

#[test]
fn a_downloaded_package_outlives_the_agent() {
    let (mut server, device, agent) = registered(&HEALTHY);
    let bytes = labelled(5_000, PRODUCT, "1.1.0");
    assert_eq!(server.push(&bytes), Code::CHANGED);
    server.until_firmware("2", "0");
    agent.kill();
    let _agent = device.run_at(&server.url(), &with(&[&LWM2M, &HEALTHY]));
    server.registered(2);
    assert_eq!((server.read("/5/0/3"), server.read("/5/0/7")), ("2".into(), "1.1.0".into()));
    assert_eq!(server.execute("/5/0/2"), Code::CHANGED);
    server.until_firmware("0", "1");
    assert_eq!(device.current_image(), Some(bytes));
}

#[test]
fn a_fetch_that_a_kill_cuts_off_goes_on_where_it_was_under_the_same_entity_tag() {
    let (mut server, device, agent) = registered(&HEALTHY);
    let bytes = labelled(300_000, PRODUCT, "1.1.0");
    server.file = (bytes.clone(), vec![1, 2]);
    server.blocks_max = 200;
    assert_eq!(server.write("/5/0/1", &format!("{}/f", server.url())), Code::CHANGED);
    server.until("most of the blocks", |server| (server.blocks.len() >= 200).then_some(()));
    // The checkpoint that the resumed fetch begins at.
    let ledger = device.path("state").join("ledger.rec");
    server.until("a checkpoint", |_| {
        std::fs::read_to_string(&ledger).ok().filter(|text| text.contains("coap:0102"))
    });
    agent.kill();
    server.blocks.clear();
    server.blocks_max = usize::MAX;
    let _agent = device.run_at(&server.url(), &with(&[&LWM2M, &HEALTHY]));
    server.registered(2);
    server.until_firmware("2", "0");
    assert!(server.blocks[0] >= 64 * 1024, "it began at {}", server.blocks[0]);
    assert_eq!(server.execute("/5/0/2"), Code::CHANGED);
    server.until_firmware("0", "1");
    assert_eq!(device.current_image(), Some(bytes));
}

#[test]
fn what_the_server_writes_to_object_1_outlives_the_agent_and_a_kill() {
    let (mut server, device, agent) = registered(&HEALTHY);
    for (path, text) in
        [("/1/0/1", "600"), ("/1/0/2", "3"), ("/1/0/3", "60"), ("/1/0/6", "1"), ("/1/0/7", "UQ")]
    {
        assert_eq!(server.write(path, text), Code::CHANGED, "{path}");
    }
    assert_eq!(server.write("/1/0/1", "a while"), Code::BAD_REQUEST);
    agent.kill();
    let mode = std::fs::metadata(device.path("state").join("lwm2m-server.rec")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let agent = device.run_at(&server.url(), &with(&[&LWM2M, &HEALTHY]));
    server.registered(2);
    assert_eq!(server.lifetime.as_deref(), Some("600"), "it registers with what was written");
    let read = |server: &mut Server| [1, 2, 3, 6, 7].map(|id| server.read(&format!("/1/0/{id}")));
    assert_eq!(read(&mut server), ["600", "3", "60", "1", "UQ"]);
    agent.kill();
    // An option that is set anew is a later word than the server's; what else it wrote stays.
    let agent = device.run_at(&server.url(), &with(&[&LWM2M, &HEALTHY, &["--lifetime", "90s"]]));
    server.registered(3);
    assert_eq!(read(&mut server), ["90", "3", "60", "1", "UQ"]);
    agent.kill();
    // A record that is of no use is none.
    std::fs::write(device.path("state").join("lwm2m-server.rec"), b"torn").unwrap();
    let _agent = device.run_at(&server.url(), &with(&[&LWM2M, &HEALTHY]));
    server.registered(4);
    assert_eq!(server.read("/1/0/1"), "300");
}

#[test]
fn a_registration_that_has_not_failed_is_not_complained_of() {
    let (mut server, _device, agent) = registered(&HEALTHY);
    assert_eq!(server.read("/3/0/3"), FACTORY);
    let ended = std::thread::spawn(move || agent.terminate());
    server.until("the farewell", |server| (server.farewells == 1).then_some(()));
    let (_, log) = ended.join().unwrap();
    assert!(log.contains("registered as /rd/1"), "{log}");
    assert!(!log.contains("again in") && !log.contains("answers again"), "{log}");
}

#[test]
fn a_registration_that_takes_long_is_told_and_so_is_one_that_is_refused() {
    let device = Device::new();
    let deaf = Server::start();
    let mut agent =
        device.run_at(&deaf.url(), &with(&[&LWM2M, &["--silence-time", "1s", "--start-delay", "0s"]]));
    let told = "updraft-agent: no connection to the server: not registered after 1s";
    assert_eq!(agent.log().until("again in"), told);
    agent.kill();

    let mut unwilling = Server::start();
    unwilling.refusal = Some(Code::FORBIDDEN);
    let mut agent = device.run_at(&unwilling.url(), &LWM2M);
    let log = agent.log();
    unwilling.until("a refusal", |server| (server.refused > 0).then_some(()));
    let told = "updraft-agent: the server answered 4.03 to the registration";
    assert_eq!(log.until("to the registration"), told);
    agent.kill();
}

#[test]
fn an_agent_that_ends_says_goodbye() {
    let (mut server, _device, agent) = registered(&HEALTHY);
    let ended = std::thread::spawn(move || agent.terminate());
    server.until("the farewell", |server| (server.farewells == 1).then_some(()));
    assert!(ended.join().unwrap().0.success());
}

#[test]
fn the_servers_reboot_starts_the_device_anew() {
    let (mut server, _device, _agent) = registered(&HEALTHY);
    assert_eq!(server.execute("/3/0/4"), Code::CHANGED);
    server.registered(2);
    let refused = server.ask(Request::new(Method::Get, "/0/0/5")).code;
    assert_eq!(refused, Code::UNAUTHORIZED);
}

#[test]
fn over_dtls_a_device_with_its_key_takes_a_package() {
    let mut server = Server::start_with_key("device-1", b"0123456789abcdef");
    let device = Device::new();
    let key = device.path("key");
    std::fs::write(&key, "30313233343536373839616263646566\n").unwrap();
    let key = key.display().to_string();
    let psk = ["--psk-identity", "device-1", "--psk-key-file", &key];
    let _agent = device.run_at(&server.url(), &with(&[&LWM2M, &HEALTHY, &psk]));
    server.registered(1);
    assert_eq!(server.identity, Some(Identity::Psk(b"device-1".to_vec())));
    let bytes = labelled(50_000, PRODUCT, "1.1.0");
    server.file = (bytes.clone(), vec![4]);
    assert_eq!(server.write("/5/0/1", "coap://127.0.0.1:1/f"), Code::BAD_REQUEST, "not below DTLS");
    assert_eq!(server.write("/5/0/1", &format!("{}/f", server.url())), Code::CHANGED);
    server.until_firmware("2", "0");
    assert_eq!(server.execute("/5/0/2"), Code::CHANGED);
    server.until_firmware("0", "1");
    assert_eq!(device.current_image(), Some(bytes));
}

#[test]
fn over_dtls_a_device_with_its_certificate_registers_and_a_server_of_another_name_is_left() {
    let (authority, device) = (Authority::new(), Device::new());
    let (chain, key) = certificate(&authority, "device-1");
    let path = |name: &str| device.path(name).display().to_string();
    std::fs::write(path("device.pem"), chain).unwrap();
    std::fs::write(path("device.key"), key).unwrap();
    let ca = authority.pem.display().to_string();
    let (cert, key) = (path("device.pem"), path("device.key"));
    let more = with(&[&LWM2M, &HEALTHY, &["--ca", &ca, "--cert", &cert, "--key", &key]]);

    let mut server = Server::start_with_certificates(&authority, "127.0.0.1");
    let agent = device.run_at(&server.url(), &more);
    server.registered(1);
    let Some(Identity::Certificate(proved)) = &server.identity else { panic!("{:?}", server.identity) };
    assert_eq!(proved.common_name.as_deref(), Some("device-1"));
    assert_eq!(server.read("/3/0/3"), FACTORY);
    agent.kill();

    let mut other = Server::start_with_certificates(&authority, "127.0.0.2");
    let _agent = device.run_at(&other.url(), &more);
    other.until("the device's refusal", |other| other.refusals.first().copied());
    assert_eq!(other.registrations, 0);
}

#[test]
fn options_of_other_transports_and_half_a_key_are_refused_at_the_start() {
    let device = Device::new();
    std::fs::write(device.path("key"), "00ff").unwrap();
    let key = device.path("key").display().to_string();
    for (server, more, word) in [
        ("coaps://127.0.0.1", &["--psk-identity", "x"][..], "--psk-key-file"),
        ("coaps://127.0.0.1", &[], "key"),
        ("coap://127.0.0.1", &["--psk-identity", "x", "--psk-key-file", &key], "coap://"),
        ("coap://127.0.0.1", &["--mqtt-flow", "jobs"], "mqtt"),
        ("coap://127.0.0.1", &["--lifetime", "5s"], "--lifetime"),
        ("coap://127.0.0.1", &["--start-delay", "11m"], "--start-delay"),
        ("coap://127.0.0.1", &["--bootstrap-server", "coap://127.0.0.1"], "exclude each other"),
        ("https://127.0.0.1", &["--psk-identity", "x", "--psk-key-file", &key], "coaps://host"),
        (
            "coaps://127.0.0.1",
            &["--psk-identity", "x", "--psk-key-file", "/dev/null"],
            "usable pre-shared key",
        ),
        ("coap://127.0.0.1/x", &[], "coaps://host"),
        ("coap://127.0.0.1", &["--script", "/bin/true"], "--slots"),
        ("coap://127.0.0.1", &["--once"], "single round"),
    ] {
        let output = device.command_at(server, &with(&[&LWM2M, more])).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && log.contains(word), "{server} {more:?}: {log}");
    }
}
