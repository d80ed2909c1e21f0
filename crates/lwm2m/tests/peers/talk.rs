//! A peer on a real socket, in real time, and all that was said.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use updraft_lwm2m::Moment;
use updraft_lwm2m::coap::{Config, Download, Event, Failure, Peer, Progress, Request, RequestId, Response};

use crate::program::TIME_MAX;

/// Longest wait for a datagram before the time is looked at again.
const TICK: Duration = Duration::from_millis(5);
/// How often a peer that is only starting is asked whether it is there.
const KNOCKS_MAX: u32 = 600;

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// This end.
    Us,
    /// The other's.
    Them,
}

/// Us and one peer of another's.
pub(crate) struct Talk {
    socket: UdpSocket,
    pub(crate) peer: Peer,
    /// Where the other is; known from its first datagram on, if it is the client.
    other: Option<SocketAddr>,
    began: Instant,
    /// Every datagram, in order.
    pub(crate) said: Vec<(By, Vec<u8>)>,
}

impl Talk {
    fn new(other: Option<SocketAddr>, config: Config) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(TICK)).unwrap();
        let seed = std::array::from_fn(|at| at as u8 ^ socket.local_addr().unwrap().port() as u8);
        let peer = Peer::new(seed, Arc::new(config));
        Self { socket, peer, other, began: Instant::now(), said: Vec::new() }
    }

    /// As the client of a server on this port, which is waited for.
    pub(crate) fn with_server(port: u16, config: Config) -> Self {
        let mut talk = Self::new(Some(SocketAddr::from(([127, 0, 0, 1], port))), config);
        talk.knock();
        talk
    }

    /// As the server of whoever comes.
    pub(crate) fn with_client(config: Config) -> Self {
        Self::new(None, config)
    }

    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    pub(crate) fn now(&self) -> Moment {
        Moment(0).plus(self.began.elapsed())
    }

    /// Sends an empty datagram of four bytes, a ping, until something comes back: the server is up.
    fn knock(&mut self) {
        let mut buffer = [0; 64];
        for _ in 0..KNOCKS_MAX {
            // Refused while nobody listens.
            let _ = self.socket.send_to(&[0x40, 0, 0xff, 0xff], self.other.unwrap());
            if self
                .socket
                .recv_from(&mut buffer)
                .is_ok_and(|(length, _)| buffer[..length] == [0x70, 0, 0xff, 0xff])
            {
                // Further answers to earlier knocks.
                while self.socket.recv_from(&mut buffer).is_ok() {}
                return;
            }
            std::thread::sleep(TICK);
        }
        panic!("the server does not start");
    }

    /// Sends what there is to send, waits for a datagram for a moment, and looks at the time.
    pub(crate) fn step(&mut self) {
        while let Some(datagram) = self.peer.poll_transmit() {
            self.socket.send_to(&datagram, self.other.unwrap()).unwrap();
            self.said.push((By::Us, datagram));
        }
        let mut buffer = [0; 2048];
        if let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            let other = *self.other.get_or_insert(from);
            assert_eq!(other, from, "one peer at a time");
            self.said.push((By::Them, buffer[..length].to_vec()));
            let now = self.now();
            self.peer.handle_datagram(now, &buffer[..length]);
        }
        let now = self.now();
        if self.peer.poll_timeout().is_some_and(|due| due <= now) {
            self.peer.handle_timeout(now);
        }
    }

    /// The next thing that happens.
    pub(crate) fn next_event(&mut self) -> Event {
        loop {
            if let Some(event) = self.peer.poll_event() {
                return event;
            }
            assert!(
                self.began.elapsed() < TIME_MAX,
                "takes longer than {TIME_MAX:?}: {:?}",
                self.said.last()
            );
            self.step();
        }
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, request: Request) -> Response {
        let now = self.now();
        let asked = self.peer.request(now, request).unwrap();
        self.answer_to(asked).unwrap()
    }

    pub(crate) fn answer_to(&mut self, asked: RequestId) -> Result<Response, Failure> {
        match self.next_event() {
            Event::Response { id, response } => {
                assert_eq!(id, asked);
                Ok(response)
            }
            Event::Failed { id, failure } => {
                assert_eq!(id, asked);
                Err(failure)
            }
            event => panic!("{event:?}"),
        }
    }

    /// Fetches what is left of a download.
    pub(crate) fn fetch(&mut self, download: &mut Download) -> Vec<u8> {
        let mut fetched = Vec::new();
        loop {
            let response = self.ask(download.next_request().unwrap());
            match download.handle_response(response) {
                Progress::Bytes(bytes) => fetched.extend(bytes),
                Progress::Last(bytes) => {
                    fetched.extend(bytes);
                    return fetched;
                }
                progress => panic!("{progress:?}"),
            }
        }
    }

    /// Sends a body block by block from `body`; the answer.
    pub(crate) fn push(&mut self, request: Request, body: &[u8]) -> Response {
        let now = self.now();
        let pushed = self.peer.push(now, request, body.len() as u64).unwrap();
        loop {
            match self.next_event() {
                Event::WantBlock { id, offset, length } => {
                    let offset = usize::try_from(offset).unwrap();
                    let now = self.now();
                    self.peer.supply(now, id, &body[offset..offset + length]).unwrap();
                }
                Event::Response { id, response } => {
                    assert_eq!(id, pushed);
                    return response;
                }
                event => panic!("{event:?}"),
            }
        }
    }
}

/// A body in which each block is another.
pub(crate) fn body(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8 ^ (at / 1024) as u8).collect()
}
