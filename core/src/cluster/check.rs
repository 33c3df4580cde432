//! The invariants of the map. The ones of a partition are asserted after every command that touches
//! it, in release builds too; all of them when a snapshot is read, and in tests after every entry.

use super::apply::distinct;
use super::map::{Map, slots_of};
use super::words::{Partition, Seat};
use crate::limits::{NODES_MAX, REPLICAS_MAX};
use crate::{NodeId, PartitionId};

/// An invariant that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// There is something before the founding.
    #[error("something is there before the founding")]
    Unfounded,
    /// An incarnation is the index of an applied entry, and every node's own.
    #[error("the incarnation of {0} is not its own")]
    Incarnation(NodeId),
    /// A node is entered under its own id, within the limits, and understands the level in use.
    #[error("the registration of {0} is not in order")]
    Registration(NodeId),
    /// All partitions exist, or none.
    #[error("the number of partitions is not the founding's")]
    Partitions,
    /// The partitions hold every slot once, in order.
    #[error("{0} has not its slots")]
    Slots(PartitionId),
    /// Replicas are distinct registered nodes, one at least.
    #[error("the replicas of {0} are not distinct registered nodes")]
    Replicas(PartitionId),
    /// The in-sync set is a set of replicas, in order, and not empty.
    #[error("the in-sync set of {0} is empty or not of its replicas")]
    Isr(PartitionId),
    /// The last in-sync set is of the replicas and holds the in-sync set.
    #[error("the last in-sync set of {0} does not hold the in-sync set")]
    LastIsr(PartitionId),
    /// A seat beside others is whole and of the node's present life and directory; a seat of
    /// another life is the only one.
    #[error("a seat of {0} has outlived its holder")]
    Seat(PartitionId),
    /// A leader is active, in sync in its present life, and whole.
    #[error("the leader of {0} is fenced or not in sync")]
    Leader(PartitionId),
    /// An epoch, an incarnation or an index went back, or two reigns have one epoch.
    #[error("an epoch of {0} went back or was used twice")]
    Epoch(PartitionId),
    /// A partition changed and its partition epoch did not grow.
    #[error("{0} changed under one partition epoch")]
    PartitionEpoch(PartitionId),
    /// The founding changed, or partitions went away.
    #[error("what is founded has changed")]
    Founding,
}

impl Map {
    /// Asserts every invariant.
    pub fn check(&self) {
        assert_eq!(self.violation(), None, "{self:?}");
    }

    /// The first invariant that does not hold.
    pub fn violation(&self) -> Option<Violation> {
        let Some(founding) = &self.founding else {
            let empty = self.nodes.is_empty() && self.partitions.is_empty() && self.level == 0;
            return (!empty).then_some(Violation::Unfounded);
        };
        if !self.partitions.is_empty() && self.partitions.len() != founding.partitions as usize {
            return Some(Violation::Partitions);
        }
        self.nodes_violation().or_else(|| {
            self.partitions().find_map(|(id, partition)| self.partition_violation(id, partition))
        })
    }

    /// What `self` may not be, coming after `before`.
    pub fn violation_after(&self, before: &Self) -> Option<Violation> {
        let kept = before.founding.is_none() || self.founding == before.founding;
        if !kept || self.partitions.len() < before.partitions.len() || self.level < before.level {
            return Some(Violation::Founding);
        }
        for (id, node) in self.nodes() {
            let back = |earlier: &super::words::Node| earlier.incarnation > node.incarnation;
            if before.node(id).is_some_and(back) || self.applied < before.applied {
                return Some(Violation::Incarnation(id));
            }
        }
        before.partitions().zip(&self.partitions).find_map(|((id, old), new)| {
            let reign_began = new.leader.is_some() && new.leader != old.leader;
            if new.epoch < old.epoch || reign_began && new.epoch == old.epoch {
                return Some(Violation::Epoch(id));
            }
            let same_version = new.partition_epoch == old.partition_epoch;
            if new.partition_epoch < old.partition_epoch || same_version && new != old {
                return Some(Violation::PartitionEpoch(id));
            }
            None
        })
    }

    /// Asserts the invariants of these partitions.
    pub(super) fn assert_sound(&self, partitions: &[PartitionId]) {
        for &id in partitions {
            let partition = self.partition(id).expect("it was changed just now");
            let violation = self.partition_violation(id, partition);
            assert_eq!(violation, None, "{partition:?}");
        }
    }

    fn nodes_violation(&self) -> Option<Violation> {
        let mut incarnations = alloc::collections::BTreeSet::new();
        for (id, node) in self.nodes() {
            let own = incarnations.insert(node.incarnation)
                && node.incarnation.0 <= node.since.0
                && node.since <= self.applied;
            if !own {
                return Some(Violation::Incarnation(id));
            }
            let fits = node.registration.features.include(self.level);
            if node.registration.node != id || !fits || self.nodes.len() > NODES_MAX {
                return Some(Violation::Registration(id));
            }
        }
        None
    }

    fn partition_violation(&self, id: PartitionId, p: &Partition) -> Option<Violation> {
        let count = u32::try_from(self.partitions.len()).expect("limits.rs bounds it");
        let registered = p.replicas.iter().all(|node| self.nodes.contains_key(node));
        let ordered = p.isr.windows(2).all(|pair| pair[0].life.node < pair[1].life.node);
        let of_replicas = p.isr.iter().all(|seat| p.replicas.contains(&seat.life.node));
        let last_of_replicas = p.last_isr.iter().all(|node| p.replicas.contains(node));
        let last_holds = p.isr.iter().all(|seat| p.last_isr.contains(&seat.life.node));
        let sole = p.isr.len() == 1;
        let seats = p.isr.iter().all(|seat| self.seat_is_sound(seat, sole));
        let leader = p.leader.is_none_or(|leader| self.is_electable(p, leader));

        if p.slots != slots_of(id.0, count) {
            Some(Violation::Slots(id))
        } else if !registered || !distinct(&p.replicas) || p.replicas.len() > REPLICAS_MAX {
            Some(Violation::Replicas(id))
        } else if p.isr.is_empty() || !ordered || !of_replicas {
            Some(Violation::Isr(id))
        } else if !last_of_replicas || !last_holds || !distinct(&p.last_isr) {
            Some(Violation::LastIsr(id))
        } else if !seats {
            Some(Violation::Seat(id))
        } else if !leader {
            Some(Violation::Leader(id))
        } else {
            None
        }
    }

    fn seat_is_sound(&self, seat: &Seat, sole: bool) -> bool {
        let Some(node) = self.node(seat.life.node) else { return false };
        let same_life = seat.life == node.life();
        let same_directory = seat.directory == node.registration.directory;
        let of_the_past = seat.life.incarnation < node.incarnation && !same_directory;
        if sole {
            same_life && same_directory || of_the_past
        } else {
            seat.whole && same_life && same_directory
        }
    }
}
