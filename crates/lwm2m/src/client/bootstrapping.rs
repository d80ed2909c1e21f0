//! The bootstrap: a device without an account asks its bootstrap server, is written one, and registers with it (Core §6.1).

use super::server_object::ServerObject;
use super::upkeep::{Retry, retry_after};
use super::{Action, Client, Session, Target, spread};
use crate::bootstrap::{AccountStore, BootstrapRequest, Security, ServerAccount};
use crate::coap::{Code, Exchange, Method, Request, Response};
use crate::link::write_discovered;
use crate::{ContentFormat, Moment, Path, content};
use std::time::Duration;

/// How long the bootstrap server may be silent in the middle of its work before it is asked anew: as long as it may take it
/// to send one of its requests to the end (EXCHANGE_LIFETIME).
const SILENCE_MAX: Duration = Duration::from_secs(247);
/// How often a device that has an account asks its bootstrap server for another, before it tries its server again: it may be
/// back, and the bootstrap server may be gone for good.
const ATTEMPTS_WITH_ACCOUNT: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A session is wanted from a moment on.
    Waiting(Moment, Session),
    /// The host has been asked for one.
    Connecting,
    /// There is one: ask next.
    Ready,
    /// The answer to the request is waited for.
    Asking,
    /// The server writes; at the moment it has been silent for too long.
    Written(Moment),
}

/// A bootstrap under way.
#[derive(Debug)]
pub(super) struct Bootstrapping {
    stage: Stage,
    store: AccountStore,
    failures: u32,
    /// Failures, and answers that it is busy.
    attempts: u32,
}

impl Bootstrapping {
    fn new(from: Moment, server: &Security) -> Self {
        let stage = Stage::Waiting(from, Session::Any);
        Self { stage, store: AccountStore::new(server, &[]), failures: 0, attempts: 0 }
    }

    pub(super) fn handle_connected(&mut self) {
        self.stage = Stage::Ready;
    }

    pub(super) fn due(&self) -> Option<Moment> {
        match self.stage {
            Stage::Waiting(until, _) | Stage::Written(until) => Some(until),
            Stage::Ready => Some(Moment(0)),
            Stage::Connecting | Stage::Asking => None,
        }
    }

    /// Begins again after a pause, with nothing of what was written; `busy` is the pause that the server asks for. Says when.
    fn fail(
        &mut self,
        now: Moment,
        endpoint: &str,
        retry: &Retry,
        server: &Security,
        busy: Option<Duration>,
    ) -> Moment {
        let pause = busy.unwrap_or_else(|| pause(endpoint, retry, self.failures));
        self.failures += u32::from(busy.is_none());
        self.attempts += 1;
        let session = if busy.is_some() { Session::Any } else { Session::Fresh };
        let until = now.plus(pause);
        self.stage = Stage::Waiting(until, session);
        self.store = AccountStore::new(server, &[]);
        until
    }
}

/// The pause after so many failures before the last: doubling, and spread over a fleet.
fn pause(endpoint: &str, retry: &Retry, failures: u32) -> Duration {
    let pause = retry.pause.saturating_mul(1 << failures.min(16)).min(retry.pause_max);
    pause + spread(endpoint, failures + 1, pause / 4)
}

impl Client {
    /// Begins without an account: [`Action::Bootstrapped`] brings one, and the device registers with it.
    pub fn start_bootstrap(&mut self, now: Moment) {
        let from = self.first_start(now);
        self.begin_bootstrap(from);
        self.drive(now);
    }

    /// Asks the bootstrap server, where there is one. If the last time brought no registration, it is left alone for a while:
    /// longer and longer, since a server that refuses what it has just given does not mend at once.
    pub(super) fn fall_back_to_bootstrap(&mut self, now: Moment) {
        let hold_off = match self.fruitless_bootstraps.checked_sub(1) {
            Some(before) => pause(&self.config.endpoint, &self.config.retry, before),
            None => Duration::ZERO,
        };
        self.begin_bootstrap(now.plus(hold_off));
    }

    fn begin_bootstrap(&mut self, from: Moment) {
        let Some(server) = &self.config.bootstrap else { return };
        self.upkeep.stop();
        self.asked = None;
        self.bootstrapping = Some(Bootstrapping::new(from, server));
    }

    pub(super) fn drive_bootstrap(&mut self, now: Moment) {
        let Some(bootstrapping) = &mut self.bootstrapping else { return };
        match bootstrapping.stage {
            Stage::Waiting(until, session) if until <= now => {
                bootstrapping.stage = Stage::Connecting;
                self.actions.push_back(Action::Connect { target: Target::Bootstrap, session });
            }
            Stage::Ready => {
                bootstrapping.stage = Stage::Asking;
                let endpoint = self.config.endpoint.as_str().into();
                let asked = BootstrapRequest { endpoint, format: Some(ContentFormat::SENML_CBOR) };
                let request = Request::new(Method::Post, "/bs");
                let request =
                    asked.queries().iter().fold(request, |request, query| request.with_query(query));
                self.ask(now, request);
            }
            Stage::Written(until) if until <= now => self.handle_bootstrap_silence(now),
            Stage::Waiting(..) | Stage::Connecting | Stage::Asking | Stage::Written(_) => {}
        }
    }

