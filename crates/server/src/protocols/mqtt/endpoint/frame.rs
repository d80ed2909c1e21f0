//! Bytes to packets: where a packet ends, and what it says. Pure; the bytes are a stranger's.
//!
//! The decoder is `mqtt-proto`'s; here both versions become one [`Incoming`], and what it lets through is refused.

use mqtt_proto::v5::{DisconnectReasonCode as Code, ErrorV5, PublishProperties, RetainHandling};
use mqtt_proto::{Error, Pid, PollHeader, Protocol, QoS, QosPid, TopicFilter, TopicName, v3, v5};
use std::sync::Arc;

/// Most bytes of a fixed header: the type and a length of four bytes.
const HEADER_BYTES_MAX: usize = 5;

/// Which rules a connection follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1, and 3.1, which differs in its CONNECT only.
    V3,
    /// MQTT 5.
    V5,
}

/// A CONNECT of either version.
#[derive(Debug, PartialEq, Eq)]
pub struct Connect {
    /// Its version.
    pub version: Version,
    /// Whether an older session must go.
    pub clean_start: bool,
    /// Keep-alive, in seconds; 0 for none.
    pub keep_alive: u16,
    /// Client ID, empty if the server is to choose.
    pub client_id: Arc<str>,
    /// User name.
    pub username: Option<Arc<str>>,
    /// Password.
    pub password: Option<bytes::Bytes>,
    /// The will.
    pub will: Option<Box<v5::LastWill>>,
    /// MQTT 5 properties; those of a 3.1.1 client are empty, but for the session expiry its clean flag means.
    pub properties: Box<v5::ConnectProperties>,
}

/// A PUBLISH of either version.
#[derive(Debug, PartialEq, Eq)]
pub struct Publish {
    /// Its QoS, with the packet ID.
    pub qos_pid: QosPid,
    /// Whether it is to be retained.
    pub retain: bool,
    /// Its topic, empty if an alias stands for it.
    pub topic: TopicName,
    /// Its payload.
    pub payload: bytes::Bytes,
    /// The topic alias.
    pub alias: Option<u16>,
    /// What else it carries; `None` if nothing.
    pub properties: Option<Box<PublishProperties>>,
}

/// One filter of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// The filter.
    pub filter: TopicFilter,
    /// QoS and options.
    pub options: v5::SubscriptionOptions,
}

/// What a client says after CONNECT.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// PUBLISH.
    Publish(Publish),
    /// PUBACK: a QoS 1 message arrived, or was refused: it is over either way.
    Puback(u16),
    /// PUBREC, and whether it ends the exchange by a refusal.
    Pubrec(u16, bool),
    /// PUBREL.
    Pubrel(u16),
    /// PUBCOMP.
    Pubcomp(u16),
    /// SUBSCRIBE.
    Subscribe {
        /// Packet ID.
        pid: u16,
        /// The subscription identifier.
        identifier: Option<u32>,
        /// The filters.
        filters: Vec<Requested>,
    },
    /// UNSUBSCRIBE.
    Unsubscribe {
        /// Packet ID.
        pid: u16,
        /// The filters.
        filters: Vec<TopicFilter>,
    },
    /// PINGREQ.
    Ping,
    /// DISCONNECT.
    Disconnect {
        /// Whether the will is to be published all the same.
        with_will: bool,
        /// The session expiry in seconds, if it changes.
        expiry: Option<u32>,
    },
}

/// Why bytes are no packet, as the code of an MQTT 5 DISCONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub Code);

