//! The world around one device: a server with one assignment, a network that delivers, a health check that tells
//! good from bad. Everything the agent keeps is on the simulated disk; everything else of the agent is the real code.

use crate::disk::{Content, Contents, Disk, Faults};
use crate::invariants::{self, Broken, FOREIGN};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use updraft_agent::assignment::Terms;
use updraft_agent::session::{Effect, Session, Settings};
use updraft_agent::slots::{SLOT_FORMAT, SlotRecord, SlotState};
use updraft_agent::updater::Event;
use updraft_agent::{package, record};
use updraft_wire::{ArtifactEntry, Assignment, CheckInAnswer, JobId, Manifest, UpdateState, UpdateStatus};

/// The version that runs at first.
pub(crate) const OLD: &str = "1.0.0";
/// The version assigned.
pub(crate) const NEW: &str = "1.1.0";
/// The image arrives in pieces of this size, in bytes.
pub(crate) const PIECE_BYTES: usize = 32;
/// Bytes between two checkpoints.
pub(crate) const CHECKPOINT_BYTES: u64 = 64;
/// Pieces of an image.
const PIECES: usize = 6;
/// The image's entity tag.
const ETAG: &str = "\"1\"";

/// Where the device starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Start {
    /// Slot a runs, confirmed.
    SlotA,
    /// No slot runs: the system as it left the factory does.
    Factory,
}

/// What the assigned version is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Quality {
    Good,
    /// Starts, and is never healthy.
    Sick,
    /// Takes the device down with it before anything can be checked.
    Crashing,
}

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Scenario {
    pub(crate) start: Start,
    pub(crate) quality: Quality,
    /// Whether it comes without a manifest.
    pub(crate) is_package: bool,
    /// Faults of the agent itself, to test the test.
    pub(crate) health_skipped: bool,
    pub(crate) confirms_sick: bool,
}

impl Scenario {
    pub(crate) fn new(start: Start, quality: Quality) -> Self {
        Self { start, quality, is_package: false, health_skipped: false, confirms_sick: false }
    }

    pub(crate) fn is_good(self) -> bool {
        self.quality == Quality::Good
    }
}

pub(crate) fn factory_image() -> Vec<u8> {
    b"the image of the factory".to_vec()
}

pub(crate) fn new_image() -> Vec<u8> {
    // Its last line says what it is, for where no manifest does.
    let label = format!("\np {NEW}\n");
    let bytes = (0..PIECE_BYTES * PIECES - label.len()).map(|i| u8::try_from(i % 251).unwrap());
    bytes.chain(label.into_bytes()).collect()
}

/// What is not on the disk.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    noted: Option<UpdateStatus>,
    /// The version and the end that the server heard last.
    pub(crate) last_words: Option<(String, Option<UpdateState>)>,
    /// Bytes of the image served.
    pub(crate) served: u64,
    boots: u32,
    check_ins: u32,
    /// What it was like before each change of it in this run.
    moments: Vec<Self>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Nothing is left to do.
    AtRest(Option<String>),
    /// The power went.
    Cut,
}

