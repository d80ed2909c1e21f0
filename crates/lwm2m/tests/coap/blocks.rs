//! Bodies in blocks, both ways (RFC 7959): in good order, and with everything that goes wrong.

use super::pair::{End, Pair, Weather, ask, body, size};
use std::time::Duration;
use updraft_lwm2m::coap::block::{BLOCKS_MAX, serve};
use updraft_lwm2m::coap::option::number;
use updraft_lwm2m::coap::{
    Block, BlockSize, Code, Config, Event, Failure, Message, MessageType, Method, Options, Refused, Request,
    Response, Token,
};

/// A far end that takes "/5/0/0" block by block.
fn streaming() -> Config {
    Config { streamed: vec!["/5/0/0".to_owned()], ..Config::default() }
}

/// How a push went: the answer or failure, and the bytes the far end took at the end.
struct Pushed {
    outcome: Event,
    taken: Vec<u8>,
    /// Bytes given to the near end at once, at most.
    supplied_max: usize,
}

/// Pushes `image` to a far end that takes it block by block. `answer` may refuse a block: it is given the block's offset and
/// how many requests came before.
fn push(pair: &mut Pair, image: &[u8], mut answer: impl FnMut(u64, usize) -> Option<Response>) -> Pushed {
    let request = Request::new(Method::Put, "/5/0/0").with_payload(42, Vec::new());
    let id = pair.near.push(pair.now, request, image.len() as u64).expect("taken");
    let (mut taken, mut supplied_max, mut asked) = (Vec::new(), 0, 0);
    loop {
        match pair.next_event() {
            Some((End::Near, Event::WantBlock { id: wanting, offset, length })) => {
                assert_eq!(wanting, id);
                supplied_max = supplied_max.max(length);
                let from = usize::try_from(offset).expect("in memory");
                pair.near.supply(pair.now, id, &image[from..from + length]).expect("wanted");
            }
            Some((End::Far, Event::Request { exchange, request })) => {
                let offset = request.block1().map_or(0, Block::offset);
                let more = request.block1().is_some_and(|block| block.more);
                let refused = answer(offset, asked);
                asked += 1;
                let response = refused.unwrap_or_else(|| {
                    taken.truncate(usize::try_from(offset).expect("in memory"));
                    assert_eq!(taken.len() as u64, offset, "in order");
                    taken.extend(&request.payload);
                    Response::new(if more { Code::CONTINUE } else { Code::CHANGED })
                });
                pair.far.respond(pair.now, exchange, response);
            }
            Some((End::Near, outcome)) => return Pushed { outcome, taken, supplied_max },
            other => panic!("an end without an answer: {other:?}"),
        }
    }
}

fn code(event: &Event) -> Code {
    let Event::Response { response, .. } = event else { panic!("no response: {event:?}") };
    response.code
}

#[test]
fn a_push_gives_an_image_block_by_block_and_never_holds_more_than_one() {
    for length in [0, 1, 1023, 1024, 1025, 2048, 100_000] {
        let mut pair = Pair::new(1, Weather::FAIR, Config::default(), streaming());
        let image = body(length);
        let pushed = push(&mut pair, &image, |_, _| None);
        assert_eq!(code(&pushed.outcome), Code::CHANGED);
        assert!(pushed.taken == image && pushed.supplied_max <= 1024);
        assert!(pair.near.held_bytes() + pair.far.held_bytes() < 4096, "{}", pair.near.held_bytes());
    }
}

#[test]
fn a_push_arrives_whole_through_loss_doubling_and_reordering() {
    for seed in 0..40 {
        let mut pair = Pair::new(seed, Weather::FOUL, Config::default(), streaming());
        let image = body(40_000);
        let pushed = push(&mut pair, &image, |_, _| None);
        // One block lost five times over is possible at 10 % each way, and the only excuse.
        if !matches!(pushed.outcome, Event::Failed { failure: Failure::Silent, .. }) {
            assert_eq!(code(&pushed.outcome), Code::CHANGED, "seed {seed}");
            assert!(pushed.taken == image, "seed {seed}");
        }
    }
}

#[test]
fn a_smaller_size_asked_in_mid_transfer_is_used_from_the_next_block_on_with_its_number_rescaled() {
    let far = Config { block_size: size(64), ..streaming() };
    let mut pair = Pair::new(1, Weather::FAIR, Config::default(), far);
    let image = body(3000);
    let pushed = push(&mut pair, &image, |_, _| None);
    assert_eq!(code(&pushed.outcome), Code::CHANGED);
    assert!(pushed.taken == image);
    let blocks: Vec<_> =
        pair.said_by(End::Near).iter().filter_map(|said| said.options.uint(number::BLOCK1)).collect();
    let blocks: Vec<_> = blocks.into_iter().map(|value| Block::from_value(value).expect("a block")).collect();
    assert_eq!(blocks[0], Block { number: 0, more: true, size: size(1024) });
    assert_eq!(blocks[1], Block { number: 16, more: true, size: size(64) });
}

