//! libcoap's server, as Debian builds it without DTLS.

use updraft_lwm2m::coap::{BlockSize, Code, Config, Download, Event, Method, Observe, Request};

use crate::capture;
use crate::program::{Program, Running, free_port};
use crate::talk::{By, Talk, body};

const SERVER: Program = Program::Command("coap-server-notls");
/// text/plain and application/octet-stream.
const TEXT: u16 = 0;
const BYTES: u16 = 42;

/// A server, and us as its client; `None` where there is no such server here.
fn server(config: Config) -> Option<(Running, Talk)> {
    if !SERVER.is_present() {
        return None;
    }
    let port = free_port();
    let running = SERVER.start(&["-A", "127.0.0.1", "-p", &port.to_string(), "-d", "10"]);
    Some((running, Talk::with_server(port, config)))
}

#[test]
fn libcoaps_server_answers_each_method() {
    let Some((_server, mut talk)) = server(Config::default()) else { return };
    let put = |text: &str| Request::new(Method::Put, "/note").with_payload(TEXT, text.as_bytes().to_vec());
    assert_eq!(talk.ask(put("one")).code, Code::CREATED);
    assert_eq!(talk.ask(put("two")).code, Code::CHANGED);
    let got = talk.ask(Request::new(Method::Get, "/note").with_accept(TEXT));
    // It leaves the format out where that is 0.
    assert_eq!((got.code, got.payload.as_slice()), (Code::CONTENT, b"two".as_slice()));
    assert_eq!(talk.ask(Request::new(Method::Delete, "/note")).code, Code::DELETED);
    assert_eq!(talk.ask(Request::new(Method::Get, "/note")).code, Code::NOT_FOUND);
    let links = talk.ask(Request::new(Method::Get, "/.well-known/core"));
    assert_eq!(links.content_format(), Some(40));
    assert!(String::from_utf8(links.payload).unwrap().contains("</time>"));
    capture::reads_as_meant(&talk.said);
}

#[test]
fn libcoaps_server_takes_and_gives_bodies_in_blocks_of_each_size() {
    for exponent in [0, 2, 6] {
        let block_size = BlockSize::from_exponent(exponent).unwrap();
        let Some((_server, mut talk)) = server(Config { block_size, ..Config::default() }) else { return };
        let body = body(block_size.bytes() * 20 + 1);
        let put = Request::new(Method::Put, "/image").with_payload(BYTES, body.clone());
        assert_eq!(talk.ask(put).code, Code::CREATED, "{block_size:?}");
        let got = talk.ask(Request::new(Method::Get, "/image"));
        assert_eq!((got.code, got.payload == body), (Code::CONTENT, true), "{block_size:?}");
        capture::reads_as_meant(&talk.said);
    }
}

#[test]
fn an_image_is_pushed_to_libcoaps_server_and_fetched_again_without_ever_being_whole() {
    let Some((_server, mut talk)) = server(Config::default()) else { return };
    // Longer than a body that is put together may be.
    let image = body(200_000);
    let put = Request::new(Method::Put, "/image").with_payload(BYTES, Vec::new());
    assert_eq!(talk.push(put, &image).code, Code::CREATED);
    let mut download = Download::new(Request::new(Method::Get, "/image"), BlockSize::MAX);
    let fetched = talk.fetch(&mut download);
    assert!(fetched == image);
    // It counts the bytes for whoever asks.
    assert_eq!(download.total(), Some(200_000));
    capture::reads_as_meant(&talk.said);
}

#[test]
fn libcoaps_server_acknowledges_first_and_answers_later() {
    let Some((_server, mut talk)) = server(Config::default()) else { return };
    let got = talk.ask(Request::new(Method::Get, "/async").with_query("1"));
    assert_eq!((got.code, got.payload.as_slice()), (Code::CONTENT, b"done".as_slice()));
    talk.step();
    let empty = |by| move |(who, bytes): &&(By, Vec<u8>)| *who == by && bytes.len() == 4 && bytes[0] == 0x60;
    assert_eq!(talk.said.iter().filter(empty(By::Them)).count(), 1, "its acknowledgement of the request");
    assert_eq!(talk.said.iter().filter(empty(By::Us)).count(), 1, "ours of its answer");
    capture::reads_as_meant(&talk.said);
}

#[test]
fn libcoaps_server_tells_of_changes_until_it_is_told_to_stop() {
    let Some((_server, mut talk)) = server(Config::default()) else { return };
    let now = talk.now();
    let asked =
        talk.peer.request(now, Request::new(Method::Get, "/time").with_observe(Observe::Register)).unwrap();
    let first = talk.answer_to(asked).unwrap();
    assert!(first.observe().is_some() && !first.payload.is_empty());
    let mut last = first.payload;
    // A clock: it changes each second.
    for _ in 0..2 {
        let Event::Notification { id, response } = talk.next_event() else { panic!("it tells of no change") };
        assert_eq!(id, asked);
        assert_ne!(response.payload, last);
        last = response.payload;
    }
    let now = talk.now();
    let ended = talk.peer.unobserve(now, asked).unwrap();
    let answer = talk.answer_to(ended).unwrap();
    assert_eq!((answer.code, answer.observe()), (Code::CONTENT, None));
    capture::reads_as_meant(&talk.said);
}

#[test]
fn libcoaps_server_resets_a_ping() {
    let Some((_server, mut talk)) = server(Config::default()) else { return };
    let now = talk.now();
    let asked = talk.peer.ping(now).unwrap();
    assert_eq!(talk.next_event(), Event::Pong { id: asked });
}
