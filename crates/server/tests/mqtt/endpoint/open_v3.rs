//! The cases of the Eclipse Paho interoperability suite for MQTT 3.1.1, against the open router.

use super::client::{Client, Got, Version, hello, v5_publish};
use super::stage::{Stage, settle};
use bytes::Bytes;
use mqtt_proto::v5::LastWill;
use mqtt_proto::{QoS, TopicName};
use std::collections::BTreeSet;

const TOPICS: [&str; 5] = ["TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA"];

async fn join(stage: &Stage, id: &str) -> Client {
    stage.join(Version::V3, id).await
}

#[tokio::test(start_paused = true)]
async fn basic() {
    let stage = Stage::open();
    let mut client = join(&stage, "myclientid").await;
    assert_eq!(client.subscribe(&[(TOPICS[0], 2)]).await, [2]);
    for qos in 0..=2 {
        client.publish(TOPICS[0], &[b'0' + qos], qos, 1).await;
        match qos {
            0 => {}
            1 => assert_eq!(client.next().await, Got::Puback(1, 0)),
            _ => {
                assert_eq!(client.next().await, Got::Pubrec(1, 0));
                client.ack(0x62, 1).await;
            }
        }
        let arrived = match client.next().await {
            Got::Publish(arrived) => *arrived,
            Got::Pubcomp(1, 0) => client.message().await,
            other => panic!("{other:?}"),
        };
        assert_eq!((arrived.payload[0], arrived.qos), (b'0' + qos, qos));
        if qos == 1 {
            client.ack(0x40, arrived.pid).await;
        }
        if qos == 2 {
            client.ack(0x50, arrived.pid).await;
            loop {
                match client.next().await {
                    Got::Pubcomp(1, 0) => {}
                    Got::Pubrel(pid, 0) => break assert_eq!(pid, arrived.pid),
                    other => panic!("{other:?}"),
                }
            }
            client.ack(0x70, arrived.pid).await;
        }
    }
    client.disconnect().await;
    // A second CONNECT on one connection is a protocol error.
    let mut client = join(&stage, "myclientid").await;
    client.send(&hello(Version::V3, "myclientid").bytes()).await;
    assert_eq!(client.next().await, Got::Closed);
}

