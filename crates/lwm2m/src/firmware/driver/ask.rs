//! What the driver asks of the device, hears from it, and tells the server.

use super::super::campaign::Marker;
use super::super::snapshot::Snapshot;
use super::super::word::{Scheme, State, UpdateResult};
use crate::moment::Moment;
use crate::path::Path;
use crate::value::{Entry, Value};

/// One thing to ask of the device. At most one is open; a later one replaces it, and the caller gives the earlier up.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Its number, which the answer carries.
    pub id: u32,
    /// What to ask.
    pub operation: Operation,
}

/// What to ask.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Read.
    Read(Path),
    /// Observe, which reads as well. The caller chooses the attributes.
    Observe(Path),
    /// Write (replace, PUT).
    Write {
        /// Where.
        path: Path,
        /// What.
        value: Value,
    },
    /// Send the image, block by block, by PUT (Transport §6.4.4).
    Push {
        /// Where.
        path: Path,
        /// The image's size.
        size: u64,
    },
    /// Execute, without arguments.
    Execute(Path),
}

/// What became of an ask.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// 2.05 with what was read.
    Content(Vec<Entry>),
    /// 2.04.
    Done,
    /// Another code, as its byte: 4.05 is `0x85`.
    Refused(u8),
    /// None, after all retransmissions.
    NoAnswer,
    /// It was not sent: the device sleeps (queue mode). [`super::Driver::handle_awake`] says when it no longer does.
    Asleep,
}

/// What the server is to know or to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Make this durable, then say [`super::Driver::handle_persisted`]: until then nothing is asked.
    Persist(Marker),
    /// The device is ready for an image: answer with [`super::Driver::deliver`] or [`super::Driver::postpone`].
    Decide(Box<Snapshot>),
    /// The image is on its way.
    Downloading {
        /// How much of it, 0 to 100.
        percent: u8,
    },
    /// The image is on the device, whole and checked by it.
    Downloaded,
    /// The device waits to be told to install: answer with [`super::Driver::proceed`] when windows, waves and people allow.
    Ready,
    /// The device installs.
    Executing,
    /// The device put the update off.
    Deferred {
        /// When the driver's patience ends.
        until: Moment,
    },
    /// A download failed and begins again.
    Retrying {
        /// Why it failed.
        failure: Failure,
        /// When it begins again.
        at: Moment,
    },
    /// This is how it ended. Nothing follows.
    Ended(Outcome),
}

/// How a campaign ended on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The device runs the target.
    Succeeded(Proof),
    /// The device restarted and is on another version.
    RolledBack {
        /// What it runs.
        version: Option<String>,
        /// The result it gave, if any survived.
        result: UpdateResult,
    },
    /// It failed, for good.
    Failed(Failure),
    /// It was cancelled: by [`super::Driver::cancel`], or on the device.
    Cancelled,
}

/// Why the driver believes that the device runs the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// It ran it before anything was done.
    Already,
    /// Its /3/0/3 is the target.
    Version,
    /// Its result is 1 after this campaign's image was installed; its /3/0/3 says something else, or nothing.
    Result {
        /// What /3/0/3 says.
        version: Option<String>,
    },
}

/// Why a campaign failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The device said so.
    Result(UpdateResult),
    /// The device refused what it was asked, with this code.
    Refused(u8),
    /// Nothing of the download moved for too long.
    Stalled,
    /// The image or the offer of it did not reach the device.
    Undelivered,
    /// The image is gone from the device, and it does not say why.
    Lost,
    /// The device does not leave this state.
    Stuck(State),
    /// The device was told to install, and was not heard of again in time.
    NoReturn,
    /// The device answered nothing for too long.
    Silent,
    /// The device put the update off for too long.
    Deferred,
    /// The device has no Firmware Update object that can be read.
    Unreadable,
    /// The delivery does not fit the device.
    Unfit(Unfit),
}

/// Why a delivery does not fit a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It is a pull, and the device takes only what is sent.
    NoPull,
    /// It is a push, and the device only fetches.
    NoPush,
    /// The URI's scheme is none, or none of the device's: a server must not give it such a one (resource 8).
    Scheme(Option<Scheme>),
    /// The URI is empty, or has more bytes than the resource holds.
    UriLength,
}

/// A code's byte: class and detail (RFC 7252 §3).
const fn code(class: u8, detail: u8) -> u8 {
    class << 5 | detail
}

/// 4.08 Request Entity Incomplete: the blocks are to be sent again from the first (RFC 7959 §2.9.2).
const INCOMPLETE: u8 = code(4, 8);
/// 4.29 Too Many Requests (RFC 8516).
const TOO_MANY: u8 = code(4, 29);
/// 5.00 and all above it are the device's trouble, which may pass.
const SERVER_ERROR: u8 = code(5, 0);
/// 5.03 Service Unavailable.
const UNAVAILABLE: u8 = code(5, 3);

/// Whether a refusal may pass by itself.
pub(super) const fn passes(code: u8) -> bool {
    matches!(code, INCOMPLETE | TOO_MANY) || code >= SERVER_ERROR
}

/// Whether a refusal says only that the device is busy: devices in the midst of a push answer so.
pub(super) const fn busy(code: u8) -> bool {
    matches!(code, TOO_MANY | UNAVAILABLE)
}
