//! Object 5 behind the client: what the host is to do, and in which order.

use super::*;
use crate::coap::{Block, BlockSize};
use crate::firmware::object::{Action as Word, Origin};
use crate::firmware::{State, UpdateResult};

fn words(world: &mut World) -> Vec<Word> {
    let (words, others) = std::mem::take(&mut world.actions)
        .into_iter()
        .partition::<Vec<_>, _>(|action| matches!(action, Action::Firmware(_)));
    world.actions = others;
    let word = |action| if let Action::Firmware(word) = action { Some(word) } else { None };
    words.into_iter().filter_map(word).filter(|word| !matches!(word, Word::Persist(_))).collect()
}

#[test]
fn a_uri_begins_a_download_and_an_execution_the_installation_after_its_answer() {
    let mut world = World::registered();
    world.observe("/5/0/3");
    assert_eq!(world.put("/5/0/1", "coap://127.0.0.1/fw"), Code::CHANGED);
    let origin = Origin::Uri { uri: "coap://127.0.0.1/fw".into(), etag: Vec::new(), offset: 0 };
    assert_eq!(words(&mut world), [Word::Begin { attempt: 1, origin }]);
    assert_eq!(world.post("/5/0/2"), Code::METHOD_NOT_ALLOWED);
    let now = world.now;
    world.client.firmware(now, |object| object.handle_downloaded(1));
    world.settle();
    assert_eq!(words(&mut world), [Word::Verify { attempt: 1 }]);
    world.client.firmware(now, |object| object.handle_verified(now, 1, None, Some("2.0.0".into())));
    world.settle();
    assert_eq!(text(&world.get("/5/0/7", None)), "2.0.0");
    assert_eq!(world.post("/5/0/2"), Code::CHANGED);
    assert_eq!(words(&mut world), [Word::Install { attempt: 1 }]);
    let states: Vec<String> = world.notifications.drain(..).map(|response| text(&response)).collect();
    assert_eq!(states, ["1", "2", "3"]);
}

#[test]
fn what_an_answer_rests_on_is_to_be_durable_before_it_leaves() {
    let mut world = World::registered();
    let write = Request::new(Method::Put, "/5/0/1").with_payload(0, b"coap://127.0.0.1/fw".to_vec());
    world.server.request(world.now, write).unwrap();
    let datagram = world.server.poll_transmit().unwrap();
    world.client.handle_datagram(world.now, &datagram);
    let Some(Action::Firmware(Word::Persist(record))) = world.client.poll_action() else {
        panic!("the record comes first")
    };
    assert_eq!(record.state, State::Downloading);
}

#[test]
fn an_installation_is_not_asked_for_before_its_answer_has_left() {
    let mut world = World::registered();
    assert_eq!(world.put("/5/0/1", "coap://127.0.0.1/fw"), Code::CHANGED);
    let now = world.now;
    world.client.firmware(now, |object| object.handle_verified(now, 1, None, None));
    world.settle();
    words(&mut world);
    world.server.request(now, Request::new(Method::Post, "/5/0/2")).unwrap();
    let datagram = world.server.poll_transmit().unwrap();
    world.client.handle_datagram(now, &datagram);
    let is_install = |action: &Action| matches!(action, Action::Firmware(Word::Install { .. }));
    while let Some(action) = world.client.poll_action() {
        assert!(!is_install(&action));
    }
    assert!(world.client.poll_transmit(now).is_some());
    assert!(world.client.poll_transmit(now).is_none());
    assert!(std::iter::from_fn(|| world.client.poll_action()).any(|action| is_install(&action)));
}

