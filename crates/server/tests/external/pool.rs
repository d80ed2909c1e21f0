//! Several connections of one server, as a broker that limits how much one may publish makes necessary.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::{Client as Mqtt, Event, MqttOptions, mqttbytes::v4::Packet};
use serde_json::json;
use updraft_server::listen::shutdown::{self, ShutdownTrigger};
use updraft_server::protocols::mqtt::door::{Bus as _, Message};
use updraft_server::protocols::mqtt::external::External;
use updraft_server::protocols::mqtt::external::config::{Contract, ExternalConfig, Sharing};

use crate::broker::{Broker, Kind, PASSWORD, SERVER};
use crate::client::{Client, PATIENCE};
use crate::share::{Counting, await_up};
use crate::stage::{external, on_runtime};

const DEVICES: usize = 8;
/// Messages to each device.
const MESSAGES: u64 = 40;
/// How long nothing must come.
const SILENCE: Duration = Duration::from_millis(500);

fn names() -> Vec<String> {
    (1..=DEVICES).map(|number| format!("sensor-{number}")).collect()
}

fn pool(broker: &Broker, connections: usize) -> ExternalConfig {
    ExternalConfig {
        client_id: Some("pool".to_owned()),
        connections,
        shared: Sharing::Never,
        contracts: vec![Contract::Replica],
        ..external(broker)
    }
}

/// A client of the broker, at work.
struct Running {
    client: Arc<External>,
    counting: Arc<Counting>,
    trigger: ShutdownTrigger,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn new(config: &ExternalConfig) -> Self {
        let client = External::open(config).await.unwrap();
        let counting = Arc::new(Counting::default());
        let (trigger, stop) = shutdown::shutdown();
        let task = tokio::spawn(client.clone().run(counting.clone(), stop));
        await_up(&client).await;
        Self { client, counting, trigger, task }
    }

    fn say(&self, device: &str, number: u64) {
        let payload = Bytes::from(json!({ "number": number }).to_string());
        self.client.publish(Message { topic: format!("state/{device}/update/delta").into(), payload });
    }

    /// Stops in good order: whatever was given to be said is said.
    async fn stop(self) {
        self.trigger.ask();
        self.task.await.unwrap();
    }
}

/// The numbers that a device hears, each when it comes for the first time: at QoS 1 some come again after a loss.
fn hear_all(device: &Client, count: u64) -> Vec<u64> {
    let mut heard = Vec::new();
    let is_number = |_: &str, body: &serde_json::Value| body["number"].is_number();
    while let Some((_, body)) =
        device.hear_within(if heard.len() < count as usize { PATIENCE } else { SILENCE }, is_number)
    {
        let number = body["number"].as_u64().unwrap();
        if !heard.contains(&number) {
            heard.push(number);
        }
    }
    heard
}

fn connect_all(port: u16) -> Vec<(String, Client)> {
    let connect = |name: &String| Client::connect(port, name, &[&format!("state/{name}/update/delta")]);
    names().into_iter().map(|name| (name.clone(), connect(&name))).collect()
}

/// Listens beside the server: which of its connections have published to whom, from the broker's log.
fn publishers(broker: &Broker) -> BTreeSet<(String, String)> {
    let log = broker.log();
    let received = log.lines().filter_map(|line| line.split_once("Received PUBLISH from pool"));
    received
        .map(|(_, rest)| {
            let connection = rest.split_once(' ').unwrap().0.to_owned();
            (rest.split('\'').nth(1).unwrap().to_owned(), connection)
        })
        .collect()
}

#[test]
fn what_is_said_to_a_device_goes_by_one_connection_in_order_and_all_connections_are_used() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let broker = Broker::start(Kind::Mosquitto, &names());
    on_runtime(async {
        let running = Running::new(&pool(&broker, 3)).await;
        let devices = connect_all(broker.port);
        for number in 0..MESSAGES {
            for (name, _) in &devices {
                running.say(name, number);
            }
        }
        running.stop().await;
        for (name, device) in &devices {
            assert_eq!(hear_all(device, MESSAGES), (0..MESSAGES).collect::<Vec<_>>(), "{name}");
        }
    });
    let publishers = publishers(&broker);
    assert_eq!(publishers.len(), DEVICES, "one connection for each topic: {publishers:?}");
    let used: BTreeSet<_> = publishers.into_iter().map(|(_, connection)| connection).collect();
    assert_eq!(used, BTreeSet::from([String::new(), "-2".to_owned(), "-3".to_owned()]));
}

