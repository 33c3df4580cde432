//! How fast the load goes, now and over the last seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::load::Counts;

/// What one bar of the history counts.
const BAR: Duration = Duration::from_millis(250);

/// Bars that are kept.
const BARS_MAX: usize = 240;

/// Bars whose mean is the speed now.
const BARS_NOW: usize = 4;

/// Counts over time.
pub(super) struct Meter {
    /// Commands a second that the load shall do.
    pub rate: u32,
    last: (Instant, Counts),
    /// Acknowledged writes and reads in each bar, the newest last.
    bars: VecDeque<(u64, u64)>,
}

impl Meter {
    /// Of a load that shall do so many commands a second.
    pub(super) fn new(rate: u32) -> Self {
        Self { rate, last: (Instant::now(), Counts::default()), bars: VecDeque::new() }
    }

    /// Takes the counts of now.
    pub(super) fn record(&mut self, counts: Counts) {
        let (then, old) = &mut self.last;
        if then.elapsed() < BAR {
            return;
        }
        self.bars.push_back((counts.writes - old.writes, counts.reads - old.reads));
        if self.bars.len() > BARS_MAX {
            self.bars.pop_front();
        }
        *old = counts;
        // What a late tick has gathered is not shown as a burst twice.
        *then = if then.elapsed() > 2 * BAR { Instant::now() } else { *then + BAR };
    }

    /// Writes and reads a second, lately.
    pub(super) fn speed(&self) -> (u64, u64) {
        let now = self.bars.iter().rev().take(BARS_NOW);
        let (count, writes, reads) =
            now.fold((0, 0, 0), |(n, w, r), bar| (n + 1, w + bar.0, r + bar.1));
        let per_second = |total: u64| {
            let millis = count * BAR.as_millis() as u64;
            (total * 1_000).checked_div(millis).unwrap_or(0)
        };
        (per_second(writes), per_second(reads))
    }

    /// Acknowledged writes in each of the last bars, the newest last.
    pub(super) fn history(&self) -> Vec<u64> {
        self.bars.iter().map(|bar| bar.0).collect()
    }
}