#[test]
fn too_large_with_a_smaller_size_at_the_first_block_begins_again_with_that_size() {
    let mut pair = Pair::new(1, Weather::FAIR, Config::default(), streaming());
    let smaller = Block { number: 0, more: false, size: size(256) };
    let mut refusal = Response::new(Code::REQUEST_ENTITY_TOO_LARGE);
    refusal.options.push_uint(number::BLOCK1, smaller.value());
    let image = body(3000);
    let pushed = push(&mut pair, &image, |_, asked| (asked == 0).then(|| refusal.clone()));
    assert_eq!((code(&pushed.outcome), pushed.taken == image), (Code::CHANGED, true));
    let second = pair.said_by(End::Near)[1];
    let block = second.options.uint(number::BLOCK1).and_then(Block::from_value).expect("a block");
    assert_eq!(block, Block { number: 0, more: true, size: size(256) });
    assert_eq!(second.payload.len(), 256);
}

#[test]
fn too_large_without_a_smaller_size_is_the_answer() {
    let mut pair = Pair::new(1, Weather::FAIR, Config::default(), streaming());
    let pushed = push(&mut pair, &body(3000), |_, _| Some(Response::new(Code::REQUEST_ENTITY_TOO_LARGE)));
    assert_eq!(code(&pushed.outcome), Code::REQUEST_ENTITY_TOO_LARGE);
}

#[test]
fn an_incomplete_body_begins_again_and_not_for_ever() {
    let incomplete = || Some(Response::new(Code::REQUEST_ENTITY_INCOMPLETE));
    let mut pair = Pair::new(1, Weather::FAIR, Config::default(), streaming());
    let image = body(5000);
    let pushed = push(&mut pair, &image, |_, asked| if asked == 2 { incomplete() } else { None });
    assert_eq!((code(&pushed.outcome), pushed.taken == image), (Code::CHANGED, true));
    let mut pair = Pair::new(1, Weather::FAIR, Config::default(), streaming());
    let pushed = push(&mut pair, &image, |offset, _| if offset > 0 { incomplete() } else { None });
    let Event::Failed { failure, .. } = pushed.outcome else { panic!("no end") };
    assert_eq!(failure, Failure::Restarts(Code::REQUEST_ENTITY_INCOMPLETE));
}

#[test]
fn each_attempt_of_a_body_has_a_tag_of_its_own_and_its_first_block_says_the_size() {
    let mut pair = Pair::new(1, Weather::FAIR, Config::default(), streaming());
    push(&mut pair, &body(3000), |_, asked| {
        (asked == 1).then(|| Response::new(Code::REQUEST_ENTITY_INCOMPLETE))
    });
    let said = pair.said_by(End::Near);
    let tags: Vec<_> =
        said.iter().map(|said| said.options.get(number::REQUEST_TAG).expect("a tag")).collect();
    assert!(tags[0] == tags[1] && tags[1] != tags[2] && tags[2] == tags[4]);
    let sizes: Vec<_> = said.iter().map(|said| said.options.uint(number::SIZE1)).collect();
    assert_eq!(sizes, [Some(3000), None, Some(3000), None, None]);
}

#[test]
fn a_push_gives_up_on_a_stalled_block_and_never_on_total_time() {
    let slow = Weather { delay: Duration::from_millis(900), ..Weather::FAIR };
    let mut pair = Pair::new(1, slow, Config::default(), streaming());
    let begun = pair.now;
    let image = body(300_000);
    let pushed = push(&mut pair, &image, |_, _| None);
    assert_eq!((code(&pushed.outcome), pushed.taken == image), (Code::CHANGED, true));
    assert!(pair.now.since(begun) > Duration::from_secs(500));

    let mut pair = Pair::new(1, Weather::FAIR, Config::default(), streaming());
    let id = pair.near.push(pair.now, Request::new(Method::Put, "/5/0/0"), 5000).expect("taken");
    let Some((_, Event::WantBlock { length, .. })) = pair.next_event() else { panic!() };
    pair.near.supply(pair.now, id, &vec![0; length]).expect("wanted");
    pair.weather.lost = 1000;
    assert_eq!(pair.next_event(), Some((End::Near, Event::Failed { id, failure: Failure::Silent })));
}

