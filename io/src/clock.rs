//! The clocks of this machine, as core counts time.

use kvnode_core::{Instant, Now};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// What time it is. The monotonic part counts suspend (`CLOCK_BOOTTIME`), since a lease goes on
/// while a laptop sleeps.
pub fn now() -> Now {
    let wall = clock_gettime(ClockId::Realtime);
    Now { mono: monotonic(), wall_us: nanos(wall) / 1_000 }
}

/// The monotonic part of [`now`] alone.
pub(crate) fn monotonic() -> Instant {
    Instant(nanos(clock_gettime(ClockId::Boottime)))
}

/// Nanoseconds since the clock's zero; a time before it counts as zero.
fn nanos(at: Timespec) -> u64 {
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(at.tv_nsec.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn the_wall_clock_counts_from_the_unix_epoch_and_the_monotonic_clock_does_not_go_back() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        let (one, two) = (super::now(), super::now());
        let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        assert!(before <= one.wall_us && one.wall_us <= after);
        assert!(one.mono <= two.mono);
    }
}
