//! What devices ask for: where they register, send, fetch and are bootstrapped (Transport §6.4).

use super::asks::Came;
use super::{Action, Hub, LineId, Who};
use std::collections::BTreeMap;
use updraft_core::id::DeviceId;
use updraft_lwm2m::bootstrap::{Ask, BootstrapRequest, BootstrapSequence, ServerAccount};
use updraft_lwm2m::coap::{Code, Exchange, Method, Request, RequestId, Response};
use updraft_lwm2m::content::{self, ContentFormat};
use updraft_lwm2m::{Entry, Moment, Path};

/// What `/.well-known/core` says (RFC 6690): small, since anyone may ask.
const WELL_KNOWN: &str = "</rd>;rt=\"core.rd\"";

/// A bootstrap under way.
#[derive(Debug)]
pub(super) struct Bootstrapping {
    device: DeviceId,
    format: Option<ContentFormat>,
    sequence: Option<BootstrapSequence>,
    asked: Option<RequestId>,
}

impl Hub {
    /// Takes a request, whose body is whole.
    pub(super) fn take_request(&mut self, now: Moment, id: LineId, exchange: Exchange, request: Request) {
        let path = request.path();
        let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        match (request.method, &segments[..]) {
            (Method::Post, ["rd"]) => self.register(now, id, exchange, &request),
            (Method::Post | Method::Put, ["rd", location]) => {
                self.update_registration(now, id, exchange, location, &request);
            }
            (Method::Delete, ["rd", location]) => self.deregister(now, id, exchange, location),
            (Method::Post, ["dp"]) => self.take_sent(now, id, exchange, &request),
            (Method::Post, ["bs"]) if self.settings.bootstrap => {
                self.bootstrap(now, id, exchange, &request);
            }
            (Method::Get, ["f", _, _, _]) => self.take_file_request(now, id, exchange, &request),
            (Method::Get, [".well-known", "core"]) => {
                let links = Response::content(ContentFormat::LINK.0, WELL_KNOWN.as_bytes().to_vec());
                self.respond(now, id, exchange, links);
            }
            (_, ["rd" | "dp"] | ["rd", _] | ["f", _, _, _] | [".well-known", "core"]) => {
                self.respond(now, id, exchange, Response::new(Code::METHOD_NOT_ALLOWED));
            }
            (_, _) => self.respond(now, id, exchange, Response::new(Code::NOT_FOUND)),
        }
    }

