//! The server's end: discover, delete, write, finish.

use std::collections::BTreeSet;
use std::fmt;

use super::{SECURITY, SERVER, ServerAccount, USUAL_BOOTSTRAP_INSTANCE};
use crate::content::{self, ContentFormat, FormatError};
use crate::link;
use crate::path::Path;
use crate::value::Entry;

/// A request to the device; the next one comes after its answer.
#[derive(Clone, PartialEq, Eq)]
pub enum Ask {
    /// `GET /`, Accept 40: which instances it has, and which of them is the bootstrap server's.
    Discover,
    /// `DELETE` of an object. The device keeps the bootstrap server's own account, whatever is deleted (Core §6.1.7.6).
    Delete(Path),
    /// `PUT` of an instance.
    Write {
        /// Which.
        path: Path,
        /// The format of the body.
        format: ContentFormat,
        /// Its leaves.
        body: Vec<u8>,
    },
    /// `POST /bs`: the device checks what it has, and leaves.
    Finish,
}

/// Without bodies: they have secrets, and what is printed ends in logs.
impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discover => f.write_str("Discover"),
            Self::Delete(path) => write!(f, "Delete({path})"),
            Self::Write { path, format, .. } => write!(f, "Write({path} in {format})"),
            Self::Finish => f.write_str("Finish"),
        }
    }
}

/// Why a bootstrap has failed. The device asks again, by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The device refuses a request, with this code.
    Refused(u8),
    /// The device finds its accounts inconsistent (4.06).
    Inconsistent,
    /// The device does not answer.
    Silent,
    /// An account cannot be written.
    Format(FormatError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Discover,
    DeleteSecurity,
    DeleteServer,
    /// Of the instance with this index: each account has one of object 0, then one of object 1.
    Write(usize),
    Finish,
    Ended(Result<(), Failure>),
}

/// A device that is being bootstrapped.
#[derive(Debug)]
pub struct BootstrapSequence {
    accounts: Vec<ServerAccount>,
    format: ContentFormat,
    /// Instances of object 0 that are not ours to write; none where the device did not say.
    taken: Option<BTreeSet<u16>>,
    step: Step,
    asked: bool,
}

/// 4.04: what is deleted is not there.
const NOT_FOUND: u8 = 0x84;
/// 4.06: the accounts are inconsistent; or the format is not accepted.
const NOT_ACCEPTABLE: u8 = 0x86;
/// 4.15: the format is not known.
const UNSUPPORTED_FORMAT: u8 = 0x8f;

impl BootstrapSequence {
    /// Gives a device these accounts, in the format it prefers, if that has trees; else in TLV, which each must read.
    #[must_use]
    pub fn new(accounts: Vec<ServerAccount>, preferred: Option<ContentFormat>) -> Self {
        let known = [ContentFormat::SENML_CBOR, ContentFormat::SENML_JSON, ContentFormat::LWM2M_CBOR];
        let format = preferred.filter(|format| known.contains(format)).unwrap_or(ContentFormat::TLV);
        Self { accounts, format, taken: None, step: Step::Discover, asked: false }
    }

    /// The next request, once; then none before its answer.
    pub fn poll_ask(&mut self) -> Option<Ask> {
        if self.asked {
            return None;
        }
        let ask = match self.step {
            Step::Discover => Ask::Discover,
            Step::DeleteSecurity => Ask::Delete(Path::object(SECURITY)),
            Step::DeleteServer => Ask::Delete(Path::object(SERVER)),
            Step::Write(index) => {
                let (path, entries) = self.instance(index);
                match content::encode(self.format, &path, &entries) {
                    Ok(body) => Ask::Write { path, format: self.format, body },
                    Err(error) => {
                        self.step = Step::Ended(Err(Failure::Format(error)));
                        return None;
                    }
                }
            }
            Step::Finish => Ask::Finish,
            Step::Ended(_) => return None,
        };
        self.asked = true;
        Some(ask)
    }

    /// The device has answered what was asked last, with this code. An answer to nothing is passed over.
    pub fn handle_answer(&mut self, code: u8, body: &[u8]) {
        if !self.asked {
            return;
        }
        self.asked = false;
        let good = code >> 5 == 2;
        let refused = || Step::Ended(Err(Failure::Refused(code)));
        self.step = match self.step {
            Step::Discover => {
                self.taken = good.then(|| bootstrap_instances(body)).flatten();
                Step::DeleteSecurity
            }
            Step::DeleteSecurity if good || code == NOT_FOUND => Step::DeleteServer,
            Step::DeleteServer if good || code == NOT_FOUND => self.write_step(0),
            Step::Write(index) if good => self.write_step(index + 1),
            Step::Write(index)
                if matches!(code, UNSUPPORTED_FORMAT | NOT_ACCEPTABLE)
                    && self.format != ContentFormat::TLV =>
            {
                self.format = ContentFormat::TLV;
                Step::Write(index)
            }
            Step::Finish if good => Step::Ended(Ok(())),
            Step::Finish if code == NOT_ACCEPTABLE => Step::Ended(Err(Failure::Inconsistent)),
            Step::DeleteSecurity | Step::DeleteServer | Step::Write(_) | Step::Finish => refused(),
            Step::Ended(outcome) => Step::Ended(outcome),
        };
    }

    /// The device has not answered what was asked last.
    pub fn handle_silence(&mut self) {
        if self.asked {
            self.asked = false;
            self.step = Step::Ended(Err(Failure::Silent));
        }
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<(), Failure>> {
        if let Step::Ended(outcome) = self.step { Some(outcome) } else { None }
    }

    fn write_step(&self, index: usize) -> Step {
        if index < 2 * self.accounts.len() { Step::Write(index) } else { Step::Finish }
    }

    /// The instance with this index, and its leaves.
    fn instance(&self, index: usize) -> (Path, Vec<Entry>) {
        let account = &self.accounts[index / 2];
        let position = u16::try_from(index / 2).expect("an operator names fewer servers than there are ids");
        if index.is_multiple_of(2) {
            let free = |id: &u16| match &self.taken {
                Some(taken) => !taken.contains(id),
                None => *id != USUAL_BOOTSTRAP_INSTANCE,
            };
            let mut ids = (0..crate::path::ID_MAX).filter(free);
            let id = ids.nth(usize::from(position)).expect("a body names fewer instances than there are ids");
            (Path::instance(SECURITY, id), account.security.entries(id, Some(account.ssid)))
        } else {
            (Path::instance(SERVER, position), account.server_entries(position))
        }
    }
}

/// The instances of object 0 without a short server id: the bootstrap server's. None where the answer is no list, or names
/// no such: then nothing is known.
fn bootstrap_instances(body: &[u8]) -> Option<BTreeSet<u16>> {
    let nodes = link::parse_discovered(body, None).ok()?;
    let own = nodes.iter().filter(|node| {
        node.path.object_id() == Some(SECURITY) && node.path.depth() == 2 && node.attribute("ssid").is_none()
    });
    let own: BTreeSet<u16> = own.filter_map(|node| node.path.instance_id()).collect();
    (!own.is_empty()).then_some(own)
}
