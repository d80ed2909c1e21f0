//! What the server does around its hub: lines and sessions, the books of LwM2M, and starting it again on what they hold.

use super::Packet;
use crate::random::Random;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use updraft_core::id::DeviceId;
use updraft_lwm2m::coap;
use updraft_lwm2m::firmware::{Limits, Scheme};
use updraft_server::interval::Interval;
use updraft_server::protocols::lwm2m::books::{Change, SavedOrder, SavedRegistration};
use updraft_server::protocols::lwm2m::config::{DeliveryConfig, Preference};
use updraft_server::protocols::lwm2m::desk::{DeskError, Order, Taken};
use updraft_server::protocols::lwm2m::firmware::Work;
use updraft_server::protocols::lwm2m::hub::{Hub, LineId, Linker, Security, Settings, Who};

/// What links begin with.
pub(super) const LINK_START: &str = "coap://10.255.0.1";
/// Most registrations: more than the world has devices.
const REGISTRATIONS_MAX: usize = 10_000;
/// How long devices may put an update off: less than the deadlines of most rollouts here.
const DEFER_MAX: Duration = Duration::from_secs(240);

/// A way to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// By its address alone.
    Address(u16),
    /// By a session, which outlives a change of address.
    Session(u64),
}

/// The hub, and what is around it.
pub(in super::super) struct Host {
    /// The hub, while the server is up.
    pub(super) hub: Option<Hub>,
    /// Which life of the server it is: what an earlier one began comes to nothing.
    pub(super) life: u64,
    /// How far the server's clock was off when it started.
    pub(super) clock_step_ms: i64,
    /// When the hub's wake is in the queue.
    pub(super) wake: Option<u64>,
    /// What is to be kept, and is not yet written.
    pub(super) unsaved: Vec<Change>,
    /// What operators were told, by ticket.
    pub(super) told: Vec<(u64, Result<Taken, DeskError>)>,
    /// Pieces of images read.
    pub(super) reads: u64,
    /// Datagrams sent to devices.
    pub(super) datagrams: u64,
    /// How images are delivered.
    pub(super) rules: DeliveryConfig,
    /// What is written, each with the number of the fleet's commits before it.
    kept: Vec<(usize, Change)>,
    lines: BTreeMap<(usize, Way), u64>,
    ways: BTreeMap<u64, (usize, Way, u16)>,
    next_line: u64,
    next_session: u64,
    generation: u64,
    random: Random,
}

struct Links;

impl Linker for Links {
    fn links(&self, device: &DeviceId, _: Security, work: &Work) -> Vec<(Scheme, String)> {
        vec![(Scheme::Coap, format!("{LINK_START}/f/{device}/{}/{}", work.rollout, work.attempt))]
    }
}

impl Host {
    /// A host whose rules are drawn at random.
    pub(in super::super) fn draw(mut random: Random) -> Self {
        let prefer = if random.chance(500) { Preference::Pull } else { Preference::Push };
        let rules = DeliveryConfig {
            prefer,
            signal_dbm_min: random.chance(300).then_some(-110),
            look_again: Interval(Duration::from_secs(60)),
            wait_max: Interval(Duration::from_secs(180)),
            defer_max: Interval(DEFER_MAX),
            ..DeliveryConfig::default()
        };
        Self {
            hub: None,
            life: 0,
            clock_step_ms: 0,
            wake: None,
            unsaved: Vec::new(),
            told: Vec::new(),
            reads: 0,
            datagrams: 0,
            rules,
            kept: Vec::new(),
            lines: BTreeMap::new(),
            ways: BTreeMap::new(),
            next_line: 0,
            next_session: 0,
            generation: 0,
            random,
        }
    }

    /// Starts the hub on what the books hold.
    pub(super) fn start(&mut self, generation: u64) {
        let (registrations, orders) = self.read();
        let next_order = orders.iter().map(|order| order.order.number + 1).max().unwrap_or(1);
        let waiting: Vec<Order> =
            orders.into_iter().filter(|order| order.outcome.is_none()).map(|order| order.order).collect();
        let mut seeds = self.random.branch();
        let settings = Settings {
            delivery: self.rules.clone(),
            limits: Limits::default(),
            coap: coap::Config::default(),
            registrations_max: REGISTRATIONS_MAX,
            describing_max: REGISTRATIONS_MAX,
            bootstrap: false,
            linker: Box::new(Links),
            may_be_unproven: Box::new(|_| true),
            seed: Box::new(move || seed(&mut seeds)),
        };
        let mut hub = Hub::new(settings, next_order);
        registrations.into_iter().for_each(|saved| hub.restore(saved));
        waiting.into_iter().for_each(|order| hub.restore_order(order));
        for (line, (device, way, port)) in &self.ways {
            if let Way::Session(_) = way {
                let id = format!("device-{device}").parse().expect("made to be an ID");
                hub.restore_line(LineId { socket: 0, session: *line }, &id, address(*device, *port));
            }
        }
        // What an earlier process had under way goes on.
        hub.handle_change_at_large();
        self.generation = generation;
        self.hub = Some(hub);
    }

