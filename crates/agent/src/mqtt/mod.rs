//! The check-in over MQTT 3.1.1: a connection that stays open, on which the same words are said and answered.
//!
//! [`mod@line`] holds the connection on a thread of its own and knows of topics, requests and hints; [`replica`] and [`jobs`]
//! say a check-in's words in the two contracts. What the server pushes is only ever a hint: the agent then asks, so that
//! a message that was lost, doubled or late changes nothing.
//!
//! Deliberately absent: sessions that outlive a connection. Whatever was missed, the next question brings.

mod jobs;
pub(crate) mod line;
mod replica;

use crate::agent::Input;
use crate::config::{Config, Credential, MqttFlow};
use crate::http::ClientError;
use crate::mqtt::jobs::Jobs;
use crate::mqtt::line::{Line, LineError, LineSettings};
use crate::mqtt::replica::Replica;
use crate::transport::{CheckInError, Opened, Transport};
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use updraft_wire::broker::Address;
use updraft_wire::{CheckIn, CheckInAnswer};

/// When to ask again while there is nothing to do, in seconds. The server hints when there is; asking is for the hint
/// that got lost in the server.
const IDLE_EVERY_S: u64 = 60 * 60;
/// When to speak again while an update is in work, in seconds: how fresh its progress is.
const BUSY_EVERY_S: u64 = 10;
/// Longest part of a refusal that is repeated in the log, in characters.
const REFUSAL_CHARS_MAX: usize = 200;

/// What is said over the line.
enum Flow {
    Replica(Replica),
    Jobs(Jobs),
}

/// Checks in over MQTT.
struct Mqtt {
    line: Line,
    flow: Flow,
}

/// Begins to connect.
///
/// # Errors
/// [`ClientError`] if the address, the certificate or the key is of no use.
pub(crate) fn open(
    config: &Config,
    flow: MqttFlow,
    credential: &Credential,
    keep_alive: Duration,
    inputs: &SyncSender<Input>,
) -> Result<Opened, ClientError> {
    let address = address(&config.server)?;
    let is_plain = address.is_plain;
    let (flow, topics) = match flow {
        MqttFlow::Replica => (Flow::Replica(Replica::new(&config.id)), replica::topics(&config.id)),
        MqttFlow::Jobs => (Flow::Jobs(Jobs::new(&config.id)), jobs::topics(&config.id)),
    };
    let settings = LineSettings {
        address,
        id: config.id.clone(),
        credential: credential.clone(),
        ca: config.ca.clone(),
        keep_alive,
        topics,
        answer_time: config.silence_time,
    };
    let inputs = inputs.clone();
    // A full queue means that the agent is awake, and looks at what was hinted soon.
    let line = Line::open(settings, move || drop(inputs.try_send(Input::Hint)))?;
    Ok((Box::new(Mqtt { line, flow }), is_plain))
}

/// Where the server is, from its URL.
///
/// # Errors
/// [`ClientError::Address`].
pub(crate) fn address(url: &str) -> Result<Address, ClientError> {
    Address::parse(url).ok_or_else(|| ClientError::Address { url: url.to_owned() })
}

impl Transport for Mqtt {
    fn check_in(&mut self, words: &CheckIn) -> Result<CheckInAnswer, CheckInError> {
        let connection = self.line.await_connection()?;
        match &mut self.flow {
            Flow::Replica(replica) => replica.check_in(&self.line, connection, words),
            Flow::Jobs(jobs) => jobs.check_in(&self.line, connection, words),
        }
    }

    fn take_hint(&mut self) -> bool {
        self.line.take_hint()
    }
}

impl From<LineError> for CheckInError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Offline(detail) => Self::Offline(detail),
            LineError::Silent(time) => Self::Silent(time),
            LineError::TooLong(bytes) => {
                Self::NotUnderstood(format!("a message of {bytes} bytes is too long to send"))
            }
        }
    }
}

/// A refusal, by the HTTP status that means the same.
fn refusal(status: u16, message: &str) -> CheckInError {
    if status == 429 || status >= 500 {
        return CheckInError::Unable { status, retry_after: None };
    }
    let text =
        message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REFUSAL_CHARS_MAX).collect();
    CheckInError::Refused { status, text }
}

fn not_understood(error: serde_json::Error) -> CheckInError {
    CheckInError::NotUnderstood(error.to_string())
}

/// The answer that the replica's and the jobs' replies make together.
fn answer(
    words: &CheckIn,
    assignment: Option<updraft_wire::Assignment>,
    noted: Option<updraft_wire::JobId>,
) -> CheckInAnswer {
    let is_busy = assignment.is_some() || (words.update.is_some() && noted.is_none());
    let next_check_in_s = if is_busy { BUSY_EVERY_S } else { IDLE_EVERY_S };
    CheckInAnswer { next_check_in_s, assignment, noted }
}
