//! How much came and went lately: per second, over sixteen tenths of a second, as in Redis.
//!
//! Nobody wakes up for it. Totals are kept as of the end of each tenth of a second, and who asks the
//! shard for anything brings them up to date first: where nothing came for a while, nothing has
//! changed.

use core::time::Duration;

use crate::Instant;

/// What has come and gone in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Commands of clients.
    pub(crate) commands: u64,
    /// Bytes that clients have sent.
    pub(crate) received: u64,
    /// Bytes that were sent to clients.
    pub(crate) sent: u64,
}

/// See the module's header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rates {
    /// When the next sample is due.
    due: Instant,
    /// The totals as of the last samples, the latest at `latest` and the oldest behind it.
    samples: [Totals; SAMPLES + 1],
    latest: usize,
}

/// How many samples a rate is the average of, and how far they lie apart.
const SAMPLES: usize = 16;
const EVERY: Duration = Duration::from_millis(100);

impl Rates {
    /// Brings the samples up to date. Such were the totals until now.
    #[inline]
    pub(crate) fn advance(&mut self, now: Instant, totals: Totals) {
        if now >= self.due {
            self.sample(now, totals);
        }
    }

    fn sample(&mut self, now: Instant, totals: Totals) {
        let every = EVERY.as_nanos() as u64;
        let passed = 1 + now.0.saturating_sub(self.due.0) / every;
        for _ in 0..passed.min(self.samples.len() as u64) {
            self.latest = (self.latest + 1) % self.samples.len();
            self.samples[self.latest] = totals;
        }
        self.due = Instant(self.due.0.saturating_add(passed.saturating_mul(every)));
    }

    /// What came and went per second.
    pub(crate) fn per_second(&self) -> Totals {
        let [latest, oldest] =
            [0, 1].map(|behind| self.samples[(self.latest + behind) % self.samples.len()]);
        let rate = |of: fn(&Totals) -> u64| {
            let more = u128::from(of(&latest).saturating_sub(of(&oldest)));
            let rate = more * 1_000 / (SAMPLES as u128 * EVERY.as_millis());
            u64::try_from(rate).unwrap_or(u64::MAX)
        };
        Totals {
            commands: rate(|totals| totals.commands),
            received: rate(|totals| totals.received),
            sent: rate(|totals| totals.sent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    fn commands(commands: u64) -> Totals {
        Totals { commands, received: 10 * commands, sent: 1_000 * commands }
    }

    #[test]
    fn what_comes_evenly_is_told_as_it_comes() {
        let mut rates = Rates::default();
        for ms in 0..5_000 {
            rates.advance(at(1_000_000 + ms), commands(ms * 3));
        }
        assert_eq!(rates.per_second(), commands(3_000));
    }

    #[test]
    fn what_came_at_once_counts_for_sixteen_tenths() {
        let mut rates = Rates::default();
        rates.advance(at(1_000_000), commands(0));
        let rate = |rates: &mut Rates, ms: u64| {
            rates.advance(at(1_000_000 + ms), commands(160));
            rates.per_second().commands
        };
        for (ms, expected) in [(50, 0), (100, 100), (1_000, 100), (1_699, 100), (1_700, 0)] {
            assert_eq!(rate(&mut rates, ms), expected, "{ms} ms later");
        }
    }

    #[test]
    fn silence_is_seen_however_long_it_was() {
        let mut rates = Rates::default();
        rates.advance(at(1_000_000), commands(0));
        rates.advance(at(1_000_100), commands(160));
        rates.advance(at(9_000_000), commands(160));
        assert_eq!(rates.per_second(), Totals::default());
        rates.advance(Instant(u64::MAX), commands(160));
        rates.advance(Instant(u64::MAX), commands(320));
        assert_eq!(rates.per_second().commands, 100);
    }
}
