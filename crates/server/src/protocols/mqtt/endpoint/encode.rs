//! Packets to bytes. What is sent for every message is written here, with no copy in between; the rest is `mqtt-proto`'s.

use super::frame::Version;
use mqtt_proto::v5::{self, PublishProperties};
use mqtt_proto::{QoS, VarBytes, v3};

/// Largest value of a variable byte integer (1.5.5).
const VAR_INT_MAX: usize = 268_435_455;

fn var_int(out: &mut Vec<u8>, mut value: usize) {
    debug_assert!(value <= VAR_INT_MAX, "limits keep packets far below this");
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

fn var_int_bytes(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() <= usize::from(u16::MAX), "decoded from a field of two bytes of length");
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A PUBLISH to a client.
#[derive(Debug)]
pub(super) struct Outbound<'a> {
    pub(super) version: Version,
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) qos: QoS,
    /// The packet ID; 0 at QoS 0.
    pub(super) pid: u16,
    pub(super) dup: bool,
    pub(super) retain: bool,
    /// The topic alias; with an empty topic it stands for one that was sent before.
    pub(super) alias: Option<u16>,
    /// The identifiers of the subscriptions it matches.
    pub(super) identifiers: &'a [u32],
    pub(super) properties: Option<&'a PublishProperties>,
    /// What is left of its expiry, in seconds.
    pub(super) expiry: Option<u32>,
}

impl Outbound<'_> {
    fn properties_bytes(&self) -> usize {
        let identifiers: usize =
            self.identifiers.iter().map(|identifier| 1 + var_int_bytes(*identifier as usize)).sum();
        let mut bytes = identifiers + self.alias.map_or(0, |_| 3) + self.expiry.map_or(0, |_| 5);
        if let Some(own) = self.properties {
            bytes += own.payload_is_utf8.map_or(0, |_| 2)
                + own.response_topic.as_ref().map_or(0, |topic| 3 + topic.len())
                + own.correlation_data.as_ref().map_or(0, |data| 3 + data.len())
                + own.content_type.as_ref().map_or(0, |content| 3 + content.len());
            bytes +=
                own.user_properties.iter().map(|user| 5 + user.name.len() + user.value.len()).sum::<usize>();
        }
        bytes
    }

    fn write_properties(&self, out: &mut Vec<u8>) {
        if let Some(expiry) = self.expiry {
            out.push(0x02);
            out.extend_from_slice(&expiry.to_be_bytes());
        }
        if let Some(alias) = self.alias {
            out.push(0x23);
            out.extend_from_slice(&alias.to_be_bytes());
        }
        for identifier in self.identifiers {
            out.push(0x0b);
            var_int(out, *identifier as usize);
        }
        let Some(own) = self.properties else { return };
        if let Some(utf8) = own.payload_is_utf8 {
            out.extend_from_slice(&[0x01, u8::from(utf8)]);
        }
        if let Some(content) = &own.content_type {
            out.push(0x03);
            text(out, content.as_bytes());
        }
        if let Some(topic) = &own.response_topic {
            out.push(0x08);
            text(out, topic.as_bytes());
        }
        if let Some(data) = &own.correlation_data {
            out.push(0x09);
            text(out, data);
        }
        for user in &own.user_properties {
            out.push(0x26);
            text(out, user.name.as_bytes());
            text(out, user.value.as_bytes());
        }
    }

    fn lengths(&self) -> (usize, usize) {
        let packet_id = if self.qos == QoS::Level0 { 0 } else { 2 };
        let fixed = 2 + self.topic.len() + packet_id + self.payload.len();
        match self.version {
            Version::V3 => (fixed, 0),
            Version::V5 => {
                let properties = self.properties_bytes();
                (fixed + var_int_bytes(properties) + properties, properties)
            }
        }
    }

    /// How long the packet is, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let (remaining, _) = self.lengths();
        1 + var_int_bytes(remaining) + remaining
    }

    /// Appends the packet.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let (remaining, properties) = self.lengths();
        out.reserve(5 + remaining);
        out.push(0x30 | u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain));
        var_int(out, remaining);
        text(out, self.topic.as_bytes());
        if self.qos != QoS::Level0 {
            out.extend_from_slice(&self.pid.to_be_bytes());
        }
        if self.version == Version::V5 {
            var_int(out, properties);
            self.write_properties(out);
        }
        out.extend_from_slice(self.payload);
    }
}

/// The packets that acknowledge one packet ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ack {
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
}

