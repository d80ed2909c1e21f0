//! What the host program says: how a download, a check, an installation went, and what it found after a restart.

use super::super::word::{State, UpdateResult};
use super::record::ETAG_BYTES_MAX;
use super::{Abilities, Action, Object, Origin, Record};
use crate::moment::Moment;

/// The record is made durable again each time so much more is at hand: a restart costs no more than this, and a flash is
/// not worn out by an image of megabytes.
const PROGRESS_BYTES: u64 = 65_536;

/// An installation that was cut off is begun again so often; then it has failed.
const INSTALLS_MAX: u8 = 3;

/// What became of the image when an installation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// It is still there, and can be installed again.
    Kept,
    /// It is gone.
    Dropped,
}

/// What the host found when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// It runs what it ran before, and no installation ended.
    Plain,
    /// It runs the image, for good.
    Updated,
    /// It runs the image on trial: [`Object::handle_installed`] or another restart ends that.
    OnTrial,
    /// It went back to what it ran before.
    RolledBack(Image),
}

impl Object {
    /// The object after a restart, before the device registers: what it says of the update is settled here.
    #[must_use]
    pub fn restored(abilities: Abilities, record: Record, restart: Restart, now: Moment) -> Self {
        let mut object = Self::new(abilities);
        object.defer_until = record.defer_left_ms.map(|left| Moment(now.0.saturating_add(left)));
        object.record = record;
        match (object.record.state, restart) {
            (State::Updating, Restart::Plain) => object.resume_install(now),
            (State::Updating | State::Downloaded, Restart::Updated) => object.succeed(now),
            (State::Updating, Restart::RolledBack(image)) => {
                object.fail_install(now, UpdateResult::UpdateFailed, image);
            }
            (State::Downloading, _) => object.resume_download(now),
            (State::Downloaded, _) if object.record.automatic && object.defer_until.is_none() => {
                object.begin_install(now);
                object.release_install();
            }
            (State::Updating, Restart::OnTrial) | (State::Downloaded | State::Idle, _) => {}
        }
        object
    }

    fn resume_install(&mut self, now: Moment) {
        if self.record.installs >= INSTALLS_MAX {
            self.fail_install(now, UpdateResult::UpdateFailed, Image::Kept);
        } else {
            self.begin_install(now);
            self.release_install();
        }
    }

    /// A fetch goes on; the rest of a push is lost with the blocks' state.
    fn resume_download(&mut self, now: Moment) {
        match self.record.origin.clone() {
            Some(origin @ Origin::Uri { .. }) => {
                self.actions.push_back(Action::Begin { attempt: self.record.attempt, origin });
            }
            Some(Origin::Push) | None => self.abandon(now, UpdateResult::ConnectionLost),
        }
    }

    /// The host knows the time of day: seconds since 1970, now.
    pub fn handle_clock(&mut self, now: Moment, unix_s: i64) {
        self.clock_s = Some(unix_s.saturating_sub(super::seconds(now)));
    }

    /// The answer to the latest request has left: an installation that waits for that begins.
    pub fn handle_answered(&mut self) {
        self.release_install();
    }

    /// The source of a fetch said what it has: the offset to go on at, which is what is at hand only if the `ETag` is the
    /// same (RFC 7252 §5.10.6); none where the image has no room, or the attempt is over.
    pub fn handle_source(
        &mut self,
        now: Moment,
        attempt: u32,
        etag: Option<&[u8]>,
        size: Option<u64>,
    ) -> Option<u64> {
        if !self.downloads(attempt) {
            return None;
        }
        if size.is_some_and(|size| size > self.abilities.image_bytes_max) {
            self.abandon(now, UpdateResult::NoFlash);
            return None;
        }
        let Some(Origin::Uri { etag: known, offset, .. }) = &mut self.record.origin else { return None };
        let said = etag.filter(|etag| !etag.is_empty() && etag.len() <= ETAG_BYTES_MAX).unwrap_or_default();
        if said.is_empty() || said != known.as_slice() {
            *offset = 0;
            *known = said.to_vec();
            self.persist(now);
        }
        match &self.record.origin {
            Some(Origin::Uri { offset, .. }) => Some(*offset),
            Some(Origin::Push) | None => None,
        }
    }

    /// So many bytes of a fetch are at hand, and durable.
    pub fn handle_progress(&mut self, now: Moment, attempt: u32, bytes: u64) {
        if !self.downloads(attempt) {
            return;
        }
        if bytes > self.abilities.image_bytes_max {
            return self.abandon(now, UpdateResult::NoFlash);
        }
        let Some(Origin::Uri { offset, .. }) = &mut self.record.origin else { return };
        if bytes >= offset.saturating_add(PROGRESS_BYTES) {
            *offset = bytes;
            self.persist(now);
        }
    }

    /// A fetch is complete.
    pub fn handle_downloaded(&mut self, attempt: u32) {
        if self.downloads(attempt) {
            self.actions.push_back(Action::Verify { attempt });
        }
    }

    /// The download failed: the host has tried what there was to try.
    pub fn handle_failed(&mut self, now: Moment, attempt: u32, result: UpdateResult) {
        if self.downloads(attempt) {
            self.abandon(now, result);
        }
    }

    /// The image is whole and right: its name and version, where it has them.
    pub fn handle_verified(
        &mut self,
        now: Moment,
        attempt: u32,
        name: Option<String>,
        version: Option<String>,
    ) {
        if !self.downloads(attempt) || self.pushed.is_some() {
            return;
        }
        self.record.package_name = name;
        self.record.package_version = version;
        self.changed |= 1 << 6 | 1 << 7;
        self.enter(now, State::Downloaded, UpdateResult::Initial);
        if self.record.automatic {
            self.begin_install(now);
            self.release_install();
        }
    }

    /// The update is to be put off; false where the server's period does not allow it (any more), and it is to go on.
    #[must_use]
    pub fn handle_deferred(&mut self, now: Moment, attempt: u32) -> bool {
        let begin = self.defer_until.is_none();
        let period = u64::from(self.record.defer_max_s) * 1000;
        let until = self.defer_until.unwrap_or(Moment(now.0.saturating_add(period)));
        if !self.installs(attempt) || period == 0 || (!begin && now >= until) {
            return false;
        }
        self.defer_until = Some(until);
        self.install_next = false;
        self.enter(now, State::Downloaded, UpdateResult::Deferred);
        true
    }

    /// The image is installed and runs for good, with or without a restart.
    pub fn handle_installed(&mut self, now: Moment, attempt: u32) {
        if self.installs(attempt) {
            self.succeed(now);
        }
    }

    /// The installation failed, and the device runs what it ran.
    pub fn handle_install_failed(&mut self, now: Moment, attempt: u32, result: UpdateResult, image: Image) {
        if self.installs(attempt) {
            self.fail_install(now, result, image);
        }
    }

    fn succeed(&mut self, now: Moment) {
        self.settle(now, UpdateResult::Success);
    }

    fn fail_install(&mut self, now: Moment, result: UpdateResult, image: Image) {
        self.defer_until = None;
        self.install_next = false;
        match image {
            Image::Kept => self.enter(now, State::Downloaded, result),
            Image::Dropped => self.settle(now, result),
        }
    }

    fn downloads(&self, attempt: u32) -> bool {
        self.record.state == State::Downloading && self.record.attempt == attempt
    }

    fn installs(&self, attempt: u32) -> bool {
        self.record.state == State::Updating && self.record.attempt == attempt
    }
}
