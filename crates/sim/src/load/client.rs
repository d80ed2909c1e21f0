//! The server to which the load goes; HTTP/1.1 to it: a connection that is kept, and made anew when it is lost.

use super::LoadError;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a request may take until its answer begins.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// A connection, with TLS or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What is spoken to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    Http,
    Mqtt,
    Lwm2m,
}

/// The server, and how to trust it.
#[derive(Clone)]
pub(super) struct Target {
    carrier: Carrier,
    host: String,
    port: u16,
    /// Whether LwM2M goes over DTLS.
    has_dtls: bool,
    /// Whom to trust, where there is TLS.
    tls: Option<TlsConnector>,
}

impl Target {
    /// A server by its URL. `ca` is whom to trust for `https` and `mqtts`.
    pub(super) fn new(url: &str, ca: Option<&Path>) -> Result<Self, LoadError> {
        let invalid = || LoadError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let host = uri.host().ok_or_else(invalid)?.trim_matches(['[', ']']).to_owned();
        let (carrier, port, is_plain) = match uri.scheme_str() {
            Some("http") => (Carrier::Http, 80, true),
            Some("https") => (Carrier::Http, 443, false),
            Some("mqtt") => (Carrier::Mqtt, 1883, true),
            Some("mqtts") => (Carrier::Mqtt, 8883, false),
            Some("coap") => (Carrier::Lwm2m, 5683, true),
            // Its devices know the server by their keys.
            Some("coaps") => (Carrier::Lwm2m, 5684, true),
            Some(_) | None => return Err(invalid()),
        };
        let tls = if is_plain { None } else { Some(connector(ca.ok_or(LoadError::NoCa)?)?) };
        let has_dtls = uri.scheme_str() == Some("coaps");
        Ok(Self { carrier, host, port: uri.port_u16().unwrap_or(port), has_dtls, tls })
    }

    pub(super) fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// Whether devices prove over DTLS who they are.
    pub(super) fn is_secured(&self) -> bool {
        self.has_dtls
    }

    /// The server's address.
    pub(super) async fn address(&self) -> Result<SocketAddr, LoadError> {
        let failed = |source: std::io::Error| LoadError::Connect(source.into());
        let mut found = tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(failed)?;
        found.next().ok_or_else(|| LoadError::Url(self.host.clone()))
    }

    /// Where a link leads. Over HTTP that is the server itself, by whatever name the link calls it; over MQTT the link names
    /// the server's other door, behind which the same are to be trusted.
    pub(super) fn of_link(&self, link: &str) -> Result<Self, LoadError> {
        let invalid = || LoadError::Url(link.to_owned());
        let uri: Uri = link.parse().map_err(|_| invalid())?;
        match (self.carrier, uri.scheme_str()) {
            (Carrier::Http, _) => Ok(self.clone()),
            (Carrier::Mqtt, Some("https")) if self.tls.is_some() => {
                let host = uri.host().ok_or_else(invalid)?.trim_matches(['[', ']']).to_owned();
                let port = uri.port_u16().unwrap_or(443);
                Ok(Self { carrier: Carrier::Http, host, port, has_dtls: false, tls: self.tls.clone() })
            }
            (Carrier::Mqtt | Carrier::Lwm2m, _) => Err(invalid()),
        }
    }

    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, LoadError> {
        let failed = |source: std::io::Error| LoadError::Connect(source.into());
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(connector) => {
                let name = ServerName::try_from(self.host.clone());
                let name = name.map_err(|_| LoadError::Url(self.host.clone()))?;
                Ok(Box::new(connector.connect(name, stream).await.map_err(failed)?))
            }
        }
    }

    async fn shake_hands(&self) -> Result<SendRequest<Full<Bytes>>, LoadError> {
        let stream = TokioIo::new(self.connect().await?);
        let (sender, connection) =
            handshake(stream).await.map_err(|error| LoadError::Connect(error.into()))?;
        // A connection that ends shows at the next request.
        tokio::spawn(connection);
        Ok(sender)
    }
}

fn connector(ca: &Path) -> Result<TlsConnector, LoadError> {
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| LoadError::Ca { path: ca.to_owned(), source };
    let mut roots = tokio_rustls::rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(|error| failed(error.into()))? {
        let certificate = certificate.map_err(|error| failed(error.into()))?;
        roots.add(certificate).map_err(|error| failed(error.into()))?;
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = tokio_rustls::rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection, made when it is first needed and again when it is lost.
pub(super) struct Client {
    target: Target,
    authorization: String,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(super) fn new(target: Target, token: &str) -> Self {
        Self { target, authorization: format!("Bearer {token}"), sender: None }
    }

    /// Posts a body and reads the whole answer, which must be a success.
    pub(super) async fn post(&mut self, path: &str, body: Vec<u8>) -> Result<Bytes, LoadError> {
        let answer = self.send(Method::POST, path, body).await?;
        let body = answer.into_body().collect().await.map_err(|error| LoadError::Exchange(error.into()))?;
        Ok(body.to_bytes())
    }

    /// Asks for a link, whose bytes are read by the caller. The link carries its own credential.
    pub(super) async fn get(&mut self, url: &str) -> Result<Incoming, LoadError> {
        let uri: Uri = url.parse().map_err(|_| LoadError::Url(url.to_owned()))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(self.send(Method::GET, &path, Vec::new()).await?.into_body())
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, LoadError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| LoadError::Exchange(error);
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.target.shake_hands().await?,
        };
        sender.ready().await.map_err(|error| failed(error.into()))?;
        let mut request = Request::builder()
            .method(&method)
            .uri(path)
            .header("host", format!("{}:{}", self.target.host, self.target.port));
        if method == Method::POST {
            request = request
                .header("authorization", &self.authorization)
                .header("content-type", "application/json");
        }
        let request = request.body(Full::from(body)).map_err(|error| failed(error.into()))?;
        let answer = tokio::time::timeout(ANSWER_TIME, sender.send_request(request)).await;
        let answer = answer.map_err(|error| failed(error.into()))?.map_err(|error| failed(error.into()))?;
        self.sender = Some(sender);
        if answer.status().is_success() {
            Ok(answer)
        } else {
            Err(LoadError::Status(answer.status().as_u16()))
        }
    }
}
