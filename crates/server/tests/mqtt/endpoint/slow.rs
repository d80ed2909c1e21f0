//! Clients that do not read, and what a client costs.

use super::client::{Client, Got, Version, hello};
use super::stage::{Stage, TestGate, TestHandler, message, settle};
use std::time::Duration;
use tokio::net::TcpStream;
use updraft_server::protocols::mqtt::door::Bus;
use updraft_server::protocols::mqtt::endpoint::Serving;

/// Most bytes of the future of a connection over TCP, with which its task begins. With the session, its subscriptions and
/// what the runtime keeps for a socket, an idle connection stays below 2.5 KB.
const SERVING_BYTES_MAX: usize = 420;

#[test]
fn the_future_of_a_connection_is_small() {
    let bytes = size_of::<Serving<TcpStream, TestHandler, TestGate>>();
    assert!(bytes <= SERVING_BYTES_MAX, "{bytes} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_hung_up_on_when_its_queue_is_full() {
    let stage = Stage::limited(|limits| limits.queue_messages = 50);
    let mut client = Client::new(stage.pipe(1_024, None), Version::V5);
    client.send(&hello(Version::V5, "d1").bytes()).await;
    assert!(matches!(client.next().await, Got::Connack { code: 0, .. }));
    client.subscribe(&[("state/d1/x", 0)]).await;
    let mut other = stage.join(Version::V3, "d2").await;
    other.subscribe(&[("state/d2/x", 1)]).await;
    for _ in 0..10_000 {
        stage.endpoint.router().publish(message("state/d1/x", &[b'x'; 100]));
        tokio::task::yield_now().await;
    }
    settle().await;
    assert!(!stage.endpoint.router().is_connected(&"d1".parse().unwrap()));
    stage.endpoint.router().publish(message("state/d2/x", b"x"));
    assert_eq!(other.take().await.payload, "x");
    other.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_reading_client_whose_queue_is_full_is_told_why_it_must_go() {
    let stage = Stage::limited(|limits| limits.queue_messages = 50);
    let mut client = stage.join(Version::V5, "d1").await;
    client.subscribe(&[("state/d1/x", 1)]).await;
    // More than the queue and what may be in flight, at once, and none acknowledged.
    for _ in 0..200 {
        stage.endpoint.router().publish(message("state/d1/x", b"x"));
    }
    loop {
        match client.next().await {
            Got::Publish(_) => {}
            other => break assert_eq!(other, Got::Disconnect(0x97)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_byte_for_too_long_is_hung_up_on() {
    let stage = Stage::new();
    let mut client = Client::new(stage.pipe(1_024, None), Version::V3);
    // Longest keep-alive: it is not what ends the connection.
    client.send(&hello(Version::V3, "d1").with(|connect| connect.keep_alive = u16::MAX).bytes()).await;
    assert!(matches!(client.next().await, Got::Connack { code: 0, .. }));
    client.subscribe(&[("state/d1/x", 0)]).await;
    stage.endpoint.router().publish(message("state/d1/x", &[b'x'; 5_000]));
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(stage.endpoint.router().is_connected(&"d1".parse().unwrap()));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!stage.endpoint.router().is_connected(&"d1".parse().unwrap()));
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_and_never_reads_is_not_read_from_without_end() {
    let stage = Stage::new();
    let mut client = Client::new(stage.pipe(1_024, None), Version::V3);
    client.send(&hello(Version::V3, "d1").bytes()).await;
    assert!(matches!(client.next().await, Got::Connack { code: 0, .. }));
    let pings = [0xc0, 0].repeat(512);
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_secs(1), client.send(&pings)).await.is_ok() {
        sent += pings.len();
        assert!(sent < 1_000_000, "it was read from without end");
    }
}
