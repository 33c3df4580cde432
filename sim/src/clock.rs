//! A node's clocks: what a machine believes the time to be.
//!
//! The true time is madsim's. A machine's monotonic clock runs a little too fast or too slow
//! (drift, in parts per million) and starts anywhere at each boot; its wall clock runs at the same
//! pace, is off by some offset, and jumps when an operator or an NTP daemon sets it.

use kvnode_core::{Instant, Now};

/// See the module's header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeClock {
    /// True time of the last change, in ns.
    since_ns: u64,
    /// What the clocks showed then.
    mono_ns: u64,
    wall_us: i64,
    drift_ppm: i64,
}

/// When every run starts, by a right wall clock, in microseconds since the Unix epoch.
pub(crate) const START_WALL_US: i64 = 1_700_000_000_000_000;

const MILLION: i128 = 1_000_000;

impl NodeClock {
    /// A clock that is off by `offset_us` at the start of the run.
    pub(crate) fn new(boot_ns: u64, offset_us: i64, drift_ppm: i64) -> Self {
        assert!(drift_ppm.abs() < 1_000_000, "a clock never runs backward");
        Self { since_ns: 0, mono_ns: boot_ns, wall_us: START_WALL_US + offset_us, drift_ppm }
    }

    /// What it shows at this true time, which is not before the last change.
    pub(crate) fn now(&self, true_ns: u64) -> Now {
        let passed = self.passed(true_ns);
        let wall_us = self.wall_us + (passed / 1000) as i64;
        Now {
            mono: Instant(self.mono_ns + passed),
            wall_us: u64::try_from(wall_us).expect("no clock is set before 1970"),
        }
    }

    /// How long, by true time, until the monotonic clock shows `at`; zero if it does.
    pub(crate) fn until(&self, at: Instant, true_ns: u64) -> u64 {
        let left = at.0.saturating_sub(self.now(true_ns).mono.0);
        let scaled = i128::from(left) * MILLION / (MILLION + i128::from(self.drift_ppm));
        // A nanosecond more than it may need, never less.
        u64::try_from(scaled).map_or(u64::MAX, |ns| ns.saturating_add(u64::from(left > 0)))
    }

    /// The wall clock is set on or back by so much.
    pub(crate) fn jump(&mut self, true_ns: u64, by_us: i64) {
        self.settle(true_ns);
        self.wall_us = (self.wall_us + by_us).max(0);
    }

    /// Both clocks run at this pace from now on; whether it is another.
    pub(crate) fn set_drift(&mut self, true_ns: u64, drift_ppm: i64) -> bool {
        self.settle(true_ns);
        let old = std::mem::replace(&mut self.drift_ppm, drift_ppm);
        old != drift_ppm
    }

    /// The machine starts anew: its monotonic clock starts anywhere.
    pub(crate) fn reboot(&mut self, true_ns: u64, boot_ns: u64) {
        self.settle(true_ns);
        self.mono_ns = boot_ns;
    }

    fn settle(&mut self, true_ns: u64) {
        let now = self.now(true_ns);
        self.since_ns = true_ns;
        self.mono_ns = now.mono.0;
        self.wall_us = now.wall_us as i64;
    }

    fn passed(&self, true_ns: u64) -> u64 {
        let passed = true_ns.checked_sub(self.since_ns).expect("time does not go back");
        (i128::from(passed) * (MILLION + i128::from(self.drift_ppm)) / MILLION) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_fast_clock_is_early_and_until_says_when() {
        let clock = NodeClock::new(5, 0, 50_000);
        let later = clock.now(100 * SECOND);
        assert_eq!(later.mono.0, 5 + 105 * SECOND);
        let wait = clock.until(Instant(5 + 105 * SECOND), 40 * SECOND);
        assert!((60 * SECOND..60 * SECOND + 10).contains(&wait), "{wait}");
        assert_eq!(clock.until(Instant(5), 40 * SECOND), 0);
    }

    #[test]
    fn a_jump_moves_the_wall_clock_alone() {
        let mut clock = NodeClock::new(0, -1_000_000, 0);
        let before = clock.now(SECOND);
        clock.jump(SECOND, 3_600_000_000);
        let after = clock.now(SECOND);
        assert_eq!(after.mono, before.mono);
        assert_eq!(after.wall_us, before.wall_us + 3_600_000_000);
        clock.reboot(2 * SECOND, 77);
        assert_eq!(clock.now(2 * SECOND).mono.0, 77);
        assert_eq!(clock.now(2 * SECOND).wall_us, after.wall_us + 1_000_000);
    }
}
