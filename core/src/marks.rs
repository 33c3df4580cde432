//! Rare states that tests want to have seen: a machine marks that it was there.
//!
//! A mark decides nothing and costs the setting of a bit. The simulator gathers them over many runs
//! and reports the ones that were never reached: what no run has visited, no checker has judged.

/// A rare state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Mark {
    /// An opening cut a torn tail.
    TornTail,
    /// The torn tail began within a batch.
    TornBatch,
    /// An opening found a range that holds no records, and kept it.
    Damage,
    /// A segment was loaded from its hint.
    HintUsed,
    /// An opening has passed over a value that had expired.
    ExpiredAtOpening,
    /// A hint was not trusted.
    HintRefused,
    /// An opening deleted a file that its manifest does not name.
    Leftover,
    /// The active segment was sealed and a new one begun.
    Rolled,
    /// The same because a fault had spoilt it.
    RolledAfterFault,
    /// A write failed.
    WriteFailed,
    /// A write found the disk full.
    DiskFull,
    /// An fsync failed, and the replica stopped.
    SyncFailed,
    /// A replica that had stopped on a fault opened again.
    Reopened,
    /// A merge put its output in the place of its inputs.
    Merged,
    /// A merge was given up.
    MergeGivenUp,
    /// A key was written while a merge copied its earlier value.
    MergeRaced,
    /// A merge dropped a tombstone.
    TombstoneDropped,
    /// A merge kept a tombstone, because an older segment may hold its key.
    TombstoneKept,
    /// A merge dropped an expired record.
    ExpiredDropped,
    /// A read met a record with a wrong checksum.
    ReadCorrupt,
    /// A read failed.
    ReadFailed,
    /// A sealed segment was read through and is sound.
    Scrubbed,
    /// One was read through and is not.
    ScrubFoundDamage,
    /// A command waited for a value from disk, and was evaluated again.
    ReadAwaited,
    /// A command waited for a clock that was not committed.
    ClockAwaited,
    /// One fsync committed the writes of several commands.
    GroupCommit,
    /// An expired key was removed without being asked for.
    ExpiredSwept,
    /// An opening found the mark of a clean stop.
    CleanStart,
    /// A member would not vote for a candidate.
    PreVoteRefused,
    /// A candidate was voted against.
    VoteRefused,
    /// A leader stepped down in its term: it heard from no majority, or was voted out.
    SteppedDown,
    /// A part of the quorum's log was cut, since the leader's was another.
    ConflictCut,
    /// A leader's snapshot took the place of the log.
    SnapshotInstalled,
    /// A snapshot was sent in more than one piece.
    SnapshotInPieces,
    /// A start found a vote in a term of which the log has nothing.
    VoteRemembered,
    /// A voter was removed.
    VoterRemoved,
    /// A voter was added.
    VoterAdded,
    /// A member stood for election because its leader asked it to.
    TookOver,
    /// A node was to be fenced.
    NodeFenced,
    /// A partition was without a leader.
    PartitionOffline,
    /// An operator had a replica elected that was not in sync.
    UncleanElection,
    /// A second process with the id of a node that is alive was refused.
    DuplicateRefused,
    /// A member began again from its store after a disk fault.
    StoreReread,
    /// A fresh node founded a cluster.
    Founded,
    /// A fresh node joined a cluster.
    Joined,
    /// A message could not be sent for want of a link.
    SentInVain,
    /// A link had no room for clients' commands or answers.
    LinkFull,
    /// An operator's request was handed to the controller of another node.
    RequestRelayed,
    /// It was not known whether the controller had done it.
    RequestUnknown,
    /// A command was evaluated at another node.
    Forwarded,
    /// A command was cut into parts for several partitions.
    FannedOut,
    /// A command waited for a leader.
    Stalled,
    /// This node began to lead a partition.
    ReignBegun,
    /// It ceased to lead one.
    ReignEnded,
    /// It could not go on in its reign, for its log had failed.
    Resigned,
    /// A follower's log was cut, since the leader's was another.
    LogCut,
    /// A follower was sent what the leader had to read from disk.
    CaughtUpFromDisk,
    /// A node found that it lacks what it may have acknowledged, and began another life.
    BeganUnclean,
    /// A replica whose log was damaged began again from zero.
    Refetched,
}

