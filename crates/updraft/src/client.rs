//! The HTTP client of the operator API: one request, one answer, errors a person can act on.
//!
//! Deliberately absent: retries. An operator sees what failed and decides.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use updraft_wire::operator::{API_PATH, Failure, PAGE_ITEMS_MAX, Page};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, SendBody, http};

/// How long to try to reach the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take once the request is sent: an upload is made durable before it is answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Largest JSON answer that is read, in bytes: a page of devices with room to spare.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Why the server did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no token to present.
    #[error(
        "no operator token: {} cannot be read; set UPDRAFT_TOKEN, or name the server's data folder with --data",
        path.display()
    )]
    NoToken {
        /// The file that was tried.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The certificate authority cannot be used.
    #[error("{} holds no certificate authority in PEM", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody answers at the URL.
    #[error("cannot reach {url}; is the server running? Start it with `updraft serve`, or set UPDRAFT_URL")]
    Unreachable {
        /// The server's URL.
        url: String,
        /// What went wrong.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The answer is not one of this API.
    #[error("{url} does not answer like an Updraft server (status {status}); check UPDRAFT_URL")]
    Foreign {
        /// The server's URL.
        url: String,
        /// The status.
        status: u16,
    },
    /// The server refused.
    #[error("{}", refusal(*.status, .failure))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the server said.
        failure: Failure,
    },
}

/// The server's own sentence, and what a person can do about it.
fn refusal(status: u16, failure: &Failure) -> String {
    let mut text = failure.message.clone();
    if let Some(excerpt) = &failure.excerpt {
        text = format!("{text}\n{excerpt}");
    }
    if !failure.near.is_empty() {
        text = format!("{text}; did you mean {}?", failure.near.join(", "));
    }
    if status == 401 {
        text.push_str("; check UPDRAFT_TOKEN, or the data folder given with --data");
    }
    text
}

/// The operator API, spoken to.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    url: String,
    authorization: String,
}

impl Client {
    /// A client for the server at `url`.
    ///
    /// # Errors
    /// [`ClientError::Ca`].
    pub fn new(url: &str, token: &str, ca: Option<&Path>) -> Result<Self, ClientError> {
        Ok(Self {
            agent: agent(url, ca)?,
            url: url.trim_end_matches('/').to_owned(),
            authorization: format!("Bearer {token}"),
        })
    }

    /// The server's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks for something.
    ///
    /// # Errors
    /// [`ClientError`]; so for each request.
    pub fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, ClientError> {
        self.read(self.get_raw(path, query)?)
    }

    /// Asks for something that is not JSON: the answer, once it is a success.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub fn get_raw(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<http::Response<Body>, ClientError> {
        let mut request = self.agent.get(self.at(path)).header("authorization", &self.authorization);
        for (name, value) in query {
            request = request.query(name, value);
        }
        self.succeeded(request.call())
    }

    /// Asks for every page of a list in turn, and hands each to `take`, which says whether to go on.
    ///
    /// # Errors
    /// See [`Client::get`]; and what `take` fails with.
    pub fn pages<T: DeserializeOwned, E: From<ClientError>>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        mut take: impl FnMut(Vec<T>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let limit = PAGE_ITEMS_MAX.to_string();
        let mut after: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.push(("limit", &limit));
            if let Some(after) = &after {
                query.push(("after", after));
            }
            let page: Page<T> = self.get(path, &query)?;
            after = page.next;
            if !take(page.items)? || after.is_none() {
                return Ok(());
            }
        }
    }

    /// Sends a JSON body.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, ClientError> {
        let request = self.agent.post(self.at(path)).header("authorization", &self.authorization);
        self.read(self.succeeded(request.send_json(body))?)
    }

    /// Streams bytes of a known length. The server may refuse before the first of them is sent.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub fn put<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        bytes: &mut impl Read,
        length: u64,
    ) -> Result<T, ClientError> {
        let mut request = self
            .agent
            .put(self.at(path))
            .header("authorization", &self.authorization)
            .header("content-type", "application/octet-stream")
            .header("content-length", length.to_string())
            .header("expect", "100-continue");
        for (name, value) in query {
            request = request.query(name, value);
        }
        self.read(self.succeeded(request.send(SendBody::from_reader(bytes)))?)
    }

    fn at(&self, path: &[&str]) -> String {
        let mut url = format!("{}{API_PATH}", self.url);
        for segment in path {
            url.push('/');
            encode(segment, &mut url);
        }
        url
    }

    fn succeeded(
        &self,
        answer: Result<http::Response<Body>, ureq::Error>,
    ) -> Result<http::Response<Body>, ClientError> {
        let mut answer = answer
            .map_err(|source| ClientError::Unreachable { url: self.url.clone(), source: Box::new(source) })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        match answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_json() {
            Ok(failure) => Err(ClientError::Refused { status, failure }),
            Err(_) => Err(ClientError::Foreign { url: self.url.clone(), status }),
        }
    }

    fn read<T: DeserializeOwned>(&self, mut answer: http::Response<Body>) -> Result<T, ClientError> {
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_json();
        body.map_err(|_| ClientError::Foreign { url: self.url.clone(), status })
    }
}

