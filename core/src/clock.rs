//! The log clock: what "now" means for expiry.
//!
//! It never goes back, and it advances with the monotonic clock, drawn toward the wall clock by at
//! most an eighth of the time that passes: a wall clock that is set forward by a year must not
//! expire every key at once, and one that is set back must not stop expiry.

use crate::{Millis, Now};

/// See the module's header.
#[derive(Clone, Copy, Debug)]
pub struct LogClock {
    us: u64,
    last: Now,
}

/// The share of passing time by which the clock is drawn toward the wall clock: one in so many.
const SLEW: u64 = 8;

impl LogClock {
    /// A clock that starts with the wall clock.
    pub fn new(now: Now) -> Self {
        Self { us: now.wall_us, last: now }
    }

    /// The log holds a record with this clock: no later one may have an earlier.
    pub fn raise(&mut self, log: Millis) {
        self.us = self.us.max(log.saturating_mul(1000));
    }

    /// Nothing depends on what it showed so far: where the wall clock is behind it, that is taken. A
    /// process may have started with a clock that was ahead and was set right later.
    pub fn take_back(&mut self, now: Now) {
        self.us = self.us.min(now.wall_us);
    }

    /// Goes on to `now`.
    pub fn advance(&mut self, now: Now) {
        let passed = (now.mono.since(self.last.mono).as_nanos() / 1000) as u64;
        if passed == 0 {
            return;
        }
        self.last = now;
        let straight = self.us.saturating_add(passed);
        let slew = passed / SLEW;
        self.us = now.wall_us.clamp(straight - slew, straight.saturating_add(slew));
    }

    /// The clock in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> Millis {
        self.us / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Instant;

    fn at(mono_s: u64, wall_s: u64) -> Now {
        Now { mono: Instant(mono_s * 1_000_000_000), wall_us: wall_s * 1_000_000 }
    }

    #[test]
    fn it_follows_a_good_wall_clock() {
        let mut clock = LogClock::new(at(5, 1000));
        clock.advance(at(15, 1010));
        assert_eq!(clock.now_ms(), 1_010_000);
    }

    #[test]
    fn it_never_goes_back_when_the_wall_clock_does() {
        let mut clock = LogClock::new(at(0, 1000));
        clock.advance(at(8, 500));
        assert_eq!(clock.now_ms(), 1_007_000, "slower by an eighth, and forward");
    }

    #[test]
    fn a_leap_of_the_wall_clock_is_approached_not_followed() {
        let mut clock = LogClock::new(at(0, 1000));
        clock.advance(at(8, 1_000_000));
        assert_eq!(clock.now_ms(), 1_009_000);
    }

    #[test]
    fn what_it_started_with_can_be_taken_back_and_not_be_put_forward() {
        let mut clock = LogClock::new(at(0, 90_000));
        clock.advance(at(8, 1008));
        clock.take_back(at(8, 1008));
        assert_eq!(clock.now_ms(), 1_008_000);
        clock.take_back(at(8, 90_000));
        assert_eq!(clock.now_ms(), 1_008_000);
    }

    #[test]
    fn it_is_never_below_the_log() {
        let mut clock = LogClock::new(at(0, 1000));
        clock.raise(2_000_000);
        clock.advance(at(8, 1008));
        assert_eq!(clock.now_ms(), 2_007_000);
    }
}
