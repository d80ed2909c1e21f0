//! An endpoint with a handler and a gate that do what their topics say.

use super::client::{Client, Got, Hello, Version, hello};
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use tokio::io::DuplexStream;
use tokio::sync::Semaphore;
use updraft_core::id::DeviceId;
use updraft_server::protocols::mqtt::door::{Effects, Handler, Identity, Message, NotTaken, Occasion};
use updraft_server::protocols::mqtt::endpoint::{
    ConnectFacts, Endpoint, Gate, Limits, Mode, Refusal, Router, SessionStore,
};

/// What the pipe between client and endpoint holds.
pub(crate) const PIPE_BYTES: usize = 256 * 1024;

pub(crate) fn device(id: &str) -> Identity {
    Identity::Device { id: id.parse().unwrap(), product: None }
}

pub(crate) fn message(topic: &str, payload: &'static [u8]) -> Message {
    Message { topic: topic.into(), payload: Bytes::from_static(payload) }
}

/// Lets in who knows `secret of NAME`: a device of that name, or the application, if the name begins with `app`.
#[derive(Debug, Default)]
pub(crate) struct TestGate {
    /// A topic that was allowed, and is no longer.
    pub(crate) withdrawn: Mutex<Option<String>>,
    /// Client IDs that were asked about.
    pub(crate) asked: Mutex<Vec<String>>,
}

impl TestGate {
    fn own(who: &Identity, topic: &str) -> bool {
        let mut levels = topic.split('/');
        match (who, levels.next()) {
            (Identity::Application { .. }, Some("state")) => true,
            (Identity::Device { id, .. }, Some("state")) => levels.next() == Some(id.as_str()),
            (Identity::Device { id, .. }, Some("$aws")) => {
                levels.next() == Some("things") && levels.next() == Some(id.as_str())
            }
            _ => false,
        }
    }
}

impl Gate for TestGate {
    async fn authenticate(&self, facts: ConnectFacts<'_>) -> Result<Identity, Refusal> {
        self.asked.lock().unwrap().push(facts.client_id.to_owned());
        if let Some(proven) = facts.tls {
            return Ok(proven.clone());
        }
        let name = facts.username.ok_or(Refusal::NotAuthorized)?;
        if name == "down" {
            return Err(Refusal::Unavailable);
        }
        if facts.password != Some(format!("secret of {name}").as_bytes()) {
            return Err(Refusal::NotAuthorized);
        }
        if name.starts_with("app") {
            return Ok(Identity::Application { name: name.to_owned() });
        }
        let (id, product) = match name.strip_prefix("product ") {
            Some(product) => (facts.client_id, Some(product.parse().unwrap())),
            None => (name, None),
        };
        Ok(Identity::Device { id: id.parse().map_err(|_| Refusal::NotAuthorized)?, product })
    }

    fn may_publish(&self, who: &Identity, topic: &str) -> bool {
        Self::own(who, topic)
    }

    fn may_subscribe(&self, who: &Identity, filter: &str) -> bool {
        self.withdrawn.lock().unwrap().as_deref() != Some(filter) && Self::own(who, filter)
    }

    fn device_of(&self, topic: &str) -> Option<DeviceId> {
        let mut levels = topic.split('/');
        match levels.next() {
            Some("state") => levels.next()?.parse().ok(),
            Some("$aws") => levels.nth(1)?.parse().ok(),
            _ => None,
        }
    }
}

/// `…/get` is replied to on `…/get/accepted`; `…/update` leads to `…/update/delta` for all; `…/busy` cannot be taken;
/// `…/slow` waits until it may go on.
#[derive(Debug)]
pub(crate) struct TestHandler {
    pub(crate) taken: Mutex<Vec<(Identity, String, Bytes)>>,
    pub(crate) begun: Mutex<usize>,
    pub(crate) heard: Mutex<Vec<(Identity, String, Occasion)>>,
    pub(crate) go_on: Semaphore,
}

