//! A client that says exactly what a test wants it to say.

use bytes::Bytes;
use mqtt_proto::v5::{self, ConnackProperties, PublishProperties};
use mqtt_proto::{Pid, QoS, QosPid, TopicFilter, TopicName, v3};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

/// Longer than any limit in these tests. Time is virtual: nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(100_000);
/// Shorter than anything that takes time, yet all that is ready has happened by then.
const MOMENT: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V3,
    V5,
}

/// A PUBLISH as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) pid: u16,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) identifiers: Vec<u32>,
    pub(crate) properties: PublishProperties,
}

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    Connack { present: bool, code: u8, properties: Box<ConnackProperties> },
    Publish(Box<Arrived>),
    Puback(u16, u8),
    Pubrec(u16, u8),
    Pubrel(u16, u8),
    Pubcomp(u16, u8),
    Suback(u16, Vec<u8>),
    Unsuback(u16, Vec<u8>),
    Pong,
    Disconnect(u8),
    Closed,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: DuplexStream,
    version: Version,
    bytes: Vec<u8>,
}

/// A CONNECT in the making.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    pub(crate) version: Version,
    pub(crate) connect: v5::Connect,
}

pub(crate) fn hello(version: Version, id: &str) -> Hello {
    let mut connect = v5::Connect::new(id.into(), 60);
    connect.username = Some(id.into());
    connect.password = Some(Bytes::from(format!("secret of {id}")));
    Hello { version, connect }
}

impl Hello {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut v5::Connect)) -> Self {
        change(&mut self.connect);
        self
    }

    /// The session outlives the connection.
    pub(crate) fn lasting(self) -> Self {
        self.with(|connect| {
            connect.clean_start = false;
            connect.properties.session_expiry_interval = Some(3_000);
        })
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let connect = self.connect.clone();
        let packet = match self.version {
            Version::V5 => v5::Packet::Connect(connect).encode(),
            Version::V3 => {
                let mut old = v3::Connect::new(connect.client_id, connect.keep_alive);
                old.clean_session = connect.clean_start;
                old.username = connect.username;
                old.password = connect.password;
                old.last_will = connect.last_will.map(|will| v3::LastWill {
                    qos: will.qos,
                    retain: will.retain,
                    topic_name: will.topic_name,
                    message: will.payload,
                });
                v3::Packet::Connect(old).encode()
            }
        };
        packet.unwrap().as_ref().to_vec()
    }
}

pub(crate) fn qos_pid(qos: u8, pid: u16) -> QosPid {
    match qos {
        0 => QosPid::Level0,
        1 => QosPid::Level1(Pid::try_from(pid).unwrap()),
        _ => QosPid::Level2(Pid::try_from(pid).unwrap()),
    }
}

pub(crate) fn v5_publish(topic: &str, payload: &[u8], qos: u8, pid: u16) -> v5::Publish {
    let topic = TopicName::try_from(topic).unwrap();
    v5::Publish::new(qos_pid(qos, pid), topic, Bytes::copy_from_slice(payload))
}

