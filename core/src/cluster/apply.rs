//! What each command does to the map, and when it is refused.
//!
//! Validation happens here, not where a command is proposed: between a proposal and its commit
//! other entries come, of this controller or of the one before it. So any controller may propose
//! anything; a command that lost a race is refused by name, the same way on every node, and changes
//! nothing but the index that the map stands at.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::command::Command;
use super::map::{Changes, FIRST_EPOCH, Map, slots_of};
use super::refusal::{Field, Refusal};
use super::words::{Founding, Life, Node, Partition, PartitionEpoch, Registration, Seat, Standing};
use crate::limits::{
    ADDRESS_BYTES_MAX, NODES_MAX, PARTITIONS_MAX, RACK_BYTES_MAX, REPLICAS_MAX, VERSION_BYTES_MAX,
};
use crate::{Incarnation, Index, NodeId, PartitionId};

impl Map {
    /// Takes the next entry of the log. A refusal is part of the story, not an error of the caller.
    pub fn apply(&mut self, index: Index, command: &Command) -> Result<Changes, Refusal> {
        self.pass(index);
        if self.founding.is_none() && !matches!(command, Command::Found(_)) {
            return Err(Refusal::NotFounded);
        }
        let changes = match command {
            Command::Found(founding) => self.found(founding),
            Command::Register(registration) => self.register(registration),
            Command::Unfence(life) => self.unfence(*life),
            Command::Fence(life) => self.fence(*life),
            Command::CreatePartitions(assignments) => self.create(assignments),
            Command::AlterPartition(alter) => self.alter(alter),
            Command::ElectLeader(elect) => self.elect(elect),
            Command::Reassign(reassign) => self.reassign(reassign),
            Command::AcceptLoss(partition) => self.accept_loss(*partition),
            Command::Unregister(node) => self.unregister(*node),
            Command::SetFeature(level) => self.set_feature(*level),
        }?;
        self.assert_sound(&changes.partitions);
        Ok(changes)
    }

    /// Passes over an entry that holds no command of the map, such as the first of a term.
    pub fn pass(&mut self, index: Index) {
        assert!(index > self.applied, "entry {index} after {}", self.applied);
        self.applied = index;
    }

    fn found(&mut self, founding: &Founding) -> Result<Changes, Refusal> {
        if self.founding.is_some() {
            return Err(Refusal::AlreadyFounded);
        }
        bounded(Field::Partitions, founding.partitions as usize, PARTITIONS_MAX as usize)?;
        bounded(Field::Replicas, founding.replication_factor as usize, REPLICAS_MAX)?;
        bounded(Field::MinIsr, founding.min_isr as usize, founding.replication_factor as usize)?;
        bounded(Field::Nodes, founding.expected.len(), NODES_MAX)?;
        self.level = founding.level;
        self.founding = Some(founding.clone());
        Ok(Changes::default())
    }

    /// A new life, fenced. Its earlier life leads nothing any more. Its seats go over to the new
    /// life if the directory is the same and whole; else it loses them, except where it is the last
    /// in sync: that seat stays, as not whole if the directory is back without all that it held.
    fn register(&mut self, registration: &Registration) -> Result<Changes, Refusal> {
        let node = registration.node;
        self.check_registration(registration)?;
        let life = Life { node, incarnation: Incarnation(self.applied.0) };
        let mut changes = Changes { nodes: alloc::vec![node], partitions: Vec::new() };
        for (id, partition) in (0..).map(PartitionId).zip(&mut self.partitions) {
            let led = unseat_leader(partition, node);
            if reseat(partition, life, registration) || led {
                touch(partition);
                changes.partitions.push(id);
            }
        }
        let entry = Node {
            incarnation: life.incarnation,
            registration: registration.clone(),
            standing: Standing::Fenced,
            since: self.applied,
        };
        self.nodes.insert(node, entry);
        Ok(changes)
    }

