//! One connection to the broker, driven by a task of its own, so that it answers pings whatever its user is doing.

use super::config::ExternalConfig;
use super::trust;
use crate::protocols::mqtt::endpoint::limits::PACKET_BYTES_MAX;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet, Publish, SubscribeReasonCode};
use rumqttc::{
    AckMode, AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, QoS,
    SubscribeFilter, TlsConfiguration, Transport,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longest time to reach the broker: name resolution, TLS handshake and the broker's word.
pub(super) const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest time in which a broker grants subscriptions.
pub(super) const GRANT_TIME_MAX: Duration = Duration::from_secs(10);
/// Largest packet read, in bytes. What is longer than a device may say is passed over; only what is longer than this ends
/// the connection, so a broker must let nothing pass that is: MQTT 3.1.1 has no word for it.
const READ_BYTES_MAX: usize = 1024 * 1024 + 1024;
/// Most messages sent and not acknowledged (AWS IoT Core's limit).
pub(super) const SENT_AT_ONCE: u16 = 100;
/// Most filters in one request (AWS IoT Core's limit).
const FILTERS_AT_ONCE: usize = 8;
/// Events that wait for the connection's user, who does not dally.
const EVENTS_WAITING_MAX: usize = 256;

/// Why there is no connection, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A file that is needed to connect cannot be read.
    #[error("cannot read {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or key is of no use.
    #[error("{path}: {detail}")]
    Certificate {
        /// In which file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The broker does not let the server in.
    #[error("the broker does not let the server in: {0:?}")]
    Refused(ConnectReturnCode),
    /// The connection could not be made, or was lost.
    #[error("the connection to the broker was lost or could not be made")]
    Lost(#[source] Box<ConnectionError>),
    /// The broker and the server do not trust each other by TLS.
    #[error("{advice}")]
    Tls {
        /// Why, and what to do.
        advice: String,
        /// What was said.
        #[source]
        source: Box<ConnectionError>,
    },
    /// The broker hung up and did not say why.
    #[error("the broker hung up {hint}")]
    HungUp {
        /// When, and what may be missing.
        hint: String,
        /// How it hung up.
        #[source]
        source: Box<ConnectionError>,
    },
    /// The broker does not answer.
    #[error("the broker does not answer")]
    Silent,
    /// A subscription was not granted.
    #[error(
        "the broker does not grant the subscription to {0}: its access rules must let the server subscribe to it"
    )]
    NotGranted(String),
    /// The broker sends more than the server could take in without an acknowledgement.
    #[error(
        "the broker sends more unacknowledged messages than {0}; lower what it keeps in flight for one client"
    )]
    Flooded(usize),
    /// The configuration was not checked.
    #[error("[protocols.mqtt.external] has no usable url")]
    Address,
}

/// What the broker says.
#[derive(Debug)]
pub(super) enum Said {
    /// A message on a topic.
    Message(Publish),
    /// Which of the filters of one request it grants.
    Granted(Vec<SubscribeReasonCode>),
    /// That filters no longer hold.
    Withdrawn,
}

/// A connection. Dropping it ends it without a farewell.
pub(super) struct Connection {
    pub(super) client: AsyncClient,
    events: mpsc::Receiver<Result<Event, ConnectionError>>,
    _driver: JoinSet<()>,
}

impl Connection {
    /// Connects and waits to be let in.
    pub(super) async fn open(config: &ExternalConfig, client_id: &str) -> Result<Self, LinkError> {
        let options = options(config, client_id)?;
        // Acknowledgements are bounded by what the broker has in flight, and messages by who sends them.
        let (client, mut eventloop) = AsyncClient::builder(options).unbounded().build();
        let mut network = NetworkOptions::new();
        network.set_connection_timeout(CONNECT_TIME_MAX.as_secs());
        network.set_tcp_nodelay(true);
        eventloop.set_network_options(network);
        let (sender, events) = mpsc::channel(EVENTS_WAITING_MAX);
        let mut driver = JoinSet::new();
        driver.spawn(drive(eventloop, sender));
        let mut connection = Self { client, events, _driver: driver };
        let let_in = async {
            loop {
                if let Event::Incoming(Packet::ConnAck(_)) = connection.event().await? {
                    return Ok(());
                }
            }
        };
        let let_in = timeout(CONNECT_TIME_MAX, let_in).await.map_err(|_| LinkError::Silent)?;
        let_in.map_err(|error| trust::explain(error, config))?;
        Ok(connection)
    }

    async fn event(&mut self) -> Result<Event, LinkError> {
        match self.events.recv().await {
            Some(Ok(event)) => Ok(event),
            Some(Err(ConnectionError::ConnectionRefused(code))) => Err(LinkError::Refused(code)),
            Some(Err(error)) => Err(LinkError::Lost(Box::new(error))),
            None => Err(LinkError::Lost(Box::new(ConnectionError::RequestsDone))),
        }
    }

