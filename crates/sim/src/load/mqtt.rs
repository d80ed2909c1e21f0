//! A device's connection over MQTT 3.1.1, which stays open, and the state replica spoken on it.
//!
//! As with the agent, what the server pushes is only a hint, upon which the device asks. Deliberately absent: sessions that
//! outlive a connection, and pings: a device asks more often than its keep-alive lasts.

use super::LoadError;
use super::client::{Stream, Target};
use hyper::body::Bytes;
use mqtt_proto::v3::{Connect, ConnectReturnCode, Packet, Publish, Subscribe, SubscribeReturnCode};
use mqtt_proto::{Pid, QoS, QosPid, TopicFilter, TopicName};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use updraft_wire::check_in::{ANSWER_BYTES_MAX, CheckIn, CheckInAnswer};
use updraft_wire::replica::{
    Accepted, DesiredUpdate, GetRequest, Rejected, Reported, Sections, Topic, UpdateRequest, Verdict,
};

/// How long the server may take to let a device in, and to answer one check-in.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Keep-alive told to the server, in seconds: the longest that the agent may have.
const KEEP_ALIVE_S: u16 = 20 * 60;
/// Longest time between two check-ins: half the keep-alive, so that no pings are needed.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(10 * 60);
/// Longest packet taken, in bytes: a device's whole state, in which an assignment stands twice.
const PACKET_BYTES_MAX: usize = 2 * ANSWER_BYTES_MAX + 8 * 1024;
/// How many bytes a packet's length may have (MQTT 3.1.1, 2.2.3).
const LENGTH_BYTES_MAX: usize = 4;
/// How many bytes are read at once.
const READ_BYTES: usize = 2 * 1024;
/// When to come again, as an answer over HTTP would say; over MQTT the server hints.
const NEXT_CHECK_IN_S: u64 = WAIT_MAX.as_secs();

/// Desired state is an application's: a device sends none.
type NoDesired = ();

/// A connection on which the server has let the device in.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    received: Vec<u8>,
    /// Acknowledgements to be sent before anything else is, so that waiting for a hint writes nothing and can be given up.
    to_send: Vec<u8>,
    device: String,
    pid: Pid,
    requests: u64,
    is_hinted: bool,
    /// What the server has accepted on this connection.
    reported: Option<Reported>,
}

impl Connection {
    /// Connects as a device, and listens to its topics.
    pub(super) async fn open(target: &Target, device: &str, token: &str) -> Result<Self, LoadError> {
        let mut connection = Self {
            stream: target.connect().await?,
            received: Vec::new(),
            to_send: Vec::new(),
            device: device.to_owned(),
            pid: Pid::default(),
            requests: 0,
            is_hinted: false,
            reported: None,
        };
        in_time(connection.enter(token)).await?;
        Ok(connection)
    }

    async fn enter(&mut self, token: &str) -> Result<(), LoadError> {
        let mut connect = Connect::new(self.device.as_str().into(), KEEP_ALIVE_S);
        connect.username = Some(self.device.as_str().into());
        connect.password = Some(Bytes::copy_from_slice(token.as_bytes()));
        self.send(&Packet::Connect(connect)).await?;
        let answer = self.next().await?;
        if !matches!(&answer, Packet::Connack(connack) if connack.code == ConnectReturnCode::Accepted) {
            return Err(LoadError::Answer(format!("the server does not let the device in: {answer:?}")));
        }
        let topics = [
            Topic::Delta,
            Topic::UpdateReply(Verdict::Accepted),
            Topic::UpdateReply(Verdict::Rejected),
            Topic::GetReply(Verdict::Accepted),
            Topic::GetReply(Verdict::Rejected),
        ];
        let filter = |topic: Topic| TopicFilter::try_from(topic.name(&self.device).as_str());
        let filters: Result<Vec<_>, _> =
            topics.into_iter().map(|topic| Ok((filter(topic)?, QoS::Level1))).collect();
        let filters = filters.map_err(|error: mqtt_proto::Error| LoadError::Exchange(error.into()))?;
        self.send(&Packet::Subscribe(Subscribe::new(self.pid, filters))).await?;
        loop {
            if let Packet::Suback(suback) = self.next().await? {
                let is_refused = suback.topics.contains(&SubscribeReturnCode::Failure);
                let refused = || LoadError::Answer("the server refuses a subscription".to_owned());
                return if is_refused { Err(refused()) } else { Ok(()) };
            }
        }
    }

    /// Says how the device stands, unless the server knows, and asks what it should do.
    pub(super) async fn check_in(&mut self, words: CheckIn) -> Result<CheckInAnswer, LoadError> {
        // What is hinted from here on may be later than the answer.
        self.is_hinted = false;
        in_time(async {
            let ended = words.update.as_ref().filter(|update| update.state.is_settled());
            let noted = ended.map(|update| update.job.clone());
            self.report(words).await?;
            Ok(CheckInAnswer { next_check_in_s: NEXT_CHECK_IN_S, assignment: self.get().await?, noted })
        })
        .await
    }

    /// Waits until the server hints that a check-in is worth while.
    pub(super) async fn hint(&mut self) -> Result<(), LoadError> {
        while !self.is_hinted {
            self.next().await?;
        }
        Ok(())
    }

    async fn report(&mut self, words: CheckIn) -> Result<(), LoadError> {
        let CheckIn { product, version, boot, attributes, update, .. } = words;
        let reported = Reported::new(product, version, boot, attributes, update);
        if self.reported.as_ref() == Some(&reported) {
            return Ok(());
        }
        let token = self.token();
        let state = Sections::<NoDesired, _> { desired: None, reported: Some(&reported), delta: None };
        let request = UpdateRequest { state, client_token: Some(token.clone()), version: None };
        self.ask(Topic::Update, Topic::UpdateReply, &token, encoded(&request)).await?;
        self.reported = Some(reported);
        Ok(())
    }

