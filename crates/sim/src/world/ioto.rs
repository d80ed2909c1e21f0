//! A device that speaks the Ioto contract: the Ioto agent, which says its version at each check-in and nothing else, or
//! one of the updaters, which also say how their apply script ended.
//!
//! A model of `jobs and check-ins` as published, §1.1 to §1.3: installs whatever it is offered, compares no versions,
//! remembers nothing over a restart but the version.

use super::device::{Identity, Io};
use super::exchange::{Content, Response};
use super::timers::{Alarm, Timers};
use sha2::{Digest, Sha256};
use updraft_core::position::stable_hash;
use updraft_wire::ioto::Offer;

/// Patience with an answer.
const TIMEOUT_MS: u64 = 30_000;

/// What it is in the middle of.
enum Work {
    Nothing,
    Downloading(Offer),
    Applying(Offer),
}

/// The device.
pub(super) struct Ioto {
    device: usize,
    pub(super) identity: Identity,
    pub(super) timers: Timers,
    /// Whether it says how its apply script ended.
    reports: bool,
    period_ms: u64,
    /// What starts next.
    version: String,
    is_on: bool,
    work: Work,
    waiting: Option<u64>,
}

impl Ioto {
    pub(super) fn new(
        device: usize,
        identity: Identity,
        version: &str,
        reports: bool,
        period_ms: u64,
    ) -> Self {
        let mut timers = Timers::default();
        timers.set(Alarm::PowerOn, 0);
        let version = version.to_owned();
        let (is_on, work, waiting) = (false, Work::Nothing, None);
        Self { device, identity, timers, reports, period_ms, version, is_on, work, waiting }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.is_on && matches!(self.work, Work::Nothing)
    }

    pub(super) fn wake(&mut self, io: &mut Io<'_>) {
        while let Some(alarm) = self.timers.take_due(io.now) {
            match alarm {
                Alarm::PowerOn => self.power_on(io),
                Alarm::CheckIn => self.check_in(io),
                Alarm::CheckInTimeout => self.waiting = None,
                Alarm::FetchTimeout => self.give_up(),
                Alarm::Apply => self.apply(io),
                Alarm::Fetch | Alarm::Receive | Alarm::Probe => {}
            }
        }
    }

    pub(super) fn answer(&mut self, io: &mut Io<'_>, request: u64, response: Response) {
        if !self.is_on || self.waiting != Some(request) {
            return;
        }
        self.waiting = None;
        self.timers.clear(Alarm::CheckInTimeout);
        self.timers.clear(Alarm::FetchTimeout);
        match (std::mem::replace(&mut self.work, Work::Nothing), response) {
            (Work::Downloading(offer), Response::Bytes { bytes, .. }) => self.take_bytes(io, offer, bytes),
            (Work::Nothing, Response::Json(body)) => self.take_answer(io, &body),
            // A failed check or download is not tried again before the next period.
            (Work::Nothing | Work::Downloading(_) | Work::Applying(_), _) => {}
        }
    }

    pub(super) fn cut_power(&mut self, io: &mut Io<'_>) {
        io.truth.count("power cuts");
        let pause = io.random.between(1_000, 120_000);
        self.switch_off(io, pause);
    }

    pub(super) fn flash_by_hand(&mut self, io: &mut Io<'_>, version: &str) {
        version.clone_into(&mut self.version);
        io.truth.flashed(io.now, self.device, version);
        let pause = io.random.between(5_000, 60_000);
        self.switch_off(io, pause);
    }

    fn switch_off(&mut self, io: &mut Io<'_>, pause_ms: u64) {
        (self.is_on, self.work, self.waiting) = (false, Work::Nothing, None);
        io.truth.stops(io.now, self.device);
        self.timers.clear_all();
        self.timers.set(Alarm::PowerOn, io.now + pause_ms);
    }

    fn power_on(&mut self, io: &mut Io<'_>) {
        self.is_on = true;
        io.truth.starts(io.now, self.device, &self.version, false, 0);
        self.timers.set(Alarm::CheckIn, io.now + io.random.below(15_000));
    }

    fn give_up(&mut self) {
        (self.work, self.waiting) = (Work::Nothing, None);
    }

    fn check_in(&mut self, io: &mut Io<'_>) {
        self.timers.set(Alarm::CheckIn, io.now + self.period_ms + io.random.below(self.period_ms / 8));
        if !matches!(self.work, Work::Nothing) || self.waiting.is_some() {
            return;
        }
        // The updaters send every value as text, the agent its own types.
        let mut body = serde_json::Map::new();
        let fields =
            [("id", &self.identity.id), ("product", &self.identity.product), ("version", &self.version)];
        body.extend(fields.map(|(name, value)| (name.to_owned(), value.as_str().into())));
        body.extend(self.identity.attributes(self.reports));
        let body = serde_json::to_vec(&body).expect("a check-in is plain data");
        self.waiting = Some(io.send(Content::Ioto(body)));
        self.timers.set(Alarm::CheckInTimeout, io.now + TIMEOUT_MS);
    }

    fn take_answer(&mut self, io: &mut Io<'_>, body: &[u8]) {
        if body == b"{}" {
            return;
        }
        match serde_json::from_slice::<Offer>(body) {
            Ok(offer) => {
                let link = offer.url.clone();
                self.work = Work::Downloading(offer);
                self.waiting = Some(io.send(Content::Download { link, offset: 0 }));
                self.timers.set(Alarm::FetchTimeout, io.now + TIMEOUT_MS);
            }
            Err(error) => io.truth.complain(format!("an offer is not understood: {error}")),
        }
    }

    fn take_bytes(&mut self, io: &mut Io<'_>, offer: Offer, mut bytes: Vec<u8>) {
        if io.is_chaos && io.random.chance(100) {
            bytes.truncate(bytes.len() / 2);
        }
        if hex::encode(Sha256::digest(&bytes)) == offer.checksum {
            self.work = Work::Applying(offer);
            self.timers.set(Alarm::Apply, io.now + io.random.between(500, 30_000));
        }
    }

    fn apply(&mut self, io: &mut Io<'_>) {
        let Work::Applying(offer) = std::mem::replace(&mut self.work, Work::Nothing) else { return };
        let is_healthy =
            io.truth.image(&offer.checksum).is_some_and(|image| io.truth.is_healthy(self.device, image));
        // An image that does not work fails in its script on some devices, and after the restart on others.
        let fails_at_once = !is_healthy && stable_hash(&self.identity.id, &offer.checksum).is_multiple_of(2);
        if self.reports {
            self.report(io, &offer.update, !fails_at_once);
        }
        if fails_at_once {
            return;
        }
        if is_healthy {
            self.version = offer.version;
        }
        let pause = io.random.between(2_000, 30_000);
        self.switch_off(io, pause);
    }

    fn report(&self, io: &mut Io<'_>, update: &str, success: bool) {
        // One of the three updaters sends text where the others send a boolean.
        let success = if self.device.is_multiple_of(2) {
            success.into()
        } else {
            serde_json::Value::from(success.to_string())
        };
        let body = serde_json::json!({ "success": success, "id": self.identity.id, "update": update });
        io.send(Content::IotoReport(body.to_string().into_bytes()));
    }
}