fn agent(url: &str, ca: Option<&Path>) -> Result<Agent, ClientError> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(ANSWER_TIMEOUT))
        .user_agent(concat!("updraft/", env!("CARGO_PKG_VERSION")));
    let config = match ca.filter(|_| url.starts_with("https:")) {
        Some(ca) => config.tls_config(TlsConfig::builder().root_certs(roots(ca)?).build()),
        None => config,
    };
    Ok(config.build().new_agent())
}

/// Opens a download link as a device would, and reads the first byte.
///
/// # Errors
/// A sentence saying what came instead.
pub fn fetch_first_byte(link: &str, ca: Option<&Path>) -> Result<(), String> {
    let agent = agent(link, ca).map_err(|error| error.to_string())?;
    let mut answer =
        agent.get(link).header("range", "bytes=0-0").call().map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    match (status, body) {
        (206, Ok(bytes)) if bytes.len() == 1 => Ok(()),
        (_, Ok(bytes)) => Err(format!("status {status} and {} bytes came instead of one byte", bytes.len())),
        (_, Err(error)) => Err(error.to_string()),
    }
}

fn roots(ca: &Path) -> Result<RootCerts, ClientError> {
    let failed = |source| ClientError::Ca { path: ca.into(), source };
    let pem = std::fs::read(ca).map_err(|error| failed(error.into()))?;
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| failed(error.into()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(failed("there is no certificate in it".into()));
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

/// Appends a path segment with everything percent-encoded that is not plainly allowed in one (RFC 3986 §3.3).
fn encode(segment: &str, url: &mut String) {
    use std::fmt::Write;
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@+".contains(&byte) {
            url.push(char::from(byte));
        } else {
            write!(url, "%{byte:02X}").expect("writing to a String does not fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_cannot_leave_its_place_in_the_path() {
        let client = Client::new("http://127.0.0.1:1/", "t", None).unwrap();
        let at = client.at(&["products", "a/../b?c#d", "releases", "1.0.0+x y"]);
        assert_eq!(at, "http://127.0.0.1:1/api/v1/products/a%2F..%2Fb%3Fc%23d/releases/1.0.0+x%20y");
    }

    #[test]
    fn a_refusal_names_what_is_near() {
        let failure = Failure {
            code: "release_unknown".into(),
            message: "product cam has no release 1.1.O".into(),
            near: vec!["1.1.0".into()],
            excerpt: None,
        };
        assert_eq!(refusal(404, &failure), "product cam has no release 1.1.O; did you mean 1.1.0?");
        assert!(
            refusal(401, &failure).ends_with("check UPDRAFT_TOKEN, or the data folder given with --data")
        );
    }
}