#[test]
fn more_blocks_than_the_option_can_count_are_refused_before_the_first() {
    let mut pair = Pair::fair();
    let put = Request::new(Method::Put, "/5/0/0");
    let most = BLOCKS_MAX * 1024;
    assert_eq!(pair.near.push(pair.now, put.clone(), most + 1), Err(Refused::TooManyBlocks));
    let small = Config { block_size: BlockSize::MIN, ..Config::default() };
    let mut pair = Pair::new(1, Weather::FAIR, small, streaming());
    assert_eq!(pair.near.push(pair.now, put.clone(), (16 << 20) + 1), Err(Refused::TooManyBlocks));
    assert!(pair.near.push(pair.now, put, 16 << 20).is_ok());
}

#[test]
fn a_size_that_makes_too_many_blocks_ends_the_push() {
    let far = Config { block_size: BlockSize::MIN, ..streaming() };
    let mut pair = Pair::new(1, Weather::FAIR, Config::default(), far);
    let id = pair.near.push(pair.now, Request::new(Method::Put, "/5/0/0"), 17 << 20).expect("taken");
    let Some((_, Event::WantBlock { length, .. })) = pair.next_event() else { panic!() };
    pair.near.supply(pair.now, id, &vec![0; length]).expect("wanted");
    let Some((End::Far, Event::Request { exchange, .. })) = pair.next_event() else { panic!() };
    pair.far.respond(pair.now, exchange, Response::new(Code::CONTINUE));
    assert_eq!(pair.next_event(), Some((End::Near, Event::Failed { id, failure: Failure::TooManyBlocks })));
}

#[test]
fn blocks_of_another_length_than_wanted_or_of_another_push_are_not_taken() {
    let mut pair = Pair::fair();
    let id = pair.near.push(pair.now, Request::new(Method::Put, "/5/0/0"), 5000).expect("taken");
    assert_eq!(pair.near.supply(pair.now, id, &[0; 1023]), Err(Refused::Unknown));
    pair.near.supply(pair.now, id, &[0; 1024]).expect("wanted");
    assert_eq!(pair.near.supply(pair.now, id, &[0; 1024]), Err(Refused::Unknown), "one is under way");
    pair.near.cancel(pair.now, id);
    assert_eq!(pair.near.supply(pair.now, id, &[0; 1024]), Err(Refused::Unknown));
    assert!(pair.near.is_idle());
}

#[test]
fn a_long_body_of_a_request_is_put_together_before_it_is_told() {
    for seed in 0..20 {
        let mut pair = Pair::new(seed, Weather::FOUL, Config::default(), Config::default());
        let links = body(5000);
        let request = Request::new(Method::Post, "/rd").with_query("ep=d1").with_payload(40, links.clone());
        let mut told = 0;
        let (_, outcome) = ask(&mut pair, request, &mut |request| {
            told += 1;
            assert!(request.payload == links && request.query("ep") == Some("d1"));
            Response::new(Code::CREATED).with_location("/rd/5a")
        });
        if let Event::Response { response, .. } = outcome {
            assert_eq!((response.location().as_deref(), told), (Some("/rd/5a"), 1), "seed {seed}");
        }
    }
}

#[test]
fn a_long_body_of_a_response_is_put_together_whatever_the_method() {
    for method in [Method::Get, Method::Fetch, Method::Post] {
        let mut pair = Pair::new(1, Weather::FOUL, Config::default(), Config::default());
        let (tree, mut told) = (body(9000), 0);
        let request = Request { payload: vec![1; 20], ..Request::new(method, "/") };
        let (_, outcome) = ask(&mut pair, request, &mut |_| {
            told += 1;
            Response::content(110, tree.clone())
        });
        let Event::Response { response, .. } = outcome else { panic!("{outcome:?}") };
        assert!(response.payload == tree && response.block2().is_none() && told == 1);
    }
}

#[test]
fn a_response_longer_than_is_taken_fails_and_is_not_kept() {
    let near = Config { response_bytes_max: 4000, ..Config::default() };
    let mut pair = Pair::new(1, Weather::FAIR, near, Config::default());
    let (id, outcome) =
        ask(&mut pair, Request::new(Method::Get, "/"), &mut |_| Response::content(0, body(9000)));
    assert_eq!(outcome, Event::Failed { id, failure: Failure::TooLarge });
    assert!(pair.near.held_bytes() < 2048);
}