    /// The server ends. Asked to, it writes what is to be kept and keeps its sessions; else both are gone.
    pub(in super::super) fn stop(&mut self, is_asked: bool, commits: usize) {
        if is_asked {
            self.keep(commits);
        }
        self.hub = None;
        self.wake = None;
        self.life += 1;
        self.unsaved.clear();
        self.ways.retain(|_, (_, way, _)| is_asked && matches!(way, Way::Session(_)));
        self.lines.retain(|_, line| self.ways.contains_key(line));
    }

    pub(in super::super) fn is_up(&self) -> bool {
        self.hub.is_some()
    }

    /// Writes what is to be kept.
    pub(super) fn keep(&mut self, commits: usize) {
        self.kept.extend(self.unsaved.drain(..).map(|change| (commits, change)));
    }

    /// Goes back to what was written before so many commits.
    pub(in super::super) fn restore(&mut self, commits: usize) {
        self.kept.retain(|(at, _)| *at <= commits);
    }

    /// Whether the fleet's generation has moved since this was last asked.
    pub(super) fn has_moved(&mut self, generation: u64) -> bool {
        std::mem::replace(&mut self.generation, generation) != generation
    }

    /// The registrations and orders that the books hold.
    fn read(&self) -> (Vec<SavedRegistration>, Vec<SavedOrder>) {
        let mut registrations = BTreeMap::new();
        let mut orders = BTreeMap::new();
        for (_, change) in &self.kept {
            match change {
                Change::Register(saved) => {
                    registrations.insert(saved.device.clone(), saved.clone());
                }
                Change::Deregister(device) => {
                    registrations.remove(device);
                }
                Change::Order(saved) => {
                    orders.insert(saved.order.number, saved.clone());
                }
            }
        }
        (registrations.into_values().collect(), orders.into_values().collect())
    }

    /// The orders that the books hold.
    #[cfg(test)]
    pub(super) fn orders(&self) -> Vec<SavedOrder> {
        self.read().1
    }

    /// Grants a session.
    pub(super) fn grant(&mut self, device: usize, port: u16) -> Packet {
        self.next_session += 1;
        let session = self.next_session;
        let id = format!("device-{device}").parse().expect("made to be an ID");
        self.begin(device, &id, Way::Session(session), port);
        Packet { session: Some(session), port, bytes: None }
    }

    /// The line by which a packet comes; `None` where it is of a session that the server does not know.
    pub(super) fn line(
        &mut self,
        device: usize,
        id: &DeviceId,
        session: Option<u64>,
        port: u16,
    ) -> Option<LineId> {
        let way = session.map_or(Way::Address(port), Way::Session);
        let Some(line) = self.lines.get(&(device, way)).copied() else {
            return session.is_none().then(|| self.begin(device, id, way, port));
        };
        let line_id = LineId { socket: 0, session: line };
        if let Some((_, _, known)) = self.ways.get_mut(&line).filter(|(_, _, known)| *known != port) {
            *known = port;
            if let Some(hub) = &mut self.hub {
                hub.handle_moved(line_id, address(device, port));
            }
        }
        Some(line_id)
    }

    fn begin(&mut self, device: usize, id: &DeviceId, way: Way, port: u16) -> LineId {
        self.next_line += 1;
        let line = LineId { socket: 0, session: self.next_line };
        self.lines.insert((device, way), self.next_line);
        self.ways.insert(self.next_line, (device, way, port));
        let who = match way {
            Way::Address(_) => Who::Unproven,
            Way::Session(_) => Who::Device(id.clone(), Security::Psk),
        };
        if let Some(hub) = &mut self.hub {
            hub.handle_connected(line, who, address(device, port));
        }
        line
    }

    pub(super) fn close(&mut self, line: LineId) {
        if let Some((device, way, _)) = self.ways.remove(&line.session) {
            self.lines.remove(&(device, way));
        }
    }

    /// A datagram on a line, as it goes to its device.
    pub(super) fn packet(&self, line: LineId, bytes: Vec<u8>) -> Option<(usize, Packet)> {
        let (device, way, port) = *self.ways.get(&line.session)?;
        let session = match way {
            Way::Address(_) => None,
            Way::Session(session) => Some(session),
        };
        Some((device, Packet { session, port, bytes: Some(bytes) }))
    }
}

/// 32 bytes of a generator.
pub(super) fn seed(random: &mut Random) -> [u8; 32] {
    let mut seed = [0; 32];
    for chunk in seed.chunks_exact_mut(8) {
        chunk.copy_from_slice(&random.draw().to_le_bytes());
    }
    seed
}

fn address(device: usize, port: u16) -> SocketAddr {
    let [_, _, high, low] = u32::try_from(device).unwrap_or(0).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), port)
}
