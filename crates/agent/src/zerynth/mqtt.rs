//! The jobs of a device over MQTT: each question waits for its answer, for a bounded time.

use crate::config::{Credential, KEEP_ALIVE};
use crate::http::ClientError;
use crate::mqtt;
use crate::mqtt::line::{Ask, Line, LineError, LineSettings, Topics};
use crate::zerynth::{Job, Jobs, JobsError, Pending};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::time::Duration;
use updraft_wire::jobs::{
    DescribeRequest, Details, ExecutionReply, GetReply, GetRequest, Rejected, RejectedCode, Status, Topic,
    UpdateReply, UpdateRequest,
};
use updraft_wire::replica::Verdict;

/// Whose jobs, and where.
#[derive(Debug, Clone)]
pub struct MqttJobsSettings {
    /// `mqtts://host[:port]`, or `mqtt://` in a lab.
    pub server: String,
    /// The device's ID.
    pub id: String,
    /// What proves that it is this device.
    pub credential: Credential,
    /// Certificates to trust; those of the public web without.
    pub ca: Option<PathBuf>,
    /// Longest wait for an answer.
    pub answer_time: Duration,
}

/// The jobs of a device over MQTT.
pub struct MqttJobs {
    settings: LineSettings,
    thing: String,
    line: Option<Line>,
}

impl MqttJobs {
    /// Begins to connect.
    ///
    /// # Errors
    /// [`ClientError`] if the address, the certificate or the key is of no use.
    pub fn open(settings: MqttJobsSettings) -> Result<Self, ClientError> {
        let thing = settings.id;
        let topics = Topics {
            filters: vec![
                Topic::Notify.name(&thing),
                Topic::Get.name(&thing) + "/+",
                Topic::Describe("+").name(&thing) + "/+",
                Topic::Update("+").name(&thing) + "/+",
            ],
            hints: vec![Topic::Notify.name(&thing)],
        };
        let settings = LineSettings {
            address: mqtt::address(&settings.server)?,
            id: thing.clone(),
            credential: settings.credential,
            ca: settings.ca,
            keep_alive: KEEP_ALIVE,
            topics,
            answer_time: settings.answer_time,
        };
        let line = Some(Line::open(settings.clone(), || ())?);
        Ok(Self { settings, thing, line })
    }

    fn line(&mut self) -> Result<&Line, JobsError> {
        if self.line.is_none() {
            let line = Line::open(self.settings.clone(), || ());
            self.line = Some(line.map_err(|error| JobsError::Unanswered(error.to_string()))?);
        }
        self.line.as_ref().ok_or_else(|| JobsError::Unanswered("no connection".into()))
    }

    fn ask<B: Serialize, T: DeserializeOwned>(
        &mut self,
        topic: Topic<'_>,
        reply: impl Fn(Verdict) -> String,
        body: impl FnOnce(String) -> B,
    ) -> Result<Result<T, Rejected>, JobsError> {
        let topic = topic.name(&self.thing);
        let line = self.line()?;
        let connection = line.await_connection()?;
        let token = line.token();
        let not_understood = |error: serde_json::Error| JobsError::NotUnderstood(error.to_string());
        let payload = serde_json::to_vec(&body(token.clone())).map_err(not_understood)?;
        let (accepted, rejected) = (reply(Verdict::Accepted), reply(Verdict::Rejected));
        let reply = line.ask(connection, Ask { topic, payload, token, accepted, rejected })?;
        match reply.verdict {
            Verdict::Accepted => serde_json::from_slice(&reply.payload).map(Ok).map_err(not_understood),
            Verdict::Rejected => serde_json::from_slice(&reply.payload).map(Err).map_err(not_understood),
        }
    }
}

impl From<LineError> for JobsError {
    fn from(error: LineError) -> Self {
        Self::Unanswered(error.to_string())
    }
}

fn refused(rejected: &Rejected) -> JobsError {
    JobsError::Refused(rejected.message.clone())
}

impl Jobs for MqttJobs {
    fn changed(&mut self) -> bool {
        // A connection that was given up has missed what there was to hear.
        self.line.as_ref().is_none_or(Line::take_hint)
    }

    fn list(&mut self) -> Result<Pending, JobsError> {
        let thing = self.thing.clone();
        let reply = |verdict| Topic::GetReply(verdict).name(&thing);
        let body = |token| GetRequest { client_token: Some(token) };
        let list: GetReply = self.ask(Topic::Get, reply, body)?.map_err(|rejected| refused(&rejected))?;
        let ids = |jobs: Vec<updraft_wire::jobs::Summary>| jobs.into_iter().map(|job| job.job_id).collect();
        Ok(Pending { in_progress: ids(list.in_progress_jobs), queued: ids(list.queued_jobs) })
    }

    fn describe(&mut self, id: &str) -> Result<Option<Job>, JobsError> {
        let thing = self.thing.clone();
        let reply = |verdict| Topic::DescribeReply(id, verdict).name(&thing);
        let body = |token| DescribeRequest { client_token: Some(token), ..DescribeRequest::default() };
        match self.ask::<_, ExecutionReply>(Topic::Describe(id), reply, body)? {
            Ok(reply) => Ok(reply.execution.filter(|held| !held.status.is_terminal()).map(|held| Job {
                id: held.job_id,
                status: held.status,
                version: held.version_number,
                document: held.job_document.unwrap_or_default(),
            })),
            Err(rejected)
                if matches!(
                    rejected.code,
                    RejectedCode::ResourceNotFound | RejectedCode::TerminalStateReached
                ) =>
            {
                Ok(None)
            }
            Err(rejected) => Err(refused(&rejected)),
        }
    }

    fn update(&mut self, job: &mut Job, status: Status, details: Details) -> Result<(), JobsError> {
        let thing = self.thing.clone();
        let (id, version) = (job.id.clone(), job.version);
        let reply = |verdict| Topic::UpdateReply(&id, verdict).name(&thing);
        let body = |token| UpdateRequest {
            expected_version: Some(version),
            include_job_execution_state: true,
            client_token: Some(token),
            ..UpdateRequest::new(status, Some(details))
        };
        let updated: UpdateReply =
            self.ask(Topic::Update(&id), reply, body)?.map_err(|rejected| refused(&rejected))?;
        job.version = updated.execution_state.map_or(version + 1, |state| state.version_number);
        job.status = status;
        Ok(())
    }

    fn disconnect(&mut self) {
        self.line = None;
    }
}
