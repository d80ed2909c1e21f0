//! A native device: the real agent's session and updater on simulated flash, and around them what the agent's binary
//! does with sockets, processes and the clock.

use super::device::{Identity, Io};
use super::exchange::{Content, Response};
use super::flash::Flash;
use super::sabotage::Sabotage;
use super::timers::{Alarm, Timers};
use sha2::{Digest, Sha256};
use std::path::Path;
use updraft_agent::assignment::Terms;
use updraft_agent::session::{Effect, Session, SessionError, Settings};
use updraft_agent::updater::Event;
use updraft_wire::{CheckIn, CheckInAnswer, Reason, UpdateState, UpdateStatus};

/// Patience with an answer.
const TIMEOUT_MS: u64 = 30_000;
/// Failed fetches in a row before the update is given up.
const FETCHES_FAILED_MAX: u32 = 14;
/// Starts that a version on trial has.
const TRIAL_BOOTS_MAX: u32 = 3;
/// Bytes between two checkpoints of a download: a few per image.
const CHECKPOINT_BYTES: u64 = 512;

/// A download that arrives.
struct Arriving {
    bytes: Vec<u8>,
    taken: usize,
    /// The connection breaks before the end.
    breaks_off: bool,
}

/// The device.
pub(super) struct Native {
    device: usize,
    pub(super) identity: Identity,
    pub(super) timers: Timers,
    flash: Flash,
    session: Option<Session<Flash>>,
    factory_version: String,
    waiting: Option<u64>,
    fetching: Option<u64>,
    arriving: Option<Arriving>,
    check_ins_failed: u32,
    fetches_failed: u32,
    sabotage: Option<Sabotage>,
}

impl Native {
    pub(super) fn new(device: usize, identity: Identity, version: &str, sabotage: Option<Sabotage>) -> Self {
        let mut timers = Timers::default();
        timers.set(Alarm::PowerOn, 0);
        Self {
            device,
            identity,
            timers,
            flash: Flash::new(sabotage == Some(Sabotage::SyncsLie)),
            session: None,
            factory_version: version.to_owned(),
            waiting: None,
            fetching: None,
            arriving: None,
            check_ins_failed: 0,
            fetches_failed: 0,
            sabotage,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.updater().status(None).is_none())
    }

    pub(super) fn wake(&mut self, io: &mut Io<'_>) {
        while let Some(alarm) = self.timers.take_due(io.now) {
            match alarm {
                Alarm::PowerOn => self.power_on(io),
                Alarm::CheckIn => self.check_in(io),
                Alarm::CheckInTimeout => self.check_in_failed(io),
                Alarm::Fetch => self.fetch(io),
                Alarm::FetchTimeout => self.fetch_failed(io),
                Alarm::Receive => self.receive(io),
                Alarm::Apply => self.drive(io, |session| session.handle(Event::ApplyNow)),
                Alarm::Probe => self.probe(io),
            }
        }
    }

    pub(super) fn answer(&mut self, io: &mut Io<'_>, request: u64, response: Response) {
        if self.session.is_none() {
            return;
        }
        if self.waiting == Some(request) {
            self.take_check_in(io, response);
        } else if self.fetching == Some(request) {
            self.take_fetch(io, response);
        }
    }

    /// The power goes at once, or in the middle of one of the next changes on flash.
    pub(super) fn cut_power_soon(&mut self, io: &mut Io<'_>) {
        if self.session.is_none() || io.random.chance(400) {
            self.lose_power(io);
        } else {
            self.flash.cut_after(io.random.below(40));
        }
    }

    pub(super) fn flash_by_hand(&mut self, io: &mut Io<'_>, version: &str) {
        self.flash.erase();
        version.clone_into(&mut self.factory_version);
        io.truth.flashed(io.now, self.device, version);
        let pause = io.random.between(5_000, 60_000);
        self.switch_off(io, pause);
    }

    fn switch_off(&mut self, io: &mut Io<'_>, pause_ms: u64) {
        self.session = None;
        (self.waiting, self.fetching, self.arriving) = (None, None, None);
        (self.check_ins_failed, self.fetches_failed) = (0, 0);
        io.truth.stops(io.now, self.device);
        self.timers.clear_all();
        self.timers.set(Alarm::PowerOn, io.now + pause_ms);
    }

    fn lose_power(&mut self, io: &mut Io<'_>) {
        self.flash.lose_power(io.random);
        io.truth.count("power cuts");
        io.truth.tell(io.now, &format!("{} loses power", self.identity.id));
        let pause = io.random.between(1_000, 120_000);
        self.switch_off(io, pause);
    }

