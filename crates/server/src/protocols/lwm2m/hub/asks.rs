//! What devices are asked, and what comes of it.

use super::device::{Registered, Step};
use super::{Action, Hub, LineId};
use std::collections::BTreeSet;
use std::time::Duration;
use updraft_core::id::DeviceId;
use updraft_lwm2m::coap::{Code, Failure, Method, Observe, Request, RequestId, Response};
use updraft_lwm2m::content::{self, ContentFormat, FormatError};
use updraft_lwm2m::firmware::{Answer, Ask, Operation};
use updraft_lwm2m::{Entry, Moment, Path, Value};

/// Objects that describe a device, in the order they are read.
const DESCRIBING: [u16; 3] = [3, 4, 5];

/// How long to wait before a device is read again that did not answer: it may have been off for a moment, or be gone.
const READ_AGAIN: Duration = Duration::from_secs(600);

/// Why a device was asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Purpose {
    /// To know what it is.
    Describe(Path),
    /// The driver of its update asked.
    Drive(u32, Operation),
    /// To know how good its link is, for a decision.
    Link,
    /// An operator asked.
    Order(u64),
}

/// What came.
#[derive(Debug)]
pub(super) enum Came {
    /// An answer.
    Response(Response),
    /// None.
    Nothing(Failure),
}

impl Hub {
    /// Asks a device something; whether it went out.
    pub(super) fn ask(&mut self, now: Moment, device: &DeviceId, request: Request, purpose: Purpose) -> bool {
        self.ask_sized(now, device, request, None, purpose)
    }

    fn ask_sized(
        &mut self,
        now: Moment,
        device: &DeviceId,
        request: Request,
        size: Option<u64>,
        purpose: Purpose,
    ) -> bool {
        let Some(id) = self.line_to(device) else { return false };
        let Some(registered) = self.devices.get_mut(device) else { return false };
        let Some(line) = self.lines.get_mut(&id) else { return false };
        let asked = match size {
            Some(size) => line.peer.push(now, request, size),
            None => line.peer.request(now, request),
        };
        let Ok(asked) = asked else { return false };
        registered.active().asked.insert(asked, purpose);
        // A push says at once which bytes it wants.
        self.drive(now, id);
        true
    }

    /// A request for a part of a device's tree.
    pub(super) fn request_for(&self, device: &DeviceId, method: Method, path: &Path) -> Request {
        let objects = self.devices.get(device).map(|registered| registered.objects()).unwrap_or_default();
        Request::new(method, &format!("{}{path}", objects.root().unwrap_or_default()))
    }

    /// Begins to read what a device is.
    pub(super) fn describe(&mut self, now: Moment, device: &DeviceId) {
        let Some(registered) = self.devices.get_mut(device) else { return };
        let objects = registered.objects();
        let listed = DESCRIBING.into_iter().filter(|object| objects.has(*object));
        registered.active().to_describe = listed.map(|object| Path::instance(object, 0)).collect();
        self.describe_on(now, device);
    }

    /// Reads the next part of what a device is, or tells the fleet.
    pub(super) fn describe_on(&mut self, now: Moment, device: &DeviceId) {
        let Some(registered) = self.devices.get_mut(device) else { return };
        let is_awake = registered.is_awake(now);
        let active = registered.active();
        if active.asked.values().any(|purpose| matches!(purpose, Purpose::Describe(_))) {
            return;
        }
        match active.to_describe.front().copied() {
            Some(_) if !is_awake => {}
            Some(path) => {
                let request = self.request_for(device, Method::Get, &path);
                self.ask(now, device, request, Purpose::Describe(path));
            }
            None => self.tell_description(device),
        }
    }

    pub(super) fn tell_description(&mut self, device: &DeviceId) {
        let Some(registered) = self.devices.get(device) else { return };
        let (tree, alias) = (registered.tree(), registered.alias.as_deref().cloned());
        self.storm.describing += 1;
        self.actions.push_back(Action::Describe(device.clone(), tree, alias));
    }

    /// The fleet knows what a device is; `false`: it could not take it.
    pub fn handle_described(&mut self, device: &DeviceId, is_taken: bool) {
        self.storm.describing = self.storm.describing.saturating_sub(1);
        let Some(registered) = self.devices.get_mut(device) else { return };
        registered.is_described = is_taken;
        registered.tidy();
        if is_taken {
            // Not before: what is kept says that the fleet knows.
            self.keep(device);
            self.look_at(device);
        }
    }