/// Where the frame at the front of `bytes` ends: the lengths of its header and of all of it. `None` if more bytes are
/// needed to tell.
///
/// # Errors
/// [`Refused`] if it is longer than `bytes_max`, or its length is malformed.
pub fn measure(bytes: &[u8], bytes_max: usize) -> Result<Option<(usize, usize)>, Refused> {
    let mut length = 0usize;
    for (index, byte) in bytes.iter().enumerate().skip(1).take(HEADER_BYTES_MAX - 1) {
        length |= usize::from(byte & 0x7f) << (7 * (index - 1));
        if byte & 0x80 == 0 {
            // "The encoded value MUST use the minimum number of bytes" (1.5.5).
            if *byte == 0 && index > 1 {
                return Err(Refused(Code::MalformedPacket));
            }
            let total = index + 1 + length;
            return if total > bytes_max {
                Err(Refused(Code::PacketTooLarge))
            } else {
                Ok(Some((index + 1, total)))
            };
        }
    }
    if bytes.len() >= HEADER_BYTES_MAX { Err(Refused(Code::MalformedPacket)) } else { Ok(None) }
}

fn refused(error: &Error) -> Refused {
    Refused(match error {
        Error::InvalidTopicName(_) => Code::TopicNameInvalid,
        Error::InvalidTopicFilter(_) => Code::TopicFilterInvalid,
        Error::EmptySubscription | Error::ZeroPid | Error::UnexpectedProtocol(_) => Code::ProtocolError,
        Error::InvalidRemainingLength
        | Error::InvalidQos(_)
        | Error::InvalidConnectFlags(_)
        | Error::InvalidConnackFlags(_)
        | Error::InvalidConnectReturnCode(_)
        | Error::InvalidProtocol(..)
        | Error::InvalidHeader
        | Error::InvalidVarByteInt
        | Error::InvalidString
        | Error::IoError(_) => Code::MalformedPacket,
    })
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        refused(&error)
    }
}

impl From<ErrorV5> for Refused {
    fn from(error: ErrorV5) -> Self {
        Self(match error {
            ErrorV5::Common(error) => return refused(&error),
            ErrorV5::InvalidPayloadFormat => Code::PayloadFormatInvalid,
            ErrorV5::InvalidResponseTopic => Code::TopicNameInvalid,
            ErrorV5::DuplicatedProperty(_)
            | ErrorV5::InvalidByteProperty(..)
            | ErrorV5::InvalidSubscriptionOption(_) => Code::ProtocolError,
            ErrorV5::InvalidReasonCode(..)
            | ErrorV5::InvalidPropertyId(_)
            | ErrorV5::InvalidPropertyLength(_)
            | ErrorV5::InvalidProperty(..)
            | ErrorV5::InvalidWillProperty(_) => Code::MalformedPacket,
        })
    }
}

/// A whole frame as a packet of one version; every byte of it must be used.
fn whole<H>(frame: &[u8], header_bytes: usize) -> Result<H::Packet, Refused>
where
    H: PollHeader,
    Refused: From<H::Error>,
{
    let body = &frame[header_bytes..];
    let size = |bytes: usize| u32::try_from(bytes).map_err(|_| Refused(Code::PacketTooLarge));
    let header = H::new_with(frame[0], size(body.len())?, size(frame.len())?)?;
    let mut used = 0;
    let packet = match header.build_empty_packet() {
        Some(packet) => packet,
        None => header.decode_buffer(body, &mut used)?,
    };
    if used == body.len() { Ok(packet) } else { Err(Refused(Code::MalformedPacket)) }
}

/// What a frame says on a connection of a version. `header_bytes` is what [`measure`] found.
///
/// # Errors
/// [`Refused`] if it is malformed, or a packet that only a server sends, or a second CONNECT.
pub fn decode(version: Version, frame: &[u8], header_bytes: usize) -> Result<Incoming, Refused> {
    match version {
        Version::V3 => decode_v3(whole::<v3::Header>(frame, header_bytes)?),
        Version::V5 => decode_v5(whole::<v5::Header>(frame, header_bytes)?),
    }
}

