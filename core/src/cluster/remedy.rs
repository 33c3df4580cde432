//! What an operator can do about it: the command behind an error or a state, as it is typed.

use alloc::vec::Vec;
use core::fmt;

use super::controller::Request;
use super::map::Map;
use super::refusal::Refusal;
use crate::{NodeId, PartitionId};

/// What brings back a partition without a leader: its `Display`, which follows a semicolon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// The partition.
    pub partition: PartitionId,
    /// Who was in sync last and does not run: any of them has every acknowledged write.
    pub down: Vec<NodeId>,
    /// Who was in sync last and runs with another data directory than then.
    pub replaced: Vec<NodeId>,
    /// Who has a copy that is not in sync, and is there to lead with it.
    pub heir: Option<NodeId>,
}

/// See [`Remedy`]; none where somebody leads or will without an operator.
pub fn remedy(map: &Map, id: PartitionId) -> Option<Remedy> {
    let partition = map.partition(id)?;
    if map.may_have_leader(partition) || map.is_recoverable(partition) {
        return None;
    }
    let (mut down, mut replaced) = (Vec::new(), Vec::new());
    for seat in &partition.isr {
        let node = map.node(seat.life.node);
        let is_other = node.is_some_and(|n| n.registration.directory != seat.directory);
        if is_other { &mut replaced } else { &mut down }.push(seat.life.node);
    }
    let active = |id: &&NodeId| map.node(**id).is_some_and(|node| node.is_active());
    let active = || partition.replicas.iter().filter(active);
    // Whoever was in sync with another directory has nothing now: it is taken where nobody else has a
    // copy, also of those that are down.
    let alone = partition.replicas.iter().all(|&node| partition.seat(node).is_some());
    let heir = active().find(|&&node| alone || partition.seat(node).is_none()).copied();
    Some(Remedy { partition: id, down, replaced, heir })
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, down, replaced, heir } = self;
        match (&down[..], &replaced[..]) {
            ([], replaced) => {
                write!(f, "start {} with the data directory it had", Or(replaced))?;
            }
            (down, _) => write!(f, "start {}", Or(down))?,
        }
        let Some(heir) = heir else { return Ok(()) };
        let elect = Request::ElectUnclean(*partition, *heir);
        write!(f, ", or if that is lost for good: kvnode cluster {elect}")
    }
}

/// Nodes of which one will do.
struct Or<'a>(&'a [NodeId]);

impl fmt::Display for Or<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, node) in self.0.iter().enumerate() {
            write!(f, "{}{node}", if n > 0 { " or " } else { "" })?;
        }
        Ok(())
    }
}

/// What to do after the map has refused a request; empty if there is nothing.
pub fn after(refusal: Refusal, request: &Request) -> &'static str {
    match (refusal, request) {
        (Refusal::CleanPossible, _) => "kvnode cluster move lets another one in sync lead",
        (Refusal::HoldsReplicas(_), _) => "give them to others first: kvnode cluster reassign",
        (Refusal::NotFenced(_), _) => "stop it first",
        (Refusal::Fenced(_), _) => "start it first",
        (Refusal::UnknownNode(_) | Refusal::UnknownPartition | Refusal::NotReplica(_), _) => {
            "see kvnode status"
        }
        (Refusal::NotInSync(_), _) => "wait until kvnode status shows it in sync",
        (Refusal::WithoutLeader, Request::Reassign(..)) => {
            "keep the leader, or let another one lead first: kvnode cluster move"
        }
        (Refusal::TooFewInSync, _) => "keep more of those that are in sync",
        (Refusal::StalePartitionEpoch | Refusal::StaleIncarnation(..), _) => "try again",
        (
            Refusal::NotFounded
            | Refusal::AlreadyFounded
            | Refusal::OutOfBounds(_)
            | Refusal::AlreadyRegistered
            | Refusal::DirectoryOfAnother(_)
            | Refusal::FeatureUnsupported(_)
            | Refusal::LevelNotHigher
            | Refusal::AlreadyPlaced
            | Refusal::NotLeader(_)
            | Refusal::StaleEpoch
            | Refusal::WithoutLeader
            | Refusal::NothingLost
            | Refusal::EpochsUsedUp
            | Refusal::Unchanged,
            _,
        ) => "",
    }
}
