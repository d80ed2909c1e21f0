//! One client, several connections: the latest has the session.

use super::client::{Client, Got, Version, hello};
use super::stage::{Stage, message, settle};
use bytes::Bytes;
use mqtt_proto::v5::LastWill;
use mqtt_proto::{QoS, TopicName};
use std::time::Duration;
use updraft_server::protocols::mqtt::door::Bus;

#[tokio::test(start_paused = true)]
async fn the_second_connection_of_a_client_takes_over() {
    let stage = Stage::new();
    let lasting = |version| hello(version, "d1").lasting();
    let (mut first, _) = stage.connect(&lasting(Version::V5)).await;
    first.subscribe(&[("state/d1/x", 1)]).await;
    let (mut second, present) = stage.connect(&lasting(Version::V3)).await;
    assert!(present);
    assert_eq!(first.next().await, Got::Disconnect(0x8e));
    assert_eq!(first.next().await, Got::Closed);
    stage.endpoint.router().publish(message("state/d1/x", b"x"));
    assert_eq!(second.take().await.payload, "x");
    let (_third, _) = stage.connect(&lasting(Version::V3)).await;
    assert_eq!(second.next().await, Got::Closed);
    // Who was sent away and does not close is not waited for.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((stage.endpoint.connections(), stage.endpoint.router().sessions()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_clean_start_forgets_what_was() {
    let stage = Stage::new();
    let (mut client, _) = stage.connect(&hello(Version::V3, "d1").lasting()).await;
    client.subscribe(&[("state/d1/x", 1)]).await;
    stage.endpoint.router().publish(message("state/d1/x", b"x"));
    client.message().await;
    let (mut client, present) = stage.connect(&hello(Version::V3, "d1")).await;
    assert!(!present);
    client.hears_nothing().await;
    stage.endpoint.router().publish(message("state/d1/x", b"x"));
    client.hears_nothing().await;
    client.disconnect().await;
    settle().await;
    assert_eq!(stage.endpoint.router().sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_first_connection_finishes_what_it_has_in_hand_before_the_second_begins() {
    let stage = Stage::new();
    let mut first = stage.join(Version::V3, "d1").await;
    first.publish("state/d1/slow", b"x", 1, 1).await;
    settle().await;
    let mut second = stage.client(Version::V3);
    second.send(&hello(Version::V3, "d1").bytes()).await;
    second.hears_nothing().await;
    stage.handler.go_on.add_permits(1);
    assert!(matches!(second.next().await, Got::Connack { code: 0, .. }));
    assert_eq!(stage.taken(), ["state/d1/slow"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_connection_does_not_wait_forever_for_the_first() {
    let stage = Stage::new();
    let mut first = stage.join(Version::V5, "d1").await;
    first.publish("state/d1/slow", b"x", 1, 1).await;
    settle().await;
    let (_, got) = stage.try_connect(&hello(Version::V5, "d1")).await;
    assert!(matches!(got, Got::Connack { code: 0x89, .. }), "{got:?}");
    stage.handler.go_on.add_permits(1);
    settle().await;
    let (mut client, _) = stage.connect(&hello(Version::V5, "d1")).await;
    client.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_reconnects_of_one_client_leaves_one_connection() {
    let stage = Stage::new();
    let lasting = hello(Version::V3, "d1").lasting();
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = stage.client(Version::V3);
        client.send(&lasting.bytes()).await;
        clients.push(client);
    }
    settle().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!((stage.endpoint.connections(), stage.endpoint.router().sessions()), (1, 1));
    let (mut client, _) = stage.connect(&lasting).await;
    client.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn of_connections_that_wait_for_one_session_only_the_latest_goes_on_waiting() {
    let stage = Stage::new();
    let mut first = stage.join(Version::V5, "d1").await;
    first.publish("state/d1/slow", b"x", 1, 1).await;
    settle().await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut client = stage.client(Version::V5);
        client.send(&hello(Version::V5, "d1").bytes()).await;
        settle().await;
        waiting.push(client);
    }
    for displaced in &mut waiting[..2] {
        assert!(matches!(displaced.next().await, Got::Connack { code: 0x89, .. }));
    }
    stage.handler.go_on.add_permits(1);
    assert!(matches!(waiting[2].next().await, Got::Connack { code: 0, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_reconnects_of_a_fleet_is_held() {
    let stage = Stage::new();
    let hellos: Vec<_> = (0..1_000).map(|index| hello(Version::V3, &format!("d{index}")).lasting()).collect();
    for round in 0..3 {
        let mut clients: Vec<Client> = Vec::new();
        for hello in &hellos {
            let mut client = Client::new(stage.pipe(4_096, None), Version::V3);
            client.send(&hello.bytes()).await;
            clients.push(client);
        }
        for client in &mut clients {
            let Got::Connack { present, code: 0, .. } = client.next().await else { panic!("refused") };
            assert_eq!(present, round > 0);
        }
        drop(clients);
    }
    settle().await;
    assert_eq!((stage.endpoint.connections(), stage.endpoint.router().sessions()), (0, 1_000));
}

#[tokio::test(start_paused = true)]
async fn a_will_waits_its_delay_and_not_at_all_if_the_client_is_back() {
    let stage = Stage::new();
    let delayed = hello(Version::V5, "d1").lasting().with(|connect| {
        let topic = TopicName::try_from("state/d1/update").unwrap();
        let mut will = LastWill::new(QoS::Level1, topic, Bytes::from_static(b"gone"));
        will.properties.delay_interval = Some(5);
        connect.last_will = Some(will);
    });
    let (client, _) = stage.connect(&delayed).await;
    drop(client);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (client, _) = stage.connect(&delayed).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(stage.taken().is_empty());
    drop(client);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(stage.taken().is_empty());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stage.taken(), ["state/d1/update"]);
}
