//! Whose disk may be lost next, with the data on it.
//!
//! What is committed lives on the disks of those who are in the in-sync set. One of them may be lost if
//! another stays that has it all: one that the committed map names in sync, that nobody is about to take
//! out, and whose log, as far as it was seen written, holds everything that any watermark has covered. A
//! node that holds nothing of what is committed, or nothing that others have not, is free to lose its disk.
//! Where a loss of power takes what was acknowledged (relaxed fsync), nobody is known to have it all.

use kvnode_core::PartitionId;
use kvnode_core::cluster::Map;

use super::watch::Watch;

/// Whether the disk of `node` may be lost now. `is_intact`: whether nothing on a node's disk is lost or
/// damaged.
pub(crate) fn may_lose(
    watch: &Watch,
    map: &Map,
    node: u32,
    is_intact: impl Fn(u32) -> bool,
) -> bool {
    let survives = |p: PartitionId| {
        if watch.is_relaxed() {
            return false;
        }
        let Some(held) = map.partition(p) else { return true };
        let others = held.isr.iter().filter(|seat| {
            let own = map.node(seat.life.node);
            own.is_some_and(|own| own.registration.directory == seat.directory)
        });
        let mut others = others.map(|seat| seat.life.node.0).filter(|&other| other != node);
        others.any(|other| {
            is_intact(other) && !watch.is_asked(p, map) && watch.holds_committed(other, p)
        })
    };
    map.partitions().filter(|(_, held)| concerns(held, node)).all(|(p, _)| survives(p))
}

/// Whether the node holds a replica, or did and may be the last to have it.
fn concerns(held: &kvnode_core::cluster::Partition, node: u32) -> bool {
    held.replicas.iter().any(|replica| replica.0 == node)
        || held.isr.iter().any(|seat| seat.life.node.0 == node)
}
