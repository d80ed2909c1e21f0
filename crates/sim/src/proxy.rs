//! A UDP proxy that stands for a bad network: it loses, delays, reorders and withholds datagrams between real programs, and
//! gives devices other source ports, as a NAT does that has forgotten them.
//!
//! Each client is given a socket of its own towards the server, so the server sees one address for each. What happens to
//! the n-th datagram of a direction depends on the seed alone.
//!
//! Deliberately absent: doubling, limits of bandwidth.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::random::Random;

/// How often a thread that waits for a datagram looks whether it should end.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Longest datagram: what UDP can carry.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// What happens to datagrams on their way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// How many of a thousand are lost, each way.
    pub lost_per_mille: u64,
    /// How long each takes, one way.
    pub delay: Duration,
    /// How many of a thousand take so much longer that what is sent after them arrives before them.
    pub late_per_mille: u64,
    /// How much longer those take.
    pub late_by: Duration,
}

/// What has happened to datagrams so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent on.
    pub carried: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Of those sent on, the late ones.
    pub late: u64,
    /// Withheld in a blackout.
    pub withheld: u64,
}

/// A proxy in front of one server. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    front: UdpSocket,
    server: SocketAddr,
    road: Mutex<Road>,
    clients: Mutex<BTreeMap<SocketAddr, Arc<Behind>>>,
    /// Told when something is put on its way.
    put: Condvar,
    ended: AtomicBool,
}

/// What all directions have in common.
#[derive(Debug)]
struct Road {
    weather: Weather,
    is_dark: bool,
    to_server: Random,
    to_clients: Random,
    counts: Counts,
    /// On their way, the next to arrive on top; numbered, so that equals keep their order.
    on_the_way: BinaryHeap<Reverse<(Instant, u64, Parcel)>>,
    put: u64,
}

/// A datagram, and how it leaves. Ordered only because the heap asks for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Parcel {
    client: SocketAddr,
    way: Way,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    ToServer,
    ToClient,
}

/// A client's socket towards the server.
#[derive(Debug)]
struct Behind {
    socket: UdpSocket,
    retired: AtomicBool,
}

impl Proxy {
    /// A proxy on a loopback port of the system's choosing, in front of `server`.
    ///
    /// # Errors
    /// If there is no socket or thread to be had.
    pub fn start(server: SocketAddr, weather: Weather, seed: u64) -> io::Result<Self> {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        front.set_read_timeout(Some(LOOK_INTERVAL))?;
        let mut random = Random::new(seed);
        let road = Road {
            weather,
            is_dark: false,
            to_server: random.branch(),
            to_clients: random.branch(),
            counts: Counts::default(),
            on_the_way: BinaryHeap::new(),
            put: 0,
        };
        let shared = Arc::new(Shared {
            front,
            server,
            road: Mutex::new(road),
            clients: Mutex::new(BTreeMap::new()),
            put: Condvar::new(),
            ended: AtomicBool::new(false),
        });
        let (reader, carrier) = (Arc::clone(&shared), Arc::clone(&shared));
        let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let threads = vec![
            spawn("proxy-front").spawn(move || reader.read_front())?,
            spawn("proxy-carrier").spawn(move || carrier.carry())?,
        ];
        Ok(Self { shared, threads })
    }

