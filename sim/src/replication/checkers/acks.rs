//! Whoever WAIT says has a write has acknowledged it, and WAITAOF says that its leader has made it durable only
//! if somebody has who led (the Redis command reference of both).
//!
//! A write is known by its key and its value, which is written once. What counts is who has ever acknowledged
//! it: the number was true a moment before it is heard. A write that an operator has given up is no one's.

use std::collections::{BTreeMap, BTreeSet};

use kvnode_core::{Offset, PartitionId};

use super::Found;
use crate::replication::log::Content;

/// A write: the fingerprints of its key and its value, in its partition.
pub(crate) type Written = (PartitionId, u64, u64);

/// Who has which write, and which stand where.
#[derive(Default)]
pub(crate) struct Acks {
    held: BTreeMap<Written, Holders>,
    places: BTreeMap<(PartitionId, Offset), BTreeSet<Written>>,
}

#[derive(Default)]
struct Holders {
    acked: BTreeSet<u32>,
    durable: BTreeSet<u32>,
    /// It may be no more, by a decree.
    is_given_up: bool,
    /// Where it stands, as far as was seen.
    at: Offset,
}

impl Acks {
    /// A replica has acknowledged all between the two, of which these records are in its log: in the place
    /// of others there may be what compaction has left.
    pub(crate) fn acknowledges(
        &mut self,
        node: u32,
        partition: PartitionId,
        (from, to): (Offset, Offset),
        records: impl Iterator<Item = (Offset, Content)>,
    ) {
        for (at, content) in records {
            let written = (partition, content.key, content.value);
            self.held.entry(written).or_default().at = at;
            self.places.entry((partition, at)).or_default().insert(written);
        }
        for written in self.places.range((partition, from)..(partition, to)).flat_map(|(_, w)| w) {
            self.held.entry(*written).or_default().acked.insert(node);
        }
    }

    /// It has made it durable.
    pub(crate) fn makes_durable(&mut self, node: u32, written: Written) {
        self.held.entry(written).or_default().durable.insert(node);
    }

    /// What stands there and behind is given up.
    pub(crate) fn gives_up(&mut self, partition: PartitionId, from: Offset) {
        let lost =
            self.held.iter_mut().filter(|((p, ..), held)| *p == partition && held.at >= from);
        lost.for_each(|(_, held)| held.is_given_up = true);
    }

    /// A client that has been told that the write is done is told of so many replicas besides the leader,
    /// and of WAITAOF whether it is durable at the leader.
    pub(crate) fn told(&self, written: Written, replicas: i64, local: bool) -> Option<Found> {
        let nobody = Holders::default();
        let held = self.held.get(&written).unwrap_or(&nobody);
        if held.is_given_up {
            return None;
        }
        let (acked, durable) = (held.acked.len() as i64, held.durable.len());
        let others = (acked - 1).max(0);
        let text = if !(0..=others).contains(&replicas) {
            format!("{replicas} besides the leader are said to have a write that {acked} have")
        } else if local && durable == 0 {
            "a write is said to be durable, and is so nowhere".to_owned()
        } else {
            return None;
        };
        Some(("acknowledged", format!("{text}, in {} at {}", written.0, held.at.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::log::forge::entry;

    #[test]
    fn a_number_that_nobody_stands_behind_is_seen() {
        let (p, mut acks) = (PartitionId(0), Acks::default());
        let (at, written) = entry(7, 1, 9);
        let known = (p, written.content.key, written.content.value);
        let wrong = |acks: &Acks, replicas, local| acks.told(known, replicas, local).is_some();
        assert!(wrong(&acks, 1, false), "nobody has it");
        for node in [1, 2] {
            let records = (node == 1).then_some((at, written.content));
            acks.acknowledges(node, p, (Offset(5), Offset(8)), records.into_iter());
        }
        assert!(!wrong(&acks, 1, false) && !wrong(&acks, 0, false));
        assert!(wrong(&acks, 2, false) && wrong(&acks, -1, false));
        acks.acknowledges(3, p, (Offset(0), Offset(7)), std::iter::empty());
        assert!(wrong(&acks, 2, false), "it is not so far");
        assert!(wrong(&acks, 1, true), "it is durable nowhere");
        acks.makes_durable(1, known);
        assert!(!wrong(&acks, 1, true));
        acks.gives_up(p, Offset(8));
        assert!(wrong(&acks, 2, true), "what is before that is not given up");
        acks.gives_up(p, Offset(7));
        assert!(!wrong(&acks, 2, true));
    }
}
