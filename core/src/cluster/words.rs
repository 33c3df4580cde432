//! The words of the cluster map: what a cluster is founded with, what a node says of itself, what a
//! partition is made of.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{ClusterId, DirectoryId, Epoch, Incarnation, Index, NodeId};

/// What a cluster is founded with: fixed for its life.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Founding {
    /// The cluster's name among all clusters.
    pub cluster: ClusterId,
    /// The feature level that it starts with.
    pub level: u32,
    /// Partitions that share the slots.
    pub partitions: u32,
    /// Replicas of each partition.
    pub replication_factor: u32,
    /// In-sync replicas below which a partition takes no writes.
    pub min_isr: u32,
    /// The nodes that the first placement waits for.
    pub expected: BTreeSet<NodeId>,
}

/// The feature levels that a node's program understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Features {
    /// The lowest.
    pub min: u32,
    /// The highest.
    pub max: u32,
}

impl Features {
    /// Whether `level` is among them.
    pub fn include(self, level: u32) -> bool {
        (self.min..=self.max).contains(&level)
    }
}

/// What a node says of itself when it registers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Registration {
    /// The node.
    pub node: NodeId,
    /// Its data directory.
    pub directory: DirectoryId,
    /// Drawn by the process at its start: by it the process knows its own registration.
    pub nonce: u64,
    /// Whether the directory still holds everything that the node had acknowledged up to its last
    /// registered life: it was stopped cleanly, or every acknowledgement waited for an fsync. A
    /// life that began without may say so only once it has registered without.
    pub clean: bool,
    /// Where other nodes reach it, `host:port`.
    pub peer: String,
    /// Where clients reach it, `host:port`.
    pub client: String,
    /// What fails together with it; replicas are spread over racks.
    pub rack: Option<String>,
    /// Its program's version, for people.
    pub version: String,
    /// The feature levels it understands.
    pub features: Features,
}

impl Registration {
    /// Where clients reach it, as host and port. An IPv6 address stands without its brackets.
    pub fn client_address(&self) -> (&str, u16) {
        split_address(&self.client)
    }

    /// The same for its peers.
    pub fn peer_address(&self) -> (&str, u16) {
        split_address(&self.peer)
    }
}

fn split_address(address: &str) -> (&str, u16) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    (bare.unwrap_or(host), port.parse().unwrap_or(0))
}

/// One life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Life {
    /// The node.
    pub node: NodeId,
    /// Which of its lives.
    pub incarnation: Incarnation,
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.node, self.incarnation)
    }
}

/// Whether a node may lead and enter in-sync sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// It may not: it has just registered, or its session lapsed, or it is stopping.
    Fenced,
    /// It may.
    Active,
}

/// A registered node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Node {
    /// Which life is registered: the index of its registration.
    pub incarnation: Incarnation,
    /// What it said of itself.
    pub registration: Registration,
    /// Whether it is fenced.
    pub standing: Standing,
    /// The entry that last changed its registration or standing. It is unfenced only once it has
    /// applied this.
    pub since: Index,
}

impl Node {
    /// Its registered life.
    pub fn life(&self) -> Life {
        Life { node: self.registration.node, incarnation: self.incarnation }
    }

    /// Whether it may lead and enter in-sync sets.
    pub fn is_active(&self) -> bool {
        match self.standing {
            Standing::Active => true,
            Standing::Fenced => false,
        }
    }
}

/// A version of one partition's entry in the map: grows with every change of it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PartitionEpoch(pub u64);

impl PartitionEpoch {
    /// The one after.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for PartitionEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// A run of slots, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SlotRange {
    /// The first slot.
    pub first: u32,
    /// The last slot.
    pub last: u32,
}

impl fmt::Display for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// A seat in an in-sync set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seat {
    /// Who is in sync, and in which life.
    pub life: Life,
    /// The directory that holds the data.
    pub directory: DirectoryId,
    /// False: the node stopped uncleanly while it was the last in sync, so what it had acknowledged
    /// may be missing. Such a seat is the only one, and its partition has no leader.
    pub whole: bool,
}

/// Why acknowledged writes of a partition may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// An operator had a replica elected that was not in sync.
    Operator,
    /// The last replica in sync came back from an unclean stop, and the longest log was taken.
    UncleanStop,
}

/// Acknowledged writes of a partition may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Doubt {
    /// The reign that began without them.
    pub epoch: Epoch,
    /// Why.
    pub cause: Cause,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Partition {
    /// The slots it holds.
    pub slots: SlotRange,
    /// Who holds a replica; the first is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// Who holds every committed record, by node id. Never empty.
    pub isr: Vec<Seat>,
    /// Who was in sync when the leader last said so, or was elected in sync or by an operator: whoever has
    /// since been fenced or has stopped uncleanly is still among them, and whoever has the longest log, until
    /// it has begun to lead. A recovery waits for these.
    pub last_isr: Vec<NodeId>,
    /// Who leads; none while no replica in sync may.
    pub leader: Option<NodeId>,
    /// The last reign that was begun.
    pub epoch: Epoch,
    /// Grows with every change.
    pub partition_epoch: PartitionEpoch,
    /// Whether acknowledged writes may be missing, until an operator has taken note.
    pub doubt: Option<Doubt>,
}

impl Partition {
    /// The seat of `node` in the in-sync set.
    pub fn seat(&self, node: NodeId) -> Option<&Seat> {
        self.isr.iter().find(|seat| seat.life.node == node)
    }

    /// The in-sync set as lives.
    pub fn isr_lives(&self) -> Vec<Life> {
        self.isr.iter().map(|seat| seat.life).collect()
    }

    /// The last reign of who was elected for the longest log, while that is in doubt.
    pub fn longest_log(&self) -> Option<Epoch> {
        let doubt = self.doubt.filter(|doubt| doubt.cause == Cause::UncleanStop);
        doubt.map(|doubt| doubt.epoch)
    }
}
