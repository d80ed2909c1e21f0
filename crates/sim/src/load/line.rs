//! One device's way to the server: a socket that is open while there is something to say, and DTLS on it or none.

use super::LoadError;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use updraft_dtls::{Client, ClientConfig, ClientEvent};

/// Largest datagram taken.
pub(super) const DATAGRAM_BYTES_MAX: usize = 2_048;

/// What came of a datagram, or of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// There is a session.
    Connected,
    /// One of CoAP's datagrams.
    Datagram(Vec<u8>),
    /// There is no session, or no more, and why.
    Closed(String),
}

/// The way.
pub(super) struct Line {
    own: SocketAddr,
    server: SocketAddr,
    socket: Option<UdpSocket>,
    /// `None`: without security.
    session: Option<Box<Client>>,
}

impl Line {
    /// A way from one address to another; nothing is sent yet.
    pub(super) fn new(
        own: SocketAddr,
        server: SocketAddr,
        security: Option<&ClientConfig>,
    ) -> Result<Self, LoadError> {
        let session = security.map(Client::new).transpose();
        let session = session.map_err(|error| LoadError::Connect(error.into()))?.map(Box::new);
        Ok(Self { own, server, socket: None, session })
    }

    /// Whether what is sent now is heard as of a device that is known.
    pub(super) fn is_connected(&self) -> bool {
        self.session.as_ref().is_none_or(|session| session.is_connected())
    }

    /// The socket, while it is open.
    pub(super) fn socket(&self) -> Option<&UdpSocket> {
        self.socket.as_ref()
    }

    /// Closes the socket. A session stays.
    pub(super) fn close(&mut self) {
        self.socket = None;
    }

    /// Begins a session anew; without security there is one at once.
    pub(super) async fn connect(&mut self, now: Duration) -> Result<Option<Heard>, LoadError> {
        let Some(session) = &mut self.session else { return Ok(Some(Heard::Connected)) };
        session.connect(now).map_err(|error| LoadError::Connect(error.into()))?;
        self.flush().await?;
        Ok(None)
    }

    /// Sends one of CoAP's datagrams. What cannot be sent is lost, as on any network.
    pub(super) async fn send(&mut self, now: Duration, datagram: &[u8]) -> Result<(), LoadError> {
        match &mut self.session {
            Some(session) => {
                let _ = session.send(now, datagram);
                self.flush().await
            }
            None => self.put(datagram).await,
        }
    }

    /// When time is to be told, if nothing is heard before.
    pub(super) fn due(&self) -> Option<Duration> {
        self.session.as_ref().and_then(|session| session.poll_timeout())
    }

    /// Time has passed.
    pub(super) async fn handle_timeout(&mut self, now: Duration) -> Result<Vec<Heard>, LoadError> {
        let Some(session) = &mut self.session else { return Ok(Vec::new()) };
        session.handle_timeout(now);
        self.events().await
    }

    /// A datagram was received.
    pub(super) async fn handle_datagram(
        &mut self,
        now: Duration,
        datagram: &[u8],
    ) -> Result<Vec<Heard>, LoadError> {
        let Some(session) = &mut self.session else { return Ok(vec![Heard::Datagram(datagram.to_vec())]) };
        session.handle_datagram(now, datagram);
        self.events().await
    }

    async fn events(&mut self) -> Result<Vec<Heard>, LoadError> {
        let mut heard = Vec::new();
        while let Some(event) = self.session.as_mut().and_then(|session| session.poll_event()) {
            heard.push(match event {
                ClientEvent::Connected => Heard::Connected,
                ClientEvent::Received(data) => Heard::Datagram(data),
                ClientEvent::Closed(reason) => Heard::Closed(format!("a session ended: {reason:?}")),
                ClientEvent::Refused(failure) => Heard::Closed(format!("no session: {failure:?}")),
            });
        }
        self.flush().await?;
        Ok(heard)
    }

    /// Sends what DTLS has to send.
    async fn flush(&mut self) -> Result<(), LoadError> {
        while let Some(datagram) = self.session.as_mut().and_then(|session| session.poll_transmit()) {
            self.put(&datagram).await?;
        }
        Ok(())
    }

    async fn put(&mut self, datagram: &[u8]) -> Result<(), LoadError> {
        if self.socket.is_none() {
            self.socket = Some(open(self.own, self.server).await?);
        }
        if let Some(socket) = &self.socket {
            // A closed port loses a datagram as the network may.
            let _ = socket.send(datagram).await;
        }
        Ok(())
    }
}

/// Waits for a datagram; for ever where there is no socket.
pub(super) async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> usize {
    match socket {
        // An error belongs to an earlier datagram: nobody listened there.
        Some(socket) => socket.recv(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

async fn open(own: SocketAddr, server: SocketAddr) -> Result<UdpSocket, LoadError> {
    let failed = |source: std::io::Error| LoadError::Connect(source.into());
    // Only from this machine are there addresses enough; to another server each device has a port that the system gives.
    let own = if server.ip().is_loopback() { own } else { SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0) };
    let socket = match UdpSocket::bind(own).await {
        // Another load on this machine has it.
        Err(error) if error.kind() == ErrorKind::AddrInUse => UdpSocket::bind((own.ip(), 0)).await,
        bound => bound,
    };
    let socket = socket.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    Ok(socket)
}
