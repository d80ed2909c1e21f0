//! LwM2M in the world: the server's real hub at one end, devices' real clients at the other, datagrams between them.
//!
//! [`host`] is what the server does around its hub, [`call`] what the hub asks of the fleet, [`device`] a device with its
//! flash and its whims. Simulated: sockets, DTLS (a session is there or not, and outlives a change of address), flash, and
//! the store of images.

mod call;
mod chip;
pub(super) mod device;
mod firmware;
pub(super) mod host;
mod nature;
#[cfg(test)]
mod stories;

use super::device::Device;
use super::sabotage::Sabotage;
use super::{Event, World};
use bytes::Bytes;

use updraft_core::id::DeviceId;
use updraft_lwm2m::Moment;
use updraft_server::protocols::lwm2m::hub::{Action, Hub, Piece};

pub(super) use call::{Call, Came};
pub(super) use host::Host;

/// How long the store of images takes for a piece, in milliseconds.
const READ_MS_MAX: u64 = 20;
/// How long changes are gathered before they are written, as the server's own writer does.
const GATHER_MS: u64 = 250;

/// A datagram between a device and the server, or the messages that begin a session, as one.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    /// The session it belongs to; `None`: without security, where the address is all there is.
    pub(super) session: Option<u64>,
    /// The port from which the device is seen; the server's answers go there.
    pub(super) port: u16,
    /// What it carries; `None`: the session is asked for, or granted.
    pub(super) bytes: Option<Vec<u8>>,
}

/// What the server's end of LwM2M does, or hears, at a time.
pub(super) enum Step {
    /// The hub's time has come.
    Wake,
    /// A device's packet arrives.
    Arrive(usize, Packet),
    /// A piece of an image was read, by this life of the server.
    Read(u64, Piece, Option<Bytes>),
    /// What was to be kept is written.
    Keep(u64),
}

impl World {
    /// The hub's clock: what the server's showed when it started, and the time since. It never goes back while it runs.
    pub(super) fn moment(&self) -> Moment {
        let stepped = self.server.clock_step_ms() - self.host.clock_step_ms;
        let millis = self.server.clock(self.now).as_millis() - stepped;
        Moment(u64::try_from(millis).unwrap_or(0))
    }

    /// Something happens at the server's end.
    pub(super) fn step_hub(&mut self, step: Step) {
        let now = self.moment();
        match step {
            Step::Wake => {
                if self.host.wake.take_if(|at| *at == self.now).is_some() {
                    self.with_hub(|hub| hub.handle_timeout(now));
                }
            }
            Step::Arrive(device, packet) => self.arrive(now, device, packet),
            Step::Read(life, piece, bytes) if life == self.host.life => {
                self.with_hub(|hub| hub.handle_piece(now, piece, bytes));
            }
            Step::Keep(life) if life == self.host.life => self.host.keep(self.server.disk.saved_count()),
            Step::Read(..) | Step::Keep(_) => {}
        }
    }

    /// Lets the hub do something, if it is there, and then what it wants done.
    pub(super) fn with_hub(&mut self, run: impl FnOnce(&mut Hub)) {
        if let Some(hub) = &mut self.host.hub {
            run(hub);
            self.drive_hub();
        }
    }

    /// The server starts: its hub with it.
    pub(super) fn start_hub(&mut self) {
        if self.server.is_up() {
            let generation = self.server.fleet().map_or(0, |fleet| fleet.generation());
            self.host.clock_step_ms = self.server.clock_step_ms();
            self.host.start(generation);
            self.drive_hub();
        }
    }

    /// Looks, after a while, whether something has changed for devices at large.
    pub(super) fn patrol(&mut self) {
        let generation = self.server.fleet().map_or(0, |fleet| fleet.generation());
        let is_deaf = self.scenario.sabotage == Some(Sabotage::NeverPatrols);
        if self.host.has_moved(generation) && !is_deaf {
            self.with_hub(Hub::handle_change_at_large);
        }
    }

    /// Devices for whom something may have changed.
    pub(super) fn hint_hub(&mut self, devices: impl IntoIterator<Item = DeviceId>) {
        if self.scenario.sabotage != Some(Sabotage::NeverPatrols) {
            for device in devices {
                self.with_hub(|hub| hub.handle_hint(&device));
            }
        }
    }

