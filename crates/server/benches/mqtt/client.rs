//! The load's connections.

use crate::wire::{self, Packet};
use crate::{Outcome, fleet};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rustls_pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

/// Connections made at a time.
const CONNECTING: usize = 64;
/// Devices that share an address of the loopback: with more, the system looks long for a free port.
const DEVICES_PER_ADDRESS: u32 = 4_000;
/// How long one packet may be waited for: a run that stands still ends.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a connection in use reads at once.
const READ_BYTES: usize = 4_096;

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Where to connect, and as whom.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) password: Option<Arc<str>>,
    /// The TLS side of each device, by its number.
    pub(crate) tls: Option<Arc<Vec<Arc<rustls::ClientConfig>>>>,
}

/// One connection.
pub(crate) struct Client {
    pub(crate) number: u32,
    stream: Box<dyn Duplex>,
    input: Vec<u8>,
}

impl Client {
    /// Connects under a name, and is let in.
    pub(crate) async fn connect(door: &Door, number: u32, name: &str) -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        let group = u8::try_from(number / DEVICES_PER_ADDRESS).expect("few addresses");
        socket.bind(([127, 0, 2, 1 + group], 0).into())?;
        let tcp = socket.connect(door.address).await?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Duplex> = match &door.tls {
            None => Box::new(tcp),
            Some(configs) => {
                let config = configs[number as usize % configs.len()].clone();
                let name = ServerName::try_from("localhost").expect("a name");
                Box::new(TlsConnector::from(config).connect(name, tcp).await?)
            }
        };
        let mut client = Self { number, stream, input: Vec::new() };
        client.write(&wire::connect(name, door.password.as_deref())).await?;
        let answer = client.next().await?;
        if matches!(answer, Packet::Connack(true)) {
            Ok(client)
        } else {
            Err(std::io::Error::other(format!("{name} was not let in: {answer:?}")))
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// The next packet.
    pub(crate) async fn next(&mut self) -> std::io::Result<Packet> {
        loop {
            if let Some((packet, length)) = wire::parse(&self.input) {
                self.input.drain(..length);
                if self.input.is_empty() {
                    // An idle connection keeps nothing here either.
                    self.input = Vec::new();
                }
                return Ok(packet);
            }
            self.input.reserve(READ_BYTES);
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await??;
            if read == 0 {
                return Err(std::io::Error::other("the server closed the connection"));
            }
        }
    }

    /// Subscribes, and waits until that is granted.
    pub(crate) async fn subscribe(&mut self, filters: &[String]) -> std::io::Result<()> {
        self.write(&wire::subscribe(1, filters)).await?;
        loop {
            match self.next().await? {
                Packet::Suback(true) => return Ok(()),
                Packet::Suback(false) => return Err(std::io::Error::other("a subscription was refused")),
                Packet::Publish { pid: Some(pid), .. } => self.write(&wire::puback(pid)).await?,
                Packet::Publish { .. } | Packet::Connack(_) | Packet::Puback(_) | Packet::Other => {}
            }
        }
    }
}

/// Connects devices.
pub(crate) async fn connect(door: &Door, numbers: std::ops::Range<u32>) -> Outcome<Vec<Client>> {
    let connecting = stream::iter(numbers)
        .map(|number| async move { Client::connect(door, number, &fleet::id(number)).await });
    Ok(connecting.buffered(CONNECTING).try_collect().await?)
}

/// Subscribes each to its own topics.
pub(crate) async fn subscribe(clients: &mut [Client], filters: impl Fn(u32) -> Vec<String>) -> Outcome<()> {
    let subscribing = stream::iter(clients).map(|client| {
        let filters = filters(client.number);
        async move { client.subscribe(&filters).await }
    });
    Ok(subscribing.buffer_unordered(CONNECTING).try_collect().await?)
}
