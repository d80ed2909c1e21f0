//! The check-in by the device state replica: what the device is becomes reported state, what it should do is what
//! differs from it.

use crate::mqtt::line::{Ask, Line, Reply, Topics};
use crate::mqtt::{answer, not_understood, refusal};
use crate::transport::CheckInError;
use serde::de::IgnoredAny;
use updraft_wire::replica::{
    Accepted, DesiredUpdate, GetRequest, Rejected, Reported, Sections, Topic, UpdateRequest, Verdict,
};
use updraft_wire::{Assignment, CheckIn, CheckInAnswer};

/// What to listen to.
pub(super) fn topics(device: &str) -> Topics {
    let filters = [
        Topic::Delta,
        Topic::UpdateReply(Verdict::Accepted),
        Topic::UpdateReply(Verdict::Rejected),
        Topic::GetReply(Verdict::Accepted),
        Topic::GetReply(Verdict::Rejected),
    ];
    Topics {
        filters: filters.map(|topic| topic.name(device)).to_vec(),
        hints: vec![Topic::Delta.name(device)],
    }
}

/// What the server is known to have heard.
pub(super) struct Replica {
    device: String,
    /// The connection on which it was accepted, and what.
    reported: Option<(u64, Reported)>,
}

impl Replica {
    pub(super) fn new(device: &str) -> Self {
        Self { device: device.to_owned(), reported: None }
    }

    /// Says how the device stands, then asks what differs.
    pub(super) fn check_in(
        &mut self,
        line: &Line,
        connection: u64,
        words: &CheckIn,
    ) -> Result<CheckInAnswer, CheckInError> {
        self.report(line, connection, words, words.update.clone())?;
        let ended = words.update.as_ref().filter(|update| update.state.is_settled());
        let noted = ended.map(|update| update.job.clone());
        Ok(answer(words, self.get(line, connection)?, noted))
    }

    /// Reports what the device is, unless the server has heard it on this connection.
    pub(super) fn report(
        &mut self,
        line: &Line,
        connection: u64,
        words: &CheckIn,
        update: Option<updraft_wire::UpdateStatus>,
    ) -> Result<(), CheckInError> {
        let reported = Reported::new(
            words.product.clone(),
            words.version.clone(),
            words.boot,
            words.attributes.clone(),
            update,
        );
        if self.reported.as_ref() == Some(&(connection, reported.clone())) {
            return Ok(());
        }
        let token = line.token();
        let state =
            Sections::<IgnoredState, Reported> { desired: None, reported: Some(reported), delta: None };
        let body = UpdateRequest { state, client_token: Some(token.clone()), version: None };
        let payload = serde_json::to_vec(&body).map_err(not_understood)?;
        accepted(line.ask(connection, self.ask(Topic::Update, token, payload))?)?;
        self.reported = body.state.reported.map(|reported| (connection, reported));
        Ok(())
    }

    fn get(&self, line: &Line, connection: u64) -> Result<Option<Assignment>, CheckInError> {
        let token = line.token();
        let payload =
            serde_json::to_vec(&GetRequest { client_token: Some(token.clone()) }).map_err(not_understood)?;
        let payload = accepted(line.ask(connection, self.ask(Topic::Get, token, payload))?)?;
        let whole: Accepted<Sections<DesiredUpdate, IgnoredAny>> =
            serde_json::from_slice(&payload).map_err(not_understood)?;
        let wanted = whole.state.delta.unwrap_or_default();
        if wanted.software.is_none() && wanted.software_url.is_some() {
            let detail = "a software URL is desired without the manifest that says what it is";
            return Err(CheckInError::NotUnderstood(detail.into()));
        }
        Ok(wanted.software.map(Assignment::from))
    }

    fn ask(&self, topic: Topic, token: String, payload: Vec<u8>) -> Ask {
        let reply = |verdict| match topic {
            Topic::Get | Topic::GetReply(_) => Topic::GetReply(verdict).name(&self.device),
            Topic::Update | Topic::UpdateReply(_) | Topic::Delta => {
                Topic::UpdateReply(verdict).name(&self.device)
            }
        };
        let (accepted, rejected) = (reply(Verdict::Accepted), reply(Verdict::Rejected));
        Ask { topic: topic.name(&self.device), payload, token, accepted, rejected }
    }
}

/// Desired state is an application's: a device sends none.
type IgnoredState = ();

fn accepted(reply: Reply) -> Result<Vec<u8>, CheckInError> {
    match reply.verdict {
        Verdict::Accepted => Ok(reply.payload),
        Verdict::Rejected => {
            let rejected: Rejected = serde_json::from_slice(&reply.payload).map_err(not_understood)?;
            Err(refusal(rejected.code, &rejected.message))
        }
    }
}
