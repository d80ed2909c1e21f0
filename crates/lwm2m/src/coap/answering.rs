//! Requests of a peer: checked, put together from blocks, given to the application, answered in time.

use super::assembly::{Assembly, Fit};
use super::block::{Block, serve};
use super::config::EXCHANGE_LIFETIME;
use super::event::{Event, Exchange, Observer};
use super::link::{Content, Link, Purpose};
use super::message::{Code, Message, MessageType, Token};
use super::observing::Interests;
use super::option::{Options, View, number};
use super::request::{Method, Observe, Request, Response};
use super::room::Lease;
use super::understood;
use crate::Moment;
use sha2::{Digest, Sha256};

/// Answers to reading that are longer than this are not kept for a repeated request: it is answered anew, which reading allows
/// (RFC 7252 §4.5), and a device that pulls a file costs no memory.
const ANSWER_KEPT_BYTES_MAX: usize = 256;
/// Bytes of the tags we give to bodies without one: chance makes two alike once in four thousand million.
const ETAG_BYTES: usize = 4;
/// When a peer that has too much under way may ask again.
const BUSY_SECONDS: u32 = 5;

/// A request that waits for the application.
#[derive(Debug)]
struct Pending {
    exchange: Exchange,
    id: u16,
    token: Token,
    at: Moment,
    acknowledgement: Acknowledgement,
    method: Method,
    /// What the request has in common with those for the other blocks of the answer.
    key: Options,
    block1: Option<Block>,
    block2: Option<Block>,
    observe: Option<Observe>,
}

/// What a request is owed at the message layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acknowledgement {
    /// Nothing: it was non-confirmable.
    None,
    /// An acknowledgement at this moment, with the answer or without.
    Due(Moment),
    /// Nothing more: the answer follows in a message of its own.
    Sent,
}

/// A body of a request that comes block by block.
#[derive(Debug)]
struct Partial {
    method: Method,
    key: Options,
    body: Body,
    at: Moment,
}

/// Where the blocks of a body go.
#[derive(Debug)]
enum Body {
    /// Into memory, where there is room for them.
    Held(Assembly, Lease),
    /// To the application: the block at `last` was given to it, and `next` is next.
    Streamed { last: u64, next: u64 },
}

/// The body of an answer of ours that is longer than a block.
#[derive(Debug)]
struct Kept {
    method: Method,
    key: Options,
    response: Response,
    at: Moment,
}

/// The requests of one peer.
#[derive(Debug, Default)]
pub(super) struct Answering {
    pending: Vec<Pending>,
    partial: Option<Box<Partial>>,
    kept: Option<Box<Kept>>,
    pub(super) interests: Interests,
}

/// What is done with a request.
enum Verdict {
    /// It goes to the application, with this body.
    Ask(Vec<u8>),
    /// It is answered here.
    Answer(Response),
}

impl Answering {
    /// Takes a request.
    pub(super) fn handle_request(&mut self, now: Moment, link: &mut Link, message: &Message<'_>) {
        let is_this = |pending: &Pending| (pending.id, pending.token) == (message.id, message.token);
        let is_pending = self.pending.iter().any(is_this);
        if is_pending || !link.is_first(now, message) {
            return;
        }
        let confirmable = message.kind == MessageType::Confirmable;
        let exchange = Exchange(link.name());
        let pending = Pending {
            exchange,
            id: message.id,
            token: message.token,
            at: now,
            acknowledgement: match confirmable {
                true => Acknowledgement::Due(now.plus(link.config.ack_delay)),
                false => Acknowledgement::None,
            },
            method: Method::from_code(message.code).unwrap_or(Method::Get),
            key: key(message.options, &NOT_IN_KEY),
            block1: block(message.options, number::BLOCK1).ok().flatten(),
            block2: block(message.options, number::BLOCK2).ok().flatten(),
            observe: message.options.uint(number::OBSERVE).and_then(Observe::from_value),
        };
        if let Some(code) = refusal(message) {
            // RFC 7252 §5.4.1: a non-confirmable request with an option that is not understood is not answered.
            if confirmable || code != Code::BAD_OPTION {
                self.send(now, link, pending, Response::new(code));
            }
            return;
        }
        if pending.observe == Some(Observe::Deregister)
            && let Some(observer) = self.interests.remove_token(message.token)
        {
            link.tell(Event::Unobserved { observer });
        }
        match self.judge(now, link, message, &pending) {
            Verdict::Answer(response) => self.send(now, link, pending, response),
            Verdict::Ask(_) if self.pending.len() + link.answers_in_flight() >= link.config.exchanges_max => {
                self.partial = None;
                self.send(now, link, pending, busy());
            }
            Verdict::Ask(payload) => {
                let request =
                    Request { method: pending.method, options: message.options.to_owned(), payload };
                self.pending.push(pending);
                link.tell(Event::Request { exchange, request });
            }
        }
    }

