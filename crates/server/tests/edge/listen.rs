//! Claims about the listeners: what a stranger can hold on to, and for how long.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use axum::{Extension, Router};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use updraft_core::time::Timestamp;
use updraft_server::listen::{BindError, ListenLimits, Peer, bind, read_body};
use updraft_server::pki;

use crate::served::{Answer, Depot, Gate, Served, content, now, request};

/// Most bytes the tests' body route reads.
const BODY_BYTES_MAX: usize = 1000;
/// A time limit that runs out while a test waits.
const SHORT: Duration = Duration::from_millis(150);

fn router() -> Router {
    let echo = |request: Request| async {
        match read_body(request.into_body(), BODY_BYTES_MAX, SHORT).await {
            Ok(body) => Response::new(Body::from(body)),
            Err(error) => {
                let mut response = Response::new(Body::from(error.code()));
                *response.status_mut() = error.status();
                response
            }
        }
    };
    let peer =
        |Extension(peer): Extension<Peer>| async move { format!("{} {}", peer.address.ip(), peer.is_tls) };
    Router::new().route("/echo", post(echo)).route("/peer", get(peer)).route("/json", get(async || "{}"))
}

fn short_limits() -> ListenLimits {
    ListenLimits {
        header_time: SHORT,
        idle_time: SHORT,
        handshake_time: SHORT,
        stall_time: SHORT,
        ..ListenLimits::default()
    }
}

/// Waits for the server to close the connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    // A close with unread data is a reset.
    stream
        .read_to_end(&mut rest)
        .map_or_else(|error| error.kind() == std::io::ErrorKind::ConnectionReset, |_| true)
}

#[test]
fn header_names_are_in_title_case() {
    let served = Served::start(router(), ListenLimits::default(), None);
    let answer = served.say(request("GET", "/json", "").as_bytes());
    assert_eq!((answer.status, answer.header("Content-Length")), (200, Some("2")));
    assert!(answer.header("Content-Type").is_some() && answer.header("Date").is_some());
}

#[test]
fn handlers_know_the_peer() {
    let served = Served::start(router(), ListenLimits::default(), None);
    assert_eq!(served.say(request("GET", "/peer", "").as_bytes()).body, b"127.0.0.1 false");
}

#[test]
fn slow_headers_are_cut_off() {
    let served = Served::start(router(), short_limits(), None);
    for begin in ["", "G", "GET /json HTTP/1.1\r\nHost: x\r\nX-"] {
        let mut stream = served.connect();
        stream.write_all(begin.as_bytes()).unwrap();
        assert!(is_closed(&mut stream), "{begin}");
    }
}

#[test]
fn headers_that_trickle_are_cut_off_at_the_same_time() {
    let served = Served::start(router(), short_limits(), None);
    let mut stream = served.connect();
    stream.write_all(b"GET /json HTTP/1.1\r\n").unwrap();
    stream.set_read_timeout(Some(SHORT / 10)).unwrap();
    let begun = Instant::now();
    // A byte whenever a read has waited in vain, so the connection is never quiet for as long as the limit.
    let is_cut = loop {
        match stream.read(&mut [0]) {
            Ok(0) => break true,
            Ok(_) => break false,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if stream.write_all(b"x").is_err() {
                    break true;
                }
            }
            Err(_) => break true,
        }
        assert!(begun.elapsed() < SHORT * 50);
    };
    assert!(is_cut);
}

#[test]
fn a_second_request_has_the_header_time_too() {
    let limits = ListenLimits { idle_time: Duration::from_secs(600), ..short_limits() };
    let served = Served::start(router(), limits, None);
    let mut stream = served.connect();
    stream.write_all(request("GET", "/json", "").as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut stream, false).status, 200);
    stream.write_all(b"GET /js").unwrap();
    assert!(is_closed(&mut stream));
}

#[test]
fn an_idle_connection_is_closed() {
    let limits = ListenLimits { header_time: Duration::from_secs(600), ..short_limits() };
    let served = Served::start(router(), limits, None);
    let mut stream = served.connect();
    stream.write_all(request("GET", "/json", "").as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut stream, false).status, 200);
    assert!(is_closed(&mut stream));
}