impl Handler for TestHandler {
    async fn publish(&self, from: &Identity, topic: &str, payload: Bytes) -> Result<Effects, NotTaken> {
        *self.begun.lock().unwrap() += 1;
        if topic.ends_with("/busy") {
            return Err(NotTaken::Unavailable);
        }
        if topic.ends_with("/slow") {
            self.go_on.acquire().await.unwrap().forget();
        }
        self.taken.lock().unwrap().push((from.clone(), topic.to_owned(), payload.clone()));
        let mut effects = Effects::default();
        if topic.ends_with("/get") {
            effects.replies.push(Message { topic: format!("{topic}/accepted").into(), payload });
        } else if topic.ends_with("/update") {
            effects.published.push(Message { topic: format!("{topic}/delta").into(), payload });
        }
        Ok(effects)
    }

    async fn subscribed(&self, who: &Identity, filter: &str, occasion: Occasion) -> Vec<Message> {
        self.heard.lock().unwrap().push((who.clone(), filter.to_owned(), occasion));
        if filter.ends_with("/notify-next") { vec![message(filter, b"next")] } else { Vec::new() }
    }
}

pub(crate) struct Stage {
    pub(crate) endpoint: Arc<Endpoint<TestHandler, TestGate>>,
    pub(crate) handler: Arc<TestHandler>,
    pub(crate) gate: Arc<TestGate>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default(), None, Mode::Gateway)
    }

    pub(crate) fn limited(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        change(&mut limits);
        Self::with(limits, None, Mode::Gateway)
    }

    /// What general suites expect of a broker.
    pub(crate) fn open() -> Self {
        let limits = Limits {
            keep_alive: std::time::Duration::from_secs(60),
            topic_bytes: usize::from(u16::MAX),
            ..Limits::default()
        };
        Self::with(limits, None, Mode::OpenRouterForConformance)
    }

    pub(crate) fn with(limits: Limits, store: Option<Arc<dyn SessionStore>>, mode: Mode) -> Self {
        let gate = Arc::new(TestGate::default());
        let router = Router::new(gate.clone(), limits, store, mode).unwrap();
        let handler = Arc::new(TestHandler {
            taken: Mutex::default(),
            begun: Mutex::default(),
            heard: Mutex::default(),
            go_on: Semaphore::new(0),
        });
        let endpoint = Endpoint::new(router, handler.clone());
        tokio::spawn(endpoint.clone().run());
        Self { endpoint, handler, gate }
    }

    pub(crate) fn pipe(&self, bytes: usize, tls: Option<Identity>) -> DuplexStream {
        let (near, far) = tokio::io::duplex(bytes);
        tokio::spawn(self.endpoint.serve_stream(far, "127.0.0.1:9".parse().unwrap(), tls));
        near
    }

    pub(crate) fn client(&self, version: Version) -> Client {
        Client::new(self.pipe(PIPE_BYTES, None), version)
    }

    /// Says hello, and gives the answer.
    pub(crate) async fn try_connect(&self, hello: &Hello) -> (Client, Got) {
        let mut client = self.client(hello.version);
        client.send(&hello.bytes()).await;
        let got = client.next().await;
        (client, got)
    }

    /// A client that was let in, and whether it has an older session.
    pub(crate) async fn connect(&self, hello: &Hello) -> (Client, bool) {
        match self.try_connect(hello).await {
            (client, Got::Connack { present, code: 0, .. }) => (client, present),
            (_, other) => panic!("{other:?}"),
        }
    }

    /// A client of this name, in a session of its own.
    pub(crate) async fn join(&self, version: Version, id: &str) -> Client {
        self.connect(&hello(version, id)).await.0
    }

    pub(crate) fn taken(&self) -> Vec<String> {
        self.handler.taken.lock().unwrap().iter().map(|(_, topic, _)| topic.clone()).collect()
    }

    pub(crate) fn begun(&self) -> usize {
        *self.handler.begun.lock().unwrap()
    }
}

/// Lets everything that is ready happen.
pub(crate) async fn settle() {
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
}
