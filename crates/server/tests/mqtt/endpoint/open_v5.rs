//! The cases of the Eclipse Paho interoperability suite for MQTT 5, against the open router; those it shares with MQTT 3.1.1
//! and that do not differ are in `open_v3.rs`.

use super::client::{Client, Got, Hello, Version, hello, options, v5_publish};
use super::stage::{Stage, settle};
use bytes::Bytes;
use mqtt_proto::v5::{LastWill, RetainHandling, UserProperty};
use mqtt_proto::{QoS, TopicName};
use std::time::Duration;

fn five(id: &str) -> Hello {
    hello(Version::V5, id)
}

async fn join(stage: &Stage, id: &str) -> Client {
    stage.join(Version::V5, id).await
}

async fn publish_retained(client: &mut Client, topic: &str) {
    let mut publish = v5_publish(topic, b"kept", 1, 9);
    publish.retain = true;
    client.publish_with(publish).await;
    assert_eq!(client.next().await, Got::Puback(9, 0));
}

#[tokio::test(start_paused = true)]
async fn basic() {
    let stage = Stage::open();
    let mut client = join(&stage, "a").await;
    assert_eq!(client.subscribe(&[("TopicA", 2)]).await, [2]);
    let mut other = join(&stage, "b").await;
    for qos in 0..=2 {
        other.publish("TopicA", &[qos], qos, 4).await;
        assert_eq!(client.take().await.qos, qos);
    }
    other.send(&[0xc0, 0]).await;
    assert_eq!(other.next().await, Got::Puback(4, 0));
    assert_eq!(other.next().await, Got::Pubrec(4, 0));
    assert_eq!(other.next().await, Got::Pong);
    client.send(&five("a").bytes()).await;
    assert_eq!(client.next().await, Got::Disconnect(0x82));
}