#[test]
fn a_package_is_handed_over_block_by_block_by_put_and_by_post() {
    for method in [Method::Put, Method::Post] {
        let mut world = World::registered();
        let image: Vec<u8> = (0..40).collect();
        for (number, bytes) in (0..).zip(image.chunks(16)) {
            let block = Block { number, more: number < 2, size: BlockSize::MIN };
            let mut request = Request::new(method, "/5/0/0").with_payload(42, bytes.to_vec());
            request.options.set_uint(coap::option::number::BLOCK1, block.value());
            let code = world.ask(request).code;
            assert_eq!(code, if block.more { Code::CONTINUE } else { Code::CHANGED }, "block {number}");
        }
        let words = words(&mut world);
        assert_eq!(words[0], Word::Begin { attempt: 1, origin: Origin::Push });
        let written: Vec<u8> = words
            .iter()
            .filter_map(|word| if let Word::Append { bytes, .. } = word { Some(bytes.clone()) } else { None })
            .flatten()
            .collect();
        assert_eq!(written, image);
        assert_eq!(words.last(), Some(&Word::Verify { attempt: 1 }));
    }
}

#[test]
fn a_pushed_image_is_taken_from_a_server_that_pushes() {
    let mut world = World::registered();
    let image: Vec<u8> = (0..5_000_u32).map(|n| (n % 251) as u8).collect();
    let mut push = Request::new(Method::Put, "/5/0/0");
    push.options.set_uint(coap::option::number::CONTENT_FORMAT, 42);
    let id = world.server.push(world.now, push, image.len() as u64).unwrap();
    for _ in 0..100 {
        while let Some(event) = world.server.poll_event() {
            if let Event::WantBlock { offset, length, .. } = event {
                let from = usize::try_from(offset).unwrap();
                world.server.supply(world.now, id, &image[from..from + length]).unwrap();
            } else {
                world.note(event);
            }
        }
        let Some(datagram) = world.server.poll_transmit() else { break };
        world.client.handle_datagram(world.now, &datagram);
        world.actions.extend(std::iter::from_fn(|| world.client.poll_action()));
        while let Some(datagram) = world.client.poll_transmit(world.now) {
            world.server.handle_datagram(world.now, &datagram);
        }
    }
    assert_eq!(world.answers.pop_front().unwrap().code, Code::CHANGED);
    let total: usize = words(&mut world)
        .iter()
        .map(|word| if let Word::Append { bytes, .. } = word { bytes.len() } else { 0 })
        .sum();
    assert_eq!(total, image.len());
}

#[test]
fn a_single_zero_resets_in_bytes_and_in_tlv() {
    for (format, body) in [(42, vec![0]), (ContentFormat::TLV.0, vec![0xc1, 0, 0])] {
        let mut world = World::registered();
        assert_eq!(world.put("/5/0/1", "coap://127.0.0.1/fw"), Code::CHANGED);
        let reset = Request::new(Method::Put, "/5/0/0").with_payload(format, body);
        assert_eq!(world.ask(reset).code, Code::CHANGED);
        assert_eq!(text(&world.get("/5/0/3", None)), "0");
        assert_eq!(words(&mut world).last(), Some(&Word::Discard { attempt: 1 }));
    }
}

#[test]
fn state_and_result_stand_before_the_registration_after_a_restart() {
    let record =
        object5::Record { state: State::Updating, attempt: 3, installs: 1, ..object5::Record::default() };
    let abilities = Abilities {
        schemes: object5::Schemes::NONE,
        delivery: object5::DeliveryMethod::Push,
        image_bytes_max: 1 << 20,
    };
    let restart = crate::firmware::object::Restart::Updated;
    let object = object5::Object::restored(abilities, record, restart, Moment(0));
    let mut world =
        World::of(Client::new(config(), [7; 32], server_object(), device()).with_firmware(object));
    let Some(Action::Firmware(Word::Persist(kept))) = world.client.poll_action() else {
        panic!("the record comes before all else")
    };
    assert_eq!((kept.state, kept.result), (State::Idle, UpdateResult::Success));
    world.client.start(world.now);
    world.settle();
    world.answer(Response::new(Code::CREATED).with_location("/rd/1"));
    assert_eq!(text(&world.get("/5/0/5", None)), "1");
}
