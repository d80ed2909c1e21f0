//! Devices as load: they register, answer what they are asked, and update.

use crate::fleet::{self, Shown};
use crate::{Outcome, coap};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::future::Future;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use updraft_dtls::{Client, ClientConfig, ClientCredential, ClientEvent, PreSharedKey};
use updraft_lwm2m::coap::{Code, Message, MessageType, Method, Request};

/// Devices that have something under way at a time.
pub(crate) const AT_ONCE: usize = 64;
/// How long one answer is waited for before the question is asked again, and how often that is done.
const PATIENCE: Duration = Duration::from_secs(3);
const TRIES_MAX: u32 = 6;

/// What remains of a device between its words.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) number: u32,
    location: String,
    last_id: u16,
}

/// A device with its socket open.
pub(crate) struct Device {
    number: u32,
    socket: UdpSocket,
    session: Option<Box<Client>>,
    began: Instant,
    last_id: u16,
    location: String,
    /// How often it was read.
    read: u32,
}

/// Does something with many devices, some at a time.
pub(crate) async fn with_each<T, F: Future<Output = Outcome<T>>>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> F,
) -> Outcome<Vec<T>> {
    stream::iter(items).map(work).buffer_unordered(AT_ONCE).try_collect().await
}

/// As [`with_each`], with devices that are numbers yet.
pub(crate) async fn make_each<T, F: Future<Output = Outcome<T>>>(
    numbers: Range<u32>,
    make: impl Fn(u32) -> F,
) -> Outcome<Vec<T>> {
    stream::iter(numbers).map(make).buffer_unordered(AT_ONCE).try_collect().await
}

impl Device {
    /// Opens the socket of a device.
    pub(crate) async fn open(number: u32, server: SocketAddr) -> Outcome<Self> {
        let address = fleet::address(number);
        let socket = UdpSocket::bind(address).await.map_err(|error| format!("{address}: {error}"))?;
        socket.connect(server).await?;
        let began = Instant::now();
        Ok(Self { number, socket, session: None, began, last_id: 0, location: String::new(), read: 0 })
    }

    /// A device that was here before, without a session.
    pub(crate) async fn reopen(known: &Known, server: SocketAddr) -> Outcome<Self> {
        let mut device = Self::open(known.number, server).await?;
        (device.last_id, device.location) = (known.last_id, known.location.clone());
        Ok(device)
    }

    /// Closes the socket.
    pub(crate) fn close(self) -> Known {
        Known { number: self.number, location: self.location, last_id: self.last_id }
    }

    /// Shakes hands.
    pub(crate) async fn connect(&mut self) -> Outcome<()> {
        let identity = fleet::name(self.number).into_bytes();
        let key = PreSharedKey { identity, key: hex::decode(fleet::KEY)? };
        let mut session = Box::new(Client::new(&ClientConfig::new(ClientCredential::Psk(key)))?);
        session.connect(self.began.elapsed())?;
        let ends = Instant::now() + PATIENCE * TRIES_MAX;
        let mut buffer = [0; 2_048];
        while !session.is_connected() {
            while let Some(datagram) = session.poll_transmit() {
                self.socket.send(&datagram).await?;
            }
            let due = session.poll_timeout().map_or(PATIENCE, |due| due.saturating_sub(self.began.elapsed()));
            match tokio::time::timeout(due, self.socket.recv(&mut buffer)).await {
                Ok(length) => session.handle_datagram(self.began.elapsed(), &buffer[..length?]),
                Err(_) => session.handle_timeout(self.began.elapsed()),
            }
            if Instant::now() > ends {
                return Err(format!("{}: no handshake", fleet::name(self.number)).into());
            }
        }
        while let Some(datagram) = session.poll_transmit() {
            self.socket.send(&datagram).await?;
        }
        self.session = Some(session);
        Ok(())
    }

    /// Registers, and is read as often as the server reads such a device.
    pub(crate) async fn register(&mut self, shown: Shown, reads: u32) -> Outcome<()> {
        self.location = self.ask(&fleet::registration(self.number, shown), Code::CREATED).await?;
        let ends = Instant::now() + PATIENCE * TRIES_MAX;
        while self.read < reads {
            if Instant::now() > ends {
                return Err(format!("{} was read {} times", fleet::name(self.number), self.read).into());
            }
            self.receive(None).await?;
        }
        Ok(())
    }

    /// Renews the registration.
    pub(crate) async fn update(&mut self) -> Outcome<()> {
        let request = Request::new(Method::Post, &self.location);
        self.ask(&request, Code::CHANGED).await.map(|_| ())
    }

    /// Asks, and gives the location that the answer names.
    async fn ask(&mut self, request: &Request, expected: Code) -> Outcome<String> {
        self.last_id = self.last_id.wrapping_add(1);
        let datagram = coap::request(self.last_id, request);
        for _ in 0..TRIES_MAX {
            self.send(&datagram).await?;
            if let Some((code, location)) = self.receive(Some(self.last_id)).await? {
                if code == expected {
                    return Ok(location);
                }
                return Err(format!("{} was answered {code:?}", fleet::name(self.number)).into());
            }
        }
        Err(format!("{} was not answered", fleet::name(self.number)).into())
    }

    async fn send(&mut self, data: &[u8]) -> Outcome<()> {
        let Some(session) = &mut self.session else {
            self.socket.send(data).await?;
            return Ok(());
        };
        session.send(self.began.elapsed(), data)?;
        while let Some(datagram) = session.poll_transmit() {
            self.socket.send(&datagram).await?;
        }
        Ok(())
    }

    /// Takes datagrams, and answers what is asked in them, until one answers the request of this ID, or until one that asks
    /// is answered if there is none; `None` if nothing such came in time.
    async fn receive(&mut self, id: Option<u16>) -> Outcome<Option<(Code, String)>> {
        let ends = tokio::time::Instant::now() + PATIENCE;
        let mut buffer = [0; 2_048];
        loop {
            let Ok(length) = tokio::time::timeout_at(ends, self.socket.recv(&mut buffer)).await else {
                return Ok(None);
            };
            for data in self.open_records(&buffer[..length?]) {
                let message = Message::parse(&data)?;
                let is_answer = message.code.is_response()
                    && Some(message.token.as_bytes())
                        == id.map(u16::to_be_bytes).as_ref().map(|token| &token[..]);
                if is_answer {
                    let location =
                        message.options.all(8).map(|part| format!("/{}", String::from_utf8_lossy(part)));
                    return Ok(Some((message.code, location.collect())));
                }
                if message.kind == MessageType::Confirmable {
                    let answer = coap::answer(&message, self.number)?;
                    self.read += 1;
                    self.send(&answer).await?;
                    if id.is_none() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn open_records(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let Some(session) = &mut self.session else { return vec![datagram.to_vec()] };
        session.handle_datagram(self.began.elapsed(), datagram);
        let mut data = Vec::new();
        while let Some(event) = session.poll_event() {
            match event {
                ClientEvent::Received(bytes) => data.push(bytes),
                ClientEvent::Connected | ClientEvent::Closed(_) | ClientEvent::Refused(_) => {}
            }
        }
        data
    }
}
