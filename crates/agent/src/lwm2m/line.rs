//! The thread that is registered: one socket, one session, one client, from the agent's first words to its end.

use super::account::Written;
use super::desk::{Desk, Offer, hush};
use super::kept::Kept;
use super::link_quality;
use super::pull::{Pull, Surroundings};
use super::push::{Push, give};
use super::settings::Settings;
use super::site::Site;
use super::wire::{Heard, Wire};
use crate::agent::Input;
use crate::fetch::{FetchError, FetchPart};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use updraft_lwm2m::Moment;
use updraft_lwm2m::client::{Action, Client, Target};
use updraft_lwm2m::firmware::object::{Action as Word, Origin};

/// How long a part waits for room at the agent, before it is offered again.
const ROOM_EVERY: Duration = Duration::from_millis(5);
/// How long the server is given to take leave of, at the end.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(1);

/// The thread's all.
pub(super) struct Line {
    pub(super) settings: Settings,
    pub(super) desk: Arc<Desk>,
    bell: UnixStream,
    inputs: SyncSender<Input>,
    began: Instant,
    pub(super) client: Client,
    pub(super) kept: Option<Kept>,
    /// In which boot of the agent the device registered.
    pub(super) boot: u64,
    /// Where the device registers; or why there is no such place.
    pub(super) server: Result<Site, String>,
    /// What that server has written to object 1.
    pub(super) written: Option<Written>,
    pub(super) wire: Option<Wire>,
    /// With whom the session is.
    pub(super) wire_to: Target,
    push: Option<Push>,
    pub(super) pull: Option<Pull>,
    is_reboot_due: bool,
    has_left: bool,
    pulls: u8,
}

