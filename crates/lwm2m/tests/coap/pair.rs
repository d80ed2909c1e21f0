//! Two peers and a bad network between them, in a time of their own: the same seed is the same story.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use updraft_lwm2m::Moment;
use updraft_lwm2m::coap::{BlockSize, Config, Event, Message, Peer, Request, RequestId, Response};

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// Asks, in most stories.
    Near,
    /// Answers, in most stories.
    Far,
}

impl End {
    /// The one who hears this one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }
}

/// What the network does to datagrams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Datagrams lost, in a thousand, each way.
    pub(crate) lost: u64,
    /// Datagrams that arrive twice, in a thousand.
    pub(crate) doubled: u64,
    /// The shortest way, one way.
    pub(crate) delay: Duration,
    /// What the longest way takes more: datagrams overtake each other.
    pub(crate) jitter: Duration,
}

impl Weather {
    /// 25 ms each way, and nothing lost.
    pub(crate) const FAIR: Self =
        Self { lost: 0, doubled: 0, delay: Duration::from_millis(25), jitter: Duration::ZERO };
    /// Loses, doubles and reorders.
    pub(crate) const FOUL: Self = Self {
        lost: 100,
        doubled: 100,
        delay: Duration::from_millis(25),
        jitter: Duration::from_millis(400),
    };
}

/// The two peers, and what is on its way between them.
pub(crate) struct Pair {
    pub(crate) now: Moment,
    pub(crate) near: Peer,
    pub(crate) far: Peer,
    pub(crate) weather: Weather,
    /// Datagrams that left each end, in order: for looking at what was said.
    pub(crate) said: Vec<(End, Vec<u8>)>,
    on_the_way: BTreeMap<(Moment, u64), (End, Vec<u8>)>,
    events: VecDeque<(End, Event)>,
    sent: u64,
    random: u64,
}

impl Pair {
    /// Two fresh peers.
    pub(crate) fn new(seed: u64, weather: Weather, near: Config, far: Config) -> Self {
        let seed_of =
            |end: u8| std::array::from_fn(|at| (seed as u8).wrapping_add(end).wrapping_add(at as u8));
        Self {
            now: Moment(1_000_000),
            near: Peer::new(seed_of(0), Arc::new(near)),
            far: Peer::new(seed_of(100), Arc::new(far)),
            weather,
            said: Vec::new(),
            on_the_way: BTreeMap::new(),
            events: VecDeque::new(),
            sent: 0,
            random: seed,
        }
    }

    /// Two peers with the default rules in fair weather.
    pub(crate) fn fair() -> Self {
        Self::new(7, Weather::FAIR, Config::default(), Config::default())
    }

    /// This end's peer.
    pub(crate) fn peer(&mut self, end: End) -> &mut Peer {
        match end {
            End::Near => &mut self.near,
            End::Far => &mut self.far,
        }
    }

    /// Lets time pass until somebody has something to tell; `None` where nothing will ever happen again.
    pub(crate) fn next_event(&mut self) -> Option<(End, Event)> {
        loop {
            self.collect();
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            self.now = self.now.max(self.next_moment()?);
            self.step();
        }
    }

    /// What is to tell without any time passing.
    pub(crate) fn events_now(&mut self) -> Option<(End, Event)> {
        self.collect();
        self.events.pop_front()
    }

    /// Lets this much time pass; what happens is told by `next_event` afterwards.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let until = self.now.plus(duration);
        self.collect();
        while let Some(next) = self.next_moment().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.step();
            self.collect();
        }
        self.now = until;
    }

    /// When something happens next.
    fn next_moment(&self) -> Option<Moment> {
        let arrival = self.on_the_way.keys().next().map(|(at, _)| *at);
        [self.near.poll_timeout(), self.far.poll_timeout(), arrival].into_iter().flatten().min()
    }

    /// Does what is due.
    fn step(&mut self) {
        self.arrive();
        for end in [End::Near, End::Far] {
            let now = self.now;
            if self.peer(end).poll_timeout().is_some_and(|due| due <= now) {
                self.peer(end).handle_timeout(now);
            }
        }
    }

    /// Hands a datagram to one end, as if the other had sent it.
    pub(crate) fn deliver(&mut self, to: End, datagram: &[u8]) {
        let now = self.now;
        self.peer(to).handle_datagram(now, datagram);
        self.collect();
    }

    /// What one end has said, as messages in words: type, code, options of blocks.
    pub(crate) fn said_by(&self, end: End) -> Vec<Message<'_>> {
        let said = self.said.iter().filter(|(by, _)| *by == end);
        said.map(|(_, datagram)| Message::parse(datagram).expect("what a peer says is a message")).collect()
    }

    /// Takes what the peers have to send and to tell.
    pub(crate) fn collect(&mut self) {
        for end in [End::Near, End::Far] {
            while let Some(datagram) = self.peer(end).poll_transmit() {
                self.said.push((end, datagram.clone()));
                self.carry(end.other(), datagram);
            }
            while let Some(event) = self.peer(end).poll_event() {
                self.events.push_back((end, event));
            }
        }
    }

    fn arrive(&mut self) {
        while let Some(entry) = self.on_the_way.first_entry()
            && entry.key().0 <= self.now
        {
            let (to, datagram) = entry.remove();
            let now = self.now;
            self.peer(to).handle_datagram(now, &datagram);
        }
    }

    fn carry(&mut self, to: End, datagram: Vec<u8>) {
        let copies = if self.chance(self.weather.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            if self.chance(self.weather.lost) {
                continue;
            }
            let jitter = u64::try_from(self.weather.jitter.as_millis()).expect("short");
            let jitter = if jitter == 0 { 0 } else { self.draw() % jitter };
            let at = self.now.plus(self.weather.delay).plus(Duration::from_millis(jitter));
            self.sent += 1;
            self.on_the_way.insert((at, self.sent), (to, datagram.clone()));
        }
    }

    fn chance(&mut self, in_a_thousand: u64) -> bool {
        self.draw() % 1000 < in_a_thousand
    }

    /// SplitMix64.
    pub(crate) fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// Asks, and answers with `answer` what the far end hears; gives the outcome.
pub(crate) fn ask(
    pair: &mut Pair,
    request: Request,
    answer: &mut dyn FnMut(&Request) -> Response,
) -> (RequestId, Event) {
    let id = pair.near.request(pair.now, request).expect("taken");
    loop {
        match pair.next_event() {
            Some((End::Far, Event::Request { exchange, request })) => {
                let response = answer(&request);
                pair.far.respond(pair.now, exchange, response);
            }
            Some((End::Near, outcome)) => return (id, outcome),
            other => panic!("an end without an answer: {other:?}"),
        }
    }
}

/// `length` bytes, none of whose blocks is like another.
pub(crate) fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 251 + at) as u8).collect()
}

/// The largest block of at most so many bytes.
pub(crate) fn size(bytes: u64) -> BlockSize {
    BlockSize::at_most(bytes)
}
