//! The reference: what the devices really ran and did, told by the devices themselves as it happens.
//!
//! Simple on purpose, and knows nothing of how the server decides. Whatever the server claims is held against this.

use super::policies::precedence;
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use updraft_core::id::{DeviceId, ProductName};
use updraft_core::position::stable_hash;

/// What devices' IDs begin with; their number follows.
pub(super) const ID_START: &str = "device-";
/// Lines told of what happened last, for the report of a failing seed.
const STORY_LINES_MAX: usize = 60;
/// Lines kept, so that where much happens at once there are some of the device that the report is about.
const STORY_LINES_KEPT: usize = 100_000;

/// A stretch of time in which a device ran one version.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// From when, in world time.
    pub(super) since: u64,
    /// Until when; `None`: still.
    pub(super) until: Option<u64>,
    pub(super) version: String,
    pub(super) on_trial: bool,
    /// The device's start counter; 0 where it has none.
    pub(super) boot: u64,
}

/// One device, as it really is.
#[derive(Debug)]
pub(super) struct DeviceTruth {
    pub(super) id: DeviceId,
    pub(super) runs: Vec<Run>,
    /// Versions it may run: from the factory, by hand, or told by the server.
    allowed: BTreeSet<String>,
    /// Versions it was told that it may go back to.
    back: BTreeSet<String>,
    /// What it ran last for good: nothing may take it below, unless told so.
    floor: Option<String>,
    settled: BTreeSet<String>,
    fell_back: BTreeSet<String>,
    /// The jobs it was told of last, by the version each brings; where devices do not know of jobs.
    pub(super) told: BTreeMap<String, String>,
    /// It will never speak again.
    pub(super) is_silent: bool,
}

impl DeviceTruth {
    pub(super) fn new(id: DeviceId) -> Self {
        Self {
            id,
            runs: Vec::new(),
            allowed: BTreeSet::new(),
            back: BTreeSet::new(),
            floor: None,
            settled: BTreeSet::new(),
            fell_back: BTreeSet::new(),
            told: BTreeMap::new(),
            is_silent: false,
        }
    }

    /// The version that runs, or ran last.
    pub(super) fn version(&self) -> &str {
        self.runs.last().map_or("", |run| run.version.as_str())
    }

    /// It runs a version for good. Whether that is older than what it ran, and nobody told it to go back.
    fn is_taken_back(&mut self) -> bool {
        let version = self.version().to_owned();
        let floor = self.floor.replace(version.clone());
        let is_older = floor.is_some_and(|floor| precedence(&version, &floor) == Some(Ordering::Less));
        is_older && !self.back.contains(&version)
    }

    /// Whether it ran a version, not on trial, at some moment between two.
    pub(super) fn ran(&self, version: &str, from: u64, to: u64) -> bool {
        self.runs.iter().any(|run| {
            !run.on_trial
                && run.version == version
                && run.since <= to
                && run.until.is_none_or(|until| until >= from)
        })
    }

    /// Whether it came back, in a start after `boot`, on something else than a version.
    pub(super) fn came_back_without(&self, version: &str, boot: u64) -> bool {
        self.runs.iter().any(|run| run.boot > boot && run.version != version)
    }

    /// Whether it really fell back in a job.
    pub(super) fn fell_back(&self, job: &str) -> bool {
        self.fell_back.contains(job)
    }
}

/// A release, as it was built.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) version: String,
    pub(super) bytes: Vec<u8>,
    pub(super) sha256: String,
    /// On how many devices in a hundred it does not work.
    bad_percent: u64,
}

impl Image {
    pub(super) fn new(product: &ProductName, version: &str, size: usize, bad_percent: u64) -> Self {
        let mut bytes = format!("{product} {version}\n").into_bytes();
        let mut random = crate::random::Random::new(stable_hash(version, product.as_str()));
        while bytes.len() < size {
            bytes.extend(random.draw().to_le_bytes());
        }
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Self { version: version.to_owned(), bytes, sha256, bad_percent }
    }
}

/// The words of a line, without the signs around them.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split([' ', ':', ','])
}

