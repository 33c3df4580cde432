//! The map itself: what it holds and how it is read and stored. What changes it is in
//! [`apply`](super::apply).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::command::FormatError;
use super::words::{Founding, Life, Node, Partition, SlotRange};
use crate::slot::{self, SLOTS};
use crate::{Epoch, Index, NodeId, PartitionId};

/// The cluster map: the state that the committed log of the controller quorum adds up to. Equal
/// logs give equal maps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Map {
    pub(super) applied: Index,
    pub(super) founding: Option<Founding>,
    pub(super) level: u32,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) partitions: Vec<Partition>,
}

/// What an applied command changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Nodes that were registered, fenced, unfenced or removed.
    pub nodes: Vec<NodeId>,
    /// Partitions whose entry is another.
    pub partitions: Vec<PartitionId>,
}

/// First byte of a snapshot.
const SNAPSHOT_FORMAT: u8 = 1;

impl Map {
    /// The map before the first entry: not even founded.
    pub fn new() -> Self {
        Self::default()
    }

    /// The last entry that was applied or passed over.
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// What the cluster was founded with.
    pub fn founding(&self) -> Option<&Founding> {
        self.founding.as_ref()
    }

    /// The feature level in use.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// In-sync replicas below which a partition takes no writes; zero before the founding.
    pub fn min_isr(&self) -> usize {
        self.founding.as_ref().map_or(0, |founding| founding.min_isr as usize)
    }

    /// A registered node.
    pub fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(&node)
    }

    /// All registered nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().map(|(&id, node)| (id, node))
    }

    /// A partition. None exists before the first placement.
    pub fn partition(&self, partition: PartitionId) -> Option<&Partition> {
        self.partitions.get(partition.0 as usize)
    }

    /// All partitions, by id.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionId, &Partition)> {
        (0..).map(PartitionId).zip(&self.partitions)
    }

    /// The partition that holds `slot`.
    pub fn partition_of_slot(&self, slot: u32) -> Option<PartitionId> {
        let count = u32::try_from(self.partitions.len()).expect("limits.rs bounds it");
        (count > 0).then(|| slot::partition(slot, count))
    }

    /// Whether the node is registered in this life and not fenced.
    pub fn is_active(&self, life: Life) -> bool {
        self.node(life.node).is_some_and(|n| n.incarnation == life.incarnation && n.is_active())
    }

    /// Whether `node` may be elected leader of the partition without a doubt: it is active and in
    /// sync in its present life, and its seat is whole.
    pub fn is_electable(&self, partition: &Partition, node: NodeId) -> bool {
        partition.seat(node).is_some_and(|seat| seat.whole && self.is_active(seat.life))
    }

    /// Whether the last replica in sync has come back from an unclean stop with its directory and
    /// is active: the longest log may be taken.
    pub fn is_recoverable(&self, partition: &Partition) -> bool {
        match partition.isr[..] {
            [seat] => !seat.whole && self.is_active(seat.life),
            _ => false,
        }
    }

    /// The whole map as bytes, for a snapshot of the quorum's log.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, alloc::vec![SNAPSHOT_FORMAT])
            .expect("plain data can be written to memory")
    }

    /// The map that [`Map::encode`] wrote. Refuses what breaks an invariant.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        const ERROR: FormatError = FormatError("snapshot");
        let Some((&SNAPSHOT_FORMAT, content)) = bytes.split_first() else { return Err(ERROR) };
        match postcard::take_from_bytes::<Self>(content) {
            Ok((map, [])) if map.violation().is_none() => Ok(map),
            Ok(_) | Err(_) => Err(ERROR),
        }
    }

    /// A fingerprint: maps at equal index must have equal ones.
    pub fn digest(&self) -> u32 {
        crc32fast::hash(&self.encode())
    }
}

/// The epoch with which a partition's first leader starts.
pub(super) const FIRST_EPOCH: Epoch = Epoch(1);

/// The slots of partition `id` of `count`, as [`slot::partition`] shares them out.
pub(super) fn slots_of(id: u32, count: u32) -> SlotRange {
    assert!(id < count && count <= SLOTS);
    let first = (id * SLOTS).div_ceil(count);
    let last = ((id + 1) * SLOTS).div_ceil(count) - 1;
    SlotRange { first, last }
}
