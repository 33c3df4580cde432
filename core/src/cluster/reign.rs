//! What changes one partition: its in-sync set, its leader, its replicas. Each is a compare-and-set
//! on the partition epoch.

use alloc::vec::Vec;

use super::apply::{bounded, distinct, touch};
use super::command::{AlterPartition, ElectLeader, Reassign, Right};
use super::map::{Changes, Map};
use super::refusal::{Field, Refusal};
use super::words::{Cause, Doubt, Life, Partition, PartitionEpoch, Seat};
use crate::limits::REPLICAS_MAX;
use crate::{Epoch, NodeId, PartitionId};

impl Map {
    /// The leader says who is in sync. Who is added must be active in the life it was added in; who
    /// was in already stays by its seat. The same set again makes another version all the same: by
    /// that a leader withdraws an earlier proposal, which may still be on its way.
    pub(super) fn alter(&mut self, alter: &AlterPartition) -> Result<Changes, Refusal> {
        let isr = self.check_alter(alter)?;
        let partition = &mut self.partitions[alter.partition.0 as usize];
        seat_all(partition, isr);
        touch(partition);
        Ok(changed(alter.partition))
    }

    /// The seats of the new in-sync set, if it may be.
    pub(super) fn check_alter(&self, alter: &AlterPartition) -> Result<Vec<Seat>, Refusal> {
        let partition = self.found_at(alter.partition, alter.partition_epoch)?;
        if partition.leader != Some(alter.leader) {
            return Err(Refusal::NotLeader(alter.leader));
        }
        if partition.epoch != alter.epoch {
            return Err(Refusal::StaleEpoch);
        }
        bounded(Field::Isr, alter.isr.len(), partition.replicas.len())?;
        if !alter.isr.iter().any(|life| life.node == alter.leader) {
            return Err(Refusal::WithoutLeader);
        }
        let mut isr = Vec::with_capacity(alter.isr.len());
        for &life in &alter.isr {
            isr.push(self.seat_for(partition, life)?);
        }
        isr.sort_by_key(|seat| seat.life);
        if isr.windows(2).any(|pair| pair[0].life.node == pair[1].life.node) {
            return Err(Refusal::OutOfBounds(Field::Isr));
        }
        Ok(isr)
    }

    /// The seat that `life` has, or may have.
    fn seat_for(&self, partition: &Partition, life: Life) -> Result<Seat, Refusal> {
        if !partition.replicas.contains(&life.node) {
            return Err(Refusal::NotReplica(life.node));
        }
        let node = self.nodes.get(&life.node).ok_or(Refusal::UnknownNode(life.node))?;
        if node.incarnation != life.incarnation {
            return Err(Refusal::StaleIncarnation(life.node, node.incarnation));
        }
        match partition.seat(life.node) {
            Some(seat) if seat.life == life => Ok(*seat),
            Some(_) | None => self.active_seat(life.node),
        }
    }

    pub(super) fn elect(&mut self, elect: &ElectLeader) -> Result<Changes, Refusal> {
        let node = elect.leader.node;
        let partition = self.found_at(elect.partition, elect.partition_epoch)?;
        if !partition.replicas.contains(&node) {
            return Err(Refusal::NotReplica(node));
        }
        let seat = self.active_seat(node)?;
        if seat.life != elect.leader {
            return Err(Refusal::StaleIncarnation(node, seat.life.incarnation));
        }
        // The same leader begins another reign only if it can not go on in this one.
        if (partition.leader == Some(node)) != (elect.right == Right::Renewal) {
            return Err(Refusal::Unchanged);
        }
        let cause = self.check_right(partition, elect)?;
        let last = partition.epoch.max(elect.above);
        let epoch = Epoch(last.0.checked_add(1).ok_or(Refusal::EpochsUsedUp)?);

        let partition = &mut self.partitions[elect.partition.0 as usize];
        partition.leader = Some(node);
        partition.epoch = epoch;
        match cause {
            None => seat_all(partition, partition.isr.clone()),
            Some(Cause::Operator) => seat_all(partition, alloc::vec![seat]),
            // Should it turn out to have less than it told, the others are waited for once more.
            Some(Cause::UncleanStop) => {
                partition.isr = alloc::vec![seat];
                if !partition.last_isr.contains(&node) {
                    partition.last_isr.push(node);
                    partition.last_isr.sort();
                }
            }
        }
        partition.doubt = cause.map(|cause| Doubt { epoch, cause }).or(partition.doubt);
        touch(partition);
        Ok(changed(elect.partition))
    }

