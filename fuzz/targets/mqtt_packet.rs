//! Any bytes from an MQTT client: as its first packet, as packets of either version, and to a whole endpoint that let it in.
//! What is taken is a packet by the rules, and the endpoint comes to an end with every client.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use updraft_core::id::DeviceId;
use updraft_server::protocols::mqtt::door::{Effects, Handler, Identity, Message, NotTaken, Occasion};
use updraft_server::protocols::mqtt::endpoint::frame::{Incoming, Version, decode, decode_connect, measure};
use updraft_server::protocols::mqtt::endpoint::{
    ConnectFacts, Endpoint, Gate, Limits, Mode, Refusal, Router,
};

/// Smaller than in service: what is larger is found to be so by the same code.
const PACKET_BYTES_MAX: usize = 4 * 1024;
/// A CONNECT of "d1", MQTT 3.1.1, clean.
const HELLO_V3: &[u8] = b"\x10\x0e\0\x04MQTT\x04\x02\0\0\0\x02d1";
/// A CONNECT of "d1", MQTT 5, clean.
const HELLO_V5: &[u8] = b"\x10\x0f\0\x04MQTT\x05\x02\0\0\0\0\x02d1";

struct Echo;

impl Handler for Echo {
    async fn publish(&self, _: &Identity, topic: &str, payload: Bytes) -> Result<Effects, NotTaken> {
        let message = Message { topic: topic.into(), payload };
        Ok(Effects { replies: vec![message.clone()], published: vec![message] })
    }

    async fn subscribed(&self, _: &Identity, _: &str, _: Occasion) -> Vec<Message> {
        Vec::new()
    }
}

impl Gate for Echo {
    async fn authenticate(&self, _: ConnectFacts<'_>) -> Result<Identity, Refusal> {
        Ok(Identity::Device { id: "d1".parse().expect("a device ID"), product: None })
    }

    fn may_publish(&self, _: &Identity, _: &str) -> bool {
        true
    }

    fn may_subscribe(&self, _: &Identity, _: &str) -> bool {
        true
    }

    fn device_of(&self, _: &str) -> Option<DeviceId> {
        "d1".parse().ok()
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((header, total))) = measure(bytes, PACKET_BYTES_MAX)
        && let Some(frame) = bytes.get(..total)
        && let Ok(connect) = decode_connect(frame, header)
    {
        assert!(connect.password.is_none() || connect.username.is_some() || connect.version == Version::V5);
    }
    for version in [Version::V3, Version::V5] {
        packets(version, bytes);
    }
    for hello in [HELLO_V3, HELLO_V5] {
        client(&[hello, bytes].concat());
    }
    client(bytes);
});

/// Reads packet after packet, as a connection does.
fn packets(version: Version, mut bytes: &[u8]) {
    while let Ok(Some((header, total))) = measure(bytes, PACKET_BYTES_MAX) {
        assert!(header >= 2 && header <= total && total <= PACKET_BYTES_MAX);
        let Some(frame) = bytes.get(..total) else { return };
        match decode(version, frame, header) {
            Ok(Incoming::Publish(publish)) => assert!(!publish.topic.contains(['+', '#', '\0'])),
            Ok(Incoming::Subscribe { filters, .. }) => assert!(!filters.is_empty()),
            Ok(Incoming::Unsubscribe { filters, .. }) => assert!(!filters.is_empty()),
            Ok(_) => {}
            Err(_) => return,
        }
        bytes = &bytes[total..];
    }
}

/// Says it all to an endpoint, hears it all, and leaves.
fn client(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let limits = Limits { packet_bytes: PACKET_BYTES_MAX, ..Limits::default() };
        let router = Router::new(Arc::new(Echo), limits, None, Mode::Gateway).expect("no store, no error");
        let endpoint = Endpoint::new(router, Arc::new(Echo));
        let (near, far) = tokio::io::duplex(1024);
        let served = tokio::spawn(endpoint.serve_stream(far, ([127, 0, 0, 1], 9).into(), None));
        let (mut reader, mut writer) = tokio::io::split(near);
        let hear = async { reader.read_to_end(&mut Vec::new()).await };
        let say = async {
            // The endpoint may have hung up before the end.
            let _ = writer.write_all(bytes).await;
            let _ = writer.shutdown().await;
        };
        let (heard, ()) = tokio::join!(hear, say);
        heard.expect("a pipe ends without an error");
        served.await.expect("a connection ends without a panic");
        assert_eq!(endpoint.connections(), 0);
    });
}
