//! What a device's program does for object 5: it takes in images, checks and installs them, and finds out whether they work.

use super::super::device::Io;
use super::super::sabotage::Sabotage;
use super::device::{Alarm, Constrained};
use super::host::LINK_START;
use updraft_lwm2m::Moment;
use updraft_lwm2m::coap::{BlockSize, Code, Download, Method, Progress, Request, RequestId, Response};
use updraft_lwm2m::firmware::UpdateResult;
use updraft_lwm2m::firmware::object::{Action, Image, Origin};

/// How often in a row a block is asked for in vain, until the download has failed.
const TRIES_MAX: u32 = 6;
/// The pause after that, in milliseconds.
const TRY_AGAIN_MS: u64 = 20_000;

/// A download under way.
pub(super) struct Fetching {
    attempt: u32,
    download: Download,
    asked: Option<RequestId>,
    /// Whether object 5 was told what the source has.
    is_announced: bool,
    tries: u32,
}

impl Constrained {
    /// Does what object 5 wants; whether there was power for it.
    pub(super) fn act_on_firmware(&mut self, io: &mut Io<'_>, action: Action) -> bool {
        match action {
            Action::Persist(record) => {
                if !self.chip.change() {
                    return false;
                }
                self.chip.persist(record);
            }
            Action::Begin { attempt, origin } => self.begin(io, attempt, origin),
            Action::Append { offset, bytes, .. } => {
                if !self.chip.change() {
                    return false;
                }
                self.chip.slot.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
                self.chip.slot.extend(bytes);
            }
            Action::Verify { .. } => {
                let pause = io.random.between(100, 5_000);
                self.alarms.set(Alarm::Verify, io.now + pause);
            }
            Action::Install { attempt } => self.begin_install(io, attempt),
            Action::Discard { .. } => {
                self.fetching = None;
                self.chip.slot.clear();
                self.alarms.clear(Alarm::Verify);
                self.alarms.clear(Alarm::Install);
            }
        }
        true
    }

    fn begin(&mut self, io: &mut Io<'_>, attempt: u32, origin: Origin) {
        self.fetching = None;
        self.alarms.clear(Alarm::Fetch);
        let Origin::Uri { uri, etag, offset } = origin else {
            io.truth.count("pushes begun");
            return self.chip.slot.clear();
        };
        io.truth.count("pulls begun");
        let path = uri.strip_prefix(LINK_START).unwrap_or_default();
        let request = Request::new(Method::Get, path);
        let kept = usize::try_from(offset).unwrap_or(usize::MAX);
        let resumes = !etag.is_empty() && kept > 0 && kept <= self.chip.slot.len();
        let size = BlockSize::MAX;
        let download = if resumes {
            self.chip.slot.truncate(kept);
            io.truth.count("pulls resumed");
            Download::resume(request, size, offset, etag)
        } else {
            self.chip.slot.clear();
            Download::new(request, size)
        };
        self.fetching = Some(Fetching { attempt, download, asked: None, is_announced: false, tries: 0 });
        self.alarms.set(Alarm::Fetch, io.now);
    }

    /// The session is another: what was asked on the one before is not answered.
    pub(super) fn fetch_again(&mut self, io: &mut Io<'_>) {
        if let Some(fetching) = &mut self.fetching {
            fetching.asked = None;
            self.alarms.set(Alarm::Fetch, io.now);
        }
    }

    /// Asks for the next block.
    pub(super) fn fetch(&mut self, io: &mut Io<'_>) {
        let now = Moment(io.now);
        let (Some(client), Some(fetching)) = (&mut self.client, &mut self.fetching) else { return };
        if self.nature.fetches_nothing {
            return;
        }
        if client.location().is_none() || fetching.asked.is_some() {
            return self.alarms.set(Alarm::Fetch, io.now + TRY_AGAIN_MS);
        }
        let request = fetching.download.next_request().expect("images here are far below 2^20 blocks");
        match client.request(now, request) {
            Ok(id) => fetching.asked = Some(id),
            Err(_) => self.alarms.set(Alarm::Fetch, io.now + TRY_AGAIN_MS),
        }
    }

    /// What came of a block that was asked for.
    pub(super) fn take_block(&mut self, io: &mut Io<'_>, id: RequestId, response: Option<Response>) {
        let Some(fetching) = self.fetching.as_mut().filter(|fetching| fetching.asked == Some(id)) else {
            return;
        };
        fetching.asked = None;
        let attempt = fetching.attempt;
        let progress = response.map(|response| fetching.download.handle_response(response));
        match progress {
            Some(Progress::Bytes(bytes)) => self.take_bytes(io, attempt, bytes, false),
            Some(Progress::Last(bytes)) => self.take_bytes(io, attempt, bytes, true),
            Some(Progress::Restarted) => {
                self.chip.slot.clear();
                self.fetch(io);
            }
            None => self.try_again(io, attempt),
            Some(Progress::Refused(response)) if response.code == Code::SERVICE_UNAVAILABLE => {
                self.try_again(io, attempt);
            }
            Some(Progress::Refused(_)) => self.give_up(io, attempt, UpdateResult::InvalidUri),
            Some(Progress::Broken) => self.give_up(io, attempt, UpdateResult::ConnectionLost),
        }
    }

