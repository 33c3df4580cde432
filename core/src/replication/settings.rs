//! How replicas behave. All replicas of a cluster need the same lease and drift.

use core::time::Duration;

/// How a leader makes sure that it still leads before it answers a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadMode {
    /// It counts on the promises of its followers, and so on clocks that run within the drift.
    Lease,
    /// It asks all of them after the read has come.
    Confirm,
}

/// See the module's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// How long a follower promises not to commit as a leader after it has heard of its leader.
    pub lease: Duration,
    /// Two clocks run apart by at most one part in so many.
    pub drift: u32,
    /// How reads are made safe.
    pub reads: ReadMode,
    /// A follower that has not caught up for so long leaves the in-sync set.
    pub replica_lag_max: Duration,
    /// Something is said to every follower at least so often.
    pub beat_every: Duration,
    /// Whoever gets no answer asks again after this.
    pub retry: Duration,
    /// Bytes of records on their way to one follower at which no more are sent. The last chunk may
    /// go over it.
    pub inflight_bytes: usize,
    /// Chunks of records on their way to one follower.
    pub inflight_chunks: usize,
    /// Bytes of records at which a chunk is full. One batch may go over it.
    pub chunk_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Duration::from_millis(250),
            drift: 100,
            reads: ReadMode::Lease,
            replica_lag_max: Duration::from_secs(2),
            beat_every: Duration::from_millis(60),
            retry: Duration::from_millis(100),
            inflight_bytes: 4 << 20,
            inflight_chunks: 32,
            chunk_bytes: 1 << 20,
        }
    }
}

impl Settings {
    /// How long a leader counts on a promise, from when it sent what the follower answers to.
    pub fn lease_counted(&self) -> Duration {
        self.lease - self.lease / self.drift
    }

    /// How long a follower keeps a promise, from when it took the message. A process that has just
    /// started may have made one that it does not know of: it commits nothing for so long.
    pub fn lease_kept(&self) -> Duration {
        self.lease + self.lease / self.drift
    }

    pub(super) fn assert_sound(&self) {
        assert!(self.drift > 1, "a clock that is off by all of it measures nothing");
        assert!(self.beat_every < self.lease_counted(), "a lease outlives the next beat");
        assert!(
            self.lease_counted() < self.replica_lag_max,
            "a promise ends before the wait for it"
        );
        assert!(self.inflight_chunks > 0 && self.inflight_bytes > 0, "something is sent");
        assert!(self.chunk_bytes > 0, "a chunk is not empty");
    }
}