    pub(super) fn check_registration(&self, r: &Registration) -> Result<(), Refusal> {
        bounded(Field::Address, r.peer.len(), ADDRESS_BYTES_MAX)?;
        bounded(Field::Address, r.client.len(), ADDRESS_BYTES_MAX)?;
        if let Some(rack) = &r.rack {
            bounded(Field::Rack, rack.len(), RACK_BYTES_MAX)?;
        }
        if r.version.len() > VERSION_BYTES_MAX {
            return Err(Refusal::OutOfBounds(Field::Version));
        }
        if r.features.min > r.features.max {
            return Err(Refusal::OutOfBounds(Field::Features));
        }
        if !r.features.include(self.level) {
            return Err(Refusal::FeatureUnsupported(r.node));
        }
        for (&id, other) in &self.nodes {
            let same_directory = other.registration.directory == r.directory;
            if id != r.node && same_directory {
                return Err(Refusal::DirectoryOfAnother(id));
            }
            if id == r.node && same_directory && other.registration.nonce == r.nonce {
                return Err(Refusal::AlreadyRegistered);
            }
        }
        let nodes = self.nodes.len() + usize::from(!self.nodes.contains_key(&r.node));
        bounded(Field::Nodes, nodes, NODES_MAX)
    }

    fn unfence(&mut self, life: Life) -> Result<Changes, Refusal> {
        let since = self.applied;
        let node = self.living(life)?;
        if node.is_active() {
            return Err(Refusal::NotFenced(life.node));
        }
        node.standing = Standing::Active;
        node.since = since;
        Ok(Changes { nodes: alloc::vec![life.node], partitions: Vec::new() })
    }

    /// Also for a node that is fenced already and still has seats beside others: one that
    /// registered after a clean stop and then was not heard of again.
    fn fence(&mut self, life: Life) -> Result<Changes, Refusal> {
        let since = self.applied;
        let was_active = self.living(life)?.is_active();
        let mut changes = Changes { nodes: alloc::vec![life.node], partitions: Vec::new() };
        for (id, partition) in (0..).map(PartitionId).zip(&mut self.partitions) {
            let led = unseat_leader(partition, life.node);
            if drop_seat(partition, life.node) || led {
                touch(partition);
                changes.partitions.push(id);
            }
        }
        if !was_active && changes.partitions.is_empty() {
            return Err(Refusal::Unchanged);
        }
        let node = self.living(life)?;
        node.standing = Standing::Fenced;
        node.since = since;
        Ok(changes)
    }

    fn create(&mut self, assignments: &[Vec<NodeId>]) -> Result<Changes, Refusal> {
        let founding = self.founding.as_ref().expect("nothing else is applied before");
        if !self.partitions.is_empty() {
            return Err(Refusal::AlreadyPlaced);
        }
        if assignments.len() != founding.partitions as usize {
            return Err(Refusal::OutOfBounds(Field::Partitions));
        }
        let mut partitions = Vec::with_capacity(assignments.len());
        for (id, replicas) in (0..founding.partitions).zip(assignments) {
            if replicas.len() != founding.replication_factor as usize || !distinct(replicas) {
                return Err(Refusal::OutOfBounds(Field::Replicas));
            }
            let mut isr = Vec::with_capacity(replicas.len());
            for &node in replicas {
                isr.push(self.active_seat(node)?);
            }
            isr.sort_by_key(|seat| seat.life);
            partitions.push(Partition {
                slots: slots_of(id, founding.partitions),
                last_isr: isr.iter().map(|seat| seat.life.node).collect(),
                isr,
                leader: Some(replicas[0]),
                replicas: replicas.clone(),
                epoch: FIRST_EPOCH,
                partition_epoch: PartitionEpoch::default(),
                doubt: None,
            });
        }
        self.partitions = partitions;
        Ok(Changes {
            nodes: Vec::new(),
            partitions: (0..founding_partitions(self)).map(PartitionId).collect(),
        })
    }

