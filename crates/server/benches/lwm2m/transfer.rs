//! Devices that take an image: the library's device end on a socket, without anything behind it.

use crate::{Outcome, fleet};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use updraft_lwm2m::Moment;
use updraft_lwm2m::client::device::Device;
use updraft_lwm2m::client::fetch::Fetch;
use updraft_lwm2m::client::server_object::ServerObject;
use updraft_lwm2m::client::{Action, Client, Config};
use updraft_lwm2m::coap::{Progress, RequestId, Response};
use updraft_lwm2m::firmware::object::{Abilities, Action as Word, Origin};
use updraft_lwm2m::firmware::{DeliveryMethod, Object, Scheme};
use updraft_lwm2m::registration::Lifetime;

/// The longest wait for a datagram.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// How often a device says that it is there: never in a run.
const LIFETIME_S: u32 = 86_400;

/// How an image comes to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The server sends it.
    Push,
    /// The device fetches it.
    Pull,
}

/// The image that is taken over a bad network, in blocks.
pub(crate) const BLOCKS: u32 = 1_024;
/// The same in bytes.
pub(crate) const IMAGE_BYTES: usize = BLOCKS as usize * 1_024;

/// How an image was taken, or how much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) time: Duration,
    pub(crate) blocks: u32,
}

impl Taken {
    pub(crate) fn whole(time: Duration) -> Self {
        Self { time, blocks: BLOCKS }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.blocks == BLOCKS
    }

    /// Seconds for an image, at the pace of what was taken.
    pub(crate) fn seconds(&self) -> f64 {
        self.time.as_secs_f64() * f64::from(BLOCKS) / f64::from(self.blocks.max(1))
    }
}

/// A device, and how far it is.
pub(crate) struct Taker {
    client: Client,
    socket: UdpSocket,
    began: Instant,
    fetch: Option<Fetch>,
    image_began: Option<Instant>,
    taken: Option<Taken>,
    pub(crate) is_registered: Cell<bool>,
    bytes: u64,
}

impl Taker {
    /// A device that will register with a server.
    pub(crate) async fn new(number: u32, server: SocketAddr, way: Way) -> Outcome<Self> {
        let socket = UdpSocket::bind(fleet::address(number)).await?;
        socket.connect(server).await?;
        let device = Device {
            manufacturer: "Acme".into(),
            model: fleet::MODEL.into(),
            serial: number.to_string(),
            firmware_version: "1.0.0".into(),
            ..Device::default()
        };
        let delivery = match way {
            Way::Push => DeliveryMethod::Push,
            Way::Pull => DeliveryMethod::Pull,
        };
        let abilities =
            Abilities { schemes: [Scheme::Coap].into_iter().collect(), delivery, image_bytes_max: 1 << 30 };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let server = ServerObject::new(1, Lifetime::Seconds(LIFETIME_S));
        let mut client = Client::new(Config::new(&fleet::name(number)), seed, server, device)
            .with_firmware(Object::new(abilities));
        let began = Instant::now();
        client.start(Moment(0));
        Ok(Self {
            client,
            socket,
            began,
            fetch: None,
            image_began: None,
            taken: None,
            is_registered: Cell::new(false),
            bytes: 0,
        })
    }

    fn now(&self) -> Moment {
        Moment(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// How much of the image is in.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How the image was taken, or how much of it before one end gave up: as RFC 7252 has it, after four repetitions.
    pub(crate) fn taken(&self) -> Option<Taken> {
        self.taken
    }

    fn end(&mut self) {
        let blocks = u32::try_from(self.bytes / 1_024).unwrap_or(u32::MAX);
        self.taken = self.image_began.map(|began| Taken { time: began.elapsed(), blocks });
    }

    /// Lives on until something is so.
    pub(crate) async fn until(mut self, reached: impl Fn(&Self) -> bool) -> Outcome<Self> {
        while !reached(&self) {
            self.turn().await?;
        }
        Ok(self)
    }

    async fn turn(&mut self) -> Outcome<()> {
        let mut has_sent = true;
        while has_sent {
            while let Some(action) = self.client.poll_action() {
                self.act(action)?;
            }
            has_sent = false;
            while let Some(datagram) = self.client.poll_transmit(self.now()) {
                // What meets a full buffer is lost, and sent again.
                let _ = self.socket.send(&datagram).await;
                has_sent = true;
            }
        }
        let due = self.client.poll_timeout().map_or(WAIT_MAX, |due| due.since(self.now()));
        let mut buffer = [0; 2_048];
        if let Ok(Ok(length)) = tokio::time::timeout(due.min(WAIT_MAX), self.socket.recv(&mut buffer)).await {
            self.client.handle_datagram(self.now(), &buffer[..length]);
        }
        self.client.handle_timeout(self.now());
        Ok(())
    }

    fn act(&mut self, action: Action) -> Outcome<()> {
        let now = self.now();
        match action {
            Action::Connect { .. } => self.client.connected(now),
            Action::Registered(_) => self.is_registered.set(true),
            Action::Firmware(word) => return self.act_on_firmware(now, word),
            Action::Answered { id, response } => return self.take_block(now, id, response),
            Action::Unanswered { .. } => self.end(),
            Action::RegistrationFailed(code) => return Err(format!("not registered: {code:?}").into()),
            Action::Reboot
            | Action::Disconnect
            | Action::Updated
            | Action::Deregistered
            | Action::ClockSet(_)
            | Action::ServerChanged(_)
            | Action::Bootstrapped(_)
            | Action::BootstrapFailed(_) => {}
        }
        Ok(())
    }

    fn act_on_firmware(&mut self, now: Moment, word: Word) -> Outcome<()> {
        match word {
            Word::Begin { origin, .. } => {
                self.image_began = Some(Instant::now());
                self.bytes = 0;
                if let Origin::Uri { uri, .. } = origin {
                    self.fetch = Fetch::begin(now, &mut self.client, &uri);
                }
            }
            Word::Append { bytes, .. } => self.bytes += bytes.len() as u64,
            Word::Verify { attempt } => {
                self.end();
                self.client.firmware(now, |object| object.handle_verified(now, attempt, None, None));
            }
            Word::Discard { .. } => self.end(),
            Word::Persist(_) | Word::Install { .. } => {}
        }
        Ok(())
    }

    fn take_block(&mut self, now: Moment, id: RequestId, response: Response) -> Outcome<()> {
        let Some(fetch) = &mut self.fetch else { return Ok(()) };
        match fetch.handle_answer(now, &mut self.client, id, response) {
            None => {}
            Some(Progress::Bytes(bytes)) => self.bytes += bytes.len() as u64,
            Some(Progress::Last(bytes)) => {
                self.bytes += bytes.len() as u64;
                self.end();
            }
            Some(Progress::Restarted | Progress::Refused(_) | Progress::Broken) => {
                return Err("a fetch broke".into());
            }
        }
        Ok(())
    }
}
