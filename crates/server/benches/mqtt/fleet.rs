//! The devices, in a database as they would be after a year, and what they say.

use crate::Outcome;
use std::path::Path;
use updraft_core::fleet::{Fleet, NewTask};
use updraft_core::rollout::Plan;
use updraft_core::task::{Membership, Task};
use updraft_core::time::Timestamp;
use updraft_server::protocols::http::check_in;
use updraft_server::store::Database;

pub(crate) const PRODUCT: &str = "thermostat";
/// The task that the devices of a run with jobs work on.
pub(crate) const TASK: &str = "calibrate";
/// What a message's payload measures.
pub(crate) const PAYLOAD_BYTES: usize = 300;
/// Devices written per transaction.
const BATCH: u32 = 2_000;

/// A device's ID.
pub(crate) fn id(number: u32) -> String {
    format!("device-{number:07}")
}

/// What a connected device listens to, two filters as devices of the pattern and of Jobs have.
pub(crate) fn filters(number: u32) -> Vec<String> {
    let id = id(number);
    vec![format!("state/{id}/update/delta"), format!("$aws/things/{id}/jobs/notify-next")]
}

/// Writes devices into a data folder; the first `with_task` of them have a job waiting.
pub(crate) fn seed(folder: &Path, count: u32, with_task: u32) -> Outcome<()> {
    let database = Database::open(folder)?;
    let mut fleet = Fleet::open(database.fleet()?)?;
    let now = Timestamp::from_millis(1_700_000_000_000);
    for number in 0..count {
        let body = format!(
            r#"{{"id":"{}","product":"{PRODUCT}","version":"1.0.0","boot":7,"attributes":{{"model":"M-1","site":"site-{}","pro":true}}}}"#,
            id(number),
            number % 4_096
        );
        let said = check_in::native(body.as_bytes())?;
        fleet.report(now, &said.device, &said.report)?;
        if number % BATCH == BATCH - 1 {
            fleet.commit()?;
        }
    }
    fleet.commit()?;
    if with_task > 0 {
        let devices = (0..with_task).map(|number| id(number).parse()).collect::<Result<_, _>>()?;
        let task = Task {
            name: TASK.parse()?,
            description: String::new(),
            document: r#"{"operation":"calibrate"}"#.to_owned(),
            devices,
            groups: [].into(),
            membership: Membership::Snapshot,
            link_life: std::time::Duration::from_secs(3_600),
        };
        let mut plan = Plan::standard(now);
        plan.pace.in_flight_max = 1_000_000;
        fleet.start_task(now, NewTask { id: "rbenchmark".parse()?, task, plan }, "benchmark")?;
        fleet.commit()?;
    }
    Ok(())
}

/// Fills a payload that ends in an open text up to its size, and closes it.
fn padded(mut payload: String, end: &str) -> Vec<u8> {
    while payload.len() + end.len() < PAYLOAD_BYTES {
        payload.push('x');
    }
    payload.push_str(end);
    payload.into_bytes()
}

/// What a device asks, and where, and where the answer comes.
#[derive(Clone, Copy)]
pub(crate) struct Question {
    pub(crate) name: &'static str,
    topic: fn(&str) -> String,
    answer: fn(&str) -> String,
    payload: fn(u64) -> Vec<u8>,
}

impl Question {
    pub(crate) fn topic(&self, number: u32) -> String {
        (self.topic)(&id(number))
    }

    pub(crate) fn answer(&self, number: u32) -> String {
        (self.answer)(&id(number))
    }

    pub(crate) fn payload(&self, turn: u64) -> Vec<u8> {
        (self.payload)(turn)
    }
}

/// To a backend, which answers with as many bytes.
pub(crate) const TO_BACKEND: Question = Question {
    name: "a backend behind it",
    topic: |id| format!("up/{id}"),
    answer: |id| format!("down/{id}"),
    payload: |turn| padded(format!(r#"{{"turn":{turn},"pad":""#), r#""}"#),
};

/// Which jobs are there? None; nothing is stored.
pub(crate) const JOBS: Question = Question {
    name: "`jobs/get`, nothing pending, nothing stored",
    topic: |id| format!("$aws/things/{id}/jobs/get"),
    answer: |id| format!("$aws/things/{id}/jobs/get/accepted"),
    payload: |turn| padded(format!(r#"{{"clientToken":"turn-{turn}","pad":""#), r#""}"#),
};

/// What is my state? What an update of 300 bytes left; nothing is stored.
pub(crate) const STATE: Question = Question {
    name: "`state/…/get`, nothing stored",
    topic: |id| format!("state/{id}/get"),
    answer: |id| format!("state/{id}/get/accepted"),
    payload: |turn| padded(format!(r#"{{"clientToken":"turn-{turn}","pad":""#), r#""}"#),
};

/// This is my state: the shadow is stored, and what it says of the device.
pub(crate) const SHADOW: Question = Question {
    name: "shadow update, stored",
    topic: |id| format!("$aws/things/{id}/shadow/update"),
    answer: |id| format!("$aws/things/{id}/shadow/update/accepted"),
    payload: |turn| padded(format!(r#"{{"state":{{"reported":{{"turn":{turn},"pad":""#), r#""}}}"#),
};

/// What is next? Begins the job.
pub(crate) const START: Question = Question {
    name: "`start-next`, stored",
    topic: |id| format!("$aws/things/{id}/jobs/start-next"),
    answer: |id| format!("$aws/things/{id}/jobs/start-next/accepted"),
    payload: |turn| padded(format!(r#"{{"clientToken":"turn-{turn}","pad":""#), r#""}"#),
};

/// So far I am: the execution is stored.
pub(crate) const JOB: Question = Question {
    name: "job update, stored",
    topic: |id| format!("$aws/things/{id}/jobs/{TASK}/update"),
    answer: |id| format!("$aws/things/{id}/jobs/{TASK}/update/accepted"),
    payload: |turn| {
        padded(format!(r#"{{"status":"IN_PROGRESS","statusDetails":{{"turn":"{turn}","pad":""#), r#""}}"#)
    },
};
