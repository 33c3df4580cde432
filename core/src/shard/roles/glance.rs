//! Where the replicas stand, for those who watch.

use super::Role;
use crate::shard::Shard;
use crate::{Epoch, Millis, NodeId, Offset, PartitionId};

/// Where a replica stands, for those who watch it; see [`Shard::replicas`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplicaGlance {
    /// The partition.
    pub partition: PartitionId,
    /// It leads in this reign.
    pub leads: Option<Epoch>,
    /// It follows this node in this reign.
    pub follows: Option<(NodeId, Epoch)>,
    /// It leads and its reign's own record is committed, so that commands are evaluated.
    pub serves: bool,
    /// The replica's log is open.
    pub open: bool,
    /// A part of its log is known not to be readable.
    pub damaged: bool,
    /// The reign of its last record.
    pub epoch: Epoch,
    /// The next offset to write.
    pub log_end: Offset,
    /// The first offset of what is not handed to the disk yet.
    pub shippable_end: Offset,
    /// The first offset that it does not acknowledge.
    pub acked_end: Offset,
    /// The first offset that it does not know to be committed.
    pub watermark: Offset,
    /// The clock of what its log holds, committed where it serves.
    pub committed_clock: Millis,
}

impl Shard {
    /// The replicas of this node. Nothing is decided by it: it is for checkers and dashboards.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaGlance> {
        self.partitions.iter().map(|partition| {
            let replica = &partition.replica;
            ReplicaGlance {
                partition: partition.id,
                leads: partition.reign(),
                follows: match &partition.role {
                    Role::Follower(follower) => Some((follower.leader(), follower.epoch())),
                    Role::Alone | Role::Idle | Role::Leader(_) => None,
                },
                serves: partition.serves(),
                open: replica.serving(),
                damaged: replica.damaged(),
                epoch: replica.epochs().last().map_or(Epoch(0), |(epoch, _)| epoch),
                log_end: replica.log_end(),
                shippable_end: replica.shippable_end(),
                acked_end: replica.acked_end(),
                watermark: replica.high_watermark(),
                committed_clock: replica.committed_clock(),
            }
        })
    }
}
