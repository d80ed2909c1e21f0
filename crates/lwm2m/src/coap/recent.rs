//! The messages a peer sent of late, and what was answered: so that a repeated one does nothing twice (RFC 7252 §4.5).

use super::config::EXCHANGE_LIFETIME;
use super::message::Message;
use super::request::Method;
use crate::Moment;
use std::collections::VecDeque;

/// What goes out again where a message comes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing: it was non-confirmable, or is not answered yet.
    Nothing,
    /// An empty acknowledgement.
    Acknowledgement,
    /// This datagram.
    Datagram(Box<[u8]>),
}

/// One message of the peer's.
#[derive(Debug)]
struct Entry {
    id: u16,
    print: u32,
    /// It asked for a change: done twice, it may do harm.
    changes: bool,
    at: Moment,
    answer: Answer,
}

/// The last messages of a peer, oldest first; a bounded number, each for 247 s.
#[derive(Debug, Default)]
pub(super) struct Recent {
    entries: VecDeque<Entry>,
}

impl Recent {
    /// What was answered to this message; `None` where it is none of the recent ones.
    ///
    /// The ID alone would do by the standard. But a device that has rebooted may count from the same number again, and would be
    /// answered what it asked before: a message with another code or token is another message.
    pub(super) fn answer(&self, now: Moment, message: &Message<'_>) -> Option<&Answer> {
        let is = |entry: &&Entry| entry.id == message.id && entry.print == print(message);
        let found = self.entries.iter().rev().find(is)?;
        (now.since(found.at) < EXCHANGE_LIFETIME).then_some(&found.answer)
    }

    /// Remembers a message, and forgets one where there are more than `most`: the oldest that changes nothing, which may be
    /// answered anew (RFC 7252 §4.5), else the oldest. A push that comes again long after it was done would begin anew.
    pub(super) fn insert(&mut self, now: Moment, message: &Message<'_>, most: usize) {
        self.entries.retain(|entry| entry.id != message.id);
        while self.entries.len() >= most.max(1) {
            let harmless = self.entries.iter().position(|entry| !entry.changes);
            self.entries.remove(harmless.unwrap_or(0));
        }
        // Most peers say one thing in a while: room for one is a quarter of what would be made.
        self.entries.reserve_exact(usize::from(self.entries.is_empty()));
        let (id, print) = (message.id, print(message));
        let changes = Method::from_code(message.code).is_some_and(|method| !method.is_safe());
        self.entries.push_back(Entry { id, print, changes, at: now, answer: Answer::Nothing });
    }

    /// Sets what was answered to a message, where it is still remembered.
    pub(super) fn set_answer(&mut self, id: u16, answer: Answer) {
        if let Some(entry) = self.entries.iter_mut().rev().find(|entry| entry.id == id) {
            entry.answer = answer;
        }
    }

    /// Forgets a message: should it come again, it is handled again.
    pub(super) fn remove(&mut self, id: u16) {
        self.entries.retain(|entry| entry.id != id);
    }

    /// Forgets what is older than 247 s, and gives the memory back with the last.
    pub(super) fn expire(&mut self, now: Moment) {
        while self.entries.front().is_some_and(|entry| now.since(entry.at) >= EXCHANGE_LIFETIME) {
            self.entries.pop_front();
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }

    /// When all of it may be forgotten: a peer that went quiet is then woken once, not for each message.
    pub(super) fn expires(&self) -> Option<Moment> {
        self.entries.back().map(|entry| entry.at.plus(EXCHANGE_LIFETIME))
    }

    /// Bytes kept beside the entries.
    pub(super) fn held_bytes(&self) -> usize {
        let answers: usize = self.entries.iter().map(|entry| entry.answer.held_bytes()).sum();
        answers + self.entries.capacity() * size_of::<Entry>()
    }
}

/// What tells messages with the same ID apart: FNV-1a of code and token.
fn print(message: &Message<'_>) -> u32 {
    let fold = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    message.token.as_bytes().iter().fold(fold(0x811C_9DC5, &message.code.0), fold)
}

impl Answer {
    fn held_bytes(&self) -> usize {
        match self {
            Self::Nothing | Self::Acknowledgement => 0,
            Self::Datagram(bytes) => bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Code, MessageType, Token};
    use super::super::option::View;
    use super::*;

    const PUT: Code = Method::Put.code();
    const POST: Code = Method::Post.code();
    const GET: Code = Method::Get.code();

    fn message(id: u16, code: Code) -> Message<'static> {
        let (kind, token) = (MessageType::Confirmable, Token::EMPTY);
        Message { kind, code, id, token, options: View::EMPTY, payload: &[] }
    }

    #[test]
    fn what_changed_something_is_remembered_while_reads_are_forgotten() {
        let (mut recent, now) = (Recent::default(), Moment(1_000));
        recent.insert(now, &message(1, PUT), 4);
        for id in 2..20 {
            recent.insert(now, &message(id, GET), 4);
        }
        assert!(recent.answer(now, &message(1, PUT)).is_some());
        assert!(recent.answer(now, &message(2, GET)).is_none());
        assert!(recent.answer(now, &message(19, GET)).is_some());
        for id in 20..24 {
            recent.insert(now, &message(id, POST), 4);
        }
        assert!(recent.answer(now, &message(1, PUT)).is_none(), "there is room for four");
        assert!(recent.answer(now, &message(20, POST)).is_some());
    }
}