    /// Whether the right is given, and what doubt the election leaves.
    fn check_right(
        &self,
        partition: &Partition,
        elect: &ElectLeader,
    ) -> Result<Option<Cause>, Refusal> {
        match elect.right {
            Right::InSync | Right::Renewal if self.is_electable(partition, elect.leader.node) => {
                Ok(None)
            }
            Right::InSync | Right::Renewal => Err(Refusal::NotInSync(elect.leader.node)),
            Right::LongestLog if self.is_recoverable(partition) => Ok(Some(Cause::UncleanStop)),
            Right::LongestLog => Err(Refusal::NothingLost),
            Right::Operator if self.may_have_leader(partition) => Err(Refusal::CleanPossible),
            Right::Operator => Ok(Some(Cause::Operator)),
        }
    }

    /// Whether somebody leads the partition or could, without a doubt.
    pub fn may_have_leader(&self, partition: &Partition) -> bool {
        partition.leader.is_some()
            || partition.isr.iter().any(|seat| self.is_electable(partition, seat.life.node))
    }

    pub(super) fn reassign(&mut self, reassign: &Reassign) -> Result<Changes, Refusal> {
        let partition = self.found_at(reassign.partition, reassign.partition_epoch)?;
        bounded(Field::Replicas, reassign.replicas.len(), REPLICAS_MAX)?;
        // With fewer than min-ISR no write could ever be committed.
        if !distinct(&reassign.replicas) || reassign.replicas.len() < self.min_isr() {
            return Err(Refusal::OutOfBounds(Field::Replicas));
        }
        if let Some(&id) = reassign.replicas.iter().find(|&id| !self.nodes.contains_key(id)) {
            return Err(Refusal::UnknownNode(id));
        }
        if partition.replicas == reassign.replicas {
            return Err(Refusal::Unchanged);
        }
        let keeps = |id: NodeId| reassign.replicas.contains(&id);
        if partition.leader.is_some_and(|leader| !keeps(leader)) {
            return Err(Refusal::WithoutLeader);
        }
        let remain = partition.isr.iter().filter(|seat| keeps(seat.life.node)).count();
        if remain < self.min_isr().min(partition.isr.len()) {
            return Err(Refusal::TooFewInSync);
        }
        let partition = &mut self.partitions[reassign.partition.0 as usize];
        partition.isr.retain(|seat| keeps(seat.life.node));
        partition.last_isr.retain(|&id| keeps(id));
        partition.replicas.clone_from(&reassign.replicas);
        touch(partition);
        Ok(changed(reassign.partition))
    }

    pub(super) fn accept_loss(&mut self, id: PartitionId) -> Result<Changes, Refusal> {
        let index = id.0 as usize;
        let partition = self.partitions.get_mut(index).ok_or(Refusal::UnknownPartition)?;
        if partition.doubt.take().is_none() {
            return Err(Refusal::Unchanged);
        }
        touch(partition);
        Ok(changed(id))
    }

    /// The partition, if it stands at this version.
    fn found_at(&self, id: PartitionId, version: PartitionEpoch) -> Result<&Partition, Refusal> {
        let partition = self.partition(id).ok_or(Refusal::UnknownPartition)?;
        if partition.partition_epoch != version {
            return Err(Refusal::StalePartitionEpoch);
        }
        Ok(partition)
    }
}

/// A living leader knows of this in-sync set: it is also the last one.
fn seat_all(partition: &mut Partition, isr: Vec<Seat>) {
    partition.last_isr = isr.iter().map(|seat| seat.life.node).collect();
    partition.isr = isr;
}

fn changed(partition: PartitionId) -> Changes {
    Changes { nodes: Vec::new(), partitions: alloc::vec![partition] }
}
