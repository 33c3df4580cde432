//! Equal logs give equal maps, and a map keeps its invariants (Schneider 1990; DESIGN §4).
//!
//! A map of the checker's own applies the committed log, entry by entry. Every node's map must have
//! its digest at every index; between two entries nothing may go back; no epoch of a partition has
//! two leaders and no incarnation two processes.

use std::collections::BTreeMap;

use kvnode_core::cluster::{AlterPartition, Command, Life, Map};
use kvnode_core::election::{Entry, Payload};
use kvnode_core::{Epoch, Incarnation, Index, NodeId, PartitionId};

use super::lives::Lives;
use super::{Found, seats};

/// See the module's header.
#[derive(Default)]
pub(crate) struct Maps {
    map: Map,
    /// Committed and not applied here, since one before is not known yet.
    waiting: BTreeMap<Index, Entry>,
    digests: BTreeMap<Index, u32>,
    /// What nodes have shown ahead of this map.
    ahead: Vec<(String, Index, u32)>,
    reigns: BTreeMap<(PartitionId, Epoch), Life>,
    lives: BTreeMap<Incarnation, (NodeId, u64)>,
    model: Lives,
}

impl Maps {
    /// The map as far as the committed log is known.
    pub(crate) fn map(&self) -> &Map {
        &self.map
    }

    /// A committed entry.
    pub(crate) fn committed(&mut self, entry: &Entry) -> Vec<Found> {
        let mut found = Vec::new();
        if entry.index > self.map.applied() {
            self.waiting.entry(entry.index).or_insert_with(|| entry.clone());
        }
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 == self.map.applied().0 + 1
        {
            let entry = first.remove();
            self.apply(&entry, &mut found);
        }
        found
    }

    fn apply(&mut self, entry: &Entry, found: &mut Vec<Found>) {
        match &entry.payload {
            Payload::Noop | Payload::Voters(_) => self.map.pass(entry.index),
            Payload::Command(bytes) => match Command::decode(bytes) {
                Ok(command) => {
                    let before = self.map.clone();
                    // A refusal is a part of the story.
                    if self.map.apply(entry.index, &command).is_ok() {
                        let had_seat = |alter: &AlterPartition, life: Life| {
                            let partition = before.partition(alter.partition);
                            let seat = partition.and_then(|partition| partition.seat(life.node));
                            seat.is_some_and(|seat| seat.life == life)
                        };
                        found.extend(self.model.takes_effect(entry.index, &command, had_seat));
                    }
                    found.extend(seats::check(&before, &command, &self.map));
                    found.extend(follows(&before, &self.map));
                }
                Err(error) => {
                    found.push(("cluster map", format!("{}: {error}", entry.index)));
                    self.map.pass(entry.index);
                }
            },
        }
        let (reigns, lives) = (&mut self.reigns, &mut self.lives);
        found.extend(used_twice(&self.map, reigns, lives));
        let digest = self.map.digest();
        self.digests.insert(entry.index, digest);
        let index = entry.index;
        self.ahead.retain(|(who, at, shown)| {
            if *at == index && *shown != digest {
                found.push(differs(who, index));
            }
            *at > index
        });
    }

    /// A node shows its map.
    pub(crate) fn shows(&mut self, who: &str, map: &Map) -> Option<Found> {
        let (index, digest) = (map.applied(), map.digest());
        if index == Index(0) {
            return None;
        }
        match self.digests.get(&index) {
            Some(known) => (*known != digest).then(|| differs(who, index)),
            None => {
                self.ahead.push((who.to_owned(), index, digest));
                None
            }
        }
    }
}

fn differs(who: &str, index: Index) -> Found {
    ("cluster map", format!("{who}'s map at {index} is not what the log adds up to"))
}

fn follows(before: &Map, after: &Map) -> Option<Found> {
    let violation = after.violation().or_else(|| after.violation_after(before))?;
    Some(("cluster map", format!("at {}: {violation}", after.applied())))
}

fn used_twice(
    map: &Map,
    reigns: &mut BTreeMap<(PartitionId, Epoch), Life>,
    lives: &mut BTreeMap<Incarnation, (NodeId, u64)>,
) -> Option<Found> {
    for (id, node) in map.nodes() {
        let process = (id, node.registration.nonce);
        if *lives.entry(node.incarnation).or_insert(process) != process {
            let text = format!("{} belongs to two processes", node.incarnation);
            return Some(("used twice", text));
        }
    }
    for (id, partition) in map.partitions() {
        let Some(leader) = partition.leader else { continue };
        let Some(life) = map.node(leader).map(kvnode_core::cluster::Node::life) else { continue };
        let first = *reigns.entry((id, partition.epoch)).or_insert(life);
        if first != life {
            let epoch = partition.epoch;
            let text = format!("{epoch} of {id} belongs to {first} and to {life}");
            return Some(("used twice", text));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use kvnode_core::Term;
    use kvnode_core::cluster::Founding;

    use super::*;

    fn founding() -> Founding {
        Founding {
            cluster: kvnode_core::ClusterId(1),
            level: 1,
            partitions: 1,
            replication_factor: 1,
            min_isr: 1,
            expected: [NodeId(1)].into(),
        }
    }

    fn entry(index: u64, payload: Payload) -> Entry {
        Entry { term: Term(1), index: Index(index), payload }
    }

    #[test]
    fn a_map_that_is_not_what_the_log_says_is_seen() {
        let mut maps = Maps::default();
        let found = Payload::Command(Command::Found(founding()).encode().into());
        let mut right = Map::new();
        right.pass(Index(1));
        right.apply(Index(2), &Command::Found(founding())).expect("it may");
        let mut wrong = Map::new();
        wrong.pass(Index(2));
        assert_eq!(maps.shows("n1", &wrong), None, "not known yet");
        assert!(maps.committed(&entry(2, found)).is_empty());
        assert_eq!(maps.committed(&entry(1, Payload::Noop)).len(), 1, "known by now");
        assert_eq!(maps.shows("n2", &right), None);
        assert!(maps.shows("n3", &wrong).is_some());
    }

    #[test]
    fn a_reign_and_a_life_that_are_given_out_twice_are_seen() {
        let (mut reigns, mut lives) = (BTreeMap::new(), BTreeMap::new());
        let mut map = Map::new();
        map.apply(Index(1), &Command::Found(founding())).expect("it may");
        let mut registration = crate::quorum::checkers::seats::forge_registration(1);
        map.apply(Index(2), &Command::Register(registration.clone())).expect("it may");
        let life = map.node(NodeId(1)).expect("registered").life();
        map.apply(Index(3), &Command::Unfence(life)).expect("it may");
        map.apply(Index(4), &Command::CreatePartitions(vec![vec![NodeId(1)]])).expect("it may");
        assert_eq!(used_twice(&map, &mut reigns, &mut lives), None);
        let mut other = Map::new();
        other.apply(Index(1), &Command::Found(founding())).expect("it may");
        registration.nonce = 77;
        other.apply(Index(2), &Command::Register(registration)).expect("it may");
        assert!(used_twice(&other, &mut reigns.clone(), &mut lives).is_some(), "another process");
        reigns.insert((PartitionId(0), Epoch(1)), Life { node: NodeId(9), ..life });
        assert!(used_twice(&map, &mut reigns, &mut lives).is_some(), "another leader");
    }
}
