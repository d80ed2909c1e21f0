//! Two clients of one broker that share the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use updraft_server::listen::shutdown;
use updraft_server::protocols::mqtt::door::{Effects, Handler, Identity, Message, NotTaken, Occasion};
use updraft_server::protocols::mqtt::external::External;
use updraft_server::protocols::mqtt::external::config::{Contract, ExternalConfig, Sharing};

use crate::broker::{Broker, Kind};
use crate::client::{Client, PATIENCE};
use crate::stage::{external, on_runtime};

/// Requests that are shared.
const REQUESTS: usize = 60;
/// How long nothing must come.
const SILENCE: Duration = Duration::from_secs(1);

/// Answers each request, slowly enough that one alone would hold back the others, and counts.
#[derive(Default)]
pub(crate) struct Counting {
    taken: AtomicUsize,
}

impl Counting {
    /// How many it has taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Handler for Counting {
    async fn publish(&self, from: &Identity, topic: &str, payload: Bytes) -> Result<Effects, NotTaken> {
        assert!(matches!(from, Identity::Device { .. }));
        self.taken.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
        let reply = Message { topic: format!("{topic}/accepted").into(), payload };
        Ok(Effects { replies: vec![reply], published: Vec::new() })
    }

    async fn subscribed(&self, _: &Identity, _: &str, _: Occasion) -> Vec<Message> {
        unreachable!("nobody can tell a client of a broker who subscribes")
    }
}

#[test]
fn two_servers_share_the_work_and_each_request_is_answered_once() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let broker = Broker::start(Kind::Mosquitto, &["sensor-1".to_owned()]);
    on_runtime(async {
        let contracts = vec![Contract::Replica];
        let config = ExternalConfig { shared: Sharing::Required, contracts, ..external(&broker) };
        let (trigger, stop) = shutdown::shutdown();
        let mut running = Vec::new();
        let mut counts = Vec::new();
        for _ in 0..2 {
            let client = External::open(&config).await.unwrap();
            assert_eq!(client.is_shared(), Some(true));
            let counting = Arc::new(Counting::default());
            running.push(tokio::spawn(client.clone().run(counting.clone(), stop.clone())));
            await_up(&client).await;
            counts.push(counting);
        }
        let port = broker.port;
        let answers = tokio::task::spawn_blocking(move || {
            let device = Client::connect(port, "sensor-1", &["state/sensor-1/get/accepted"]);
            for number in 0..REQUESTS {
                device.say("state/sensor-1/get", &json!({ "number": number }).to_string());
                std::thread::sleep(Duration::from_millis(2));
            }
            let mut numbers = Vec::new();
            while let Some((_, body)) = device
                .hear_within(if numbers.len() < REQUESTS { PATIENCE } else { SILENCE }, |_, body| {
                    body["number"].is_number()
                })
            {
                numbers.push(body["number"].as_u64().unwrap());
            }
            numbers.sort_unstable();
            numbers
        });
        let expected: Vec<u64> = (0..REQUESTS as u64).collect();
        assert_eq!(answers.await.unwrap(), expected, "each once");
        let taken: Vec<_> = counts.iter().map(|counting| counting.taken()).collect();
        assert!(taken.iter().all(|taken| *taken > 0), "both work: {taken:?}");
        trigger.ask();
        for ended in running {
            ended.await.unwrap();
        }
    });
}

/// Waits until all connections are there.
pub(crate) async fn await_up(client: &External) {
    let up = async {
        while !client.is_up() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, up).await.unwrap();
}
