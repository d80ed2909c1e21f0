//! The device of the world: its object, its flash, its downloads, its restarts.

use super::{FOREIGN, IMAGE_BYTES, OLD, TARGET, Troubles};
use updraft_lwm2m::Moment;
use updraft_lwm2m::firmware::object::{Abilities, Action, Image, Object, Origin, Record, Restart};
use updraft_lwm2m::firmware::{DeliveryMethod, Scheme, Schemes, UpdateResult};

/// How its installations go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Install {
    #[default]
    Works,
    /// It boots, fails its trial, and goes back.
    RollsBack(Kept),
    /// It fails before any restart.
    Fails(Kept),
    /// The owner puts it off, then it works.
    Deferred,
    /// The fault that the checker must see: it says that it runs the image, and does not.
    Lies,
    /// The fault that the checker must see: it installs, and then once more.
    Twice,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    Yes,
    No,
}

/// What kind of device it is.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    pub(crate) install: Install,
    /// Its object forgets all at a restart, as Zephyr's and wakaama's do.
    pub(crate) forgets: bool,
    pub(crate) observes: bool,
    /// It refuses to have its instance read in one go.
    pub(crate) reads_instance: bool,
    /// It ignores an empty URI while it downloads, and says 2.04 (Zephyr).
    pub(crate) ignores_empty_uri: bool,
    /// It has no Cancel.
    pub(crate) cancels: bool,
    /// It tells no Package URI.
    pub(crate) tells_uri: bool,
    /// How it takes images.
    pub(crate) delivery: DeliveryMethod,
    /// So many checks of images fail, with this result.
    pub(crate) bad_images: (u32, UpdateResult),
    /// So many downloads stop halfway, and never say so.
    pub(crate) stalls: u32,
    /// So many downloads end in Result 4.
    pub(crate) lost_downloads: u32,
    /// It sleeps, and wakes so often.
    pub(crate) sleeps_ms: Option<u64>,
    /// It never comes back from an installation.
    pub(crate) dies: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            install: Install::Works,
            forgets: false,
            observes: true,
            reads_instance: true,
            ignores_empty_uri: false,
            cancels: true,
            tells_uri: true,
            delivery: DeliveryMethod::Both,
            bad_images: (0, UpdateResult::Integrity),
            stalls: 0,
            lost_downloads: 0,
            sleeps_ms: None,
            dies: false,
        }
    }
}

/// What is going on, and when it goes on.
#[derive(Clone, Debug)]
enum Work {
    Fetch { attempt: u32, uri: String, bytes: u64, at: Moment },
    Check { attempt: u32, at: Moment },
    Install { attempt: u32, at: Moment },
    Boot { restart: Restart, at: Moment },
}

impl Work {
    fn at(&self) -> Moment {
        match self {
            Self::Fetch { at, .. }
            | Self::Check { at, .. }
            | Self::Install { at, .. }
            | Self::Boot { at, .. } => *at,
        }
    }
}

/// Between two blocks of a fetch; an image takes ten.
const BLOCK_MS: u64 = 2_000;
const BLOCK_BYTES: u64 = IMAGE_BYTES / 10;
/// After a message it stays awake (MAX_TRANSMIT_WAIT, Transport §6.5).
const AWAKE_MS: u64 = 93_000;

pub(crate) struct Device {
    pub(crate) habits: Habits,
    pub(crate) object: Object,
    pub(crate) running: &'static str,
    pub(crate) observed: Vec<u16>,
    pub(crate) push_by_us: bool,
    pub(crate) pushed_image_by_us: bool,
    pub(crate) installs: u32,
    pub(crate) installs_of_target: u32,
    /// What a fetch of our URI has brought in all.
    pub(crate) fetched: u64,
    record: Record,
    /// The version of the image in flash.
    slot: Option<&'static str>,
    work: Option<Work>,
    actions: u64,
    awake_until: Moment,
    wakes_at: Option<Moment>,
    registers: bool,
    deferred: bool,
}

fn abilities(habits: &Habits) -> Abilities {
    let schemes: Schemes = [Scheme::Coap, Scheme::Https].into_iter().collect();
    Abilities { schemes, delivery: habits.delivery, image_bytes_max: 1 << 20 }
}

