//! Random numbers from a seed that is an argument (SplitMix64; Steele, Lea and Flood 2014): equal
//! seeds give equal numbers. For ids, nonces and jitter.

use core::time::Duration;

/// A source of random numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number of twice the length.
    pub(crate) fn next_u128(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    /// Anything between half of `d` and `d`.
    pub(crate) fn upper_half(&mut self, d: Duration) -> Duration {
        let half = u64::try_from(d.as_nanos() / 2).unwrap_or(u64::MAX);
        d - Duration::from_nanos(self.next() % half.max(1))
    }
}