    fn unregister(&mut self, id: NodeId) -> Result<Changes, Refusal> {
        let node = self.nodes.get(&id).ok_or(Refusal::UnknownNode(id))?;
        if node.is_active() {
            return Err(Refusal::NotFenced(id));
        }
        if self.partitions.iter().any(|partition| partition.replicas.contains(&id)) {
            return Err(Refusal::HoldsReplicas(id));
        }
        self.nodes.remove(&id);
        Ok(Changes { nodes: alloc::vec![id], partitions: Vec::new() })
    }

    fn set_feature(&mut self, level: u32) -> Result<Changes, Refusal> {
        if level <= self.level {
            return Err(Refusal::LevelNotHigher);
        }
        let behind = self.nodes.iter().find(|(_, n)| !n.registration.features.include(level));
        // Before anybody has said what it understands, nobody could register any more.
        let unheard = || self.founding.as_ref()?.expected.first().filter(|_| self.nodes.is_empty());
        if let Some(&id) = behind.map(|(id, _)| id).or_else(unheard) {
            return Err(Refusal::FeatureUnsupported(id));
        }
        self.level = level;
        Ok(Changes::default())
    }

    /// The node, if it is registered in this life.
    fn living(&mut self, life: Life) -> Result<&mut Node, Refusal> {
        let node = self.nodes.get_mut(&life.node).ok_or(Refusal::UnknownNode(life.node))?;
        if node.incarnation != life.incarnation {
            return Err(Refusal::StaleIncarnation(life.node, node.incarnation));
        }
        Ok(node)
    }

    /// A seat for a node that is active, in its present life.
    pub(super) fn active_seat(&self, id: NodeId) -> Result<Seat, Refusal> {
        let node = self.nodes.get(&id).ok_or(Refusal::UnknownNode(id))?;
        if !node.is_active() {
            return Err(Refusal::Fenced(id));
        }
        Ok(Seat { life: node.life(), directory: node.registration.directory, whole: true })
    }
}

/// Ends the reign of `node`, if it leads.
fn unseat_leader(partition: &mut Partition, node: NodeId) -> bool {
    let led = partition.leader == Some(node);
    if led {
        partition.leader = None;
    }
    led
}

/// Takes the seat of `node` away if others remain.
fn drop_seat(partition: &mut Partition, node: NodeId) -> bool {
    let seats = partition.isr.len();
    if seats > 1 {
        partition.isr.retain(|seat| seat.life.node != node);
    }
    partition.isr.len() < seats
}

/// See [`Map::register`].
fn reseat(partition: &mut Partition, life: Life, registration: &Registration) -> bool {
    let last = partition.isr.len() == 1;
    let Some(seat) = partition.isr.iter_mut().find(|seat| seat.life.node == life.node) else {
        return false;
    };
    let same = seat.directory == registration.directory;
    if same && (registration.clean || last) {
        seat.life = life;
        seat.whole &= registration.clean;
        return true;
    }
    drop_seat(partition, life.node)
}

pub(super) fn touch(partition: &mut Partition) {
    partition.partition_epoch = partition.partition_epoch.next();
}

/// From one up to `max`.
pub(super) fn bounded(field: Field, value: usize, max: usize) -> Result<(), Refusal> {
    if (1..=max).contains(&value) { Ok(()) } else { Err(Refusal::OutOfBounds(field)) }
}

pub(super) fn distinct(nodes: &[NodeId]) -> bool {
    nodes.iter().collect::<BTreeSet<_>>().len() == nodes.len()
}

fn founding_partitions(map: &Map) -> u32 {
    map.founding.as_ref().map_or(0, |founding| founding.partitions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterId, NodeId};

    #[test]
    fn no_feature_level_is_raised_before_a_node_has_said_that_it_understands_it() {
        let node = NodeId(1);
        let mut map = Map::new();
        let founding = Founding {
            cluster: ClusterId(1),
            level: 1,
            partitions: 1,
            replication_factor: 1,
            min_isr: 1,
            expected: [node].into(),
        };
        map.apply(Index(1), &Command::Found(founding)).expect("it may");
        let refused = map.apply(Index(2), &Command::SetFeature(2));
        assert_eq!(refused, Err(Refusal::FeatureUnsupported(node)));
        assert_eq!(map.level(), 1);
    }
}