impl Device {
    pub(crate) fn new(habits: Habits, now: Moment) -> Self {
        let wakes_at = habits.sleeps_ms.map(|every| Moment(now.0 + every));
        Self {
            object: Object::new(abilities(&habits)),
            habits,
            running: OLD,
            observed: Vec::new(),
            push_by_us: false,
            pushed_image_by_us: false,
            installs: 0,
            installs_of_target: 0,
            fetched: 0,
            record: Record::default(),
            slot: None,
            work: None,
            actions: 0,
            awake_until: Moment(now.0 + AWAKE_MS),
            wakes_at,
            registers: false,
            deferred: false,
        }
    }

    pub(crate) fn is_asleep(&self, now: Moment) -> bool {
        self.habits.sleeps_ms.is_some() && now > self.awake_until
    }

    /// A message came or went.
    pub(crate) fn stay_awake(&mut self, now: Moment) {
        self.awake_until = Moment(now.0 + AWAKE_MS);
    }

    /// Whether it has just sent an Update of its registration.
    pub(crate) fn woke(&mut self, now: Moment) -> bool {
        let woke = self.is_up() && self.wakes_at.is_some_and(|at| now >= at);
        if woke {
            self.wakes_at = self.habits.sleeps_ms.map(|every| Moment(now.0 + every));
            self.stay_awake(now);
        }
        woke
    }

    /// Whether it answers: it is not between two boots.
    pub(crate) fn is_up(&self) -> bool {
        !matches!(self.work, Some(Work::Boot { .. }))
    }

    /// Whether the image in flash is the campaign's.
    pub(crate) fn holds_ours(&self) -> bool {
        self.slot == Some(TARGET)
    }

    pub(crate) fn next_moment(&self, now: Moment) -> Option<Moment> {
        let object = self.object.poll_timeout().filter(|_| self.is_up());
        let wakes = self.wakes_at.filter(|at| *at > now);
        [self.work.as_ref().map(Work::at), object, wakes].into_iter().flatten().min()
    }

    /// Does what the object says; or has its power cut before it does.
    pub(crate) fn pump(&mut self, now: Moment, troubles: &mut Troubles, violations: &mut Vec<String>) {
        while self.is_up() {
            let Some(action) = self.object.poll_action() else { return };
            self.actions += 1;
            if troubles.cut_at == Some(self.actions) {
                troubles.cut_at = None;
                self.cut(now);
                return;
            }
            self.perform(now, action, violations);
        }
    }

    fn perform(&mut self, now: Moment, action: Action, violations: &mut Vec<String>) {
        let soon = Moment(now.0 + BLOCK_MS);
        match action {
            Action::Persist(record) => {
                let written = Record::decode(&record.encode());
                self.record = written.unwrap_or_default();
                if self.record != record {
                    violations.push("a record is not what was written".to_owned());
                }
            }
            Action::Begin { attempt, origin: Origin::Uri { uri, offset, .. } } => {
                self.slot = None;
                let etag = uri.as_bytes()[uri.len() - 4..].to_vec();
                let bytes = self.object.handle_source(now, attempt, Some(&etag), Some(IMAGE_BYTES));
                if bytes.is_some_and(|bytes| bytes > offset) {
                    violations.push("a fetch goes on beyond what is at hand".to_owned());
                }
                self.work = bytes.map(|bytes| Work::Fetch { attempt, uri, bytes, at: soon });
            }
            Action::Begin { origin: Origin::Push, .. } => {
                self.slot = None;
                self.pushed_image_by_us = self.push_by_us;
                self.work = None;
            }
            Action::Append { .. } => {}
            Action::Verify { attempt } => {
                let ours = match &self.object.record().origin {
                    Some(Origin::Uri { uri, .. }) => uri.contains("//server/"),
                    Some(Origin::Push) | None => self.pushed_image_by_us,
                };
                self.slot = Some(if ours { TARGET } else { FOREIGN });
                self.work = Some(Work::Check { attempt, at: soon });
            }
            Action::Install { attempt } => self.work = Some(Work::Install { attempt, at: soon }),
            Action::Discard { .. } => {
                self.slot = None;
                self.work = None;
            }
        }
    }

    /// Time passes; whether it has just come up, and registers.
    pub(crate) fn tick(&mut self, now: Moment, away: bool) -> bool {
        if self.is_up() {
            self.object.handle_timeout(now);
        }
        if self.work.as_ref().is_some_and(|work| now >= work.at())
            && let Some(work) = self.work.take()
        {
            self.go_on(now, work, away);
        }
        let registers = self.registers && !away;
        if registers {
            self.registers = false;
            self.stay_awake(now);
        }
        registers
    }