/// A message of a Block1 transfer, by hand.
fn block1(id: u16, block: Block, payload: &[u8], tag: &[u8]) -> Vec<u8> {
    let mut options: Options = Request::new(Method::Put, "/5/0/0").options;
    options.push_uint(number::BLOCK1, block.value());
    options.push(number::REQUEST_TAG, tag);
    let token = Token::new(&id.to_be_bytes()).expect("short");
    let (kind, code, options) = (MessageType::Confirmable, Method::Put.code(), options.view());
    Message { kind, code, id, token, options, payload }.encode()
}

/// The codes of what the far end has said.
fn codes(pair: &Pair) -> Vec<Code> {
    pair.said_by(End::Far).iter().map(|message| message.code).collect()
}

const fn sixteen(number: u32, more: bool) -> Block {
    Block { number, more, size: BlockSize::MIN }
}

#[test]
fn a_repeated_block_is_acknowledged_not_appended() {
    let mut pair = Pair::fair();
    pair.deliver(End::Far, &block1(1, sixteen(0, true), &[1; 16], b"a"));
    pair.deliver(End::Far, &block1(2, sixteen(1, true), &[2; 16], b"a"));
    pair.deliver(End::Far, &block1(3, sixteen(1, true), &[2; 16], b"a"));
    pair.deliver(End::Far, &block1(4, sixteen(2, false), &[3; 5], b"a"));
    assert_eq!(codes(&pair), [Code::CONTINUE; 3]);
    let Some((End::Far, Event::Request { request, .. })) = pair.next_event() else { panic!() };
    assert_eq!(request.payload, [[1; 16].as_slice(), &[2; 16], &[3; 5]].concat());
}

#[test]
fn a_repeated_block_of_a_streamed_body_is_not_told_again() {
    let mut pair = Pair::new(1, Weather::FAIR, Config::default(), streaming());
    let mut told = Vec::new();
    for (id, number) in [(1, 0), (2, 1), (3, 1), (4, 2)] {
        pair.deliver(End::Far, &block1(id, sixteen(number, true), &[number as u8; 16], b"a"));
        if let Some((End::Far, Event::Request { exchange, request })) = pair.events_now() {
            told.push(request.payload[0]);
            pair.far.respond(pair.now, exchange, Response::new(Code::CONTINUE));
        }
    }
    pair.collect();
    assert_eq!((told, codes(&pair)), (vec![0, 1, 2], vec![Code::CONTINUE; 4]));
}

#[test]
fn a_block_out_of_order_is_incomplete_and_ends_the_body() {
    for far in [Config::default(), streaming()] {
        let mut pair = Pair::new(1, Weather::FAIR, Config::default(), far);
        pair.deliver(End::Far, &block1(1, sixteen(0, true), &[1; 16], b"a"));
        if let Some((End::Far, Event::Request { exchange, .. })) = pair.events_now() {
            pair.far.respond(pair.now, exchange, Response::new(Code::CONTINUE));
        }
        pair.deliver(End::Far, &block1(2, sixteen(2, true), &[3; 16], b"a"));
        pair.deliver(End::Far, &block1(3, sixteen(1, true), &[2; 16], b"a"));
        assert_eq!(
            codes(&pair),
            [Code::CONTINUE, Code::REQUEST_ENTITY_INCOMPLETE, Code::REQUEST_ENTITY_INCOMPLETE]
        );
        assert_eq!(pair.events_now(), None);
    }
}

#[test]
fn a_block_without_its_beginning_or_with_another_tag_is_incomplete() {
    let mut pair = Pair::fair();
    pair.deliver(End::Far, &block1(1, sixteen(3, true), &[1; 16], b"a"));
    pair.deliver(End::Far, &block1(2, sixteen(0, true), &[1; 16], b"a"));
    pair.deliver(End::Far, &block1(3, sixteen(1, true), &[1; 16], b"b"));
    let (incomplete, taken) = (Code::REQUEST_ENTITY_INCOMPLETE, Code::CONTINUE);
    assert_eq!(codes(&pair), [incomplete, taken, incomplete]);
}

#[test]
fn a_block_in_another_format_or_for_another_resource_is_incomplete() {
    let block = |id: u16, block: Block, path: &str, format: u16| {
        let mut options = Request::new(Method::Put, path).with_payload(format, Vec::new()).options;
        options.push_uint(number::BLOCK1, block.value());
        let (kind, code, token) = (MessageType::Confirmable, Method::Put.code(), Token::EMPTY);
        Message { kind, code, id, token, options: options.view(), payload: &[1; 16] }.encode()
    };
    for (path, format) in [("/1/0", 42), ("/1/0", 11542), ("/1/1", 112)] {
        let mut pair = Pair::fair();
        pair.deliver(End::Far, &block(1, sixteen(0, true), "/1/0", 112));
        pair.deliver(End::Far, &block(2, sixteen(1, false), path, format));
        assert_eq!(codes(&pair), [Code::CONTINUE, Code::REQUEST_ENTITY_INCOMPLETE], "{path} {format}");
        assert_eq!(pair.events_now(), None);
    }
}

