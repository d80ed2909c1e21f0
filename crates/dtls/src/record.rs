//! Records, as far as one must read them to know whose they are (RFC 6347 §4.1, RFC 9146 §4).

/// Longest datagram that is sent: what IPv6 carries everywhere without cutting it (1280), less the headers of IP and UDP.
pub const DATAGRAM_BYTES_MAX: usize = 1232;

/// Room for the data of one record: more than Mbed TLS is compiled to take in.
pub(crate) const RECORD_BYTES_MAX: usize = 4096;
/// Most records of one datagram that are looked at. A device's longest flight has six.
pub(crate) const RECORDS_MAX: usize = 16;

/// Length of the connection IDs that the server gives out. Eight random bytes are not met by chance, and cost a device
/// little air.
pub(crate) const CID_BYTES: usize = 8;

/// A connection ID that the server gave out.
pub(crate) type Cid = [u8; CID_BYTES];

/// Length of a record's header without a connection ID.
const HEADER_BYTES: usize = 13;
/// Where the connection ID stands in a record that has one.
const CID_AT: usize = 11;
const TYPE_CHANGE_CIPHER_SPEC: u8 = 20;
const TYPE_HANDSHAKE: u8 = 22;
const TYPE_APPLICATION_DATA: u8 = 23;
const TYPE_CID: u8 = 25;
/// The first byte of a handshake message that begins a handshake.
const CLIENT_HELLO: u8 = 1;
/// Where the number of a handshake message stands in a record that carries its beginning.
const MESSAGE_SEQUENCE_AT: usize = HEADER_BYTES + 4;
/// Where a ClientHello's random stands: after the headers of record and message, and the version.
const RANDOM_AT: usize = HEADER_BYTES + 12 + 2;
const RANDOM_BYTES: usize = 32;

/// Which ClientHello one is: the same twice is a repetition, anything else another beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    /// 0 is the first, 1 that which brings the cookie.
    message_sequence: u16,
    random: [u8; RANDOM_BYTES],
}

/// What a record's header says of whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The beginning of a handshake. It says nothing of whose it is that could be believed.
    Hello(Hello),
    /// Anything else in the clear: it belongs to a handshake under way.
    Clear,
    /// Protected, of the session at the sender's address.
    Protected,
    /// Protected, of the session with this connection ID.
    ProtectedWithCid(Cid),
}

/// One record, as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) bytes: &'a [u8],
}

/// The records of a datagram, up to the first that cannot be one. A keepalive of one byte has none.
pub(crate) fn records(datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let (record, after) = split(rest)?;
        rest = after;
        Some(record)
    })
}

fn split(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let kind_byte = *bytes.first()?;
    let cid_bytes = match kind_byte {
        TYPE_CHANGE_CIPHER_SPEC..=TYPE_APPLICATION_DATA => 0,
        TYPE_CID => CID_BYTES,
        _ => return None,
    };
    // DTLS 1.2, or 1.0 on the first message of a handshake, whose version is settled later (RFC 6347 §4.2.1).
    if !matches!(bytes.get(1..3)?, [0xfe, 0xfd | 0xff]) {
        return None;
    }
    let header = HEADER_BYTES + cid_bytes;
    let length = usize::from(u16::from_be_bytes(bytes.get(header - 2..header)?.try_into().ok()?));
    let (record, after) = bytes.split_at_checked(header + length)?;
    let epoch = u16::from_be_bytes([record[3], record[4]]);
    let kind = if kind_byte == TYPE_CID {
        Kind::ProtectedWithCid(record[CID_AT..CID_AT + CID_BYTES].try_into().ok()?)
    } else if epoch > 0 {
        Kind::Protected
    } else {
        hello(record).map_or(Kind::Clear, Kind::Hello)
    };
    Some((Record { kind, bytes: record }, after))
}

fn hello(record: &[u8]) -> Option<Hello> {
    if record[0] != TYPE_HANDSHAKE || *record.get(HEADER_BYTES)? != CLIENT_HELLO {
        return None;
    }
    let sequence = record.get(MESSAGE_SEQUENCE_AT..MESSAGE_SEQUENCE_AT + 2)?;
    Some(Hello {
        message_sequence: u16::from_be_bytes(sequence.try_into().ok()?),
        random: record.get(RANDOM_AT..RANDOM_AT + RANDOM_BYTES)?.try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let length = u8::try_from(body.len()).unwrap();
        let mut bytes = vec![kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1, 0, length];
        bytes.extend_from_slice(body);
        bytes
    }

    fn kinds(datagram: &[u8]) -> Vec<Kind> {
        records(datagram).map(|record| record.kind).collect()
    }

    #[test]
    fn what_is_no_record_is_none() {
        for datagram in
            [&[][..], &[0], &[22], &[0; 40], &[0x40, 1, 0, 1], &[22, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert_eq!(kinds(datagram), []);
        }
    }

    #[test]
    fn records_of_one_datagram_are_told_apart() {
        let mut datagram = record(22, 0, &[2; 12]);
        datagram.extend(record(23, 1, &[9; 20]));
        assert_eq!(kinds(&datagram), [Kind::Clear, Kind::Protected]);
        datagram.pop();
        assert_eq!(kinds(&datagram), [Kind::Clear], "a record that is cut off is none");
    }

    #[test]
    fn a_connection_id_is_read_from_its_place() {
        let mut bytes = vec![25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1];
        bytes.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        bytes.extend([0, 1, 0xaa]);
        assert_eq!(kinds(&bytes), [Kind::ProtectedWithCid([1, 2, 3, 4, 5, 6, 7, 8])]);
    }

    #[test]
    fn a_client_hello_is_known_by_its_number_and_random() {
        let mut body = vec![1, 0, 0, 60, 0, 1, 0, 0, 0, 0, 0, 60, 0xfe, 0xfd];
        body.extend([7; 32]);
        let one = kinds(&record(22, 0, &body));
        assert!(matches!(one[..], [Kind::Hello(_)]));
        body[5] = 0;
        assert_ne!(kinds(&record(22, 0, &body)), one);
        assert_eq!(kinds(&record(22, 0, &body[..20])), [Kind::Clear], "too short for a random");
        assert_eq!(kinds(&record(22, 1, &body)), [Kind::Protected]);
    }
}
