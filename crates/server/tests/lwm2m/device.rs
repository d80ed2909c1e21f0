//! A device: the library's client over a socket, with DTLS or without, that keeps its image in memory.

use crate::stage::Stage;
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use updraft_dtls::{
    Client as Dtls, ClientConfig, ClientCredential, ClientEvent, OwnCertificate, PreSharedKey, Trust,
};
use updraft_lwm2m::Moment;
use updraft_lwm2m::client::connectivity::Connectivity;
use updraft_lwm2m::client::device::Device as Described;
use updraft_lwm2m::client::fetch::Fetch;
use updraft_lwm2m::client::server_object::ServerObject;
use updraft_lwm2m::client::{Action, Client, Config};
use updraft_lwm2m::coap::{Code, Progress, RequestId, Response};
use updraft_lwm2m::firmware::object::{Abilities, Action as Word, Origin};
use updraft_lwm2m::firmware::{DeliveryMethod, Object, Scheme, UpdateResult};
use updraft_lwm2m::registration::Lifetime;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a device looks at its socket before it looks at the test again.
const LOOK: Duration = Duration::from_millis(20);

/// A pre-shared key.
#[derive(Debug, Clone)]
pub(crate) struct Psk {
    pub(crate) id: String,
    pub(crate) identity: String,
    pub(crate) key: Vec<u8>,
}

/// How a device ends its installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    Well,
    /// With the new version on trial, to be confirmed or not.
    OnTrial,
    Badly(UpdateResult),
}

pub(crate) struct Device {
    pub(crate) client: Client,
    socket: UdpSocket,
    dtls: Option<Dtls>,
    began: Instant,
    pub(crate) image: Vec<u8>,
    pub(crate) registrations: usize,
    pub(crate) refused: Option<Code>,
    pub(crate) account: Option<updraft_lwm2m::bootstrap::ServerAccount>,
    pub(crate) installed: usize,
    pub(crate) fetched_from: Option<String>,
    /// What the image will call itself; the version it was told, otherwise.
    pub(crate) becomes: String,
    pub(crate) ends: Ends,
    on_trial: Option<u32>,
    fetch: Option<(u32, Fetch)>,
}

/// A device that can do both, and speaks CoAP with and without DTLS.
pub(crate) fn both() -> Abilities {
    Abilities {
        schemes: [Scheme::Coap, Scheme::Coaps].into_iter().collect(),
        delivery: DeliveryMethod::Both,
        image_bytes_max: 1 << 22,
    }
}

/// The `coaps` address of a stage.
pub(crate) fn secured(stage: &Stage) -> SocketAddr {
    stage.addresses.lwm2m.unwrap()
}

/// The `coap` address of a stage.
pub(crate) fn plain(stage: &Stage) -> SocketAddr {
    stage.addresses.lwm2m_plain.unwrap()
}

/// A stage with LwM2M on ports of the system's choice, without security too.
pub(crate) fn stage(change: impl FnOnce(&mut updraft_server::config::Config)) -> Stage {
    Stage::with(|config| {
        config.protocols.lwm2m.plain_listen = Some(([127, 0, 0, 1], 0).into());
        config.device.names = vec!["127.0.0.1".to_owned()];
        change(config);
    })
}

/// A key for a device.
pub(crate) fn psk(stage: &Stage, device: &str) -> Psk {
    let body = json!({ "device": device, "form": "psk" }).to_string();
    let answer = stage.operate("POST", "/tokens", body.as_bytes());
    let created: Value = serde_json::from_slice(&answer.body).unwrap();
    let text = |name: &str| created[name].as_str().unwrap_or_else(|| panic!("{created}")).to_owned();
    Psk { id: text("id"), identity: text("identity"), key: hex::decode(text("key")).unwrap() }
}

impl Device {
    /// A device that speaks without security.
    pub(crate) fn plain(server: SocketAddr, name: &str) -> Self {
        Self::new(server, Config::new(name), None, both())
    }

