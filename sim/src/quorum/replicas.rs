//! The in-sync sets that the leaders of a node want that has no shard, where no log holds anything:
//! whoever is there holds all of it, so that a leader wants every active replica in its in-sync set.

use kvnode_core::NodeId;
use kvnode_core::cluster::{AlterPartition, Life, Map, Partition};

/// The changes that the leader `me` wants, as of this map.
pub(crate) fn wanted(map: &Map, me: Life) -> Vec<AlterPartition> {
    let led = map.partitions().filter(|(_, partition)| partition.leader == Some(me.node));
    let change = |(id, partition): (_, &Partition)| {
        let alive = |node: &NodeId| {
            let node = map.node(*node)?;
            (node.is_active() || node.life() == me).then(|| node.life())
        };
        let mut isr: Vec<Life> = partition.replicas.iter().filter_map(alive).collect();
        isr.sort_unstable();
        (isr != partition.isr_lives()).then_some(AlterPartition {
            partition: id,
            leader: me.node,
            epoch: partition.epoch,
            partition_epoch: partition.partition_epoch,
            isr,
        })
    };
    led.filter_map(change).collect()
}