/// Ends a connection of the server's as brokers do that hear of another by the same client ID.
fn take_over(port: u16, client_id: &str) {
    let mut options = MqttOptions::new(client_id, ("127.0.0.1", port));
    options.set_credentials(SERVER, PASSWORD);
    let (_client, mut connection) = Mqtt::builder(options).capacity(1).build();
    let let_in = connection.iter().any(|event| matches!(event.unwrap(), Event::Incoming(Packet::ConnAck(_))));
    assert!(let_in, "{client_id}");
}

#[test]
fn a_connection_that_is_lost_comes_back_and_nothing_is_lost_or_out_of_order() {
    const LOSSES: u64 = 4;
    const AT_ONCE: u64 = 60;
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let broker = Broker::start(Kind::Mosquitto, &names());
    on_runtime(async {
        let running = Running::new(&pool(&broker, 2)).await;
        let devices = connect_all(broker.port);
        let port = broker.port;
        for loss in 0..LOSSES {
            for number in loss * AT_ONCE..(loss + 1) * AT_ONCE {
                for (name, _) in &devices {
                    running.say(name, number);
                }
            }
            // More is on its way than can be acknowledged by then.
            tokio::task::spawn_blocking(move || take_over(port, "pool-2")).await.unwrap();
            await_up(&running.client).await;
        }
        let all = LOSSES * AT_ONCE;
        for (name, device) in &devices {
            assert_eq!(hear_all(device, all), (0..all).collect::<Vec<_>>(), "{name}");
        }
        await_up(&running.client).await;
        running.stop().await;
    });
    let log = broker.log();
    assert!(log.matches(" as pool-2 (").count() as u64 > LOSSES + 1, "it was lost and came back");
    assert_eq!(log.matches(" as pool (").count(), 1, "the other was not touched");
}

#[test]
fn no_connection_says_more_in_a_second_than_was_allowed_and_the_rest_waits() {
    const PER_SECOND: u32 = 10;
    const ALL: u64 = 25;
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let broker = Broker::start(Kind::Mosquitto, &names());
    on_runtime(async {
        let config = ExternalConfig { publishes_per_second: Some(PER_SECOND), ..pool(&broker, 2) };
        let running = Running::new(&config).await;
        let device = Client::connect(broker.port, "sensor-1", &["state/sensor-1/update/delta"]);
        let began = Instant::now();
        for number in 0..ALL {
            running.say("sensor-1", number);
        }
        assert_eq!(hear_all(&device, ALL), (0..ALL).collect::<Vec<_>>());
        assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
        running.stop().await;
    });
}

#[test]
fn where_the_broker_shares_devices_are_heard_on_all_connections_and_each_request_once() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let broker = Broker::start(Kind::Mosquitto, &names());
    on_runtime(async {
        let config = ExternalConfig { shared: Sharing::Required, ..pool(&broker, 3) };
        let running = Running::new(&config).await;
        let device = Client::connect(broker.port, "sensor-1", &["state/sensor-1/get/accepted"]);
        for number in 0..MESSAGES {
            device.say("state/sensor-1/get", &json!({ "number": number }).to_string());
        }
        let mut heard = hear_all(&device, MESSAGES);
        heard.sort_unstable();
        assert_eq!(heard, (0..MESSAGES).collect::<Vec<_>>());
        assert_eq!(running.counting.taken() as u64, MESSAGES, "each once");
        running.stop().await;
    });
    let log = broker.log();
    for connection in ["pool", "pool-2", "pool-3"] {
        let sent = format!("Sending PUBLISH to {connection} (d0, q1, r0, m");
        assert!(log.lines().any(|line| line.contains(&sent) && line.contains("/get'")), "{connection}");
    }
}