    /// Asks what a driver wants asked.
    pub(super) fn ask_for_driver(&mut self, now: Moment, device: &DeviceId, ask: Ask) -> Option<Answer> {
        let is_awake = self.devices.get(device).is_some_and(|registered| registered.is_awake(now));
        if !is_awake {
            return Some(Answer::Asleep);
        }
        self.drop_driven(now, device);
        let Ask { id, operation } = ask;
        let (request, size) = match &operation {
            Operation::Read(path) => (self.request_for(device, Method::Get, path), None),
            Operation::Observe(path) => {
                let request = self.request_for(device, Method::Get, path);
                (request.with_observe(Observe::Register), None)
            }
            Operation::Write { path, value } => match self.request_to_write(device, path, value) {
                Ok(request) => (request, None),
                Err(error) => return Some(Answer::Refused(error.code())),
            },
            Operation::Push { path, size } => {
                let request = self.request_for(device, Method::Put, path);
                (request.with_payload(ContentFormat::OPAQUE.0, Vec::new()), Some(*size))
            }
            Operation::Execute(path) => (self.request_for(device, Method::Post, path), None),
        };
        let purpose = Purpose::Drive(id, operation);
        if self.ask_sized(now, device, request, size, purpose) { None } else { Some(Answer::NoAnswer) }
    }

    /// Gives up what the driver asked before: it asks one thing at a time, and has given that up itself.
    pub(super) fn drop_driven(&mut self, now: Moment, device: &DeviceId) {
        let Some(registered) = self.devices.get_mut(device) else { return };
        let (Some(line), Some(active)) = (registered.line, registered.active.as_mut()) else { return };
        let driven = active.asked.iter().find(|(_, purpose)| matches!(purpose, Purpose::Drive(..)));
        let Some(request) = driven.map(|(request, _)| *request) else { return };
        active.asked.remove(&request);
        if let Some(line) = self.lines.get_mut(&line) {
            line.peer.cancel(now, request);
        }
    }

    /// A request to write one resource: bytes as they are, everything else as text, which every device reads.
    pub(super) fn request_to_write(
        &self,
        device: &DeviceId,
        path: &Path,
        value: &Value,
    ) -> Result<Request, FormatError> {
        let format =
            if matches!(value, Value::Opaque(_)) { ContentFormat::OPAQUE } else { ContentFormat::TEXT };
        let body = content::encode(format, path, &[Entry::new(*path, value.clone())])?;
        Ok(self.request_for(device, Method::Put, path).with_payload(format.0, body))
    }

    /// Something came of what a device was asked.
    pub(super) fn take_answer(&mut self, now: Moment, line: LineId, request: RequestId, came: Came) {
        let came = match self.take_bootstrap_answer(now, line, request, came) {
            Some(came) => came,
            None => return,
        };
        let Some(device) = self.lines.get(&line).and_then(|line| line.device.clone()) else { return };
        let Some(registered) = self.devices.get_mut(&device) else { return };
        let Some(purpose) = registered.active().asked.remove(&request) else { return };
        if matches!(came, Came::Nothing(Failure::Silent)) {
            self.fell_silent(now, &device);
        }
        let is_silent = matches!(came, Came::Nothing(Failure::Silent | Failure::Unanswered));
        match purpose {
            // It is asked again, with its next word or after a while: nobody is described by what it did not say.
            Purpose::Describe(_) if is_silent => {
                if let Some(registered) = self.devices.get_mut(&device) {
                    registered.active().read_again = Some(now.plus(READ_AGAIN));
                }
            }
            Purpose::Describe(path) => {
                self.take_description(&device, path, &came);
                self.describe_on(now, &device);
            }
            Purpose::Drive(id, operation) => {
                self.take_driven(now, &device, request, id, &operation, &came);
            }
            Purpose::Link => {
                if !is_silent {
                    self.take_description(&device, Path::instance(4, 0), &came);
                }
                self.decide_now(now, &device);
            }
            Purpose::Order(number) => self.take_order_answer(now, &device, request, number, &came),
        }
        if let Some(registered) = self.devices.get_mut(&device) {
            registered.tidy();
        }
    }

    /// What a device was asked will not be answered: it is reached by another line, or by none.
    pub(super) fn unanswered(&mut self, now: Moment, device: &DeviceId, purpose: Purpose) {
        match purpose {
            Purpose::Drive(id, _) => {
                self.with_update(now, device, |update, now| {
                    update.driver.handle_answer(now, id, Answer::NoAnswer);
                });
            }
            Purpose::Link => self.decide_now(now, device),
            // Both are asked again when the device is awake.
            Purpose::Describe(_) | Purpose::Order(_) => {}
        }
    }

    fn take_description(&mut self, device: &DeviceId, path: Path, came: &Came) {
        let Some(registered) = self.devices.get_mut(device) else { return };
        registered.active().to_describe.retain(|waiting| *waiting != path);
        if let Ok(entries) = content_of(&path, came) {
            registered.learn(&path, &entries);
        }
    }

