//! Whose disk may be lost next, with the data on it.
//!
//! What is committed lives on the disks of those who are in the in-sync set. One of them may be lost if
//! another stays that has it all: one that the committed map names in sync, that nobody is about to take
//! out, and whose log, as far as it was seen written, holds everything that any watermark has covered. A
//! node that holds nothing of what is committed, or nothing that others have not, is free to lose its disk.
//! Where a loss of power takes what was acknowledged (relaxed fsync), nobody is known to have it all.
//!
//! Of a log that is gone its node tells when it comes back, in the directory that its seat names. So any
//! other replica that has it all will do, in sync or not, even if the node was the last that was: nobody
//! may be elected on an empty log while one is away.

use kvnode_core::PartitionId;
use kvnode_core::cluster::{Map, Partition};

use super::watch::Watch;

/// What of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    All,
    /// The logs of partitions, with its process down.
    Logs,
}

/// Whether that part of the disk of `node` may be lost now. `is_intact`: whether nothing on a node's disk is
/// lost or damaged.
pub(crate) fn may_lose(
    watch: &Watch,
    map: &Map,
    (node, part): (u32, Part),
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
        let holds =
            |other: u32| other != node && is_intact(other) && watch.holds_committed(other, p);
        let in_sync = others.map(|seat| seat.life.node.0);
        let mut any = held.replicas.iter().map(|replica| replica.0);
        !watch.is_asked(p, map) && in_sync.into_iter().any(holds)
            || part == Part::Logs && is_last(held, node) && any.any(holds)
    };
    map.partitions().filter(|(_, held)| concerns(held, node)).all(|(p, _)| survives(p))
}

/// Whether nobody else can have anything committed now.
fn is_last(held: &Partition, node: u32) -> bool {
    held.isr.iter().all(|seat| seat.life.node.0 == node)
}

/// Whether the node holds a replica, or did and may be the last to have it.
fn concerns(held: &Partition, node: u32) -> bool {
    held.replicas.iter().any(|replica| replica.0 == node)
        || held.isr.iter().any(|seat| seat.life.node.0 == node)
}
