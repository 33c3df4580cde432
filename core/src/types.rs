//! The words of the protocol as types. Their `Display` is what traces and scripts print.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment of the process's monotonic clock, in nanoseconds since an arbitrary start. Used for
/// timeouts; counts suspend where the system can. Another process can only echo it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Instant(pub u64);

impl Instant {
    /// This moment and `d` more, saturating at the end of time.
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Milliseconds since the Unix epoch: wall clocks, log clocks and expiry times.
pub type Millis = u64;

/// What time it is, both ways of telling it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock, for timeouts.
    pub mono: Instant,
    /// The wall clock in microseconds since the Unix epoch, for expiry times. May step either way.
    pub wall_us: u64,
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident($inner:ty), $fmt:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $fmt, self.0)
            }
        }
    };
}

/// A partition of the key space; its log, index and replicas share the number.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PartitionId(pub u32);

impl PartitionId {
    /// The log of the controller quorum, which is kept like a partition and holds no slot.
    pub const CONTROL: Self = Self(u32::MAX);
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::CONTROL => f.write_str("control"),
            Self(id) => write!(f, "p{id}"),
        }
    }
}

word! {
    /// A position in a partition's log, counted in records from zero. Never reused.
    Offset(u64), "{}"
}
word! {
    /// A leader's reign over a partition. Grows by at least one at every start.
    Epoch(u32), "e{}"
}
word! {
    /// A segment file of a partition. Never reused, so a (segment, position) pair names one
    /// record for ever.
    SegmentId(u32), "s{}"
}
word! {
    /// A disk operation in flight.
    IoId(u64), "io{}"
}
word! {
    /// A client connection, for the life of the process.
    ClientId(u64), "c{}"
}
word! {
    /// A node, as `--id` names it.
    NodeId(u32), "n{}"
}
word! {
    /// One life of a node as the cluster counts it: the index of its registration.
    Incarnation(u64), "@{}"
}
word! {
    /// A term of the controller quorum: at most one leader each.
    Term(u64), "t{}"
}
word! {
    /// A position in the controller quorum's log, counted in entries from one; zero is before all.
    Index(u64), "i{}"
}
word! {
    /// A data directory among all data directories, drawn when it is made.
    DirectoryId(u128), "{:032x}"
}
word! {
    /// A cluster among all clusters, drawn when it is founded.
    ClusterId(u128), "{:032x}"
}

impl Offset {
    /// The offset `n` records further on.
    pub fn plus(self, n: u64) -> Self {
        Self(self.0 + n)
    }
}

impl Index {
    /// The index `n` entries further on.
    pub fn plus(self, n: u64) -> Self {
        Self(self.0 + n)
    }
}

impl Term {
    /// The term after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A node with a certain data directory: who votes and who holds a replica. A node whose directory
/// was emptied or swapped is another member, with no vote and no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Its directory.
    pub directory: DirectoryId,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:04x}", self.node, self.directory.0 >> 112)
    }
}