fn decode_v3(packet: v3::Packet) -> Result<Incoming, Refused> {
    Ok(match packet {
        v3::Packet::Publish(publish) => Incoming::Publish(Publish {
            qos_pid: publish.qos_pid,
            retain: publish.retain,
            topic: publish.topic_name,
            payload: publish.payload,
            alias: None,
            properties: None,
        }),
        v3::Packet::Puback(pid) => Incoming::Puback(pid.value()),
        v3::Packet::Pubrec(pid) => Incoming::Pubrec(pid.value(), false),
        v3::Packet::Pubrel(pid) => Incoming::Pubrel(pid.value()),
        v3::Packet::Pubcomp(pid) => Incoming::Pubcomp(pid.value()),
        v3::Packet::Subscribe(subscribe) => Incoming::Subscribe {
            pid: subscribe.pid.value(),
            identifier: None,
            filters: subscribe.topics.into_iter().map(|(filter, qos)| requested_v3(filter, qos)).collect(),
        },
        v3::Packet::Unsubscribe(unsubscribe) => unsubscribe_of(unsubscribe.pid, unsubscribe.topics)?,
        v3::Packet::Pingreq => Incoming::Ping,
        v3::Packet::Disconnect => Incoming::Disconnect { with_will: false, expiry: None },
        v3::Packet::Connect(_)
        | v3::Packet::Connack(_)
        | v3::Packet::Suback(_)
        | v3::Packet::Unsuback(_)
        | v3::Packet::Pingresp => return Err(Refused(Code::ProtocolError)),
    })
}

fn requested_v3(filter: TopicFilter, qos: QoS) -> Requested {
    let options = v5::SubscriptionOptions {
        max_qos: qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAtSubscribe,
    };
    Requested { filter, options }
}

/// "The Payload of an UNSUBSCRIBE packet MUST contain at least one Topic Filter" (3.10.3).
fn unsubscribe_of(pid: Pid, filters: Vec<TopicFilter>) -> Result<Incoming, Refused> {
    if filters.is_empty() {
        return Err(Refused(Code::ProtocolError));
    }
    Ok(Incoming::Unsubscribe { pid: pid.value(), filters })
}

fn decode_v5(packet: v5::Packet) -> Result<Incoming, Refused> {
    let ended = |code: u8| code >= 0x80;
    Ok(match packet {
        v5::Packet::Publish(publish) => Incoming::Publish(publish_v5(publish)?),
        v5::Packet::Puback(ack) => Incoming::Puback(ack.pid.value()),
        v5::Packet::Pubrec(ack) => Incoming::Pubrec(ack.pid.value(), ended(ack.reason_code as u8)),
        v5::Packet::Pubrel(ack) => Incoming::Pubrel(ack.pid.value()),
        v5::Packet::Pubcomp(ack) => Incoming::Pubcomp(ack.pid.value()),
        v5::Packet::Subscribe(subscribe) => {
            let identifier = subscribe.properties.subscription_id.map(v5::VarByteInt::value);
            // 3.8.2.1.2: an identifier of 0 is a protocol error.
            if identifier == Some(0) {
                return Err(Refused(Code::ProtocolError));
            }
            let filters =
                subscribe.topics.into_iter().map(|(filter, options)| Requested { filter, options }).collect();
            Incoming::Subscribe { pid: subscribe.pid.value(), identifier, filters }
        }
        v5::Packet::Unsubscribe(unsubscribe) => unsubscribe_of(unsubscribe.pid, unsubscribe.topics)?,
        v5::Packet::Pingreq => Incoming::Ping,
        v5::Packet::Disconnect(disconnect) => Incoming::Disconnect {
            with_will: disconnect.reason_code != Code::NormalDisconnect,
            expiry: disconnect.properties.session_expiry_interval,
        },
        // No extended authentication was agreed upon at CONNECT, so AUTH is a protocol error (4.12).
        v5::Packet::Auth(_)
        | v5::Packet::Connect(_)
        | v5::Packet::Connack(_)
        | v5::Packet::Suback(_)
        | v5::Packet::Unsuback(_)
        | v5::Packet::Pingresp => return Err(Refused(Code::ProtocolError)),
    })
}

