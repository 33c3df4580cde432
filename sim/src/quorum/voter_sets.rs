//! Who votes, as far as any log has said.

use std::collections::BTreeMap;

use kvnode_core::election::{Position, Voters};
use kvnode_core::{Index, Term};

/// The voter sets that logs have held, by their places.
#[derive(Debug, Default)]
pub(crate) struct VoterSets(BTreeMap<Position, Voters>);

impl VoterSets {
    /// A log has this one, there.
    pub(crate) fn saw(&mut self, at: Position, voters: &Voters) {
        self.0.entry(at).or_insert_with(|| voters.clone());
    }

    /// The founding has no entry of its own.
    pub(crate) fn founded(&mut self, at: Position, voters: &Voters) {
        if self.0.is_empty() {
            self.saw(at, voters);
        }
    }

    /// The latest one, and whether it is committed. `committed` gives the term of what is, at an index:
    /// where that is another, what a log had there is gone.
    pub(crate) fn latest(
        &self,
        committed: impl Fn(Index) -> Option<Term>,
    ) -> Option<(&Voters, bool)> {
        self.0.iter().rev().find_map(|(at, voters)| match committed(at.index) {
            Some(term) => (term == at.term).then_some((voters, true)),
            None => Some((voters, at.index == Index(0))),
        })
    }
}

#[cfg(test)]
mod tests {
    use kvnode_core::{DirectoryId, Member, NodeId};

    use super::*;

    #[test]
    fn a_change_that_was_overwritten_is_under_way_no_more() {
        let voters = |nodes: std::ops::RangeInclusive<u32>| {
            Voters::new(nodes.map(|id| Member { node: NodeId(id), directory: DirectoryId(0) }))
        };
        let at = |term, index| Position { term: Term(term), index: Index(index) };
        let mut sets = VoterSets::default();
        sets.founded(at(0, 0), &voters(1..=3));
        assert_eq!(sets.latest(|_| None), Some((&voters(1..=3), true)));
        sets.saw(at(4, 67), &voters(1..=5));
        let committed = |last: u64, term| {
            move |index: Index| (index.0 > 0 && index.0 <= last).then_some(Term(term))
        };
        assert_eq!(sets.latest(committed(66, 4)), Some((&voters(1..=5), false)));
        assert_eq!(sets.latest(committed(67, 4)), Some((&voters(1..=5), true)));
        // A leader takes one out, and is gone before anyone has the entry.
        sets.saw(at(13, 135), &voters(1..=4));
        assert_eq!(sets.latest(committed(134, 4)), Some((&voters(1..=4), false)));
        let overwritten = |index: Index| match index.0 {
            0 => None,
            1..135 => Some(Term(4)),
            _ => Some(Term(20)),
        };
        assert_eq!(sets.latest(overwritten), Some((&voters(1..=5), true)));
    }
}