    fn take_driven(
        &mut self,
        now: Moment,
        device: &DeviceId,
        request: RequestId,
        id: u32,
        operation: &Operation,
        came: &Came,
    ) {
        let answer = match operation {
            Operation::Read(path) | Operation::Observe(path) => match content_of(path, came) {
                Ok(entries) => {
                    self.note_read(device, request, operation, *path, &entries, came);
                    Answer::Content(entries)
                }
                Err(answer) => answer,
            },
            Operation::Write { .. } | Operation::Push { .. } | Operation::Execute(_) => done(came),
        };
        self.with_update(now, device, |update, now| update.driver.handle_answer(now, id, answer));
        self.sign_of_life(now, device);
        self.pump(now, device);
    }

    /// Keeps what was read, and the observation, if there is one.
    fn note_read(
        &mut self,
        device: &DeviceId,
        request: RequestId,
        operation: &Operation,
        path: Path,
        entries: &[Entry],
        came: &Came,
    ) {
        let Some(registered) = self.devices.get_mut(device) else { return };
        registered.learn(&path, entries);
        let observes = matches!(operation, Operation::Observe(_));
        let goes_on = matches!(came, Came::Response(response) if response.observe().is_some());
        if observes && goes_on {
            registered.active().observed.insert(request, path);
        }
    }

    /// A notification of what is observed.
    pub(super) fn take_notification(
        &mut self,
        now: Moment,
        line: LineId,
        request: RequestId,
        response: &Response,
    ) {
        let Some(line) = self.lines.get_mut(&line) else { return };
        let Some(device) = line.device.clone() else { return };
        if !line.unasked.admits_notified(now) {
            // What it would have said, the driver asks for after a while.
            return;
        }
        let Some(registered) = self.devices.get_mut(&device) else { return };
        let Some(path) = registered.active().observed.get(&request).copied() else { return };
        if !response.code.is_success() {
            registered.active().observed.remove(&request);
            registered.tidy();
            return;
        }
        if let Ok(entries) = content_of(&path, &Came::Response(response.clone())) {
            registered.learn(&path, &entries);
            self.with_update(now, &device, |update, now| update.driver.handle_notification(now, &entries));
        }
        self.wake(now, &device);
    }

    /// A device can be asked again: what has waited for that goes out.
    pub(super) fn wake(&mut self, now: Moment, device: &DeviceId) {
        if self.devices.get(device).is_some_and(|registered| registered.active.is_some()) {
            self.describe_waiting(now, device);
            self.step(now, device, Step::Awake);
            self.order_on(now, device);
        }
    }

    /// Reads those again that did not answer a while ago.
    pub(super) fn read_again(&mut self, now: Moment) {
        let is_due = |known: &Registered| {
            known.active.as_ref().and_then(|active| active.read_again).is_some_and(|at| at <= now)
        };
        let due: BTreeSet<_> = self
            .devices
            .iter()
            .filter(|(_, known)| is_due(known))
            .map(|(device, _)| device.clone())
            .collect();
        for device in due {
            if let Some(registered) = self.devices.get_mut(&device) {
                registered.active().read_again = None;
            }
            self.describe_waiting(now, &device);
        }
    }

    fn describe_waiting(&mut self, now: Moment, device: &DeviceId) {
        let active = self.devices.get(device).and_then(|registered| registered.active.as_ref());
        if active.is_some_and(|active| !active.to_describe.is_empty()) {
            self.describe_on(now, device);
        }
    }

    /// A device in queue mode that does not answer sleeps, whatever its window says (Transport §6.5).
    fn fell_silent(&mut self, now: Moment, device: &DeviceId) {
        let Some(registered) = self.devices.get_mut(device) else { return };
        if registered.sleeps() && registered.is_awake(now) {
            registered.heard = Moment(now.0.saturating_sub(super::AWAKE_WINDOW.as_millis() as u64));
        }
    }
}

/// What was read, by the format of the answer and not by what was asked for.
pub(super) fn content_of(path: &Path, came: &Came) -> Result<Vec<Entry>, Answer> {
    let response = match came {
        Came::Response(response) if response.code.is_success() => response,
        Came::Response(response) => return Err(Answer::Refused(response.code.0)),
        Came::Nothing(failure) => return Err(failed(*failure)),
    };
    let format = ContentFormat(response.content_format().unwrap_or(ContentFormat::TEXT.0));
    content::decode(format, path, &response.payload).map_err(|error| Answer::Refused(error.code()))
}

fn done(came: &Came) -> Answer {
    match came {
        Came::Response(response) if response.code.is_success() => Answer::Done,
        Came::Response(response) => Answer::Refused(response.code.0),
        Came::Nothing(failure) => failed(*failure),
    }
}

fn failed(failure: Failure) -> Answer {
    match failure {
        Failure::Silent | Failure::Unanswered | Failure::Reset => Answer::NoAnswer,
        Failure::Incomprehensible => Answer::Refused(Code::BAD_OPTION.0),
        Failure::TooLarge | Failure::TooManyBlocks => Answer::Refused(Code::REQUEST_ENTITY_TOO_LARGE.0),
        Failure::Restarts(code) => Answer::Refused(code.0),
    }
}
