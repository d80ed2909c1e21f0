//! As much of MQTT 3.1.1 as the load needs. Packets are written once and sent as bytes, so that the load costs little.

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    /// CONNACK, and whether the client was let in.
    Connack(bool),
    /// PUBLISH; no packet ID at QoS 0.
    Publish { topic: String, pid: Option<u16> },
    /// PUBACK of a publish.
    Puback(u16),
    /// SUBACK, and whether every filter was granted.
    Suback(bool),
    /// Anything else.
    Other,
}

const CONNECT: u8 = 0x10;
/// PUBLISH at QoS 1.
const PUBLISH: u8 = 0x32;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
/// Return codes from here on refuse a filter.
const REFUSED: u8 = 0x80;
/// Keep-alive asked for, in seconds: longer than any run.
const KEEP_ALIVE_S: u16 = 3_600;

fn text(into: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("topics and names of the load are short");
    into.extend(length.to_be_bytes());
    into.extend(text.as_bytes());
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut rest = body.len();
    loop {
        let digit = u8::try_from(rest % 128).expect("below 128");
        rest /= 128;
        packet.push(if rest > 0 { digit | 0x80 } else { digit });
        if rest == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// CONNECT with a clean session.
pub(crate) fn connect(client_id: &str, password: Option<&str>) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, if password.is_some() { 0xc2 } else { 0x02 }];
    body.extend(KEEP_ALIVE_S.to_be_bytes());
    text(&mut body, client_id);
    if let Some(password) = password {
        text(&mut body, client_id);
        text(&mut body, password);
    }
    packet(CONNECT, &body)
}

/// SUBSCRIBE at QoS 1.
pub(crate) fn subscribe(pid: u16, filters: &[String]) -> Vec<u8> {
    let mut body = pid.to_be_bytes().to_vec();
    for filter in filters {
        text(&mut body, filter);
        body.push(1);
    }
    packet(SUBSCRIBE, &body)
}

/// PUBLISH at QoS 1.
pub(crate) fn publish(pid: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
    text(&mut body, topic);
    body.extend(pid.to_be_bytes());
    body.extend_from_slice(payload);
    packet(PUBLISH, &body)
}

/// PUBACK.
pub(crate) fn puback(pid: u16) -> [u8; 4] {
    let [high, low] = pid.to_be_bytes();
    [PUBACK, 2, high, low]
}

/// The packet at the front of `bytes` and its length, if it is whole.
pub(crate) fn parse(bytes: &[u8]) -> Option<(Packet, usize)> {
    let (mut length, mut shift, mut header) = (0, 0, 1);
    loop {
        let digit = usize::from(*bytes.get(header)?);
        length |= (digit & 0x7f) << shift;
        (header, shift) = (header + 1, shift + 7);
        if digit & 0x80 == 0 {
            break;
        }
    }
    let body = bytes.get(header..header + length)?;
    Some((read(bytes[0], body).unwrap_or(Packet::Other), header + length))
}

fn read(first: u8, body: &[u8]) -> Option<Packet> {
    let number = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    Some(match first >> 4 {
        2 => Packet::Connack(body.get(1) == Some(&0)),
        3 => {
            let end = 2 + usize::from(number(0)?);
            let topic = String::from_utf8_lossy(body.get(2..end)?).into_owned();
            let pid = if first & 0x06 == 0 { None } else { Some(number(end)?) };
            Packet::Publish { topic, pid }
        }
        4 => Packet::Puback(number(0)?),
        9 => Packet::Suback(body.get(2..)?.iter().all(|code| *code < REFUSED)),
        _ => Packet::Other,
    })
}
