//! LwM2M, put together: sockets, sessions, who may speak, links, the books.

use super::{Ground, ServeError};
use crate::api;
use crate::artifacts::LinkSigner;
use crate::artifacts::short_link::ShortClaims;
use crate::auth::certificate::Certificates;
use crate::auth::{Auth, NewToken, Principal};
use crate::engine::clock::Clock;
use crate::listen::{BindError, Shutdown};
use crate::pki::client::Clients;
use crate::protocols::lwm2m::books::{Books, BooksError};
use crate::protocols::lwm2m::config::Lwm2mConfig;
use crate::protocols::lwm2m::desk::Desk;
use crate::protocols::lwm2m::firmware::Work;
use crate::protocols::lwm2m::hub::{Hub, Linker, Security, Settings};
use crate::protocols::lwm2m::serve::{Door, Link, Parts, Served, Socket};
use crate::protocols::lwm2m::sessions::SessionFile;
use crate::update;
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use updraft_core::id::DeviceId;
use updraft_core::time::Timestamp;
use updraft_dtls::{Certified, Identity, Lookup, OwnCertificate, Plain, Server, ServerConfig, Sessions};
use updraft_lwm2m::bootstrap::{Security as Account, SecurityMode, ServerAccount};
use updraft_lwm2m::coap::{self, Code};
use updraft_lwm2m::firmware::{Limits, Scheme};

/// The number by which devices know this server (resource /0/x/10); any but 0 and 65535.
const SERVER_ID: u16 = 1;
/// Most devices of which the fleet is told at a time what they are: some three seconds of its work, and 50 MB of trees.
const DESCRIBING_MAX: usize = 16_384;
/// What a key is for that a bootstrap made.
const BOOTSTRAP_NOTE: &str = "LwM2M bootstrap";

/// LwM2M with its sockets open, not yet answering.
pub(super) struct Lwm2m {
    served: Served,
    file: SessionFile,
    secured: SocketAddr,
    plain: Option<SocketAddr>,
}

impl Lwm2m {
    /// Opens the sockets and takes up what an earlier process left; `None` if LwM2M is switched off.
    /// `base_url` is what links by HTTP begin with.
    pub(super) async fn open(
        with: &Ground<'_>,
        base_url: &str,
    ) -> Result<Option<(Self, api::Lwm2m)>, ServeError> {
        let section = &with.config.protocols.lwm2m;
        if !section.enabled {
            return Ok(None);
        }
        let secured = bind(section.listen, "[protocols.lwm2m] listen").await?;
        let plain = match section.plain_listen {
            Some(address) => Some(bind(address, "[protocols.lwm2m] plain_listen").await?),
            None => None,
        };
        let address = |udp: &UdpSocket| udp.local_addr().map_err(ServeError::Address);
        let secured_at = address(&secured)?;
        let plain_at = plain.as_ref().map(address).transpose()?;
        if let Some(address) = plain_at {
            tracing::warn!(%address, "devices may speak LwM2M WITHOUT security here: for a lab only");
        }
        let links = Links::new(with, base_url, secured_at.port(), plain_at.map(|at| at.port()));
        let own_authority = links.secured.clone();
        let clients = Clients::open(&with.tls.authority, section.client_ca.as_deref())?;
        let file = SessionFile::of(with.config.data());
        let mut dtls = dtls(with, &clients)?;
        file.restore(&mut dtls, Duration::from_millis(millis(with.clock.now())));
        let books: Arc<dyn Books> = Arc::new(with.database.lwm2m()?);
        let hub = hub(with, &*books, links).map_err(ServeError::Books)?;
        let (desk, calls) = Desk::new();
        let mut sockets = vec![Socket { udp: secured, sessions: Box::new(dtls) }];
        sockets.extend(plain.map(|udp| Socket {
            udp,
            sessions: Box::new(Plain::new(section.registrations_max)) as Box<dyn Sessions + Send>,
        }));
        let door = Arc::new(Gate {
            auth: with.auth.clone(),
            certificates: Certificates::new(with.auth.clone(), clients, with.clock),
            clock: with.clock,
            signer: with.signer.clone(),
            uri: format!("coaps://{own_authority}"),
        });
        let revocations = with.auth.revocations();
        let (engine, artifacts) = (with.engine.clone(), with.artifacts.clone());
        let parts = Parts { sockets, hub, engine, artifacts, door, books: books.clone(), calls, revocations };
        let served = Served::new(parts).map_err(ServeError::Address)?;
        let api = api::Lwm2m { desk, books };
        Ok(Some((Self { served, file, secured: secured_at, plain: plain_at }, api)))
    }

    /// Where it listens, with DTLS and without.
    pub(super) fn addresses(&self) -> (SocketAddr, Option<SocketAddr>) {
        (self.secured, self.plain)
    }

    /// Serves until the shutdown is asked for; then keeps the sessions for the next process.
    pub(super) async fn serve(self, shutdown: Shutdown) {
        let Self { served, file, .. } = self;
        let sockets = served.serve(shutdown).await;
        file.keep(sockets);
    }
}

async fn bind(address: SocketAddr, setting: &'static str) -> Result<UdpSocket, BindError> {
    UdpSocket::bind(address).await.map_err(|source| BindError::of(address, setting, source))
}

fn millis(now: Timestamp) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(0)
}