#[test]
fn a_body_is_read_within_size_and_time() {
    let served = Served::start(router(), ListenLimits::default(), None);
    let fits = "x".repeat(BODY_BYTES_MAX);
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n3e8\r\n{fits}\r\n0\r\n\r\n");
    let chunked_over = format!("Transfer-Encoding: chunked\r\n\r\n3e9\r\n{fits}y\r\n0\r\n\r\n");
    let table = [
        (format!("Content-Length: 1000\r\n\r\n{fits}"), 200),
        (chunked, 200),
        ("Content-Length: 0\r\n\r\n".into(), 200),
        ("Content-Length: 1001\r\n\r\n".into(), 413),
        ("Content-Length: 99999999999\r\n\r\n".into(), 413),
        (chunked_over, 413),
        ("Content-Length: 10\r\n\r\nshort".into(), 408),
        ("Transfer-Encoding: chunked\r\n\r\nzz\r\n".into(), 400),
    ];
    for (rest, status) in table {
        let answer = served.say(format!("POST /echo HTTP/1.1\r\nHost: x\r\n{rest}").as_bytes());
        assert_eq!(answer.status, status, "{rest}");
    }
}

#[test]
fn headers_too_many_or_too_large_are_refused() {
    let served = Served::start(router(), ListenLimits::default(), None);
    let many: String = (0..100).map(|index| format!("X-{index}: y\r\n")).collect();
    let large = format!("X-Large: {}\r\n", "y".repeat(20_000));
    for headers in [many, large] {
        assert_eq!(served.say(request("GET", "/json", &headers).as_bytes()).status, 431);
    }
}

#[test]
fn bytes_that_are_no_request_are_400_and_the_server_goes_on() {
    let served = Served::start(router(), ListenLimits::default(), None);
    for bytes in [&b"\0\0\0\0\r\n\r\n"[..], b"GET /\xff\xfe\0 HTTP/1.1\r\n\r\n", b"GET  / HTTP/9.9\r\n\r\n"] {
        assert_eq!(served.say(bytes).status, 400, "{bytes:?}");
    }
    assert_eq!(served.say(request("GET", "/json", "").as_bytes()).status, 200);
}

#[test]
fn a_reader_that_stops_is_cut_off() {
    let limits = ListenLimits { stall_time: SHORT, ..ListenLimits::default() };
    let depot = Depot::with(content(64 << 20), limits, 1, Gate::default());
    let target = depot.target(&depot.claims());
    let mut stopped = depot.served.connect();
    stopped.write_all(request("GET", &target, "").as_bytes()).unwrap();
    stopped.read_exact(&mut [0]).unwrap();
    // The only download slot comes free although the reader has not gone away.
    while depot.get(&target, "Range: bytes=0-0\r\n").status == 503 {}
    drop(stopped);
}

#[test]
fn connections_beyond_the_limit_wait_for_a_place() {
    let served =
        Served::start(router(), ListenLimits { connections_max: 1, ..ListenLimits::default() }, None);
    let mut first = served.connect();
    first.write_all(request("GET", "/json", "").as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut first, false).status, 200);
    let mut second = served.connect();
    second.write_all(request("GET", "/json", "").as_bytes()).unwrap();
    second.set_read_timeout(Some(SHORT)).unwrap();
    assert_eq!(second.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(first);
    second.set_read_timeout(Some(crate::served::PATIENCE)).unwrap();
    assert_eq!(Answer::read(&mut second, false).status, 200);
}

