//! aiocoap's file server.

use updraft_lwm2m::coap::{BlockSize, Code, Config, Download, Method, Progress, Request};

use crate::capture;
use crate::program::{Program, Running, free_port};
use crate::talk::{Talk, body};

const SERVER: Program = Program::Python("aiocoap-fileserver");

fn server(folder: &std::path::Path) -> Option<(Running, Talk)> {
    if !SERVER.is_present() {
        return None;
    }
    let port = free_port();
    let running =
        SERVER.start(&["--bind", &format!("127.0.0.1:{port}"), "--write", folder.to_str().unwrap()]);
    Some((running, Talk::with_server(port, Config::default())))
}

#[test]
fn an_image_is_fetched_from_aiocoaps_file_server_and_resumed_by_its_entity_tag() {
    let folder = tempfile::tempdir().unwrap();
    let image = body(100_000);
    std::fs::write(folder.path().join("image.bin"), &image).unwrap();
    let Some((_server, mut talk)) = server(folder.path()) else { return };
    let get = Request::new(Method::Get, "/image.bin");
    let mut download = Download::new(get.clone(), BlockSize::MAX);
    let mut fetched = Vec::new();
    while fetched.len() < 40_000 {
        let response = talk.ask(download.next_request().unwrap());
        let Progress::Bytes(bytes) = download.handle_response(response) else { panic!("more follows") };
        fetched.extend(bytes);
    }
    let etag = download.etag().expect("it names what it serves").to_vec();
    let mut resumed = Download::resume(get, BlockSize::from_exponent(5).unwrap(), download.offset(), etag);
    fetched.extend(talk.fetch(&mut resumed));
    assert!(fetched == image);
    capture::reads_as_meant(&talk.said);
}

#[test]
fn a_download_from_aiocoap_begins_again_when_the_file_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.bin");
    std::fs::write(&path, body(10_000)).unwrap();
    let Some((_server, mut talk)) = server(folder.path()) else { return };
    let mut download = Download::new(Request::new(Method::Get, "/image.bin"), BlockSize::MAX);
    for _ in 0..3 {
        let response = talk.ask(download.next_request().unwrap());
        assert!(matches!(download.handle_response(response), Progress::Bytes(_)));
    }
    std::fs::write(&path, body(9_000)).unwrap();
    let response = talk.ask(download.next_request().unwrap());
    assert_eq!(download.handle_response(response), Progress::Restarted);
    assert_eq!(download.offset(), 0);
}

#[test]
fn aiocoaps_file_server_takes_a_body_in_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_server, mut talk)) = server(folder.path()) else { return };
    let body = body(30_000);
    let put = Request::new(Method::Put, "/image.bin").with_payload(42, body.clone());
    assert!(talk.ask(put).code.is_success());
    assert!(std::fs::read(folder.path().join("image.bin")).unwrap() == body);
    assert_eq!(talk.ask(Request::new(Method::Get, "/nothing")).code, Code::NOT_FOUND);
    capture::reads_as_meant(&talk.said);
}
