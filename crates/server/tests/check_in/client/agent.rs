//! The Ioto agent's habits: properties with their JSON types, one connection kept for its API, a period between
//! check-ins, and never a report.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Apply;
use crate::stage::Stage;
use crate::wire::{Answer, Wire, get, post};

/// Seconds between two check-ins, whatever came of the first.
pub(crate) const PERIOD_S: u64 = 24 * 3600;

/// A device with the agent.
pub(crate) struct Agent<'a> {
    pub(crate) version: String,
    stage: &'a Stage,
    api: Wire,
    token: String,
    properties: Map<String, Value>,
    last_update_s: Option<u64>,
}

/// What the agent's update service did on a turn of its timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The period is not over: no request.
    TooEarly,
    /// The server had nothing.
    NoUpdate,
    /// The image was verified and handed to the script, which wrote the new version or did not.
    Applied,
    /// The image was not what was announced.
    BadChecksum,
    /// The server answered something else than 200.
    Refused(u16),
}

impl<'a> Agent<'a> {
    /// An agent with the properties of its `device.json5`, already read.
    pub(crate) fn new(stage: &'a Stage, token: String, properties: Value, version: &str) -> Self {
        let Value::Object(properties) = properties else { panic!("device.json5 holds an object") };
        Self { version: version.into(), stage, api: stage.tls(), token, properties, last_update_s: None }
    }

    /// The timer went off, at this time of the device.
    pub(crate) fn turn(&mut self, now_s: u64, apply: Apply) -> Turn {
        if self.last_update_s.is_some_and(|last| now_s < last + PERIOD_S) {
            return Turn::TooEarly;
        }
        let turn = self.check_in(apply);
        // Written in every case: what went wrong is not tried again before the period is over.
        self.last_update_s = Some(now_s);
        turn
    }

    fn check_in(&mut self, apply: Apply) -> Turn {
        let mut body = self.properties.clone();
        body.insert("version".into(), self.version.clone().into());
        body.insert("iotoVersion".into(), "3.0.0".into());
        let headers = format!("Authorization: bearer {}\r\n", self.token);
        let answer = self.api.say(&post("/tok/provision/update", &headers, Value::Object(body).to_string()));
        if answer.status != 200 {
            assert_keeps_credentials(&answer);
            return Turn::Refused(answer.status);
        }
        let offer = answer.json();
        let Some(url) = offer["url"].as_str() else { return Turn::NoUpdate };
        let image = self.stage.tls().say(&get(url, ""));
        if image.status != 200 {
            return Turn::Refused(image.status);
        }
        if hex::encode(Sha256::digest(&image.body)) != offer["checksum"].as_str().unwrap_or_default() {
            return Turn::BadChecksum;
        }
        if apply == Apply::Succeeds {
            self.version = offer["version"].as_str().expect("an offer has a version").into();
        }
        Turn::Applied
    }
}

/// A refusal with one of these texts for a body makes the agent delete its token and its certificates.
pub(crate) fn assert_keeps_credentials(answer: &Answer) {
    let body = answer.text().trim();
    assert!(body != "Authentication failed" && body != "Cannot find device", "{answer:?}");
}
