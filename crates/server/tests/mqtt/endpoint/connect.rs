//! Who is let in, and as whom.

use super::client::{Client, Got, Hello, Version, hello};
use super::stage::{PIPE_BYTES, Stage, device, settle};
use bytes::Bytes;
use mqtt_proto::v5::LastWill;
use mqtt_proto::{QoS, TopicName};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use updraft_server::protocols::mqtt::door::Identity;

const VERSIONS: [Version; 2] = [Version::V3, Version::V5];

fn not_authorized(version: Version) -> u8 {
    match version {
        Version::V3 => 5,
        Version::V5 => 0x87,
    }
}

async fn code(stage: &Stage, hello: &Hello) -> u8 {
    match stage.try_connect(hello).await {
        (mut client, Got::Connack { code, present, .. }) => {
            assert!(code == 0 || !present);
            if code != 0 {
                assert_eq!(client.next().await, Got::Closed);
            }
            code
        }
        (_, other) => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_with_its_credential_is_let_in() {
    let stage = Stage::new();
    for version in VERSIONS {
        assert_eq!(code(&stage, &hello(version, "d1")).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_credential_and_none_are_refused_by_the_contracts_code() {
    let stage = Stage::new();
    for version in VERSIONS {
        let wrong = hello(version, "d1").with(|connect| connect.password = Some(Bytes::from_static(b"x")));
        assert_eq!(code(&stage, &wrong).await, not_authorized(version));
        let none = hello(version, "d1").with(|connect| (connect.username, connect.password) = (None, None));
        assert_eq!(code(&stage, &none).await, not_authorized(version));
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_cannot_be_checked_opens_nothing() {
    let stage = Stage::new();
    for (version, expected) in [(Version::V3, 3), (Version::V5, 0x88)] {
        assert_eq!(code(&stage, &hello(version, "down")).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_cannot_take_another_devices_client_id() {
    let stage = Stage::new();
    let mut victim = stage.connect(&hello(Version::V3, "victim").lasting()).await.0;
    for version in VERSIONS {
        let thief = hello(version, "thief").with(|connect| connect.client_id = "victim".into());
        assert_eq!(code(&stage, &thief).await, not_authorized(version));
    }
    victim.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn an_application_never_takes_over_a_devices_session() {
    let stage = Stage::new();
    let mut device = stage.connect(&hello(Version::V5, "d1").lasting()).await.0;
    let app = hello(Version::V5, "app").with(|connect| connect.client_id = "d1".into());
    let (mut app, present) = stage.connect(&app).await;
    assert!(!present);
    device.hears_nothing().await;
    assert_eq!(stage.endpoint.router().sessions(), 2);
    app.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_clean_start_leaves_the_older_session_alone() {
    let stage = Stage::new();
    let (mut client, _) = stage.connect(&hello(Version::V3, "d1").lasting()).await;
    client.subscribe(&[("state/d1/update/delta", 1)]).await;
    client.disconnect().await;
    let wrong = hello(Version::V3, "d1").with(|connect| connect.password = Some(Bytes::from_static(b"x")));
    assert_eq!(code(&stage, &wrong).await, 5);
    assert!(stage.connect(&hello(Version::V3, "d1").lasting()).await.1, "the session was lost");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_speaks_for_a_client_with_a_user_name_and_no_password() {
    let stage = Stage::new();
    for version in VERSIONS {
        let sdk = hello(version, "d1").with(|connect| {
            connect.username = Some("?SDK=IoTDeviceSDK/Python".into());
            connect.password = None;
        });
        let mut client = Client::new(stage.pipe(PIPE_BYTES, Some(device("d1"))), version);
        client.send(&sdk.bytes()).await;
        assert!(matches!(client.next().await, Got::Connack { code: 0, .. }));
        // And for nobody else.
        let mut client = Client::new(stage.pipe(PIPE_BYTES, Some(device("d2"))), version);
        client.send(&sdk.bytes()).await;
        let Got::Connack { code, .. } = client.next().await else { panic!("no CONNACK") };
        assert_eq!(code, not_authorized(version));
    }
}

#[tokio::test(start_paused = true)]
async fn a_products_credential_speaks_for_the_device_its_client_id_names() {
    let stage = Stage::new();
    let shared = hello(Version::V3, "d7").with(|connect| {
        connect.username = Some("product p".into());
        connect.password = Some(Bytes::from_static(b"secret of product p"));
    });
    let (mut client, _) = stage.connect(&shared).await;
    client.publish("state/d7/get", b"", 1, 1).await;
    assert_eq!(client.next().await, Got::Puback(1, 0));
    let (from, ..) = stage.handler.taken.lock().unwrap()[0].clone();
    let of_product = Identity::Device { id: "d7".parse().unwrap(), product: Some("p".parse().unwrap()) };
    assert_eq!(from, of_product);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_gives_no_client_id_is_told_its_own() {
    let stage = Stage::new();
    let nameless = |version| hello(version, "d1").with(|connect| connect.client_id = "".into());
    let (_, got) = stage.try_connect(&nameless(Version::V5)).await;
    let Got::Connack { code: 0, properties, .. } = got else { panic!("{got:?}") };
    assert_eq!(properties.assigned_client_id.as_deref(), Some("d1"));
    assert_eq!(code(&stage, &nameless(Version::V3)).await, 0);
    // MQTT 3.1.1 allows none with a clean session only.
    let lasting = nameless(Version::V3).lasting();
    assert_eq!(code(&stage, &lasting).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_will_on_a_forbidden_topic_refuses_the_connection() {
    let stage = Stage::new();
    for version in VERSIONS {
        for topic in ["state/other/update", "", "$aws/things/other/shadow/update"] {
            let hello = hello(version, "d1").with(|connect| {
                let topic = TopicName::try_from(topic).unwrap();
                connect.last_will = Some(LastWill::new(QoS::Level1, topic, Bytes::from_static(b"bye")));
            });
            assert_eq!(code(&stage, &hello).await, not_authorized(version), "{topic}");
        }
    }
    assert!(stage.taken().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_an_mqtt_5_client_is_told_is_within_the_limits() {
    let stage = Stage::new();
    let greedy = hello(Version::V5, "d1").with(|connect| {
        connect.keep_alive = 0;
        connect.properties.session_expiry_interval = Some(u32::MAX);
    });
    let (_, got) = stage.try_connect(&greedy).await;
    let Got::Connack { code: 0, properties, .. } = got else { panic!("{got:?}") };
    assert_eq!(properties.server_keep_alive, Some(3_600));
    assert_eq!(properties.session_expiry_interval, Some(7 * 24 * 3_600));
    assert_eq!(properties.receive_max, Some(100));
    assert_eq!(properties.shared_subscription_available, Some(false));
    // Some clients take the largest value the protocol knows for malformed.
    assert!(properties.max_packet_size.is_some_and(|bytes| bytes < 1_000_000));
}

#[tokio::test(start_paused = true)]
async fn extended_authentication_is_not_offered() {
    let stage = Stage::new();
    let hello =
        hello(Version::V5, "d1").with(|connect| connect.properties.auth_method = Some("SCRAM".into()));
    assert_eq!(code(&stage, &hello).await, 0x8c);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_version_is_told_so() {
    let stage = Stage::new();
    let mut bytes = hello(Version::V3, "d1").bytes();
    bytes[8] = 3;
    let mut client = stage.client(Version::V3);
    client.send(&bytes).await;
    let mut answer = [0; 4];
    client.stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0x20, 2, 0, 1]);
    bytes[8] = 6;
    let mut client = stage.client(Version::V5);
    client.send(&bytes).await;
    assert!(matches!(client.next().await, Got::Connack { code: 0x84, .. }));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_connect_in_time_is_hung_up_on() {
    let stage = Stage::new();
    let mut silent = stage.client(Version::V3);
    let mut half = stage.client(Version::V3);
    half.send(&hello(Version::V3, "d1").bytes()[..5]).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(silent.next().await, Got::Closed);
    assert_eq!(half.next().await, Got::Closed);
    assert!((9..=11).contains(&begun.elapsed().as_secs()));
    settle().await;
    assert_eq!((stage.endpoint.connections(), stage.endpoint.router().sessions()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn more_connections_than_the_limit_are_refused_and_the_others_stay() {
    let stage = Stage::limited(|limits| limits.connections = 2);
    let mut one = stage.join(Version::V3, "d1").await;
    let _two = stage.join(Version::V3, "d2").await;
    let mut three = stage.client(Version::V3);
    assert_eq!(three.next().await, Got::Closed);
    one.disconnect().await;
    settle().await;
    one = stage.join(Version::V3, "d3").await;
    one.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn more_sessions_than_the_limit_are_refused_but_those_there_are_resumed() {
    let stage = Stage::limited(|limits| limits.sessions = 1);
    let (client, _) = stage.connect(&hello(Version::V5, "d1").lasting()).await;
    client.disconnect().await;
    assert_eq!(code(&stage, &hello(Version::V5, "d2")).await, 0x97);
    assert!(stage.connect(&hello(Version::V5, "d1").lasting()).await.1);
}

#[tokio::test(start_paused = true)]
async fn packets_sent_before_the_connack_are_taken_in() {
    let stage = Stage::new();
    let mut client = stage.client(Version::V3);
    let mut bytes = hello(Version::V3, "d1").bytes();
    bytes.extend_from_slice(&[0xc0, 0, 0xc0, 0]);
    client.send(&bytes).await;
    assert!(matches!(client.next().await, Got::Connack { code: 0, .. }));
    assert_eq!(client.next().await, Got::Pong);
    assert_eq!(client.next().await, Got::Pong);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_hung_up_on_after_one_and_a_half_keep_alives() {
    let stage = Stage::new();
    let mut half_open = stage.join(Version::V5, "d1").await;
    let begun = tokio::time::Instant::now();
    assert_eq!(half_open.next().await, Got::Disconnect(0x8d));
    assert!((90..=91).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let mut alive = stage.join(Version::V3, "d2").await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(80)).await;
        alive.send(&[0xc0, 0]).await;
        assert_eq!(alive.next().await, Got::Pong);
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_a_revoked_credential_can_be_sent_away_alone() {
    let stage = Stage::new();
    let mut client = stage.join(Version::V5, "d1").await;
    stage.endpoint.router().disconnect(&"d1".parse().unwrap());
    assert_eq!(client.next().await, Got::Disconnect(0x98));
    assert_eq!(client.next().await, Got::Closed);
    let mut client = stage.join(Version::V5, "d1").await;
    let mut app = stage.join(Version::V5, "app").await;
    stage.endpoint.router().disconnect_each(|who| matches!(who, Identity::Application { .. }));
    assert_eq!(app.next().await, Got::Disconnect(0x98));
    client.hears_nothing().await;
    stage.endpoint.router().disconnect_all();
    assert_eq!(client.next().await, Got::Disconnect(0x8b));
}