    /// Decides on a request that makes sense by itself.
    fn judge(&mut self, now: Moment, link: &Link, message: &Message<'_>, pending: &Pending) -> Verdict {
        if let Some(asked) = pending.block2.filter(|asked| asked.number > 0) {
            if let Some(kept) = &self.kept
                && (kept.method, &kept.key) == (pending.method, &pending.key)
            {
                return Verdict::Answer(kept.block(asked, link));
            }
            if pending.method != Method::Get {
                // To ask the application again would do again what the request does.
                return Verdict::Answer(Response::new(Code::REQUEST_ENTITY_INCOMPLETE));
            }
        }
        match pending.block1 {
            Some(block) => self.take_block(now, link, message, pending.method, block),
            None if message.payload.len() > link.config.request_bytes_max => Verdict::Answer(too_large(link)),
            None => Verdict::Ask(message.payload.to_vec()),
        }
    }

    /// Takes one block of a body.
    fn take_block(
        &mut self,
        now: Moment,
        link: &Link,
        message: &Message<'_>,
        method: Method,
        block: Block,
    ) -> Verdict {
        let key = key(message.options, &NOT_IN_BODY_KEY);
        if block.number == 0 {
            // A body that begins again is another one (RFC 7959 §2.5); one at a time.
            let body = match is_streamed(&key, &link.config.streamed) {
                true => Body::Streamed { last: 0, next: 0 },
                false => Body::Held(Assembly::default(), Lease::new(&link.config)),
            };
            let announced = message.options.uint(number::SIZE1).unwrap_or(0) as usize;
            if matches!(body, Body::Held(..)) && announced > link.config.request_bytes_max {
                return Verdict::Answer(too_large(link));
            }
            self.partial = Some(Box::new(Partial { method, key, body, at: now }));
        } else if self.partial.as_ref().is_none_or(|partial| (partial.method, &partial.key) != (method, &key))
        {
            return Verdict::Answer(Response::new(Code::REQUEST_ENTITY_INCOMPLETE));
        }
        let Some(partial) = &mut self.partial else {
            return Verdict::Answer(Response::new(Code::REQUEST_ENTITY_INCOMPLETE));
        };
        partial.at = now;
        let fit = match &mut partial.body {
            Body::Held(assembly, lease) => {
                let fit = assembly.add(block, message.payload, link.config.request_bytes_max);
                if fit == Fit::More && !lease.grow_to(assembly.len()) {
                    self.partial = None;
                    return Verdict::Answer(busy());
                }
                fit
            }
            Body::Streamed { last, next } => stream(last, next, block, message.payload),
        };
        let held = matches!(partial.body, Body::Held(..));
        match (fit, held) {
            (Fit::More, false) => return Verdict::Ask(message.payload.to_vec()),
            (Fit::More | Fit::Repeated, _) => return Verdict::Answer(Response::new(Code::CONTINUE)),
            (Fit::Whole | Fit::Gap | Fit::TooLarge | Fit::Uneven, _) => {}
        }
        let body = self.partial.take().map(|partial| partial.body);
        Verdict::Answer(match fit {
            Fit::Whole => {
                return Verdict::Ask(match body {
                    Some(Body::Held(assembly, _)) => assembly.into_body(),
                    Some(Body::Streamed { .. }) | None => message.payload.to_vec(),
                });
            }
            Fit::TooLarge => too_large(link),
            Fit::Uneven => Response::new(Code::BAD_REQUEST),
            Fit::Gap | Fit::More | Fit::Repeated => Response::new(Code::REQUEST_ENTITY_INCOMPLETE),
        })
    }

    /// The application's answer.
    pub(super) fn respond(&mut self, now: Moment, link: &mut Link, exchange: Exchange, response: Response) {
        if let Some(at) = self.pending.iter().position(|pending| pending.exchange == exchange) {
            let pending = self.pending.swap_remove(at);
            self.release();
            if !response.code.is_success() && pending.block1.is_some_and(|block| block.more) {
                self.partial = None;
            }
            let response = self.fit(now, link, &pending, response);
            self.send(now, link, pending, response);
        }
    }

