//! What a client publishes: taken once, acknowledged when it is durable, and refused where it must be.

use super::client::{Got, Version, hello, v5_publish};
use super::stage::{Stage, settle};
use bytes::Bytes;
use mqtt_proto::v5::LastWill;
use mqtt_proto::{QoS, TopicName};
use updraft_server::protocols::mqtt::door::Bus;

#[tokio::test(start_paused = true)]
async fn a_puback_waits_until_the_handler_is_done() {
    let stage = Stage::new();
    let mut client = stage.join(Version::V3, "d1").await;
    client.publish("state/d1/slow", b"x", 1, 9).await;
    client.hears_nothing().await;
    assert_eq!(stage.begun(), 1);
    stage.handler.go_on.add_permits(1);
    assert_eq!(client.next().await, Got::Puback(9, 0));
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_leave_in_the_order_of_the_publishes() {
    let stage = Stage::new();
    let mut client = stage.join(Version::V3, "d1").await;
    client.publish("state/d1/slow", b"x", 1, 1).await;
    client.publish("state/d1/get", b"y", 1, 2).await;
    client.publish("state/d1/ack", b"z", 1, 3).await;
    client.hears_nothing().await;
    assert_eq!(stage.begun(), 3, "the others wait for nothing but their turn");
    stage.handler.go_on.add_permits(1);
    let mut acks = Vec::new();
    while acks.len() < 3 {
        match client.next().await {
            Got::Puback(pid, 0) => acks.push(pid),
            Got::Publish(reply) => assert_eq!(reply.topic, "state/d1/get/accepted"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(acks, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn no_more_publishes_of_a_connection_are_worked_on_than_the_limit() {
    let stage = Stage::limited(|limits| limits.publishes_concurrent = 4);
    let mut client = stage.join(Version::V3, "d1").await;
    for pid in 1..=10 {
        client.publish("state/d1/slow", b"x", 1, pid).await;
    }
    settle().await;
    assert_eq!(stage.begun(), 4);
    stage.handler.go_on.add_permits(10);
    for pid in 1..=10 {
        assert_eq!(client.next().await, Got::Puback(pid, 0));
    }
    assert_eq!(stage.taken().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_publish_is_refused_by_code_on_mqtt_5_and_by_hanging_up_on_3() {
    let stage = Stage::new();
    let mut five = stage.join(Version::V5, "d1").await;
    five.publish("state/d2/update", b"x", 1, 1).await;
    assert_eq!(five.next().await, Got::Puback(1, 0x87));
    five.publish("$aws/things/d2/shadow/update", b"x", 2, 2).await;
    assert_eq!(five.next().await, Got::Pubrec(2, 0x87));
    five.publish("state/d2/update", b"x", 0, 0).await;
    assert_eq!(five.next().await, Got::Disconnect(0x87));
    for qos in 0..=2 {
        let mut three = stage.join(Version::V3, "d1").await;
        three.publish("state/d2/update", b"x", qos, 1).await;
        assert_eq!(three.next().await, Got::Closed);
    }
    assert!(stage.taken().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_cannot_be_taken_now_is_to_be_tried_again() {
    let stage = Stage::new();
    let mut five = stage.join(Version::V5, "d1").await;
    five.publish("state/d1/busy", b"x", 1, 1).await;
    assert_eq!(five.next().await, Got::Puback(1, 0x80));
    let mut three = stage.join(Version::V3, "d2").await;
    three.publish("state/d2/busy", b"x", 1, 1).await;
    assert_eq!(three.next().await, Got::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_qos_2_publish_is_taken_exactly_once() {
    let stage = Stage::new();
    let mut client = stage.join(Version::V3, "d1").await;
    let mut again = v5_publish("state/d1/x", b"x", 2, 5);
    again.dup = true;
    client.publish("state/d1/x", b"x", 2, 5).await;
    assert_eq!(client.next().await, Got::Pubrec(5, 0));
    client.publish_with(again.clone()).await;
    assert_eq!(client.next().await, Got::Pubrec(5, 0));
    assert_eq!(stage.taken().len(), 1);
    client.ack(0x62, 5).await;
    assert_eq!(client.next().await, Got::Pubcomp(5, 0));
    // Released, the packet ID names another message.
    client.publish("state/d1/x", b"y", 2, 5).await;
    assert_eq!(client.next().await, Got::Pubrec(5, 0));
    assert_eq!(stage.taken().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_qos_2_publish_repeated_while_the_first_is_in_hand_is_taken_once() {
    let stage = Stage::new();
    let mut client = stage.join(Version::V3, "d1").await;
    client.publish("state/d1/slow", b"x", 2, 5).await;
    client.publish("state/d1/slow", b"x", 2, 5).await;
    settle().await;
    stage.handler.go_on.add_permits(2);
    assert_eq!(client.next().await, Got::Pubrec(5, 0));
    client.hears_nothing().await;
    assert_eq!(stage.begun(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_qos_2_publish_repeated_after_a_reconnect_is_taken_once() {
    let stage = Stage::new();
    let lasting = hello(Version::V3, "d1").lasting();
    let (mut client, _) = stage.connect(&lasting).await;
    client.publish("state/d1/slow", b"x", 2, 5).await;
    settle().await;
    // The connection breaks before the handler is done.
    drop(client);
    settle().await;
    let mut client = stage.client(Version::V3);
    client.send(&lasting.bytes()).await;
    client.publish("state/d1/slow", b"x", 2, 5).await;
    settle().await;
    stage.handler.go_on.add_permits(2);
    assert!(matches!(client.next().await, Got::Connack { present: true, code: 0, .. }));
    assert_eq!(client.next().await, Got::Pubrec(5, 0));
    assert_eq!(stage.taken().len(), 1);
    client.ack(0x62, 5).await;
    assert_eq!(client.next().await, Got::Pubcomp(5, 0));
}

#[tokio::test(start_paused = true)]
async fn more_unreleased_qos_2_publishes_than_announced_end_the_connection() {
    let stage = Stage::limited(|limits| limits.receive = 20);
    let mut client = stage.join(Version::V5, "d1").await;
    for pid in 1..=20 {
        client.publish("state/d1/x", b"x", 2, pid).await;
        assert_eq!(client.next().await, Got::Pubrec(pid, 0));
    }
    client.publish("state/d1/x", b"x", 2, 21).await;
    assert_eq!(client.next().await, Got::Disconnect(0x93));
    assert_eq!(stage.taken().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_topic_alias_stands_for_its_topic_within_the_limit() {
    let stage = Stage::new();
    let mut client = stage.join(Version::V5, "d1").await;
    let aliased = |topic: &str, pid, alias| {
        let mut publish = v5_publish(topic, b"x", 1, pid);
        publish.properties.topic_alias = Some(alias);
        publish
    };
    client.publish_with(aliased("state/d1/a", 1, 10)).await;
    client.publish_with(aliased("", 2, 10)).await;
    client.publish_with(aliased("state/d1/b", 3, 10)).await;
    client.publish_with(aliased("", 4, 10)).await;
    for pid in 1..=4 {
        assert_eq!(client.next().await, Got::Puback(pid, 0));
    }
    assert_eq!(stage.taken(), ["state/d1/a", "state/d1/a", "state/d1/b", "state/d1/b"]);
    for (topic, alias, code) in [("state/d1/a", 0, 0x94), ("state/d1/a", 11, 0x94), ("", 3, 0x82)] {
        let mut client = stage.join(Version::V5, "d1").await;
        client.publish_with(aliased(topic, 1, alias)).await;
        assert_eq!(client.next().await, Got::Disconnect(code));
    }
}

#[tokio::test(start_paused = true)]
async fn an_alias_opens_no_topic_that_is_forbidden() {
    let stage = Stage::new();
    let mut client = stage.join(Version::V5, "d1").await;
    let mut publish = v5_publish("state/d2/x", b"x", 1, 1);
    publish.properties.topic_alias = Some(1);
    client.publish_with(publish).await;
    assert_eq!(client.next().await, Got::Puback(1, 0x87));
    let mut publish = v5_publish("", b"x", 1, 2);
    publish.properties.topic_alias = Some(1);
    client.publish_with(publish).await;
    assert_eq!(client.next().await, Got::Puback(2, 0x87));
}

#[tokio::test(start_paused = true)]
async fn a_retained_publish_is_taken_and_not_retained() {
    let stage = Stage::new();
    let mut client = stage.join(Version::V3, "d1").await;
    let mut publish = v5_publish("state/d1/update", b"x", 1, 1);
    publish.retain = true;
    client.publish_with(publish).await;
    assert_eq!(client.next().await, Got::Puback(1, 0));
    client.subscribe(&[("state/d1/#", 1)]).await;
    client.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_publish_sent_just_before_goodbye_is_taken() {
    let stage = Stage::new();
    let mut client = stage.join(Version::V3, "d1").await;
    client.publish("state/d1/slow", b"x", 0, 0).await;
    client.send(&[0xe0, 0]).await;
    settle().await;
    stage.handler.go_on.add_permits(1);
    assert_eq!(client.next().await, Got::Closed);
    assert_eq!(stage.taken(), ["state/d1/slow"]);
}

#[tokio::test(start_paused = true)]
async fn a_will_is_published_as_its_client_would_have() {
    let stage = Stage::new();
    let mut app = stage.join(Version::V3, "app").await;
    app.subscribe(&[("state/+/update/delta", 1)]).await;
    let with_will = hello(Version::V3, "d1").with(|connect| {
        let topic = TopicName::try_from("state/d1/update").unwrap();
        connect.last_will = Some(LastWill::new(QoS::Level1, topic, Bytes::from_static(b"gone")));
    });
    let (client, _) = stage.connect(&with_will).await;
    client.disconnect().await;
    app.hears_nothing().await;
    let (client, _) = stage.connect(&with_will).await;
    drop(client);
    assert_eq!(app.take().await.payload, "gone");
    assert_eq!(stage.taken(), ["state/d1/update"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_publishes_no_wills() {
    let stage = Stage::new();
    let with_will = hello(Version::V5, "d1").with(|connect| {
        let topic = TopicName::try_from("state/d1/update").unwrap();
        connect.last_will = Some(LastWill::new(QoS::Level1, topic, Bytes::from_static(b"gone")));
    });
    let (mut client, _) = stage.connect(&with_will).await;
    stage.endpoint.router().disconnect_all();
    assert_eq!(client.next().await, Got::Disconnect(0x8b));
    settle().await;
    assert!(stage.taken().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_will_on_a_reserved_topic_commands_nothing() {
    let stage = Stage::new();
    let (client, _) = stage
        .connect(&hello(Version::V3, "d1").with(|connect| {
            let topic = TopicName::try_from("$aws/things/d1/shadow/update").unwrap();
            connect.last_will = Some(LastWill::new(QoS::Level1, topic, Bytes::from_static(b"{}")));
        }))
        .await;
    drop(client);
    settle().await;
    assert_eq!(stage.begun(), 0);
    assert!(!stage.endpoint.router().is_connected(&"d1".parse().unwrap()));
}