/// Why a step did not end well.
enum Stop {
    Cut,
    Broken(Broken),
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl World {
    pub(crate) fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            noted: None,
            last_words: None,
            served: 0,
            boots: 0,
            check_ins: 0,
            moments: Vec::new(),
        }
    }

    pub(crate) fn has_noted_end(&self) -> bool {
        self.noted.is_some()
    }

    /// Notes what the world is like, for cuts that happen from here on.
    fn mark(&mut self, disk: &Disk) {
        let moments = std::mem::take(&mut self.moments);
        let bare = self.clone();
        self.moments = moments;
        disk.set_moment(self.moments.len());
        self.moments.push(bare);
    }

    /// What the world was like in a moment of the last run.
    pub(crate) fn moment(&self, moment: usize) -> &Self {
        &self.moments[moment]
    }

    /// What tells two worlds apart, beside their disks.
    pub(crate) fn key(&self) -> (bool, u64) {
        (self.noted.is_some(), self.served)
    }

    /// Runs the device until nothing is left to do, or the power goes.
    pub(crate) fn run(&mut self, disk: &Disk) -> Result<Ended, Broken> {
        (self.boots, self.check_ins) = (0, 0);
        self.moments.clear();
        self.mark(disk);
        loop {
            self.boots += 1;
            invariants::i6_not_too_often(self.boots, self.check_ins)?;
            match self.boot(disk) {
                Ok(Some(confirmed)) => return Ok(Ended::AtRest(confirmed)),
                Ok(None) => {}
                Err(Stop::Cut) => return Ok(Ended::Cut),
                Err(Stop::Broken(broken)) => return Err(broken),
            }
        }
    }

    /// One boot. `None` if another has to follow; the confirmed version if the device is at rest.
    fn boot(&mut self, disk: &Disk) -> Result<Option<Option<String>>, Stop> {
        let opened = Session::open(disk.clone(), settings());
        if disk.is_cut() {
            return Err(Stop::Cut);
        }
        let (mut session, effects) = opened.map_err(|error| format!("a boot failed: {error}"))?;
        let mut effects = VecDeque::from(effects);
        let mut was_on_trial = session.updater().is_on_trial();
        let mut health_passed = false;
        loop {
            let more = match effects.pop_front() {
                Some(Effect::Restart) => return Ok(None),
                Some(Effect::Probe) if self.crashes(&session) => return Ok(None),
                Some(effect) => self.play(disk, &mut session, effect, &mut health_passed)?,
                None => {
                    let is_over = self.noted.is_some() && session.updater().status(None).is_none();
                    let more = self.check_in(disk, &mut session)?;
                    if is_over && more.is_empty() && !disk.is_cut() {
                        return Ok(Some(session.updater().confirmed().map(str::to_owned)));
                    }
                    more
                }
            };
            if disk.is_cut() {
                return Err(Stop::Cut);
            }
            let is_on_trial = session.updater().is_on_trial();
            let is_new = session.updater().running() == NEW;
            let fell_back = more.contains(&Effect::Restart);
            if was_on_trial && !is_on_trial && is_new && !fell_back {
                invariants::i3_no_confirmation_without_a_health_check(health_passed)?;
            }
            was_on_trial = is_on_trial;
            effects.extend(more);
        }
    }

    fn crashes(&self, session: &Session<Disk>) -> bool {
        self.scenario.quality == Quality::Crashing && session.updater().is_on_trial()
    }

    fn play(
        &mut self,
        disk: &Disk,
        session: &mut Session<Disk>,
        effect: Effect,
        health_passed: &mut bool,
    ) -> Result<Vec<Effect>, Stop> {
        match effect {
            Effect::Fetch => self.fetch(disk, session),
            Effect::AwaitApply => tell(session, Event::ApplyNow),
            Effect::Probe => {
                let is_healthy = self.scenario.is_good();
                *health_passed = is_healthy && !self.scenario.health_skipped;
                if is_healthy || self.scenario.confirms_sick {
                    tell(session, Event::Healthy)
                } else {
                    tell(session, Event::TrialOver("not healthy".into()))
                }
            }
            Effect::CheckIn => self.check_in(disk, session),
            Effect::Apply(_) | Effect::Restart => unreachable!("not with slots; handled by the caller"),
            Effect::StopFetch | Effect::Announce(_) | Effect::Note(_) => Ok(Vec::new()),
        }
    }

    fn fetch(&mut self, disk: &Disk, session: &mut Session<Disk>) -> Result<Vec<Effect>, Stop> {
        let Some(wanted) = session.wanted() else { return Ok(Vec::new()) };
        let is_same = wanted.etag.as_deref() == Some(ETAG);
        let offset = if is_same { usize::try_from(wanted.offset).unwrap() } else { 0 };
        let mut effects = done(session.handle_fetch_begun(offset as u64, Some(ETAG.into())))?;
        for piece in new_image()[offset..].chunks(PIECE_BYTES) {
            self.served += piece.len() as u64;
            self.mark(disk);
            effects.extend(done(session.handle_bytes(piece))?);
        }
        effects.extend(done(session.handle_fetch_ended())?);
        Ok(effects)
    }

    fn check_in(&mut self, disk: &Disk, session: &mut Session<Disk>) -> Result<Vec<Effect>, Stop> {
        self.check_ins += 1;
        invariants::i6_not_too_often(self.boots, self.check_ins)?;
        let update = session.updater().status(session.progress());
        let end = update.filter(|update| update.state.is_settled());
        // The end of an earlier job is noted as well, and says nothing about this one.
        if let Some(end) = end.as_ref().filter(|end| end.job == assignment(self.scenario).job) {
            self.noted.get_or_insert(end.clone());
        }
        let version = session.updater().running().to_owned();
        self.last_words = Some((version, self.noted.as_ref().map(|end| end.state)));
        self.mark(disk);
        let assignment = if self.noted.is_some() { None } else { Some(assignment(self.scenario)) };
        let answer = CheckInAnswer { next_check_in_s: 1, assignment, noted: end.map(|end| end.job) };
        tell(session, Event::Answered(Box::new(answer)))
    }
}

