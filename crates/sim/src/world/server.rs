//! The server: the real fleet over a real store, the real pure halves of the check-in contracts, and around them what
//! the engine does: batches, one commit, answers only after it.

use super::disk::{Handle, is_simulated};
use super::exchange::{Content, Link, Request, Response};
use super::lwm2m::{Call, Came};
use super::operator::Command;
use super::sabotage::Sabotage;
use super::truth::Truth;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use updraft_core::fleet::{Assignment, Error, Fleet, Offer};
use updraft_core::id::DeviceId;
use updraft_core::position::position;
use updraft_core::report::{Progress, Report, Word};
use updraft_core::rollout::Downgrade;
use updraft_core::time::Timestamp;
use updraft_server::protocols::http::check_in::{self, Said};
use updraft_server::protocols::http::schedule::next_check_in_s;
use updraft_server::update;
use updraft_wire::JobId;

/// Between two check-ins of a device with nothing to do.
pub(super) const INTERVAL: Duration = Duration::from_secs(120);
/// Between two check-ins of a device in the middle of an update.
const INTERVAL_UPDATING: Duration = Duration::from_secs(20);
/// World time 0, as the server's clock shows it: any time will do.
const EPOCH_MS: i64 = 1_800_000_000_000;
/// A remembered "nothing to do" is looked at anew after this.
const SETTLED_MAX: Duration = Duration::from_secs(600);

/// An answer that may leave, and what it promises.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) request: u64,
    pub(super) device: usize,
    pub(super) response: Response,
    /// What it tells the device to do.
    pub(super) told: Option<Told>,
    /// The job whose end it takes note of.
    pub(super) noted: Option<JobId>,
    decision: Option<Decision>,
}

/// What a check-in led to, for the cache.
#[derive(Debug)]
struct Decision {
    device: DeviceId,
    body: Vec<u8>,
    /// It led to nothing, which holds until the time given.
    nothing: Option<Option<Timestamp>>,
}

/// An assignment in an answer.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) job: JobId,
    pub(super) version: String,
    /// Whether the device may go back to it.
    pub(super) goes_back: bool,
}

/// A check-in that led to nothing, and until when that holds.
#[derive(Debug)]
struct Settled {
    body: Vec<u8>,
    generation: u64,
    until: Timestamp,
}

/// Where a crash comes in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    BeforeCommit,
    /// What was done is durable, and nobody hears of it.
    BeforeAnswers,
}

/// What a batch led to, once it is durable.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) answers: Vec<Answer>,
    /// What came of what the hub asked.
    pub(super) came: Vec<Came>,
    /// Devices for whom something may have changed.
    pub(super) hints: BTreeSet<DeviceId>,
}

/// The server.
pub(super) struct Server {
    pub(super) disk: Handle,
    fleet: Option<Fleet<Handle>>,
    inbox: Vec<Request>,
    commands: Vec<Command>,
    /// What the hub asks.
    pub(super) calls: Vec<Call>,
    settled: BTreeMap<DeviceId, Settled>,
    clock_step_ms: i64,
    check_ins: u64,
    sabotage: Option<Sabotage>,
}

impl Server {
    pub(super) fn new(disk: Handle, sabotage: Option<Sabotage>) -> Self {
        Self {
            disk,
            fleet: None,
            inbox: Vec::new(),
            commands: Vec::new(),
            calls: Vec::new(),
            settled: BTreeMap::new(),
            clock_step_ms: 0,
            check_ins: 0,
            sabotage,
        }
    }

    /// The time that its clock shows.
    pub(super) fn clock(&self, now: u64) -> Timestamp {
        Timestamp::from_millis(EPOCH_MS + self.clock_step_ms + i64::try_from(now).unwrap_or(i64::MAX))
    }

    /// Sets its clock off by so much more.
    pub(super) fn step_clock(&mut self, by_ms: i64) {
        self.clock_step_ms += by_ms;
    }

    /// How far its clock is off.
    pub(super) fn clock_step_ms(&self) -> i64 {
        self.clock_step_ms
    }

