//! Devices over LwM2M without security: each registers from an address of its own, renews its registration in its
//! interval, answers what the server reads, and takes what it is sent as an image.
//!
//! The client is the agent's own. Deliberately absent: DTLS, and fetching images: devices say that they only take pushes.

use super::worker::Common;
use super::{LoadError, Tally};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::Instant;
use updraft_lwm2m::client::connectivity::Connectivity;
use updraft_lwm2m::client::device::Device as DeviceObject;
use updraft_lwm2m::client::server_object::ServerObject;
use updraft_lwm2m::client::{Action, Client, Config, Retry};
use updraft_lwm2m::firmware::object::{Abilities, Action as Firmware};
use updraft_lwm2m::firmware::{DeliveryMethod, Object, Schemes};
use updraft_lwm2m::registration::Lifetime;
use updraft_lwm2m::{Moment, Path};

/// Sockets that stay open: below what one process usually may have. Where there are more devices, each closes its own when
/// it has nothing to say, and opens it again at the same address.
const SOCKETS_MAX: u32 = 15_000;
/// How long a device listens after its last word before it closes its socket: the server reads what it is after it has
/// registered.
const LISTENS: Duration = Duration::from_secs(2);
/// Ports used of each loopback address, from this one on: below those that the system gives away.
const PORT_FIRST: u16 = 10_000;
const PORTS: u32 = 2_000;
/// Largest datagram taken.
const DATAGRAM_BYTES_MAX: usize = 2_048;
/// Largest image a device takes.
const IMAGE_BYTES_MAX: u64 = 64 << 20;
/// How long the registration lives beyond the interval, in intervals: an update or two may be lost.
const LIFETIME_INTERVALS: u32 = 4;
/// The bearer devices name: NB-IoT, by the registry's number; and its signal in dBm.
const BEARER: (u8, i32) = (7, -90);

/// One device.
struct Device {
    client: Client,
    address: SocketAddr,
    server: SocketAddr,
    socket: Option<UdpSocket>,
    begun: Instant,
    /// When it last said or heard something.
    heard: Instant,
    /// When what is under way was due.
    asked: Option<Instant>,
}

/// Lets a device live until the time is over.
pub(super) async fn run(
    common: Arc<Common>,
    number: u32,
    start: Instant,
    interval: Option<Duration>,
) -> Tally {
    let mut tally = Tally::default();
    tokio::time::sleep_until(start).await;
    let wait = interval.unwrap_or(common.config.interval_max);
    let life = async {
        let mut device = Device::new(&common, number, wait).await?;
        device.live(&common, &mut tally, wait).await
    };
    // It ends by the clock alone, or because it cannot have a socket.
    if let Ok(Err(error)) = tokio::time::timeout_at(common.end, life).await {
        tally.error(&error);
    }
    tally.versions.insert(common.config.version.clone(), 1);
    tally
}

impl Device {
    async fn new(common: &Common, number: u32, wait: Duration) -> Result<Self, LoadError> {
        let config = &common.config;
        let endpoint = format!("{}{number:06}", config.prefix);
        let device = DeviceObject {
            manufacturer: "Updraft".to_owned(),
            model: config.product.clone(),
            serial: endpoint.clone(),
            firmware_version: config.version.clone(),
            ..DeviceObject::default()
        };
        let lifetime = u64::from(LIFETIME_INTERVALS) * wait.as_secs().max(15);
        let server = ServerObject::new(1, Lifetime::of_seconds(lifetime));
        let abilities = Abilities {
            schemes: Schemes::NONE,
            delivery: DeliveryMethod::Push,
            image_bytes_max: IMAGE_BYTES_MAX,
        };
        let settings = Config {
            retry: Retry { pause: Duration::from_secs(5), ..Retry::default() },
            ..Config::new(&endpoint)
        };
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let begun = Instant::now();
        let mut client = Client::new(settings, seed, server, device)
            .with_connectivity(Connectivity::new(BEARER.0, BEARER.1))
            .with_firmware(Object::new(abilities));
        client.start(Moment(0));
        let server = common.target.address().await?;
        let address = SocketAddr::new(own_address(number), own_port(number));
        Ok(Self { client, address, server, socket: None, begun, heard: begun, asked: Some(begun) })
    }

