//! Any bytes as a CoAP datagram: what is read is written the same again, and never more than there was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_lwm2m::coap::option::OPTIONS_MAX;
use updraft_lwm2m::coap::{Block, Message, Request, Response};

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = Message::parse(bytes) else { return };
    let options: Vec<_> = message.options.iter().collect();
    assert!(options.len() <= OPTIONS_MAX && options.is_sorted_by_key(|(number, _)| *number));
    let held: usize = options.iter().map(|(_, value)| value.len()).sum();
    assert!(held + message.payload.len() + message.token.as_bytes().len() <= bytes.len());
    let written = message.encode();
    let again = Message::parse(&written).expect("what is written is read");
    assert_eq!(
        (again.kind, again.code, again.id, again.token),
        (message.kind, message.code, message.id, message.token)
    );
    assert!(again.options.iter().eq(options) && again.payload == message.payload);
    views(&message);
});

/// Every question an application may ask of it.
fn views(message: &Message<'_>) {
    let (options, payload) = (message.options.to_owned(), message.payload.to_vec());
    let response = Response { code: message.code, options: options.clone(), payload: payload.clone() };
    let blocks = [response.block1(), response.block2()].into_iter().flatten();
    for block in blocks {
        assert_eq!(Block::from_value(block.value()), Some(block));
        assert_eq!(Block::at(block.offset(), block.more, block.size), Some(block));
    }
    let _ = (response.location(), response.content_format(), response.observe(), response.max_age());
    if let Some(method) = updraft_lwm2m::coap::Method::from_code(message.code) {
        let request = Request { method, options, payload };
        assert!(request.path().starts_with('/'));
        let _ = (request.queries().count(), request.query("ep"), request.accept(), request.size1());
    }
}
