//! The agent's words and object 5: what each of the updater's states is there.

use super::kept::Kept;
use super::line::Line;
use crate::config::Delivery;
use updraft_lwm2m::firmware::object::{Abilities, Image, Restart};
use updraft_lwm2m::firmware::{DeliveryMethod, Object, Record, Scheme, State, UpdateResult};
use updraft_lwm2m::{Moment, Value};
use updraft_wire::{CheckIn, Reason, UpdateState, UpdateStatus};

/// Resource 1 of object 5.
const PACKAGE_URI: u16 = 1;
/// Resource 2 of object 5.
const UPDATE: u16 = 2;

impl Line {
    /// Reads what the agent has left.
    pub(super) fn read_desk(&mut self, now: Moment) {
        let words = self.desk.papers().words.take();
        if let Some(words) = words {
            if self.kept.is_none() {
                self.begin(now, &words);
            }
            self.take_words(now, words);
        }
        if self.kept.is_none() {
            return;
        }
        self.take_staged(now);
        self.take_fetch(now);
        self.take_window(now);
    }

    /// The agent's first words: object 5 is as it was, and as they say; then the device registers.
    fn begin(&mut self, now: Moment, words: &CheckIn) {
        let kept = match Kept::open(&self.settings.state, &self.settings.seed[..4]) {
            Ok(kept) => kept,
            Err(error) => {
                // Asked again with the next words.
                self.desk.papers().registered = Some(Err(error.to_string()));
                return;
            }
        };
        let told = words.update.as_ref().filter(|told| kept.attempt(&told.job) == Some(kept.record.attempt));
        let restart = restart(&kept.record, told);
        let abilities = self.abilities();
        let object = Object::restored(abilities, kept.record.clone(), restart, now);
        if matches!(kept.record.state, State::Downloaded | State::Updating) {
            // The agent goes on with it, or says that it cannot.
            let link = format!("push:{}", kept.record.attempt);
            let offer = super::desk::Offer { job: kept.job(kept.record.attempt), link };
            self.desk.papers().offer = told.is_some().then_some(offer);
        }
        let is_lost = kept.record.state == State::Downloaded && told.is_none();
        self.kept = Some(kept);
        self.boot = words.boot;
        let server = self.find_server();
        let is_known = server.is_some();
        let server = server.unwrap_or_else(|| self.settings.server_object());
        self.client = self.settings.new_client(server).with_firmware(object);
        if is_lost {
            self.reset(now);
        }
        if is_known {
            self.client.start(now);
        } else {
            self.client.start_bootstrap(now);
        }
    }

    fn abilities(&self) -> Abilities {
        let is_plain = self.settings.home.is_plain();
        let plain = [Scheme::Coap, Scheme::Http].into_iter().filter(|_| is_plain);
        let secure = [Scheme::Coaps].into_iter().filter(|_| !is_plain);
        Abilities {
            schemes: plain.chain(secure).chain([Scheme::Https]).collect(),
            delivery: match self.settings.delivery {
                Delivery::Both => DeliveryMethod::Both,
                Delivery::Pull => DeliveryMethod::Pull,
                Delivery::Push => DeliveryMethod::Push,
            },
            image_bytes_max: crate::package::PACKAGE_BYTES_MAX,
        }
    }

    fn take_words(&mut self, now: Moment, words: CheckIn) {
        let Some(kept) = &self.kept else { return };
        if let Some(told) = &words.update {
            match kept.attempt(&told.job).filter(|attempt| *attempt == kept.record.attempt) {
                Some(attempt) => self.take_status(now, attempt, told),
                // Of another server's, or of a record that is lost: there is nobody to tell.
                None if told.state.is_settled() => self.note(told),
                None => {}
            }
        }
        self.client.set_device(now, |device| device.firmware_version.clone_from(&words.version));
        if words.boot != self.boot {
            // The device has started anew: it registers, so that the server asks what it is now (Core §E.6.3).
            self.boot = words.boot;
            self.client.start(now);
        }
    }

