//! How much is listened to of what a device, or a network of them, says: what is beyond is refused, or passed over, cheaply.

use super::Hub;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;
use updraft_lwm2m::Moment;
use updraft_lwm2m::coap::{Code, Response};

/// Registrations of one source, in the long run and at once: as many as its handshakes, by which most registrations come. A
/// gateway has some thousand devices behind it, and a power cut has them all come back.
const REGISTRATIONS: Rate = Rate { interval: Duration::from_millis(2), burst: 5_000 };
/// What a device sends of its own accord, or notifies, in the long run (RFC 7641 §4.5.1: one message in three seconds where
/// nothing is known of the path) and at once: an update takes some ten.
const WORDS: Rate = Rate { interval: Duration::from_secs(3), burst: 32 };
/// Most sources that are remembered, each with some 50 bytes. If there are more, all are forgotten and begin anew.
const SOURCES_MAX: usize = 20_000;
/// How long a device is asked to stay away that comes in a storm, in seconds: at least, and at most so much longer, by chance,
/// so that the next storm is a smaller one.
const AWAY_MIN_S: u32 = 30;
const AWAY_SPREAD_S: u32 = 120;
/// How long a device is asked to be silent that says too much, in seconds: until it may say something again.
const SILENT_S: u32 = 3;

/// A rate (the generic cell rate algorithm, ITU-T I.371): all that was let through is one moment, when it will be made up for.
struct Rate {
    interval: Duration,
    burst: u32,
}

impl Rate {
    /// Lets one through, or not.
    fn admits(&self, made_up: &mut Moment, now: Moment) -> bool {
        let from = (*made_up).max(now);
        let is_admitted = from.since(now) <= self.interval * (self.burst - 1);
        if is_admitted {
            *made_up = from.plus(self.interval);
        }
        is_admitted
    }
}

/// What one device has said of late unasked.
#[derive(Debug, Default)]
pub(super) struct Unasked {
    sent: Moment,
    notified: Moment,
}

impl Unasked {
    /// Whether what it sends of its own accord is listened to.
    pub(super) fn admits_sent(&mut self, now: Moment) -> bool {
        WORDS.admits(&mut self.sent, now)
    }

    /// Whether a notification is.
    pub(super) fn admits_notified(&mut self, now: Moment) -> bool {
        WORDS.admits(&mut self.notified, now)
    }
}

/// How many have registered of late, by source.
#[derive(Debug, Default)]
pub(super) struct Storm {
    by_source: HashMap<IpAddr, Moment>,
    /// Devices of which the fleet is being told.
    pub(super) describing: usize,
}

impl Storm {
    fn admits(&mut self, now: Moment, address: IpAddr, describing_max: usize) -> bool {
        if self.describing >= describing_max {
            return false;
        }
        if self.by_source.len() >= SOURCES_MAX {
            self.by_source.retain(|_, made_up| *made_up > now);
            if self.by_source.len() >= SOURCES_MAX {
                self.by_source.clear();
            }
        }
        REGISTRATIONS.admits(self.by_source.entry(source_of(address)).or_default(), now)
    }
}

/// What one stranger can have many of: an address of IPv4, or a /64 of IPv6.
fn source_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

impl Hub {
    /// What a device hears that registers in a storm; `None`: there is none.
    pub(super) fn storm(&mut self, now: Moment, address: IpAddr) -> Option<Response> {
        let is_admitted = self.storm.admits(now, address, self.settings.describing_max);
        (!is_admitted).then(|| self.stay_away())
    }

    /// "Not now": with another time for each device.
    pub(super) fn stay_away(&mut self) -> Response {
        let [chance, another, ..] = (self.settings.seed)();
        let spread = u32::from(u16::from_be_bytes([chance, another])) % AWAY_SPREAD_S;
        Response::new(Code::SERVICE_UNAVAILABLE).with_max_age(AWAY_MIN_S + spread)
    }

    /// "Too much" (RFC 8516).
    pub(super) fn too_much() -> Response {
        Response::new(Code::TOO_MANY_REQUESTS).with_max_age(SILENT_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_its_burst_through_at_once_and_then_one_an_interval() {
        let (mut made_up, now) = (Moment::default(), Moment(1_000_000));
        let mut let_through = |now| (0..100).filter(|_| WORDS.admits(&mut made_up, now)).count();
        assert_eq!(let_through(now), 32);
        assert_eq!(let_through(now.plus(Duration::from_secs(2))), 0);
        assert_eq!(let_through(now.plus(Duration::from_secs(9))), 3);
        assert_eq!(let_through(now.plus(Duration::from_secs(3_600))), 32, "idle for long enough");
    }

    #[test]
    fn sources_are_forgotten_before_they_are_too_many() {
        let mut storm = Storm::default();
        for number in 0..50_000_u32 {
            assert!(storm.admits(Moment(1), IpAddr::from(number.to_be_bytes()), 1));
            assert!(storm.by_source.len() <= SOURCES_MAX);
        }
        let one: [IpAddr; 2] = ["2001:db8::1".parse().unwrap(), "2001:db8::ffff:2".parse().unwrap()];
        assert_eq!(source_of(one[0]), source_of(one[1]), "a network of IPv6 is one source");
    }
}
