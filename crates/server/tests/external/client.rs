//! A device or an application at a broker: connects again when it must, and asks until it is answered, as devices do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rumqttc::mqttbytes::v4::Packet;
use rumqttc::{Client as Mqtt, Event, MqttOptions, PublishOptions, QoS, SubscribeFilter};
use serde_json::{Value, json};

use crate::broker::PASSWORD;

/// How long is waited for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long an answer may take before a device asks again.
const ANSWER_TIME: Duration = Duration::from_secs(3);

enum Heard {
    /// Connected and subscribed.
    Up,
    Message(String, Vec<u8>),
}

pub(crate) struct Client {
    mqtt: Mqtt,
    heard: Receiver<Heard>,
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Client {
    /// Connects by a name, which is its user's as well, and subscribes.
    pub(crate) fn connect(port: u16, name: &str, filters: &[&str]) -> Self {
        let mut options = MqttOptions::new(name, ("127.0.0.1", port));
        options.set_credentials(name, PASSWORD);
        options.set_keep_alive(5);
        let (mqtt, mut connection) = Mqtt::builder(options).capacity(64).build();
        let (sender, heard) = channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let (ended, again) = (is_over.clone(), mqtt.clone());
        let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let thread = thread::spawn(move || {
            for event in connection.iter() {
                if ended.load(Ordering::Acquire) {
                    return;
                }
                let heard = match event {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        let filters = filters.iter();
                        let filters = filters.map(|one| SubscribeFilter::new(one.clone(), QoS::AtLeastOnce));
                        let _ = again.try_subscribe_many(filters);
                        continue;
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => Heard::Up,
                    Ok(Event::Incoming(Packet::Publish(message))) => Heard::Message(
                        String::from_utf8(message.topic.to_vec()).unwrap(),
                        message.payload.to_vec(),
                    ),
                    Ok(_) => continue,
                    Err(_) => {
                        thread::sleep(Duration::from_millis(100));
                        continue;
                    }
                };
                if sender.send(heard).is_err() {
                    return;
                }
            }
        });
        let client = Self { mqtt, heard, is_over, thread: Some(thread) };
        assert!(matches!(client.heard.recv_timeout(PATIENCE), Ok(Heard::Up)), "{name} is let in");
        client
    }

    pub(crate) fn say(&self, topic: &str, payload: &str) {
        // While the broker is away the queue may be full: whoever has no answer asks again.
        let _ = self.mqtt.try_publish(topic, payload.to_owned(), PublishOptions::at_least_once());
    }

    /// The next message for which `is_it` holds; others are passed over.
    pub(crate) fn hear_within(
        &self,
        time: Duration,
        mut is_it: impl FnMut(&str, &Value) -> bool,
    ) -> Option<(String, Value)> {
        let end = Instant::now() + time;
        loop {
            match self.heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Heard::Message(topic, payload)) => {
                    let body = serde_json::from_slice(&payload).unwrap_or(Value::Null);
                    if is_it(&topic, &body) {
                        return Some((topic, body));
                    }
                }
                Ok(Heard::Up) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// The next message on a topic.
    pub(crate) fn hear(&self, topic: &str) -> Value {
        let heard = self.hear_within(PATIENCE, |on, _| on == topic);
        heard.unwrap_or_else(|| panic!("nothing came on {topic}")).1
    }

    /// Asks until it is answered; the answer's topic and body.
    pub(crate) fn ask(&self, topic: &str, body: &Value) -> (String, Value) {
        let end = Instant::now() + PATIENCE;
        let mut tries = 0;
        while Instant::now() < end {
            tries += 1;
            let mut body = body.clone();
            let token = format!("ask-{tries}");
            body["clientToken"] = json!(token);
            self.say(topic, &body.to_string());
            let replies = [format!("{topic}/accepted"), format!("{topic}/rejected")];
            let is_answer = |on: &str, answer: &Value| {
                replies.iter().any(|reply| reply == on) && answer["clientToken"] == token.as_str()
            };
            if let Some(answer) = self.hear_within(ANSWER_TIME, is_answer) {
                return answer;
            }
        }
        panic!("no answer to {topic} after {tries} tries");
    }

    /// As [`Client::ask`], and it must be accepted.
    pub(crate) fn must(&self, topic: &str, body: &Value) -> Value {
        let (on, answer) = self.ask(topic, body);
        assert!(on.ends_with("/accepted"), "{on}: {answer}");
        answer
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        let _ = self.mqtt.try_disconnect_now();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