async fn publish_retained(client: &mut Client, payload: &[u8]) {
    for (index, topic) in TOPICS[1..4].iter().enumerate() {
        let qos = u8::try_from(index).unwrap();
        let mut publish = v5_publish(topic, payload, qos, 20);
        publish.retain = true;
        client.publish_with(publish).await;
        match qos {
            0 => {}
            1 => assert_eq!(client.next().await, Got::Puback(20, 0)),
            _ => {
                assert_eq!(client.next().await, Got::Pubrec(20, 0));
                client.ack(0x62, 20).await;
                assert_eq!(client.next().await, Got::Pubcomp(20, 0));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn retained_messages() {
    let stage = Stage::open();
    let mut client = join(&stage, "myclientid").await;
    publish_retained(&mut client, b"kept").await;
    client.ask(5, &[("+/+", 2)]).await;
    assert!(matches!(client.next().await, Got::Suback(5, _)));
    let mut topics = BTreeSet::new();
    for _ in 0..3 {
        let arrived = client.take().await;
        assert!(arrived.retain);
        topics.insert((arrived.topic, arrived.qos));
    }
    let expected = [("Topic/C".to_owned(), 1), ("TopicA/B".to_owned(), 0), ("TopicA/C".to_owned(), 2)];
    assert_eq!(topics, BTreeSet::from(expected));
    client.disconnect().await;
    // An empty message takes the old one away.
    let mut client = join(&stage, "myclientid").await;
    publish_retained(&mut client, b"").await;
    client.subscribe(&[("+/+", 2)]).await;
    client.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn offline_message_queueing() {
    let stage = Stage::open();
    let lasting = hello(Version::V3, "myclientid").lasting();
    let (mut client, _) = stage.connect(&lasting).await;
    client.subscribe(&[("+/+", 2)]).await;
    client.disconnect().await;
    let mut other = join(&stage, "other").await;
    for (qos, topic) in (0..).zip(&TOPICS[1..4]) {
        other.publish(topic, &[b'0' + qos], qos, 9).await;
    }
    settle().await;
    let (mut client, present) = stage.connect(&lasting).await;
    assert!(present);
    assert_eq!(client.take().await.payload, "1");
    assert_eq!(client.take().await.payload, "2");
    client.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn will_message() {
    let stage = Stage::open();
    let dying = hello(Version::V3, "myclientid").with(|connect| {
        let topic = TopicName::try_from(TOPICS[2]).unwrap();
        let mut will = LastWill::new(QoS::Level1, topic, Bytes::from_static(b"client not disconnected"));
        will.retain = true;
        connect.last_will = Some(will);
    });
    let (client, _) = stage.connect(&dying).await;
    let mut other = join(&stage, "other").await;
    other.subscribe(&[(TOPICS[2], 2)]).await;
    drop(client);
    let arrived = other.take().await;
    assert_eq!((&*arrived.payload, arrived.retain), (&b"client not disconnected"[..], false));
    assert_eq!(other.subscribe(&[(TOPICS[2], 2)]).await, [2]);
    assert!(other.take().await.retain);
}

#[tokio::test(start_paused = true)]
async fn zero_length_client_id() {
    let stage = Stage::open();
    let nameless = hello(Version::V3, "").with(|connect| (connect.username, connect.password) = (None, None));
    let (_, got) = stage.try_connect(&nameless.clone().lasting()).await;
    assert!(matches!(got, Got::Connack { code: 2, .. }));
    let (mut one, _) = stage.connect(&nameless).await;
    let (mut two, _) = stage.connect(&nameless).await;
    one.hears_nothing().await;
    two.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn overlapping_subscriptions() {
    let stage = Stage::open();
    let mut client = join(&stage, "myclientid").await;
    client.subscribe(&[("TopicA/#", 2), ("TopicA/+", 1)]).await;
    client.publish("TopicA/C", b"overlapping", 2, 3).await;
    assert_eq!(client.next().await, Got::Pubrec(3, 0));
    // One copy, at the best QoS of those that match.
    assert_eq!(client.take().await.qos, 2);
    client.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn keepalive() {
    let stage = Stage::open();
    let mut other = stage.connect(&hello(Version::V3, "other").with(|c| c.keep_alive = 0)).await.0;
    other.subscribe(&[("/TopicA", 2)]).await;
    let quiet = hello(Version::V3, "myclientid").with(|connect| {
        connect.keep_alive = 5;
        let topic = TopicName::try_from("/TopicA").unwrap();
        connect.last_will = Some(LastWill::new(QoS::Level0, topic, Bytes::from_static(b"expired")));
    });
    let (mut client, _) = stage.connect(&quiet).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(other.take().await.payload, "expired");
    assert!((7..=8).contains(&begun.elapsed().as_secs()));
    assert_eq!(client.next().await, Got::Closed);
}

#[tokio::test(start_paused = true)]
async fn redelivery_on_reconnect() {
    let stage = Stage::open();
    let lasting = hello(Version::V3, "myclientid").lasting();
    let (mut client, _) = stage.connect(&lasting).await;
    client.subscribe(&[("TopicA/#", 2)]).await;
    let mut other = join(&stage, "other").await;
    other.publish("TopicA/B", b"one", 1, 1).await;
    other.publish("TopicA/B", b"two", 2, 2).await;
    other.publish("TopicA/B", b"three", 2, 3).await;
    let sent = [client.message().await, client.message().await, client.message().await];
    // The second was received, and PUBREL lost.
    client.ack(0x50, sent[1].pid).await;
    assert_eq!(client.next().await, Got::Pubrel(sent[1].pid, 0));
    drop(client);
    settle().await;
    let (mut client, present) = stage.connect(&lasting).await;
    assert!(present);
    let again = client.take().await;
    assert_eq!((again.dup, again.pid, &again.payload), (true, sent[0].pid, &sent[0].payload));
    assert_eq!(client.next().await, Got::Pubrel(sent[1].pid, 0));
    client.ack(0x70, sent[1].pid).await;
    let again = client.take().await;
    assert_eq!((again.dup, again.pid, &again.payload), (true, sent[2].pid, &sent[2].payload));
    client.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn subscribe_failure() {
    let stage = Stage::open();
    let mut client = join(&stage, "myclientid").await;
    assert_eq!(client.subscribe(&[("test/nosubscribe", 2), ("TopicA", 2)]).await, [0x80, 2]);
}

#[tokio::test(start_paused = true)]
async fn dollar_topics() {
    let stage = Stage::open();
    let mut client = join(&stage, "myclientid").await;
    client.subscribe(&[("+/+", 2), ("#", 2)]).await;
    let mut other = join(&stage, "other").await;
    other.publish("$TopicA/B", b"hidden", 1, 1).await;
    assert_eq!(other.next().await, Got::Puback(1, 0));
    client.hears_nothing().await;
    client.subscribe(&[("$TopicA/#", 2)]).await;
    other.publish("$TopicA/B", b"asked for", 1, 1).await;
    assert_eq!(client.take().await.payload, "asked for");
}
