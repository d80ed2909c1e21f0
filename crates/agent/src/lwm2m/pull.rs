//! A package that is fetched by CoAP, block by block: on the server's own session where the link leads there, else on one
//! of its own.

use super::address::Resource;
use super::push::give;
use super::site::Site;
use super::wire::{Heard, Wire};
use crate::agent::Input;
use crate::fetch::{FetchError, FetchPart};
use crate::session::Wanted;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use updraft_lwm2m::Moment;
use updraft_lwm2m::client::Client;
use updraft_lwm2m::coap::option::number;
use updraft_lwm2m::coap::{
    BlockSize, Code, Config, Download, Event, Method, Peer, Progress, Request, RequestId, Response,
};
use updraft_wire::Reason;

/// Of whom a block is asked.
#[derive(Debug)]
enum Source {
    /// Of the server, on the session that is there.
    Session,
    /// Of somebody else.
    Own(Box<Own>),
}

/// A session of the download's own.
#[derive(Debug)]
struct Own {
    wire: Wire,
    peer: Peer,
    is_connected: bool,
}

/// A download under way.
#[derive(Debug)]
pub(super) struct Pull {
    fetch: u64,
    download: Download,
    source: Source,
    asked: Option<RequestId>,
    /// Where the agent's bytes begin, until it was told.
    begins_at: Option<u64>,
    parts: VecDeque<FetchPart>,
    is_over: bool,
}

/// Where a pull finds what it needs.
pub(super) struct Surroundings<'a> {
    pub(super) now: Moment,
    pub(super) server: &'a Site,
    pub(super) seed: [u8; 32],
}

fn fatal(reason: Reason, detail: &str) -> FetchError {
    FetchError::Fatal(reason, detail.to_owned())
}

impl Pull {
    /// Begins, or goes on where the bytes at hand end.
    ///
    /// # Errors
    /// The link leads nowhere, or there is no socket.
    pub(super) fn begin(fetch: u64, wanted: &Wanted, around: &Surroundings<'_>) -> Result<Self, FetchError> {
        let invalid = || fatal(Reason::InvalidUri, "the link is no CoAP URI");
        let resource = Resource::parse(&wanted.link).ok_or_else(invalid)?;
        let address = &resource.address;
        if address.is_plain && around.server.security.is_some() {
            return Err(fatal(
                Reason::UnsupportedProtocol,
                "coap:// is followed only where the server is plain",
            ));
        }
        let mut request = Request::new(Method::Get, "/");
        for segment in resource.segments().ok_or_else(invalid)? {
            request.options.push(number::URI_PATH, segment.as_bytes());
        }
        let request = resource.queries.iter().fold(request, |request, query| request.with_query(query));
        let source = if *address == around.server.address {
            Source::Session
        } else {
            let now = Duration::from_millis(around.now.0);
            let security = around.server.security.as_ref().filter(|_| !address.is_plain);
            let wire =
                Wire::open(now, address, security).map_err(|error| FetchError::Retry(error.to_string()))?;
            let peer = Peer::new(around.seed, Arc::new(Config::default()));
            Source::Own(Box::new(Own { wire, peer, is_connected: false }))
        };
        let etag = wanted.etag.as_deref().and_then(etag_bytes);
        let (download, begins_at) = match etag.filter(|_| wanted.offset > 0) {
            Some(etag) => (Download::resume(request, BlockSize::MAX, wanted.offset, etag), wanted.offset),
            None => (Download::new(request, BlockSize::MAX), 0),
        };
        let (asked, begins_at) = (None, Some(begins_at));
        Ok(Self { fetch, download, source, asked, begins_at, parts: VecDeque::new(), is_over: false })
    }

    /// Whether nothing more will come of it.
    pub(super) fn is_over(&self) -> bool {
        self.is_over && self.parts.is_empty()
    }

    /// Its own socket, to wait on.
    pub(super) fn wire(&self) -> Option<&Wire> {
        match &self.source {
            Source::Session => None,
            Source::Own(own) => Some(&own.wire),
        }
    }

    /// When `advance` is due.
    pub(super) fn due(&self) -> Option<Moment> {
        let Source::Own(own) = &self.source else { return None };
        let wire = own.wire.due().map(|due| Moment(u64::try_from(due.as_millis()).unwrap_or(u64::MAX)));
        wire.into_iter().chain(own.peer.poll_timeout()).min()
    }

    /// Does what can be done now. Says whether parts wait for which the agent has no room.
    pub(super) fn advance(&mut self, now: Moment, client: &mut Client, inputs: &SyncSender<Input>) -> bool {
        self.listen(now);
        while let Some(part) = self.parts.pop_front() {
            let mut part = Some(part);
            if !give(inputs, self.fetch, &mut part) {
                self.parts.extend(part);
                self.parts.rotate_right(1);
                return true;
            }
        }
        let is_ready = match &self.source {
            Source::Session => client.location().is_some(),
            Source::Own(own) => own.is_connected,
        };
        if is_ready && self.asked.is_none() && !self.is_over {
            self.ask(now, client);
        }
        self.speak(now);
        false
    }

