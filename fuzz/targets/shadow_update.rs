//! Any bytes as what is published to a device's shadow, one request after the other: each has one answer, what is refused
//! changes nothing, what is taken moves the version by one, stays within the limits and shows the difference that is left.
//!
//! The input is requests with a line feed between them, each a byte for what it asks, and its payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use updraft_core::fleet::Fleet;
use updraft_core::id::DeviceId;
use updraft_core::memory::MemoryStore;
use updraft_core::shadow::{SHADOW_BYTES_MAX, Shadow, ShadowName};
use updraft_core::time::Timestamp;
use updraft_server::shadow::{Answer, DELTA, Operation, answer};

const NAME: ShadowName = ShadowName::CLASSIC;

fuzz_target!(|input: &[u8]| {
    let device: DeviceId = "d".parse().expect("a device ID");
    let mut fleet = Fleet::open(MemoryStore::new()).expect("memory does not fail");
    for (request, second) in input.split(|byte| *byte == b'\n').take(32).zip(1..) {
        let Some((operation, payload)) = request.split_first() else { continue };
        let operation = match operation {
            b'g' => Operation::Get,
            b'd' => Operation::Delete,
            _ => Operation::Update,
        };
        let now = Timestamp::from_millis(second * 1_000);
        let before = shadow(&mut fleet, &device);
        let Answer { reply, events } =
            answer(&mut fleet, now, &device, &NAME, operation, payload).expect("memory does not fail");
        let after = shadow(&mut fleet, &device);
        for event in &events {
            json(&event.body);
        }
        match (reply, operation) {
            (Err(rejected), _) => {
                assert!(events.is_empty() && before == after);
                assert_eq!(json(&rejected.body)["code"], rejected.reason.code());
            }
            (Ok(body), Operation::Update) => {
                check_update(&json(&body), before, after, events.iter().any(|event| event.topic == DELTA))
            }
            (Ok(body), Operation::Get) => {
                assert!(before.is_some() && before == after && events.is_empty());
                json(&body);
            }
            (Ok(_), Operation::Delete) => assert!(before.is_some() && after.is_none() && events.is_empty()),
        }
        fleet.commit().expect("memory does not fail");
    }
});

fn check_update(accepted: &Value, before: Option<Shadow>, after: Option<Shadow>, is_delta_sent: bool) {
    let after = after.expect("an update leaves a shadow");
    assert_eq!(accepted["version"], after.version);
    if let Some(before) = before {
        assert_eq!(after.version, before.version + 1);
    }
    assert!(after.bytes() <= SHADOW_BYTES_MAX);
    assert_eq!(after.delta().is_empty(), !is_delta_sent);
    let stored = serde_json::to_string(&after).expect("a shadow is JSON");
    assert_eq!(serde_json::from_str::<Shadow>(&stored).ok().as_ref(), Some(&after));
}

fn shadow(fleet: &mut Fleet<MemoryStore>, device: &DeviceId) -> Option<Shadow> {
    fleet.shadow(device, &NAME).expect("memory does not fail")
}

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("what we say is JSON")
}
