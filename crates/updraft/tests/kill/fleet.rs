//! Devices as small as they get: each takes what it is offered, step by step, and remembers what it was promised.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::Line;

pub(crate) const PRODUCT: &str = "thermostat";
/// What a device says of a job, in this order. Each is on record once it was answered.
pub(crate) const WORDS: [&str; 3] = ["downloading", "rebooting", "succeeded"];

/// What all devices share: where the server is, and how it lets them in.
pub(crate) struct World {
    pub(crate) server: RwLock<SocketAddr>,
    pub(crate) token: String,
    pub(crate) is_over: AtomicBool,
}

/// A device, over its whole life.
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) version: String,
    boot: u64,
    /// The job it is at, the version that brings, and how many of [`WORDS`] the server has taken in.
    job: Option<(String, String, usize)>,
    /// How many of [`WORDS`] were answered, by job.
    pub(crate) promised: BTreeMap<String, usize>,
    line: Option<Line>,
}

impl Device {
    pub(crate) fn new(number: usize) -> Self {
        let (version, promised) = ("1.0.0".to_owned(), BTreeMap::new());
        Self { id: format!("d{number:03}"), version, boot: 1, job: None, promised, line: None }
    }

    /// Says what is to be said, and acts on the answer if one comes. Whether one came.
    pub(crate) fn step(&mut self, world: &World) -> bool {
        let address = *world.server.read().unwrap();
        let Some(answer) = self.ask(address, &world.token) else {
            self.line = None;
            return false;
        };
        self.act(&answer);
        true
    }

    fn ask(&mut self, address: SocketAddr, token: &str) -> Option<Value> {
        if self.line.is_none() {
            self.line = Line::to(address).ok();
        }
        let body = self.words().to_string();
        let (status, answer) =
            self.line.as_mut()?.ask("POST", "/v1/check-in", token, body.as_bytes()).ok()?;
        if status == 401 {
            // The port went to another server while ours was down.
            return None;
        }
        assert_eq!(status, 200, "{answer}");
        Some(answer)
    }

    fn words(&self) -> Value {
        let mut words =
            json!({ "id": self.id, "product": PRODUCT, "version": self.version, "boot": self.boot });
        if let Some((job, _, said)) = &self.job {
            words["update"] = json!({ "job": job, "state": WORDS[*said] });
            if WORDS[*said] == "succeeded" {
                words["version"] = self.next_version().into();
            }
        }
        words
    }

    fn next_version(&self) -> &str {
        self.job.as_ref().map_or(&self.version, |(_, version, _)| version)
    }

    fn act(&mut self, answer: &Value) {
        if let Some((job, version, said)) = &mut self.job {
            *said += 1;
            self.promised.insert(job.clone(), *said);
            if WORDS.get(*said) == Some(&"succeeded") {
                self.boot += 1;
            }
            if *said == WORDS.len() {
                assert_eq!(answer["noted"], json!(job), "an end is noted");
                self.version = version.clone();
                self.job = None;
            }
        }
        let offered = &answer["assignment"];
        let Some(job) = offered["job"].as_str() else { return };
        match &self.job {
            Some((current, _, _)) => assert_eq!(job, current, "{}: one job at a time", self.id),
            None => {
                assert!(!self.promised.contains_key(job), "{}: {job} was opened twice", self.id);
                let version = offered["manifest"]["version"].as_str().unwrap().to_owned();
                self.promised.insert(job.to_owned(), 0);
                self.job = Some((job.to_owned(), version, 0));
            }
        }
    }
}

/// Lets devices go on until it is over; those who get no answer try again.
pub(crate) fn run(world: &World, devices: &Mutex<Vec<Device>>) {
    let mut devices = devices.lock().unwrap();
    while !world.is_over.load(Ordering::Relaxed) {
        for device in devices.iter_mut() {
            if !device.step(world) {
                std::thread::park_timeout(Duration::from_millis(2));
            }
        }
    }
}
