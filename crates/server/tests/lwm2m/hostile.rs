//! What a stranger, or a device that is up to no good, gets by datagrams of its own making.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use updraft_lwm2m::coap::option::number;
use updraft_lwm2m::coap::{Block, BlockSize, Code, Message, MessageType, Method, Request, Response, Token};
use updraft_server::config::Config;

use crate::bare::{Bare, code};
use crate::device::{Device, plain, secured, stage};
use crate::stage::Stage;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A socket and nothing behind it.
struct Raw(UdpSocket);

impl Raw {
    fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn send(&self, datagram: &[u8]) {
        self.0.send(datagram).unwrap();
    }

    fn hear(&self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let length = self.0.recv(&mut buffer).expect("something is heard");
        buffer[..length].to_vec()
    }

    /// The next request of the server's.
    fn asked(&self) -> Vec<u8> {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "nothing is asked");
            let datagram = self.hear();
            if Message::parse(&datagram).unwrap().code.is_request() {
                return datagram;
            }
        }
    }
}

/// A request as a datagram.
fn datagram(kind: MessageType, id: u16, request: &Request) -> Vec<u8> {
    let token = Token::new(&id.to_be_bytes()).unwrap();
    let (code, options) = (request.method.code(), request.options.view());
    Message { kind, code, id, token, options, payload: &request.payload }.encode()
}

fn register(name: &str) -> Request {
    let links = b"</1/0>,</3/0>,</5/0>".to_vec();
    Request::new(Method::Post, "/rd")
        .with_query(&format!("ep={name}"))
        .with_query("lt=300")
        .with_query("lwm2m=1.1")
        .with_payload(40, links)
}

#[test]
fn a_register_that_comes_twice_is_one_registration_with_one_location() {
    let stage = stage(|_| ());
    let raw = Raw::new(plain(&stage));
    let said = datagram(MessageType::Confirmable, 77, &register("d"));
    raw.send(&said);
    let answers: Vec<_> = (0..3)
        .map(|_| {
            let answer = std::iter::repeat_with(|| raw.hear())
                .find(|heard| Message::parse(heard).unwrap().kind == MessageType::Acknowledgement)
                .unwrap();
            raw.send(&said);
            answer
        })
        .collect();
    assert_eq!(Message::parse(&answers[0]).unwrap().code, Code::CREATED);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "to the byte, location and all");
}

#[test]
fn an_answer_from_another_address_is_none() {
    let stage = stage(|_| ());
    let (device, stranger) = (Raw::new(plain(&stage)), Raw::new(plain(&stage)));
    device.send(&datagram(MessageType::Confirmable, 1, &register("d")));
    let asked = device.asked();
    let asked = Message::parse(&asked).unwrap();
    assert_eq!(asked.token.as_bytes().len(), 8);
    let answer = |serial: &str| {
        // TLV of one resource, the serial number (/3/0/2).
        let payload = [&[0xc8, 2, serial.len() as u8][..], serial.as_bytes()].concat();
        let mut response = Response::content(11542, payload);
        response.options.set_uint(number::CONTENT_FORMAT, 11542);
        let (kind, options) = (MessageType::Acknowledgement, response.options.view());
        let payload = &response.payload;
        Message { kind, code: Code::CONTENT, id: asked.id, token: asked.token, options, payload }.encode()
    };
    // The stranger has even seen the token; it comes first, and once with a line of its own.
    stranger.send(&answer("forged"));
    stranger.send(&datagram(MessageType::Confirmable, 2, &register("e")));
    stranger.asked();
    stranger.send(&answer("forged"));
    device.send(&answer("genuine"));
    let end = Instant::now() + PATIENCE;
    loop {
        let tree = stage.operate("GET", "/devices/d/lwm2m", b"").text().to_owned();
        assert!(!tree.contains("forged"), "{tree}");
        if tree.contains("genuine") {
            break;
        }
        assert!(Instant::now() < end, "what the device said is not known: {tree}");
    }
}

#[test]
fn a_name_that_is_no_devices_id_is_refused_whatever_it_would_mean_elsewhere() {
    let stage = stage(|_| ());
    for name in [
        "d'; DROP TABLE devices;--",
        "<script>alert(1)</script>",
        "../../etc/passwd",
        "a/b",
        "d\n",
        "d\u{1b}[2J",
        "d\0",
        "é",
        &"x".repeat(200),
    ] {
        let answer = Bare::new(plain(&stage)).ask(register(name));
        assert_eq!(code(&answer), Code::BAD_REQUEST, "{name:?}");
    }
    let mut request = register("d");
    request.options.push(number::URI_QUERY, b"ep=\xff");
    assert!(!code(&Bare::new(plain(&stage)).ask(request)).is_success(), "what is no UTF-8");
    let devices = stage.operate("GET", "/devices", b"").text().to_owned();
    assert!(!devices.contains("script") && !devices.contains("\"d"), "{devices}");
    Device::plain(plain(&stage), "d").registered();
}

#[test]
fn the_list_of_resources_is_given_in_every_size_of_block_and_to_any_query() {
    // What another implementation wrote past its buffer for (CVE-2026-27703).
    let stage = stage(|_| ());
    let list = || Request::new(Method::Get, "/.well-known/core");
    for exponent in 0..=6 {
        let size = BlockSize::from_exponent(exponent).unwrap();
        let (mut whole, mut next) = (Vec::new(), 0);
        loop {
            let block = Block { number: next, more: false, size };
            let mut request = list();
            request.options.set_uint(number::BLOCK2, block.value());
            let answer = Bare::new(plain(&stage)).ask(request);
            assert_eq!(code(&answer), Code::CONTENT, "block {next} of {size:?}");
            assert!(answer.payload.len() <= size.bytes());
            whole.extend(&answer.payload);
            if !answer.block2().is_some_and(|block| block.more) {
                break;
            }
            next += 1;
        }
        assert_eq!(String::from_utf8(whole).unwrap(), "</rd>;rt=\"core.rd\"", "{size:?}");
    }
    for number in [2, 1_000, (1 << 20) - 1] {
        let mut request = list();
        let block = Block { number, more: false, size: BlockSize::MIN };
        request.options.set_uint(number::BLOCK2, block.value());
        assert!(!code(&Bare::new(plain(&stage)).ask(request)).is_success(), "block {number}");
    }
    for query in ["rt=*", "", "href=", &"x".repeat(255)] {
        assert_eq!(code(&Bare::new(plain(&stage)).ask(list().with_query(query))), Code::CONTENT, "{query:?}");
    }
}

#[test]
fn nobody_is_heard_without_security_unless_it_is_switched_on() {
    let stage = Stage::new();
    assert_eq!(stage.addresses.lwm2m_plain, None);
    // On the port that has security, what has none is nobody's.
    let raw = Raw::new(secured(&stage));
    raw.0.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    raw.send(&datagram(MessageType::Confirmable, 1, &register("d")));
    raw.send(&[0x40, 0, 0, 1]);
    assert!(raw.0.recv(&mut [0; 64]).is_err(), "silence");

    let mut config = Config::default();
    for (listen, meant, is_good) in
        [("127.0.0.1:0", false, true), ("0.0.0.0:5683", false, false), ("0.0.0.0:5683", true, true)]
    {
        config.protocols.lwm2m.plain_listen = Some(listen.parse().unwrap());
        config.protocols.lwm2m.plain_on_public_address = meant;
        assert_eq!(config.check().is_ok(), is_good, "{listen}, meant: {meant}");
    }
}
