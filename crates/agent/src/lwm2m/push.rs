//! A package that the server sends: its blocks, on their way to the slot.

use crate::agent::Input;
use crate::fetch::{FetchError, FetchPart};
use std::sync::mpsc::{SyncSender, TrySendError};

/// Bytes that wait for the disk at most. Beyond that no answer leaves, and the server sends nothing more: a device's memory
/// stays flat, however large the image.
const WAITING_BYTES_MAX: usize = 64 * 1024;
/// Bytes that are handed over at once: a block at a time would wake the agent, and write to the disk, a thousand times a
/// megabyte.
const PART_BYTES: usize = 8 * 1024;

/// A package on its way.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) attempt: u32,
    /// The fetch that takes it, once the agent is ready.
    number: Option<u64>,
    is_begun: bool,
    waiting: Vec<u8>,
    /// How it ended.
    end: Option<Result<(), FetchError>>,
}

impl Push {
    pub(super) fn new(attempt: u32) -> Self {
        Self { attempt, number: None, is_begun: false, waiting: Vec::new(), end: None }
    }

    /// The server sends from the first block again.
    pub(super) fn restart(&mut self) {
        self.is_begun = false;
        self.waiting.clear();
        self.end = None;
    }

    /// The agent takes what comes, from its beginning; what has been handed over already is lost then.
    pub(super) fn take_over(&mut self, number: u64) {
        if self.is_begun {
            let lost = "a package that is sent cannot be taken up in the middle".to_owned();
            self.end = Some(Err(FetchError::Fatal(updraft_wire::Reason::ConnectionLost, lost)));
        }
        self.number = Some(number);
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    pub(super) fn end(&mut self) {
        self.end = Some(Ok(()));
    }

    /// Whether the server is to wait.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_BYTES_MAX
    }

    /// Hands over what waits. Says whether something still does, for which there is no room at the agent.
    pub(super) fn feed(&mut self, inputs: &SyncSender<Input>) -> bool {
        let Some(number) = self.number else { return false };
        if !self.is_begun {
            if !give(inputs, number, &mut Some(FetchPart::Begun { offset: 0, etag: None })) {
                return true;
            }
            self.is_begun = true;
        }
        let is_due = self.waiting.len() >= PART_BYTES || (self.end.is_some() && !self.waiting.is_empty());
        if is_due {
            let mut part = Some(FetchPart::Bytes(std::mem::take(&mut self.waiting)));
            if !give(inputs, number, &mut part) {
                if let Some(FetchPart::Bytes(bytes)) = part {
                    self.waiting = bytes;
                }
                return true;
            }
        }
        if let Some(end) = self.end.take() {
            let mut part = Some(FetchPart::Ended(end));
            if !give(inputs, number, &mut part) {
                if let Some(FetchPart::Ended(end)) = part {
                    self.end = Some(end);
                }
                return true;
            }
            self.number = None;
        }
        false
    }
}

/// Gives a part to the agent, and takes it back where there is no room.
pub(super) fn give(inputs: &SyncSender<Input>, number: u64, part: &mut Option<FetchPart>) -> bool {
    let Some(taken) = part.take() else { return true };
    match inputs.try_send(Input::Fetch(number, taken)) {
        Err(TrySendError::Full(Input::Fetch(_, back))) => {
            *part = Some(back);
            false
        }
        // The agent has ended: nobody wants it any more.
        Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn blocks_wait_for_the_agent_and_go_over_in_order_and_whole() {
        let (inputs, received) = sync_channel(1);
        let mut push = Push::new(1);
        push.append(b"abc");
        assert!(!push.feed(&inputs), "nobody takes it yet");
        push.take_over(7);
        push.append(b"def");
        push.end();
        let mut parts = Vec::new();
        while push.feed(&inputs) || push.number.is_some() {
            parts.extend(received.try_iter());
        }
        parts.extend(received.try_iter());
        let text = format!("{parts:?}");
        assert_eq!(
            text,
            format!(
                "{:?}",
                [
                    Input::Fetch(7, FetchPart::Begun { offset: 0, etag: None }),
                    Input::Fetch(7, FetchPart::Bytes(b"abcdef".to_vec())),
                    Input::Fetch(7, FetchPart::Ended(Ok(()))),
                ]
            )
        );
    }

    #[test]
    fn blocks_go_over_many_at_a_time() {
        let (inputs, received) = sync_channel(8);
        let mut push = Push::new(1);
        push.take_over(7);
        for _ in 0..20 {
            push.append(&[1; 1024]);
            assert!(!push.feed(&inputs));
        }
        push.end();
        assert!(!push.feed(&inputs));
        let lengths = received.try_iter().filter_map(|input| {
            let Input::Fetch(7, FetchPart::Bytes(bytes)) = input else { return None };
            Some(bytes.len())
        });
        assert_eq!(lengths.collect::<Vec<_>>(), [8_192, 8_192, 4_096]);
    }

    #[test]
    fn a_push_that_nobody_takes_fills_up_and_holds_the_server_back() {
        let mut push = Push::new(1);
        for _ in 0..63 {
            push.append(&[0; 1024]);
        }
        assert!(!push.is_full());
        push.append(&[0; 1024]);
        assert!(push.is_full());
    }
}