    /// Where clients find the server.
    ///
    /// # Panics
    /// Never: the socket is bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.front.local_addr().expect("the socket is bound")
    }

    /// Changes the weather, for what is sent from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.shared.road().weather = weather;
    }

    /// Lets nothing through, either way, until told otherwise. What is on its way arrives.
    pub fn set_dark(&self, is_dark: bool) {
        self.shared.road().is_dark = is_dark;
    }

    /// Forgets who is behind which port: each client has another one with its next datagram, and what the server sends to
    /// the former ones is lost.
    pub fn change_ports(&self) {
        for behind in std::mem::take(&mut *self.shared.clients()).into_values() {
            behind.retired.store(true, Ordering::Relaxed);
        }
    }

    /// What has happened to datagrams so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.road().counts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.change_ports();
        self.shared.put.notify_all();
        for thread in self.threads.drain(..) {
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn road(&self) -> MutexGuard<'_, Road> {
        self.road.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clients(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Arc<Behind>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Takes what clients send.
    fn read_front(self: Arc<Self>) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while !self.has_ended() {
            // A timeout, or word of a client's port that has closed.
            let Ok((length, client)) = self.front.recv_from(&mut buffer) else { continue };
            self.put(Parcel { client, way: Way::ToServer, bytes: buffer[..length].to_vec() });
        }
    }

    /// Takes what the server sends to one client.
    fn read_behind(&self, client: SocketAddr, behind: &Behind) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while !behind.retired.load(Ordering::Relaxed) {
            let Ok(length) = behind.socket.recv(&mut buffer) else { continue };
            if !behind.retired.load(Ordering::Relaxed) {
                self.put(Parcel { client, way: Way::ToClient, bytes: buffer[..length].to_vec() });
            }
        }
    }

    /// Puts a datagram on its way, or not.
    fn put(&self, parcel: Parcel) {
        let mut road = self.road();
        let Weather { lost_per_mille, delay, late_per_mille, late_by } = road.weather;
        let random = match parcel.way {
            Way::ToServer => &mut road.to_server,
            Way::ToClient => &mut road.to_clients,
        };
        // Drawn in any case, so that a blackout does not change what happens after it.
        let (is_lost, is_late) = (random.chance(lost_per_mille), random.chance(late_per_mille));
        if road.is_dark {
            road.counts.withheld += 1;
        } else if is_lost {
            road.counts.lost += 1;
        } else {
            road.counts.carried += 1;
            road.put += 1;
            road.counts.late += u64::from(is_late);
            let delay = if is_late { delay + late_by } else { delay };
            let entry = (Instant::now() + delay, road.put, parcel);
            road.on_the_way.push(Reverse(entry));
            self.put.notify_one();
        }
    }

    /// Hands over what has arrived.
    fn carry(self: Arc<Self>) {
        let mut road = self.road();
        while !self.has_ended() {
            let now = Instant::now();
            match road.on_the_way.peek().map(|Reverse((due, ..))| *due) {
                Some(due) if due <= now => {
                    let Some(Reverse((.., parcel))) = road.on_the_way.pop() else { continue };
                    drop(road);
                    self.hand_over(&parcel);
                    road = self.road();
                }
                Some(due) => {
                    let waited = self.put.wait_timeout(road, due - now);
                    road = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {
                    let waited = self.put.wait_timeout(road, LOOK_INTERVAL);
                    road = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// What cannot be sent is lost, as on any road.
    fn hand_over(self: &Arc<Self>, parcel: &Parcel) {
        match parcel.way {
            Way::ToServer => {
                if let Ok(behind) = self.behind(parcel.client) {
                    let _ = behind.socket.send(&parcel.bytes);
                }
            }
            Way::ToClient => {
                let _ = self.front.send_to(&parcel.bytes, parcel.client);
            }
        }
    }

    /// The client's socket towards the server; opened, if it has none.
    fn behind(self: &Arc<Self>, client: SocketAddr) -> io::Result<Arc<Behind>> {
        let mut clients = self.clients();
        if let Some(behind) = clients.get(&client) {
            return Ok(Arc::clone(behind));
        }
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(self.server)?;
        socket.set_read_timeout(Some(LOOK_INTERVAL))?;
        let behind = Arc::new(Behind { socket, retired: AtomicBool::new(false) });
        let (shared, reads) = (Arc::clone(self), Arc::clone(&behind));
        std::thread::Builder::new()
            .name("proxy-behind".to_owned())
            .spawn(move || shared.read_behind(client, &reads))?;
        clients.insert(client, Arc::clone(&behind));
        Ok(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longest wait for what must come.
    const WAIT_MAX: Duration = Duration::from_secs(10);

    /// A server, a proxy before it, and a client.
    fn line(weather: Weather, seed: u64) -> (UdpSocket, Proxy, UdpSocket) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(server.local_addr().unwrap(), weather, seed).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(proxy.address()).unwrap();
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
        }
        (server, proxy, client)
    }

    /// Which of the numbers 0 to 199 arrive at a server, sent one after another.
    fn arriving(seed: u64) -> Vec<u8> {
        let (server, proxy, client) = line(Weather { lost_per_mille: 100, ..Weather::default() }, seed);
        for number in 0..200 {
            client.send(&[number]).unwrap();
        }
        let decided = || proxy.counts().carried + proxy.counts().lost;
        let began = Instant::now();
        while decided() < 200 {
            assert!(began.elapsed() < WAIT_MAX);
            std::thread::yield_now();
        }
        let mut buffer = [0; 8];
        (0..proxy.counts().carried)
            .map(|_| {
                server.recv_from(&mut buffer).unwrap();
                buffer[0]
            })
            .collect()
    }

    #[test]
    fn what_is_lost_depends_on_the_seed_alone() {
        let first = arriving(7);
        assert_eq!(first, arriving(7));
        assert_ne!(first, arriving(8));
        assert!((160..200).contains(&first.len()), "about a tenth is lost: {} arrive", first.len());
    }

    #[test]
    fn each_way_takes_its_time_and_keeps_the_order() {
        let delay = Duration::from_millis(50);
        let (server, _proxy, client) = line(Weather { delay, ..Weather::default() }, 1);
        let began = Instant::now();
        client.send(b"one").unwrap();
        client.send(b"two").unwrap();
        let mut buffer = [0; 8];
        let (_, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..3], b"one");
        assert!(began.elapsed() >= delay);
        server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..3], b"two");
        server.send_to(b"back", from).unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 4);
        assert!(began.elapsed() >= 2 * delay);
    }

    #[test]
    fn what_is_late_is_overtaken() {
        let weather =
            Weather { late_per_mille: 200, late_by: Duration::from_millis(300), ..Weather::default() };
        let (server, proxy, client) = line(weather, 3);
        for number in 0..50 {
            client.send(&[number]).unwrap();
        }
        let mut buffer = [0; 8];
        let arrived: Vec<u8> = (0..50)
            .map(|_| {
                server.recv_from(&mut buffer).unwrap();
                buffer[0]
            })
            .collect();
        let late = usize::try_from(proxy.counts().late).unwrap();
        assert!((1..50).contains(&late), "{late}");
        let (first, last) = arrived.split_at(50 - late);
        assert!(first.is_sorted() && last.is_sorted() && !arrived.is_sorted(), "{arrived:?}");
    }

    #[test]
    fn a_client_keeps_its_port_until_ports_change_and_is_not_reached_at_the_former_one() {
        let (server, proxy, client) = line(Weather::default(), 1);
        let mut buffer = [0; 8];
        let mut heard = |bytes: &[u8]| {
            client.send(bytes).unwrap();
            server.recv_from(&mut buffer).unwrap().1
        };
        let first = heard(b"a");
        assert_eq!(heard(b"b"), first);
        proxy.change_ports();
        let second = heard(b"c");
        assert_ne!(second, first);
        // Either word of a closed port comes back, or nothing does: not an answer.
        let _ = server.send_to(b"old", first);
        server.send_to(b"new", second).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(client.recv(&mut buffer).unwrap(), 3);
        assert_eq!(&buffer[..3], b"new");
    }

    #[test]
    fn nothing_passes_in_a_blackout() {
        let (server, proxy, client) = line(Weather::default(), 1);
        proxy.set_dark(true);
        client.send(b"a").unwrap();
        let began = Instant::now();
        while proxy.counts().withheld == 0 {
            assert!(began.elapsed() < WAIT_MAX);
            std::thread::yield_now();
        }
        proxy.set_dark(false);
        client.send(b"b").unwrap();
        let mut buffer = [0; 8];
        server.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[0], b'b');
    }
}