    pub(super) fn handle_bootstrap_answer(&mut self, now: Moment, response: &Response) {
        let Some(bootstrapping) = &mut self.bootstrapping else { return };
        if response.code.is_success() {
            if bootstrapping.stage == Stage::Asking {
                bootstrapping.stage = Stage::Written(now.plus(SILENCE_MAX));
            }
        } else {
            let is_busy = response.code == Code::SERVICE_UNAVAILABLE;
            let failures = bootstrapping.failures;
            let busy = is_busy.then(|| retry_after(&self.config.endpoint, failures, response));
            self.fail_bootstrap(now, busy, Some(response.code));
        }
    }

    pub(super) fn handle_bootstrap_silence(&mut self, now: Moment) {
        self.fail_bootstrap(now, None, None);
    }

    fn fail_bootstrap(&mut self, now: Moment, busy: Option<Duration>, code: Option<Code>) {
        let (Some(bootstrapping), Some(server)) = (&mut self.bootstrapping, &self.config.bootstrap) else {
            return;
        };
        let until = bootstrapping.fail(now, &self.config.endpoint, &self.config.retry, server, busy);
        self.actions.push_back(Action::BootstrapFailed(code));
        if self.has_account && bootstrapping.attempts >= ATTEMPTS_WITH_ACCOUNT {
            self.bootstrapping = None;
            self.fruitless_bootstraps = self.fruitless_bootstraps.saturating_add(1);
            self.upkeep.begin(until);
        }
    }

    /// Answers a request of the bootstrap server.
    pub(super) fn serve_bootstrap(&mut self, now: Moment, exchange: Exchange, request: &Request) {
        let response = match self.take_bootstrap(now, request) {
            Ok(response) => response,
            Err(code) => Response::new(code),
        };
        self.peer.respond(now, exchange, response);
    }

    fn take_bootstrap(&mut self, now: Moment, request: &Request) -> Result<Response, Code> {
        let bootstrapping = self.bootstrapping.as_mut().ok_or(Code::METHOD_NOT_ALLOWED)?;
        // Its first write may overtake the answer to the device's request.
        if !matches!(bootstrapping.stage, Stage::Asking | Stage::Written(_)) {
            return Err(Code::METHOD_NOT_ALLOWED);
        }
        bootstrapping.stage = Stage::Written(now.plus(SILENCE_MAX));
        if request.method == Method::Post && request.path_segments().eq(["bs"]) {
            let accounts = bootstrapping.store.handle_finish().map_err(|rejection| Code(rejection.code()))?;
            self.finish_bootstrap(now, accounts);
            return Ok(Response::new(Code::CHANGED));
        }
        let path = Path::from_segments(request.path_segments()).map_err(|_| Code::NOT_FOUND)?;
        let store = &mut bootstrapping.store;
        match request.method {
            Method::Put => {
                let format = ContentFormat(request.content_format().ok_or(Code::UNSUPPORTED_CONTENT_FORMAT)?);
                let entries = content::decode(format, &path, &request.payload);
                let entries = entries.map_err(|error| Code(error.code()))?;
                store.handle_write(&path, entries).map_err(|rejection| Code(rejection.code()))?;
                Ok(Response::new(Code::CHANGED))
            }
            Method::Delete => {
                store.handle_delete(&path).map_err(|rejection| Code(rejection.code()))?;
                Ok(Response::new(Code::DELETED))
            }
            Method::Get if request.accept() == Some(ContentFormat::LINK.0) => {
                let list = write_discovered(&store.discovered());
                Ok(Response::content(ContentFormat::LINK.0, list.into_bytes()))
            }
            Method::Get => {
                let entries = store.read(&path).map_err(|rejection| Code(rejection.code()))?;
                let format = request.accept().map_or(ContentFormat::TLV, ContentFormat).current();
                let body = content::encode(format, &path, &entries).map_err(|_| Code::NOT_ACCEPTABLE)?;
                Ok(Response::content(format.0, body))
            }
            Method::Post | Method::Fetch | Method::Patch | Method::Ipatch => Err(Code::METHOD_NOT_ALLOWED),
        }
    }

    /// The device has accounts: it registers at the first server; several at a time are not served.
    fn finish_bootstrap(&mut self, now: Moment, accounts: Vec<ServerAccount>) {
        let Some(account) = accounts.into_iter().next() else { return };
        // What the server before has written is not this one's.
        self.registry.server = ServerObject::of_account(&account);
        self.fruitless_bootstraps = self.fruitless_bootstraps.saturating_add(1);
        self.has_account = true;
        self.actions.push_back(Action::Bootstrapped(Box::new(account)));
        self.has_bootstrapped = true;
        // The answer leaves on the bootstrap server's session, before the next one is begun.
        self.upkeep.begin(now);
    }
}
