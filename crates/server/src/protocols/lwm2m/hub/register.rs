//! Register, update, de-register: who is here, and how it is reached (Transport §6.4.3, Core §6.2).

use super::super::books::Change;
use super::device::{Registered, Step};
use super::timers::Key;
use super::{AWAKE_WINDOW, Action, Hub, LineId, Security, Who};
use std::collections::BTreeSet;
use std::time::Duration;
use updraft_core::id::DeviceId;
use updraft_lwm2m::Moment;
use updraft_lwm2m::coap::{Code, Exchange, Request, Response};
use updraft_lwm2m::registration::{LIFETIME_S_MIN, Registration, Update};

/// What a device hears whose registration is at the edge of what is taken.
const TOO_LONG: &str = "too long: say less in queries, or list fewer objects";
/// Longest a registration's last word may lag in the books: what is kept of a device that only says "still here" is written
/// this often, so that a restart does not take it for expired.
const HEARD_LAG_MS: u64 = 600_000;
/// How often all devices are looked at: as often as the shortest registration may end.
const SWEEP_INTERVAL: Duration = Duration::from_secs(LIFETIME_S_MIN as u64);

impl Hub {
    /// `POST /rd`.
    pub(super) fn register(&mut self, now: Moment, id: LineId, exchange: Exchange, request: &Request) {
        let Some(line) = self.lines.get(&id) else { return };
        let (who, address) = (line.who.clone(), line.address);
        let identity = match &who {
            Who::Unproven => None,
            Who::Device(device, _) => Some(device.as_str().to_owned()),
        };
        let queries: Vec<_> = request.queries().collect();
        let registration = match Registration::parse(&queries, identity.as_deref(), &request.payload) {
            Ok(registration) => registration,
            Err(refusal) => {
                return self.refuse(now, id, exchange, Code(refusal.code()), &refusal.to_string());
            }
        };
        let (device, security) = match self.named(&who, &registration.endpoint) {
            Ok(named) => named,
            Err((code, words)) => return self.refuse(now, id, exchange, code, words),
        };
        let is_new = !self.devices.contains_key(&device);
        let is_full = is_new && self.devices.len() >= self.settings.registrations_max;
        let refused = if is_full { Some(self.stay_away()) } else { self.storm(now, address.ip()) };
        if let Some(refused) = refused {
            return self.respond(now, id, exchange, refused);
        }
        let location = self.draw_location();
        let Some(mut registered) = Registered::new(&registration, location, security, address, now) else {
            return self.refuse(now, id, exchange, Code::BAD_REQUEST, TOO_LONG);
        };
        self.leave_place(&device, id);
        registered.line = Some(id);
        if let Some(before) = self.devices.remove(&device) {
            registered.take_over(*before);
        }
        self.await_sweep(now);
        self.locations.insert(location, device.clone());
        self.devices.insert(device.clone(), Box::new(registered));
        if let Some(line) = self.lines.get_mut(&id) {
            line.device = Some(device.clone());
            line.peer.forget_observations();
        }
        let created = Response::new(Code::CREATED).with_location(&format!("rd/{}", hex::encode(location)));
        self.respond(now, id, exchange, created);
        // Nothing may be asked before the answer is on its way (Core §6.4).
        self.flush(now, id);
        self.keep(&device);
        self.describe(now, &device);
        self.step(now, &device, Step::Registered);
        self.order_on(now, &device);
    }

    /// Which device registers. A name that is said must be the one that was proven (Transport §5.2.6).
    pub(super) fn named(
        &self,
        who: &Who,
        endpoint: &str,
    ) -> Result<(DeviceId, Security), (Code, &'static str)> {
        match who {
            Who::Device(device, security) if device.as_str() == endpoint => Ok((device.clone(), *security)),
            Who::Device(..) => Err((Code::BAD_REQUEST, "the endpoint name is not the credential's")),
            Who::Unproven => {
                let rule = "an endpoint name here is 1 to 128 of A-Z a-z 0-9 : _ . @ -";
                let device: DeviceId = endpoint.parse().map_err(|_| (Code::BAD_REQUEST, rule))?;
                if (self.settings.may_be_unproven)(&device) {
                    Ok((device, Security::None))
                } else {
                    Err((Code::FORBIDDEN, "this device has a credential: it registers with it"))
                }
            }
        }
    }

    /// A location that nobody can guess.
    fn draw_location(&mut self) -> [u8; 16] {
        let seed = (self.settings.seed)();
        *seed.first_chunk().expect("32 bytes hold 16")
    }

    /// The location that a device had leads nowhere, and another line than this to it.
    fn leave_place(&mut self, device: &DeviceId, id: LineId) {
        if let Some(before) = self.devices.get(device) {
            self.locations.remove(&before.location);
            if let Some(line) = before.line.filter(|line| *line != id)
                && let Some(line) = self.lines.get_mut(&line)
            {
                line.device = None;
            }
        }
    }

    /// The device at a location, if a line may speak for it.
    fn at(&self, id: LineId, location: &str) -> Option<DeviceId> {
        let location: [u8; 16] = hex::decode(location).ok()?.try_into().ok()?;
        let device = self.locations.get(&location)?;
        let registered = self.devices.get(device)?;
        let may = match &self.lines.get(&id)?.who {
            Who::Unproven => registered.security == Security::None,
            Who::Device(proven, _) => proven == device && registered.security != Security::None,
        };
        may.then(|| device.clone())
    }