    /// What the broker says next. Nothing is lost if this is dropped before it ends.
    pub(super) async fn next(&mut self) -> Result<Said, LinkError> {
        loop {
            match self.event().await? {
                Event::Incoming(Packet::Publish(message)) => return Ok(Said::Message(message)),
                Event::Incoming(Packet::SubAck(granted)) => return Ok(Said::Granted(granted.return_codes)),
                Event::Incoming(Packet::UnsubAck(_)) => return Ok(Said::Withdrawn),
                Event::Incoming(_) | Event::Outgoing(_) => {}
            }
        }
    }

    /// Subscribes, and waits until all is granted. Messages may come before that: `take` gets them.
    pub(super) async fn subscribe(
        &mut self,
        filters: &[String],
        mut take: impl FnMut(&AsyncClient, Publish) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        for some in filters.chunks(FILTERS_AT_ONCE) {
            let some = some.iter().map(|filter| SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce));
            // Refused only where the connection has ended by itself, which is about to be read.
            let _ = self.client.try_subscribe_many(some);
        }
        let granted = async {
            let mut filters = filters.iter();
            while filters.len() > 0 {
                let next = self.next().await;
                match next.map_err(|error| trust::explain_subscription(error, filters.as_slice()))? {
                    Said::Message(message) => take(&self.client, message)?,
                    Said::Granted(codes) => {
                        for (code, filter) in codes.into_iter().zip(&mut filters) {
                            if code == SubscribeReasonCode::Failure {
                                return Err(LinkError::NotGranted(filter.clone()));
                            }
                        }
                    }
                    Said::Withdrawn => {}
                }
            }
            Ok(())
        };
        timeout(GRANT_TIME_MAX, granted).await.map_err(|_| LinkError::Silent)?
    }

    /// Takes the filters back; how many answers ([`Said::Withdrawn`]) that will have.
    pub(super) fn unsubscribe(&self, filters: &[String]) -> usize {
        let some = filters.chunks(FILTERS_AT_ONCE);
        some.filter(|some| self.client.try_unsubscribe_many(some.iter().cloned()).is_ok()).count()
    }

    /// Takes leave, once all that was given to be sent is acknowledged.
    pub(super) async fn close(mut self, patience: Duration) {
        if self.client.try_disconnect_with_timeout(patience).is_ok() {
            let _ = timeout(patience, async { while self.event().await.is_ok() {} }).await;
        }
    }
}

async fn drive(mut eventloop: EventLoop, events: mpsc::Sender<Result<Event, ConnectionError>>) {
    loop {
        let event = eventloop.poll().await;
        // Polled again, it would connect again, without its user knowing.
        let is_over = event.is_err();
        if events.send(event).await.is_err() || is_over {
            return;
        }
    }
}

fn options(config: &ExternalConfig, client_id: &str) -> Result<MqttOptions, LinkError> {
    let address = config.address().ok_or(LinkError::Address)?;
    let mut options = MqttOptions::new(client_id, (address.host, address.port));
    options.set_keep_alive(u16::try_from(config.keep_alive.0.as_secs()).unwrap_or(u16::MAX));
    // A server that is gone must not have messages kept for it: who has asked for nothing yet got no answer.
    options.set_clean_session(true);
    options.set_ack_mode(AckMode::Manual);
    options.set_inflight(SENT_AT_ONCE);
    options.set_max_packet_size(READ_BYTES_MAX, 2 * PACKET_BYTES_MAX);
    if let Some(username) = &config.username {
        match &config.password_file {
            None => options.set_username(username),
            Some(path) => {
                let password = read(path)?;
                options.set_credentials(username, password.trim_ascii().to_vec())
            }
        };
    }
    if address.is_plain {
        options.set_transport(Transport::Tcp);
    } else {
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(Arc::new(tls(config)?))));
    }
    Ok(options)
}

fn tls(config: &ExternalConfig) -> Result<ClientConfig, LinkError> {
    let mut roots = RootCertStore::empty();
    match &config.ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let (added, _) = roots.add_parsable_certificates(certificates_of(&read(path)?));
            if added == 0 {
                let detail = "there is no certificate in it".to_owned();
                return Err(LinkError::Certificate { path: path.clone(), detail });
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of the default protocol versions")
        .with_root_certificates(roots);
    let (Some(certificate), Some(key)) = (&config.certificate, &config.key) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates_of(&read(certificate)?).collect();
    let unusable = |path: &Path, detail: String| LinkError::Certificate { path: path.to_owned(), detail };
    let secret =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unusable(key, error.to_string()))?;
    builder.with_client_auth_cert(chain, secret).map_err(|error| unusable(certificate, error.to_string()))
}

fn read(path: &Path) -> Result<Vec<u8>, LinkError> {
    std::fs::read(path).map_err(|source| LinkError::File { path: path.to_owned(), source })
}

fn certificates_of(pem: &[u8]) -> impl Iterator<Item = CertificateDer<'static>> + '_ {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok)
}

/// Whether all files can be read that are needed to connect.
pub(super) fn check(config: &ExternalConfig) -> Result<(), LinkError> {
    options(config, "check").map(|_| ())
}
