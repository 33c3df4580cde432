//! Why a command changed nothing.

use serde::{Deserialize, Serialize};

use crate::{Incarnation, NodeId};

/// Why [`Map::apply`](super::Map::apply) refused a command. Refusing is as deterministic as
/// applying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Every other command comes after the founding.
    #[error("the cluster is not founded")]
    NotFounded,
    /// The founding comes once.
    #[error("the cluster is founded already")]
    AlreadyFounded,
    /// A number or a text is beyond its limit, or a set names one twice.
    #[error("{0} out of bounds")]
    OutOfBounds(Field),
    /// The same process has registered already.
    #[error("this process is registered already")]
    AlreadyRegistered,
    /// Its directory is registered under another node id.
    #[error("its directory belongs to {0}")]
    DirectoryOfAnother(NodeId),
    /// The node does not understand the feature level.
    #[error("{0} does not understand the feature level")]
    FeatureUnsupported(NodeId),
    /// A feature level only rises.
    #[error("the feature level is not higher")]
    LevelNotHigher,
    /// The node is not registered.
    #[error("{0} is not registered")]
    UnknownNode(NodeId),
    /// Another life of the node is registered.
    #[error("{0} is registered as {1}")]
    StaleIncarnation(NodeId, Incarnation),
    /// The node is fenced.
    #[error("{0} is fenced")]
    Fenced(NodeId),
    /// The node is not fenced.
    #[error("{0} is not fenced")]
    NotFenced(NodeId),
    /// The node holds replicas.
    #[error("{0} holds replicas")]
    HoldsReplicas(NodeId),
    /// There is no such partition.
    #[error("no such partition")]
    UnknownPartition,
    /// The partitions exist already.
    #[error("the partitions exist already")]
    AlreadyPlaced,
    /// The partition has changed in between.
    #[error("the partition has changed in between")]
    StalePartitionEpoch,
    /// The proposer does not lead the partition.
    #[error("{0} does not lead")]
    NotLeader(NodeId),
    /// The reign is over.
    #[error("the epoch is over")]
    StaleEpoch,
    /// The node has no replica of the partition.
    #[error("{0} has no replica")]
    NotReplica(NodeId),
    /// An in-sync set is never empty, and its leader is in it.
    #[error("the in-sync set is without its leader")]
    WithoutLeader,
    /// Too few in-sync replicas would remain.
    #[error("too few in-sync replicas remain")]
    TooFewInSync,
    /// The node is not in sync.
    #[error("{0} is not in sync")]
    NotInSync(NodeId),
    /// The partition has a leader, or can have one that is in sync.
    #[error("a replica in sync leads or can")]
    CleanPossible,
    /// The last replica in sync has not come back from an unclean stop.
    #[error("the last replica in sync has not come back unclean")]
    NothingLost,
    /// There is no epoch left.
    #[error("no epoch is left")]
    EpochsUsedUp,
    /// It is so already.
    #[error("it is so already")]
    Unchanged,
}

impl Refusal {
    /// Whether the command was overtaken by another, and may be called for again as things are.
    pub(super) fn is_lost_race(self) -> bool {
        matches!(self, Self::StalePartitionEpoch | Self::StaleIncarnation(..))
    }

    /// Whether a registration that was refused so will be refused again.
    pub(super) fn is_final(self) -> bool {
        match self {
            Self::OutOfBounds(_) | Self::DirectoryOfAnother(_) | Self::FeatureUnsupported(_) => {
                true
            }
            Self::NotFounded
            | Self::AlreadyFounded
            | Self::AlreadyRegistered
            | Self::LevelNotHigher
            | Self::UnknownNode(_)
            | Self::StaleIncarnation(..)
            | Self::Fenced(_)
            | Self::NotFenced(_)
            | Self::HoldsReplicas(_)
            | Self::UnknownPartition
            | Self::AlreadyPlaced
            | Self::StalePartitionEpoch
            | Self::NotLeader(_)
            | Self::StaleEpoch
            | Self::NotReplica(_)
            | Self::WithoutLeader
            | Self::TooFewInSync
            | Self::NotInSync(_)
            | Self::CleanPossible
            | Self::NothingLost
            | Self::EpochsUsedUp
            | Self::Unchanged => false,
        }
    }
}

/// What is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Field {
    /// The number of partitions.
    Partitions,
    /// The replication factor, or the number of replicas.
    Replicas,
    /// The min-ISR.
    MinIsr,
    /// The number of nodes.
    Nodes,
    /// An address.
    Address,
    /// A rack's name.
    Rack,
    /// A version's name.
    Version,
    /// The range of feature levels.
    Features,
    /// The in-sync set.
    Isr,
}

impl core::fmt::Display for Field {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Partitions => "partitions",
            Self::Replicas => "replicas",
            Self::MinIsr => "min-ISR",
            Self::Nodes => "nodes",
            Self::Address => "address",
            Self::Rack => "rack",
            Self::Version => "version",
            Self::Features => "feature levels",
            Self::Isr => "in-sync set",
        })
    }
}
