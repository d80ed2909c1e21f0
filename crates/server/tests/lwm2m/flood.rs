//! Devices that say too much, or all at once: the hub by itself, in a time of the test's own.

use std::sync::Arc;
use std::time::Duration;
use updraft_core::id::DeviceId;
use updraft_lwm2m::Moment;
use updraft_lwm2m::coap::option::number;
use updraft_lwm2m::coap::{Code, Config, Event, Method, Peer, Request, Response};
use updraft_lwm2m::content::ContentFormat;
use updraft_lwm2m::firmware::{Limits, Scheme};
use updraft_server::protocols::lwm2m::config::DeliveryConfig;
use updraft_server::protocols::lwm2m::firmware::Work;
use updraft_server::protocols::lwm2m::hub::{Action, Hub, LineId, Linker, Security, Settings, Who};

const NOW: Moment = Moment(1_800_000_000_000);
/// What one source may register at once, and a device say unasked: as the hub's own limits have it.
const REGISTRATIONS_AT_ONCE: u64 = 5_000;
const WORDS_AT_ONCE: usize = 32;
/// Devices of which the fleet may be told at once.
const DESCRIBING_MAX: u64 = 4_096;

struct NoLinks;

impl Linker for NoLinks {
    fn links(&self, _: &DeviceId, _: Security, _: &Work) -> Vec<(Scheme, String)> {
        Vec::new()
    }
}

struct World {
    hub: Hub,
    described: Vec<DeviceId>,
}

impl World {
    fn new() -> Self {
        let mut drawn = 0_u64;
        let settings = Settings {
            delivery: DeliveryConfig::default(),
            limits: Limits::default(),
            coap: Config::default(),
            registrations_max: 1_000_000,
            bootstrap: false,
            linker: Box::new(NoLinks),
            may_be_unproven: Box::new(|_| true),
            seed: Box::new(move || {
                drawn += 1;
                let mut seed = [0; 32];
                // Far enough from each other that the first two bytes differ.
                seed[..8].copy_from_slice(&drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
                seed
            }),
        };
        Self { hub: Hub::new(settings, 1), described: Vec::new() }
    }

    /// Gives what a device has to say to the hub, and what the hub has for it to the device.
    fn exchange(&mut self, now: Moment, line: LineId, peer: &mut Peer) {
        while let Some(datagram) = peer.poll_transmit() {
            self.hub.handle_datagram(now, line, &datagram);
            while let Some(action) = self.hub.poll_action() {
                match action {
                    Action::Send(to, datagram) if to == line => peer.handle_datagram(now, &datagram),
                    Action::Describe(device, ..) => self.described.push(device),
                    _ => {}
                }
            }
        }
    }

    /// A device with a session of its own registers from this address: it, and how it was answered.
    fn register(&mut self, number: u64, from: [u8; 4]) -> (Device, Response) {
        let name = format!("d{number}");
        let line = LineId { socket: 0, session: number };
        let who = Who::Device(name.parse().unwrap(), Security::Psk);
        self.hub.handle_connected(line, who, (from, 1_000).into());
        let mut device = Device { line, peer: Peer::new([1; 32], Arc::new(Config::default())) };
        let request = Request::new(Method::Post, "rd")
            .with_query(&format!("ep={name}"))
            .with_query("lwm2m=1.1")
            .with_payload(ContentFormat::LINK.0, b"</1/0>,</3>".to_vec());
        let answer = device.ask(self, NOW, request);
        (device, answer)
    }
}

struct Device {
    line: LineId,
    peer: Peer,
}

impl Device {
    fn ask(&mut self, world: &mut World, now: Moment, request: Request) -> Response {
        self.peer.request(now, request).unwrap();
        world.exchange(now, self.line, &mut self.peer);
        loop {
            match self.peer.poll_event().expect("it is answered") {
                Event::Response { response, .. } => return response,
                Event::Request { exchange, .. } => {
                    self.peer.respond(now, exchange, Response::new(Code::NOT_FOUND));
                    world.exchange(now, self.line, &mut self.peer);
                }
                _ => {}
            }
        }
    }
}

fn max_age(response: &Response) -> u32 {
    response.options.view().uint(number::MAX_AGE).unwrap()
}

#[test]
fn a_storm_of_registrations_is_answered_5_03_with_a_spread_max_age() {
    let mut world = World::new();
    for number in 0..REGISTRATIONS_AT_ONCE {
        let (_, answer) = world.register(number, [192, 0, 2, 1]);
        assert_eq!(answer.code, Code::CREATED, "{number}");
        for device in std::mem::take(&mut world.described) {
            world.hub.handle_described(&device, true);
        }
    }
    let refused: Vec<_> = (0..50)
        .map(|more| world.register(REGISTRATIONS_AT_ONCE + more, [192, 0, 2, 1]).1)
        .inspect(|answer| assert_eq!(answer.code, Code::SERVICE_UNAVAILABLE))
        .map(|answer| max_age(&answer))
        .collect();
    assert!(refused.iter().all(|away| (30..150).contains(away)), "{refused:?}");
    let differing: std::collections::BTreeSet<_> = refused.iter().collect();
    assert!(differing.len() > 20, "they do not come back together: {refused:?}");
    let (_, another) = world.register(1_000_000, [192, 0, 2, 2]);
    assert_eq!(another.code, Code::CREATED, "another network has its own");
}

#[test]
fn nobody_new_is_taken_while_the_fleet_is_behind() {
    let mut world = World::new();
    let mut taken = 0;
    // Each from a network of its own.
    let refused = loop {
        let (_, answer) = world.register(taken, (0x0a00_0000 + taken as u32).to_be_bytes());
        if answer.code != Code::CREATED {
            break answer;
        }
        taken += 1;
    };
    assert_eq!((taken, refused.code), (DESCRIBING_MAX, Code::SERVICE_UNAVAILABLE));
    let one = world.described.remove(0);
    world.hub.handle_described(&one, true);
    let (_, answer) = world.register(taken, [192, 0, 2, 1]);
    assert_eq!(answer.code, Code::CREATED, "as soon as it has caught up");
}

#[test]
fn a_flood_on_dp_is_refused_beyond_its_bucket() {
    let mut world = World::new();
    let (mut device, _) = world.register(1, [192, 0, 2, 1]);
    let battery = |percent: usize| {
        let body = format!(r#"[{{"n":"/3/0/9","v":{percent}}}]"#);
        Request::new(Method::Post, "dp").with_payload(ContentFormat::SENML_JSON.0, body.into_bytes())
    };
    for percent in 0..WORDS_AT_ONCE {
        assert_eq!(device.ask(&mut world, NOW, battery(percent)).code, Code::CHANGED);
    }
    let refused = device.ask(&mut world, NOW, battery(99));
    assert_eq!((refused.code, max_age(&refused)), (Code::TOO_MANY_REQUESTS, 3));
    let known = world.hub.standing(NOW, &"d1".parse().unwrap()).unwrap().known;
    let level = known.iter().find(|entry| entry.path.to_string() == "/3/0/9").unwrap();
    assert_eq!(format!("{:?}", level.value), format!("Integer({})", WORDS_AT_ONCE - 1));
    let later = NOW.plus(Duration::from_secs(3));
    assert_eq!(device.ask(&mut world, later, battery(50)).code, Code::CHANGED, "it is heard again");
}
