//! Servers, networks and assignments that lie, stall or are confused.

use crate::device::{Device, FACTORY};
use crate::stub::{ETAG, Get, PRODUCT, Reply, Stub, image, manifest, reply, serve};
use std::process::Command;
use updraft_agent::slots::{SlotName, SlotState};
use updraft_wire::{Assignment, JobId, Reason, UpdateState};

const IMAGE_BYTES: usize = 200_000;

/// Plays one update against a server that serves like this; it must end so.
fn check(
    name: &str,
    expected: (UpdateState, Option<Reason>),
    serve_as: impl FnMut(&[u8], &Get) -> Reply + Send + 'static,
) -> Stub {
    let bytes = image(IMAGE_BYTES);
    let stub = Stub::assigning("r1-1", "1.1.0", &bytes);
    let (mut serve_as, served) = (serve_as, bytes.clone());
    stub.on_download(move |get| serve_as(&served, get));
    let device = Device::new();
    let (went_well, log) = device.run_once(&stub, &["--silence-time", "500ms"]);
    assert!(went_well, "{name}: {log}");
    let end = stub.ended().unwrap();
    assert_eq!((end.state, end.reason), expected, "{name}: {log}");
    if expected.0 == UpdateState::Succeeded {
        assert_eq!(device.current_image(), Some(bytes), "{name}");
    } else {
        assert_eq!(device.active_version(), FACTORY, "{name}");
        assert_eq!(device.current_image(), None, "{name}");
        let state = device.slot(SlotName::A).map(|record| record.state);
        assert_eq!(state, Some(SlotState::Writing), "{name}");
    }
    stub
}

const WELL: (UpdateState, Option<Reason>) = (UpdateState::Succeeded, None);
const NOT_INTACT: (UpdateState, Option<Reason>) = (UpdateState::Failed, Some(Reason::IntegrityCheckFailed));

/// The whole image as the server has it, cut off in the middle.
fn first_half(image: &[u8], get: &Get) -> Reply {
    let mut reply = serve(image, get);
    reply.truncate(reply.len() - image.len() / 2);
    reply
}