    /// The application's answer to one who wants to be told of changes.
    pub(super) fn accept_observer(
        &mut self,
        now: Moment,
        link: &mut Link,
        exchange: Exchange,
        mut response: Response,
    ) -> Option<Observer> {
        let pending = self.pending.iter().find(|pending| pending.exchange == exchange)?;
        let wanted = pending.observe == Some(Observe::Register) && response.code.is_success();
        let mut kept = None;
        if wanted && pending.method.is_safe() {
            let observer = Observer(link.name());
            let asked = (pending.method, pending.key.clone());
            if let Some(replaced) = self.interests.keep(&link.config, observer, pending.token, asked) {
                if let Some(observer) = replaced {
                    link.tell(Event::Unobserved { observer });
                }
                kept = Some(observer);
                response.options.set_uint(number::OBSERVE, 0);
            }
        }
        self.respond(now, link, exchange, response);
        kept
    }

    /// Keeps a body that is longer than a block, and gives the block of it that was asked for.
    fn fit(&mut self, now: Moment, link: &Link, pending: &Pending, response: Response) -> Response {
        let largest = link.config.block_size;
        let size = pending.block2.map_or(largest, |asked| asked.size.min(largest));
        if response.options.view().has(number::BLOCK2) {
            return response;
        }
        if response.payload.len() > size.bytes() {
            return self.keep(now, link, pending.method, pending.key.clone(), response, pending.block2);
        }
        match pending.block2 {
            Some(asked) if asked.number > 0 => Response::new(Code::BAD_REQUEST),
            Some(_) => {
                let block = Block { number: 0, more: false, size };
                response.with_block2(block, None)
            }
            None => response,
        }
    }

    /// Keeps a long body; gives the block that was asked for, or the first.
    pub(super) fn keep(
        &mut self,
        now: Moment,
        link: &Link,
        method: Method,
        key: Options,
        mut response: Response,
        asked: Option<Block>,
    ) -> Response {
        if response.etag().is_none() {
            // Another body has another tag, so that nobody mixes their blocks; the same body has the same.
            let digest = Sha256::digest(&response.payload);
            response = response.with_etag(&digest[..ETAG_BYTES]);
        }
        let kept = Kept { method, key, response, at: now };
        let first = Block { number: 0, more: false, size: link.config.block_size };
        let block = kept.block(asked.unwrap_or(first), link);
        self.kept = Some(Box::new(kept));
        block
    }

    /// Sends an answer: in the acknowledgement where that is still owed.
    fn send(&mut self, now: Moment, link: &mut Link, pending: Pending, mut response: Response) {
        if let Some(block) = pending.block1
            && !response.options.view().has(number::BLOCK1)
        {
            // RFC 7959 §2.3: the number as it was asked, the size we like for those to come.
            let size = block.size.min(link.config.block_size);
            let more = response.code == Code::CONTINUE;
            response.options.set_uint(number::BLOCK1, Block { more, size, ..block }.value());
        }
        let content = Content::new(response.code, pending.token, &response.options, &response.payload);
        match pending.acknowledgement {
            Acknowledgement::None => {
                link.send_once(now, content);
            }
            Acknowledgement::Due(_) => {
                link.piggyback(pending.id, content);
                let long = response.payload.len() > ANSWER_KEPT_BYTES_MAX;
                if long && pending.method.is_safe() && pending.observe.is_none() {
                    link.recent.remove(pending.id);
                }
            }
            Acknowledgement::Sent => {
                link.send_confirmable(now, Purpose::Answer, content);
            }
        }
    }

    /// Acknowledges what waits too long, and forgets bodies nobody goes on with.
    pub(super) fn handle_timeout(&mut self, now: Moment, link: &mut Link) {
        for pending in &mut self.pending {
            if let Acknowledgement::Due(due) = pending.acknowledgement
                && due <= now
            {
                link.acknowledge(pending.id);
                pending.acknowledgement = Acknowledgement::Sent;
            }
        }
        // What the application has not answered by then, it never will.
        self.pending.retain(|pending| now.since(pending.at) < EXCHANGE_LIFETIME);
        self.release();
        self.partial.take_if(|partial| now.since(partial.at) >= EXCHANGE_LIFETIME);
        self.kept.take_if(|kept| now.since(kept.at) >= EXCHANGE_LIFETIME);
    }

    /// Gives memory back with the last request that waits.
    fn release(&mut self) {
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
    }

