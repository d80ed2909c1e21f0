//! The server's driver of one device's one update.
//!
//! It works from what the device says when it is read, and from a marker the server keeps: what the device's words mean
//! is decided anew after each reading. So a notification is no more than a hint to read, a lost one costs a poll, and the
//! driver that follows a crash goes the same way as the one before it.
//!
//! Deliberately absent: push or pull (the server decides, asked by [`Event::Decide`]), maintenance windows and waves
//! ([`Event::Ready`]), block-wise transfer, and everything of other devices.
//!
//! What holds: the device is told to install only an image that this campaign put there; a result is believed only when
//! it is this campaign's; each wait has a bound of [`super::Limits`]; and before each step that could not be told from the
//! device's words alone, the marker is durable.

mod act;
mod ask;
mod line;
mod place;
mod read;
mod reset;

use std::collections::VecDeque;

use super::campaign::{Campaign, Delivery, Marker, Stage};
use super::{PACKAGE, PACKAGE_URI, UPDATE};
use crate::moment::Moment;
use crate::value::Entry;

pub use ask::{Answer, Ask, Event, Failure, Operation, Outcome, Proof, Unfit};
use line::Line;
use read::Reading;

/// What became of the offer of the image, or of the word to install it, as far as this process knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Sent,
    Done,
    Refused(u8),
    NoAnswer,
    Asleep,
}

/// What the driver waits for, other than an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Nothing: it decides at once.
    Awake,
    /// A moment, or a word of the device before it.
    Until(Moment),
    /// A decision of the server, or a word of the device.
    Server,
}

/// What the decision comes to.
enum Step {
    /// Ask this.
    Ask(Operation),
    /// Make the marker durable, then ask this, or decide again.
    Remember(Option<Operation>),
    /// Look again when the device speaks, at the next poll, or then.
    Wait(Moment),
    /// Do nothing until then, or the device speaks.
    Pause(Moment),
    /// It is the server's turn.
    Hold,
    /// That was it.
    End(Outcome),
}

/// The driver. Each method that takes in something may make an ask or events ready: drain [`Driver::poll_event`], then
/// [`Driver::poll_ask`], and call [`Driver::handle_timeout`] at [`Driver::poll_timeout`].
#[derive(Debug)]
pub struct Driver {
    campaign: Campaign,
    marker: Marker,
    delivery: Option<Delivery>,
    reading: Reading,
    line: Line,
    rest: Rest,
    wake: Option<Moment>,
    /// Markers handed out and not durable yet.
    persisting: u32,
    /// What is asked once they are.
    queued: Option<Operation>,
    /// The last sign that something moved.
    progress_at: Moment,
    hold_until: Moment,
    served: u64,
    placing: Option<Reply>,
    executing: Option<Reply>,
    /// The package's version when it was first seen whole: if it changes, somebody else put another there.
    package_seen: Option<Option<String>>,
    settings_tried: u8,
    resets: u8,
    rung: u8,
    deciding: bool,
    ready_told: bool,
    gate_until: Option<Moment>,
    cancelling: bool,
    cancel_sent: bool,
    ended: bool,
    events: VecDeque<Event>,
    told: Option<Event>,
}

impl Driver {
    /// A driver of the campaign, at its beginning or after a crash of the server: it begins by reading the device.
    #[must_use]
    pub fn new(campaign: Campaign, now: Moment) -> Self {
        let mut driver = Self {
            marker: campaign.marker.clone().unwrap_or_default(),
            delivery: campaign.delivery.clone(),
            campaign,
            reading: Reading::default(),
            line: Line::default(),
            rest: Rest::Awake,
            wake: None,
            persisting: 0,
            queued: None,
            progress_at: now,
            hold_until: now,
            served: 0,
            placing: None,
            executing: None,
            package_seen: None,
            settings_tried: 0,
            resets: 0,
            rung: 0,
            deciding: false,
            ready_told: false,
            gate_until: None,
            cancelling: false,
            cancel_sent: false,
            ended: false,
            events: VecDeque::new(),
            told: None,
        };
        driver.reading.version_wanted = true;
        driver.look();
        driver.advance(now);
        driver
    }

    /// What the driver would have remembered.
    #[must_use]
    pub fn marker(&self) -> &Marker {
        &self.marker
    }