    /// What came of the hub's calls, after the commit.
    pub(super) fn answer_hub(&mut self, came: Vec<Came>) {
        let now = self.moment();
        for came in came {
            if let Some((device, told)) = came.told() {
                let device = self.device_number(&device);
                self.check_told(device, &told);
                self.truth.allow(device, &told.version);
                if told.goes_back {
                    self.truth.allow_back(device, &told.version);
                }
                self.truth.devices[device].told.insert(told.version, told.job.to_string());
            }
            let twice = self.scenario.sabotage == Some(Sabotage::HearsTwice);
            for came in twice.then(|| came.clone()).into_iter().chain([came]) {
                self.with_hub(|hub| came.tell(now, hub));
            }
        }
    }

    fn device_number(&self, id: &DeviceId) -> usize {
        self.truth.number_of(id).expect("only the world's own devices speak")
    }

    fn arrive(&mut self, now: Moment, device: usize, packet: Packet) {
        if self.host.hub.is_none() {
            return;
        }
        let Some(bytes) = packet.bytes else {
            let granted = self.host.grant(device, packet.port);
            return self.send_packet(device, granted);
        };
        let id = self.truth.devices[device].id.clone();
        if let Some(line) = self.host.line(device, &id, packet.session, packet.port) {
            self.with_hub(|hub| hub.handle_datagram(now, line, &bytes));
        }
    }

    fn send_packet(&mut self, device: usize, packet: Packet) {
        self.host.datagrams += 1;
        for delay in self.network.delays(self.now, device) {
            self.at(self.now + delay, Event::Packet(device, packet.clone()));
        }
    }

    /// Does everything the hub wants done.
    fn drive_hub(&mut self) {
        while let Some(action) = self.host.hub.as_mut().and_then(Hub::poll_action) {
            self.do_for_hub(action);
        }
        let due = self.host.hub.as_ref().and_then(Hub::poll_timeout);
        let due = due.map(|due| self.now + due.0.saturating_sub(self.moment().0));
        if due != self.host.wake {
            self.host.wake = due;
            if let Some(due) = due {
                self.at(due, Event::Hub(Step::Wake));
            }
        }
    }

    fn do_for_hub(&mut self, action: Action) {
        match action {
            Action::Send(line, bytes) => {
                if let Some((device, packet)) = self.host.packet(line, bytes) {
                    self.send_packet(device, packet);
                }
            }
            Action::Close(line) => self.host.close(line),
            Action::Heard(_) => {}
            Action::Describe(device, tree, alias) => self.call(Call::Describe(device, tree, alias)),
            Action::Look(device) => self.call(Call::Look(device)),
            Action::Say(device, work, said) => self.call(Call::Say(device, work, said)),
            Action::Resolve(ticket, path, is_start) => self.call(Call::Resolve(ticket, path, is_start)),
            Action::Read(piece, size) => self.read(piece, size),
            // Nobody is bootstrapped here: devices leave the factory with their accounts.
            Action::MakeAccount(_) => {}
            Action::Keep(change) => {
                if self.host.unsaved.is_empty() {
                    self.at(self.now + GATHER_MS, Event::Hub(Step::Keep(self.host.life)));
                }
                self.host.unsaved.push(change);
            }
            Action::Told(ticket, taken) => self.host.told.push((ticket, taken)),
        }
    }

    fn call(&mut self, call: Call) {
        self.server.calls.push(call);
        self.schedule_turn();
    }

    fn read(&mut self, piece: Piece, size: u64) {
        self.host.reads += 1;
        let image = self.truth.image(&piece.image.to_string()).map(|image| image.bytes.clone());
        let from = usize::try_from(piece.offset()).unwrap_or(usize::MAX);
        let length = usize::try_from(piece.length(size)).unwrap_or(usize::MAX);
        let mut bytes = image.and_then(|bytes| Some(bytes.get(from..from.checked_add(length)?)?.to_vec()));
        if self.scenario.sabotage == Some(Sabotage::ReadsOtherBytes)
            && let Some(last) = bytes.as_mut().and_then(|bytes| bytes.last_mut())
        {
            *last ^= 1;
        }
        let delay = self.random.between(1, READ_MS_MAX);
        let step = Step::Read(self.host.life, piece, bytes.map(Bytes::from));
        self.at(self.now + delay, Event::Hub(step));
    }

    /// A packet arrives at a device.
    pub(super) fn deliver(&mut self, device: usize, packet: Packet) {
        if !self.truth.devices[device].is_silent {
            self.act(device, |device, io| match device {
                Device::Constrained(device) => device.take(io, packet),
                Device::Native(_) | Device::Ioto(_) => {}
            });
        }
    }
}