#[tokio::test(start_paused = true)]
async fn session_expiry() {
    let stage = Stage::open();
    let expiring =
        |seconds| five("a").lasting().with(|c| c.properties.session_expiry_interval = Some(seconds));
    // 0: over with the connection.
    let (mut client, _) = stage.connect(&expiring(0)).await;
    client.subscribe(&[("TopicA", 2)]).await;
    client.disconnect().await;
    let (mut client, present) = stage.connect(&expiring(5)).await;
    assert!(!present);
    client.subscribe(&[("TopicA", 2)]).await;
    client.disconnect().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (client, present) = stage.connect(&expiring(5)).await;
    assert!(present);
    client.disconnect().await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (mut client, present) = stage.connect(&expiring(5)).await;
    assert!(!present);
    // DISCONNECT may change it.
    client.send(&[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 20]).await;
    assert_eq!(client.next().await, Got::Closed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (client, present) = stage.connect(&expiring(5)).await;
    assert!(present);
    client.disconnect().await;
    // But not make a session last that was not to.
    let (mut client, _) = stage.connect(&expiring(0)).await;
    client.send(&[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 20]).await;
    assert_eq!(client.next().await, Got::Disconnect(0x82));
}

#[tokio::test(start_paused = true)]
async fn shared_subscriptions() {
    let stage = Stage::open();
    let (mut one, mut two) = (join(&stage, "one").await, join(&stage, "two").await);
    for client in [&mut one, &mut two] {
        client.subscribe(&[("$share/sharename/x", 2), ("x", 2)]).await;
    }
    let mut other = join(&stage, "other").await;
    for _ in 0..4 {
        other.publish("x", b"m", 0, 0).await;
    }
    for client in [&mut one, &mut two] {
        for _ in 0..6 {
            client.take().await;
        }
        client.hears_nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn properties_of_a_publish_are_passed_on() {
    let stage = Stage::open();
    let mut client = join(&stage, "a").await;
    client.subscribe(&[("TopicA", 2)]).await;
    let mut other = join(&stage, "b").await;
    let mut publish = v5_publish("TopicA", b"text", 2, 1);
    publish.properties.payload_is_utf8 = Some(true);
    publish.properties.content_type = Some("My name".into());
    publish.properties.response_topic = Some(TopicName::try_from("reply/here").unwrap());
    publish.properties.correlation_data = Some(Bytes::from_static(b"334"));
    publish.properties.user_properties = vec![
        UserProperty { name: "a".into(), value: "2".into() },
        UserProperty { name: "a".into(), value: "1".into() },
    ];
    other.publish_with(publish.clone()).await;
    assert_eq!(client.take().await.properties, publish.properties);
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_is_not_the_utf8_it_says_it_is_ends_the_connection() {
    let stage = Stage::open();
    let mut client = join(&stage, "a").await;
    let mut publish = v5_publish("TopicA", &[0xc3, 0x28], 1, 1);
    publish.properties.payload_is_utf8 = Some(true);
    client.publish_with(publish).await;
    assert_eq!(client.next().await, Got::Disconnect(0x99));
}

#[tokio::test(start_paused = true)]
async fn publication_expiry() {
    let stage = Stage::open();
    let lasting = five("a").lasting();
    let (mut client, _) = stage.connect(&lasting).await;
    client.subscribe(&[("TopicA", 2)]).await;
    client.disconnect().await;
    let mut other = join(&stage, "b").await;
    for (payload, seconds) in [(b"brief", 1), (b"later", 6)] {
        let mut publish = v5_publish("TopicA", payload, 1, 1);
        publish.properties.message_expiry_interval = Some(seconds);
        other.publish_with(publish).await;
        assert_eq!(other.next().await, Got::Puback(1, 0));
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (mut client, _) = stage.connect(&lasting).await;
    let arrived = client.take().await;
    assert_eq!(arrived.payload, "later");
    assert!((2..6).contains(&arrived.properties.message_expiry_interval.unwrap()));
    client.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn subscribe_options() {
    let stage = Stage::open();
    let mut client = join(&stage, "a").await;
    // No local.
    let mut no_local = options(QoS::Level2);
    no_local.no_local = true;
    client.subscribe_with("TopicA", 0, no_local).await;
    client.publish("TopicA", b"own", 0, 0).await;
    client.hears_nothing().await;
    let mut other = join(&stage, "b").await;
    other.publish("TopicA", b"other's", 0, 0).await;
    assert_eq!(client.take().await.payload, "other's");
    // Retain as published, or not.
    let mut as_published = options(QoS::Level2);
    as_published.retain_as_published = true;
    client.subscribe_with("kept/as/published", 0, as_published).await;
    client.subscribe_with("kept/plain", 0, options(QoS::Level2)).await;
    publish_retained(&mut other, "kept/as/published").await;
    publish_retained(&mut other, "kept/plain").await;
    assert!(client.take().await.retain);
    assert!(!client.take().await.retain);
}

#[tokio::test(start_paused = true)]
async fn retain_handling() {
    let stage = Stage::open();
    let mut client = join(&stage, "a").await;
    publish_retained(&mut client, "kept").await;
    let handling = |handling| {
        let mut options = options(QoS::Level2);
        options.retain_handling = handling;
        options
    };
    client.subscribe_with("kept", 0, handling(RetainHandling::DoNotSend)).await;
    client.hears_nothing().await;
    client.subscribe_with("kept", 0, handling(RetainHandling::SendAtSubscribeIfNotExist)).await;
    client.hears_nothing().await;
    client.subscribe_with("kept", 0, handling(RetainHandling::SendAtSubscribe)).await;
    assert!(client.take().await.retain);
    client.unsubscribe(&["kept"]).await;
    client.subscribe_with("kept", 0, handling(RetainHandling::SendAtSubscribeIfNotExist)).await;
    assert!(client.take().await.retain);
}

#[tokio::test(start_paused = true)]
async fn assigned_client_id() {
    let stage = Stage::open();
    let (_, first) = stage.try_connect(&five("")).await;
    let (_, second) = stage.try_connect(&five("").lasting()).await;
    let assigned = |got| match got {
        Got::Connack { code: 0, properties, present: false } => properties.assigned_client_id.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_ne!(assigned(first), assigned(second));
}

#[tokio::test(start_paused = true)]
async fn subscribe_identifiers() {
    let stage = Stage::open();
    let mut client = join(&stage, "a").await;
    client.subscribe_with("TopicA/#", 2, options(QoS::Level1)).await;
    client.subscribe_with("TopicA/+", 3, options(QoS::Level2)).await;
    let mut other = join(&stage, "b").await;
    other.publish("TopicA/B", b"m", 2, 1).await;
    let arrived = client.take().await;
    assert_eq!((arrived.identifiers.as_slice(), arrived.qos), (&[2, 3][..], 2));
    client.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn unsubscribe() {
    let stage = Stage::open();
    let mut client = join(&stage, "a").await;
    client.subscribe(&[("TopicA", 2), ("TopicA/B", 2), ("Topic/C", 2)]).await;
    assert_eq!(client.unsubscribe(&["TopicA"]).await, [0]);
    let mut other = join(&stage, "b").await;
    for topic in ["TopicA", "TopicA/B", "Topic/C"] {
        other.publish(topic, b"m", 1, 1).await;
    }
    assert_eq!(client.take().await.topic, "TopicA/B");
    assert_eq!(client.take().await.topic, "Topic/C");
    client.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn server_topic_alias() {
    let stage = Stage::open();
    let aliasing = five("a").with(|connect| connect.properties.topic_alias_max = Some(1));
    let (mut client, _) = stage.connect(&aliasing).await;
    client.subscribe(&[("#", 2)]).await;
    let mut other = join(&stage, "b").await;
    for topic in ["TopicA", "TopicA", "TopicB"] {
        other.publish(topic, b"m", 0, 0).await;
    }
    let aliased = [client.take().await, client.take().await, client.take().await]
        .map(|arrived| (arrived.topic, arrived.properties.topic_alias));
    assert_eq!(
        aliased,
        [("TopicA".to_owned(), Some(1)), (String::new(), Some(1)), ("TopicB".to_owned(), None)]
    );
}

#[tokio::test(start_paused = true)]
async fn an_alias_of_one_connection_is_none_on_the_next() {
    let stage = Stage::open();
    let aliasing = five("a").lasting().with(|connect| connect.properties.topic_alias_max = Some(5));
    let (mut client, _) = stage.connect(&aliasing).await;
    client.subscribe(&[("TopicA", 1)]).await;
    let mut other = join(&stage, "b").await;
    other.publish("TopicA", b"1", 1, 1).await;
    other.publish("TopicA", b"2", 1, 2).await;
    client.message().await;
    assert_eq!(client.message().await.topic, "");
    drop(client);
    settle().await;
    let (mut client, _) = stage.connect(&aliasing).await;
    assert_eq!(client.take().await.topic, "TopicA");
    assert_eq!(client.take().await.topic, "");
}

#[tokio::test(start_paused = true)]
async fn maximum_packet_size() {
    let stage = Stage::open();
    let small = five("a").with(|connect| connect.properties.max_packet_size = Some(64));
    let (mut client, got) = stage.try_connect(&small).await;
    let Got::Connack { code: 0, properties, .. } = got else { panic!("{got:?}") };
    let announced = properties.max_packet_size.unwrap() as usize;
    client.subscribe(&[("TopicA", 2)]).await;
    let mut other = join(&stage, "b").await;
    other.publish("TopicA", &[b'x'; 64], 1, 1).await;
    other.publish("TopicA", b"fits", 1, 2).await;
    assert_eq!(client.take().await.payload, "fits");
    other.next().await;
    other.next().await;
    other.publish("TopicA", &vec![b'x'; announced], 1, 3).await;
    assert_eq!(other.next().await, Got::Disconnect(0x95));
}

#[tokio::test(start_paused = true)]
async fn server_keep_alive() {
    let stage = Stage::open();
    let told = |asked| {
        let stage = &stage;
        async move {
            let (_, got) = stage.try_connect(&five("a").with(|c| c.keep_alive = asked)).await;
            let Got::Connack { code: 0, properties, .. } = got else { panic!("{got:?}") };
            properties.server_keep_alive
        }
    };
    assert_eq!(told(120).await, Some(60));
    assert_eq!(told(0).await, Some(60));
    assert_eq!(told(30).await, None);
}

#[tokio::test(start_paused = true)]
async fn flow_control() {
    let stage = Stage::open();
    // The server keeps to what the client asked for.
    let few = five("a").with(|connect| connect.properties.receive_max = Some(2));
    let (mut client, _) = stage.connect(&few).await;
    client.subscribe(&[("TopicA", 2)]).await;
    let mut other = join(&stage, "b").await;
    for pid in 1..=3 {
        other.publish("TopicA", b"m", 2, pid).await;
    }
    let first = client.message().await;
    client.message().await;
    client.hears_nothing().await;
    // PUBREC does not end the exchange, PUBCOMP does.
    client.ack(0x50, first.pid).await;
    assert_eq!(client.next().await, Got::Pubrel(first.pid, 0));
    client.hears_nothing().await;
    client.ack(0x70, first.pid).await;
    client.message().await;
    // And the client is held to what the server asked for.
    let mut greedy = join(&stage, "c").await;
    for pid in 1..=101 {
        greedy.publish("TopicB", b"m", 2, pid).await;
    }
    loop {
        match greedy.next().await {
            Got::Pubrec(..) => {}
            other => break assert_eq!(other, Got::Disconnect(0x93)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn will_delay() {
    let stage = Stage::open();
    let mut other = join(&stage, "other").await;
    other.subscribe(&[("will", 2)]).await;
    other.send(&[0xc0, 0]).await;
    assert_eq!(other.next().await, Got::Pong);
    let dying = |expiry| {
        five("a").lasting().with(|connect| {
            connect.properties.session_expiry_interval = Some(expiry);
            let topic = TopicName::try_from("will").unwrap();
            let mut will = LastWill::new(QoS::Level1, topic, Bytes::from_static(b"gone"));
            will.properties.delay_interval = Some(3);
            will.properties.user_properties = vec![UserProperty { name: "k".into(), value: "v".into() }];
            connect.last_will = Some(will);
        })
    };
    // The delay, or the end of the session, whichever is first.
    for (expiry, expected) in [(10, 3), (1, 1)] {
        let (client, _) = stage.connect(&dying(expiry)).await;
        drop(client);
        let begun = tokio::time::Instant::now();
        let arrived = other.take().await;
        assert_eq!(arrived.properties.user_properties.len(), 1);
        let waited = begun.elapsed().as_millis();
        assert!((expected * 1_000 - 50..=expected * 1_000 + 600).contains(&waited), "{waited} ms");
    }
    // DISCONNECT with the code that asks for it.
    let (mut client, _) = stage.connect(&dying(0)).await;
    client.send(&[0xe0, 1, 4]).await;
    assert_eq!(other.take().await.payload, "gone");
    // A clean start ends the session, and so the delay.
    let (client, _) = stage.connect(&dying(10)).await;
    drop(client);
    settle().await;
    let (_client, _) = stage.connect(&five("a")).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(other.take().await.payload, "gone");
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn subscribe_failure() {
    let stage = Stage::open();
    let mut client = join(&stage, "a").await;
    assert_eq!(client.subscribe(&[("test/nosubscribe", 2), ("TopicA", 2)]).await, [0x87, 2]);
}

#[tokio::test(start_paused = true)]
async fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let stage = Stage::open();
    let mut client = join(&stage, "a").await;
    // SUBSCRIBE, ID 1, no properties, "$share/g/a" with no local.
    let mut bytes = vec![0x82, 16, 0, 1, 0, 0, 10];
    bytes.extend_from_slice(b"$share/g/a");
    bytes.push(0b101);
    client.send(&bytes).await;
    assert_eq!(client.next().await, Got::Disconnect(0x82));
}