    /// A device with a key.
    pub(crate) fn with_key(server: SocketAddr, name: &str, psk: &Psk) -> Self {
        Self::new(server, Config::new(name), Some(psk), both())
    }

    /// A device with a certificate of the server's own authority, which trusts that authority.
    pub(crate) fn with_certificate(stage: &Stage, name: &str) -> Self {
        let body = json!({ "device": name, "form": "certificate" }).to_string();
        let answer = stage.operate("POST", "/tokens", body.as_bytes());
        let created: Value = serde_json::from_slice(&answer.body).unwrap();
        let pem = |field: &str| created[field].as_str().unwrap().as_bytes().to_vec();
        let credential = ClientCredential::Certificate {
            own: OwnCertificate { chain: pem("certificate"), key: pem("key") },
            trust: Trust::Authority {
                roots: std::fs::read(stage.data().join(updraft_server::pki::CA_FILE)).unwrap(),
                name: "127.0.0.1".to_owned(),
            },
        };
        let mut device = Self::new(secured(stage), Config::new(name), None, both());
        device.dtls = Some(Dtls::new(&ClientConfig::new(credential)).unwrap());
        device
    }

    pub(crate) fn new(server: SocketAddr, config: Config, psk: Option<&Psk>, abilities: Abilities) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(LOOK)).unwrap();
        let described = Described {
            manufacturer: "Acme".into(),
            model: crate::stage::PRODUCT.into(),
            serial: config.endpoint.clone(),
            firmware_version: "1.0.0".into(),
            ..Described::default()
        };
        let object = ServerObject::new(1, Lifetime::Seconds(300));
        let client = Client::new(config, seed(), object, described)
            .with_connectivity(Connectivity::new(0, -97))
            .with_firmware(Object::new(abilities));
        let dtls = psk.map(|psk| {
            let key = PreSharedKey { identity: psk.identity.clone().into_bytes(), key: psk.key.clone() };
            Dtls::new(&ClientConfig::new(ClientCredential::Psk(key))).unwrap()
        });
        let mut device = Self {
            client,
            socket,
            dtls,
            began: Instant::now(),
            image: Vec::new(),
            registrations: 0,
            refused: None,
            account: None,
            installed: 0,
            fetched_from: None,
            becomes: "1.1.0".to_owned(),
            ends: Ends::Well,
            on_trial: None,
            fetch: None,
        };
        let now = device.now();
        device.client.start(now);
        device
    }

    pub(crate) fn now(&self) -> Moment {
        Moment(u64::try_from(self.began.elapsed().as_millis()).unwrap())
    }

    /// Goes on until something holds.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "in vain: {what}");
            self.turn();
        }
    }

    /// Goes on until it is registered.
    #[track_caller]
    pub(crate) fn registered(mut self) -> Self {
        self.until("to be registered", |device| device.registrations > 0);
        self
    }

    /// Goes on while a test looks elsewhere, until that holds.
    #[track_caller]
    pub(crate) fn while_looking(&mut self, what: &str, holds: impl Fn() -> bool) {
        self.until(what, |_| holds());
    }

    /// Comes from another port from now on, as behind a gateway that forgot it.
    pub(crate) fn rebind(&mut self) {
        let server = self.socket.peer_addr().unwrap();
        self.socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        self.socket.connect(server).unwrap();
        self.socket.set_read_timeout(Some(LOOK)).unwrap();
    }

    /// The version on trial has not proven itself: the one before runs again.
    pub(crate) fn roll_back(&mut self) {
        let (now, attempt) = (self.now(), self.on_trial.take().unwrap());
        self.client.set_device(now, |device| device.firmware_version = "1.0.0".into());
        let image = updraft_lwm2m::firmware::object::Image::Dropped;
        self.client.firmware(now, |object| {
            object.handle_install_failed(now, attempt, UpdateResult::UpdateFailed, image);
        });
    }

    /// The part of its location that is not to be guessed.
    pub(crate) fn location(&self) -> String {
        self.client.location().unwrap().to_owned()
    }

    fn turn(&mut self) {
        let mut acts = true;
        while acts {
            acts = false;
            while let Some(action) = self.client.poll_action() {
                self.act(action);
                acts = true;
            }
            let now = self.now();
            while let Some(datagram) = self.client.poll_transmit(now) {
                acts = true;
                match &mut self.dtls {
                    Some(dtls) => drop(dtls.send(Duration::from_millis(now.0), &datagram)),
                    None => drop(self.socket.send(&datagram)),
                }
            }
            self.flush();
        }
        let mut buffer = [0; 2048];
        match self.socket.recv(&mut buffer) {
            Ok(length) => self.hear(&buffer[..length]),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
                ) => {}
            Err(error) => panic!("{error}"),
        }
        let now = self.now();
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_timeout(Duration::from_millis(now.0));
        }
        self.client.handle_timeout(now);
    }

    fn hear(&mut self, datagram: &[u8]) {
        let now = self.now();
        let Some(dtls) = &mut self.dtls else { return self.client.handle_datagram(now, datagram) };
        dtls.handle_datagram(Duration::from_millis(now.0), datagram);
        while let Some(event) = dtls.poll_event() {
            match event {
                ClientEvent::Connected => self.client.connected(now),
                ClientEvent::Received(data) => self.client.handle_datagram(now, &data),
                ClientEvent::Closed { .. } | ClientEvent::Refused { .. } => {
                    self.client.connection_failed(now);
                }
            }
        }
    }

    fn flush(&mut self) {
        while let Some(datagram) = self.dtls.as_mut().and_then(Dtls::poll_transmit) {
            drop(self.socket.send(&datagram));
        }
    }

    fn act(&mut self, action: Action) {
        let now = self.now();
        match action {
            Action::Connect { .. } => match &mut self.dtls {
                Some(dtls) if !dtls.is_connected() => dtls.connect(Duration::from_millis(now.0)).unwrap(),
                Some(_) | None => self.client.connected(now),
            },
            Action::Registered(_) => self.registrations += 1,
            Action::RegistrationFailed(code) => self.refused = code,
            Action::Firmware(word) => self.act_on_firmware(now, word),
            Action::Answered { id, response } => self.take_block(now, id, response),
            Action::Bootstrapped(account) => self.account = Some(*account),
            Action::Unanswered { .. }
            | Action::Reboot
            | Action::Disconnect
            | Action::Updated
            | Action::Deregistered
            | Action::ClockSet(_)
            | Action::ServerChanged(_)
            | Action::BootstrapFailed(_) => {}
        }
    }

    fn act_on_firmware(&mut self, now: Moment, word: Word) {
        match word {
            Word::Persist(_) => {}
            Word::Begin { origin: Origin::Push, .. } => self.image.clear(),
            Word::Begin { attempt, origin: Origin::Uri { uri, .. } } => {
                self.image.clear();
                self.fetch = Fetch::begin(now, &mut self.client, &uri).map(|fetch| (attempt, fetch));
                self.fetched_from = Some(uri);
            }
            Word::Append { bytes, .. } => self.image.extend(bytes),
            Word::Verify { attempt } => {
                self.client.firmware(now, |object| object.handle_verified(now, attempt, None, None));
            }
            Word::Install { attempt } => {
                self.installed += 1;
                match self.ends {
                    Ends::Well => {
                        let version = self.becomes.clone();
                        self.client.set_device(now, |device| device.firmware_version = version);
                        self.client.firmware(now, |object| object.handle_installed(now, attempt));
                    }
                    Ends::OnTrial => {
                        self.on_trial = Some(attempt);
                        let version = self.becomes.clone();
                        self.client.set_device(now, |device| device.firmware_version = version);
                    }
                    Ends::Badly(result) => {
                        let image = updraft_lwm2m::firmware::object::Image::Dropped;
                        self.client.firmware(now, |object| {
                            object.handle_install_failed(now, attempt, result, image);
                        });
                    }
                }
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

fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    seed
}
