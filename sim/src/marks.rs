//! Rare states: what a campaign should have seen at least once, or it has not looked there.
//!
//! Marks of the node's own states are core's ([`kvnode_core::marks`]); those of what clients meet are
//! here. A campaign reports the ones that no run has reached.

use kvnode_core::marks::{Mark, Marks};

use crate::settings::Profile;

/// A rare state that shows outside the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Seen {
    /// A client was told that the disk is full.
    DiskFull = 96,
    /// A client was told that a partition is down.
    Down,
    /// A client was told that nobody knows what became of its command.
    Unknown,
    /// A client was told that its command took effect in some partitions and not in others.
    Partly,
    /// A client was told that what it asks for is damaged.
    Corrupt,
    /// A client was told that the node is loading, or stopping.
    Loading,
    /// A transaction was aborted by a WATCH.
    Aborted,
    /// A client lost its connection with a call under way.
    Broken,
    /// A client waited in vain.
    Impatient,
    /// A node refused its directory.
    Refused,
    /// A crash met disk operations under way.
    CrashWhileWriting,
    /// A crash met an opening.
    CrashWhileOpening,
    /// A client was told that a partition has no leader.
    NoLeader,
    /// A client was told that the leadership has moved.
    Moved,
    /// A client was told that too few replicas are in sync.
    TooFew,
    /// A leader wanted a replica out of the in-sync set.
    LeavesInSync,
    /// A leader wanted a replica in the in-sync set.
    JoinsInSync,
    /// A follower was told to begin again from zero.
    FromZero,
    /// A client was told how many replicas have what it wrote.
    Counted,
    /// Records of an earlier reign came to a follower where those of its leader were to come next.
    OldReignFirst,
    /// A leader heard an acknowledgement of an earlier reign that says more than the one that comes next.
    OldAckFirst,
}

impl Seen {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::DiskFull,
        Self::Down,
        Self::Unknown,
        Self::Partly,
        Self::Corrupt,
        Self::Loading,
        Self::Aborted,
        Self::Broken,
        Self::Impatient,
        Self::Refused,
        Self::CrashWhileWriting,
        Self::CrashWhileOpening,
        Self::NoLeader,
        Self::Moved,
        Self::TooFew,
        Self::LeavesInSync,
        Self::JoinsInSync,
        Self::FromZero,
        Self::Counted,
        Self::OldReignFirst,
        Self::OldAckFirst,
    ];

    /// Its name, as campaigns print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::DiskFull => "client told disk full",
            Self::Down => "client told down",
            Self::Unknown => "client told unknown",
            Self::Partly => "client told partly",
            Self::Corrupt => "client told corrupt",
            Self::Loading => "client told loading",
            Self::Aborted => "transaction aborted",
            Self::Broken => "connection broke under a call",
            Self::Impatient => "client waited in vain",
            Self::Refused => "node refused its directory",
            Self::CrashWhileWriting => "crash with disk operations under way",
            Self::CrashWhileOpening => "crash while a directory is opened",
            Self::NoLeader => "client told no leader",
            Self::Moved => "client told try again",
            Self::TooFew => "client told too few replicas",
            Self::LeavesInSync => "replica to leave the in-sync set",
            Self::JoinsInSync => "replica to join the in-sync set",
            Self::FromZero => "follower told to begin from zero",
            Self::Counted => "client told who has its write",
            Self::OldReignFirst => "records of an earlier reign came first",
            Self::OldAckFirst => "an acknowledgement of an earlier reign came first",
        }
    }

    /// Whether it shows without clients.
    fn is_of_clusters(self) -> bool {
        matches!(self, Self::Refused | Self::CrashWhileWriting | Self::CrashWhileOpening)
    }

    /// Whether it shows only where partitions are replicated.
    fn is_of_replication(self) -> bool {
        self as u32 >= Self::NoLeader as u32
    }

    /// Whether it shows where partitions are replicated and no disk is damaged.
    fn is_without_damage(self) -> bool {
        !matches!(self, Self::Corrupt | Self::Down | Self::Loading)
    }

    /// Its place in a set of marks.
    pub fn bit(self) -> u128 {
        1 << (self as u32)
    }
}

/// The marks of core as a part of the whole set.
pub fn of_core(marks: Marks) -> u128 {
    marks.bits()
}

/// Every mark that the profile may reach, by name, and whether it is in the set.
pub fn all(profile: Profile, marks: u128) -> Vec<(&'static str, bool)> {
    let may_see = |seen: &&Seen| match profile {
        Profile::Cluster => seen.is_of_clusters(),
        Profile::Replication => seen.is_without_damage(),
        Profile::Standard
        | Profile::Calm
        | Profile::Disk
        | Profile::Clock
        | Profile::Network
        | Profile::Short => !seen.is_of_replication(),
    };
    let may_hit = |mark: &&Mark| match profile {
        Profile::Cluster => mark.is_of_quorum(),
        Profile::Replication => !of_damage(**mark),
        Profile::Standard
        | Profile::Calm
        | Profile::Disk
        | Profile::Clock
        | Profile::Network
        | Profile::Short => !mark.is_of_quorum() && !mark.is_of_replication(),
    };
    let core = Mark::ALL.iter().filter(may_hit);
    let core = core.map(|mark| (mark.name(), Marks::from_bits(marks).has(*mark)));
    let ours = Seen::ALL.iter().filter(may_see);
    let ours = ours.map(|seen| (seen.name(), marks & seen.bit() != 0));
    core.chain(ours).collect()
}

/// Whether only a damaged disk leads there.
fn of_damage(mark: Mark) -> bool {
    matches!(mark, Mark::Damage | Mark::HintRefused | Mark::ReadCorrupt | Mark::ReadFailed)
}

/// The names of those that are not in the set.
pub fn missing(profile: Profile, marks: u128) -> Vec<&'static str> {
    all(profile, marks).into_iter().filter(|(_, reached)| !reached).map(|(name, _)| name).collect()
}