/// Everything that is so, whoever knows it.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) devices: Vec<DeviceTruth>,
    images: BTreeMap<String, Image>,
    /// What contradicts the rules: the run ends with the first.
    pub(super) complaints: Vec<String>,
    story: VecDeque<String>,
    /// How often each kind of thing happened.
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl Truth {
    /// Which device has an ID; the world calls them by their numbers.
    pub(super) fn number_of(&self, id: &DeviceId) -> Option<usize> {
        let number = id.as_str().strip_prefix(ID_START)?.parse::<usize>().ok()?;
        self.devices.get(number).is_some_and(|device| device.id == *id).then_some(number)
    }

    pub(super) fn complain(&mut self, complaint: String) {
        self.complaints.push(complaint);
    }

    /// Notes what happened, for whoever reads a failing seed.
    pub(super) fn tell(&mut self, now: u64, line: &str) {
        if self.story.len() == STORY_LINES_KEPT {
            self.story.pop_front();
        }
        self.story
            .push_back(format!("{:>10.3} s  {line}", std::time::Duration::from_millis(now).as_secs_f64()));
    }

    /// What happened last, to the devices that the complaints name where they name some, and to all.
    pub(super) fn story(&self) -> Vec<String> {
        let complaints = self.complaints.iter().flat_map(|complaint| words(complaint));
        let named: BTreeSet<_> = complaints.filter(|word| word.starts_with(ID_START)).collect();
        let is_told = |line: &&String| {
            let mut devices = words(line).filter(|word| word.starts_with(ID_START)).peekable();
            named.is_empty() || devices.peek().is_none() || devices.any(|device| named.contains(device))
        };
        let told: Vec<_> = self.story.iter().filter(is_told).cloned().collect();
        told[told.len().saturating_sub(STORY_LINES_MAX)..].to_vec()
    }

    /// Counts something that happened.
    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(super) fn add_image(&mut self, image: Image) {
        self.images.insert(image.sha256.clone(), image);
    }

    pub(super) fn image(&self, sha256: &str) -> Option<&Image> {
        self.images.get(sha256)
    }

    /// Whether an image works on a device: fixed from the start for each pair.
    pub(super) fn is_healthy(&self, device: usize, image: &Image) -> bool {
        let place = stable_hash(self.devices[device].id.as_str(), &image.sha256) % 100;
        place >= image.bad_percent
    }

    /// A device may run a version from here on.
    pub(super) fn allow(&mut self, device: usize, version: &str) {
        self.devices[device].allowed.insert(version.to_owned());
    }

    /// A device may go back to a version from here on.
    pub(super) fn allow_back(&mut self, device: usize, version: &str) {
        self.devices[device].back.insert(version.to_owned());
    }

    /// A device runs its version for good.
    fn settles_on(&mut self, device: usize) {
        let truth = &mut self.devices[device];
        let before = truth.floor.clone();
        if truth.is_taken_back() {
            let complaint = format!("{} is taken back from {before:?} to {}", truth.id, truth.version());
            self.complaints.push(complaint);
        }
    }

    /// A device starts.
    pub(super) fn starts(&mut self, now: u64, device: usize, version: &str, on_trial: bool, boot: u64) {
        let truth = &mut self.devices[device];
        if !truth.allowed.contains(version) {
            let complaint = format!("{} runs {version}, which nobody gave it", truth.id);
            self.complaints.push(complaint);
        }
        let truth = &mut self.devices[device];
        if let Some(last) = truth.runs.last_mut() {
            last.until = last.until.or(Some(now));
        }
        let run = Run { since: now, until: None, version: version.to_owned(), on_trial, boot };
        let line = format!("{} starts {version} (trial: {on_trial}, boot {boot})", truth.id);
        truth.runs.push(run);
        self.tell(now, &line);
        if !on_trial {
            self.settles_on(device);
        }
        self.count("starts");
    }

    /// A device is without power, or does not run anything.
    pub(super) fn stops(&mut self, now: u64, device: usize) {
        if let Some(last) = self.devices[device].runs.last_mut() {
            last.until = last.until.or(Some(now));
        }
    }

    /// A device confirms what it runs on trial. `image` is what it was made from.
    pub(super) fn confirms(&mut self, now: u64, device: usize, image: Option<&str>) {
        let is_bad =
            image.and_then(|sha256| self.image(sha256)).is_some_and(|image| !self.is_healthy(device, image));
        let Some(run) = self.devices[device].runs.last().cloned() else { return };
        if is_bad {
            let complaint =
                format!("{} confirmed {}, which does not work on it", self.devices[device].id, run.version);
            self.complaints.push(complaint);
        }
        self.stops(now, device);
        self.devices[device].runs.push(Run { since: now, until: None, on_trial: false, ..run });
        self.settles_on(device);
        let line = format!("{} confirms {}", self.devices[device].id, self.devices[device].version());
        self.tell(now, &line);
    }

    /// A device begins to work on a job.
    pub(super) fn begins(&mut self, now: u64, device: usize, job: &str) {
        let truth = &self.devices[device];
        let line = format!("{} begins {job}", truth.id);
        if truth.settled.contains(job) {
            let complaint = format!("{} begins {job}, which it has settled", truth.id);
            self.complaints.push(complaint);
        }
        self.tell(now, &line);
        self.count("jobs begun");
    }

    /// A device goes on with a job after a start.
    pub(super) fn goes_on(&mut self, device: usize, job: &str) {
        let truth = &self.devices[device];
        if truth.settled.contains(job) {
            let complaint = format!("{} goes on with {job}, which it has settled", truth.id);
            self.complaints.push(complaint);
        }
    }

    /// A device is done with a job.
    pub(super) fn settles(&mut self, now: u64, device: usize, job: &str, outcome: &str, fell_back: bool) {
        let truth = &mut self.devices[device];
        truth.settled.insert(job.to_owned());
        if fell_back {
            truth.fell_back.insert(job.to_owned());
        }
        let line = format!("{} settles {job}: {outcome}", truth.id);
        self.tell(now, &line);
    }

    /// Somebody flashed a device by hand: it remembers nothing.
    pub(super) fn flashed(&mut self, now: u64, device: usize, version: &str) {
        self.stops(now, device);
        self.allow(device, version);
        self.devices[device].settled.clear();
        self.devices[device].floor = None;
        let line = format!("{} is flashed by hand with {version}", self.devices[device].id);
        self.tell(now, &line);
        self.count("flashed by hand");
    }
}
