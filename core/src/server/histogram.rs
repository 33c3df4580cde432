//! How long things took: counts by duration, each bucket a sixteenth of its octave wide.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

/// See the module's header. From a nanosecond to half an hour; what is longer counts as that.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    /// Empty before the first.
    counts: Vec<u32>,
    total: u64,
}

const STEPS: u32 = 16;
const OCTAVES: u32 = 41;

impl Histogram {
    pub(crate) fn add(&mut self, took: Duration) {
        if self.counts.is_empty() {
            self.counts = vec![0; (STEPS * OCTAVES) as usize];
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let octave = nanos.ilog2();
        let step = if octave < 4 { nanos << (4 - octave) } else { nanos >> (octave - 4) } & 15;
        let at = (octave * STEPS + step as u32).min(STEPS * OCTAVES - 1);
        let count = &mut self.counts[at as usize];
        *count = count.saturating_add(1);
        self.total += 1;
    }

    /// How many were counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// So many in a thousand took at most this long, in nanoseconds: the end of their bucket.
    pub(crate) fn permille(&self, permille: u64) -> u64 {
        let wanted = (self.total * permille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (at, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if seen >= wanted {
                return end_of(at);
            }
        }
        0
    }

    /// How many took at most so many microseconds, for each power of two up to the longest.
    pub(crate) fn by_powers_of_two(&self) -> Vec<(u64, u64)> {
        let mut all = Vec::new();
        let mut us = 1;
        loop {
            let within = |&(at, _): &(usize, &u32)| end_of(at) <= us * 1_000;
            let counted = self.counts.iter().enumerate().filter(within);
            let count = counted.map(|(_, &count)| u64::from(count)).sum();
            if count > all.last().map_or(0, |&(_, last)| last) {
                all.push((us, count));
            }
            if count >= self.total || us >= 1 << 31 {
                return all;
            }
            us *= 2;
        }
    }
}

/// The longest duration of a bucket, in nanoseconds.
fn end_of(at: usize) -> u64 {
    let (octave, step) = (at as u32 / STEPS, at as u64 % u64::from(STEPS));
    ((u64::from(STEPS) + step + 1) << octave >> 4).saturating_sub(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_at_most_a_sixteenth_too_long() {
        let mut histogram = Histogram::default();
        for us in 1..=1_000 {
            histogram.add(Duration::from_micros(us));
        }
        for (permille, us) in [(500, 500), (990, 990), (999, 999)] {
            let found = histogram.permille(permille);
            assert!((us * 1_000..=us * 1_000 * 17 / 16).contains(&found), "{permille}: {found}");
        }
        assert_eq!((histogram.total(), Histogram::default().permille(500)), (1_000, 0));
    }

    #[test]
    fn counts_by_powers_of_two_only_grow() {
        let mut histogram = Histogram::default();
        for nanos in [1, 900, 1_500, 3_000, 60_000_000, u64::MAX] {
            histogram.add(Duration::from_nanos(nanos));
        }
        let all = histogram.by_powers_of_two();
        assert_eq!(all[0], (1, 2));
        assert_eq!(all[1], (2, 3));
        assert!(all.is_sorted() && all.is_sorted_by_key(|&(_, count)| count), "{all:?}");
    }
}
