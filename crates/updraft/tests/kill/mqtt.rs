//! A connection of a device that speaks MQTT 3.1.1: just what a device needs, written down apart from the server's own.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a server that lives may leave a device without an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// Seconds between signs of life: longer than a test, for nothing here is meant to end by silence.
const KEEP_ALIVE_SECONDS: u16 = 600;

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
/// The flag of a PUBLISH at QoS 1.
const QOS_1: u8 = 0x02;

/// What the server sends unasked, or in answer to a publish.
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Value,
}

/// A connection that was let in.
pub(crate) struct Link {
    stream: TcpStream,
    /// Bytes that make no whole packet yet.
    bytes: Vec<u8>,
    packet: u16,
    /// Messages that came while something else was waited for.
    waiting: VecDeque<Message>,
    /// Whether the server has kept the session, with its subscriptions.
    pub(crate) is_resumed: bool,
}

impl Link {
    /// Connects under the device's own name with a session that lasts.
    pub(crate) async fn open(address: SocketAddr, device: &str, token: &str) -> io::Result<Self> {
        let connecting = timeout(ANSWER_TIME_MAX, TcpStream::connect(address));
        let stream = connecting.await.map_err(|_| io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        let (bytes, waiting) = (Vec::new(), VecDeque::new());
        let mut link = Self { stream, bytes, packet: 0, waiting, is_resumed: false };
        // A user name, a password, and no clean session.
        let mut body = [&text("MQTT")[..], &[4, 0xC0], &KEEP_ALIVE_SECONDS.to_be_bytes()].concat();
        for word in [device, device, token] {
            body.extend(text(word));
        }
        link.send(CONNECT, &body).await?;
        match timeout(ANSWER_TIME_MAX, link.packet()).await.map_err(|_| io::ErrorKind::TimedOut)?? {
            (CONNACK, body) if body.len() == 2 && body[1] == 0 => link.is_resumed = body[0] == 1,
            // While ours is down, its port may be another server's.
            (kind, body) => return Err(io::Error::other(format!("not let in: {kind:#x} {body:?}"))),
        }
        Ok(link)
    }

    /// Subscribes at QoS 1, and waits until that is granted.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> io::Result<()> {
        let packet = self.next_packet();
        self.send(SUBSCRIBE, &[&packet.to_be_bytes()[..], &text(filter), &[1]].concat()).await?;
        let granted = [&packet.to_be_bytes()[..], &[1]].concat();
        self.acknowledged(SUBACK, &granted).await
    }

    /// Publishes at QoS 1, and waits until the server has it for good.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &Value) -> io::Result<()> {
        let packet = self.next_packet();
        let payload = payload.to_string();
        let body = [&text(topic)[..], &packet.to_be_bytes(), payload.as_bytes()].concat();
        self.send(PUBLISH | QOS_1, &body).await?;
        self.acknowledged(PUBACK, &packet.to_be_bytes()).await
    }

    /// The next message, which must come in time.
    pub(crate) async fn message(&mut self) -> io::Result<Message> {
        timeout(ANSWER_TIME_MAX, self.news()).await.expect("a device is left waiting for a message")
    }

    /// The next message, whenever it comes.
    pub(crate) async fn news(&mut self) -> io::Result<Message> {
        if let Some(message) = self.waiting.pop_front() {
            return Ok(message);
        }
        let (kind, body) = self.packet().await?;
        assert_eq!(kind & 0xF0, PUBLISH, "a message, not {kind:#x} {body:?}");
        self.take(kind, &body).await
    }

    /// Waits for an acknowledgement; messages may come before it.
    async fn acknowledged(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        loop {
            let reading = timeout(ANSWER_TIME_MAX, self.packet());
            match reading.await.expect("a device is left waiting for an acknowledgement")? {
                (heard, heard_body) if heard == kind && heard_body == body => return Ok(()),
                (heard, heard_body) if heard & 0xF0 == PUBLISH => {
                    let message = self.take(heard, &heard_body).await?;
                    self.waiting.push_back(message);
                }
                (heard, heard_body) => panic!("not {kind:#x} {body:?}, but {heard:#x} {heard_body:?}"),
            }
        }
    }

    /// Reads a PUBLISH and acknowledges it.
    async fn take(&mut self, kind: u8, body: &[u8]) -> io::Result<Message> {
        let (length, rest) = body.split_at(2);
        let (topic, mut rest) = rest.split_at(usize::from(u16::from_be_bytes([length[0], length[1]])));
        if kind & QOS_1 != 0 {
            let packet;
            (packet, rest) = rest.split_at(2);
            self.send(PUBACK, packet).await?;
        }
        let topic = String::from_utf8(topic.to_vec()).unwrap();
        Ok(Message { topic, payload: serde_json::from_slice(rest).unwrap() })
    }

    fn next_packet(&mut self) -> u16 {
        self.packet = self.packet % u16::MAX + 1;
        self.packet
    }

    async fn send(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let mut bytes = vec![kind];
        let mut left = body.len();
        while left >= 0x80 {
            bytes.push((left % 0x80) as u8 | 0x80);
            left /= 0x80;
        }
        bytes.push(left as u8);
        bytes.extend(body);
        self.stream.write_all(&bytes).await
    }

    /// One whole packet: its first byte, and what follows the length.
    async fn packet(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            if let Some((head, length)) = header(&self.bytes)
                && self.bytes.len() >= head + length
            {
                let body = self.bytes[head..head + length].to_vec();
                let kind = self.bytes[0];
                self.bytes.drain(..head + length);
                return Ok((kind, body));
            }
            if self.stream.read_buf(&mut self.bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// How long the fixed header at the start of some bytes is, and what follows it; `None` while it is not whole.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (place, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((place + 2, length));
        }
    }
    None
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}