impl Line {
    pub(super) fn new(
        settings: Settings,
        desk: Arc<Desk>,
        bell: UnixStream,
        inputs: SyncSender<Input>,
    ) -> Self {
        let client = settings.new_client(settings.server_object());
        Self {
            client,
            settings,
            desk,
            bell,
            inputs,
            began: Instant::now(),
            kept: None,
            boot: 0,
            server: Err("there is no account".to_owned()),
            written: None,
            wire: None,
            wire_to: Target::Server,
            push: None,
            pull: None,
            is_reboot_due: false,
            has_left: false,
            pulls: 0,
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Runs to the agent's end.
    pub(super) fn run(mut self) {
        let mut leave_until = None;
        loop {
            let now = self.now();
            self.read_desk(now);
            self.hear(now);
            self.client.handle_timeout(now);
            let is_short_of_room = self.settle(now);
            if self.desk.papers().is_closed && leave_until.is_none() {
                leave_until = Some(now.plus(LEAVE_TIME_MAX));
                self.has_left = self.client.location().is_none();
                self.client.stop(now);
                self.settle(now);
            }
            if leave_until.is_some_and(|until| self.has_left || until <= self.now()) {
                if let Some(wire) = &mut self.wire {
                    wire.close(Duration::from_millis(now.0));
                }
                return;
            }
            self.wait(now, is_short_of_room, leave_until);
        }
    }

    /// Does what follows, until nothing more does. Says whether a part waits for room at the agent.
    fn settle(&mut self, now: Moment) -> bool {
        loop {
            let mut has_acted = false;
            while let Some(action) = self.client.poll_action() {
                has_acted = true;
                self.act(now, action);
            }
            let is_short_of_room = self.feed(now);
            // Held back, the answer makes the server wait with the next block.
            let is_held = self.push.as_ref().is_some_and(Push::is_full);
            let has_sent = !is_held && self.transmit(now);
            if std::mem::take(&mut self.is_reboot_due) {
                let _ = self.inputs.try_send(Input::Reboot);
            }
            if !has_acted && !has_sent {
                return is_short_of_room;
            }
        }
    }

    fn transmit(&mut self, now: Moment) -> bool {
        let mut has_sent = false;
        while let Some(datagram) = self.client.poll_transmit(now) {
            has_sent = true;
            if let Some(wire) = &mut self.wire {
                wire.send(Duration::from_millis(now.0), &datagram);
            }
        }
        has_sent
    }

    fn hear(&mut self, now: Moment) {
        let since = Duration::from_millis(now.0);
        if let Some(wire) = &mut self.wire {
            wire.handle_timeout(since);
        }
        while let Some(heard) = self.wire.as_mut().and_then(|wire| wire.hear(since)) {
            match heard {
                Heard::Connected => self.client.connected(now),
                Heard::Datagram(datagram) => self.client.handle_datagram(now, &datagram),
                Heard::Closed(detail) => {
                    self.wire = None;
                    self.lose_session(detail);
                    self.client.connection_failed(now);
                }
                Heard::Refused(detail) => {
                    self.wire = None;
                    self.lose_session(detail);
                    self.client.connection_refused(now);
                }
            }
            self.settle(now);
        }
    }

    pub(super) fn lose_session(&mut self, detail: String) {
        self.desk.papers().registered = Some(Err(detail));
        if let Some(pull) = &mut self.pull {
            pull.handle_session_lost();
        }
    }

    fn act(&mut self, now: Moment, action: Action) {
        match action {
            Action::Connect { target, session } => self.connect(now, target, session),
            Action::Disconnect => self.has_left = true,
            Action::Registered(location) => {
                self.desk.note(format!("registered as {location}"));
                self.has_left = false;
                self.desk.papers().registered = Some(Ok(()));
                self.measure(now);
                self.desk.hint();
            }
            Action::Updated => self.measure(now),
            Action::Deregistered => {
                self.desk.papers().registered = Some(Err("deregistered".into()));
                self.has_left = true;
            }
            Action::RegistrationFailed(code) => {
                let detail = match code {
                    Some(code) => format!("the server answered {code} to the registration"),
                    None => "the server was not heard".to_owned(),
                };
                self.desk.note(detail.clone());
                self.desk.papers().registered = Some(Err(detail));
            }
            Action::Firmware(word) => self.act_on_firmware(now, word),
            Action::Reboot => self.is_reboot_due = true,
            Action::Answered { id, response } => {
                if let Some(pull) = &mut self.pull {
                    pull.handle_response(id, response);
                }
            }
            Action::Unanswered { id, failure } => {
                if let Some(pull) = &mut self.pull {
                    pull.handle_silence(id, failure.to_string());
                }
            }
            Action::ServerChanged(server) => self.keep_server(&server),
            Action::Bootstrapped(account) => self.take_account(*account),
            Action::BootstrapFailed(code) => self.note_bootstrap_failure(code),
            // The clock is the system's.
            Action::ClockSet(_) => {}
        }
    }

    /// Tells the server of the link and the time, if they have changed.
    fn measure(&mut self, now: Moment) {
        let measured = link_quality::read(self.wire.as_ref().map(Wire::socket));
        self.client.set_connectivity(now, |connectivity| *connectivity = measured);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.client.set_clock(now, i64::try_from(unix).unwrap_or(i64::MAX));
    }

    fn act_on_firmware(&mut self, now: Moment, word: Word) {
        let Some(kept) = &mut self.kept else { return };
        match word {
            Word::Persist(record) => {
                if let Err(error) = kept.save(record) {
                    self.desk.note(format!("{error}: after a restart an update may be told wrongly"));
                }
            }
            Word::Begin { attempt, origin } => {
                let link = match origin {
                    Origin::Uri { uri, .. } => uri,
                    Origin::Push => format!("push:{attempt}"),
                };
                let is_push = link.starts_with("push:");
                let offer = Offer { job: kept.job(attempt), link };
                match &mut self.push {
                    Some(push) if push.attempt == attempt => push.restart(),
                    Some(_) | None => self.push = is_push.then(|| Push::new(attempt)),
                }
                self.desk.papers().offer = Some(offer);
                self.desk.hint();
            }
            Word::Append { attempt, bytes, .. } => {
                if let Some(push) = self.push.as_mut().filter(|push| push.attempt == attempt) {
                    push.append(&bytes);
                }
            }
            Word::Verify { attempt } => {
                if let Some(push) = self.push.as_mut().filter(|push| push.attempt == attempt) {
                    push.end();
                }
            }
            Word::Install { attempt } => {
                let job = kept.job(attempt);
                self.install(now, attempt, job);
            }
            Word::Discard { attempt } => {
                let job = kept.job(attempt);
                self.discard(&job);
            }
        }
    }

    /// Applies, unless the device's own window is closed and the server lets it wait.
    fn install(&mut self, now: Moment, attempt: u32, job: updraft_wire::JobId) {
        let is_open = self.desk.papers().is_open;
        let is_deferred = !is_open
            && self.client.firmware(now, |object| object.handle_deferred(now, attempt)) == Some(true);
        if !is_deferred {
            self.desk.papers().install = Some(job);
            self.desk.hint();
        }
    }

    fn discard(&mut self, job: &updraft_wire::JobId) {
        self.push = None;
        self.pull = None;
        let mut papers = self.desk.papers();
        papers.install = None;
        if papers.offer.as_ref().is_some_and(|offer| offer.job == *job) {
            papers.offer = None;
        }
        drop(papers);
        self.desk.hint();
    }

    /// Makes durable what object 5 has said so far.
    pub(super) fn persist(&mut self, now: Moment) {
        while let Some(action) = self.client.poll_action() {
            self.act(now, action);
        }
    }

    /// Takes a fetch that the agent has left.
    pub(super) fn take_fetch(&mut self, now: Moment) {
        let (fetch, is_stopped) = {
            let mut papers = self.desk.papers();
            (papers.fetch.take(), std::mem::take(&mut papers.is_fetch_stopped))
        };
        if is_stopped {
            self.pull = None;
        }
        let Some((number, wanted)) = fetch else { return };
        if let Some(attempt) = wanted.link.strip_prefix("push:") {
            let push = self.push.as_mut().filter(|push| push.attempt.to_string() == attempt);
            match push {
                Some(push) => push.take_over(number),
                None => self.refuse(number, "the package that was sent is gone"),
            }
            return;
        }
        self.pulls = self.pulls.wrapping_add(1);
        let mut seed = self.settings.seed;
        seed[31] ^= 0x80;
        seed[30] ^= self.pulls;
        let server = match &self.server {
            Ok(server) => server,
            Err(detail) => return self.end_fetch(number, FetchError::Retry(detail.clone())),
        };
        match Pull::begin(number, &wanted, &Surroundings { now, server, seed }) {
            Ok(pull) => self.pull = Some(pull),
            Err(error) => self.end_fetch(number, error),
        }
    }

    fn refuse(&self, number: u64, detail: &str) {
        let reason = updraft_wire::Reason::ConnectionLost;
        self.end_fetch(number, FetchError::Fatal(reason, detail.to_owned()));
    }

    fn end_fetch(&self, number: u64, error: FetchError) {
        // The agent waits for this word, and is not waited for by this thread while it is busy: there is room soon.
        let mut part = Some(FetchPart::Ended(Err(error)));
        while !give(&self.inputs, number, &mut part) {
            std::thread::sleep(ROOM_EVERY);
        }
    }

    fn feed(&mut self, now: Moment) -> bool {
        let mut is_short_of_room = self.push.as_mut().is_some_and(|push| push.feed(&self.inputs));
        if let Some(pull) = &mut self.pull {
            is_short_of_room |= pull.advance(now, &mut self.client, &self.inputs);
            if pull.is_over() {
                self.pull = None;
            }
        }
        is_short_of_room
    }

    fn wait(&self, now: Moment, is_short_of_room: bool, leave_until: Option<Moment>) {
        let wire = self.wire.as_ref().and_then(Wire::due);
        let wire = wire.map(|due| Moment(u64::try_from(due.as_millis()).unwrap_or(u64::MAX)));
        let pull = self.pull.as_ref().and_then(Pull::due);
        let room = is_short_of_room.then(|| now.plus(ROOM_EVERY));
        let due = [self.client.poll_timeout(), wire, pull, room, leave_until].into_iter().flatten().min();
        let timeout = due.map(|due| due.since(self.now()));
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let sockets = [self.wire.as_ref(), self.pull.as_ref().and_then(Pull::wire)];
        let mut waiting: Vec<PollFd<'_>> = vec![PollFd::new(&self.bell, PollFlags::IN)];
        waiting.extend(sockets.into_iter().flatten().map(|wire| PollFd::new(wire.socket(), PollFlags::IN)));
        // An interrupted wait is a short one.
        let _ = poll(&mut waiting, timeout.as_ref());
        hush(&self.bell);
    }
}
