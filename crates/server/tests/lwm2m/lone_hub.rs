//! The hub by itself, without sockets, the fleet and the clock; and devices that speak to it.

use std::sync::Arc;
use updraft_core::id::DeviceId;
use updraft_lwm2m::Moment;
use updraft_lwm2m::coap::{Code, Config, Event, Method, Peer, Request, Response};
use updraft_lwm2m::content::ContentFormat;
use updraft_lwm2m::firmware::{Limits, Scheme};
use updraft_server::protocols::lwm2m::config::DeliveryConfig;
use updraft_server::protocols::lwm2m::firmware::Work;
use updraft_server::protocols::lwm2m::hub::{Action, Hub, LineId, Linker, Security, Settings, Who};

/// Devices of which the fleet may be told at once.
pub(crate) const DESCRIBING_MAX: usize = 300;
/// When all of it begins.
pub(crate) const NOW: Moment = Moment(1_800_000_000_000);

struct NoLinks;

impl Linker for NoLinks {
    fn links(&self, _: &DeviceId, _: Security, _: &Work) -> Vec<(Scheme, String)> {
        Vec::new()
    }
}

pub(crate) struct World {
    pub(crate) hub: Hub,
    pub(crate) described: Vec<DeviceId>,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut drawn = 0_u64;
        let settings = Settings {
            delivery: DeliveryConfig::default(),
            limits: Limits::default(),
            coap: Config::default(),
            registrations_max: 1_000_000,
            describing_max: DESCRIBING_MAX,
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
    pub(crate) fn exchange(&mut self, now: Moment, line: LineId, peer: &mut Peer) {
        loop {
            while let Some(action) = self.hub.poll_action() {
                if let Action::Describe(device, ..) = &action {
                    self.described.push(device.clone());
                }
                if let Action::Send(to, datagram) = &action
                    && *to == line
                {
                    peer.handle_datagram(now, datagram);
                }
            }
            let Some(datagram) = peer.poll_transmit() else { break };
            self.hub.handle_datagram(now, line, &datagram);
        }
    }

    /// A device has a session from this address.
    pub(crate) fn connect(&mut self, number: u64, from: [u8; 4]) -> LineId {
        let line = LineId { socket: 0, session: number };
        let who = Who::Device(format!("d{number}").parse().unwrap(), Security::Psk);
        self.hub.handle_connected(line, who, (from, 1_000).into());
        line
    }

    /// A device with a session of its own registers from this address: it, and how it was answered.
    pub(crate) fn register(&mut self, number: u64, from: [u8; 4]) -> (Device, Response) {
        let name = format!("d{number}");
        let line = self.connect(number, from);
        let mut device = Device { line, peer: Peer::new([1; 32], Arc::new(Config::default())) };
        let request = Request::new(Method::Post, "rd")
            .with_query(&format!("ep={name}"))
            .with_query("lwm2m=1.1")
            .with_payload(ContentFormat::LINK.0, b"</1/0>,</3>".to_vec());
        let answer = device.ask(self, NOW, request);
        (device, answer)
    }
}

pub(crate) struct Device {
    pub(crate) line: LineId,
    pub(crate) peer: Peer,
}

impl Device {
    pub(crate) fn ask(&mut self, world: &mut World, now: Moment, request: Request) -> Response {
        self.peer.request(now, request).unwrap();
        world.exchange(now, self.line, &mut self.peer);
        let mut answer = None;
        while let Some(event) = self.peer.poll_event() {
            match event {
                Event::Response { response, .. } => answer = Some(response),
                // The server wants to know what it is.
                Event::Request { exchange, .. } => {
                    self.peer.respond(now, exchange, Response::new(Code::NOT_FOUND));
                    world.exchange(now, self.line, &mut self.peer);
                }
                other @ (Event::Failed { .. }
                | Event::WantBlock { .. }
                | Event::Notification { .. }
                | Event::Unobserved { .. }
                | Event::Pong { .. }) => panic!("{other:?}"),
            }
        }
        answer.expect("it is answered at once")
    }
}