/// DTLS, with keys and certificates.
fn dtls(with: &Ground<'_>, clients: &Clients) -> Result<Server, ServeError> {
    let (auth, clock) = (with.auth.clone(), with.clock);
    let lookup = move |identity: &[u8]| match auth.psk(identity, clock.now()) {
        Some(psk) => Lookup::Key(psk.key.reveal().to_vec()),
        None => Lookup::Unknown,
    };
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|source| ServeError::Folder { path: path.to_owned(), source })
    };
    let own = OwnCertificate { chain: read(&with.tls.certificate)?, key: read(&with.tls.key)? };
    let roots: Vec<_> =
        clients.roots().iter().map(|root| pem::Pem::new("CERTIFICATE", root.as_ref())).collect();
    let sessions_max = with.config.protocols.lwm2m.registrations_max;
    let config = ServerConfig {
        certified: Some(Certified { own, device_roots: pem::encode_many(&roots).into_bytes() }),
        sessions_max,
        awake_max: sessions_max,
        ..ServerConfig::psk(Box::new(lookup))
    };
    Server::new(config).map_err(ServeError::Dtls)
}

fn hub(with: &Ground<'_>, books: &dyn Books, links: Links) -> Result<Hub, BooksError> {
    let section: &Lwm2mConfig = &with.config.protocols.lwm2m;
    let auth = with.auth.clone();
    let settings = Settings {
        delivery: section.delivery.clone(),
        limits: Limits::default(),
        coap: coap::Config::default(),
        registrations_max: section.registrations_max,
        describing_max: DESCRIBING_MAX,
        bootstrap: section.bootstrap,
        linker: Box::new(links),
        may_be_unproven: Box::new(move |device| !auth.has_psk(device)),
        seed: Box::new(|| {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).expect("the system has random numbers");
            seed
        }),
    };
    let mut hub = Hub::new(settings, books.next_number()?);
    books.registrations(&mut |saved| hub.restore(saved))?;
    for order in books.waiting()? {
        hub.restore_order(order);
    }
    Ok(hub)
}

/// Makes links to images, short enough for a Package URI.
struct Links {
    signer: Arc<LinkSigner>,
    clock: Clock,
    life: Duration,
    /// What links by HTTP begin with.
    https: String,
    /// Host and port with DTLS.
    secured: String,
    /// Host and port without.
    plain: Option<String>,
}

impl Links {
    fn new(with: &Ground<'_>, base_url: &str, secured: u16, plain: Option<u16>) -> Self {
        let config = with.config;
        let host = super::host(config);
        let own = config.protocols.lwm2m.public_authority.clone();
        Self {
            signer: with.signer.clone(),
            clock: with.clock,
            life: config.check_in.link_life.0,
            https: base_url.to_owned(),
            secured: own.unwrap_or_else(|| format!("{host}:{secured}")),
            plain: plain.map(|port| format!("{host}:{port}")),
        }
    }
}

impl Linker for Links {
    fn links(&self, device: &DeviceId, security: Security, work: &Work) -> Vec<(Scheme, String)> {
        let now = millis(self.clock.now()) / 1000;
        let claims = ShortClaims {
            device: device.clone(),
            job: update::job_of(&work.rollout, work.attempt),
            expires: now + self.life.as_secs(),
        };
        let http = Scheme::of_uri(&self.https).map(|scheme| (scheme, self.https.clone()));
        let coaps = (Scheme::Coaps, format!("coaps://{}", self.secured));
        let coap = self.plain.as_ref().map(|plain| (Scheme::Coap, format!("coap://{plain}")));
        // A device without a credential may say that it speaks DTLS, and has nothing to speak it with.
        let by_coap = match security {
            Security::None => [coap, Some(coaps)],
            Security::Psk | Security::X509 => [Some(coaps), coap],
        };
        let bases = http.into_iter().chain(by_coap.into_iter().flatten());
        bases
            .filter_map(|(scheme, base)| Some((scheme, self.signer.sign_short(&base, &claims, now).ok()?)))
            .collect()
    }
}

/// Who may speak, and what links lead to.
struct Gate {
    auth: Auth,
    certificates: Certificates,
    clock: Clock,
    signer: Arc<LinkSigner>,
    /// Where devices find the server.
    uri: String,
}

impl Door for Gate {
    fn device_of(&self, identity: &Identity) -> Option<(DeviceId, Security)> {
        match identity {
            Identity::Unproven => None,
            Identity::Psk(name) => Some((self.auth.device_of_psk(name, self.clock.now())?, Security::Psk)),
            Identity::Certificate(shown) => {
                let chain = [CertificateDer::from(&shown.der[..])];
                let device = self.certificates.device(&chain).inspect_err(|refused| {
                    tracing::debug!(error = refused as &dyn std::error::Error, "a device was not let in");
                });
                Some((device.ok()??, Security::X509))
            }
        }
    }

    fn open_link(&self, path: &str) -> Result<Link, Code> {
        let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let now = millis(self.clock.now()) / 1000;
        let claims = self.signer.verify_short(&segments, now).map_err(|_| Code::FORBIDDEN)?;
        let rollout = update::rollout_of(&claims.job);
        Ok(Link { device: claims.device, rollout, attempt: claims.job.attempt() })
    }

    fn make_account(&self, device: &DeviceId) -> Option<ServerAccount> {
        let new = NewToken {
            principal: Principal::Device(device.clone()),
            expires: None,
            note: BOOTSTRAP_NOTE.to_owned(),
        };
        let made = self.auth.create_psk(new, self.clock.now());
        let (key, row) = made
            .inspect_err(|error| {
                let error = error as &dyn std::error::Error;
                tracing::error!(error, %device, "no key can be made for a device that is bootstrapped");
            })
            .ok()?;
        let identity = row.psk?.identity;
        let security = Account {
            uri: self.uri.clone(),
            mode: SecurityMode::Psk,
            identity: identity.into_bytes(),
            server_key: Vec::new(),
            secret: key.reveal().to_vec(),
        };
        Some(ServerAccount::new(security, SERVER_ID))
    }
}
