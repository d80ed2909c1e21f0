//! Where the line speaks, and with what it is known there: the account, the sessions, what is kept of both.

use super::account::{self, Written};
use super::line::Line;
use super::site::{Home, Site};
use super::wire::Wire;
use crate::session::sentence;
use std::time::Duration;
use updraft_lwm2m::Moment;
use updraft_lwm2m::bootstrap::ServerAccount;
use updraft_lwm2m::client::server_object::ServerObject;
use updraft_lwm2m::client::{Session, Target};
use updraft_lwm2m::coap::Code;

impl Line {
    /// What the options say of the server, by which records are told apart that were kept under others.
    fn origin(&self) -> String {
        let id = &self.settings.id;
        match &self.settings.home {
            Home::Server(_, url) => format!("{id} at {url}"),
            Home::Bootstrap(_, security) => format!("{id} by {}", security.uri),
        }
    }

    /// Finds out which server the device has, and how that left object 1. `None`: it has none, and is to be bootstrapped.
    pub(super) fn find_server(&mut self) -> Option<ServerObject> {
        let (state, origin) = (self.settings.state.clone(), self.origin());
        let written = match &self.settings.home {
            Home::Server(site, _) => {
                self.server = Ok(site.clone());
                Written::by_server(&state, origin, self.settings.server_object())
            }
            Home::Bootstrap(..) => {
                let account = match account::load(&state, &origin) {
                    Ok(account) => account?,
                    Err(detail) => {
                        self.desk.note(format!("the account that was kept is not used: {detail}"));
                        return None;
                    }
                };
                if !self.go_by(&account) {
                    return None;
                }
                Written::by_account(&state, &origin, &account)
            }
        };
        let server = written.load().unwrap_or_else(|error| {
            self.desk.note(format!("{}: object 1 is as it was set", sentence(&error)));
            written.unwritten().clone()
        });
        self.written = Some(written);
        Some(server)
    }

    /// From now on the server is that of an account. Says whether it is of use.
    fn go_by(&mut self, account: &ServerAccount) -> bool {
        self.server = Site::of_account(&account.security, self.settings.home.site())
            .map_err(|detail| format!("the account is of no use: {detail}"));
        if let Err(detail) = &self.server {
            self.desk.note(detail.clone());
        }
        self.server.is_ok()
    }

    /// The bootstrap server has given an account. It is durable before that one is answered.
    pub(super) fn take_account(&mut self, account: ServerAccount) {
        let (state, origin) = (&self.settings.state, self.origin());
        if let Err(error) = account::store(state, &origin, &account) {
            self.desk.note(format!("{}: after a restart the device is bootstrapped anew", sentence(&error)));
        }
        self.written = Some(Written::by_account(state, &origin, &account));
        if self.go_by(&account) {
            self.desk.note(format!("bootstrapped: the server is {}", account.security.uri));
        }
    }

    pub(super) fn note_bootstrap_failure(&mut self, code: Option<Code>) {
        let detail = match code {
            Some(code) => format!("the bootstrap server answered {code}"),
            None => "the bootstrap server was not heard to the end".to_owned(),
        };
        self.desk.note(detail.clone());
        self.desk.papers().registered = Some(Err(detail));
    }

    /// The server has written to object 1. It is durable before that is answered.
    pub(super) fn keep_server(&mut self, server: &ServerObject) {
        let Some(written) = &self.written else { return };
        if let Err(error) = written.store(server) {
            self.desk.note(format!("{}: after a restart object 1 is as it was", sentence(&error)));
        }
    }

    pub(super) fn connect(&mut self, now: Moment, target: Target, session: Session) {
        // What was asked on the session before is not answered on the next one.
        if let Some(pull) = &mut self.pull {
            pull.handle_session_lost();
        }
        if session == Session::Any && self.wire.is_some() && self.wire_to == target {
            self.client.connected(now);
            return;
        }
        let since = Duration::from_millis(now.0);
        if let Some(mut old) = self.wire.take() {
            old.close(since);
        }
        let site = match &target {
            Target::Server => self.server.as_ref(),
            Target::Bootstrap => Ok(self.settings.home.site()),
        };
        let site = match site {
            Ok(site) => site,
            Err(detail) => {
                self.lose_session(detail.clone());
                // It does not get better by being tried: another account may be.
                return self.client.connection_refused(now);
            }
        };
        match Wire::open(since, &site.address, site.security.as_ref()) {
            Ok(wire) => (self.wire, self.wire_to) = (Some(wire), target),
            Err(error) => {
                self.lose_session(error.to_string());
                self.client.connection_failed(now);
            }
        }
    }
}
