//! An LwM2M server of a few lines, for one device: it answers the registration, and asks what the test asks.

use crate::stub::PATIENCE;
use crate::tls::Authority;
use rcgen::{CertificateParams, DnType, KeyPair};
use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};
use updraft_dtls::{
    Certified, Event as Heard, Identity, Lookup, OwnCertificate, Plain, ServerConfig, SessionId, Sessions,
};
use updraft_lwm2m::Moment;
use updraft_lwm2m::coap::block;
use updraft_lwm2m::coap::option::number;
use updraft_lwm2m::coap::{
    BlockSize, Code, Config, Event, Exchange, Method, Peer, Request, RequestId, Response,
};

/// A certificate for a name, and its key.
pub(crate) fn certificate(authority: &Authority, name: &str) -> (String, String) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, &authority.issuer).unwrap().pem(), key.serialize_pem())
}

/// A server on loopback.
pub(crate) struct Server {
    socket: UdpSocket,
    began: Instant,
    sessions: Box<dyn Sessions>,
    scheme: &'static str,
    /// The latest session: a device that begins anew has a new one.
    peer: Option<(SessionId, Peer)>,
    /// Who the device proved to be.
    pub(crate) identity: Option<Identity>,
    answers: BTreeMap<RequestId, Result<Response, String>>,
    /// Why handshakes came to nothing.
    pub(crate) refusals: Vec<updraft_dtls::Failure>,
    /// How often the device has registered.
    pub(crate) registrations: usize,
    /// What it said goodbye to.
    pub(crate) farewells: usize,
    /// The lifetime that it registered with last.
    pub(crate) lifetime: Option<String>,
    /// What registrations are answered with, if not with a place.
    pub(crate) refusal: Option<Code>,
    /// How often that was.
    pub(crate) refused: usize,
    /// A file to serve under `/f`, with its entity tag; and how many blocks were asked for.
    pub(crate) file: (Vec<u8>, Vec<u8>),
    pub(crate) blocks: Vec<u64>,
    /// After so many blocks the server says nothing more about the file.
    pub(crate) blocks_max: usize,
    image: Vec<u8>,
}

impl Server {
    /// Without security.
    pub(crate) fn start() -> Self {
        Self::with(Box::new(Plain::new(4)), "coap")
    }

    /// With DTLS, and one device's pre-shared key.
    pub(crate) fn start_with_key(identity: &'static str, key: &'static [u8]) -> Self {
        let lookup = move |named: &[u8]| {
            if named == identity.as_bytes() { Lookup::Key(key.to_vec()) } else { Lookup::Unknown }
        };
        let server = updraft_dtls::Server::new(ServerConfig::psk(Box::new(lookup))).unwrap();
        Self::with(Box::new(server), "coaps")
    }

    /// With DTLS, and certificates of one authority on both ends; the server's is for `name`.
    pub(crate) fn start_with_certificates(authority: &Authority, name: &str) -> Self {
        let (chain, key) = certificate(authority, name);
        let own = OwnCertificate { chain: chain.into_bytes(), key: key.into_bytes() };
        let device_roots = std::fs::read(&authority.pem).unwrap();
        let certified = Some(Certified { own, device_roots });
        let config = ServerConfig { certified, ..ServerConfig::new() };
        Self::with(Box::new(updraft_dtls::Server::new(config).unwrap()), "coaps")
    }

