//! Where the partitions are: which are open here, and who leads the others.

use alloc::vec::Vec;

use crate::shard::Shard;
use crate::{Epoch, NodeId, PartitionId, slot};

/// Which partitions there are, and where each stands in the shard.
#[derive(Debug, Default)]
pub(in crate::shard) struct Homes {
    /// By partition; none for those that are not open here.
    local: Vec<Option<usize>>,
}

impl Homes {
    /// There are so many partitions.
    ///
    /// # Panics
    /// If another number is known: it is fixed for a cluster's life.
    pub(in crate::shard) fn set_count(&mut self, count: usize) {
        assert!(self.local.is_empty() || self.local.len() == count, "the number is fixed");
        self.local.resize(count, None);
    }

    /// The partition stands at `at` in the shard.
    pub(in crate::shard) fn open(&mut self, id: PartitionId, at: usize) {
        self.local[id.0 as usize] = Some(at);
    }

    /// How many partitions share the slots; zero before that is known.
    pub(in crate::shard) fn count(&self) -> u32 {
        self.local.len() as u32
    }

    /// The partition of a key.
    ///
    /// # Panics
    /// If no partition is known.
    pub(in crate::shard) fn of(&self, key: &[u8]) -> PartitionId {
        if self.local.len() == 1 {
            return PartitionId(0);
        }
        slot::partition(slot::slot(key), self.count())
    }

    /// Where the partition stands in the shard.
    pub(in crate::shard) fn find(&self, id: PartitionId) -> Option<usize> {
        self.local.get(id.0 as usize).copied().flatten()
    }

    /// Where the partition of a key stands in the shard.
    pub(in crate::shard) fn at(&self, key: &[u8]) -> Option<usize> {
        if self.local.is_empty() { None } else { self.find(self.of(key)) }
    }
}

impl Shard {
    /// Who leads the partition and in which reign, as far as this node knows.
    pub(in crate::shard) fn route(&self, id: PartitionId) -> Option<(NodeId, Epoch)> {
        let partition = self.cluster.as_ref()?.map.partition(id)?;
        let over = self.forwarding.over(id).is_some_and(|over| partition.epoch <= over);
        partition.leader.filter(|_| !over).map(|leader| (leader, partition.epoch))
    }

    /// Whether this node leads the partition and serves it.
    pub(in crate::shard) fn leads(&self, id: PartitionId) -> bool {
        self.homes.find(id).is_some_and(|at| self.partitions[at].serves())
    }

    /// Whether it does so in this reign.
    pub(in crate::shard) fn leads_in(&self, id: PartitionId, epoch: Epoch) -> bool {
        self.leads(id)
            && self.homes.find(id).is_some_and(|at| self.partitions[at].reign() == Some(epoch))
    }
}
