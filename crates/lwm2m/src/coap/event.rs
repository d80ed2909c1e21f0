//! What a `Peer` tells the application, and the names of what is under way.

use super::message::Code;
use super::request::{Request, Response};

/// One of our requests to a peer, and the observation it may have begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) u32);

/// One request of a peer's that the application has to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exchange(pub(super) u32);

/// A peer's interest in one of our resources (RFC 7641).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Observer(pub(super) u32);

/// What happened between us and a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer asks: answer it with `respond`. Its body is whole, unless the path is streamed: then this is one block of it,
    /// in order, with its Block1 option; answer each block, all but the last with 2.31.
    Request {
        /// To answer it by.
        exchange: Exchange,
        /// What is asked.
        request: Request,
    },
    /// The peer answered, well or with an error; its body is whole, unless the request asked for one block.
    Response {
        /// The request it answers. Where that asked to observe and the response has an Observe option, notifications follow.
        id: RequestId,
        /// The answer.
        response: Response,
    },
    /// A request of ours has come to an end without an answer.
    Failed {
        /// The request; an observation that it asked for does not exist.
        id: RequestId,
        /// Why.
        failure: Failure,
    },
    /// A push needs these bytes next: give them with `supply`. It may go back, where a push began again.
    WantBlock {
        /// The push.
        id: RequestId,
        /// Where they begin.
        offset: u64,
        /// How many; fewer only at the end of the body.
        length: usize,
    },
    /// What we observe has changed; older than what was told before never arrives. A code that is no success ends the
    /// observation.
    Notification {
        /// The request that began the observation.
        id: RequestId,
        /// The state, its body whole.
        response: Response,
    },
    /// The peer observes no more: it said so, or did not answer. Its observer's name means nothing after this.
    Unobserved {
        /// Whose interest has ended.
        observer: Observer,
    },
    /// An empty message was answered: the peer is there.
    Pong {
        /// The `ping`.
        id: RequestId,
    },
}

/// Why a request had no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing was heard, after every retransmission: the peer sleeps, or is away.
    #[error("no acknowledgement")]
    Silent,
    /// It was acknowledged, and never answered.
    #[error("acknowledged, but not answered")]
    Unanswered,
    /// The peer said that it makes no sense of it.
    #[error("reset by the peer")]
    Reset,
    /// The response has a critical option that is unknown, or blocks that contradict each other.
    #[error("an answer that makes no sense")]
    Incomprehensible,
    /// The body of the response is longer than is taken.
    #[error("the answer is too large")]
    TooLarge,
    /// The body needs more than 2^20 blocks of the size the peer asked for.
    #[error("too many blocks of the size the peer takes")]
    TooManyBlocks,
    /// The body was begun again too often.
    #[error("begun again too often, at last for {0}")]
    Restarts(Code),
}

/// Why a command was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many requests wait as may: ask again after an event.
    #[error("too many requests wait")]
    Full,
    /// An option longer than the standard allows, or too many of them.
    #[error("options that no message can carry")]
    Options,
    /// The body needs more than 2^20 blocks.
    #[error("too many blocks")]
    TooManyBlocks,
    /// Nothing of that name is under way, or it does not wait for this.
    #[error("nothing under way waits for this")]
    Unknown,
}