    /// What the device's object held when it was last read.
    #[must_use]
    pub fn snapshot(&self) -> &super::Snapshot {
        &self.reading.snapshot
    }

    /// Whether [`Event::Ended`] was told.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The ask that is to go out, once.
    pub fn poll_ask(&mut self) -> Option<Ask> {
        let ask = self.line.ready.take()?;
        self.line.open = Some(ask.clone());
        Some(ask)
    }

    /// What the server is to know or do, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Driver::handle_timeout`]; none while only words of others move the driver.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.wake
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Moment) {
        if self.persisting == 0
            && let Some(ask) = self.line.open.as_ref().or(self.line.ready.as_ref())
            && now >= self.ask_deadline(&ask.operation)
        {
            let id = ask.id;
            self.line.open = self.line.open.take().or(self.line.ready.take());
            self.handle_answer(now, id, Answer::NoAnswer);
            return;
        }
        self.advance(now);
    }

    /// The device answered ask `id`, or did not. Answers to asks that are no longer open are passed over.
    pub fn handle_answer(&mut self, now: Moment, id: u32, answer: Answer) {
        let Some(ask) = self.line.open.take_if(|ask| ask.id == id) else { return };
        if self.ended {
            return;
        }
        match &answer {
            Answer::NoAnswer => self.unanswered(now),
            Answer::Asleep => {
                self.line.asleep = true;
                self.line.silent_since.get_or_insert(now);
            }
            Answer::Refused(code) if ask::busy(*code) => self.unanswered(now),
            Answer::Content(_) | Answer::Done | Answer::Refused(_) => self.heard(now),
        }
        match ask.operation {
            Operation::Read(path) => self.handle_read(now, path, answer),
            Operation::Observe(path) => self.handle_observed(now, path, answer),
            Operation::Write { path, .. } if path == PACKAGE_URI || path == PACKAGE => {
                self.handle_placed(now, &answer);
            }
            Operation::Push { .. } => self.handle_placed(now, &answer),
            Operation::Execute(path) if path == UPDATE => self.handle_executed(now, &answer),
            Operation::Execute(_) => self.look(),
            // A setting: a device that refuses it does without.
            Operation::Write { path, value } => {
                if answer == Answer::Done {
                    self.reading.snapshot.absorb(&[Entry { path, value }]);
                }
            }
        }
        self.advance(now);
    }

    /// The device told what it was asked to observe. It is read before anything rests on that.
    pub fn handle_notification(&mut self, now: Moment, entries: &[Entry]) {
        if self.ended {
            return;
        }
        self.heard(now);
        self.line.asleep = false;
        self.reading.snapshot.absorb(entries);
        self.note_change(now);
        self.look();
        self.advance(now);
    }

    /// The device registered anew, and the answer to that has left (Core §6.4): its observations are gone, what was asked
    /// will not be answered, and it may have restarted.
    pub fn handle_registered(&mut self, now: Moment) {
        if self.ended {
            return;
        }
        self.give_up_ask();
        self.heard(now);
        self.line.asleep = false;
        self.reading.forget_observations();
        self.reading.version_wanted = true;
        if let Some(placement) = &mut self.marker.placement
            && placement.stage == Stage::Executing
        {
            placement.stage = Stage::Restarted;
            self.remember();
        }
        self.look();
        self.advance(now);
    }

    /// The device is awake (it updated its registration, or sent something): what waited for that goes out.
    pub fn handle_awake(&mut self, now: Moment) {
        if self.ended {
            return;
        }
        let rested = self.line.asleep || self.line.unanswered > 0;
        self.heard(now);
        self.line.asleep = false;
        if rested {
            self.look();
        }
        self.advance(now);
    }

    /// So much of the image has left for the device: served to its pull, or acknowledged of the push.
    pub fn handle_served(&mut self, now: Moment, bytes_total: u64) {
        if bytes_total <= self.served || self.ended {
            return;
        }
        self.served = bytes_total;
        self.progress_at = now;
        if self.marker.placement.as_ref().is_some_and(|placement| placement.stage < Stage::Executing) {
            self.tell_downloading();
        }
        self.advance(now);
    }

    /// The oldest marker handed out is durable.
    pub fn handle_persisted(&mut self, now: Moment) {
        self.persisting = self.persisting.saturating_sub(1);
        self.advance(now);
    }

    /// The answer to [`Event::Decide`].
    ///
    /// # Errors
    /// It does not fit the device; the driver waits for another.
    pub fn deliver(&mut self, now: Moment, delivery: Delivery) -> Result<(), Unfit> {
        place::fits(&self.reading.snapshot, &delivery)?;
        if self.deciding {
            self.deciding = false;
            self.delivery = Some(delivery);
            self.look();
            self.advance(now);
        }
        Ok(())
    }

    /// The other answer to [`Event::Decide`]: not before then. The driver asks again.
    pub fn postpone(&mut self, now: Moment, until: Moment) {
        if self.deciding {
            self.deciding = false;
            self.hold_until = until;
            self.look();
            self.advance(now);
        }
    }

    /// The answer to [`Event::Ready`]: the device may be told to install, until then. If it could not be told by then, the
    /// driver says that it is ready again.
    pub fn proceed(&mut self, now: Moment, until: Moment) {
        if self.ready_told && !self.ended {
            self.ready_told = false;
            self.gate_until = Some(until);
            self.look();
            self.advance(now);
        }
    }

    /// Take the image off the device, where it is this campaign's and not being installed; then end. An installation that
    /// has begun goes on to its own end. After a crash of the server the command is to be given again.
    pub fn cancel(&mut self, now: Moment) {
        if self.ended || self.cancelling {
            return;
        }
        self.cancelling = true;
        let unsent = self.queued.take().is_some();
        if self.marker.placement.is_none() || unsent && self.executing.is_none() {
            self.end(Outcome::Cancelled);
            return;
        }
        if unsent {
            self.executing = None;
        }
        if self.open_operation().is_some_and(|operation| matches!(operation, Operation::Push { .. })) {
            self.give_up_ask();
        }
        self.look();
        self.advance(now);
    }

    /// Goes on as far as it can: to the next ask, to a wait, or to the end.
    fn advance(&mut self, now: Moment) {
        self.wake = None;
        if self.ended || self.persisting > 0 {
            return;
        }
        if let Some(operation) = self.open_operation() {
            self.wake = Some(self.ask_deadline(operation));
            return;
        }
        if let Some((deadline, failure)) = self.silence_deadline() {
            if now >= deadline {
                self.end(Outcome::Failed(failure));
                return;
            }
            self.wake = Some(deadline);
        }
        if self.line.asleep {
            return;
        }
        if now < self.line.not_before {
            self.wake_by(self.line.not_before);
            return;
        }
        match self.rest {
            Rest::Until(moment) if now < moment => return self.wake_by(moment),
            Rest::Server => return,
            Rest::Until(_) => self.look(),
            Rest::Awake => {}
        }
        if self.reading.stale && self.queued.is_none() && self.next_reading().is_none() {
            self.look();
        }
        if let Some(operation) = self.queued.take() {
            self.ask(now, operation);
        } else if let Some(operation) = self.next_reading() {
            self.ask(now, operation);
        } else {
            let step = self.act(now);
            self.take(now, step);
        }
    }

    fn take(&mut self, now: Moment, step: Step) {
        match step {
            Step::Ask(operation) => self.ask(now, operation),
            Step::Remember(operation) => {
                self.queued = operation;
                self.remember();
            }
            Step::Wait(until) => {
                let poll = now.plus(self.campaign.limits.poll);
                self.rest = Rest::Until(until.min(poll).max(Moment(now.0 + 1)));
                self.advance(now);
            }
            Step::Pause(until) => {
                self.rest = Rest::Until(until.max(Moment(now.0 + 1)));
                self.advance(now);
            }
            Step::Hold => self.rest = Rest::Server,
            Step::End(outcome) => self.end(outcome),
        }
    }

    fn remember(&mut self) {
        self.persisting += 1;
        self.events.push_back(Event::Persist(self.marker.clone()));
    }

    fn tell(&mut self, event: Event) {
        if self.told.as_ref() != Some(&event) {
            self.told = Some(event.clone());
            self.events.push_back(event);
        }
    }

    fn end(&mut self, outcome: Outcome) {
        self.ended = true;
        self.wake = None;
        self.line.ready = None;
        self.line.open = None;
        self.events.push_back(Event::Ended(outcome));
    }
}