fn publish_v5(publish: v5::Publish) -> Result<Publish, Refused> {
    let mut properties = publish.properties;
    // 3.3.4: only a server sends subscription identifiers.
    if properties.subscription_id.is_some() {
        return Err(Refused(Code::ProtocolError));
    }
    let alias = properties.topic_alias.take();
    let bare = properties == PublishProperties::default();
    Ok(Publish {
        qos_pid: publish.qos_pid,
        retain: publish.retain,
        topic: publish.topic_name,
        payload: publish.payload,
        alias,
        properties: (!bare).then(|| Box::new(properties)),
    })
}

/// Why the first packet is no CONNECT of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoConnect {
    /// Not a CONNECT, or a malformed one: nothing is answered.
    Malformed,
    /// A CONNECT of a version that is not spoken here.
    Version(u8),
    /// An MQTT 5 CONNECT that breaks a rule that has a code.
    Refused(Code),
}

/// The CONNECT in a frame.
///
/// # Errors
/// [`NoConnect`].
pub fn decode_connect(frame: &[u8], header_bytes: usize) -> Result<Connect, NoConnect> {
    let body = &frame[header_bytes..];
    if frame[0] != 0x10 {
        return Err(NoConnect::Malformed);
    }
    match Protocol::decode(body, &mut 0) {
        Ok(Protocol::V310 | Protocol::V311) => match whole::<v3::Header>(frame, header_bytes) {
            Ok(v3::Packet::Connect(connect)) => connect_v3(connect),
            Ok(_) | Err(_) => Err(NoConnect::Malformed),
        },
        Ok(Protocol::V500) => match whole::<v5::Header>(frame, header_bytes) {
            Ok(v5::Packet::Connect(connect)) => connect_v5(connect),
            Ok(_) => Err(NoConnect::Malformed),
            Err(Refused(code)) => Err(NoConnect::Refused(code)),
        },
        Err(Error::InvalidProtocol(name, level)) if &*name == "MQTT" => Err(NoConnect::Version(level)),
        Err(_) => Err(NoConnect::Malformed),
    }
}

fn connect_v3(connect: v3::Connect) -> Result<Connect, NoConnect> {
    // 3.1.2.9: "If the User Name Flag is set to 0, the Password Flag MUST be set to 0".
    if connect.password.is_some() && connect.username.is_none() {
        return Err(NoConnect::Malformed);
    }
    let will = connect.last_will.map(|will| {
        let mut last = v5::LastWill::new(will.qos, will.topic_name, will.message);
        last.retain = will.retain;
        Box::new(last)
    });
    let mut properties = Box::<v5::ConnectProperties>::default();
    // A session that is not clean stays until it is taken away (3.1.2.4): as long as the server allows.
    properties.session_expiry_interval = Some(if connect.clean_session { 0 } else { u32::MAX });
    Ok(Connect {
        version: Version::V3,
        clean_start: connect.clean_session,
        keep_alive: connect.keep_alive,
        client_id: (*connect.client_id).into(),
        username: connect.username.map(|name| (*name).into()),
        password: connect.password,
        will,
        properties,
    })
}

fn connect_v5(connect: v5::Connect) -> Result<Connect, NoConnect> {
    let properties = connect.properties;
    // 3.1.2.11: a Receive Maximum or Maximum Packet Size of 0 is a protocol error.
    if properties.receive_max == Some(0) || properties.max_packet_size == Some(0) {
        return Err(NoConnect::Refused(Code::ProtocolError));
    }
    Ok(Connect {
        version: Version::V5,
        clean_start: connect.clean_start,
        keep_alive: connect.keep_alive,
        client_id: (*connect.client_id).into(),
        username: connect.username.map(|name| (*name).into()),
        password: connect.password,
        will: connect.last_will.map(Box::new),
        properties: Box::new(properties),
    })
}
