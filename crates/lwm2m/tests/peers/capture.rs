//! What was said, read by Wireshark's dissector: an independent idea of what is in our datagrams.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use updraft_lwm2m::coap::option::number;
use updraft_lwm2m::coap::{Block, Message, MessageType};

use crate::program::Program;
use crate::talk::By;

const TSHARK: Program = Program::Command("tshark");
/// CoAP's port, by which the dissector knows it.
const COAP_PORT: u16 = 5683;
/// Where the client of the capture is.
const OUR_PORT: u16 = 40_000;
/// LINKTYPE_RAW of the pcap format: packets begin with their IP header.
const LINKTYPE_RAW: u32 = 101;
/// Bytes of an IPv4 header without options, and of a UDP header.
const HEADERS_BYTES: usize = 28;
/// What is asked of each packet. The last is only there where the dissector makes no sense of something.
const FIELDS: [&str; 9] = [
    "coap.type",
    "coap.code",
    "coap.mid",
    "coap.token",
    "coap.opt.name",
    "coap.opt.uri_path",
    "coap.opt.block_number",
    "coap.opt.block_size",
    "_ws.malformed",
];

/// Holds that the dissector reads in each datagram what our own end meant or understood. Skipped where it is missing.
pub(crate) fn reads_as_meant(said: &[(By, Vec<u8>)]) {
    if !TSHARK.is_present() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("said.pcap");
    std::fs::write(&path, capture(said)).unwrap();
    let read = dissect(&path);
    assert_eq!(read.len(), said.len(), "packets");
    for ((by, datagram), read) in said.iter().zip(read) {
        assert_eq!(read, meant(datagram), "{by:?}: {}", datagram[..datagram.len().min(60)].escape_ascii());
    }
}

/// A capture file (pcap, as of libpcap 2.4) with one UDP datagram in each packet.
fn capture(said: &[(By, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0xffff, LINKTYPE_RAW] {
        file.extend_from_slice(&u32::to_le_bytes(word));
    }
    for (second, (by, datagram)) in said.iter().enumerate() {
        let packet = packet(*by, datagram);
        let length = packet.len() as u32;
        for word in [second as u32, 0, length, length] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(&packet);
    }
    file
}

/// An IPv4 packet; checksums of zero, which the dissector is not asked to check.
fn packet(by: By, datagram: &[u8]) -> Vec<u8> {
    let total = (HEADERS_BYTES + datagram.len()) as u16;
    let (from, to) = match by {
        By::Us => (OUR_PORT, COAP_PORT),
        By::Them => (COAP_PORT, OUR_PORT),
    };
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&total.to_be_bytes());
    // No fragment; 64 hops; UDP.
    packet.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0]);
    for _ in [from, to] {
        packet.extend_from_slice(&Ipv4Addr::LOCALHOST.octets());
    }
    for half in [from, to, total - 20, 0] {
        packet.extend_from_slice(&half.to_be_bytes());
    }
    packet.extend_from_slice(datagram);
    packet
}

/// What the dissector reads in each packet, as one line of the fields.
fn dissect(path: &Path) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.args([
        "-n",
        "-r",
        path.to_str().unwrap(),
        "-T",
        "fields",
        "-E",
        "separator=|",
        "-E",
        "aggregator=,",
    ]);
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The same line, from our own reading of the datagram.
fn meant(datagram: &[u8]) -> String {
    let message = Message::parse(datagram).unwrap();
    let kind = match message.kind {
        MessageType::Confirmable => 0,
        MessageType::NonConfirmable => 1,
        MessageType::Acknowledgement => 2,
        MessageType::Reset => 3,
    };
    let mut token = String::new();
    for byte in message.token.as_bytes() {
        write!(token, "{byte:02x}").unwrap();
    }
    let named = |(at, (number, _)): (usize, (u16, _))| format!("#{}: {}", at + 1, name(number));
    let names = message.options.iter().enumerate().map(named).collect::<Vec<_>>().join(",");
    let path: Vec<_> =
        message.options.all(number::URI_PATH).map(|segment| str::from_utf8(segment).unwrap()).collect();
    let block = message
        .options
        .uint(number::BLOCK1)
        .or(message.options.uint(number::BLOCK2))
        .and_then(Block::from_value);
    let mut block =
        block.map_or_else(|| "|".to_owned(), |block| format!("{}|{}", block.number, block.size.exponent()));
    // It reads a size as if it were a block's, of which the lowest three bits say how long it is.
    if let Some(size) = message.options.uint(number::SIZE2) {
        write!(block, ",{}", size & 0b111).unwrap();
    }
    // It stops at an option that it does not know.
    let end = if message.options.has(number::REQUEST_TAG) { "_ws.malformed" } else { "" };
    format!("{kind}|{}|{}|{token}|{names}|{}|{block}|{end}", message.code.0, message.id, path.join(","))
}

/// What the dissector calls an option.
fn name(number: u16) -> &'static str {
    match number {
        number::URI_HOST => "Uri-Host",
        number::ETAG => "Etag",
        number::OBSERVE => "Observe",
        number::URI_PORT => "Uri-Port",
        number::LOCATION_PATH => "Location-Path",
        number::URI_PATH => "Uri-Path",
        number::CONTENT_FORMAT => "Content-Format",
        number::MAX_AGE => "Max-age",
        number::URI_QUERY => "Uri-Query",
        number::ACCEPT => "Accept",
        number::BLOCK2 => "Block2",
        number::BLOCK1 => "Block1",
        number::SIZE2 => "Size2",
        number::SIZE1 => "Size1",
        number::REQUEST_TAG => "Unknown Option (292)",
        _ => panic!("option {number} was not meant"),
    }
}
