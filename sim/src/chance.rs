//! Where chance comes from: a stream of random numbers for each purpose, all from the run's seed.
//!
//! Streams are separate so that one more draw in one place (another fault, a longer workload) does
//! not change everything else of the run, which is what makes shrinking possible. Madsim's own
//! stream decides which ready task runs next and how long a message takes.

use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The settings of the run.
    Swarm,
    /// When the nemesis does what.
    Plan,
    /// How long disk operations of a node take, and what faults do in detail.
    Disk(u32),
    /// What connections meet.
    Network,
    /// What a client asks, and when.
    Client(u32),
    /// What a node is seeded with.
    Node(u32),
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Chance(Xoshiro256PlusPlus);

impl Chance {
    /// The stream of a run for one purpose.
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        let tag = match purpose {
            Purpose::Swarm => 1,
            Purpose::Plan => 2,
            Purpose::Network => 3,
            Purpose::Disk(id) => 1 << 32 | u64::from(id),
            Purpose::Client(id) => 2 << 32 | u64::from(id),
            Purpose::Node(id) => 3 << 32 | u64::from(id),
        };
        // Seeding spreads the bits of both (SplitMix64).
        Self(Xoshiro256PlusPlus::seed_from_u64(seed ^ tag.rotate_left(20).wrapping_mul(PHI)))
    }

    /// Any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.0.random()
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0.random_range(0..end)
    }

    /// A number of the range, which is not empty.
    pub(crate) fn of(&mut self, range: Range<u64>) -> u64 {
        self.0.random_range(range)
    }

    /// An index below `len`, which is not zero.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.0.random_range(0..len as u64) as usize
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, some: &[T]) -> T {
        some[self.index(some.len())]
    }

    /// The index of one of these weights, each drawn in proportion to it; their sum is not zero.
    pub(crate) fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut left = self.below(weights.iter().sum());
        weights
            .iter()
            .position(|&weight| {
                let here = left < weight;
                left = left.saturating_sub(weight);
                here
            })
            .expect("what was drawn is below the sum")
    }

    /// Mostly near the start of the range, now and then far out: each octave is as likely.
    pub(crate) fn skewed(&mut self, range: Range<u64>) -> u64 {
        let width = range.end - range.start;
        let octaves = u64::from(width.ilog2()) + 1;
        let span = 1 << self.of(0..octaves);
        range.start + self.below(span.min(width))
    }
}

/// 2^64 divided by the golden ratio: an odd number without pattern.
const PHI: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_those_of_one_purpose_are_the_same() {
        let first = |seed, purpose| Chance::new(seed, purpose).any();
        assert_eq!(first(7, Purpose::Disk(1)), first(7, Purpose::Disk(1)));
        let all = [
            first(7, Purpose::Swarm),
            first(7, Purpose::Plan),
            first(7, Purpose::Disk(1)),
            first(7, Purpose::Disk(2)),
            first(7, Purpose::Client(1)),
            first(8, Purpose::Swarm),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn weights_are_kept() {
        let mut chance = Chance::new(1, Purpose::Swarm);
        let mut counts = [0; 3];
        (0..10_000).for_each(|_| counts[chance.weighted(&[1, 0, 3])] += 1);
        assert!(counts[1] == 0 && (2000..3000).contains(&counts[0]), "{counts:?}");
    }
}