    async fn get(&mut self) -> Result<Option<updraft_wire::Assignment>, LoadError> {
        let token = self.token();
        let request = GetRequest { client_token: Some(token.clone()) };
        let reply = self.ask(Topic::Get, Topic::GetReply, &token, encoded(&request)).await?;
        let whole: Accepted<Sections<DesiredUpdate, IgnoredAny>> = decoded(&reply)?;
        Ok(whole.state.delta.and_then(|wanted| wanted.software).map(Into::into))
    }

    /// A token that no other request on this connection has.
    fn token(&mut self) -> String {
        self.requests += 1;
        self.requests.to_string()
    }

    /// Asks, and waits for the reply to this very request.
    async fn ask(
        &mut self,
        topic: Topic,
        reply: fn(Verdict) -> Topic,
        token: &str,
        payload: Vec<u8>,
    ) -> Result<Bytes, LoadError> {
        let [accepted, rejected] =
            [Verdict::Accepted, Verdict::Rejected].map(|verdict| reply(verdict).name(&self.device));
        let name = TopicName::try_from(topic.name(&self.device).as_str())
            .map_err(|error| LoadError::Exchange(error.into()))?;
        self.pid += 1;
        let publish = Publish::new(QosPid::Level1(self.pid), name, payload.into());
        self.send(&Packet::Publish(publish)).await?;
        loop {
            let Packet::Publish(message) = self.next().await? else { continue };
            let echoed =
                serde_json::from_slice::<Token>(&message.payload).ok().and_then(|echo| echo.client_token);
            if echoed.as_deref() != Some(token) {
                continue;
            }
            if *message.topic_name == accepted {
                return Ok(message.payload);
            }
            if *message.topic_name == rejected {
                return Err(LoadError::Status(decoded::<Rejected>(&message.payload)?.code));
            }
        }
    }

    async fn send(&mut self, packet: &Packet) -> Result<(), LoadError> {
        let failed = |error: std::io::Error| LoadError::Exchange(error.into());
        let encoded = packet.encode().map_err(|error| LoadError::Exchange(error.into()))?;
        self.to_send.extend_from_slice(encoded.as_ref());
        self.stream.write_all(&self.to_send).await.map_err(failed)?;
        self.stream.flush().await.map_err(failed)?;
        self.to_send.clear();
        Ok(())
    }

    /// The next packet. Messages are acknowledged with what is sent next.
    async fn next(&mut self) -> Result<Packet, LoadError> {
        let packet = loop {
            if let Some(bytes) = frame(&self.received)? {
                let packet = Packet::decode(&self.received[..bytes]);
                self.received.drain(..bytes);
                let packet = packet.map_err(|error| LoadError::Exchange(error.into()))?;
                break packet.ok_or_else(|| LoadError::Answer("a packet is cut short".to_owned()))?;
            }
            self.received.reserve(READ_BYTES);
            let count = self.stream.read_buf(&mut self.received).await;
            if count.map_err(|error| LoadError::Exchange(error.into()))? == 0 {
                return Err(LoadError::Answer("the server ended the connection".to_owned()));
            }
        };
        if let Packet::Publish(message) = &packet {
            if let QosPid::Level1(pid) = message.qos_pid {
                let encoded =
                    Packet::Puback(pid).encode().map_err(|error| LoadError::Exchange(error.into()))?;
                self.to_send.extend_from_slice(encoded.as_ref());
            }
            self.is_hinted |= *message.topic_name == Topic::Delta.name(&self.device);
        }
        Ok(packet)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    client_token: Option<String>,
}

async fn in_time<T>(work: impl Future<Output = Result<T, LoadError>>) -> Result<T, LoadError> {
    let late = |error: tokio::time::error::Elapsed| LoadError::Exchange(error.into());
    tokio::time::timeout(ANSWER_TIME, work).await.map_err(late)?
}

fn encoded(body: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("a request is plain data")
}

fn decoded<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, LoadError> {
    serde_json::from_slice(body)
        .map_err(|error| LoadError::Answer(format!("an answer was not understood: {error}")))
}

/// How long the packet at the front is, by its fixed header (MQTT 3.1.1, 2.2.3); `None` until all of it is there.
fn frame(received: &[u8]) -> Result<Option<usize>, LoadError> {
    let too_long = || LoadError::Answer("a packet is too long".to_owned());
    let mut length = 0;
    for (place, byte) in received.iter().skip(1).take(LENGTH_BYTES_MAX).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let whole = 2 + place + length;
            if whole > PACKET_BYTES_MAX {
                return Err(too_long());
            }
            return Ok(Some(whole).filter(|whole| *whole <= received.len()));
        }
    }
    if received.len() > LENGTH_BYTES_MAX { Err(too_long()) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_taken_when_all_of_it_is_there() {
        for (received, expected) in [
            (&[][..], None),
            (&[0xd0], None),
            (&[0xd0, 0], Some(2)),
            (&[0x40, 2, 0], None),
            (&[0x40, 2, 0, 1, 0xd0], Some(4)),
            (&[0x30, 0x80], None),
        ] {
            assert_eq!(frame(received).unwrap(), expected, "{received:?}");
        }
        let long = [&[0x30, 0x80, 0x01][..], &[0; 128]].concat();
        assert_eq!(frame(&long).unwrap(), Some(131));
    }

    #[test]
    fn a_packet_too_long_or_with_an_endless_header_is_an_error_at_once() {
        for received in [[0x30, 0xff, 0xff, 0xff, 0x7f], [0x30, 0x80, 0x80, 0x80, 0x80]] {
            assert!(frame(&received).is_err(), "{received:?}");
        }
    }
}
