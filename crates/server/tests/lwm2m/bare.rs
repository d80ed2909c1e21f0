//! A peer that is no device: CoAP, and the bytes counted.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};
use updraft_lwm2m::Moment;
use updraft_lwm2m::coap::{Code, Config, Event, Peer, Request, Response};

pub(crate) struct Bare {
    socket: UdpSocket,
    peer: Peer,
    began: Instant,
    pub(crate) said: usize,
    pub(crate) heard: usize,
}

/// How a request was answered.
pub(crate) fn code(response: &Response) -> Code {
    response.code
}

impl Bare {
    pub(crate) fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let peer = Peer::new([7; 32], Arc::new(Config::default()));
        Self { socket, peer, began: Instant::now(), said: 0, heard: 0 }
    }

    fn now(&self) -> Moment {
        Moment(u64::try_from(self.began.elapsed().as_millis()).unwrap())
    }

    /// Says something, and sends it.
    pub(crate) fn say(&mut self, request: Request) {
        let now = self.now();
        self.peer.request(now, request).unwrap();
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(datagram) = self.peer.poll_transmit() {
            self.said += datagram.len();
            self.socket.send(&datagram).unwrap();
        }
    }

    fn turn(&mut self) {
        let mut buffer = [0; 2048];
        if let Ok(length) = self.socket.recv(&mut buffer) {
            self.heard += length;
            let now = self.now();
            self.peer.handle_datagram(now, &buffer[..length]);
        }
        let now = self.now();
        self.peer.handle_timeout(now);
        self.flush();
    }

    /// Listens for so long.
    pub(crate) fn listen(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.turn();
        }
    }

    /// Asks, and waits for the answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: Request) -> Response {
        self.say(request);
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            assert!(Instant::now() < end, "no answer");
            self.turn();
            while let Some(event) = self.peer.poll_event() {
                if let Event::Response { response, .. } = event {
                    return response;
                }
            }
        }
    }
}
