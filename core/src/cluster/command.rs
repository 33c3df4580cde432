//! What a controller may propose to the quorum. Whether it holds is decided when it is applied, by
//! [`Map::apply`](super::Map::apply).

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::words::{Founding, Life, PartitionEpoch, Registration};
use crate::{Epoch, NodeId, PartitionId};

/// One entry of the quorum's log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Command {
    /// The cluster begins. Only once.
    Found(Founding),
    /// A process registers its node: a new incarnation, fenced at first.
    Register(Registration),
    /// A fenced node may lead and enter in-sync sets again.
    Unfence(Life),
    /// A node leads no more and leaves every in-sync set in which others remain.
    Fence(Life),
    /// The first placement: the replicas of each partition, the preferred leader first.
    CreatePartitions(Vec<Vec<NodeId>>),
    /// A leader changes its in-sync set.
    AlterPartition(AlterPartition),
    /// A replica begins a reign.
    ElectLeader(ElectLeader),
    /// The replicas of a partition change: who is added starts out of sync, who is taken away
    /// loses its seat.
    Reassign(Reassign),
    /// An operator has taken note that acknowledged writes of the partition may be missing.
    AcceptLoss(PartitionId),
    /// A node leaves for good: it must be fenced and hold no replica.
    Unregister(NodeId),
    /// The cluster uses a higher feature level from here on.
    SetFeature(u32),
}

/// See [`Command::AlterPartition`]: a compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AlterPartition {
    /// The partition.
    pub partition: PartitionId,
    /// Who proposes it: the leader.
    pub leader: NodeId,
    /// In which reign.
    pub epoch: Epoch,
    /// Against which version of the partition.
    pub partition_epoch: PartitionEpoch,
    /// The new in-sync set, the leader included.
    pub isr: Vec<Life>,
}

/// See [`Command::ElectLeader`]: a compare-and-set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ElectLeader {
    /// The partition.
    pub partition: PartitionId,
    /// Who is to lead.
    pub leader: Life,
    /// Against which version of the partition.
    pub partition_epoch: PartitionEpoch,
    /// The highest epoch that was found in a log: the new reign is above it, and above every
    /// earlier reign of the partition.
    pub above: Epoch,
    /// By which right.
    pub right: Right,
}

/// By which right a replica begins a reign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Right {
    /// It is in sync.
    InSync,
    /// The last replica in sync came back from an unclean stop, and this one has the longest log.
    LongestLog,
    /// An operator named it, since nobody in sync is there.
    Operator,
    /// It is in sync and leads, and can not go on in its reign.
    Renewal,
}

/// See [`Command::Reassign`]: a compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reassign {
    /// The partition.
    pub partition: PartitionId,
    /// Against which version of the partition.
    pub partition_epoch: PartitionEpoch,
    /// The new replicas, the preferred leader first. The leader must be among them, and of the
    /// in-sync set as many as min-ISR, or all.
    pub replicas: Vec<NodeId>,
}

/// Bytes that are not what they should be: a command or a snapshot of another format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {0} of the cluster map that this version understands")]
pub struct FormatError(pub &'static str);

impl Command {
    /// As it stands in the quorum's log.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("plain data can be written to memory")
    }

    /// The command that [`Command::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        match postcard::take_from_bytes(bytes) {
            Ok((command, [])) => Ok(command),
            Ok(_) | Err(_) => Err(FormatError("command")),
        }
    }
}
