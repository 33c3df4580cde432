//! The in-sync sets of the partitions that this node leads, as long as no log holds anything.
//!
//! No shard replicates yet, so every log is empty, and whoever is there holds all of it: a leader
//! wants every active replica in its in-sync set, and says so to the controller as it will when
//! there are records to catch up with.

use alloc::vec::Vec;

use crate::cluster::{AlterPartition, Life, Map};

/// The changes that the leader `me` wants, as of this map.
pub(super) fn wanted(map: &Map, me: Life) -> Vec<AlterPartition> {
    let led = map.partitions().filter(|(_, partition)| partition.leader == Some(me.node));
    let change = |(id, partition): (_, &crate::cluster::Partition)| {
        let alive = |node: &crate::NodeId| {
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