    fn power_on(&mut self, io: &mut Io<'_>) {
        if io.is_chaos && io.random.chance(100) {
            self.flash.cut_after(io.random.below(30));
        }
        let settings = Settings {
            state: "/state".into(),
            slots: Some("/slots".into()),
            version: self.factory_version.clone(),
            boot_id: None,
            terms: Terms {
                product: self.identity.product.clone(),
                plain_links: false,
                artifacts_max: 1,
                takes_packages: false,
            },
            trial_boots_max: TRIAL_BOOTS_MAX,
            checkpoint_bytes: CHECKPOINT_BYTES,
        };
        match Session::open(self.flash.clone(), settings) {
            Ok((session, effects)) if !self.flash.is_cut() => {
                let falls_back = effects.contains(&Effect::Restart);
                self.note_start(io, &session, falls_back);
                self.session = Some(session);
                self.take(io, Ok(effects));
            }
            Ok(_) => self.lose_power(io),
            Err(error) => self.take(io, Err(error)),
        }
    }

    /// Looks at what runs, byte for byte.
    fn note_start(&self, io: &mut Io<'_>, session: &Session<Flash>, falls_back: bool) {
        let updater = session.updater();
        let version = updater.running();
        // Where the trial is over at once, the slot that starts next is another one already.
        if let Some(sha256) = self.active_sha256(session).filter(|_| !falls_back) {
            match io.truth.image(&sha256) {
                Some(image) if image.version == version => {}
                Some(_) | None => {
                    io.truth.complain(format!("{} runs a damaged image as {version}", self.identity.id));
                }
            }
        }
        let on_trial = updater.is_on_trial() || falls_back;
        io.truth.starts(io.now, self.device, version, on_trial, updater.ledger().boot);
        if let Some(assignment) = updater.ledger().phase.assignment() {
            io.truth.goes_on(self.device, &assignment.job.to_string());
        }
    }

    /// The digest of the image in the active slot; `None` while the factory's system runs.
    fn active_sha256(&self, session: &Session<Flash>) -> Option<String> {
        let folder = session.active_folder()?;
        let bytes = self.flash.bytes(&folder.join(Path::new("image"))).unwrap_or_default();
        Some(hex::encode(Sha256::digest(&bytes)))
    }

    /// Lets the session do something, and does what it asks for.
    fn drive(
        &mut self,
        io: &mut Io<'_>,
        step: impl FnOnce(&mut Session<Flash>) -> Result<Vec<Effect>, SessionError>,
    ) {
        let Some(session) = &mut self.session else { return };
        let was_on_trial = session.updater().is_on_trial();
        let result = step(session);
        let confirmed = was_on_trial
            && !session.updater().is_on_trial()
            && session
                .updater()
                .ledger()
                .settled
                .as_ref()
                .is_some_and(|end| end.state == UpdateState::Succeeded);
        if confirmed && !self.flash.is_cut() {
            let sha256 = self.session.as_ref().and_then(|session| self.active_sha256(session));
            io.truth.confirms(io.now, self.device, sha256.as_deref());
        }
        self.take(io, result);
    }

    fn take(&mut self, io: &mut Io<'_>, result: Result<Vec<Effect>, SessionError>) {
        if self.flash.is_cut() {
            return self.lose_power(io);
        }
        match result {
            Ok(effects) => {
                for effect in effects {
                    self.perform(io, effect);
                }
            }
            Err(error) => {
                io.truth.complain(format!("{}'s agent fails: {error}: {error:?}", self.identity.id));
            }
        }
    }

    fn perform(&mut self, io: &mut Io<'_>, effect: Effect) {
        let now = io.now;
        match effect {
            Effect::Fetch => self.timers.set_earlier(Alarm::Fetch, now + io.random.between(10, 2_000)),
            Effect::StopFetch => {
                (self.fetching, self.arriving, self.fetches_failed) = (None, None, 0);
                for alarm in [Alarm::Fetch, Alarm::FetchTimeout, Alarm::Receive] {
                    self.timers.clear(alarm);
                }
            }
            Effect::AwaitApply => self.timers.set(Alarm::Apply, now + io.random.between(100, 40_000)),
            Effect::Apply(_) => io.truth.complain("a device with slots is to run a script".to_owned()),
            Effect::Probe => self.timers.set(Alarm::Probe, now + io.random.between(500, 15_000)),
            Effect::Restart => {
                let pause = io.random.between(2_000, 30_000);
                self.switch_off(io, pause);
            }
            Effect::CheckIn => self.timers.set_earlier(Alarm::CheckIn, now + io.random.between(10, 3_000)),
            Effect::Announce(status) => self.note_status(io, &status),
            Effect::Note(note) => io.truth.tell(now, &format!("{}: {note}", self.identity.id)),
        }
    }

    fn note_status(&self, io: &mut Io<'_>, status: &UpdateStatus) {
        let job = status.job.to_string();
        let Some(session) = &self.session else { return };
        let settled = session.updater().ledger().settled.as_ref();
        if status.state == UpdateState::Downloading {
            io.truth.begins(io.now, self.device, &job);
        } else if settled == Some(status) {
            let fell_back = status.state == UpdateState::RolledBack;
            io.truth.settles(io.now, self.device, &job, &format!("{:?}", status.state), fell_back);
        }
    }