    fn take_status(&mut self, now: Moment, attempt: u32, told: &UpdateStatus) {
        let state = self.client.firmware_object().map(Object::state);
        match told.state {
            UpdateState::Downloading
            | UpdateState::Downloaded
            | UpdateState::Installing
            | UpdateState::Rebooting
            | UpdateState::Trial => return,
            UpdateState::Succeeded => {
                self.client.firmware(now, |object| object.handle_installed(now, attempt));
            }
            UpdateState::RolledBack | UpdateState::Failed | UpdateState::Rejected => {
                let result = told.reason.map_or(UpdateResult::UpdateFailed, result);
                match state {
                    Some(State::Downloading) => {
                        self.client.firmware(now, |object| object.handle_failed(now, attempt, result));
                    }
                    Some(State::Updating) => {
                        self.client.firmware(now, |object| {
                            object.handle_install_failed(now, attempt, result, Image::Dropped);
                        });
                    }
                    Some(State::Downloaded) => self.reset(now),
                    Some(State::Idle) | None => {}
                }
            }
        }
        self.note(told);
    }

    /// The image is gone, and nobody asked for that.
    fn reset(&mut self, now: Moment) {
        let nothing = Value::Text(String::new());
        self.client.firmware(now, |object| {
            let _ = object.handle_write(now, PACKAGE_URI, &nothing);
        });
    }

    /// The end is told by object 5 from now on. What it rests on is made durable first.
    fn note(&mut self, told: &UpdateStatus) {
        let now = self.now();
        self.persist(now);
        let mut papers = self.desk.papers();
        papers.noted = Some(told.job.clone());
        papers.install = None;
        papers.offer = papers.offer.take().filter(|offer| offer.job != told.job);
        drop(papers);
        self.desk.hint();
    }

    fn take_staged(&mut self, now: Moment) {
        let staged = self.desk.papers().staged.take();
        let (Some(staged), Some(kept)) = (staged, &self.kept) else { return };
        let Some(attempt) = kept.attempt(&staged.job) else { return };
        let is_new = self
            .client
            .firmware_object()
            .is_some_and(|object| object.state() == State::Downloading && object.record().attempt == attempt);
        if is_new {
            let name = self.settings.device.device_type.clone();
            self.client.firmware(now, |object| {
                object.handle_verified(now, attempt, name, Some(staged.version));
            });
        }
    }

    /// The apply window has opened on an update that was put off: it is applied as if the server had just said so.
    fn take_window(&mut self, now: Moment) {
        let is_open = self.desk.papers().is_open;
        let is_deferred = self.client.firmware_object().is_some_and(|object| {
            let record = object.record();
            record.state == State::Downloaded && record.result == UpdateResult::Deferred
        });
        if is_open && is_deferred {
            self.client.firmware(now, |object| {
                if object.handle_execute(now, UPDATE).is_ok() {
                    object.handle_answered();
                }
            });
        }
    }
}

/// What the agent found when it started, as object 5 asks it.
fn restart(record: &Record, told: Option<&UpdateStatus>) -> Restart {
    match (record.state, told.map(|told| told.state)) {
        (State::Updating, None) => Restart::RolledBack(Image::Dropped),
        (_, Some(UpdateState::Trial)) => Restart::OnTrial,
        (_, Some(UpdateState::Succeeded)) => Restart::Updated,
        (_, Some(UpdateState::RolledBack)) => Restart::RolledBack(Image::Dropped),
        (
            _,
            None
            | Some(
                UpdateState::Downloading
                | UpdateState::Downloaded
                | UpdateState::Installing
                | UpdateState::Rebooting
                | UpdateState::Failed
                | UpdateState::Rejected,
            ),
        ) => Restart::Plain,
    }
}

/// The result that a reason is: they are of one origin.
fn result(reason: Reason) -> UpdateResult {
    match reason {
        Reason::InsufficientStorage => UpdateResult::NoFlash,
        Reason::OutOfMemory => UpdateResult::NoMemory,
        Reason::ConnectionLost => UpdateResult::ConnectionLost,
        Reason::IntegrityCheckFailed => UpdateResult::Integrity,
        Reason::UnsupportedPackage => UpdateResult::UnsupportedPackage,
        Reason::InvalidUri => UpdateResult::InvalidUri,
        Reason::UnsupportedProtocol => UpdateResult::UnsupportedProtocol,
        Reason::Cancelled => UpdateResult::Cancelled,
        Reason::InstallFailed | Reason::Deferred | Reason::RolledBack | Reason::Downgrade => {
            UpdateResult::UpdateFailed
        }
    }
}
