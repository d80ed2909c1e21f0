//! Any sequence of datagrams, moments and commands at the server's end of DTLS: of four devices that shake hands, speak and
//! move, of whoever changes what they said, and of strangers with bytes of their own. Nothing panics, what is held is bounded,
//! an address that has not shown that it hears is not amplified to, and handshakes come to an end.
//!
//! Keys and cookies are random, so a finding may need some runs to come again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;
use updraft_dtls::{
    Client, ClientConfig, ClientCredential, Event, Lookup, PreSharedKey, Server, ServerConfig, SessionId,
    Sessions,
};

/// Devices; the last one has a wrong key.
const DEVICES: u8 = 4;
/// Smaller limits than in service: what holds for few holds by the same code for many.
const HALF_OPEN_MAX: usize = 5;
const SESSIONS_MAX: usize = 4;
const AWAKE_MAX: usize = 2;
/// Datagrams that are kept for changing, and that are on their way.
const KEPT_MAX: usize = 64;
/// What an address that has not shown that it hears gets for what it sends.
const AMPLIFICATION_MAX: usize = 3;

/// Where a device is, or a stranger.
fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, number % 3, 1], 10_000 + u16::from(number)))
}

fn server() -> Server {
    let lookup = |identity: &[u8]| match identity {
        [b'd', number] => Lookup::Key(vec![*number; 16]),
        [b'l', ..] => Lookup::Unavailable,
        _ => Lookup::Unknown,
    };
    let mut config = ServerConfig::psk(Box::new(lookup));
    (config.half_open_max, config.half_open_per_source_max) = (HALF_OPEN_MAX, 3);
    (config.handshakes_per_second_and_source, config.handshakes_at_once_per_source) = (2, 20);
    (config.sessions_max, config.sessions_per_identity_max, config.awake_max) = (SESSIONS_MAX, 2, AWAKE_MAX);
    Server::new(config).expect("keys are enough")
}

fn client(number: u8) -> Client {
    let key = if number + 1 == DEVICES { vec![0xEE; 16] } else { vec![number; 16] };
    let key = PreSharedKey { identity: vec![b'd', number], key };
    Client::new(&ClientConfig::new(ClientCredential::Psk(key))).expect("a key is enough")
}

struct World {
    now: Duration,
    server: Server,
    devices: Vec<(SocketAddr, Client)>,
    /// On their way to the server, with where from.
    coming: VecDeque<(SocketAddr, Vec<u8>)>,
    /// On their way to a device.
    going: VecDeque<(SocketAddr, Vec<u8>)>,
    /// What was said of late, by both.
    kept: VecDeque<Vec<u8>>,
    /// The cookies that an address was sent, and the addresses that have brought one back.
    cookies: BTreeMap<SocketAddr, Vec<Vec<u8>>>,
    proven: BTreeSet<SocketAddr>,
    /// Where sessions have moved to by their connection ID, which proves who speaks and not that it hears.
    moved_to: BTreeSet<SocketAddr>,
}

impl World {
    fn new() -> Self {
        let devices = (0..DEVICES).map(|number| (address(number), client(number))).collect();
        Self {
            now: Duration::from_secs(1_000),
            server: server(),
            devices,
            coming: VecDeque::new(),
            going: VecDeque::new(),
            kept: VecDeque::new(),
            cookies: BTreeMap::new(),
            proven: BTreeSet::new(),
            moved_to: BTreeSet::new(),
        }
    }

    /// The server hears a datagram.
    fn tell(&mut self, from: SocketAddr, datagram: &[u8]) {
        let brings = |cookie: &Vec<u8>| datagram.windows(cookie.len()).any(|window| window == cookie);
        if self.cookies.get(&from).is_some_and(|cookies| cookies.iter().any(brings)) {
            self.proven.insert(from);
        }
        self.server.handle_datagram(self.now, from, datagram);
        let sent = self.collect();
        for to in sent.keys() {
            // A session's peer is answered where its session is, even if this came from where it was.
            let has_session = self.proven.contains(to) || self.moved_to.contains(to);
            assert!(*to == from || has_session, "somebody else was answered");
        }
        if !self.proven.contains(&from) {
            let bytes = sent.get(&from).copied().unwrap_or(0);
            assert!(bytes <= AMPLIFICATION_MAX * datagram.len(), "{bytes} bytes for {}", datagram.len());
        }
    }

    /// Takes what the server has to send and to tell; gives the bytes for each address.
    fn collect(&mut self) -> BTreeMap<SocketAddr, usize> {
        let mut sent = BTreeMap::new();
        while let Some((to, datagram)) = self.server.poll_transmit() {
            *sent.entry(to).or_insert(0) += datagram.len();
            // HelloVerifyRequest: headers of record and message, version, length of the cookie, cookie.
            if datagram.len() > 28 && datagram[0] == 22 && datagram[13] == 3 {
                self.cookies.entry(to).or_default().push(datagram[28..].to_vec());
            }
            keep(&mut self.kept, datagram.clone());
            keep(&mut self.going, (to, datagram));
        }
        while let Some(event) = self.server.poll_event() {
            if let Event::Moved { address, .. } = event {
                self.moved_to.insert(address);
            }
        }
        let counts = self.server.counts();
        assert!(counts.half_open <= HALF_OPEN_MAX, "{counts:?}");
        assert!(counts.awake <= AWAKE_MAX && counts.awake + counts.asleep <= SESSIONS_MAX, "{counts:?}");
        sent
    }

