//! When to say something again: after twice as long each time, up to a most, and never in step with
//! others.

use core::time::Duration;

use crate::Instant;
use crate::random::Random;

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
            self.due = now.after(random.upper_half(self.wait));
            self.wait = (self.wait * 2).min(most);
        }
        due
    }
}
