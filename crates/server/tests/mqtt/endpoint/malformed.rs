//! Bytes that are no MQTT, and MQTT that breaks its rules: the connection ends, by the contract's code, and nothing else does.

use super::client::{Got, Version, hello};
use super::stage::Stage;
use tokio::io::AsyncWriteExt;

/// What ends a connection of a client that was let in, and with which code on MQTT 5.
fn table() -> Vec<(&'static str, Vec<u8>, u8)> {
    let mut huge = vec![0x30];
    huge.extend_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
    vec![
        ("a length of five bytes", vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01], 0x81),
        ("a length that is longer than need be", vec![0xc0, 0x80, 0x00], 0x81),
        ("a packet of 256 MB", huge, 0x95),
        ("packet type 0", vec![0x00, 0x00], 0x81),
        ("QoS 3", vec![0x36, 0x05, 0, 1, b'a', 0, 1], 0x81),
        ("PUBREL with the flags of PUBREC", vec![0x60, 0x02, 0, 1], 0x81),
        ("PINGREQ with a body", vec![0xc0, 0x01, 0x00], 0x81),
        ("a second CONNECT", hello(Version::V3, "d1").bytes(), 0x82),
        ("a CONNACK from a client", vec![0x20, 0x02, 0, 0], 0),
        ("a PUBLISH shorter than its topic", vec![0x30, 0x04, 0, 9, b'a', b'b'], 0x81),
        ("packet ID 0", vec![0x32, 0x06, 0, 1, b'a', 0, 0, 0], 0x82),
        ("wrong UTF-8 in a topic", vec![0x30, 0x05, 0, 2, 0xc3, 0x28, 0], 0x81),
        ("half a surrogate in a topic", vec![0x30, 0x06, 0, 3, 0xed, 0xa0, 0x80, 0], 0x81),
        ("NUL in a topic", vec![0x30, 0x05, 0, 2, b'a', 0, 0], 0x90),
        ("a wildcard in a topic name", vec![0x30, 0x06, 0, 3, b'a', b'/', b'#', 0], 0x90),
        ("an empty topic", vec![0x30, 0x03, 0, 0, 0], 0x82),
    ]
}

#[tokio::test(start_paused = true)]
async fn malformed_packets_end_the_connection_by_the_contracts_code() {
    let stage = Stage::new();
    let mut bystander = stage.join(Version::V5, "d2").await;
    for (what, bytes, code) in table() {
        let mut client = stage.join(Version::V5, "d1").await;
        client.send(&bytes).await;
        match client.next().await {
            Got::Disconnect(got) if code == 0 => assert!(got >= 0x80, "{what}: {got:#x}"),
            Got::Disconnect(got) => assert!(got == code || what == "a second CONNECT", "{what}: {got:#x}"),
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(client.next().await, Got::Closed, "{what}");
        let mut client = stage.join(Version::V3, "d1").await;
        client.send(&bytes).await;
        assert_eq!(client.next().await, Got::Closed, "{what}");
    }
    assert_eq!(stage.begun(), 0);
    bystander.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn malformed_filters_end_the_connection() {
    let stage = Stage::new();
    for filter in ["", "a#", "a/#/b", "a+", "+a/b", "$share/g", "$share//a", "$share/g/", "$share/+/a"] {
        let mut client = stage.join(Version::V3, "app").await;
        let length = u8::try_from(filter.len()).unwrap();
        let mut bytes = vec![0x82, length + 5, 0, 1, 0, length];
        bytes.extend_from_slice(filter.as_bytes());
        bytes.push(0);
        client.send(&bytes).await;
        assert_eq!(client.next().await, Got::Closed, "{filter}");
    }
    for empty in [[0x82, 0x02, 0, 1], [0xa2, 0x02, 0, 1]] {
        let mut client = stage.join(Version::V3, "app").await;
        client.send(&empty).await;
        assert_eq!(client.next().await, Got::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_begin_with_a_connect_is_hung_up_on_without_a_word() {
    let stage = Stage::new();
    let mut reserved = hello(Version::V3, "d1").bytes();
    reserved[9] |= 1;
    let password_alone = hello(Version::V3, "d1").with(|connect| connect.username = None).bytes();
    let mut too_long = vec![0x10, 0xff, 0xff, 0x03];
    too_long.extend_from_slice(&[0; 100]);
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xc0, 0x00],
        vec![0x16, 0x03, 0x01, 0x02, 0x00],
        vec![0x10, 0x00],
        vec![0x10, 0x80, 0x80, 0x80, 0x80],
        reserved,
        password_alone,
        too_long,
    ] {
        let mut client = stage.client(Version::V3);
        client.send(&bytes).await;
        assert_eq!(client.next().await, Got::Closed, "{bytes:?}");
    }
    assert!(stage.gate.asked.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_packet_in_single_bytes_is_the_same_packet() {
    let stage = Stage::new();
    let mut client = stage.client(Version::V3);
    let mut bytes = hello(Version::V3, "d1").bytes();
    bytes.extend_from_slice(&[0x32, 15, 0, 10]);
    bytes.extend_from_slice(b"state/d1/x");
    bytes.extend_from_slice(&[0, 7, b'!']);
    for byte in bytes {
        client.stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(matches!(client.next().await, Got::Connack { code: 0, .. }));
    assert_eq!(client.next().await, Got::Puback(7, 0));
    assert_eq!(stage.handler.taken.lock().unwrap()[0].2, "!");
}

#[tokio::test(start_paused = true)]
async fn the_largest_payload_is_taken_and_a_larger_one_is_not() {
    let stage = Stage::new();
    let mut client = stage.join(Version::V5, "d1").await;
    let payload = vec![b'x'; 128 * 1024];
    client.publish("state/d1/x", &payload, 1, 1).await;
    assert_eq!(client.next().await, Got::Puback(1, 0));
    client.publish("state/d1/x", &vec![b'x'; 140 * 1024], 1, 2).await;
    assert_eq!(client.next().await, Got::Disconnect(0x95));
    assert_eq!(stage.taken().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_or_deep_topic_ends_the_connection() {
    let stage = Stage::new();
    for topic in [format!("state/d1/{}", "x".repeat(250)), format!("state/d1{}", "/x".repeat(15))] {
        let mut client = stage.join(Version::V5, "d1").await;
        client.publish(&topic, b"", 1, 1).await;
        assert_eq!(client.next().await, Got::Disconnect(0x90));
    }
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_of_nothing_are_harmless() {
    let stage = Stage::new();
    let mut client = stage.join(Version::V5, "d1").await;
    client.ack(0x40, 9).await;
    client.ack(0x70, 9).await;
    client.ack(0x50, 9).await;
    assert_eq!(client.next().await, Got::Pubrel(9, 0x92));
    client.ack(0x62, 9).await;
    assert_eq!(client.next().await, Got::Pubcomp(9, 0x92));
    client.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn noise_never_gets_an_answer_beyond_the_end() {
    let stage = Stage::new();
    // A linear congruence: the same noise each time.
    let mut seed = 7u64;
    for _ in 0..500 {
        let mut bytes = vec![0u8; 64];
        for byte in &mut bytes {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (seed >> 33) as u8;
        }
        let mut client = stage.client(Version::V3);
        client.send(&bytes).await;
        assert_eq!(client.next().await, Got::Closed);
    }
    let mut client = stage.join(Version::V3, "d1").await;
    client.hears_nothing().await;
}
