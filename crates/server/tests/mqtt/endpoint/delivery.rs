//! Messages to clients: to whom, once, in order, and again until they are acknowledged.

use super::client::{Client, Got, Version, hello};
use super::stage::{Stage, message, settle};
use updraft_server::protocols::mqtt::door::Bus;

async fn lasting(stage: &Stage, version: Version, id: &str) -> (Client, bool) {
    stage.connect(&hello(version, id).lasting()).await
}

#[tokio::test(start_paused = true)]
async fn a_reply_reaches_the_requester_once_whether_or_not_it_subscribed_and_nobody_else() {
    let stage = Stage::new();
    let mut app = stage.join(Version::V3, "app").await;
    app.subscribe(&[("state/#", 1)]).await;
    for (version, id) in [(Version::V3, "d1"), (Version::V5, "d2")] {
        let (topic, reply) = (format!("state/{id}/get"), format!("state/{id}/get/accepted"));
        let mut client = stage.join(version, id).await;
        for subscribed in [false, true] {
            if subscribed {
                client.subscribe(&[(&reply, 1), (&format!("state/{id}/get/+"), 1)]).await;
            }
            client.publish(&topic, b"token", 1, 3).await;
            assert_eq!(client.next().await, Got::Puback(3, 0));
            let heard = client.take().await;
            assert_eq!((heard.topic.as_str(), &*heard.payload), (reply.as_str(), &b"token"[..]));
            client.hears_nothing().await;
        }
        // At QoS 0 it is asked, at QoS 0 it is answered.
        client.unsubscribe(&[&reply, &format!("state/{id}/get/+")]).await;
        client.publish(&topic, b"token", 0, 0).await;
        assert_eq!(client.take().await.qos, 0);
        client.hears_nothing().await;
    }
    app.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_device_hears_its_own_topics_by_its_own_filters_and_applications_hear_by_theirs() {
    let stage = Stage::new();
    let mut one = stage.join(Version::V3, "d1").await;
    let mut two = stage.join(Version::V3, "d2").await;
    let mut app = stage.join(Version::V5, "app").await;
    one.subscribe(&[("state/d1/update/delta", 1)]).await;
    two.subscribe(&[("state/d2/#", 1)]).await;
    app.subscribe(&[("state/+/update/delta", 0)]).await;
    one.publish("state/d1/update", b"1", 1, 1).await;
    assert_eq!(one.next().await, Got::Puback(1, 0));
    assert_eq!(one.take().await.topic, "state/d1/update/delta");
    let heard = app.take().await;
    assert_eq!((heard.topic.as_str(), heard.qos), ("state/d1/update/delta", 0));
    // An application sets what a device is to be; the device hears of it.
    app.publish("state/d2/update", b"2", 1, 1).await;
    assert_eq!(two.take().await.payload, "2");
    one.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn messages_arrive_in_the_order_they_were_sent() {
    let stage = Stage::new();
    let mut client = stage.join(Version::V3, "d1").await;
    client.subscribe(&[("state/d1/#", 1)]).await;
    let payloads: Vec<&'static [u8]> = vec![b"0", b"1", b"2", b"3", b"4"];
    for index in 0..500 {
        stage.endpoint.router().publish(message("state/d1/x", payloads[index % 5]));
    }
    for index in 0..500 {
        assert_eq!(client.take().await.payload, payloads[index % 5], "{index}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_is_in_flight_than_a_client_asked_for() {
    let stage = Stage::new();
    let few = hello(Version::V5, "d1").with(|connect| connect.properties.receive_max = Some(3));
    let (mut client, _) = stage.connect(&few).await;
    client.subscribe(&[("state/d1/x", 1)]).await;
    for _ in 0..5 {
        stage.endpoint.router().publish(message("state/d1/x", b"x"));
    }
    let pids = [client.message().await.pid, client.message().await.pid, client.message().await.pid];
    client.hears_nothing().await;
    client.ack(0x40, pids[1]).await;
    let fourth = client.message().await;
    assert!(!pids.contains(&fourth.pid));
    client.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_not_acknowledged_is_sent_again_under_its_packet_id() {
    let stage = Stage::new();
    for version in [Version::V3, Version::V5] {
        let (mut client, _) = lasting(&stage, version, "d1").await;
        client.subscribe(&[("state/d1/x", 1)]).await;
        for payload in [b"1", b"2", b"3"] {
            stage.endpoint.router().publish(message("state/d1/x", payload));
        }
        client.take().await;
        let first = client.message().await;
        let second = client.message().await;
        assert!(!first.dup);
        drop(client);
        settle().await;
        let (mut client, present) = lasting(&stage, version, "d1").await;
        assert!(present);
        for expected in [first, second] {
            let again = client.take().await;
            assert!(again.dup);
            assert_eq!((again.pid, again.payload), (expected.pid, expected.payload));
        }
        client.hears_nothing().await;
        client.disconnect().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_may_no_longer_hear_is_not_sent_again() {
    let stage = Stage::new();
    let (mut app, _) = lasting(&stage, Version::V3, "app").await;
    app.subscribe(&[("state/+/x", 1), ("state/d2/y", 1)]).await;
    stage.endpoint.router().publish(message("state/d1/x", b"in flight"));
    app.message().await;
    drop(app);
    settle().await;
    stage.endpoint.router().publish(message("state/d1/x", b"waiting"));
    stage.endpoint.router().publish(message("state/d2/x", b"allowed"));
    *stage.gate.withdrawn.lock().unwrap() = Some("state/d1/x".to_owned());
    let (mut app, _) = lasting(&stage, Version::V3, "app").await;
    assert_eq!(app.take().await.payload, "allowed");
    app.hears_nothing().await;
    app.disconnect().await;
    // A filter that was withdrawn brings nothing, either.
    *stage.gate.withdrawn.lock().unwrap() = Some("state/+/x".to_owned());
    let (mut app, _) = lasting(&stage, Version::V3, "app").await;
    stage.endpoint.router().publish(message("state/d3/x", b"x"));
    stage.endpoint.router().publish(message("state/d2/y", b"y"));
    assert_eq!(app.take().await.payload, "y");
}

#[tokio::test(start_paused = true)]
async fn an_application_finds_what_it_missed_and_a_device_the_newest_few() {
    let stage = Stage::new();
    let (mut app, _) = lasting(&stage, Version::V3, "app").await;
    app.subscribe(&[("state/#", 1)]).await;
    app.disconnect().await;
    let (mut client, _) = lasting(&stage, Version::V3, "d1").await;
    client.subscribe(&[("state/d1/x", 1)]).await;
    client.disconnect().await;
    let payloads: Vec<&'static [u8]> = vec![b"0", b"1", b"2", b"3", b"4", b"5", b"6"];
    for index in 0..28 {
        stage.endpoint.router().publish(message("state/d1/x", payloads[index % 7]));
    }
    let (mut app, _) = lasting(&stage, Version::V3, "app").await;
    for index in 0..28 {
        assert_eq!(app.take().await.payload, payloads[index % 7]);
    }
    let (mut client, _) = lasting(&stage, Version::V3, "d1").await;
    for index in 12..28 {
        assert_eq!(client.take().await.payload, payloads[index % 7]);
    }
    client.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_too_large_for_the_client_is_left_out() {
    let stage = Stage::new();
    let small = hello(Version::V5, "d1").with(|connect| connect.properties.max_packet_size = Some(100));
    let (mut client, _) = stage.connect(&small).await;
    client.subscribe(&[("state/d1/x", 1)]).await;
    stage.endpoint.router().publish(message("state/d1/x", &[b'x'; 100]));
    stage.endpoint.router().publish(message("state/d1/x", b"small"));
    assert_eq!(client.take().await.payload, "small");
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_its_time_is_over() {
    let stage = Stage::new();
    let brief = hello(Version::V5, "d1")
        .lasting()
        .with(|connect| connect.properties.session_expiry_interval = Some(10));
    let (client, _) = stage.connect(&brief).await;
    client.disconnect().await;
    tokio::time::sleep(std::time::Duration::from_secs(9)).await;
    let (client, present) = stage.connect(&brief).await;
    assert!(present);
    client.disconnect().await;
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    assert_eq!(stage.endpoint.router().sessions(), 0);
    assert!(!stage.connect(&brief).await.1);
}
