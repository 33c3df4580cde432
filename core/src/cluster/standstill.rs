//! What goes on, and what does not, while no controller is there.
//!
//! Whatever needs no decision goes on: a leader serves as long as everybody in sync acknowledges,
//! and a promise of each of them is all that its reads need. What would need one stands still: a
//! partition whose leader is gone has nobody elected, and a leader whose replica in sync is gone can
//! neither commit without it nor have it taken out of the set. So its writes wait, and its reads with
//! them, for it can not know that it was not replaced.
//!
//! One node judges by its own links: another may see more, or less.

use alloc::vec::Vec;
use core::fmt;

use super::map::Map;
use super::view::{Listed, Quorum};
use super::words::Partition;
use crate::{NodeId, PartitionId};

/// The cluster without a controller, as one node sees it: its `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standstill {
    /// The voters, and how many of them this node reaches.
    pub quorum: Quorum,
    /// Partitions that nobody leads, or a node that is not reached.
    pub leaderless: Vec<PartitionId>,
    /// Partitions whose leader is reached, and somebody else in sync is not.
    pub waiting: Vec<PartitionId>,
    /// How many partitions go on.
    pub going_on: usize,
}

/// See [`Standstill`]; `reaches` tells of a node whether the one that looks has a link to it, or is
/// it.
pub fn standstill(map: &Map, quorum: Quorum, reaches: impl Fn(NodeId) -> bool) -> Standstill {
    let mut still = Standstill { quorum, leaderless: Vec::new(), waiting: Vec::new(), going_on: 0 };
    for (id, partition) in map.partitions() {
        match partition.leader {
            Some(leader) if reaches(leader) => match missing(partition, &reaches).next() {
                Some(_) => still.waiting.push(id),
                None => still.going_on += 1,
            },
            Some(_) | None => still.leaderless.push(id),
        }
    }
    still
}

/// Who is in sync in the partition and is not reached.
pub fn missing(
    partition: &Partition,
    reaches: impl Fn(NodeId) -> bool,
) -> impl Iterator<Item = NodeId> {
    partition.isr.iter().map(|seat| seat.life.node).filter(move |&node| !reaches(node))
}

impl fmt::Display for Standstill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quorum { voters, alive } = self.quorum;
        write!(f, "no controller: {alive} of {voters} voters are reached")?;
        match self.quorum.survives() {
            Some(_) => write!(f, ", so one is about to be elected")?,
            None => write!(f, ", {} must be", voters / 2 + 1)?,
        }
        write!(f, "; nobody is elected to lead a partition, and no in-sync set changes")?;
        if !self.leaderless.is_empty() {
            write!(f, "; {}: no reads or writes, no leader is reached", Listed(&self.leaderless))?;
        }
        if !self.waiting.is_empty() {
            let listed = Listed(&self.waiting);
            write!(f, "; {listed}: no reads or writes, someone in sync is not reached")?;
        }
        match self.going_on {
            0 => Ok(()),
            1 => write!(f, "; 1 partition goes on"),
            n => write!(f, "; {n} partitions go on"),
        }
    }
}
