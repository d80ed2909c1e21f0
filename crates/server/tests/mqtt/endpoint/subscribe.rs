//! Filters: which are granted, and what they bring.

use super::client::{Version, hello};
use super::stage::{Stage, device, message};
use updraft_server::protocols::mqtt::door::{Bus, Occasion};

#[tokio::test(start_paused = true)]
async fn a_forbidden_filter_is_refused_by_the_versions_code_and_the_others_are_granted() {
    let stage = Stage::new();
    for (version, refused) in [(Version::V3, 0x80), (Version::V5, 0x87)] {
        let mut client = stage.join(version, "d1").await;
        let codes = client
            .subscribe(&[
                ("state/d1/update/delta", 1),
                ("state/d2/update/delta", 1),
                ("state/+/update/delta", 1),
                ("#", 0),
                ("$aws/things/+/jobs/notify", 1),
                ("$aws/things/d1/jobs/+/get/accepted", 0),
            ])
            .await;
        assert_eq!(codes, [1, refused, refused, refused, refused, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn qos_2_is_granted_as_qos_1() {
    let stage = Stage::new();
    let mut client = stage.join(Version::V3, "d1").await;
    assert_eq!(client.subscribe(&[("state/d1/x", 2)]).await, [1]);
    stage.endpoint.router().publish(message("state/d1/x", b"1"));
    assert_eq!(client.take().await.qos, 1);
}

#[tokio::test(start_paused = true)]
async fn a_device_cannot_subscribe_to_a_shared_filter_but_an_application_can() {
    let stage = Stage::new();
    let mut client = stage.join(Version::V5, "d1").await;
    assert_eq!(client.subscribe(&[("$share/g/state/d1/x", 1)]).await, [0x9e]);
    let mut client = stage.join(Version::V3, "d1").await;
    assert_eq!(client.subscribe(&[("$share/g/state/d1/x", 1)]).await, [0x80]);

    let apps =
        ["one", "two"].map(|id| hello(Version::V3, "app").with(|connect| connect.client_id = id.into()));
    let (mut one, _) = stage.connect(&apps[0]).await;
    let (mut two, _) = stage.connect(&apps[1]).await;
    for app in [&mut one, &mut two] {
        assert_eq!(app.subscribe(&[("$share/g/state/+/x", 1)]).await, [1]);
        // Within the group as without it, what is forbidden is.
        assert_eq!(app.subscribe(&[("$share/g/secret/#", 1)]).await, [0x80]);
    }
    for _ in 0..10 {
        stage.endpoint.router().publish(message("state/d1/x", b"x"));
    }
    for app in [&mut one, &mut two] {
        for _ in 0..5 {
            app.take().await;
        }
        app.hears_nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_and_one_subscriptions_are_cut_at_the_limit() {
    let stage = Stage::new();
    for (version, refused) in [(Version::V3, 0x80), (Version::V5, 0x97)] {
        let mut client = stage.join(version, "d1").await;
        let filters: Vec<_> = (0..10_001).map(|index| format!("state/d1/{index}")).collect();
        let mut codes = Vec::new();
        for some in filters.chunks(2_000) {
            let some: Vec<_> = some.iter().map(|filter| (filter.as_str(), 1)).collect();
            codes.extend(client.subscribe(&some).await);
        }
        assert_eq!(codes.len(), 10_001);
        assert!(codes[..100].iter().all(|code| *code == 1));
        assert!(codes[100..].iter().all(|code| *code == refused));
        // One that is there may be asked for again.
        assert_eq!(client.subscribe(&[("state/d1/7", 0)]).await, [0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_or_deep_filter_is_refused() {
    let stage = Stage::new();
    let mut client = stage.join(Version::V5, "d1").await;
    let long = format!("state/d1/{}", "x".repeat(250));
    let deep = format!("state/d1{}", "/x".repeat(15));
    assert_eq!(client.subscribe(&[(&long, 1), (&deep, 1), ("state/d1/x", 1)]).await, [0x8f, 0x8f, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_hears_at_once_what_it_must_and_nobody_else_does() {
    let stage = Stage::new();
    let mut other = stage.join(Version::V3, "app").await;
    other.subscribe(&[("state/#", 1)]).await;
    let mut client = stage.join(Version::V3, "d1").await;
    assert_eq!(client.subscribe(&[("$aws/things/d1/jobs/notify-next", 1)]).await, [1]);
    let heard = client.take().await;
    assert_eq!((heard.topic.as_str(), &*heard.payload), ("$aws/things/d1/jobs/notify-next", &b"next"[..]));
    client.hears_nothing().await;
    other.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn who_unsubscribes_hears_no_more() {
    let stage = Stage::new();
    let mut client = stage.join(Version::V5, "d1").await;
    client.subscribe(&[("state/d1/a", 1), ("state/d1/b", 1)]).await;
    assert_eq!(client.unsubscribe(&["state/d1/a", "state/d1/c"]).await, [0, 0x11]);
    stage.endpoint.router().publish(message("state/d1/a", b"x"));
    stage.endpoint.router().publish(message("state/d1/b", b"x"));
    assert_eq!(client.take().await.topic, "state/d1/b");
    client.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_resumed_session_catches_up_on_each_of_its_filters() {
    let stage = Stage::new();
    let lasting = hello(Version::V3, "d1").lasting();
    let (mut client, _) = stage.connect(&lasting).await;
    client.subscribe(&[("state/d1/update/delta", 1), ("$aws/things/d1/jobs/notify-next", 1)]).await;
    client.take().await;
    client.disconnect().await;
    stage.handler.heard.lock().unwrap().clear();
    let (mut client, present) = stage.connect(&lasting).await;
    assert!(present);
    assert_eq!(client.take().await.payload, "next");
    let heard = stage.handler.heard.lock().unwrap().clone();
    let resumed = |filter: &str| (device("d1"), filter.to_owned(), Occasion::Resumed);
    assert_eq!(heard, [resumed("state/d1/update/delta"), resumed("$aws/things/d1/jobs/notify-next")]);
}