    /// When something is due.
    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        let due = self.pending.iter().map(|pending| match pending.acknowledgement {
            Acknowledgement::Due(due) => due,
            Acknowledgement::None | Acknowledgement::Sent => pending.at.plus(EXCHANGE_LIFETIME),
        });
        let partial = self.partial.as_ref().map(|partial| partial.at.plus(EXCHANGE_LIFETIME));
        let kept = self.kept.as_ref().map(|kept| kept.at.plus(EXCHANGE_LIFETIME));
        due.chain(partial).chain(kept).min()
    }

    /// Bytes on the heap.
    pub(super) fn held_bytes(&self) -> usize {
        let partial = self.partial.as_ref().map_or(0, |partial| match &partial.body {
            Body::Held(assembly, _) => assembly.held_bytes() + size_of::<Partial>(),
            Body::Streamed { .. } => size_of::<Partial>(),
        });
        let kept = self.kept.as_ref().map_or(0, |kept| kept.response.payload.len() + size_of::<Kept>());
        partial + kept + self.pending.capacity() * size_of::<Pending>() + self.interests.held_bytes()
    }
}

impl Kept {
    /// One block of the body.
    fn block(&self, asked: Block, link: &Link) -> Response {
        let (code, options) = (self.response.code, self.response.options.clone());
        match serve(Some(asked), self.response.payload.len() as u64, link.config.block_size) {
            Ok(slice) => {
                let from = slice.offset as usize;
                let payload = self.response.payload[from..from + slice.length].to_vec();
                Response { code, options, payload }.with_block2(slice.block, slice.size2)
            }
            Err(code) => Response::new(code),
        }
    }
}

/// Options that differ from block to block of an answer, or say nothing of what is asked for.
const NOT_IN_KEY: [u16; 7] = [
    number::OBSERVE,
    number::BLOCK1,
    number::BLOCK2,
    number::SIZE1,
    number::SIZE2,
    number::ECHO,
    number::REQUEST_TAG,
];
/// Options that differ from block to block of a request; its Request-Tag must not (RFC 9175 §3.3).
const NOT_IN_BODY_KEY: [u16; 5] =
    [number::BLOCK1, number::BLOCK2, number::SIZE1, number::SIZE2, number::ECHO];

/// The options without some.
pub(super) fn key(options: View<'_>, without: &[u16]) -> Options {
    let mut key = Options::new();
    options
        .iter()
        .filter(|(number, _)| !without.contains(number))
        .for_each(|(number, value)| key.push(number, value));
    key
}

/// Whether a body for this path goes to the application block by block.
fn is_streamed(key: &Options, streamed: &[String]) -> bool {
    let is = |path: &String| {
        let segments = path.split('/').filter(|segment| !segment.is_empty()).map(str::as_bytes);
        key.view().all(number::URI_PATH).eq(segments)
    };
    streamed.iter().any(is)
}

/// Takes a block of a body that is not held.
fn stream(last: &mut u64, next: &mut u64, block: Block, payload: &[u8]) -> Fit {
    if payload.len() > block.size.bytes() || (block.more && payload.len() != block.size.bytes()) {
        return Fit::Uneven;
    }
    if block.offset() != *next {
        let repeated = block.more && block.offset() == *last && *last + payload.len() as u64 == *next;
        return if repeated { Fit::Repeated } else { Fit::Gap };
    }
    *last = *next;
    *next += payload.len() as u64;
    if block.more { Fit::More } else { Fit::Whole }
}

/// 5.03, and when to come again.
fn busy() -> Response {
    Response::new(Code::SERVICE_UNAVAILABLE).with_max_age(BUSY_SECONDS)
}

/// 4.13, and what would be taken (RFC 7959 §2.9.3).
fn too_large(link: &Link) -> Response {
    let mut response = Response::new(Code::REQUEST_ENTITY_TOO_LARGE);
    let most = u32::try_from(link.config.request_bytes_max).unwrap_or(u32::MAX);
    response.options.push_uint(number::SIZE1, most);
    response
}

/// The block in an option; an error where the option has no meaning (RFC 7959 §2.2: the size 7).
pub(super) fn block(options: View<'_>, number: u16) -> Result<Option<Block>, ()> {
    let Some(value) = options.get(number) else { return Ok(None) };
    let value = super::option::decode_uint(value).filter(|_| value.len() <= 3).ok_or(())?;
    Block::from_value(value).map(Some).ok_or(())
}

/// Why a request is not looked at further.
fn refusal(message: &Message<'_>) -> Option<Code> {
    let options = message.options;
    if options.has(number::PROXY_URI) || options.has(number::PROXY_SCHEME) {
        return Some(Code::PROXYING_NOT_SUPPORTED);
    }
    if !understood::request(options) {
        return Some(Code::BAD_OPTION);
    }
    if Method::from_code(message.code).is_none() {
        return Some(Code::METHOD_NOT_ALLOWED);
    }
    let blocks = [number::BLOCK1, number::BLOCK2].map(|number| block(options, number));
    blocks.contains(&Err(())).then_some(Code::BAD_REQUEST)
}
