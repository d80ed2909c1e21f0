//! The network: what is sent may arrive later, twice, out of order, or never.

use crate::random::Random;

/// Longest that a message is on its way, in milliseconds; nothing older arrives.
pub(super) const DELAY_MS_MAX: u64 = 45_000;
/// Shortest and longest time that most messages are on their way, in milliseconds.
const USUAL_MS: (u64, u64) = (5, 800);

/// How bad the network is. All rates per mille.
#[derive(Debug)]
pub(super) struct Network {
    random: Random,
    loss: u64,
    repeat: u64,
    /// Messages that take long; the others take less than a second.
    slow: u64,
    /// Shortest and longest time on the way for all others, in milliseconds.
    usual_ms: (u64, u64),
    /// Devices cut off, and until when.
    partitions: Vec<Option<u64>>,
}

impl Network {
    /// A network drawn at random for so many devices.
    pub(super) fn draw(mut random: Random, devices: usize) -> Self {
        let loss = [0, 10, 50, 150][random.index(4)];
        let repeat = [0, 20, 100][random.index(3)];
        let slow = [0, 30, 150][random.index(3)];
        Self { random, loss, repeat, slow, usual_ms: USUAL_MS, partitions: vec![None; devices] }
    }

    /// Makes it good, for the rest of the run.
    pub(super) fn heal(&mut self) {
        (self.loss, self.repeat, self.slow) = (0, 0, 0);
        self.partitions.fill(None);
    }

    /// Lets every message take so long.
    #[cfg(test)]
    pub(super) fn slow_down(&mut self, shortest_ms: u64, longest_ms: u64) {
        self.usual_ms = (shortest_ms, longest_ms);
    }

    /// Cuts a device off for a while.
    pub(super) fn cut_off(&mut self, device: usize, until: u64) {
        self.partitions[device] = Some(until);
    }

    /// The delays after which a message of or for a device arrives: none if it is lost, two if it is repeated.
    pub(super) fn delays(&mut self, now: u64, device: usize) -> Vec<u64> {
        if self.partitions[device].is_some_and(|until| now < until) || self.random.chance(self.loss) {
            return Vec::new();
        }
        let copies = if self.random.chance(self.repeat) { 2 } else { 1 };
        (0..copies).map(|_| self.delay()).collect()
    }

    fn delay(&mut self) -> u64 {
        let (shortest, usual) = self.usual_ms;
        let longest = if self.random.chance(self.slow) { DELAY_MS_MAX } else { usual };
        self.random.between(shortest, longest)
    }
}