    /// `POST /rd/{location}`. A device that comes by another line, as behind a gateway that gave it another port, is reached
    /// there from then on.
    pub(super) fn update_registration(
        &mut self,
        now: Moment,
        id: LineId,
        exchange: Exchange,
        location: &str,
        request: &Request,
    ) {
        let Some(device) = self.at(id, location) else {
            return self.refuse(now, id, exchange, Code::NOT_FOUND, "register anew");
        };
        let queries: Vec<_> = request.queries().collect();
        let update = match Update::parse(&queries, &request.payload) {
            Ok(update) => update,
            Err(refusal) => {
                return self.refuse(now, id, exchange, Code(refusal.code()), &refusal.to_string());
            }
        };
        self.bind(now, id, &device);
        let Some(registered) = self.devices.get_mut(&device) else { return };
        let changes = update != Update::default();
        let has_others = if changes { registered.apply(update) } else { Some(false) };
        let Some(has_others) = has_others else {
            return self.refuse(now, id, exchange, Code::BAD_REQUEST, TOO_LONG);
        };
        let is_read_anew = has_others || !registered.is_described;
        let lags = now.0.saturating_sub(registered.heard.0) >= HEARD_LAG_MS;
        registered.heard = now;
        self.respond(now, id, exchange, Response::new(Code::CHANGED));
        self.flush(now, id);
        self.actions.push_back(Action::Heard(device.clone()));
        if changes || lags {
            self.keep(&device);
        }
        if is_read_anew {
            self.describe(now, &device);
        }
        self.stay_awake(now, id);
        self.wake(now, &device);
    }

    /// Has a device reached by a line.
    fn bind(&mut self, now: Moment, id: LineId, device: &DeviceId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.device = Some(device.clone());
        let address = line.address;
        let Some(registered) = self.devices.get_mut(device) else { return };
        registered.address = address;
        if registered.line == Some(id) {
            return;
        }
        if let Some(before) = registered.line.replace(id)
            && let Some(line) = self.lines.get_mut(&before)
        {
            line.device = None;
        }
        // Its observations went with the line by which they came, and what was asked there will not be answered.
        self.lost(now, device);
    }

    /// `DELETE /rd/{location}`.
    pub(super) fn deregister(&mut self, now: Moment, id: LineId, exchange: Exchange, location: &str) {
        let Some(device) = self.at(id, location) else {
            return self.refuse(now, id, exchange, Code::NOT_FOUND, "not registered");
        };
        self.respond(now, id, exchange, Response::new(Code::DELETED));
        self.forget(&device, "the device has de-registered");
    }

    /// Looks over all devices: a timer for each would take more memory than looking takes time.
    pub(super) fn sweep(&mut self, now: Moment) {
        self.expire(now);
        self.read_again(now);
        let again = (!self.devices.is_empty()).then(|| now.plus(SWEEP_INTERVAL));
        self.timers.set(Key::Sweep, again);
    }

    /// Ends the registrations that were not renewed in time (Core §6.2).
    fn expire(&mut self, now: Moment) {
        let is_over = |known: &Registered| known.expires().is_some_and(|end| end <= now);
        let ended: BTreeSet<_> = self
            .devices
            .iter()
            .filter(|(_, known)| is_over(known))
            .map(|(device, _)| device.clone())
            .collect();
        for device in ended {
            self.forget(&device, "the device's registration has ended");
        }
    }

    /// There is a device to look at.
    pub(super) fn await_sweep(&mut self, now: Moment) {
        if self.timers.at(&Key::Sweep).is_none() {
            self.timers.set(Key::Sweep, Some(now.plus(SWEEP_INTERVAL)));
        }
    }

    fn forget(&mut self, device: &DeviceId, why: &str) {
        let Some(registered) = self.devices.remove(device) else { return };
        self.locations.remove(&registered.location);
        for key in [Key::Driver, Key::Awake, Key::Orders] {
            self.timers.set(key(device.clone()), None);
        }
        if let Some(line) = registered.line.and_then(|line| self.lines.get_mut(&line)) {
            line.device = None;
            line.peer.forget_observations();
        }
        if let Some(active) = registered.active {
            // An update goes on when the device is back: what was done is in the fleet's notes.
            self.give_up_orders(active.orders, why);
        }
        self.actions.push_back(Action::Keep(Change::Deregister(device.clone())));
    }

    /// A device is not reachable by the line it came by: what it was asked will not be answered.
    pub(super) fn lost(&mut self, now: Moment, device: &DeviceId) {
        let Some(registered) = self.devices.get_mut(device) else { return };
        let active = registered.active();
        let asked = std::mem::take(&mut active.asked);
        active.observed.clear();
        active.order_at = None;
        registered.tidy();
        for purpose in asked.into_values() {
            self.unanswered(now, device, purpose);
        }
        self.pump(now, device);
        self.order_on(now, device);
    }

    /// The window of a device in queue mode has closed.
    pub(super) fn fall_asleep(&mut self, now: Moment, device: &DeviceId) {
        let heard = self.devices.get(device).map(|registered| registered.heard);
        match heard.map(|heard| heard.plus(AWAKE_WINDOW)) {
            Some(at) if at > now => self.timers.set(Key::Awake(device.clone()), Some(at)),
            Some(_) | None => self.order_on(now, device),
        }
    }
}

impl Registered {
    /// Takes over what outlives a new registration: what was learnt, what waits, what is under way. What the device was
    /// asked, and what it is observed for, is gone (Core §6.2.1).
    fn take_over(&mut self, before: Self) {
        self.alias = before.alias;
        self.told = self.told.with_known(before.told.known());
        self.active = before.active;
        if let Some(active) = &mut self.active {
            active.asked.clear();
            active.observed.clear();
            active.to_describe.clear();
            active.read_again = None;
            active.order_at = None;
        }
    }
}
