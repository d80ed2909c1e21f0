//! A small device in a plain loop, without any runtime: it registers, shows objects 1, 3, 4 and 5, takes a package that is
//! sent or fetches it from its server's `coap://` link, "installs" it, and comes back as what it was told to become.
//!
//! ```text
//! cargo run -p updraft-lwm2m --example device -- 127.0.0.1:5683 device-1
//! ```
//!
//! What a real device does differently: DTLS below the datagrams, flash in the place of a vector, a record that outlives
//! a restart, and a restart.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the library has no clock and no sockets; whoever mounts it does"
)]

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};
use updraft_lwm2m::Moment;
use updraft_lwm2m::client::connectivity::Connectivity;
use updraft_lwm2m::client::device::Device;
use updraft_lwm2m::client::fetch::Fetch;
use updraft_lwm2m::client::server_object::ServerObject;
use updraft_lwm2m::client::{Action, Client, Config};
use updraft_lwm2m::coap::{Progress, RequestId, Response};
use updraft_lwm2m::firmware::object::{Abilities, Action as Word, Origin};
use updraft_lwm2m::firmware::{DeliveryMethod, Object, Scheme, UpdateResult};
use updraft_lwm2m::registration::Lifetime;

/// The largest package: what this device has room for.
const IMAGE_BYTES_MAX: u64 = 1 << 20;
/// The longest wait for a datagram: the loop also looks at what else the device does.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Radio Technology "Ethernet" of object 4.
const ETHERNET: u8 = 41;

/// The device: its client, its socket, and its "flash".
struct Thermostat {
    client: Client,
    socket: UdpSocket,
    began: Instant,
    image: Vec<u8>,
    fetch: Option<(u32, Fetch)>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(server), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("usage: device HOST:PORT NAME".into());
    };
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(&server)?;
    let mut thermostat =
        Thermostat { client: client(&name), socket, began: Instant::now(), image: Vec::new(), fetch: None };
    let now = thermostat.now();
    thermostat.client.start(now);
    loop {
        thermostat.turn()?;
    }
}

fn client(name: &str) -> Client {
    let device = Device {
        manufacturer: "Acme".into(),
        model: "T1".into(),
        serial: name.into(),
        firmware_version: "1.0.0".into(),
        ..Device::default()
    };
    let abilities = Abilities {
        schemes: [Scheme::Coap].into_iter().collect(),
        delivery: DeliveryMethod::Both,
        image_bytes_max: IMAGE_BYTES_MAX,
    };
    Client::new(Config::new(name), seed(), ServerObject::new(1, Lifetime::Seconds(60)), device)
        .with_connectivity(Connectivity::new(ETHERNET, 0))
        .with_firmware(Object::new(abilities))
}

/// 32 bytes from the system's random source, by the only way that the standard library has.
fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    for chunk in seed.chunks_mut(8) {
        chunk.copy_from_slice(&RandomState::new().hash_one(0).to_be_bytes());
    }
    seed
}

impl Thermostat {
    fn now(&self) -> Moment {
        Moment(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Acts, sends, waits and listens, once.
    fn turn(&mut self) -> Result<(), Box<dyn Error>> {
        let mut has_sent = true;
        while has_sent {
            while let Some(action) = self.client.poll_action() {
                self.act(action);
            }
            has_sent = false;
            while let Some(datagram) = self.client.poll_transmit(self.now()) {
                self.socket.send(&datagram)?;
                has_sent = true;
            }
        }
        let due = self.client.poll_timeout().map_or(WAIT_MAX, |due| due.since(self.now()));
        self.socket.set_read_timeout(Some(due.clamp(Duration::from_millis(1), WAIT_MAX)))?;
        let mut buffer = [0; 2048];
        match self.socket.recv(&mut buffer) {
            Ok(length) => self.client.handle_datagram(self.now(), &buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // The server is not there yet: the client tries again by itself.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error.into()),
        }
        self.client.handle_timeout(self.now());
        Ok(())
    }

    fn act(&mut self, action: Action) {
        let now = self.now();
        match action {
            // Without DTLS there is nothing to shake hands about.
            Action::Connect { .. } => self.client.connected(now),
            Action::Registered(location) => println!("registered as {location}"),
            Action::RegistrationFailed(code) => println!("not registered: {code:?}"),
            Action::Firmware(word) => self.act_on_firmware(now, word),
            Action::Answered { id, response } => self.take_block(now, id, response),
            Action::Unanswered { failure, .. } => {
                println!("the download failed: {failure}");
                if let Some((attempt, _)) = self.fetch.take() {
                    let result = UpdateResult::ConnectionLost;
                    self.client.firmware(now, |object| object.handle_failed(now, attempt, result));
                }
            }
            Action::Reboot => println!("a reboot was asked for"),
            Action::Disconnect
            | Action::Updated
            | Action::Deregistered
            | Action::ClockSet(_)
            | Action::ServerChanged(_)
            | Action::Bootstrapped(_)
            | Action::BootstrapFailed(_) => {}
        }
    }

    fn act_on_firmware(&mut self, now: Moment, word: Word) {
        match word {
            // A real device writes it to flash here, and only then lets the answer leave.
            Word::Persist(record) => println!("state {:?}, result {}", record.state, record.result),
            Word::Begin { origin: Origin::Push, .. } => self.image.clear(),
            Word::Begin { attempt, origin: Origin::Uri { uri, .. } } => {
                self.image.clear();
                self.fetch = Fetch::begin(now, &mut self.client, &uri).map(|fetch| (attempt, fetch));
            }
            Word::Append { bytes, .. } => self.image.extend(bytes),
            Word::Verify { attempt } => {
                println!("{} bytes are in", self.image.len());
                self.client.firmware(now, |object| object.handle_verified(now, attempt, None, None));
            }
            Word::Install { attempt } => {
                let version = version_of(&self.image);
                println!("installed; {version} runs");
                self.client.set_device(now, |device| device.firmware_version = version);
                self.client.firmware(now, |object| object.handle_installed(now, attempt));
            }
            Word::Discard { .. } => {
                self.image.clear();
                self.fetch = None;
            }
        }
    }

    fn take_block(&mut self, now: Moment, id: RequestId, response: Response) {
        let Some((attempt, fetch)) = &mut self.fetch else { return };
        let (attempt, progress) = (*attempt, fetch.handle_answer(now, &mut self.client, id, response));
        let Some(progress) = progress else { return };
        match progress {
            Progress::Bytes(bytes) => self.image.extend(bytes),
            Progress::Last(bytes) => {
                self.image.extend(bytes);
                self.fetch = None;
                self.client.firmware(now, |object| object.handle_downloaded(attempt));
            }
            Progress::Restarted => self.image.clear(),
            Progress::Refused(_) | Progress::Broken => {
                self.fetch = None;
                let result = UpdateResult::InvalidUri;
                self.client.firmware(now, |object| object.handle_failed(now, attempt, result));
            }
        }
    }
}

/// What the image says it is: the last word of its last line.
fn version_of(image: &[u8]) -> String {
    let text = String::from_utf8_lossy(image);
    text.split_whitespace().next_back().unwrap_or("unknown").to_owned()
}
