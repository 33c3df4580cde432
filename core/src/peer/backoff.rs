//! When to dial again, and the numbers that the links go by.

use core::time::Duration;

use crate::limits::PEER_BULK_QUEUE_BYTES_MAX;
use crate::random::Random;

/// The numbers that the links go by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// How long a dial, and then a handshake, may take.
    pub dial_max: Duration,
    /// The second attempt comes after about so long, and every further one after twice as long.
    pub retry_min: Duration,
    /// But never after more than this. A link that has lasted longer than this is dialled again at
    /// once when it breaks; one that was answered on, like the second attempt.
    pub retry_max: Duration,
    /// When a node that has refused us, or does not speak our protocol, is dialled again.
    pub refused_retry: Duration,
    /// How long the dialler hears nothing before it sends a ping.
    pub ping_after: Duration,
    /// How long the dialler hears nothing before it gives the link up.
    pub silent_max: Duration,
    /// How long the acceptor hears nothing before it closes the connection. Nobody waits for this:
    /// it only frees what a vanished dialler has left behind.
    pub deserted_max: Duration,
    /// Bytes of records, and as many of clients' commands, beyond which no more waits to be sent to
    /// one peer; the last frame may be longer.
    pub queue_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dial_max: Duration::from_secs(1),
            retry_min: Duration::from_millis(20),
            retry_max: Duration::from_secs(1),
            refused_retry: Duration::from_secs(4),
            ping_after: Duration::from_millis(250),
            silent_max: Duration::from_secs(1),
            deserted_max: Duration::from_secs(10),
            queue_bytes_max: PEER_BULK_QUEUE_BYTES_MAX,
        }
    }
}

impl Settings {
    pub(super) fn check(&self) {
        assert!(self.retry_min > Duration::ZERO && self.retry_min <= self.retry_max);
        assert!(self.ping_after > Duration::ZERO && self.ping_after < self.silent_max);
        assert!(self.silent_max < self.deserted_max, "or the acceptor ends links that live");
    }

    /// How long a ping may go unanswered.
    pub(super) fn answer_max(&self) -> Duration {
        self.silent_max - self.ping_after
    }

    /// How long to wait before the attempt after `failed` ones in a row: exponential, with jitter
    /// over the upper half, so that nodes which failed together do not come back together.
    pub(super) fn retry_after(&self, failed: u32, random: &mut Random) -> Duration {
        let Some(doublings) = failed.checked_sub(1) else { return Duration::ZERO };
        let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
        random.upper_half(self.retry_min.saturating_mul(factor).min(self.retry_max))
    }

    pub(super) fn refused_retry_after(&self, random: &mut Random) -> Duration {
        random.upper_half(self.refused_retry)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn the_first_retry_comes_at_once_and_the_others_back_off_to_the_limit() {
        let (settings, mut random) = (Settings::default(), Random(7));
        assert_eq!(settings.retry_after(0, &mut random), Duration::ZERO);
        let nominal: Vec<u64> = [1u32, 2, 3, 4, 5, 6, 7, 40, u32::MAX]
            .map(|failed| {
                let waits: Vec<_> =
                    (0..200).map(|_| settings.retry_after(failed, &mut random)).collect();
                let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
                assert!(*least * 2 >= *most, "within the upper half: {least:?} to {most:?}");
                assert!(*least * 10 < *most * 6, "spread: {least:?} to {most:?}");
                most.as_millis().div_ceil(20) as u64 * 20
            })
            .to_vec();
        assert_eq!(nominal, [20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
    }
}