impl Mark {
    /// All of them.
    pub const ALL: [Self; 59] = [
        Self::TornTail,
        Self::TornBatch,
        Self::Damage,
        Self::HintUsed,
        Self::ExpiredAtOpening,
        Self::HintRefused,
        Self::Leftover,
        Self::Rolled,
        Self::RolledAfterFault,
        Self::WriteFailed,
        Self::DiskFull,
        Self::SyncFailed,
        Self::Reopened,
        Self::Merged,
        Self::MergeGivenUp,
        Self::MergeRaced,
        Self::TombstoneDropped,
        Self::TombstoneKept,
        Self::ExpiredDropped,
        Self::ReadCorrupt,
        Self::ReadFailed,
        Self::Scrubbed,
        Self::ScrubFoundDamage,
        Self::ReadAwaited,
        Self::ClockAwaited,
        Self::GroupCommit,
        Self::ExpiredSwept,
        Self::CleanStart,
        Self::PreVoteRefused,
        Self::VoteRefused,
        Self::SteppedDown,
        Self::ConflictCut,
        Self::SnapshotInstalled,
        Self::SnapshotInPieces,
        Self::VoteRemembered,
        Self::VoterRemoved,
        Self::VoterAdded,
        Self::TookOver,
        Self::NodeFenced,
        Self::PartitionOffline,
        Self::UncleanElection,
        Self::DuplicateRefused,
        Self::StoreReread,
        Self::Founded,
        Self::Joined,
        Self::SentInVain,
        Self::LinkFull,
        Self::RequestRelayed,
        Self::RequestUnknown,
        Self::Forwarded,
        Self::FannedOut,
        Self::Stalled,
        Self::ReignBegun,
        Self::ReignEnded,
        Self::Resigned,
        Self::LogCut,
        Self::CaughtUpFromDisk,
        Self::BeganUnclean,
        Self::Refetched,
    ];

    /// Whether it is a state of the controller quorum.
    pub fn is_of_quorum(self) -> bool {
        self as u32 >= Self::PreVoteRefused as u32 && !self.is_of_replication()
    }

    /// Whether it is a state of replicated partitions.
    pub fn is_of_replication(self) -> bool {
        self as u32 >= Self::Forwarded as u32
    }

    /// Its name, as reports print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TornTail => "torn tail cut",
            Self::TornBatch => "torn tail within a batch",
            Self::Damage => "damage found at opening",
            Self::HintUsed => "hint used",
            Self::ExpiredAtOpening => "expired at opening",
            Self::HintRefused => "hint refused",
            Self::Leftover => "leftover deleted",
            Self::Rolled => "segment rolled",
            Self::RolledAfterFault => "segment rolled after a fault",
            Self::WriteFailed => "write failed",
            Self::DiskFull => "disk full",
            Self::SyncFailed => "fsync failed",
            Self::Reopened => "replica reopened after a fault",
            Self::Merged => "merge finished",
            Self::MergeGivenUp => "merge given up",
            Self::MergeRaced => "merge met a newer write",
            Self::TombstoneDropped => "tombstone dropped",
            Self::TombstoneKept => "tombstone kept",
            Self::ExpiredDropped => "expired record dropped",
            Self::ReadCorrupt => "read met damage",
            Self::ReadFailed => "read failed",
            Self::ReadAwaited => "command waited for a read",
            Self::ClockAwaited => "command waited for a clock",
            Self::GroupCommit => "group commit of several",
            Self::ExpiredSwept => "expired key swept",
            Self::CleanStart => "start after a clean stop",
            Self::PreVoteRefused => "pre-vote refused",
            Self::VoteRefused => "vote refused",
            Self::SteppedDown => "leader stepped down in its term",
            Self::ConflictCut => "conflict cut from the log",
            Self::SnapshotInstalled => "snapshot installed",
            Self::SnapshotInPieces => "snapshot sent in pieces",
            Self::VoteRemembered => "vote remembered at a start",
            Self::VoterRemoved => "voter removed",
            Self::VoterAdded => "voter added",
            Self::TookOver => "leadership handed over",
            Self::NodeFenced => "node fenced",
            Self::PartitionOffline => "partition offline",
            Self::UncleanElection => "unclean election",
            Self::DuplicateRefused => "duplicate node refused",
            Self::StoreReread => "store reread after a fault",
            Self::Founded => "cluster founded",
            Self::Joined => "cluster joined",
            Self::SentInVain => "message without a link",
            Self::LinkFull => "link without room for commands",
            Self::RequestRelayed => "operator's request relayed",
            Self::RequestUnknown => "operator's request of unknown outcome",
            Self::Forwarded => "command forwarded",
            Self::FannedOut => "command over several partitions",
            Self::Stalled => "command waited for a leader",
            Self::ReignBegun => "reign begun",
            Self::ReignEnded => "reign ended",
            Self::Resigned => "leader resigned",
            Self::LogCut => "follower's log cut",
            Self::CaughtUpFromDisk => "follower caught up from disk",
            Self::BeganUnclean => "unclean life begun",
            Self::Refetched => "damaged replica refetched",
            Self::Scrubbed => "segment scrubbed",
            Self::ScrubFoundDamage => "scrub found damage",
        }
    }
}

/// A set of marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Marks(u128);

impl Marks {
    /// The machine was there.
    pub fn hit(&mut self, mark: Mark) {
        self.0 |= 1 << (mark as u32);
    }

    /// The same, if `reached`.
    pub fn hit_if(&mut self, reached: bool, mark: Mark) {
        self.0 |= u128::from(reached) << (mark as u32);
    }

    /// Whether it is in the set.
    pub fn has(self, mark: Mark) -> bool {
        self.0 & 1 << (mark as u32) != 0
    }

    /// Both sets in one.
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set as bits.
    pub fn bits(self) -> u128 {
        self.0
    }

    /// The set of these bits.
    pub fn from_bits(bits: u128) -> Self {
        Self(bits)
    }
}

const _: () = assert!(Mark::ALL.len() <= 96);
