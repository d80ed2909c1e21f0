//! How many handshakes one source may begin in a time.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Most sources that are remembered, each with some 50 bytes. If there are more, all are forgotten and begin anew.
const SOURCES_MAX: usize = 20_000;
const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// The addresses that one stranger can have: one of IPv4, or a /64 of IPv6. Their first and their last.
pub(super) fn source_of(address: SocketAddr) -> (SocketAddr, SocketAddr) {
    let (first, last) = match address.ip() {
        IpAddr::V4(ip) => (IpAddr::V4(ip), IpAddr::V4(ip)),
        IpAddr::V6(ip) => {
            let (prefix, rest) = (ip.to_bits() & !u128::from(u64::MAX), u128::from(u64::MAX));
            (Ipv6Addr::from_bits(prefix).into(), Ipv6Addr::from_bits(prefix | rest).into())
        }
    };
    (SocketAddr::new(first, 0), SocketAddr::new(last, u16::MAX))
}

/// How many handshakes each source has begun: as the moment when it will have been idle for long enough to have made up for
/// them (the generic cell rate algorithm).
pub(super) struct Pace {
    interval_ns: u64,
    burst: u64,
    sources: BTreeMap<IpAddr, u64>,
}

impl Pace {
    /// So many a second in the long run, and so many at once.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval_ns = NS_PER_S / u64::from(per_second.max(1));
        Self { interval_ns, burst: u64::from(burst.max(1)), sources: BTreeMap::new() }
    }

    fn made_up_ns(&self, now_ns: u64, source: IpAddr) -> u64 {
        self.sources
            .get(&source)
            .map_or(now_ns, |made_up| now_ns.max(*made_up))
            .saturating_add(self.interval_ns)
    }

    /// Whether this source may begin another.
    pub(super) fn admits(&self, now_ms: u64, address: SocketAddr) -> bool {
        let now_ns = now_ms.saturating_mul(NS_PER_MS);
        let owed = self.made_up_ns(now_ns, source_of(address).0.ip()).saturating_sub(now_ns);
        owed <= self.interval_ns.saturating_mul(self.burst)
    }

    /// This source, which has shown that it is one, has begun another.
    pub(super) fn note(&mut self, now_ms: u64, address: SocketAddr) {
        let (now_ns, source) = (now_ms.saturating_mul(NS_PER_MS), source_of(address).0.ip());
        if self.sources.len() >= SOURCES_MAX {
            self.sources.retain(|_, made_up| *made_up > now_ns);
            if self.sources.len() >= SOURCES_MAX {
                self.sources.clear();
            }
        }
        self.sources.insert(source, self.made_up_ns(now_ns, source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(pace: &mut Pace, now_ms: u64, address: &str, tries: usize) -> usize {
        let address = address.parse().unwrap();
        (0..tries)
            .filter(|_| {
                let admitted = pace.admits(now_ms, address);
                if admitted {
                    pace.note(now_ms, address);
                }
                admitted
            })
            .count()
    }

    #[test]
    fn a_source_begins_its_burst_at_once_and_then_its_rate() {
        let mut pace = Pace::new(10, 50);
        assert_eq!(begun(&mut pace, 1_000, "192.0.2.1:1", 100), 50);
        assert_eq!(begun(&mut pace, 2_000, "192.0.2.1:2", 100), 10);
        assert_eq!(begun(&mut pace, 2_000, "192.0.2.2:1", 100), 50, "another source has its own");
        assert_eq!(begun(&mut pace, 60_000, "192.0.2.1:1", 100), 50, "idle for long enough");
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_are_one_source() {
        let mut pace = Pace::new(10, 50);
        assert_eq!(begun(&mut pace, 0, "[2001:db8::1]:1", 30), 30);
        assert_eq!(begun(&mut pace, 0, "[2001:db8::ffff:2]:1", 30), 20);
        assert_eq!(begun(&mut pace, 0, "[2001:db8:0:1::1]:1", 30), 30);
    }

    #[test]
    fn only_so_many_sources_are_remembered() {
        let mut pace = Pace::new(1, 1);
        for number in 0..60_000_u32 {
            pace.note(0, SocketAddr::from((number.to_be_bytes(), 1)));
        }
        assert!(pace.sources.len() <= SOURCES_MAX);
    }
}