fn chunked(bytes: &[u8]) -> Reply {
    let mut body = Vec::new();
    for chunk in bytes.chunks(10_000) {
        body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    reply(&format!("200 OK\r\nETag: {ETAG}\r\nTransfer-Encoding: chunked"), &body)
}

fn whole(bytes: &[u8]) -> Reply {
    reply(&format!("200 OK\r\nETag: {ETAG}\r\nContent-Length: {}", bytes.len()), bytes)
}

#[test]
fn other_bytes_than_announced_are_never_started() {
    let once = |name: &str, change: fn(&[u8]) -> Reply| {
        let stub = check(name, NOT_INTACT, move |image, _| change(image));
        assert_eq!(stub.gets().len(), 1, "{name}: asked again for a lie");
    };
    once("longer", |image| whole(&[image, b"x"].concat()));
    once("shorter", |image| whole(&image[1..]));
    once("longer, chunked", |image| chunked(&[image, b"x"].concat()));
    once("much longer, chunked", |image| chunked(&[image, image].concat()));
    once("as long, other bytes", |image| {
        let mut image = image.to_vec();
        image[100_000] ^= 1;
        whole(&image)
    });
}

#[test]
fn a_download_without_a_length_arrives() {
    check("chunked", WELL, |image, _| chunked(image));
}

#[test]
fn a_broken_connection_is_gone_on_from_where_it_broke() {
    let stub = check("half, then the rest", WELL, |image, get| {
        if get.nth == 0 { first_half(image, get) } else { serve(image, get) }
    });
    let second = &stub.gets()[1];
    assert!(second.offset() > 0);
    assert_eq!(second.header("if-range"), Some(ETAG));
}

#[test]
fn silence_in_the_middle_is_a_broken_connection() {
    let bytes = image(IMAGE_BYTES);
    let stub = Stub::assigning("r1-1", "1.1.0", &bytes);
    stub.hold(true);
    stub.on_download(move |get| if get.nth == 0 { first_half(&bytes, get) } else { serve(&bytes, get) });
    let device = Device::new();
    assert!(device.run_once(&stub, &["--silence-time", "300ms"]).0);
    assert_eq!(stub.ended().unwrap().state, UpdateState::Succeeded);
    assert!(stub.gets()[1].offset() > 0);
}

#[test]
fn parts_of_two_versions_are_never_joined() {
    let after_half = |name: &str, answer: fn(&[u8], &Get) -> Reply| {
        let stub = check(name, WELL, move |image, get| match get.nth {
            0 => first_half(image, get),
            1 => answer(image, get),
            _ => serve(image, get),
        });
        assert!(stub.gets().len() > 1, "{name}");
    };
    after_half("the range is ignored", |image, _| whole(image));
    after_half("another range", |image, get| {
        let range = format!("Content-Range: bytes 0-99/{}\r\n", image.len());
        assert!(get.offset() > 0);
        reply(&format!("206 Partial Content\r\n{range}Content-Length: 100"), &image[..100])
    });
    after_half("another entity tag", |image, get| {
        let (offset, size) = (get.offset(), image.len());
        let range = format!("Content-Range: bytes {offset}-{}/{size}", size - 1);
        let head =
            format!("206 Partial Content\r\nETag: \"2\"\r\n{range}\r\nContent-Length: {}", size - offset);
        reply(&head, &vec![0; size - offset])
    });
    after_half("the same entity tag for other bytes", |image, get| {
        serve(&image.iter().map(|byte| !byte).collect::<Vec<_>>(), get)
    });
    after_half("416", |_, _| reply("416 Range Not Satisfiable\r\nContent-Length: 0", b""));
    after_half("compressed", |image, _| {
        let head = format!("200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}", image.len());
        reply(&head, image)
    });
    after_half("500", |_, _| reply("500 Internal Server Error\r\nContent-Length: 0", b""));
}

#[test]
fn without_a_strong_entity_tag_a_download_begins_anew() {
    for etag in ["", "ETag: W/\"1\"\r\n"] {
        let stub = check("no strong entity tag", WELL, move |image, get| {
            let mut all = reply(&format!("200 OK\r\n{etag}Content-Length: {}", image.len()), image);
            if get.nth == 0 {
                all.truncate(all.len() / 2);
            }
            all
        });
        assert_eq!(stub.gets()[1].header("range"), None);
    }
}

#[test]
fn a_redirect_is_followed_without_credentials_and_only_so_far() {
    let stub = check("one redirect", WELL, |image, get| {
        if get.path == "/image" {
            reply("302 Found\r\nLocation: /store\r\nContent-Length: 0", b"")
        } else {
            serve(image, get)
        }
    });
    assert!(stub.gets().iter().all(|get| get.header("authorization").is_none()));
    let refused = (UpdateState::Failed, Some(Reason::InvalidUri));
    let stub =
        check("a circle", refused, |_, _| reply("302 Found\r\nLocation: /image\r\nContent-Length: 0", b""));
    assert_eq!(stub.gets().len(), 4);
    check("the metadata service", refused, |_, _| {
        reply("302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0", b"")
    });
    check("another scheme", (UpdateState::Failed, Some(Reason::UnsupportedProtocol)), |_, _| {
        reply("302 Found\r\nLocation: ftp://127.0.0.1/image\r\nContent-Length: 0", b"")
    });
}

#[test]
fn a_refused_link_is_replaced_by_the_next_check_in() {
    let bytes = image(IMAGE_BYTES);
    let stub = Stub::assigning("r1-1", "1.1.0", &bytes);
    stub.on_download(move |get| {
        if get.nth == 0 { reply("403 Forbidden\r\nContent-Length: 0", b"") } else { serve(&bytes, get) }
    });
    let device = Device::new();
    assert!(device.run_once(&stub, &[]).0);
    assert_eq!(stub.ended().unwrap().state, UpdateState::Succeeded);
}

/// An assignment that is refused before a byte is fetched or written.
fn refuses(name: &str, change: impl FnOnce(&mut Assignment), reason: Reason) {
    let stub = Stub::start();
    let mut assignment = Assignment {
        job: JobId::new("r1", 1).unwrap(),
        manifest: manifest("1.1.0", b"image"),
        links: vec![format!("{}/image", stub.url())],
        allow_downgrade: false,
    };
    change(&mut assignment);
    stub.assign_as(assignment);
    let device = Device::new();
    let (went_well, log) = device.run_once(&stub, &[]);
    assert!(went_well, "{name}: {log}");
    assert_eq!(stub.ended().and_then(|end| end.reason), Some(reason), "{name}: {log}");
    assert!(stub.gets().is_empty(), "{name}");
    assert_eq!(device.slot(SlotName::A), None, "{name}: the slot was touched");
}

#[test]
fn an_assignment_that_cannot_be_installed_touches_nothing() {
    let package = Reason::UnsupportedPackage;
    refuses("another product", |a| a.manifest.product = "other".into(), package);
    refuses("a path as a name", |a| a.manifest.artifacts[0].name = "../x".into(), package);
    refuses("a record as a name", |a| a.manifest.artifacts[0].name = ".slot.rec".into(), package);
    refuses("no version", |a| a.manifest.version = "latest".into(), package);
    refuses("another format", |a| a.manifest.format = 2, package);
    refuses("no artifact", |a| a.manifest.artifacts.clear(), package);
    refuses("nothing in it", |a| a.manifest.artifacts[0].size = 0, package);
    refuses("no link", |a| a.links.clear(), Reason::InvalidUri);
    refuses("no URL", |a| a.links[0] = "image".into(), Reason::InvalidUri);
    refuses("a file", |a| a.links[0] = "ftp://127.0.0.1/i".into(), Reason::UnsupportedProtocol);
    for size in [1 << 62, u64::MAX] {
        refuses("too large", |a| a.manifest.artifacts[0].size = size, Reason::InsufficientStorage);
    }
}

#[test]
fn a_check_in_that_is_not_understood_changes_nothing() {
    let huge = vec![b' '; updraft_wire::check_in::ANSWER_BYTES_MAX + 1];
    for (name, head, body) in [
        ("no JSON", "200 OK\r\nContent-Length: 5", &b"hello"[..]),
        ("cut off", "200 OK\r\nContent-Length: 90", b"{\"next_check_in_s\":1,"),
        ("too long", "200 OK", &huge),
        ("not for this device", "403 Forbidden\r\nContent-Length: 2", b"no"),
        ("busy", "503 Service Unavailable\r\nRetry-After: 3\r\nContent-Length: 0", b""),
        ("elsewhere", "307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0", b""),
    ] {
        let stub = Stub::assigning("r1-1", "1.1.0", &image(1000));
        let bad = reply(head, body);
        stub.on_check_in(move |_| Some(bad.clone()));
        let device = Device::new();
        let (went_well, log) = device.run_once(&stub, &[]);
        assert!(!went_well && log.contains("the check-in failed"), "{name}: {log}");
        assert!(stub.gets().is_empty(), "{name}");
        assert_eq!(stub.words().len(), 1, "{name}");
    }
}

#[test]
fn an_agent_outlives_a_server_that_is_away() {
    let stub = Stub::assigning("r1-1", "1.1.0", &image(1000));
    let mut failures = 2;
    stub.on_check_in(move |_| {
        failures -= 1;
        (failures >= 0).then(|| reply("502 Bad Gateway\r\nContent-Length: 0", b""))
    });
    let device = Device::new();
    let _agent = device.run(&stub, &[]);
    assert_eq!(stub.wait_for_end().0.state, UpdateState::Succeeded);
}

#[test]
fn settings_that_cannot_work_are_told_with_what_to_do() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_updraft-agent"));
        let output = command.arg("run").args(arguments).env_remove("UPDRAFT_TOKEN").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    let path = file.display().to_string();
    for (text, part) in [
        ("", "the token is missing"),
        ("token = 'abcdefgh'\n", "the server is missing"),
        ("tokn = 'abcdefgh'\n", "unknown field `tokn`"),
        ("token = 'abcdefgh'\nslots = 'a'\nscript = 'b'\nioto = '/dev/null'\n", "cannot be used"),
        ("token = 'abcdefgh'\nslots = 'a'\nscript = ['b']\n", "--slots and --script exclude each other"),
        ("token = 'abcdefgh'\nscript = ['b']\n", "--script needs --ioto"),
        ("token = 'abcdefgh'\ntrial-time = 'soon'\n", "trial-time"),
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, said) = run(&["--config", &path, "--product", PRODUCT]);
        assert_eq!(code, Some(78), "{text}: {said}");
        assert!(said.contains(part), "{text}: {said}");
    }
}