    fn go_on(&mut self, now: Moment, work: Work, away: bool) {
        let next = Moment(now.0 + BLOCK_MS);
        match work {
            Work::Fetch { attempt, uri, bytes, .. } if away => {
                self.work = Some(Work::Fetch { attempt, uri, bytes, at: Moment(now.0 + 60_000) });
            }
            Work::Fetch { attempt, uri, bytes, .. } => self.fetch(now, attempt, uri, bytes),
            Work::Check { attempt, .. } => self.check(now, attempt),
            Work::Install { attempt, .. } => self.install(now, attempt),
            Work::Boot { .. } if self.habits.dies => {
                self.work = Some(Work::Boot { restart: Restart::Plain, at: Moment(u64::MAX) });
            }
            Work::Boot { restart, .. } => {
                let record = if self.habits.forgets { Record::default() } else { self.record.clone() };
                self.object = Object::restored(abilities(&self.habits), record, restart, now);
                self.observed.clear();
                self.registers = true;
                if restart == Restart::OnTrial {
                    self.work = Some(Work::Install { attempt: self.object.record().attempt, at: next });
                }
            }
        }
    }

    fn fetch(&mut self, now: Moment, attempt: u32, uri: String, bytes: u64) {
        let half = bytes >= IMAGE_BYTES / 2;
        let stranger = uri.contains("stranger");
        if half && !stranger && self.habits.stalls > 0 {
            self.habits.stalls -= 1;
            return;
        }
        if half && !stranger && self.habits.lost_downloads > 0 {
            self.habits.lost_downloads -= 1;
            return self.object.handle_failed(now, attempt, UpdateResult::ConnectionLost);
        }
        let bytes = bytes + BLOCK_BYTES;
        if !stranger {
            self.fetched += BLOCK_BYTES;
        }
        self.object.handle_progress(now, attempt, bytes);
        if bytes >= IMAGE_BYTES {
            self.object.handle_downloaded(attempt);
        } else {
            self.work = Some(Work::Fetch { attempt, uri, bytes, at: Moment(now.0 + BLOCK_MS) });
        }
    }

    fn check(&mut self, now: Moment, attempt: u32) {
        if self.habits.bad_images.0 > 0 && self.holds_ours() {
            self.habits.bad_images.0 -= 1;
            return self.object.handle_failed(now, attempt, self.habits.bad_images.1);
        }
        self.object.handle_verified(now, attempt, None, self.slot.map(str::to_owned));
    }

    fn install(&mut self, now: Moment, attempt: u32) {
        let boot = |restart| Some(Work::Boot { restart, at: Moment(now.0 + 20_000) });
        let image = |kept| if kept == Kept::Yes { Image::Kept } else { Image::Dropped };
        // On trial it runs the image already: this is the trial's end.
        if self.running == self.slot.unwrap_or(OLD) {
            self.object.handle_installed(now, attempt);
            return;
        }
        if self.habits.install == Install::Deferred && !self.deferred {
            self.deferred = true;
            if self.object.handle_deferred(now, attempt) {
                return;
            }
        }
        self.installs += 1;
        self.installs_of_target += u32::from(self.holds_ours());
        self.work = match self.habits.install {
            Install::Works | Install::Deferred => {
                self.running = self.slot.unwrap_or(OLD);
                boot(if now.0.is_multiple_of(2) { Restart::Updated } else { Restart::OnTrial })
            }
            Install::RollsBack(kept) => boot(Restart::RolledBack(image(kept))),
            Install::Fails(kept) => {
                let result = UpdateResult::UpdateFailed;
                return self.object.handle_install_failed(now, attempt, result, image(kept));
            }
            Install::Lies => boot(Restart::Updated),
            Install::Twice => {
                self.habits.install = Install::Works;
                self.running = self.slot.unwrap_or(OLD);
                self.installs_of_target += 1;
                boot(Restart::Updated)
            }
        };
    }

    /// The power is cut: what is durable remains, and what was in flash.
    fn cut(&mut self, now: Moment) {
        let restart = match &self.work {
            Some(Work::Boot { restart, .. }) => *restart,
            Some(_) | None if self.running != OLD => Restart::Updated,
            Some(_) | None => Restart::Plain,
        };
        self.work = Some(Work::Boot { restart, at: Moment(now.0 + 20_000) });
    }
}
