//! When to say something again: after twice as long each time, up to a most, and never in step with
//! others.

use core::time::Duration;

use crate::Instant;

/// A source of random numbers for nonces and jitter (SplitMix64, Steele, Lea and Flood 2014): equal
/// seeds give equal numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Between a half of `most` and `most`.
    fn jitter(&mut self, most: Duration) -> Duration {
        let half = u64::try_from(most.as_nanos() / 2).unwrap_or(u64::MAX / 2);
        Duration::from_nanos(half.saturating_add(self.next() % half.max(1)))
    }
}

/// See the module's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Backoff {
    due: Instant,
    wait: Duration,
}

impl Backoff {
    /// Due at once, and then after `first`.
    pub(super) fn new(first: Duration) -> Self {
        Self { due: Instant::default(), wait: first }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Whether it is due; if so, it is next due some time later.
    pub(super) fn take(&mut self, now: Instant, most: Duration, random: &mut Random) -> bool {
        let due = self.due <= now;
        if due {
            self.due = now.after(random.jitter(self.wait));
            self.wait = (self.wait * 2).min(most);
        }
        due
    }
}