#[test]
fn a_body_that_begins_again_overwrites_what_came() {
    let mut pair = Pair::fair();
    pair.deliver(End::Far, &block1(1, sixteen(0, true), &[1; 16], b"a"));
    pair.deliver(End::Far, &block1(2, sixteen(1, true), &[1; 16], b"a"));
    pair.deliver(End::Far, &block1(3, sixteen(0, true), &[7; 16], b"b"));
    pair.deliver(End::Far, &block1(4, sixteen(1, false), &[8; 1], b"b"));
    let Some((End::Far, Event::Request { request, .. })) = pair.next_event() else { panic!() };
    assert_eq!(request.payload, [[7; 16].as_slice(), &[8]].concat());
}

#[test]
fn a_body_too_long_is_refused_with_what_is_taken_and_as_soon_as_it_is_announced() {
    let far = Config { request_bytes_max: 40, ..Config::default() };
    let mut pair = Pair::new(1, Weather::FAIR, Config::default(), far.clone());
    for number in 0..3 {
        pair.deliver(End::Far, &block1(number as u16, sixteen(number, true), &[1; 16], b"a"));
    }
    let last = pair.said_by(End::Far)[2];
    assert_eq!(last.code, Code::REQUEST_ENTITY_TOO_LARGE);
    assert_eq!(last.options.uint(number::SIZE1), Some(40));
    assert!(pair.far.held_bytes() < 1024);

    let mut pair = Pair::new(1, Weather::FAIR, Config::default(), far);
    let request = Request::new(Method::Post, "/rd").with_payload(40, body(3000));
    let (_, outcome) = ask(&mut pair, request, &mut |_| panic!("told"));
    assert_eq!(code(&outcome), Code::REQUEST_ENTITY_TOO_LARGE);
    assert_eq!(pair.said_by(End::Near).len(), 1);
}

#[test]
fn the_reserved_size_is_a_bad_request_and_a_block_of_another_length_too() {
    let mut pair = Pair::fair();
    let mut options = Request::new(Method::Put, "/5/0/0").options;
    options.push_uint(number::BLOCK1, 7);
    let (kind, token, options) = (MessageType::Confirmable, Token::EMPTY, options.view());
    let message = Message { kind, code: Method::Put.code(), id: 1, token, options, payload: &[1] };
    pair.deliver(End::Far, &message.encode());
    pair.deliver(End::Far, &block1(2, sixteen(0, true), &[1; 15], b"a"));
    pair.deliver(End::Far, &block1(3, sixteen(0, false), &[1; 17], b"a"));
    assert_eq!(codes(&pair), [Code::BAD_REQUEST; 3]);
}

#[test]
fn a_partial_body_is_forgotten_after_247_seconds() {
    let mut pair = Pair::fair();
    pair.deliver(End::Far, &block1(1, sixteen(0, true), &[1; 16], b"a"));
    pair.pass(Duration::from_secs(248));
    pair.deliver(End::Far, &block1(2, sixteen(1, true), &[1; 16], b"a"));
    assert_eq!(codes(&pair), [Code::CONTINUE, Code::REQUEST_ENTITY_INCOMPLETE]);
}

#[test]
fn a_body_that_changes_while_it_is_read_is_read_again_and_not_for_ever() {
    let mut pair = Pair::fair();
    let mut asked = 0;
    let (_, outcome) = ask(&mut pair, Request::new(Method::Get, "/3"), &mut |request| {
        asked += 1;
        let (bytes, etag) = if asked < 3 { (body(3000), [1]) } else { (body(4000), [2]) };
        served(request, &bytes, etag)
    });
    let Event::Response { response, .. } = outcome else { panic!("{outcome:?}") };
    assert!(response.payload == body(4000));
    let mut etag = 0;
    let (id, outcome) = ask(&mut pair, Request::new(Method::Get, "/3"), &mut |request| {
        etag += 1;
        served(request, &body(3000), [etag])
    });
    assert_eq!(outcome, Event::Failed { id, failure: Failure::Restarts(Code::CONTENT) });
}

/// One block, as a server without memory gives it.
fn served(request: &Request, bytes: &[u8], etag: [u8; 1]) -> Response {
    let slice = serve(request.block2(), bytes.len() as u64, BlockSize::MAX).expect("in the file");
    let from = usize::try_from(slice.offset).expect("in memory");
    slice.response(0, &etag, bytes[from..from + slice.length].to_vec())
}