#[test]
fn a_drain_lets_requests_end_and_closes_idle_connections() {
    let (entered, has_entered) = mpsc::channel();
    let (go, may_go) = tokio::sync::watch::channel(false);
    let slow = move || {
        let (entered, mut may_go) = (entered.clone(), may_go.clone());
        async move {
            entered.send(()).unwrap();
            may_go.wait_for(|go| *go).await.unwrap();
            "done"
        }
    };
    let served = Served::start(router().route("/slow", get(slow)), ListenLimits::default(), None);
    let mut idle = served.connect();
    idle.write_all(request("GET", "/json", "").as_bytes()).unwrap();
    Answer::read(&mut idle, false);
    let mut busy = served.connect();
    busy.write_all(request("GET", "/slow", "").as_bytes()).unwrap();
    has_entered.recv().unwrap();
    served.ask_to_stop();
    assert!(is_closed(&mut idle));
    go.send_replace(true);
    let answer = Answer::read(&mut busy, false);
    assert_eq!((answer.status, answer.header("Connection")), (200, Some("close")));
    assert_eq!(served.stop().cut, 0);
}

#[test]
fn a_drain_has_an_end() {
    let limits = ListenLimits { drain_time: SHORT, ..ListenLimits::default() };
    let (entered, has_entered) = mpsc::channel();
    let never = move || {
        entered.send(()).unwrap();
        std::future::pending::<StatusCode>()
    };
    let served = Served::start(Router::new().route("/never", get(never)), limits, None);
    let mut stream = served.connect();
    stream.write_all(request("GET", "/never", "").as_bytes()).unwrap();
    has_entered.recv().unwrap();
    assert_eq!(served.stop().cut, 1);
}

fn tls(folder: &std::path::Path) -> (Arc<rustls::ServerConfig>, Arc<ClientConfig>) {
    let now = Timestamp::from_millis(i64::try_from(now()).unwrap() * 1000);
    let server = pki::open(folder, &[], now).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&server.ca_path).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    (server.tls, Arc::new(client.with_root_certificates(roots).with_no_client_auth()))
}

#[test]
fn a_small_answer_over_tls_is_one_record_within_4095_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = tls(folder.path());
    let served = Served::start(router(), ListenLimits::default(), Some(server));
    let mut session = ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
    let mut tcp = served.connect();
    while session.is_handshaking() {
        session.complete_io(&mut tcp).unwrap();
    }
    session.writer().write_all(request("GET", "/json", "").as_bytes()).unwrap();
    session.write_tls(&mut tcp).unwrap();
    let mut plain = Vec::new();
    while plain.is_empty() {
        // One record at a time: its header says how much to read (RFC 8446 §5.1).
        let mut record = vec![0; 5];
        tcp.read_exact(&mut record).unwrap();
        let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
        record.resize(5 + length, 0);
        tcp.read_exact(&mut record[5..]).unwrap();
        session.read_tls(&mut record.as_slice()).unwrap();
        session.process_new_packets().unwrap();
        let _ = session.reader().read_to_end(&mut plain);
    }
    assert!(plain.ends_with(b"\r\n\r\n{}") && plain.len() <= 4095);
}

#[test]
fn a_download_over_tls_is_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = tls(folder.path());
    let depot = Depot::new(3_000_000).over_tls(server);
    let session = ClientConnection::new(client, "127.0.0.1".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(session, depot.served.connect());
    for headers in ["", "Range: bytes=7-1000007\r\n"] {
        stream.write_all(request("GET", &depot.target(&depot.claims()), headers).as_bytes()).unwrap();
        let answer = Answer::read(&mut stream, false);
        let expected = if headers.is_empty() { &depot.content[..] } else { &depot.content[7..=1_000_007] };
        assert!(answer.body == expected);
    }
}

#[test]
fn a_tls_handshake_that_never_comes_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(router(), short_limits(), Some(tls(folder.path()).0));
    for begin in [&b""[..], b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = served.connect();
        stream.write_all(begin).unwrap();
        assert!(is_closed(&mut stream));
    }
}

#[test]
fn a_socket_that_cannot_be_bound_says_what_to_do() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let taken = bind(([127, 0, 0, 1], 0).into(), "[device] listen").await.unwrap();
        let error = bind(taken.local_addr().unwrap(), "[device] listen").await.unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }) && error.to_string().contains("[device] listen"));
        let error = bind(([192, 0, 2, 1], 8443).into(), "[device] listen").await.unwrap_err();
        assert!(matches!(error, BindError::NoSuchAddress { .. }) && error.to_string().contains("192.0.2.1"));
    });
}