    fn now(&self) -> Moment {
        Moment(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    async fn live(&mut self, common: &Common, tally: &mut Tally, wait: Duration) -> Result<(), LoadError> {
        let mut next = self.begun + wait;
        let keeps_socket = common.config.devices <= SOCKETS_MAX;
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        loop {
            self.drive(tally).await?;
            let due =
                self.client.poll_timeout().map_or(next, |due| self.begun + Duration::from_millis(due.0));
            let is_quiet = !keeps_socket && self.asked.is_none();
            let silent = self.heard + LISTENS;
            let wake = due.min(next).min(if is_quiet && self.socket.is_some() { silent } else { next });
            let received = async {
                match &self.socket {
                    Some(socket) => socket.recv(&mut buffer).await.ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                length = received => {
                    // An error belongs to an earlier datagram: nobody listened there.
                    let length = length.unwrap_or(0);
                    self.heard = Instant::now();
                    self.client.handle_datagram(self.now(), &buffer[..length]);
                }
                () = tokio::time::sleep_until(wake) => {}
            }
            let clock = Instant::now();
            self.client.handle_timeout(self.now());
            if clock >= next {
                self.asked.get_or_insert(next);
                next += wait;
                self.client.update(self.now());
            }
            if is_quiet && clock >= silent {
                self.socket = None;
            }
        }
    }

    /// Does what the client wants done, and sends what it has to send.
    async fn drive(&mut self, tally: &mut Tally) -> Result<(), LoadError> {
        loop {
            let mut has_moved = false;
            while let Some(action) = self.client.poll_action() {
                has_moved = true;
                self.act(action, tally);
            }
            while let Some(datagram) = self.client.poll_transmit(self.now()) {
                has_moved = true;
                self.heard = Instant::now();
                if self.socket.is_none() {
                    self.socket = Some(open(self.address, self.server).await?);
                }
                if let Some(socket) = &self.socket {
                    // A full buffer, or a closed port, loses a datagram as the network may.
                    let _ = socket.try_send(&datagram);
                }
            }
            if !has_moved {
                return Ok(());
            }
        }
    }

    fn act(&mut self, action: Action, tally: &mut Tally) {
        let now = self.now();
        match action {
            Action::Connect { .. } => self.client.connected(now),
            Action::Registered(_) => {
                tally.registrations += 1;
                self.answered(tally);
            }
            Action::Updated => {
                tally.updates += 1;
                self.answered(tally);
            }
            Action::RegistrationFailed(code) => {
                let code = code.map_or_else(|| "no answer".to_owned(), |code| code.to_string());
                tally.error(&LoadError::Answer(format!("a registration failed: {code}")));
            }
            Action::Firmware(firmware) => self.act_on_firmware(&firmware, tally),
            Action::Disconnect
            | Action::Deregistered
            | Action::Reboot
            | Action::ClockSet(_)
            | Action::ServerChanged(_)
            | Action::Bootstrapped(_)
            | Action::BootstrapFailed(_)
            | Action::Answered { .. }
            | Action::Unanswered { .. } => {}
        }
    }

    fn answered(&mut self, tally: &mut Tally) {
        tally.check_ins += 1;
        if let Some(asked) = self.asked.take() {
            tally.latencies.push(asked.elapsed());
        }
    }

    /// An image is taken for what it is said to be, and for installed when it should be: its bytes are counted.
    fn act_on_firmware(&mut self, action: &Firmware, tally: &mut Tally) {
        let now = self.now();
        match action {
            Firmware::Begin { .. } => tally.offers += 1,
            Firmware::Append { bytes, .. } => tally.bytes += bytes.len() as u64,
            Firmware::Verify { attempt } => {
                self.client.firmware(now, |object| object.handle_verified(now, *attempt, None, None));
            }
            Firmware::Install { attempt } => {
                self.client.firmware(now, |object| object.handle_installed(now, *attempt));
                self.client.changed(now, Path::object(5));
            }
            Firmware::Persist(_) | Firmware::Discard { .. } => {}
        }
    }
}

/// The loopback address of a device: all those of 127.16.0.0/12, [`PORTS`] devices each.
fn own_address(number: u32) -> IpAddr {
    let [_, _, high, low] = (number / PORTS).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 16, high, low))
}

fn own_port(number: u32) -> u16 {
    PORT_FIRST + u16::try_from(number % PORTS).unwrap_or(0)
}

async fn open(own: SocketAddr, server: SocketAddr) -> Result<UdpSocket, LoadError> {
    let failed = |source: std::io::Error| LoadError::Connect(source.into());
    // Only from this machine are there addresses enough; to another server each device has a port that the system gives.
    let own = if server.ip().is_loopback() { own } else { SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0) };
    let socket = UdpSocket::bind(own).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_device_has_an_address_of_its_own() {
        let addresses: BTreeSet<_> =
            (0..100_000).map(|number| (own_address(number), own_port(number))).collect();
        assert_eq!(addresses.len(), 100_000);
        assert!(addresses.iter().all(|(address, _)| address.is_loopback()));
    }
}
