//! A server, clients, and a network that does what the test says, on virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use updraft_dtls::{
    Client, ClientConfig, ClientCredential, ClientEvent, Event, Failure, Lookup, PreSharedKey, Server,
    ServerConfig, SessionId, Sessions,
};

/// The key that goes by each name in these tests.
pub(crate) fn key_of(name: &str) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.resize(16, b'.');
    key
}

/// A server that knows the names "device-…", and cannot tell for now of "later-…".
pub(crate) fn server_config() -> ServerConfig {
    ServerConfig::psk(Box::new(|identity| match std::str::from_utf8(identity) {
        Ok(name) if name.starts_with("device-") => Lookup::Key(key_of(name)),
        Ok(name) if name.starts_with("later-") => Lookup::Unavailable,
        _ => Lookup::Unknown,
    }))
}

pub(crate) fn client_config(name: &str) -> ClientConfig {
    let (identity, key) = (name.as_bytes().to_vec(), key_of(name));
    ClientConfig::new(ClientCredential::Psk(PreSharedKey { identity, key }))
}

/// The address with this number.
pub(crate) fn address(number: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 10_000 + number))
}

/// Which way a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

/// What the network does with a datagram.
type Network = Box<dyn FnMut(Way, &[u8]) -> bool>;

pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) server: Server,
    pub(crate) clients: BTreeMap<SocketAddr, Client>,
    /// Whether a datagram arrives.
    pub(crate) network: Network,
    pub(crate) events: Vec<Event>,
    pub(crate) client_events: Vec<(SocketAddr, ClientEvent)>,
    /// All that clients have sent, with where from.
    pub(crate) sent: Vec<(SocketAddr, Vec<u8>)>,
    /// All that the server has sent, with where to.
    pub(crate) answered: Vec<(SocketAddr, Vec<u8>)>,
}

impl World {
    pub(crate) fn new(config: ServerConfig) -> Self {
        Self {
            // Not the beginning of time, so that what is as old as time would show.
            now: Duration::from_secs(1_000_000),
            server: Server::new(config).unwrap(),
            clients: BTreeMap::new(),
            network: Box::new(|_, _| true),
            events: Vec::new(),
            client_events: Vec::new(),
            sent: Vec::new(),
            answered: Vec::new(),
        }
    }

    pub(crate) fn psk() -> Self {
        Self::new(server_config())
    }

    /// Lets a client at this address begin, and the network carry what there is to carry.
    pub(crate) fn connect(&mut self, at: SocketAddr, config: &ClientConfig) {
        let mut client = Client::new(config).unwrap();
        client.connect(self.now).unwrap();
        self.clients.insert(at, client);
        self.settle();
    }

    /// Connects a device of this number, from the address of this number. Its session.
    pub(crate) fn device(&mut self, number: u16) -> SessionId {
        self.connect(address(number), &client_config(&format!("device-{number}")));
        self.session_at(address(number)).expect("the device connects")
    }

    pub(crate) fn session_at(&self, at: SocketAddr) -> Option<SessionId> {
        self.server.sessions().find(|session| self.server.address(*session) == Some(at))
    }

    /// Carries datagrams until there are none.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut on_their_way = VecDeque::new();
            for (at, client) in &mut self.clients {
                while let Some(datagram) = client.poll_transmit() {
                    on_their_way.push_back((Way::ToServer, *at, datagram));
                }
            }
            while let Some((to, datagram)) = self.server.poll_transmit() {
                on_their_way.push_back((Way::ToClient, to, datagram));
            }
            if on_their_way.is_empty() {
                break;
            }
            for (way, at, datagram) in on_their_way {
                self.carry(way, at, datagram);
            }
            self.collect();
        }
        self.collect();
    }

    fn carry(&mut self, way: Way, at: SocketAddr, datagram: Vec<u8>) {
        let arrives = (self.network)(way, &datagram);
        match way {
            Way::ToServer => {
                if arrives {
                    self.server.handle_datagram(self.now, at, &datagram);
                }
                self.sent.push((at, datagram));
            }
            Way::ToClient => {
                if let Some(client) = self.clients.get_mut(&at).filter(|_| arrives) {
                    client.handle_datagram(self.now, &datagram);
                }
                self.answered.push((at, datagram));
            }
        }
    }

    pub(crate) fn collect(&mut self) {
        self.events.extend(std::iter::from_fn(|| self.server.poll_event()));
        for (at, client) in &mut self.clients {
            self.client_events.extend(std::iter::from_fn(|| client.poll_event()).map(|event| (*at, event)));
        }
    }

    /// Lets time pass, from one thing that is due to the next.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let clients = self.clients.values().filter_map(Client::poll_timeout);
            let due = clients.chain(self.server.poll_timeout()).min().filter(|due| *due <= end);
            let Some(due) = due else { break };
            self.now = self.now.max(due) + Duration::from_millis(1);
            self.server.handle_timeout(self.now);
            for client in self.clients.values_mut() {
                client.handle_timeout(self.now);
            }
            self.settle();
        }
        self.now = self.now.max(end);
        self.server.handle_timeout(self.now);
        self.settle();
    }

    /// The device at this address sends these bytes; whether the server has received them.
    pub(crate) fn speaks(&mut self, at: SocketAddr, data: &[u8]) -> bool {
        let before = self.events.len();
        self.clients.get_mut(&at).unwrap().send(self.now, data).unwrap();
        self.settle();
        self.events[before..]
            .iter()
            .any(|event| matches!(event, Event::Received { data: got, .. } if got == data))
    }

    /// The server sends these bytes; whether a device has received them.
    pub(crate) fn answers(&mut self, session: SessionId, data: &[u8]) -> bool {
        let before = self.client_events.len();
        self.server.send(self.now, session, data).unwrap();
        self.settle();
        let received = ClientEvent::Received(data.to_vec());
        self.client_events[before..].iter().any(|(_, event)| *event == received)
    }

    /// Puts the device somewhere else, as a NAT does.
    pub(crate) fn moves(&mut self, from: SocketAddr, to: SocketAddr) {
        let client = self.clients.remove(&from).unwrap();
        self.clients.insert(to, client);
    }

    pub(crate) fn failures(&self) -> Vec<Failure> {
        let failure = |event: &Event| match event {
            Event::Refused { failure, .. } => Some(*failure),
            Event::Connected { .. } | Event::Received { .. } | Event::Moved { .. } | Event::Closed { .. } => {
                None
            }
        };
        self.events.iter().filter_map(failure).collect()
    }

    pub(crate) fn refusals(&self) -> Vec<Failure> {
        let refusal = |(_, event): &(SocketAddr, ClientEvent)| match event {
            ClientEvent::Refused(failure) => Some(*failure),
            ClientEvent::Connected | ClientEvent::Received(_) | ClientEvent::Closed(_) => None,
        };
        self.client_events.iter().filter_map(refusal).collect()
    }
}