    pub(super) fn is_up(&self) -> bool {
        self.fleet.is_some()
    }

    /// Starts it on what the disk holds.
    pub(super) fn start(&mut self, truth: &mut Truth) {
        match Fleet::open(self.disk.clone()) {
            Ok(fleet) => self.fleet = Some(fleet),
            Err(error) => truth.complain(format!("the server does not start: {error}: {:?}", error)),
        }
    }

    /// Ends it without warning: what was not committed is gone, and so is every connection.
    pub(super) fn crash(&mut self) {
        self.fleet = None;
        self.inbox.clear();
        self.commands.clear();
        self.calls.clear();
        self.settled.clear();
    }

    /// Takes in a request. Whether it waits for the next turn; a server that is down takes nothing.
    pub(super) fn take(&mut self, request: Request) -> bool {
        if self.is_up() {
            self.inbox.push(request);
        }
        self.is_up()
    }

    pub(super) fn command(&mut self, command: Command) {
        if self.is_up() {
            self.commands.push(command);
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !(self.inbox.is_empty() && self.commands.is_empty() && self.calls.is_empty())
    }

    /// How many calls wait.
    pub(super) fn waiting(&self) -> usize {
        self.inbox.len() + self.commands.len() + self.calls.len()
    }

    pub(super) fn fleet(&mut self) -> Option<&mut Fleet<Handle>> {
        self.fleet.as_mut()
    }

    /// One batch: everything that waits, one commit, the answers.
    pub(super) fn turn(&mut self, now: u64, crash: Option<Crash>, truth: &mut Truth) -> Turn {
        let requests = std::mem::take(&mut self.inbox);
        let commands = std::mem::take(&mut self.commands);
        let clock = self.clock(now);
        let calls = std::mem::take(&mut self.calls);
        let Some(mut fleet) = self.fleet.take() else { return Turn::default() };
        let mut answers = Vec::new();
        let mut rest = Vec::new();
        for request in requests {
            match self.settled_answer(clock, &mut fleet, &request, truth) {
                Some(answer) => answers.push(answer),
                None => rest.push(request),
            }
        }
        for command in commands {
            command.carry_out(clock, &mut fleet, truth);
        }
        let mut decided: Vec<Answer> =
            rest.iter().map(|request| self.decide(clock, &mut fleet, request, truth)).collect();
        let sabotage = self.sabotage;
        let mut came: Vec<Came> =
            calls.into_iter().map(|call| call.carry_out(clock, &mut fleet, sabotage, truth)).collect();
        if crash == Some(Crash::BeforeCommit) {
            self.crash();
            let early = self.sabotage == Some(Sabotage::AnswersBeforeCommit);
            return if early { Turn { answers: decided, came, ..Turn::default() } } else { Turn::default() };
        }
        let saved = fleet.commit();
        if let Err(error) = &saved {
            expect_simulated(error, truth);
        }
        if crash == Some(Crash::BeforeAnswers) {
            self.crash();
            return Turn::default();
        }
        if saved.is_err() && self.sabotage != Some(Sabotage::AnswersBeforeCommit) {
            for answer in &mut decided {
                (answer.response, answer.told, answer.noted) = (Response::Unavailable, None, None);
            }
            came = came.into_iter().map(Came::undone).collect();
        }
        if saved.is_ok() {
            self.remember(clock, fleet.generation(), &decided);
        }
        let hints = fleet.take_hints();
        self.fleet = Some(fleet);
        answers.extend(decided);
        Turn { answers, came, hints }
    }

    /// Time passes. Whether it was saved.
    pub(super) fn tick(&mut self, now: u64, truth: &mut Truth) -> bool {
        let clock = self.clock(now);
        let Some(fleet) = &mut self.fleet else { return false };
        let result = fleet.tick(clock).and_then(|()| fleet.commit());
        if let Err(error) = &result {
            expect_simulated(error, truth);
        }
        result.is_ok()
    }

    /// The answer to a check-in that needs no decision, as the engine's cache gives it.
    fn settled_answer(
        &self,
        clock: Timestamp,
        fleet: &mut Fleet<Handle>,
        request: &Request,
        truth: &mut Truth,
    ) -> Option<Answer> {
        let (body, said) = match &request.content {
            Content::Native(body) => (body, check_in::native(body).ok()?),
            Content::Ioto(body) => (body, check_in::ioto(body).ok()?),
            Content::IotoReport(_) | Content::Download { .. } => return None,
        };
        let settled = self.settled.get(&said.device).filter(|settled| settled.body == *body)?;
        let holds = settled.generation == fleet.generation() && clock < settled.until;
        if !holds && self.sabotage != Some(Sabotage::NeverLooksAgain) {
            return None;
        }
        truth.count("answers without a decision");
        if let Ok(explanation) = fleet.explain(clock, &said.device, None)
            && explanation.open.is_none()
            && let Some(version) = explanation.would_offer
        {
            truth.complain(format!("{} is told to do nothing, and {version} is due", said.device));
        }
        let response = self.render(clock, request, &said, &Offer::Nothing { recheck: None });
        Some(Answer { noted: said.ended, ..Answer::plain(request, response) })
    }

    /// Remembers what led to nothing, as the engine does once the batch is durable.
    fn remember(&mut self, clock: Timestamp, generation: u64, answers: &[Answer]) {
        for answer in answers {
            let Some(Decision { device, body, nothing }) = &answer.decision else { continue };
            self.settled.remove(device);
            if let Some(recheck) = nothing {
                let latest = clock.plus(SETTLED_MAX);
                let until = recheck.map_or(latest, |recheck| recheck.min(latest));
                let settled = Settled { body: body.clone(), generation, until };
                self.settled.insert(device.clone(), settled);
            }
        }
    }

    fn decide(
        &mut self,
        clock: Timestamp,
        fleet: &mut Fleet<Handle>,
        request: &Request,
        truth: &mut Truth,
    ) -> Answer {
        let result = match &request.content {
            Content::Native(body) => {
                self.check_in(clock, fleet, request, body, check_in::native(body), truth)
            }
            Content::Ioto(body) => self.check_in(clock, fleet, request, body, check_in::ioto(body), truth),
            Content::IotoReport(body) => Self::take_report(clock, fleet, request, body, truth),
            Content::Download { link, offset } => Self::download(clock, fleet, request, link, *offset, truth),
        };
        result.unwrap_or_else(|error| {
            expect_simulated(&error, truth);
            Answer::plain(request, Response::Unavailable)
        })
    }

    fn check_in(
        &mut self,
        clock: Timestamp,
        fleet: &mut Fleet<Handle>,
        request: &Request,
        body: &[u8],
        said: Result<Said, check_in::Malformed>,
        truth: &mut Truth,
    ) -> Result<Answer, Error> {
        let mut said = match said {
            Ok(said) => said,
            Err(error) => {
                truth.complain(format!("a device's check-in is refused: {error}"));
                return Ok(Answer::plain(request, Response::Refused));
            }
        };
        self.check_ins += 1;
        truth.count("check-ins decided");
        if let Some(sabotage) = self.sabotage {
            let target = fleet.assigned(&said.device).ok().flatten();
            let target = target.map(|assignment| assignment.release.version.to_string());
            sabotage.distort(&mut said.report, target.as_deref(), self.check_ins);
        }
        fleet.report(clock, &said.device, &said.report)?;
        let is_early = self.sabotage == Some(Sabotage::OffersFromTomorrow);
        let asked_at = if is_early { clock.plus(Duration::from_secs(86_400)) } else { clock };
        let offer = fleet.offer(asked_at, &said.device)?;
        let response = self.render(clock, request, &said, &offer);
        let (told, nothing) = match &offer {
            Offer::Assigned(assignment) => (Some(Told::of(assignment)), None),
            Offer::Nothing { recheck } => (None, Some(*recheck)),
        };
        let decision = Some(Decision { device: said.device, body: body.to_vec(), nothing });
        let noted = said.ended;
        Ok(Answer { request: request.id, device: request.device, response, told, noted, decision })
    }

    /// The answer as bytes, by the real halves of the contracts.
    fn render(&self, clock: Timestamp, request: &Request, said: &Said, offer: &Offer) -> Response {
        let link = |assignment: &Assignment| {
            let device = said.device.to_string();
            let sha256 = assignment.release.artifact.sha256.clone();
            Link { device, job: update::job(assignment), sha256 }.url()
        };
        let json = match &request.content {
            Content::Ioto(_) => match check_in::ioto_answer(offer, link) {
                Some(answer) => serde_json::to_vec(&answer),
                None => Ok(b"{}".to_vec()),
            },
            Content::Native(_) | Content::IotoReport(_) | Content::Download { .. } => {
                let interval = match offer {
                    Offer::Assigned(_) => INTERVAL_UPDATING,
                    Offer::Nothing { .. } => INTERVAL,
                };
                let next = next_check_in_s(clock, position(said.device.as_str(), "check-in"), interval);
                serde_json::to_vec(&check_in::native_answer(offer, next, said.ended.clone(), link))
            }
        };
        Response::Json(json.expect("an answer is plain data"))
    }

    fn take_report(
        clock: Timestamp,
        fleet: &mut Fleet<Handle>,
        request: &Request,
        body: &[u8],
        truth: &mut Truth,
    ) -> Result<Answer, Error> {
        truth.count("updater reports");
        let Ok((device, progress)) = check_in::ioto_report(body) else {
            truth.complain("an updater's report is refused".to_owned());
            return Ok(Answer::plain(request, Response::Refused));
        };
        match fleet.report(clock, &device, &Report { description: None, progress: Some(progress) }) {
            // The server went back to a time before it heard of the device.
            Err(Error::UnknownDevice(_)) => Ok(Answer::plain(request, Response::Refused)),
            Err(error) => Err(error),
            Ok(()) => Ok(Answer::plain(request, Response::Json(b"{}".to_vec()))),
        }
    }

    fn download(
        clock: Timestamp,
        fleet: &mut Fleet<Handle>,
        request: &Request,
        link: &str,
        offset: u64,
        truth: &mut Truth,
    ) -> Result<Answer, Error> {
        let refused = Ok(Answer::plain(request, Response::Refused));
        let Some(link) = Link::parse(link) else { return refused };
        let Ok(device) = link.device.parse::<DeviceId>() else { return refused };
        let Ok(rollout) = link.job.rollout().parse() else { return refused };
        if offset == 0 {
            let attempt = link.job.attempt();
            let progress =
                Progress { rollout, attempt, word: Word::Fetching, percent: None, detail: String::new() };
            match fleet.report(clock, &device, &Report { description: None, progress: Some(progress) }) {
                Ok(()) => {}
                Err(Error::UnknownDevice(_)) => return refused,
                Err(error) => return Err(error),
            }
        }
        let open = match fleet.assigned(&device) {
            Ok(open) => open,
            Err(Error::UnknownDevice(_)) => return refused,
            Err(error) => return Err(error),
        };
        let image = truth.image(&link.sha256);
        match (open, image) {
            (Some(open), Some(image)) if update::job(&open) == link.job => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(image.bytes.len());
                let bytes = image.bytes[start..].to_vec();
                let etag = link.sha256;
                Ok(Answer::plain(request, Response::Bytes { offset, etag, bytes }))
            }
            (Some(_) | None, _) => refused,
        }
    }
}

impl Answer {
    fn plain(request: &Request, response: Response) -> Self {
        let Request { id, device, .. } = *request;
        Self { request: id, device, response, told: None, noted: None, decision: None }
    }
}

impl Told {
    pub(super) fn of(assignment: &Assignment) -> Self {
        Self {
            job: update::job(assignment),
            version: assignment.release.version.to_string(),
            goes_back: assignment.downgrade == Downgrade::Allowed,
        }
    }
}

/// Takes an error of the simulated world for what it is, and any other for a fault.
fn expect_simulated(error: &Error, truth: &mut Truth) {
    if is_simulated(error) {
        truth.count("failed saves");
    } else {
        truth.complain(format!("the fleet failed: {error}: {error:?}"));
    }
}
