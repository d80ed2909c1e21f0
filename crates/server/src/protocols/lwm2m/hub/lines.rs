//! Lines: the ways to peers, and the message layer of each for as long as it has something to remember.
//!
//! A line that rests on a proof and leads to a registered device is left out while nothing is said on it: the device's
//! registration says by which line it is reached, and the line is there again with the next word of either end.

use super::flood::Unasked;
use super::timers::Key;
use super::{Action, Hub, LineId, Security, Who, doors};
use std::net::SocketAddr;
use std::time::Duration;
use updraft_core::id::DeviceId;
use updraft_lwm2m::Moment;
use updraft_lwm2m::coap::Peer;
use updraft_lwm2m::coap::config::EXCHANGE_LIFETIME;

/// How long a line is kept after its last word: the peer may know our message IDs for as long, and a line begun anew counts
/// from others (RFC 7252 §4.8.2).
const LINGER: Duration = EXCHANGE_LIFETIME;

/// The message layer of one line, and whose it is.
pub(super) struct Line {
    pub(super) peer: Peer,
    pub(super) who: Who,
    pub(super) address: SocketAddr,
    /// Whether it is known to hear at its address.
    pub(super) is_verified: bool,
    /// The device that is registered by this line.
    pub(super) device: Option<DeviceId>,
    /// A bootstrap that is under way on it.
    pub(super) bootstrap: Option<Box<doors::Bootstrapping>>,
    /// When something was last said on it.
    pub(super) used: Moment,
    /// What its peer has said of late unasked.
    pub(super) unasked: Unasked,
}

impl Line {
    /// When it may be left out, if nothing is said until then; `None`: something would be lost with it. Who has proven nothing
    /// would have to show again that it hears.
    pub(super) fn ends(&self) -> Option<Moment> {
        let is_found_again = self.who != Who::Unproven && self.device.is_some();
        let is_blank = self.bootstrap.is_none() && self.peer.is_blank();
        (is_found_again && is_blank).then(|| self.used.plus(LINGER))
    }
}

impl Hub {
    /// Whether the message layer of a line is there.
    #[must_use]
    pub fn has_line(&self, line: LineId) -> bool {
        self.lines.contains_key(&line)
    }

    /// A session that an earlier process began goes on. Its device, if it is registered, is reached by it.
    pub fn restore_line(&mut self, id: LineId, device: &DeviceId, address: SocketAddr) {
        if let Some(registered) = self.devices.get_mut(device)
            && registered.security != Security::None
        {
            (registered.line, registered.address) = (Some(id), address);
        }
    }

    /// A line has begun, or is there again. A device that is registered, and reached by no other, is reached by it.
    pub fn handle_connected(&mut self, id: LineId, who: Who, address: SocketAddr) {
        let mut peer = Peer::new((self.settings.seed)(), self.coap.clone());
        if who == Who::Unproven {
            peer.limit_until_verified();
        }
        let is_verified = who != Who::Unproven;
        let mut line = Line {
            peer,
            who,
            address,
            is_verified,
            device: None,
            bootstrap: None,
            used: Moment::default(),
            unasked: Unasked::default(),
        };
        if let Who::Device(device, _) = &line.who
            && let Some(registered) = self.devices.get_mut(device)
            && registered.line.is_none_or(|known| known == id)
            && registered.security != Security::None
        {
            (registered.line, registered.address) = (Some(id), address);
            line.device = Some(device.clone());
        }
        self.lines.insert(id, Box::new(line));
    }

    /// The line by which a device is reached; made again, if it was left out.
    pub(super) fn line_to(&mut self, device: &DeviceId) -> Option<LineId> {
        let registered = self.devices.get(device)?;
        let (id, security, address) = (registered.line?, registered.security, registered.address);
        if !self.lines.contains_key(&id) {
            self.handle_connected(id, Who::Device(device.clone(), security), address);
        }
        Some(id)
    }

    /// A line has ended. Its device stays registered, and is not reachable until it comes by another.
    pub fn handle_closed(&mut self, now: Moment, id: LineId) {
        self.timers.set(Key::Line(id), None);
        let Some(line) = self.lines.remove(&id) else { return };
        let Some(device) = line.device else { return };
        if let Some(registered) = self.devices.get_mut(&device).filter(|known| known.line == Some(id)) {
            registered.line = None;
            self.lost(now, &device);
        }
    }

    /// A line's peer speaks from another address.
    pub fn handle_moved(&mut self, id: LineId, address: SocketAddr) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.address = address;
        let device = line.device.clone();
        if let Some(registered) = device.and_then(|device| self.devices.get_mut(&device)) {
            registered.address = address;
        }
    }

    /// A credential of a device was revoked: whoever speaks by a line that rests on one proves itself again.
    pub fn handle_revoked(&mut self, now: Moment, device: &DeviceId) {
        self.end_lines(now, |proven| proven == device);
    }

    /// So many credentials were revoked that it is not known whose: every line that rests on one ends.
    pub fn handle_all_revoked(&mut self, now: Moment) {
        self.end_lines(now, |_| true);
    }

    fn end_lines(&mut self, now: Moment, is_meant: impl Fn(&DeviceId) -> bool) {
        let of_devices = self.devices.iter().filter(|(_, known)| known.security != Security::None);
        let left_out: Vec<_> = of_devices
            .filter(|(device, known)| is_meant(device) && known.line.is_some_and(|id| !self.has_line(id)))
            .map(|(device, _)| device.clone())
            .collect();
        for device in left_out {
            self.line_to(&device);
        }
        let is_meant = |who: &Who| match who {
            Who::Unproven => false,
            Who::Device(proven, _) => is_meant(proven),
        };
        let ended: Vec<_> =
            self.lines.iter().filter(|(_, line)| is_meant(&line.who)).map(|(id, _)| *id).collect();
        for id in ended {
            self.actions.push_back(Action::Close(id));
            self.handle_closed(now, id);
        }
    }

    /// Time has passed for a line.
    pub(super) fn pass_line_time(&mut self, now: Moment, id: LineId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        if line.ends().is_some_and(|end| end <= now) {
            self.lines.remove(&id);
            return;
        }
        line.peer.handle_timeout(now);
        self.drive(now, id);
    }
}