/// Appends an acknowledgement; the code is left out where the version or a success allows it.
pub(super) fn ack(out: &mut Vec<u8>, version: Version, ack: Ack, pid: u16, code: u8) {
    let kind = match ack {
        Ack::Puback => 0x40,
        Ack::Pubrec => 0x50,
        Ack::Pubrel => 0x62,
        Ack::Pubcomp => 0x70,
    };
    let [high, low] = pid.to_be_bytes();
    if version == Version::V5 && code != 0 {
        out.extend_from_slice(&[kind, 3, high, low, code]);
    } else {
        out.extend_from_slice(&[kind, 2, high, low]);
    }
}

/// Appends a PINGRESP.
pub(super) fn pong(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xd0, 0]);
}

/// Appends a SUBACK: a code for each filter.
pub(super) fn suback(out: &mut Vec<u8>, version: Version, pid: u16, codes: &[u8]) {
    codes_packet(out, version, 0x90, pid, codes);
}

/// Appends an UNSUBACK; MQTT 3.1.1 has no codes in it.
pub(super) fn unsuback(out: &mut Vec<u8>, version: Version, pid: u16, codes: &[u8]) {
    match version {
        Version::V3 => codes_packet(out, version, 0xb0, pid, &[]),
        Version::V5 => codes_packet(out, version, 0xb0, pid, codes),
    }
}

fn codes_packet(out: &mut Vec<u8>, version: Version, kind: u8, pid: u16, codes: &[u8]) {
    let properties: &[u8] = match version {
        Version::V3 => &[],
        Version::V5 => &[0],
    };
    out.push(kind);
    var_int(out, 2 + properties.len() + codes.len());
    out.extend_from_slice(&pid.to_be_bytes());
    out.extend_from_slice(properties);
    out.extend_from_slice(codes);
}

fn append(out: &mut Vec<u8>, encoded: Result<VarBytes, mqtt_proto::Error>) {
    let bytes = encoded.expect("packets of our own making are within the limits of the protocol");
    out.extend_from_slice(bytes.as_ref());
}

/// Appends a DISCONNECT; MQTT 3.1.1 servers have none.
pub(super) fn disconnect(out: &mut Vec<u8>, version: Version, code: v5::DisconnectReasonCode) {
    if version == Version::V5 {
        append(out, v5::Packet::Disconnect(v5::Disconnect::new(code)).encode());
    }
}

/// Appends an MQTT 5 CONNACK.
pub(super) fn connack_v5(out: &mut Vec<u8>, connack: v5::Connack) {
    append(out, v5::Packet::Connack(connack).encode());
}

/// Appends an MQTT 3.1.1 CONNACK.
pub(super) fn connack_v3(out: &mut Vec<u8>, session_present: bool, code: v3::ConnectReturnCode) {
    append(out, v3::Packet::Connack(v3::Connack::new(session_present, code)).encode());
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use mqtt_proto::{Pid, QosPid, TopicName};

    #[test]
    fn a_publish_reads_back_as_it_was_meant() {
        let mut properties = PublishProperties {
            payload_is_utf8: Some(true),
            response_topic: Some(TopicName::try_from("re/ply").unwrap()),
            correlation_data: Some(Bytes::from_static(b"\0\x01")),
            content_type: Some("text/plain".into()),
            user_properties: vec![v5::UserProperty { name: "a".into(), value: "b".into() }],
            ..PublishProperties::default()
        };
        let outbound = Outbound {
            version: Version::V5,
            topic: "a/b",
            payload: &[b'x'; 300],
            qos: QoS::Level1,
            pid: 7,
            dup: true,
            retain: true,
            alias: Some(3),
            identifiers: &[200],
            properties: Some(&properties),
            expiry: Some(9),
        };
        let mut out = Vec::new();
        outbound.write(&mut out);
        assert_eq!(out.len(), outbound.bytes());
        let Ok(Some(v5::Packet::Publish(read))) = v5::Packet::decode(&out) else { panic!("{out:?}") };
        properties.topic_alias = Some(3);
        properties.subscription_id = Some(v5::VarByteInt::try_from(200).unwrap());
        properties.message_expiry_interval = Some(9);
        assert_eq!(read.properties, properties);
        assert_eq!((read.dup, read.retain), (true, true));
        assert_eq!(read.qos_pid, QosPid::Level1(Pid::try_from(7).unwrap()));
        assert_eq!((&*read.topic_name, read.payload.len()), ("a/b", 300));
    }

    #[test]
    fn lengths_grow_by_a_byte_where_the_encoding_does() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, VAR_INT_MAX] {
            let mut out = Vec::new();
            var_int(&mut out, value);
            assert_eq!(out.len(), var_int_bytes(value), "{value}");
        }
    }
}
