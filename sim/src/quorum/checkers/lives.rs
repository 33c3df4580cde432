//! What names a life of a node takes effect only while that is the node's life, and what gives it a
//! part in a partition only while it is active (DESIGN §4; KIP-841, KIP-966).
//!
//! By a model of the checker's own, which knows of every node its life and whether it is fenced, and
//! nothing else. Which commands took effect it is told.

use std::collections::BTreeMap;

use kvnode_core::cluster::{AlterPartition, Command, Life};
use kvnode_core::{Incarnation, Index, NodeId};

use super::Found;

/// See the module's header.
#[derive(Default)]
pub(crate) struct Lives(BTreeMap<NodeId, (Incarnation, Standing)>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Fenced,
    Active,
}

impl Lives {
    /// A committed command has taken effect. `had_seat`: whether the life was in the in-sync set of the
    /// alteration's partition before it.
    pub(crate) fn takes_effect(
        &mut self,
        at: Index,
        command: &Command,
        had_seat: impl Fn(&AlterPartition, Life) -> bool,
    ) -> Option<Found> {
        match command {
            Command::Register(registration) => {
                self.0.insert(registration.node, (Incarnation(at.0), Standing::Fenced));
                None
            }
            Command::Unfence(life) => self.stands(at, *life, Standing::Active),
            Command::Fence(life) => self.stands(at, *life, Standing::Fenced),
            Command::Unregister(node) => {
                self.0.remove(node);
                None
            }
            Command::AlterPartition(alter) => alter.isr.iter().find_map(|&life| {
                // Who is in already stays though it is fenced, until it is fenced anew.
                if had_seat(alter, life) { self.lives(at, life) } else { self.is_active(at, life) }
            }),
            Command::ElectLeader(elect) => self.is_active(at, elect.leader),
            Command::CreatePartitions(all) => all.iter().flatten().find_map(|&node| {
                let incarnation = self.0.get(&node).map_or(Incarnation(0), |(life, _)| *life);
                self.is_active(at, Life { node, incarnation })
            }),
            Command::Found(_)
            | Command::Reassign(_)
            | Command::AcceptLoss(_)
            | Command::SetFeature(_) => None,
        }
    }

    fn stands(&mut self, at: Index, life: Life, standing: Standing) -> Option<Found> {
        let found = self.lives(at, life);
        if found.is_none() {
            self.0.insert(life.node, (life.incarnation, standing));
        }
        found
    }

    fn lives(&self, at: Index, life: Life) -> Option<Found> {
        let now = self.0.get(&life.node).map(|(now, _)| *now);
        (now != Some(life.incarnation)).then(|| {
            let now =
                now.map_or_else(|| "not registered".to_owned(), |now| format!("in life {now}"));
            ("life", format!("{at} names {life}, which is {now}"))
        })
    }

    fn is_active(&self, at: Index, life: Life) -> Option<Found> {
        let found = self.lives(at, life);
        if found.is_some() || self.0.get(&life.node).is_some_and(|(_, s)| *s == Standing::Active) {
            return found;
        }
        Some(("life", format!("{at} gives a part to {life}, which is fenced")))
    }
}

#[cfg(test)]
mod tests {
    use kvnode_core::cluster::PartitionEpoch;
    use kvnode_core::{Epoch, PartitionId};

    use super::super::seats::forge_registration;
    use super::*;

    fn life(node: u32, at: u64) -> Life {
        Life { node: NodeId(node), incarnation: Incarnation(at) }
    }

    fn alter(isr: &[Life]) -> Command {
        Command::AlterPartition(AlterPartition {
            partition: PartitionId(0),
            leader: NodeId(1),
            epoch: Epoch(1),
            partition_epoch: PartitionEpoch(1),
            isr: isr.to_vec(),
        })
    }

    #[test]
    fn an_earlier_life_and_a_fenced_one_are_seen() {
        let mut lives = Lives::default();
        let mut at = 0;
        let mut takes = |command: &Command, seat: bool| {
            at += 1;
            lives.takes_effect(Index(at), command, |_, _| seat).is_some()
        };
        let register = Command::Register(forge_registration(1));
        assert!(!takes(&register, false));
        assert!(takes(&alter(&[life(1, 1)]), false), "fenced");
        assert!(!takes(&alter(&[life(1, 1)]), true), "fenced, and in already");
        assert!(!takes(&Command::Unfence(life(1, 1)), false));
        assert!(!takes(&alter(&[life(1, 1)]), false));
        assert!(!takes(&register, false));
        assert!(takes(&alter(&[life(1, 1)]), true), "an earlier life");
        assert!(takes(&Command::Fence(life(1, 1)), false), "an earlier life");
        assert!(!takes(&Command::Unfence(life(1, 6)), false));
        assert!(!takes(&alter(&[life(1, 6)]), false));
        assert!(!takes(&Command::Unregister(NodeId(1)), false));
        assert!(takes(&alter(&[life(1, 6)]), true), "nobody");
    }
}