    fn take_bytes(&mut self, io: &mut Io<'_>, attempt: u32, bytes: Vec<u8>, is_last: bool) {
        let now = Moment(io.now);
        let (Some(client), Some(fetching)) = (&mut self.client, &mut self.fetching) else { return };
        fetching.tries = 0;
        self.chip.slot.extend(bytes);
        let length = self.chip.slot.len() as u64;
        if !std::mem::replace(&mut fetching.is_announced, true) {
            let (etag, total) = (fetching.download.etag().map(<[u8]>::to_vec), fetching.download.total());
            client.firmware(now, |object| object.handle_source(now, attempt, etag.as_deref(), total));
        }
        client.firmware(now, |object| object.handle_progress(now, attempt, length));
        if is_last {
            self.fetching = None;
            client.firmware(now, |object| object.handle_downloaded(attempt));
        } else {
            self.fetch(io);
        }
    }

    fn try_again(&mut self, io: &mut Io<'_>, attempt: u32) {
        let Some(fetching) = &mut self.fetching else { return };
        fetching.tries += 1;
        if fetching.tries > TRIES_MAX {
            return self.give_up(io, attempt, UpdateResult::ConnectionLost);
        }
        self.alarms.set(Alarm::Fetch, io.now + TRY_AGAIN_MS);
    }

    fn give_up(&mut self, io: &mut Io<'_>, attempt: u32, result: UpdateResult) {
        self.fetching = None;
        let now = Moment(io.now);
        if let Some(client) = &mut self.client {
            client.firmware(now, |object| object.handle_failed(now, attempt, result));
        }
    }

    /// The image is in: is it one?
    pub(super) fn verify(&mut self, io: &mut Io<'_>) {
        let (now, digest) = (Moment(io.now), self.chip.digest());
        let Some(client) = &mut self.client else { return };
        let attempt = client.firmware_object().map_or(0, |object| object.record().attempt);
        if self.nature.damages_images {
            client.firmware(now, |object| object.handle_failed(now, attempt, UpdateResult::Integrity));
        } else if let Some(version) = io.truth.image(&digest).map(|image| image.version.clone()) {
            client.firmware(now, |object| object.handle_verified(now, attempt, None, Some(version)));
        } else {
            let id = &io.truth.devices[self.device].id;
            io.truth.complaints.push(format!("{id} was brought an image that nobody made"));
        }
    }

    fn begin_install(&mut self, io: &mut Io<'_>, attempt: u32) {
        let now = Moment(io.now);
        let puts_off = self.nature.defers && self.deferred != Some(attempt);
        if let Some(client) = &mut self.client
            && puts_off
            && client.firmware(now, |object| object.handle_deferred(now, attempt)) == Some(true)
        {
            self.deferred = Some(attempt);
            return io.truth.count("updates put off");
        }
        self.installing = Some(attempt);
        let pause = io.random.between(500, 20_000);
        self.alarms.set(Alarm::Install, io.now + pause);
    }

    /// Installs what is in the slot.
    pub(super) fn install(&mut self, io: &mut Io<'_>) {
        let Some(attempt) = self.installing.take() else { return };
        let digest = self.chip.digest();
        let Some(image) = io.truth.image(&digest).cloned() else {
            let id = &io.truth.devices[self.device].id;
            return io.truth.complaints.push(format!("{id} installs an image that nobody made"));
        };
        let job = io.truth.devices[self.device].told.get(&image.version).cloned();
        if let Some(job) = &job {
            io.truth.begins(io.now, self.device, job);
        }
        io.truth.count("installations");
        let works = io.truth.is_healthy(self.device, &image);
        if !works && !self.nature.has_trial {
            return self.refuse_image(io, attempt, job.as_deref());
        }
        if !self.nature.has_trial
            && let Some(job) = &job
        {
            io.truth.settles(io.now, self.device, job, "installed", false);
        }
        self.chip.switch(image.version, job.clone(), self.nature.has_trial);
        let pause = io.random.between(1_000, 30_000);
        self.switch_off(io, pause);
    }

    /// The image does not work here, and a device without trials finds that before it starts it.
    fn refuse_image(&mut self, io: &mut Io<'_>, attempt: u32, job: Option<&str>) {
        if let Some(job) = job {
            io.truth.settles(io.now, self.device, job, "does not work here", true);
        }
        if self.sabotage == Some(Sabotage::InstallsTwice) {
            self.installing = Some(attempt);
            return self.alarms.set(Alarm::Install, io.now + TRY_AGAIN_MS);
        }
        self.chip.refuse();
        let now = Moment(io.now);
        if let Some(client) = &mut self.client {
            let result = UpdateResult::UpdateFailed;
            client.firmware(now, |object| object.handle_install_failed(now, attempt, result, Image::Dropped));
        }
    }

    /// Does what runs on trial work?
    pub(super) fn probe(&mut self, io: &mut Io<'_>) {
        let Some(trial) = self.chip.trial.clone() else { return };
        let works =
            io.truth.image(&trial.sha256).is_some_and(|image| io.truth.is_healthy(self.device, image));
        if works || self.sabotage == Some(Sabotage::ConfirmsUnseen) {
            self.chip.confirm();
            if let Some(job) = &trial.job {
                io.truth.settles(io.now, self.device, job, "updated", false);
            }
            io.truth.confirms(io.now, self.device, Some(&trial.sha256));
            let now = Moment(io.now);
            if let Some(client) = &mut self.client {
                let attempt = client.firmware_object().map_or(0, |object| object.record().attempt);
                client.firmware(now, |object| object.handle_installed(now, attempt));
            }
        } else {
            self.chip.fall_back();
            if let Some(job) = &trial.job {
                io.truth.settles(io.now, self.device, job, "does not work here", true);
            }
            let pause = io.random.between(1_000, 30_000);
            self.switch_off(io, pause);
        }
    }
}