impl Client {
    pub(crate) fn new(stream: DuplexStream, version: Version) -> Self {
        Self { stream, version, bytes: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // Who was hung up on learns it by reading.
        let _ = self.stream.write_all(bytes).await;
    }

    pub(crate) async fn send_v5(&mut self, packet: impl Into<v5::Packet>) {
        let bytes = packet.into().encode().unwrap();
        self.send(bytes.as_ref()).await;
    }

    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8], qos: u8, pid: u16) {
        self.publish_with(v5_publish(topic, payload, qos, pid)).await;
    }

    pub(crate) async fn publish_with(&mut self, publish: v5::Publish) {
        match self.version {
            Version::V5 => self.send_v5(publish).await,
            Version::V3 => {
                let mut old = v3::Publish::new(publish.qos_pid, publish.topic_name, publish.payload);
                (old.dup, old.retain) = (publish.dup, publish.retain);
                let bytes = v3::Packet::Publish(old).encode().unwrap();
                self.send(bytes.as_ref()).await;
            }
        }
    }

    /// An acknowledgement: of PUBLISH, PUBREC, PUBREL by its first byte.
    pub(crate) async fn ack(&mut self, kind: u8, pid: u16) {
        let [high, low] = pid.to_be_bytes();
        self.send(&[kind, 2, high, low]).await;
    }

    pub(crate) async fn ask(&mut self, pid: u16, filters: &[(&str, u8)]) {
        let pid = Pid::try_from(pid).unwrap();
        let filters = filters
            .iter()
            .map(|(filter, qos)| (TopicFilter::try_from(*filter).unwrap(), QoS::from_u8(*qos).unwrap()));
        match self.version {
            Version::V3 => {
                let subscribe = v3::Subscribe::new(pid, filters.collect());
                let bytes = v3::Packet::Subscribe(subscribe).encode().unwrap();
                self.send(bytes.as_ref()).await;
            }
            Version::V5 => {
                let filters = filters.map(|(filter, qos)| (filter, options(qos))).collect();
                self.send_v5(v5::Subscribe::new(pid, filters)).await;
            }
        }
    }

    /// Subscribes, and gives the codes.
    pub(crate) async fn subscribe(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        self.ask(77, filters).await;
        match self.next().await {
            Got::Suback(77, codes) => codes,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn subscribe_with(
        &mut self,
        filter: &str,
        identifier: u32,
        options: v5::SubscriptionOptions,
    ) {
        let filter = TopicFilter::try_from(filter).unwrap();
        let mut subscribe = v5::Subscribe::new(Pid::try_from(78).unwrap(), vec![(filter, options)]);
        if identifier > 0 {
            subscribe.properties.subscription_id = Some(v5::VarByteInt::try_from(identifier).unwrap());
        }
        self.send_v5(subscribe).await;
        let Got::Suback(78, codes) = self.next().await else { panic!("no SUBACK") };
        assert!(codes[0] <= 2, "{codes:?}");
    }

    pub(crate) async fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let pid = Pid::try_from(79).unwrap();
        let topics: Vec<_> = filters.iter().map(|filter| TopicFilter::try_from(*filter).unwrap()).collect();
        match self.version {
            Version::V3 => {
                let bytes = v3::Packet::Unsubscribe(v3::Unsubscribe::new(pid, topics)).encode().unwrap();
                self.send(bytes.as_ref()).await;
            }
            Version::V5 => self.send_v5(v5::Unsubscribe::new(pid, topics)).await,
        }
        match self.next().await {
            Got::Unsuback(79, codes) => codes,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn disconnect(mut self) {
        self.send(&[0xe0, 0]).await;
        assert_eq!(self.next().await, Got::Closed);
    }

    /// What arrives next, or that the connection was closed.
    pub(crate) async fn next(&mut self) -> Got {
        timeout(PATIENCE, self.read()).await.expect("nothing arrived, ever")
    }

    /// The PUBLISH that arrives next.
    pub(crate) async fn message(&mut self) -> Arrived {
        match self.next().await {
            Got::Publish(arrived) => *arrived,
            other => panic!("{other:?}"),
        }
    }

    /// The PUBLISH that arrives next, acknowledged.
    pub(crate) async fn take(&mut self) -> Arrived {
        let arrived = self.message().await;
        match arrived.qos {
            0 => {}
            1 => self.ack(0x40, arrived.pid).await,
            _ => {
                self.ack(0x50, arrived.pid).await;
                assert_eq!(self.next().await, Got::Pubrel(arrived.pid, 0));
                self.ack(0x70, arrived.pid).await;
            }
        }
        arrived
    }

    /// Nothing arrives, and the connection stands.
    pub(crate) async fn hears_nothing(&mut self) {
        let heard = timeout(MOMENT, self.read()).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    async fn read(&mut self) -> Got {
        loop {
            if let Some(got) = self.parse() {
                return got;
            }
            match self.stream.read_buf(&mut self.bytes).await {
                Ok(0) | Err(_) => return Got::Closed,
                Ok(_) => {}
            }
        }
    }

    fn parse(&mut self) -> Option<Got> {
        let mut length = 0;
        let mut header = 1;
        loop {
            let byte = *self.bytes.get(header)?;
            length |= usize::from(byte & 0x7f) << (7 * (header - 1));
            header += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let total = header + length;
        if self.bytes.len() < total {
            return None;
        }
        let frame: Vec<u8> = self.bytes.drain(..total).collect();
        Some(match self.version {
            Version::V3 => got_v3(&frame),
            Version::V5 => got_v5(&frame, header),
        })
    }
}

pub(crate) fn options(qos: QoS) -> v5::SubscriptionOptions {
    let mut options = v5::SubscriptionOptions::new(qos);
    options.retain_as_published = false;
    options
}

fn got_v3(frame: &[u8]) -> Got {
    match v3::Packet::decode(frame).unwrap().unwrap() {
        v3::Packet::Connack(connack) => Got::Connack {
            present: connack.session_present,
            code: connack.code as u8,
            properties: Box::default(),
        },
        v3::Packet::Publish(publish) => Got::Publish(Box::new(Arrived {
            topic: publish.topic_name.to_string(),
            payload: publish.payload,
            qos: publish.qos_pid.qos() as u8,
            pid: publish.qos_pid.pid().map_or(0, Pid::value),
            dup: publish.dup,
            retain: publish.retain,
            identifiers: Vec::new(),
            properties: PublishProperties::default(),
        })),
        v3::Packet::Puback(pid) => Got::Puback(pid.value(), 0),
        v3::Packet::Pubrec(pid) => Got::Pubrec(pid.value(), 0),
        v3::Packet::Pubrel(pid) => Got::Pubrel(pid.value(), 0),
        v3::Packet::Pubcomp(pid) => Got::Pubcomp(pid.value(), 0),
        v3::Packet::Suback(suback) => {
            // The codes as they are on the wire: the library's enum counts its own way.
            Got::Suback(suback.pid.value(), frame[frame.len() - suback.topics.len()..].to_vec())
        }
        v3::Packet::Unsuback(pid) => Got::Unsuback(pid.value(), Vec::new()),
        v3::Packet::Pingresp => Got::Pong,
        other => panic!("a server does not say {other:?}"),
    }
}

/// The identifiers of a PUBLISH with several, which the library's decoder takes for an error: cut out, and given.
fn cut_identifiers(frame: &[u8], header: usize) -> (Vec<u8>, Vec<u32>) {
    let body = &frame[header..];
    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let at = 2 + topic + if frame[0] & 0x06 == 0 { 0 } else { 2 };
    let length = usize::from(body[at]);
    assert!(length < 128, "tests keep properties short");
    let (mut kept, mut identifiers, mut rest) = (Vec::new(), Vec::new(), &body[at + 1..][..length]);
    while let [kind, tail @ ..] = rest {
        let text = |tail: &[u8]| 2 + usize::from(u16::from_be_bytes([tail[0], tail[1]]));
        let size = match kind {
            0x01 | 0x0b => 1,
            0x02 => 4,
            0x23 => 2,
            0x03 | 0x08 | 0x09 => text(tail),
            0x26 => text(tail) + text(&tail[text(tail)..]),
            other => panic!("no property of PUBLISH: {other}"),
        };
        if *kind == 0x0b {
            identifiers.push(u32::from(tail[0]));
        } else {
            kept.extend_from_slice(&rest[..=size]);
        }
        rest = &tail[size..];
    }
    let mut cut = body[..at].to_vec();
    cut.push(u8::try_from(kept.len()).unwrap());
    cut.extend_from_slice(&kept);
    cut.extend_from_slice(&body[at + 1 + length..]);
    let mut whole = vec![frame[0]];
    let mut left = cut.len();
    while left >= 128 {
        whole.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    whole.push(left as u8);
    whole.extend_from_slice(&cut);
    (whole, identifiers)
}

fn got_v5(frame: &[u8], header: usize) -> Got {
    let (frame, identifiers) =
        if frame[0] >> 4 == 3 { cut_identifiers(frame, header) } else { (frame.to_vec(), Vec::new()) };
    match v5::Packet::decode(&frame).unwrap().unwrap() {
        v5::Packet::Connack(connack) => Got::Connack {
            present: connack.session_present,
            code: connack.reason_code as u8,
            properties: Box::new(connack.properties),
        },
        v5::Packet::Publish(publish) => Got::Publish(Box::new(Arrived {
            topic: publish.topic_name.to_string(),
            payload: publish.payload,
            qos: publish.qos_pid.qos() as u8,
            pid: publish.qos_pid.pid().map_or(0, Pid::value),
            dup: publish.dup,
            retain: publish.retain,
            identifiers,
            properties: publish.properties,
        })),
        v5::Packet::Puback(ack) => Got::Puback(ack.pid.value(), ack.reason_code as u8),
        v5::Packet::Pubrec(ack) => Got::Pubrec(ack.pid.value(), ack.reason_code as u8),
        v5::Packet::Pubrel(ack) => Got::Pubrel(ack.pid.value(), ack.reason_code as u8),
        v5::Packet::Pubcomp(ack) => Got::Pubcomp(ack.pid.value(), ack.reason_code as u8),
        v5::Packet::Suback(suback) => {
            Got::Suback(suback.pid.value(), suback.topics.into_iter().map(|code| code as u8).collect())
        }
        v5::Packet::Unsuback(unsuback) => {
            Got::Unsuback(unsuback.pid.value(), unsuback.topics.into_iter().map(|code| code as u8).collect())
        }
        v5::Packet::Pingresp => Got::Pong,
        v5::Packet::Disconnect(disconnect) => Got::Disconnect(disconnect.reason_code as u8),
        other => panic!("a server does not say {other:?}"),
    }
}