    fn ask(&mut self, now: Moment, client: &mut Client) {
        let Some(request) = self.download.next_request() else {
            return self.end(Err(fatal(Reason::InsufficientStorage, "more than 2^20 blocks")));
        };
        let asked = match &mut self.source {
            Source::Session => client.request(now, request),
            Source::Own(own) => own.peer.request(now, request),
        };
        match asked {
            Ok(id) => self.asked = Some(id),
            Err(refused) => self.end(Err(FetchError::Retry(refused.to_string()))),
        }
    }

    fn listen(&mut self, now: Moment) {
        let since = Duration::from_millis(now.0);
        let mut heard = Vec::new();
        if let Source::Own(own) = &mut self.source {
            own.wire.handle_timeout(since);
            own.peer.handle_timeout(now);
            while let Some(news) = own.wire.hear(since) {
                match news {
                    Heard::Connected => own.is_connected = true,
                    Heard::Datagram(datagram) => own.peer.handle_datagram(now, &datagram),
                    Heard::Closed(detail) | Heard::Refused(detail) => heard.push(Err(detail)),
                }
            }
            while let Some(event) = own.peer.poll_event() {
                match event {
                    Event::Response { id, response } => heard.push(Ok((id, response))),
                    Event::Failed { failure, .. } => heard.push(Err(failure.to_string())),
                    // Whoever has files has no business with this device.
                    Event::Request { exchange, .. } => {
                        own.peer.respond(now, exchange, Response::new(Code::NOT_FOUND));
                    }
                    Event::WantBlock { .. }
                    | Event::Notification { .. }
                    | Event::Unobserved { .. }
                    | Event::Pong { .. } => {}
                }
            }
        }
        for news in heard {
            match news {
                Ok((id, response)) => self.handle_response(id, response),
                Err(detail) => self.end(Err(FetchError::Retry(detail))),
            }
        }
    }

    fn speak(&mut self, now: Moment) {
        let since = Duration::from_millis(now.0);
        if let Source::Own(own) = &mut self.source {
            while let Some(datagram) = own.peer.poll_transmit() {
                own.wire.send(since, &datagram);
            }
        }
    }

    /// An answer came, on whichever session.
    pub(super) fn handle_response(&mut self, id: RequestId, response: Response) {
        if self.asked != Some(id) || self.is_over {
            return;
        }
        self.asked = None;
        match self.download.handle_response(response) {
            Progress::Bytes(bytes) => self.take(bytes),
            Progress::Last(bytes) => {
                self.take(bytes);
                self.end(Ok(()));
            }
            Progress::Restarted => self.begins_at = Some(0),
            Progress::Refused(response) => {
                let detail = format!("the server answered {}", response.code);
                let is_final = response.code.class() == 4;
                self.end(Err(if is_final {
                    fatal(Reason::InvalidUri, &detail)
                } else {
                    FetchError::Retry(detail)
                }));
            }
            Progress::Broken => self.end(Err(FetchError::Anew("blocks that contradict each other".into()))),
        }
    }

    /// A block was not answered, on the server's session.
    pub(super) fn handle_silence(&mut self, id: RequestId, detail: String) {
        if self.asked == Some(id) {
            self.asked = None;
            self.end(Err(FetchError::Retry(detail)));
        }
    }

    /// The server's session has ended, and with it what was asked on it.
    pub(super) fn handle_session_lost(&mut self) {
        match self.source {
            Source::Session if !self.is_over => {
                self.asked = None;
                self.end(Err(FetchError::Retry("the session has ended".into())));
            }
            Source::Session | Source::Own(_) => {}
        }
    }

    fn take(&mut self, bytes: Vec<u8>) {
        if let Some(offset) = self.begins_at.take() {
            let etag = self.download.etag().map(etag_text);
            self.parts.push_back(FetchPart::Begun { offset, etag });
        }
        if !bytes.is_empty() {
            self.parts.push_back(FetchPart::Bytes(bytes));
        }
    }

    fn end(&mut self, end: Result<(), FetchError>) {
        if !self.is_over {
            self.parts.push_back(FetchPart::Ended(end));
            self.is_over = true;
        }
    }
}

/// An entity tag of CoAP as the ledger keeps it: none that HTTP could have given.
fn etag_text(etag: &[u8]) -> String {
    format!("coap:{}", hex::encode(etag))
}

fn etag_bytes(text: &str) -> Option<Vec<u8>> {
    hex::decode(text.strip_prefix("coap:")?).ok()
}
