//! Images on their way: pushed block by block, or fetched from the links that devices were given (RFC 7959 §2.4).

use super::images::Piece;
use super::{Action, File, Hub, LineId, Security, Who};
use crate::artifacts::Digest;
use std::collections::HashMap;
use std::time::Duration;
use updraft_lwm2m::Moment;
use updraft_lwm2m::coap::block::{self, Slice};
use updraft_lwm2m::coap::{Block, BlockSize, Code, Exchange, Request, RequestId};
use updraft_lwm2m::content::ContentFormat;

/// Links that are remembered as good, most of all; devices come back for each block.
const LINKS_MAX: usize = 4_096;
/// How long a link is believed without asking again, so that what is withdrawn stops soon.
const LINK_FRESH: Duration = Duration::from_secs(60);
/// Requests that may wait for their link to be found.
const WAITING_MAX: usize = 4_096;
/// The largest block for a peer that has not shown that it hears: with a link of a hundred bytes in the request, the answer
/// stays below three times as many (RFC 9175 §2.4).
const UNVERIFIED_BLOCK: BlockSize = match BlockSize::from_exponent(4) {
    Some(size) => size,
    None => BlockSize::MIN,
};

/// Who waits for bytes of an image.
#[derive(Debug)]
pub(super) enum Waiter {
    /// A push.
    Push { line: LineId, request: RequestId, image: Digest, size: u64, offset: u64, length: usize },
    /// A request for a block.
    Block { line: LineId, exchange: Exchange, file: File, slice: Slice },
}

/// A request whose link is being looked up.
#[derive(Debug)]
struct Waiting {
    line: LineId,
    exchange: Exchange,
    path: String,
    asked: Option<Block>,
}

/// The links known to be good, and the requests that wait for others.
#[derive(Debug, Default)]
pub(super) struct Files {
    good: HashMap<String, (File, Moment)>,
    waiting: HashMap<u64, Waiting>,
    next: u64,
}

impl Hub {
    /// A device fetches from a link.
    pub(super) fn take_file_request(
        &mut self,
        now: Moment,
        line: LineId,
        exchange: Exchange,
        request: &Request,
    ) {
        let (path, asked) = (request.path(), request.block2());
        let is_start = asked.is_none_or(|block| block.number == 0);
        let good = self.files.good.get(&path);
        let fresh = good.filter(|(_, since)| !is_start && now.since(*since) < LINK_FRESH);
        if let Some((file, _)) = fresh {
            let file = file.clone();
            self.serve_block(now, line, exchange, &file, asked);
            return;
        }
        if self.files.waiting.len() >= WAITING_MAX {
            self.refuse(now, line, exchange, Code::SERVICE_UNAVAILABLE, "busy; try again");
            return;
        }
        self.files.next += 1;
        let ticket = self.files.next;
        self.files.waiting.insert(ticket, Waiting { line, exchange, path: path.clone(), asked });
        self.actions.push_back(Action::Resolve(ticket, path, is_start));
    }

    /// What a link leads to; `Err`: nowhere, and the code that says why.
    pub fn handle_file(&mut self, now: Moment, ticket: u64, found: Result<File, Code>) {
        let Some(Waiting { line, exchange, path, asked }) = self.files.waiting.remove(&ticket) else {
            return;
        };
        match found {
            Ok(file) => {
                if self.files.good.len() >= LINKS_MAX {
                    self.files.good.retain(|_, (_, since)| now.since(*since) < LINK_FRESH);
                }
                if self.files.good.len() < LINKS_MAX {
                    self.files.good.insert(path, (file.clone(), now));
                }
                self.serve_block(now, line, exchange, &file, asked);
            }
            Err(code) => {
                self.files.good.remove(&path);
                self.refuse(now, line, exchange, code, "the link does not lead to an image");
            }
        }
        self.flush(now, line);
    }

    fn serve_block(
        &mut self,
        now: Moment,
        line: LineId,
        exchange: Exchange,
        file: &File,
        asked: Option<Block>,
    ) {
        let largest = if self.hears(line, file) { BlockSize::MAX } else { UNVERIFIED_BLOCK };
        match block::serve(asked, file.size, largest) {
            Ok(slice) => {
                let file = file.clone();
                self.serve_waiter(now, Waiter::Block { line, exchange, file, slice });
            }
            Err(code) => self.refuse(now, line, exchange, code, "no such block"),
        }
    }

    /// Whether a peer is known to hear at its address: it has proven who it is, or the device of the link has answered from
    /// there.
    fn hears(&mut self, id: LineId, file: &File) -> bool {
        let device = self.devices.get(&file.device);
        let answered = device.filter(|known| {
            let line = known.line.and_then(|own| self.lines.get(&own));
            known.security != Security::None || line.is_some_and(|own| own.is_verified)
        });
        let from = answered.map(|known| known.address.ip());
        let Some(line) = self.lines.get_mut(&id) else { return false };
        line.is_verified |= line.who != Who::Unproven || from == Some(line.address.ip());
        if line.is_verified {
            line.peer.verify();
        }
        line.is_verified
    }

    /// Gives somebody the bytes it waits for, or has them read.
    pub(super) fn serve_waiter(&mut self, now: Moment, waiter: Waiter) {
        let (image, size, offset, length) = match &waiter {
            Waiter::Push { image, size, offset, length, .. } => (*image, *size, *offset, *length),
            Waiter::Block { file, slice, .. } => (file.image, file.size, slice.offset, slice.length),
        };
        if let Some(bytes) = self.images.get(&image, offset, length) {
            return self.give(now, waiter, bytes);
        }
        let piece = Piece::at(image, offset);
        if self.images.wait(&piece, waiter) {
            self.actions.push_back(Action::Read(piece, size));
        }
    }

    fn give(&mut self, now: Moment, waiter: Waiter, bytes: Vec<u8>) {
        match waiter {
            Waiter::Push { line, request, .. } => {
                if let Some(known) = self.lines.get_mut(&line) {
                    // A push that has ended meanwhile needs nothing.
                    let _ = known.peer.supply(now, request, &bytes);
                    self.drive(now, line);
                }
            }
            Waiter::Block { line, exchange, file, slice } => {
                // Names the bytes: the same on each node and after each restart, so that a device can go on.
                let etag = &file.image.as_bytes()[..8];
                let until = slice.offset + slice.length as u64;
                let response = slice.response(ContentFormat::OPAQUE.0, etag, bytes);
                self.respond(now, line, exchange, response);
                self.flush(now, line);
                self.served(now, &file.device, until);
            }
        }
    }
}
