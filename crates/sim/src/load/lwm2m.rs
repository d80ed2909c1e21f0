//! Devices over LwM2M, with a pre-shared key each or without security: each registers from an address of its own, renews its
//! registration in its interval, answers what the server reads, and takes what it is sent as an image.
//!
//! The client is the agent's own. Deliberately absent: certificates, and fetching images: devices say that they only take
//! pushes.

use super::line::{DATAGRAM_BYTES_MAX, Heard, Line, receive};
use super::worker::Common;
use super::{LoadError, Tally};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use updraft_core::policy::bucket;
use updraft_dtls::{ClientConfig, ClientCredential};
use updraft_lwm2m::client::connectivity::Connectivity;
use updraft_lwm2m::client::device::Device as DeviceObject;
use updraft_lwm2m::client::server_object::ServerObject;
use updraft_lwm2m::client::{Action, Client, Config, Retry, Session};
use updraft_lwm2m::firmware::object::{Abilities, Action as Firmware, Image};
use updraft_lwm2m::firmware::{DeliveryMethod, Object, Schemes, UpdateResult};
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
/// Largest image a device takes.
const IMAGE_BYTES_MAX: u64 = 64 << 20;
/// How long the registration lives beyond the interval, in intervals: an update or two may be lost.
const LIFETIME_INTERVALS: u32 = 4;
/// The bearer devices name: NB-IoT, by the registry's number; and its signal in dBm.
const BEARER: (u8, i32) = (7, -90);

/// What the summary calls the version of a device that took an image.
const UPDATED: &str = "pushed";

/// One device.
struct Device {
    client: Client,
    line: Line,
    /// Whether images do not work on it.
    is_failing: bool,
    /// Whether it runs an image that it was sent.
    is_updated: bool,
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
    let mut is_updated = false;
    match Device::new(&common, number, wait).await {
        Ok(mut device) => {
            let life = device.live(&common, &mut tally, wait);
            // It ends by the clock alone, or because it cannot have a socket.
            if let Ok(Err(error)) = tokio::time::timeout_at(common.end, life).await {
                tally.error(&error);
            }
            is_updated = device.is_updated;
        }
        Err(error) => tally.error(&error),
    }
    // What an image is called is for the server to know.
    let version = if is_updated { UPDATED } else { &common.config.version };
    tally.versions.insert(version.to_owned(), 1);
    tally
}

impl Device {
    async fn new(common: &Common, number: u32, wait: Duration) -> Result<Self, LoadError> {
        let config = &common.config;
        let endpoint = config.id(number);
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
        let security = security(common, &endpoint)?;
        let own = SocketAddr::new(own_address(number), own_port(number));
        let line = Line::new(own, common.target.address().await?, security.as_ref())?;
        let is_failing = bucket(&endpoint) < config.failing_percent;
        Ok(Self { client, line, is_failing, is_updated: false, begun, heard: begun, asked: Some(begun) })
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
            let is_quiet = !keeps_socket && self.asked.is_none();
            let silent = self.heard + LISTENS;
            let wake = self.due().into_iter().fold(next, Instant::min);
            let wake = if is_quiet && self.line.socket().is_some() { wake.min(silent) } else { wake };
            let heard = tokio::select! {
                length = receive(self.line.socket(), &mut buffer) => {
                    self.heard = Instant::now();
                    self.line.handle_datagram(self.begun.elapsed(), &buffer[..length]).await?
                }
                () = tokio::time::sleep_until(wake) => self.line.handle_timeout(self.begun.elapsed()).await?,
            };
            self.take(heard, tally);
            let clock = Instant::now();
            self.client.handle_timeout(self.now());
            if clock >= next {
                self.asked.get_or_insert(next);
                next += wait;
                self.client.update(self.now());
            }
            if is_quiet && clock >= silent {
                self.line.close();
            }
        }
    }

    /// When the client or the session wants to be woken.
    fn due(&self) -> Option<Instant> {
        let client = self.client.poll_timeout().map(|due| Duration::from_millis(due.0));
        let due = [client, self.line.due()].into_iter().flatten().min()?;
        Some(self.begun + due)
    }

    fn take(&mut self, heard: Vec<Heard>, tally: &mut Tally) {
        let now = self.now();
        for heard in heard {
            match heard {
                Heard::Connected => self.client.connected(now),
                Heard::Datagram(datagram) => self.client.handle_datagram(now, &datagram),
                Heard::Closed(why) => {
                    tally.error(&LoadError::Answer(why));
                    self.client.connection_failed(now);
                }
            }
        }
    }

    /// Has a session, or begins one.
    async fn connect(&mut self, session: Session, tally: &mut Tally) -> Result<(), LoadError> {
        if session == Session::Any && self.line.is_connected() {
            self.client.connected(self.now());
        } else {
            let heard = self.line.connect(self.begun.elapsed()).await?;
            self.take(heard.into_iter().collect(), tally);
        }
        Ok(())
    }

    /// Does what the client wants done, and sends what it has to send.
    async fn drive(&mut self, tally: &mut Tally) -> Result<(), LoadError> {
        loop {
            let mut has_moved = false;
            while let Some(action) = self.client.poll_action() {
                has_moved = true;
                if let Action::Connect { session, .. } = action {
                    self.connect(session, tally).await?;
                } else {
                    self.act(action, tally);
                }
            }
            while let Some(datagram) = self.client.poll_transmit(self.now()) {
                has_moved = true;
                self.heard = Instant::now();
                self.line.send(self.begun.elapsed(), &datagram).await?;
            }
            if !has_moved {
                return Ok(());
            }
        }
    }

    fn act(&mut self, action: Action, tally: &mut Tally) {
        match action {
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
            // A session is had before this is asked.
            Action::Connect { .. }
            | Action::Disconnect
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
            Firmware::Install { attempt } if self.is_failing => {
                let (result, image) = (UpdateResult::UpdateFailed, Image::Dropped);
                self.client
                    .firmware(now, |object| object.handle_install_failed(now, *attempt, result, image));
            }
            Firmware::Install { attempt } => {
                self.is_updated = true;
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

/// What a device proves itself by, where the way to the server asks for that.
fn security(common: &Common, endpoint: &str) -> Result<Option<ClientConfig>, LoadError> {
    if !common.target.is_secured() {
        return Ok(None);
    }
    let key = common.config.keys.get(endpoint).ok_or_else(|| LoadError::NoKey(endpoint.to_owned()))?;
    Ok(Some(ClientConfig::new(ClientCredential::Psk(key.clone()))))
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