fn tell(session: &mut Session<Disk>, event: Event) -> Result<Vec<Effect>, Stop> {
    done(session.handle(event))
}

/// The simulated disk fails only when its power goes.
fn done<E>(result: Result<Vec<Effect>, E>) -> Result<Vec<Effect>, Stop> {
    result.map_err(|_| Stop::Cut)
}

fn settings() -> Settings {
    Settings {
        state: "/state".into(),
        slots: Some("/slots".into()),
        version: OLD.into(),
        boot_id: None,
        terms: Terms { product: "p".into(), plain_links: false, artifacts_max: 16, takes_packages: true },
        trial_boots_max: 3,
        checkpoint_bytes: CHECKPOINT_BYTES,
    }
}

fn manifest(version: &str, image: &[u8]) -> Manifest {
    let entry = ArtifactEntry {
        name: "image".into(),
        size: image.len() as u64,
        sha256: hex::encode(Sha256::digest(image)),
        md5: None,
    };
    Manifest { format: 1, product: "p".into(), version: version.into(), artifacts: vec![entry] }
}

fn assignment(scenario: Scenario) -> Assignment {
    if scenario.is_package {
        return package::assignment(JobId::new("r1", 1).unwrap(), "p", "https://ota.example/image".into());
    }
    Assignment {
        job: JobId::new("r1", 1).unwrap(),
        manifest: manifest(NEW, &new_image()),
        links: vec!["https://ota.example/image".into()],
        allow_downgrade: false,
    }
}

/// The disk as it is before the assignment, with a ledger from earlier starts.
pub(crate) fn first_disk(scenario: Scenario) -> Contents {
    let mut disk = Disk::default();
    if scenario.start == Start::SlotA {
        let slot = SlotRecord {
            format: SLOT_FORMAT,
            state: SlotState::Confirmed { sequence: 1 },
            version: OLD.into(),
            manifest: Some(manifest(OLD, &factory_image())),
            job: Some(JobId::new("r0", 1).unwrap()),
            boot: 1,
            settled: None,
        };
        record::store(&mut disk, Path::new("/slots/a/.slot.rec"), &slot).unwrap();
    }
    Session::open(disk.clone(), settings()).unwrap();
    let mut contents = disk.live();
    let files = FOREIGN.map(|(path, bytes)| (PathBuf::from(path), Content::File(bytes.to_vec().into())));
    contents.extend(files);
    if scenario.start == Start::SlotA {
        contents.insert("/slots/a/image".into(), Content::File(factory_image().into()));
        contents.insert("/slots/current".into(), Content::Link("a".into()));
    }
    contents
}

/// A disk that holds this.
pub(crate) fn disk(contents: &Contents, faults: Faults) -> Disk {
    Disk::holding(contents, faults)
}
