//! How a shard runs.

use alloc::boxed::Box;

use crate::disk::ValueCache;
use crate::storage::replica::{MergeSettings, ScrubSettings};
use crate::{replication, server};

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsyncMode {
    /// After its fsync.
    Always,
    /// After the write; an fsync follows within so many milliseconds.
    EveryMs(u32),
    /// After the write; the system decides when it is durable.
    Never,
}

/// Which index a partition keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// A hash table: smallest and fastest.
    Hash,
    /// An ordered tree: prefix and range scans.
    Ordered,
}

/// What a node of a cluster does with a command about keys that another node leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// It has the leader answer, and passes the answer on.
    Forward,
    /// It tells the client who leads, as in Redis Cluster.
    Moved,
}

/// How a shard runs.
pub struct Config {
    /// The node is one of a cluster: [control](crate::control) has the data directory, and says
    /// which partitions there are.
    pub member: bool,
    /// Partitions of the data directory, one if not said. An existing directory must agree.
    pub partitions: Option<u32>,
    /// How partitions are replicated, in a cluster.
    pub replication: replication::Settings,
    /// What becomes of its clients' commands about what it does not lead, in a cluster.
    pub redirect: Redirect,
    /// When a write is acknowledged.
    pub fsync: FsyncMode,
    /// Which index each partition keeps.
    pub index: IndexKind,
    /// Size at which a segment rolls, in bytes.
    pub segment_bytes: u64,
    /// Zeros written ahead of the log end at a time, in bytes; zero for none.
    pub zero_ahead_bytes: u64,
    /// Bytes of a segment that are read at a time where it is read through.
    pub window_bytes: u32,
    /// When and how fast segments are compacted.
    pub merge: MergeSettings,
    /// Whether, how fast and how often sealed segments are read through.
    pub scrub: Option<ScrubSettings>,
    /// Users, and what can be changed while it runs.
    pub server: server::Setup,
    /// Seed of hashing, random choice and the directory id.
    pub seed: u64,
    /// TCP port, for INFO.
    pub port: u16,
    /// Process id, for INFO.
    pub process_id: u32,
    /// The driver's value cache.
    pub cache: Box<dyn ValueCache>,
}
