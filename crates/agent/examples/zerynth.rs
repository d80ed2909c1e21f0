//! A device that speaks as Zerynth's AWS FOTA library does on the wire, for tests of servers: MQTT 3.1.1, clean session,
//! QoS 0 throughout, no `rejected` topic, the literal filter `…/update/` (which matches nothing), no `clientToken` on
//! updates, and waits without end for replies. Only `--time` ends them: then a real device would hang.
//!
//! The slots are files in a folder, and a restart is a new connection in the same process. `record.json` is the virtual
//! machine's record: which slot runs, which was confirmed last, which is to be tried.
//!
//! ```text
//! zerynth --host 127.0.0.1 --port 1883 --id device-1 --token SECRET --slots DIR [--time 30] [--sick]
//! ```
//!
//! Prints a line per step, and ends with status 0 once a job was ended by the device (`SUCCEEDED` or `FAILED`, which is
//! the last line), 3 if it would hang, 1 for anything else. With `--sick` new firmware never confirms itself.
#![expect(clippy::unwrap_used, reason = "a test device stops where it cannot go on")]

use clap::Parser;
use md5::{Digest, Md5};
use rumqttc::mqttbytes::v4::Packet;
use rumqttc::{Client, Connection, Event, MqttOptions, PublishOptions, QoS, TlsConfiguration, Transport};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The token of all requests that carry one: the digits of a controller's number.
const CLIENT_TOKEN: &str = "3140583421";
/// Longest wait for a file server's silence.
const SILENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Parser)]
struct Options {
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    id: String,
    #[arg(long)]
    token: Option<String>,
    /// Certificates to trust, as PEM: then it connects by TLS
    #[arg(long)]
    ca: Option<PathBuf>,
    #[arg(long)]
    slots: PathBuf,
    /// Seconds after which a wait counts as endless
    #[arg(long, default_value_t = 30)]
    time: u64,
    #[arg(long)]
    sick: bool,
}

/// What outlives a restart.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Record {
    current: u64,
    last_ok: u64,
    attempt: Option<u64>,
}

struct Device {
    options: Options,
    record: Record,
    give_up: Instant,
}

struct Session {
    client: Client,
    connection: Connection,
    prefix: String,
    give_up: Instant,
    has_changed: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let path = options.slots.join("record.json");
    let record =
        std::fs::read(&path).map_or(Record::default(), |json| serde_json::from_slice(&json).unwrap());
    let give_up = Instant::now() + Duration::from_secs(options.time);
    let mut device = Device { options, record, give_up };
    loop {
        device.start();
        match device.run() {
            Some(status) => {
                println!("ended {status}");
                return ExitCode::SUCCESS;
            }
            None => println!("reset"),
        }
    }
}

impl Device {
    /// What the virtual machine does at a start: try once, else the slot confirmed last.
    fn start(&mut self) {
        self.record.current = self.record.attempt.take().unwrap_or(self.record.last_ok);
        self.save();
        println!("start slot {}", self.record.current);
    }

    fn save(&self) {
        std::fs::create_dir_all(&self.options.slots).unwrap();
        let json = serde_json::to_vec(&self.record).unwrap();
        std::fs::write(self.options.slots.join("record.json"), json).unwrap();
    }

    /// One start, to a job's end or to the restart.
    fn run(&mut self) -> Option<&'static str> {
        if self.options.sick && self.record.current != self.record.last_ok {
            return None;
        }
        let mut session = Session::connect(&self.options, self.give_up);
        let mut force = true;
        loop {
            if !force && !std::mem::take(&mut session.has_changed) {
                session.next("a notification");
                continue;
            }
            force = false;
            let list = session.ask("get", &json!({ "clientToken": CLIENT_TOKEN }));
            for id in ids(&list["inProgressJobs"]) {
                let job = session.describe(&id);
                if job["jobDocument"]["operation"] == "fota" {
                    return Some(self.end(&mut session, &id, &job));
                }
            }
            for id in ids(&list["queuedJobs"]) {
                let job = session.describe(&id);
                let document = &job["jobDocument"];
                if document["operation"] != "fota" {
                    continue;
                }
                if document["bc_idx"].as_u64().unwrap() == self.record.current {
                    session.update(&id, &job, "FAILED", &json!({"reason": "bad fota data"}));
                    continue;
                }
                assert!(
                    session.update(&id, &job, "IN_PROGRESS", &json!({})),
                    "the server did not take the start"
                );
                if self.download(document) {
                    self.record.attempt = document["bc_idx"].as_u64();
                    self.save();
                }
                return None;
            }
        }
    }

    fn end(&mut self, session: &mut Session, id: &str, job: &Value) -> &'static str {
        let slot = job["jobDocument"]["bc_idx"].as_u64().unwrap();
        if slot == self.record.current && slot != self.record.last_ok {
            self.record.last_ok = slot;
            self.save();
            assert!(session.update(id, job, "SUCCEEDED", &json!({})), "the server did not take the success");
            "SUCCEEDED"
        } else {
            assert!(session.update(id, job, "FAILED", &json!({"reason": "invalid fota"})));
            "FAILED"
        }
    }

    fn download(&self, document: &Value) -> bool {
        let client = updraft_agent::http::client(self.options.ca.as_deref(), SILENCE).unwrap();
        let mut image = Vec::new();
        let mut response = client.get(document["bc_url"].as_str().unwrap()).call().unwrap();
        response.body_mut().as_reader().read_to_end(&mut image).unwrap();
        let found = hex::encode(Md5::digest(&image));
        println!("downloaded {} bytes, MD5 {found}", image.len());
        std::fs::write(self.options.slots.join(format!("bc{}.bin", document["bc_idx"])), &image).unwrap();
        response.status() == 200
            && document["bc_size"].as_u64() == Some(image.len() as u64)
            && document["bc_crc"].as_str() == Some(found.as_str())
    }
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|job| job["jobId"].as_str().unwrap().to_owned()).collect()
}

