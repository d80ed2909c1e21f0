//! One request of ours, from its first message to its answer, both bodies in blocks where they are long.

use super::assembly::{Assembly, Fit};
use super::block::{Block, BlockSize};
use super::config::Config;
use super::event::{Failure, RequestId};
use super::message::{Code, Token};
use super::option::{Options, number};
use super::request::{Observe, Request, Response};
use super::upload::{self, Upload};

/// Options of a first request that those for further blocks of its answer do not have.
const NOT_IN_FOLLOWING: [u16; 4] = [number::OBSERVE, number::BLOCK1, number::SIZE1, number::REQUEST_TAG];

/// A request of ours.
#[derive(Debug)]
pub(super) struct Ask {
    /// Its name.
    pub(super) id: RequestId,
    /// Who waits for the answer.
    pub(super) audience: Audience,
    request: Request,
    source: Source,
    upload: Upload,
    reply: Option<Reply>,
    reply_restarts: u8,
    /// Names the body that is under way (RFC 9175 §3).
    tag: Token,
    /// The token it must have: that of the observation it ends.
    token: Option<Token>,
}

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// The one who asked.
    Asker,
    /// The one who observes: it is the rest of a notification.
    Observer(RequestId),
}

/// Where the bytes of a request's body are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// In the request.
    Held,
    /// At the application, which gives each block when it is asked.
    Application,
}

/// An answer whose body comes block by block.
#[derive(Debug)]
struct Reply {
    head: Response,
    body: Assembly,
    size: BlockSize,
}

/// What comes after a message of the peer's.
#[derive(Debug)]
pub(super) enum Step {
    /// Another message of ours.
    Next,
    /// The answer.
    Answered(Response),
    /// The end.
    Failed(Failure),
}

impl Ask {
    /// A request whose body has `total` bytes; `None` where those are too many blocks.
    pub(super) fn new(
        id: RequestId,
        request: Request,
        source: Source,
        total: u64,
        config: &Config,
    ) -> Option<Self> {
        let upload = Upload::new(total, config.block_size)?;
        Some(Self {
            id,
            audience: Audience::Asker,
            request,
            source,
            upload,
            reply: None,
            reply_restarts: 0,
            tag: Token::EMPTY,
            token: None,
        })
    }

    /// With a token that is given (RFC 7641 §3.6).
    pub(super) fn with_token(self, token: Token) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The token it must have, if any.
    pub(super) const fn token(&self) -> Option<Token> {
        self.token
    }

    /// The request for the rest of a notification, whose first block is here.
    pub(super) fn rest(
        id: RequestId,
        observation: RequestId,
        request: Request,
        first: Response,
        config: &Config,
    ) -> Option<(Self, Step)> {
        let mut ask = Self::new(id, request, Source::Held, 0, config)?;
        ask.audience = Audience::Observer(observation);
        let step = ask.read(first, config);
        Some((ask, step))
    }

    /// Whether it asks to observe.
    pub(super) fn observes(&self) -> bool {
        self.request.observe() == Some(Observe::Register)
    }

    /// The request.
    pub(super) const fn request(&self) -> &Request {
        &self.request
    }

    /// The bytes of its body that the application has to give before the next message: offset and length.
    pub(super) fn wanted(&self) -> Option<(u64, usize)> {
        let wanted = (self.upload.offset(), self.upload.length());
        match self.source {
            Source::Application if self.reply.is_none() && wanted.1 > 0 => Some(wanted),
            Source::Application | Source::Held => None,
        }
    }

    /// Options and payload of the next message; `supplied` is what the application gave, `tag` a name for a body that begins.
    pub(super) fn content(&mut self, supplied: &[u8], tag: Token) -> (Options, Vec<u8>) {
        if let Some(reply) = &self.reply {
            let mut options = super::answering::key(self.request.options.view(), &NOT_IN_FOLLOWING);
            if let Some(block) = Block::at(reply.body.len() as u64, false, reply.size) {
                options.set_uint(number::BLOCK2, block.value());
            }
            return (options, Vec::new());
        }
        let mut options = self.request.options.clone();
        if let Some(block) = self.upload.block() {
            options.set_uint(number::BLOCK1, block.value());
            if block.number == 0 {
                self.tag = tag;
                if let Ok(total) = u32::try_from(self.upload.total()) {
                    options.set_uint(number::SIZE1, total);
                }
            }
            options.set(number::REQUEST_TAG, self.tag.as_bytes());
        }
        let payload = match self.source {
            Source::Application => supplied.to_vec(),
            Source::Held => {
                // The body is in memory, so its offsets fit.
                let from = self.upload.offset() as usize;
                self.request.payload[from..from + self.upload.length()].to_vec()
            }
        };
        (options, payload)
    }

    /// Takes the peer's answer to the last message.
    pub(super) fn handle_response(&mut self, response: Response, config: &Config) -> Step {
        if self.reply.is_some() {
            return self.read(response, config);
        }
        match self.upload.handle_response(&response, config.restarts_max) {
            upload::Step::Next => Step::Next,
            upload::Step::Failed(failure) => Step::Failed(failure),
            upload::Step::Answered => self.read(response, config),
        }
    }

    /// Takes an answer, or a block of one.
    fn read(&mut self, mut response: Response, config: &Config) -> Step {
        let asked_for_one = self.request.options.view().has(number::BLOCK2);
        let Some(block) = response.block2().filter(|_| response.code.is_success() && !asked_for_one) else {
            let broken = response.options.view().has(number::BLOCK2) && response.block2().is_none();
            return match (broken, self.reply.is_some() && response.code.is_success()) {
                // A body that began in blocks cannot go on without.
                (true, _) | (_, true) => Step::Failed(Failure::Incomprehensible),
                (false, false) => Step::Answered(response),
            };
        };
        let payload = std::mem::take(&mut response.payload);
        if response.size2().is_some_and(|size| size as usize > config.response_bytes_max) {
            return Step::Failed(Failure::TooLarge);
        }
        if self.reply.as_ref().is_some_and(|reply| reply.head.etag() != response.etag()) {
            return self.read_anew(response.code, config);
        }
        let reply = self.reply.get_or_insert_with(|| {
            response.options.remove(number::BLOCK2);
            Reply { head: response, body: Assembly::default(), size: block.size }
        });
        reply.size = reply.size.min(block.size);
        match reply.body.add(block, &payload, config.response_bytes_max) {
            Fit::More => Step::Next,
            Fit::Whole => match self.reply.take() {
                Some(Reply { head, body, .. }) => {
                    Step::Answered(Response { payload: body.into_body(), ..head })
                }
                None => Step::Failed(Failure::Incomprehensible),
            },
            Fit::TooLarge => Step::Failed(Failure::TooLarge),
            Fit::Repeated | Fit::Gap | Fit::Uneven => Step::Failed(Failure::Incomprehensible),
        }
    }

    /// The body changed while it was read (RFC 7959 §2.4): reads it from its beginning, where reading changes nothing.
    fn read_anew(&mut self, code: Code, config: &Config) -> Step {
        if self.reply_restarts >= config.restarts_max
            || !self.request.method.is_safe()
            || self.upload.total() > 0
        {
            return Step::Failed(Failure::Restarts(code));
        }
        self.reply_restarts += 1;
        self.reply = None;
        self.request.options.remove(number::OBSERVE);
        Step::Next
    }
}