    fn with(sessions: Box<dyn Sessions>, scheme: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        Self {
            socket,
            began: Instant::now(),
            sessions,
            scheme,
            peer: None,
            identity: None,
            answers: BTreeMap::new(),
            refusals: Vec::new(),
            registrations: 0,
            farewells: 0,
            lifetime: None,
            refusal: None,
            refused: 0,
            file: (Vec::new(), vec![1]),
            blocks: Vec::new(),
            blocks_max: usize::MAX,
            image: Vec::new(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.socket.local_addr().unwrap())
    }

    fn now(&self) -> Moment {
        Moment(u64::try_from(self.began.elapsed().as_millis()).unwrap())
    }

    /// Listens and answers until something is so.
    pub(crate) fn until<T>(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> Option<T>) -> T {
        let give_up = Instant::now() + PATIENCE;
        loop {
            self.turn();
            if let Some(found) = is_so(self) {
                return found;
            }
            assert!(Instant::now() < give_up, "waited in vain: {what}");
        }
    }

    /// Waits for the device's `count`-th registration.
    pub(crate) fn registered(&mut self, count: usize) {
        self.until("the registration", |server| (server.registrations >= count).then_some(()));
    }

    /// Asks the device.
    pub(crate) fn ask(&mut self, request: Request) -> Response {
        let now = self.now();
        let id = self.peer.as_mut().unwrap().1.request(now, request).unwrap();
        self.until("an answer", |server| server.answers.remove(&id)).unwrap()
    }

    pub(crate) fn read(&mut self, path: &str) -> String {
        let response = self.ask(Request::new(Method::Get, path));
        assert_eq!(response.code, Code::CONTENT, "{path}");
        String::from_utf8(response.payload).unwrap()
    }

    pub(crate) fn write(&mut self, path: &str, text: &str) -> Code {
        self.ask(Request::new(Method::Put, path).with_payload(0, text.as_bytes().to_vec())).code
    }

    pub(crate) fn execute(&mut self, path: &str) -> Code {
        self.ask(Request::new(Method::Post, path)).code
    }

    /// Sends a package to the end.
    pub(crate) fn push(&mut self, image: &[u8]) -> Code {
        self.image = image.to_vec();
        let now = self.now();
        let mut request = Request::new(Method::Put, "/5/0/0");
        request.options.set_uint(number::CONTENT_FORMAT, 42);
        let id = self.peer.as_mut().unwrap().1.push(now, request, image.len() as u64).unwrap();
        self.until("the package's end", |server| server.answers.remove(&id)).unwrap().code
    }

    /// Waits until object 5 is in a state with a result.
    pub(crate) fn until_firmware(&mut self, state: &str, result: &str) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let is = (self.read("/5/0/3"), self.read("/5/0/5"));
            if is == (state.to_owned(), result.to_owned()) {
                return;
            }
            assert!(Instant::now() < give_up, "state and result are {is:?}, not {state} and {result}");
            let wait = Instant::now() + Duration::from_millis(50);
            while Instant::now() < wait {
                self.turn();
            }
        }
    }

    fn turn(&mut self) {
        let (now, since) = (self.now(), self.began.elapsed());
        let mut buffer = [0; 2048];
        if let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            self.sessions.handle_datagram(since, from, &buffer[..length]);
        }
        self.sessions.handle_timeout(since);
        while let Some(heard) = self.sessions.poll_event() {
            match heard {
                Heard::Connected { session, identity, .. } => {
                    self.peer = Some((session, Peer::new([9; 32], Arc::new(Config::default()))));
                    self.identity = Some(identity);
                }
                Heard::Received { session, data } => {
                    let peer = self.peer.as_mut().filter(|(latest, _)| *latest == session);
                    peer.unwrap().1.handle_datagram(now, &data);
                }
                Heard::Refused { failure, .. } => self.refusals.push(failure),
                Heard::Moved { .. } | Heard::Closed { .. } => {}
            }
        }
        if let Some((_, peer)) = &mut self.peer {
            peer.handle_timeout(now);
        }
        while let Some(event) = self.peer.as_mut().and_then(|(_, peer)| peer.poll_event()) {
            self.handle(now, event);
        }
        if let Some((session, peer)) = &mut self.peer {
            while let Some(datagram) = peer.poll_transmit() {
                // A session that has just ended takes nothing more.
                let _ = self.sessions.send(since, *session, &datagram);
            }
        }
        while let Some((to, datagram)) = self.sessions.poll_transmit() {
            self.socket.send_to(&datagram, to).unwrap();
        }
    }

    fn handle(&mut self, now: Moment, event: Event) {
        match event {
            Event::Request { exchange, request } => self.answer(now, exchange, &request),
            Event::Response { id, response } => {
                self.answers.insert(id, Ok(response));
            }
            Event::Failed { id, failure } => {
                self.answers.insert(id, Err(failure.to_string()));
            }
            Event::WantBlock { id, offset, length } => {
                let from = usize::try_from(offset).unwrap();
                let bytes = self.image[from..from + length].to_vec();
                self.peer.as_mut().unwrap().1.supply(now, id, &bytes).unwrap();
            }
            Event::Notification { .. } | Event::Unobserved { .. } | Event::Pong { .. } => {}
        }
    }

    fn answer(&mut self, now: Moment, exchange: Exchange, request: &Request) {
        let response = match (request.method, request.path().as_str()) {
            (Method::Post, "/rd") => {
                assert_eq!(request.query("ep"), Some("device-1"));
                self.lifetime = request.query("lt").map(str::to_owned);
                if let Some(code) = self.refusal {
                    self.refused += 1;
                    Response::new(code)
                } else {
                    self.registrations += 1;
                    Response::new(Code::CREATED).with_location(&format!("/rd/{}", self.registrations))
                }
            }
            (Method::Post, _) => Response::new(Code::CHANGED),
            (Method::Delete, _) => {
                self.farewells += 1;
                Response::new(Code::DELETED)
            }
            (Method::Get, "/f") if self.blocks.len() >= self.blocks_max => return,
            (Method::Get, "/f") => {
                let (file, etag) = &self.file;
                match block::serve(request.block2(), file.len() as u64, BlockSize::MAX) {
                    Ok(slice) => {
                        self.blocks.push(slice.offset);
                        let from = usize::try_from(slice.offset).unwrap();
                        slice.response(42, etag, file[from..from + slice.length].to_vec())
                    }
                    Err(code) => Response::new(code),
                }
            }
            (_, _) => Response::new(Code::NOT_FOUND),
        };
        self.peer.as_mut().unwrap().1.respond(now, exchange, response);
    }
}
