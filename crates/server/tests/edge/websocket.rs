//! Claims about MQTT in a WebSocket, byte by byte.

use std::io::{self, Read, Write};
use std::sync::Arc;

use super::mqtt::{ACCEPTED, Client, NOT_AUTHORIZED, Stage, connect, secure};
use super::served::Answer;

/// RFC 6455 §1.3.
const NONCE: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const BINARY: u8 = 0x2;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// One end of a WebSocket: a client's, which masks what it sends.
struct Socket {
    client: Client,
    /// Bytes of MQTT that came and were not read yet.
    received: Vec<u8>,
    /// Most bytes that one frame carries.
    frame_bytes_max: usize,
}

impl Socket {
    fn open(stage: &Stage) -> Self {
        let (client, answer) = upgrade(stage, "Sec-WebSocket-Protocol: mqtt\r\n");
        assert_eq!(answer.status, 101, "{}", answer.head);
        assert_eq!(answer.header("Sec-Websocket-Accept"), Some(ACCEPT), "{}", answer.head);
        assert_eq!(answer.header("Sec-Websocket-Protocol"), Some("mqtt"));
        Self { client, received: Vec::new(), frame_bytes_max: 125 }
    }

    fn send(&mut self, kind: u8, data: &[u8]) -> io::Result<()> {
        const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
        let mut frame = vec![0x80 | kind];
        match u8::try_from(data.len()) {
            Ok(length) if length < 126 => frame.push(0x80 | length),
            Ok(_) | Err(_) => {
                frame.push(0x80 | 127);
                frame.extend((data.len() as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(data.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.client.0.write_all(&frame)
    }

    /// The next frame: its kind, and what it carries.
    fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.client.0.read_exact(&mut head)?;
        assert!(head[0] & 0x80 != 0 && head[1] < 126, "whole and short, and not masked: {head:?}");
        let mut data = vec![0; usize::from(head[1])];
        self.client.0.read_exact(&mut data)?;
        Ok((head[0] & 0x0f, data))
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.received.is_empty() {
            match self.frame()? {
                (BINARY, data) => self.received = data,
                (CLOSE, _) => return Ok(0),
                other => panic!("not a frame of MQTT: {other:?}"),
            }
        }
        let count = into.len().min(self.received.len());
        into[..count].copy_from_slice(&self.received[..count]);
        self.received.drain(..count);
        Ok(count)
    }
}

impl Write for Socket {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        for part in data.chunks(self.frame_bytes_max) {
            self.send(BINARY, part)?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Asks for a WebSocket with extra header lines.
fn upgrade(stage: &Stage, headers: &str) -> (Client, Answer) {
    let mut client = secure(stage.addresses.device, &Arc::new(stage.trusting(None)));
    let request = format!(
        "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {NONCE}\r\n{headers}\r\n"
    );
    client.0.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.0.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (client, Answer { status, head, body: Vec::new() })
}

#[test]
fn a_client_connects_by_websocket_however_its_packets_are_cut_into_frames() {
    let stage = Stage::new();
    let token = stage.token("cam-1");
    for frame_bytes_max in [1, 7, 125] {
        let mut socket = Socket::open(&stage);
        socket.frame_bytes_max = frame_bytes_max;
        let mut client = Client(Box::new(socket));
        let hello = connect(4, "cam-1", Some("cam-1"), Some(&token));
        assert_eq!(client.hello(&hello), Some(ACCEPTED));
        // Two packets in a row: PINGREQ twice.
        client.0.write_all(&[0xc0, 0, 0xc0, 0]).unwrap();
        for _ in 0..2 {
            assert_eq!(client.packet().unwrap(), Some(vec![0xd0, 0]));
        }
        client.0.write_all(&[0xe0, 0]).unwrap();
        assert_eq!(client.packet().unwrap(), None, "the server closes after DISCONNECT");
    }
}

#[test]
fn a_client_without_a_good_token_is_refused_by_websocket_too() {
    let stage = Stage::new();
    let mut client = Client(Box::new(Socket::open(&stage)));
    let hello = connect(4, "cam-1", Some("cam-1"), Some("wrong"));
    assert_eq!(client.hello(&hello), Some(NOT_AUTHORIZED));
}

#[test]
fn a_client_that_does_not_offer_mqtt_gets_no_websocket() {
    let stage = Stage::new();
    for headers in ["", "Sec-WebSocket-Protocol: chat\r\n", "Sec-WebSocket-Protocol: mqttv3.1\r\n"] {
        assert_eq!(upgrade(&stage, headers).1.status, 400, "{headers}");
    }
}

#[test]
fn text_frames_and_frames_that_are_too_large_end_the_connection() {
    let stage = Stage::new();
    for (kind, data) in [(TEXT, vec![b'x'; 10]), (BINARY, vec![0; (256 << 10) + 1])] {
        let mut socket = Socket::open(&stage);
        // Writing may fail already, if the server has hung up half-way.
        let _ = socket.send(kind, &data);
        let closed = loop {
            match socket.frame() {
                Ok((CLOSE, _)) | Err(_) => break true,
                Ok((BINARY, _)) => break false,
                Ok(_) => {}
            }
        };
        assert!(closed, "{kind}");
    }
}

#[test]
fn a_ping_of_the_websocket_is_answered() {
    let stage = Stage::new();
    let token = stage.token("cam-1");
    let mut socket = Socket::open(&stage);
    socket.write_all(&connect(4, "cam-1", Some("x"), Some(&token))).unwrap();
    assert_eq!(socket.frame().unwrap().0, BINARY);
    socket.send(PING, b"here?").unwrap();
    assert_eq!(socket.frame().unwrap(), (PONG, b"here?".to_vec()));
}

#[test]
fn a_shutdown_tells_clients_by_websocket_and_waits_for_none_that_stays() {
    let stage = Stage::new();
    let token = stage.token("cam-1");
    let mut client = Client(Box::new(Socket::open(&stage)));
    assert_eq!(client.hello(&connect(5, "cam-1", Some("x"), Some(&token))), Some(ACCEPTED));
    stage.ask_to_stop();
    let farewell = client.packet().unwrap().expect("a DISCONNECT");
    assert_eq!((farewell[0] >> 4, farewell[2]), (14, 0x8b));
    stage.stop();
}

#[test]
fn the_open_router_is_not_behind_the_devices_listener() {
    let stage = Stage::with(tempfile::tempdir().unwrap(), |config| {
        config.protocols.mqtt.open_router_for_conformance = true;
    });
    assert_eq!(upgrade(&stage, "Sec-WebSocket-Protocol: mqtt\r\n").1.status, 404);
}