impl Session {
    fn connect(options: &Options, give_up: Instant) -> Self {
        let mut mqtt = MqttOptions::new(options.id.clone(), (options.host.clone(), options.port));
        mqtt.set_keep_alive(60).set_clean_session(true).set_max_packet_size(256 * 1024, 64 * 1024);
        if let Some(token) = &options.token {
            mqtt.set_credentials(options.id.clone(), token.clone());
        }
        if let Some(ca) = &options.ca {
            let ca = std::fs::read(ca).unwrap();
            mqtt.set_transport(Transport::Tls(TlsConfiguration::Simple {
                ca,
                alpn: None,
                client_auth: None,
            }));
        }
        let (client, connection) = Client::builder(mqtt).capacity(10).build();
        let prefix = format!("$aws/things/{}/jobs", options.id);
        let mut session = Self { client, connection, prefix, give_up, has_changed: false };
        session.subscribe("notify");
        session
    }

    /// The next message, by its topic below the prefix.
    fn next(&mut self, awaited: &str) -> (String, Value) {
        loop {
            let left = self.give_up.saturating_duration_since(Instant::now());
            let event = match self.connection.recv_timeout(left) {
                Ok(event) => event.unwrap(),
                Err(_) => {
                    println!("would wait without end for {awaited}");
                    std::process::exit(3);
                }
            };
            let Event::Incoming(Packet::Publish(message)) = event else { continue };
            let topic = String::from_utf8(message.topic.to_vec()).unwrap();
            let below = topic.strip_prefix(&self.prefix).unwrap().trim_start_matches('/').to_owned();
            println!("heard {below}");
            if below == "notify" {
                self.has_changed = true;
            }
            return (below, serde_json::from_slice(&message.payload).unwrap_or_default());
        }
    }

    fn subscribe(&mut self, below: &str) {
        self.client.subscribe(format!("{}/{below}", self.prefix), QoS::AtMostOnce).unwrap();
        while !matches!(self.connection.recv().unwrap().unwrap(), Event::Incoming(Packet::SubAck(_))) {}
    }

    fn publish(&self, below: &str, body: &Value) {
        let topic = format!("{}/{below}", self.prefix);
        self.client.publish(topic, body.to_string(), PublishOptions::at_most_once()).unwrap();
    }

    fn ask(&mut self, below: &str, body: &Value) -> Value {
        let accepted = format!("{below}/accepted");
        self.subscribe(&accepted);
        self.publish(below, body);
        self.await_reply(&[&accepted])
    }

    fn await_reply(&mut self, topics: &[&str]) -> Value {
        loop {
            let (topic, body) = self.next(topics[0]);
            if topics.contains(&topic.as_str()) {
                return body;
            }
        }
    }

    fn describe(&mut self, id: &str) -> Value {
        self.ask(&format!("{id}/get"), &json!({ "clientToken": CLIENT_TOKEN }))["execution"].clone()
    }

    /// Success is the status echoed. The filter is the original's, and matches nothing.
    fn update(&mut self, id: &str, job: &Value, status: &str, details: &Value) -> bool {
        self.subscribe(&format!("{id}/update/"));
        let body = json!({
            "status": status,
            "statusDetails": details,
            "expectedVersion": job["versionNumber"],
            "includeJobExecutionState": true,
        });
        self.publish(&format!("{id}/update"), &body);
        let (accepted, rejected) = (format!("{id}/update/accepted"), format!("{id}/update/rejected"));
        let reply = self.await_reply(&[&accepted, &rejected]);
        // A rejection without a state raises in the callback: the wait goes on without end.
        let Some(state) = reply.get("executionState") else {
            return self.await_reply(&["a state"]).is_null();
        };
        state["status"] == status
    }
}
