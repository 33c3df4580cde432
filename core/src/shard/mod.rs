//! The machine that a driver runs: clients, partitions, group commit, replies.
//!
//! See the crate's header for the contract.

use alloc::boxed::Box;
use alloc::string::String;

use crate::args::Args;
use crate::disk::{DiskOp, DiskResult, ValueCache};
use crate::reply::{Protocol, Reply};
use crate::{ClientId, Instant, IoId, Now};

/// One event for the shard.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client connected.
    Connected(ClientId),
    /// A client is gone; nothing more is sent to it. A command that it had handed in may still
    /// take effect.
    Disconnected(ClientId),
    /// A client's next command, not empty. Only while [`Shard::accepts`] the client.
    Command(ClientId, Args<'a>),
    /// The client broke the protocol: this error is its last reply, after those it waits for, and
    /// then it is closed.
    Malformed(ClientId, Reply),
    /// The answer to a disk operation.
    Disk(IoId, DiskResult),
    /// The [`Shard::deadline`] is due.
    Tick,
    /// Finish: commit and answer what was taken, make everything durable, mark the stop as clean,
    /// then [`Output::Stopped`].
    Stop,
}

/// One effect of the shard.
#[derive(Debug)]
pub enum Output {
    /// To be done on disk.
    Disk(IoId, DiskOp),
    /// To be sent to the client, after what was sent before.
    Reply(ClientId, Protocol, Reply),
    /// To be closed once everything sent before has been written.
    Close(ClientId),
    /// [`Shard::accepts`] the client again after it did not.
    Resume(ClientId),
    /// Every partition has been opened (or has failed to, and says so): commands are served.
    Opened,
    /// The data directory can not be used: why, and what to do. The shard is finished.
    Refused(String),
    /// After [`Input::Stop`]: everything is durable and the process may end.
    Stopped,
    /// For the operator's log.
    Notice(Severity, String),
}

/// How urgent a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// What happened in the normal course.
    Info,
    /// Worth a look.
    Warn,
    /// Data or service is affected.
    Error,
}

/// Why [`Shard::deadline`] is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// When to fsync what was written (`--fsync N`).
    Fsync,
    /// When to look for expired keys.
    Expiry,
    /// When compaction may go on.
    Compaction,
    /// When to try again after a disk fault.
    Retry,
}

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

/// How a shard runs.
pub struct Config {
    /// Partitions of a new data directory; an existing one must agree.
    pub partitions: u32,
    /// When a write is acknowledged.
    pub fsync: FsyncMode,
    /// Which index each partition keeps.
    pub index: IndexKind,
    /// Size at which a segment rolls, in bytes.
    pub segment_bytes: u64,
    /// Seed of hashing, random choice and the directory id.
    pub seed: u64,
    /// TCP port, for INFO.
    pub port: u16,
    /// Process id, for INFO.
    pub process_id: u32,
    /// The driver's value cache.
    pub cache: Box<dyn ValueCache>,
}

/// See the module's header.
pub struct Shard {}

impl Shard {
    /// A shard about to open its data directory: the first outputs read it.
    pub fn new(_config: Config, _now: Now) -> Self {
        Self {}
    }

    /// Takes one event in.
    pub fn handle(&mut self, _now: Now, _input: Input<'_>) {}

    /// The next effect, until `None`.
    pub fn poll(&mut self) -> Option<Output> {
        None
    }

    /// When [`Input::Tick`] is due, and why.
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        None
    }

    /// Whether the client's next command may be handed in now. It may not while an earlier one
    /// waits for the disk or too many of its replies wait for a commit; an [`Output::Resume`]
    /// tells when it may again.
    pub fn accepts(&self, _client: ClientId) -> bool {
        true
    }
}
