//! A device of any kind, as the world sees it.

use super::exchange::{Content, Response};
use super::ioto::Ioto;
use super::lwm2m::Packet;
use super::lwm2m::device::Constrained;
use super::native::Native;
use super::truth::Truth;
use crate::random::Random;
use serde_json::{Map, Value, json};

/// What a device may use of the world while it acts.
pub(super) struct Io<'a> {
    pub(super) now: u64,
    pub(super) random: &'a mut Random,
    pub(super) truth: &'a mut Truth,
    /// What it sends, each with the number under which the answer will come.
    pub(super) sent: &'a mut Vec<(u64, Content)>,
    pub(super) next_request: &'a mut u64,
    /// What it sends over LwM2M.
    pub(super) packets: &'a mut Vec<Packet>,
    /// Whether faults may happen to it.
    pub(super) is_chaos: bool,
}

impl Io<'_> {
    /// Sends a request; gives the number under which its answer will come.
    pub(super) fn send(&mut self, content: Content) -> u64 {
        *self.next_request += 1;
        self.sent.push((*self.next_request, content));
        *self.next_request
    }
}

/// A device.
#[expect(
    clippy::large_enum_variant,
    reason = "each is used all the time, and most are of the largest kind where there are many"
)]
pub(super) enum Device {
    /// The real agent's updater on simulated flash.
    Native(Native),
    /// A client of the Ioto contract.
    Ioto(Ioto),
    /// The real client of LwM2M on simulated flash.
    Constrained(Constrained),
}

impl Device {
    /// When it wants to be woken; `None`: never.
    pub(super) fn next_wake(&self) -> Option<u64> {
        match self {
            Self::Native(device) => device.timers.next(),
            Self::Ioto(device) => device.timers.next(),
            Self::Constrained(device) => device.next_wake(),
        }
    }

    /// Its alarms that are due go off.
    pub(super) fn wake(&mut self, io: &mut Io<'_>) {
        match self {
            Self::Native(device) => device.wake(io),
            Self::Ioto(device) => device.wake(io),
            Self::Constrained(device) => device.wake(io),
        }
    }

    /// An answer arrives; one that it does not wait for is not seen.
    pub(super) fn answer(&mut self, io: &mut Io<'_>, request: u64, response: Response) {
        match self {
            Self::Native(device) => device.answer(io, request, response),
            Self::Ioto(device) => device.answer(io, request, response),
            // Its answers are packets.
            Self::Constrained(_) => {}
        }
    }

    /// The power goes.
    pub(super) fn cut_power(&mut self, io: &mut Io<'_>) {
        match self {
            Self::Native(device) => device.cut_power_soon(io),
            Self::Ioto(device) => device.cut_power(io),
            Self::Constrained(device) => device.cut_power(io),
        }
    }

    /// Somebody flashes it by hand.
    pub(super) fn flash_by_hand(&mut self, io: &mut Io<'_>, version: &str) {
        match self {
            Self::Native(device) => device.flash_by_hand(io, version),
            Self::Ioto(device) => device.flash_by_hand(io, version),
            Self::Constrained(device) => device.flash_by_hand(io, version),
        }
    }

    /// It says from its next start on that it is something else.
    pub(super) fn describe(&mut self, identity: Identity) {
        match self {
            Self::Native(device) => device.identity = identity,
            Self::Ioto(device) => device.identity = identity,
            Self::Constrained(device) => device.identity = identity,
        }
    }

    pub(super) fn identity(&self) -> &Identity {
        match self {
            Self::Native(device) => &device.identity,
            Self::Ioto(device) => &device.identity,
            Self::Constrained(device) => &device.identity,
        }
    }

    /// How it stands, for whoever reads a failing seed.
    pub(super) fn standing(&self) -> String {
        match self {
            Self::Native(device) => format!("alarms: {:?}", device.timers),
            Self::Ioto(device) => format!("alarms: {:?}", device.timers),
            Self::Constrained(device) => device.standing(),
        }
    }

    /// Whether it has nothing to do and nothing to say.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Native(device) => device.is_idle(),
            Self::Ioto(device) => device.is_idle(),
            Self::Constrained(device) => device.is_idle(),
        }
    }
}

/// What a device says it is, apart from the version.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) id: String,
    pub(super) product: String,
    pub(super) region: &'static str,
    pub(super) ring: Option<u64>,
}

impl Identity {
    /// An identity drawn at random.
    pub(super) fn draw(id: String, product: String, random: &mut Random) -> Self {
        let region = if random.chance(500) { "eu" } else { "us" };
        let ring = random.chance(700).then(|| random.below(5));
        Self { id, product, region, ring }
    }

    /// What policies read, the ring as a number or as text: both occur.
    pub(super) fn attributes(&self, as_text: bool) -> Map<String, Value> {
        let mut attributes = Map::new();
        attributes.insert("region".into(), json!(self.region));
        if let Some(ring) = self.ring {
            attributes.insert("ring".into(), if as_text { json!(ring.to_string()) } else { json!(ring) });
        }
        attributes
    }
}