    /// `POST /dp`: what a device tells unasked (Core §6.4.7).
    fn take_sent(&mut self, now: Moment, id: LineId, exchange: Exchange, request: &Request) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let Some(device) = line.device.clone() else {
            return self.refuse(now, id, exchange, Code::FORBIDDEN, "register first");
        };
        if !line.unasked.admits_sent(now) {
            return self.respond(now, id, exchange, Self::too_much());
        }
        let format = request.content_format().map_or(ContentFormat::SENML_CBOR, ContentFormat);
        match content::decode(format, &Path::ROOT, &request.payload) {
            Ok(entries) => {
                self.respond(now, id, exchange, Response::new(Code::CHANGED));
                self.flush(now, id);
                self.learn_sent(&device, entries);
                self.wake(now, &device);
            }
            Err(error) => {
                self.refuse(now, id, exchange, Code(error.code()), &error.to_string());
            }
        }
    }

    fn learn_sent(&mut self, device: &DeviceId, entries: Vec<Entry>) {
        let Some(registered) = self.devices.get_mut(device) else { return };
        let mut by_resource: BTreeMap<Path, Vec<Entry>> = BTreeMap::new();
        for entry in entries {
            by_resource.entry(entry.path.truncated(3)).or_default().push(entry);
        }
        for (path, entries) in by_resource {
            registered.learn(&path, &entries);
        }
    }

    /// `POST /bs`: a device that has no server yet (Core §6.1).
    fn bootstrap(&mut self, now: Moment, id: LineId, exchange: Exchange, request: &Request) {
        let Some(line) = self.lines.get(&id) else { return };
        let who = line.who.clone();
        let identity = match &who {
            Who::Unproven => None,
            Who::Device(device, _) => Some(device.as_str()),
        };
        let queries: Vec<_> = request.queries().collect();
        let BootstrapRequest { endpoint, format } = match BootstrapRequest::parse(&queries, identity) {
            Ok(wanted) => wanted,
            Err(refusal) => {
                return self.refuse(now, id, exchange, Code(refusal.code()), &refusal.to_string());
            }
        };
        let device = match self.named(&who, &endpoint) {
            Ok((device, _)) => device,
            Err((code, words)) => return self.refuse(now, id, exchange, code, words),
        };
        self.respond(now, id, exchange, Response::new(Code::CHANGED));
        self.flush(now, id);
        let bootstrapping = Bootstrapping { device: device.clone(), format, sequence: None, asked: None };
        if let Some(line) = self.lines.get_mut(&id) {
            line.bootstrap = Some(Box::new(bootstrapping));
        }
        self.bootstraps.insert(device.clone(), id);
        self.actions.push_back(Action::MakeAccount(device));
    }

    /// An account was made for a device that is bootstrapped; `None`: it could not be.
    pub fn handle_account(&mut self, now: Moment, device: &DeviceId, account: Option<ServerAccount>) {
        let Some(id) = self.bootstraps.remove(device) else { return };
        let Some(line) = self.lines.get_mut(&id) else { return };
        match (account, line.bootstrap.as_mut()) {
            (Some(account), Some(bootstrap)) if bootstrap.device == *device => {
                bootstrap.sequence = Some(BootstrapSequence::new(vec![account], bootstrap.format));
                self.bootstrap_on(now, id);
            }
            // The device asks again by itself.
            (_, _) => line.bootstrap = None,
        }
    }

    /// Asks the next of a bootstrap, or notes its end.
    fn bootstrap_on(&mut self, now: Moment, id: LineId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let Some(bootstrap) = line.bootstrap.as_mut() else { return };
        let Some(sequence) = bootstrap.sequence.as_mut() else { return };
        if let Some(outcome) = sequence.outcome() {
            match outcome {
                Ok(()) => tracing::info!(device = %bootstrap.device, "a device was bootstrapped"),
                Err(failure) => {
                    tracing::warn!(device = %bootstrap.device, ?failure, "a bootstrap failed");
                }
            }
            line.bootstrap = None;
            return;
        }
        let Some(ask) = sequence.poll_ask() else { return };
        match line.peer.request(now, request(ask)) {
            Ok(asked) => bootstrap.asked = Some(asked),
            Err(_) => line.bootstrap = None,
        }
        self.flush(now, id);
    }

    /// Takes an answer that belongs to a bootstrap; gives back one that does not.
    pub(super) fn take_bootstrap_answer(
        &mut self,
        now: Moment,
        id: LineId,
        request: RequestId,
        came: Came,
    ) -> Option<Came> {
        let line = self.lines.get_mut(&id)?;
        let bootstrap = line.bootstrap.as_mut().filter(|bootstrap| bootstrap.asked == Some(request));
        let Some(bootstrap) = bootstrap else { return Some(came) };
        bootstrap.asked = None;
        if let Some(sequence) = bootstrap.sequence.as_mut() {
            match came {
                Came::Response(response) => sequence.handle_answer(response.code.0, &response.payload),
                Came::Nothing(_) => sequence.handle_silence(),
            }
        }
        self.bootstrap_on(now, id);
        None
    }
}

/// A step of a bootstrap as a request.
fn request(ask: Ask) -> Request {
    match ask {
        Ask::Discover => Request::new(Method::Get, "/").with_accept(ContentFormat::LINK.0),
        Ask::Delete(path) => Request::new(Method::Delete, &path.to_string()),
        Ask::Write { path, format, body } => {
            Request::new(Method::Put, &path.to_string()).with_payload(format.0, body)
        }
        Ask::Finish => Request::new(Method::Post, "/bs"),
    }
}