    /// What devices have to send is on its way.
    fn listen(&mut self) {
        for (at, client) in &mut self.devices {
            while let Some(datagram) = client.poll_transmit() {
                keep(&mut self.kept, datagram.clone());
                keep(&mut self.coming, (*at, datagram));
            }
            while client.poll_event().is_some() {}
        }
    }

    /// The next datagram arrives, each way.
    fn carry(&mut self) {
        if let Some((from, datagram)) = self.coming.pop_front() {
            self.tell(from, &datagram);
        }
        if let Some((to, datagram)) = self.going.pop_front()
            && let Some((_, client)) = self.devices.iter_mut().find(|(at, _)| *at == to)
        {
            client.handle_datagram(self.now, &datagram);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.server.handle_timeout(self.now);
        for to in self.collect().into_keys() {
            assert!(self.proven.contains(&to), "who has not shown that it hears is sent nothing again");
        }
        for (_, client) in &mut self.devices {
            client.handle_timeout(self.now);
        }
    }

    fn session(&self, choice: u8) -> Option<SessionId> {
        let all = self.server.ids();
        all.get(usize::from(choice) % all.len().max(1)).copied()
    }

    /// A command to a device or the server.
    fn command(&mut self, verb: u8, choice: u8) {
        let device = usize::from(choice % DEVICES);
        match verb % 6 {
            0 => self.devices[device].1.connect(self.now).expect("there is memory"),
            1 => drop(self.devices[device].1.send(self.now, &vec![choice; usize::from(choice) * 4])),
            2 => {
                // Behind a gateway that forgot it, or in the place of another.
                let there = address(choice % 16);
                if self.devices.iter().all(|(at, _)| *at != there) {
                    self.devices[device].0 = there;
                }
            }
            3 => {
                if let Some(session) = self.session(choice) {
                    let _closed = self.server.send(self.now, session, &vec![choice; 32]);
                }
            }
            4 => {
                if let Some(snapshot) = self.session(choice).and_then(|session| self.server.save(session)) {
                    let _taken = self.server.restore(self.now, snapshot);
                }
            }
            _ => {
                if let Some(session) = self.session(choice) {
                    self.server.close(self.now, session);
                }
            }
        }
        self.collect();
    }

    /// One of the datagrams kept, changed as `edits` say: pairs of a place and what is done there.
    fn changed(&self, choice: u8, edits: &[u8]) -> Vec<u8> {
        let Some(mut datagram) = self.kept.get(usize::from(choice) % self.kept.len().max(1)).cloned() else {
            return edits.to_vec();
        };
        for edit in edits.chunks_exact(2) {
            let at = usize::from(edit[0]) % datagram.len().max(1);
            match edit[1] {
                0 => datagram.truncate(at),
                1 => datagram.extend(self.kept[usize::from(edit[0]) % self.kept.len()].clone()),
                change => datagram.get_mut(at).into_iter().for_each(|byte| *byte ^= change),
            }
        }
        datagram
    }
}

/// A network, and a memory, that hold no more than this.
fn keep<T>(queue: &mut VecDeque<T>, one: T) {
    queue.push_back(one);
    if queue.len() > KEPT_MAX {
        queue.pop_front();
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut world = World::new();
    let mut rest = bytes;
    while let [verb, choice, after @ ..] = rest {
        rest = after;
        match verb {
            0..=99 => world.carry(),
            100..=107 => drop(world.coming.pop_front()),
            108..=115 => drop(world.going.pop_front()),
            116..=139 => world.pass(Duration::from_millis(u64::from(*choice) * 20)),
            140..=143 => world.pass(Duration::from_secs(u64::from(*choice) * 60)),
            144..=183 => world.command(*verb, *choice),
            184..=231 => {
                let (edits, after) = rest.split_at(usize::from(verb % 8 * 2).min(rest.len()));
                rest = after;
                let datagram = world.changed(*choice, edits);
                world.tell(address(verb % 16), &datagram);
            }
            232..=255 => {
                let (junk, after) = rest.split_at(usize::from(*choice).min(rest.len()));
                rest = after;
                world.tell(address(verb % 16), junk);
            }
        }
        world.listen();
    }
    // Nobody speaks any more: what was begun is given up.
    world.pass(Duration::from_secs(61));
    world.pass(Duration::from_secs(61));
    assert_eq!(world.server.counts().half_open, 0);
});
