//! The server, put together: from a configuration to open doors, and back to closed ones.

mod aws;
mod lwm2m;
mod mqtt;

use crate::api;
use crate::artifacts::serve::Downloads;
use crate::artifacts::{self, ARTIFACTS_FOLDER, Artifacts, LINK_KEYS_FILE, LinkSigner, UploadLimits};
use crate::auth::access_key::{ACCESS_KEY_FILE, MasterKey};
use crate::auth::{Auth, AuthError};
use crate::config::Config;
use crate::engine::clock::Clock;
use crate::engine::{Engine, EngineError, Running};
use crate::listen::{self, BindError, Drained, ListenLimits, Listener, Shutdown};
use crate::pki::client::Authority;
use crate::pki::{self, PkiError, SERVER_FILE, SERVER_KEY_FILE};
use crate::protocols::aws::topics::Topics;
use crate::protocols::http::serve::{self as check_in, Doors};
use crate::protocols::lwm2m::books::BooksError;
use crate::protocols::mqtt::external::OpenError as BrokerError;
use crate::protocols::mqtt::start::StartError;
use crate::store::{Database, OpenError};
use axum::Router;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use updraft_core::time::Timestamp;

/// Why the server did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data folder cannot be made.
    #[error("cannot make the data folder {path}; choose another with --data")]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The database cannot be opened.
    #[error("cannot open the database")]
    Database(#[from] OpenError),
    /// Certificates cannot be read or made.
    #[error("cannot set up TLS")]
    Pki(#[from] PkiError),
    /// Credentials cannot be loaded.
    #[error("cannot load the credentials")]
    Auth(#[from] AuthError),
    /// The keys that sign links cannot be read or made.
    #[error("cannot open the keys that sign links")]
    Keys(#[from] artifacts::KeyFileError),
    /// The folder of artifacts cannot be opened.
    #[error("cannot open the artifacts")]
    Artifacts(#[from] artifacts::OpenError),
    /// The engine cannot start.
    #[error("cannot start the engine")]
    Engine(#[from] EngineError),
    /// A listener cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A listener has no address.
    #[error("cannot read a listener's address")]
    Address(#[source] std::io::Error),
    /// The MQTT endpoint cannot start.
    #[error(transparent)]
    Mqtt(#[from] StartError),
    /// The client of an MQTT broker cannot start.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// DTLS cannot be set up.
    #[error("cannot set up DTLS for LwM2M")]
    Dtls(#[source] updraft_dtls::Error),
    /// What LwM2M keeps cannot be read.
    #[error(transparent)]
    Books(BooksError),
}

/// Where a server listens, once it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Devices, by TLS.
    pub device: SocketAddr,
    /// Devices, without TLS, if that is switched on.
    pub device_plain: Option<SocketAddr>,
    /// Operators.
    pub operator: SocketAddr,
    /// Devices that speak MQTT, by TLS, unless that is switched off.
    pub mqtt: Option<SocketAddr>,
    /// Devices that speak MQTT, without TLS, if that is switched on.
    pub mqtt_plain: Option<SocketAddr>,
    /// Devices that speak LwM2M, by DTLS, unless that is switched off.
    pub lwm2m: Option<SocketAddr>,
    /// Devices that speak LwM2M, without security, if that is switched on.
    pub lwm2m_plain: Option<SocketAddr>,
}

/// A server with its listeners open, not yet answering.
pub struct Server {
    addresses: Addresses,
    listeners: Vec<(Listener, Router)>,
    others: Others,
    running: Running,
}

/// The ways devices speak that are not HTTP.
struct Others {
    mqtt: mqtt::Served,
    lwm2m: Option<lwm2m::Lwm2m>,
}

/// The server's certificate, and who makes those of devices.
struct Tls {
    device: Arc<rustls::ServerConfig>,
    certificate: PathBuf,
    key: PathBuf,
    authority: Arc<Authority>,
}

/// What every door stands on.
struct Ground<'a> {
    config: &'a Config,
    clock: Clock,
    database: Database,
    auth: Auth,
    tls: Tls,
    signer: Arc<LinkSigner>,
    artifacts: Artifacts,
    engine: Engine,
}

impl<'a> Ground<'a> {
    /// Opens the data folder, making it on first start, and starts the engine.
    fn open(config: &'a Config) -> Result<(Self, Running), ServeError> {
        let data = config.data();
        make_folder(data)?;
        let clock = Clock::system();
        let now = clock.now();
        let database = Database::open(data)?;
        let master = MasterKey::open(&data.join(ACCESS_KEY_FILE)).map_err(AuthError::from)?;
        let auth = Auth::open(database.tokens()?, master, now)?;
        auth.keep_operator_token(data, now)?;
        let tls = open_tls(config, now)?;
        let signer = Arc::new(LinkSigner::open(&data.join(LINK_KEYS_FILE), seconds(now))?);
        let artifacts = Artifacts::open_folder(&data.join(ARTIFACTS_FOLDER))?;
        let (engine, running) = Engine::start(database.fleet()?, clock)?;
        Ok((Self { config, clock, database, auth, tls, signer, artifacts, engine }, running))
    }

    fn check_in_doors(&self) -> Arc<Doors> {
        let config = self.config;
        Arc::new(Doors {
            engine: self.engine.clone(),
            auth: self.auth.clone(),
            signer: self.signer.clone(),
            config: config.check_in.clone(),
            public_url: config.device.public_url.clone(),
            bind_links_to_address: config.artifacts.bind_links_to_address,
            body_time_max: check_in::BODY_TIME_MAX,
        })
    }

    fn aws_doors(&mut self, topics: Arc<dyn Topics>) -> Result<aws::Doors, ServeError> {
        Ok(aws::Doors {
            engine: self.engine.clone(),
            auth: self.auth.clone(),
            signer: self.signer.clone(),
            certified: aws::certified(self.config, &self.auth, &mut self.tls, self.clock)?,
            topics,
            books: Arc::new(aws::Lists::new(self.database.views()?)),
            artifacts: self.artifacts.clone(),
            credential_life: self.config.aws.credential_life.0,
            has_control_plane: false,
        })
    }
}

impl Server {
    /// Opens everything that a configuration names, making the data folder on first start.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn open(config: &Config) -> Result<Self, ServeError> {
        let (mut ground, running) = Ground::open(config)?;
        let doors = ground.check_in_doors();
        let downloads = Arc::new(Downloads::new(
            ground.artifacts.clone(),
            ground.signer.clone(),
            check_in::gate(&doors),
            config.artifacts.downloads_max,
        ));
        let device = listen::bind(config.device.listen, "[device] listen").await?;
        let port = device.local_addr().map_err(ServeError::Address)?.port();
        let base_url = base_url(config, port);
        let meaning = mqtt::Meaning::open(&ground, &base_url).await?;
        let carrier = aws::Carrier { handler: meaning.handler.clone(), bus: meaning.bus.clone() };
        let mqtt = mqtt::Served::open(&ground, meaning).await?;
        let aws = ground.aws_doors(Arc::new(carrier))?;
        let devices = check_in::router(doors)
            .merge(downloads.router())
            .merge(mqtt.websocket())
            .merge(aws::router(aws.clone()));
        let (lwm2m, lwm2m_api) = lwm2m::Lwm2m::open(&ground, &base_url).await?.unzip();
        let Ground { tls: Tls { device: tls, authority, .. }, .. } = ground;
        let parts = api::Parts {
            engine: ground.engine,
            database: ground.database,
            artifacts: ground.artifacts,
            upload_limits: UploadLimits { bytes_max: config.artifacts.upload_bytes_max },
            auth: ground.auth,
            authority,
            signer: ground.signer,
            public_url: config.device.public_url.clone().unwrap_or_default(),
            lwm2m: lwm2m_api,
        };
        let aws = aws::Doors { has_control_plane: true, ..aws };
        let operators = api::router(parts)?.merge(aws::router(aws));
        Self::listen(config, device, tls, devices, operators, Others { mqtt, lwm2m }, running).await
    }

    async fn listen(
        config: &Config,
        device: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        devices: Router,
        operators: Router,
        others: Others,
        running: Running,
    ) -> Result<Self, ServeError> {
        let limits =
            ListenLimits { connections_max: config.device.connections_max, ..ListenLimits::default() };
        let device = Listener::new(device, Some(tls), limits);
        let operator = listen::bind(config.operator.listen, "[operator] listen").await?;
        let operator = Listener::new(operator, None, ListenLimits::default());
        let (mqtt_tls, mqtt_plain) = others.mqtt.addresses()?;
        let lwm2m = others.lwm2m.as_ref().map(lwm2m::Lwm2m::addresses);
        let mut addresses = Addresses {
            device: device.local_addr().map_err(ServeError::Address)?,
            device_plain: None,
            operator: operator.local_addr().map_err(ServeError::Address)?,
            mqtt: mqtt_tls,
            mqtt_plain,
            lwm2m: lwm2m.map(|(secured, _)| secured),
            lwm2m_plain: lwm2m.and_then(|(_, plain)| plain),
        };
        let mut listeners = vec![(device, devices.clone()), (operator, operators)];
        if let Some(address) = config.device.plain_listen {
            let plain = listen::bind(address, "[device] plain_listen").await?;
            let plain = Listener::new(plain, None, limits);
            let address = plain.local_addr().map_err(ServeError::Address)?;
            tracing::warn!(%address, "devices may connect WITHOUT TLS here: for a lab only");
            addresses.device_plain = Some(address);
            listeners.push((plain, devices));
        }
        Ok(Self { addresses, listeners, others, running })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Answers until the shutdown is asked for; then lets requests under way end and writes everything.
    pub async fn serve(self, shutdown: Shutdown) {
        let Self { addresses, listeners, others: Others { mqtt, lwm2m }, running } = self;
        tracing::info!(device = %addresses.device, operator = %addresses.operator, "ready");
        let mut serving = tokio::task::JoinSet::new();
        for (listener, router) in listeners {
            serving.spawn(listener.serve_router(router, shutdown.clone()));
        }
        if let Some(lwm2m) = lwm2m {
            let shutdown = shutdown.clone();
            serving.spawn(async move {
                lwm2m.serve(shutdown).await;
                Drained { cut: 0 }
            });
        }
        serving.spawn(async move {
            mqtt.serve(shutdown).await;
            Drained { cut: 0 }
        });
        while let Some(drained) = serving.join_next().await {
            match drained {
                Ok(drained) if drained.cut > 0 => {
                    tracing::warn!(cut = drained.cut, "requests did not end in time and were cut off");
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "a listener failed");
                }
            }
        }
        // Every handle of the engine went with the routers: it takes the calls that are left, writes and ends.
        let _ = tokio::task::spawn_blocking(|| running.join()).await;
        tracing::info!("stopped");
    }
}

fn open_tls(config: &Config, now: Timestamp) -> Result<Tls, PkiError> {
    // The CA is made in any case: `ca.pem` is where scripts look.
    let own = pki::open(config.data(), &config.device.names, now)?;
    let (certificate, key, device) = match (&config.device.certificate, &config.device.key) {
        (Some(certificate), Some(key)) => {
            (certificate.clone(), key.clone(), Arc::new(pki::load(certificate, key, None)?))
        }
        (None, _) | (_, None) => {
            (config.data().join(SERVER_FILE), config.data().join(SERVER_KEY_FILE), own.tls)
        }
    };
    Ok(Tls { device, certificate, key, authority: own.authority })
}

/// What links begin with that leave by other ways than an answer to HTTP, where the device names no host: the configured
/// URL, or the first name of the server under which a device could reach it.
fn base_url(config: &Config, port: u16) -> String {
    if let Some(url) = &config.device.public_url {
        return url.clone();
    }
    format!("https://{}:{port}", host(config))
}

/// The first name of the server under which a device could reach it, as links have it.
fn host(config: &Config) -> String {
    let is_local = config.device.listen.ip().is_loopback();
    let own = || pki::machine_name().filter(|_| !is_local).unwrap_or_else(|| "localhost".to_owned());
    let host = config.device.names.first().cloned().unwrap_or_else(own);
    if host.contains(':') { format!("[{host}]") } else { host }
}

fn make_folder(path: &Path) -> Result<(), ServeError> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    // It holds keys and credentials.
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(|source| ServeError::Folder { path: path.to_owned(), source })
}

fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(0) / 1000
}