    fn check_in(&mut self, io: &mut Io<'_>) {
        if self.waiting.is_some() {
            self.timers.set(Alarm::CheckIn, io.now + 1_000);
            return;
        }
        let Some(session) = &self.session else { return };
        let updater = session.updater();
        let words = CheckIn {
            id: self.identity.id.clone(),
            product: self.identity.product.clone(),
            version: updater.running().to_owned(),
            boot: updater.ledger().boot,
            attributes: self.identity.attributes(false),
            update: updater.status(session.progress()),
            manifest: session.manifest().cloned(),
        };
        let body = serde_json::to_vec(&words).expect("a check-in is plain data");
        self.waiting = Some(io.send(Content::Native(body)));
        self.timers.set(Alarm::CheckInTimeout, io.now + TIMEOUT_MS);
    }

    fn check_in_failed(&mut self, io: &mut Io<'_>) {
        self.waiting = None;
        self.timers.clear(Alarm::CheckInTimeout);
        self.check_ins_failed += 1;
        let pause = 5_000 << self.check_ins_failed.min(4);
        self.timers.set(Alarm::CheckIn, io.now + pause + io.random.below(pause / 4));
    }

    fn take_check_in(&mut self, io: &mut Io<'_>, response: Response) {
        let Response::Json(body) = response else { return self.check_in_failed(io) };
        self.waiting = None;
        self.check_ins_failed = 0;
        self.timers.clear(Alarm::CheckInTimeout);
        match serde_json::from_slice::<CheckInAnswer>(&body) {
            Ok(answer) => {
                let pause_s = answer.next_check_in_s.clamp(1, 600);
                self.timers.set(Alarm::CheckIn, io.now + pause_s * 1_000);
                self.drive(io, |session| session.handle(Event::Answered(Box::new(answer))));
            }
            Err(error) => io.truth.complain(format!("an answer is not understood: {error}")),
        }
    }

    fn fetch(&mut self, io: &mut Io<'_>) {
        if self.fetching.is_some() || self.arriving.is_some() {
            return;
        }
        let Some(wanted) = self.session.as_ref().and_then(Session::wanted) else { return };
        let content = Content::Download { link: wanted.link, offset: wanted.offset };
        self.fetching = Some(io.send(content));
        self.timers.set(Alarm::FetchTimeout, io.now + TIMEOUT_MS);
    }

    fn fetch_failed(&mut self, io: &mut Io<'_>) {
        (self.fetching, self.arriving) = (None, None);
        self.timers.clear(Alarm::FetchTimeout);
        self.fetches_failed += 1;
        if self.fetches_failed >= FETCHES_FAILED_MAX {
            let failed = Event::Failed(Reason::ConnectionLost, "fetching failed again and again".into());
            return self.drive(io, |session| session.handle(failed));
        }
        let pause = 1_000 << self.fetches_failed.min(5);
        self.timers.set(Alarm::Fetch, io.now + pause + io.random.below(pause / 4));
    }

    fn take_fetch(&mut self, io: &mut Io<'_>, response: Response) {
        let Response::Bytes { offset, etag, mut bytes } = response else {
            // The link is refused: the next answer says whether the job still stands, and brings another.
            self.timers.set_earlier(Alarm::CheckIn, io.now + 1_000);
            return self.fetch_failed(io);
        };
        self.fetching = None;
        self.timers.clear(Alarm::FetchTimeout);
        let breaks_off = io.is_chaos && io.random.chance(200);
        if breaks_off {
            bytes.truncate(io.random.index(bytes.len() + 1));
        }
        self.arriving = Some(Arriving { bytes, taken: 0, breaks_off });
        self.timers.set(Alarm::Receive, io.now + io.random.between(10, 3_000));
        self.drive(io, |session| session.handle_fetch_begun(offset, Some(etag)));
    }

    /// The next piece of a download.
    fn receive(&mut self, io: &mut Io<'_>) {
        let Some(arriving) = &mut self.arriving else { return };
        let left = arriving.bytes.len() - arriving.taken;
        if left == 0 {
            let breaks_off = arriving.breaks_off;
            self.arriving = None;
            return if breaks_off { self.fetch_failed(io) } else { self.fetch(io) };
        }
        let length = io.random.index(900).clamp(1, left);
        let piece = arriving.bytes[arriving.taken..arriving.taken + length].to_vec();
        arriving.taken += length;
        self.fetches_failed = 0;
        self.timers.set(Alarm::Receive, io.now + io.random.between(10, 5_000));
        self.drive(io, |session| session.handle_bytes(&piece));
    }

    fn probe(&mut self, io: &mut Io<'_>) {
        if io.is_chaos && io.random.chance(100) {
            return self.lose_power(io);
        }
        let Some(sha256) = self.session.as_ref().and_then(|session| self.active_sha256(session)) else {
            return;
        };
        let is_healthy = io.truth.image(&sha256).is_none_or(|image| io.truth.is_healthy(self.device, image));
        if is_healthy || self.sabotage == Some(Sabotage::ConfirmsUnseen) {
            self.drive(io, |session| session.handle(Event::Healthy));
        } else {
            let over = Event::TrialOver("the health check failed".into());
            self.drive(io, |session| session.handle(over));
        }
    }
}
