//! Which disk may be lost next.
//!
//! A quorum survives the loss of a minority's disks, and of one more only when the first was replaced:
//! when a committed voter set names all voters that there should be, and the disk of none of them was
//! lost. Damage counts as loss, since a node whose log is damaged takes no part until it was given an
//! empty disk. Before anything is founded there is nothing to lose.

use std::collections::{BTreeMap, BTreeSet};

use kvnode_core::control::first_voters;
use kvnode_core::election::Voters;
use kvnode_core::{Member, NodeId};

/// What was lost.
#[derive(Default)]
pub(crate) struct Atlas {
    lost: BTreeSet<Member>,
    /// As what each node's disk makes it known; none before it has begun.
    disks: BTreeMap<u32, Member>,
    /// Nodes whose disk may be damaged, though nobody knows the member yet.
    unknown: BTreeSet<u32>,
    /// Nodes that were given an empty disk.
    emptied: BTreeSet<u32>,
}

impl Atlas {
    /// Whether the disk of `node` may be lost now. `voters`: who votes by the latest word, and whether
    /// that is committed.
    pub(crate) fn may_lose(&self, nodes: u32, node: u32, voters: Option<(&Voters, bool)>) -> bool {
        let Some((voters, is_settled)) = voters else { return true };
        let all: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
        if voters.member(NodeId(node)).is_none_or(|own| !self.is_intact(own)) {
            // Its loss takes nothing from the quorum, or nothing more.
            return is_settled;
        }
        let is_full = voters.len() == first_voters(&all).len() && voters.len() > 2;
        is_settled && is_full && voters.iter().all(|voter| self.is_intact(voter))
    }

    /// Whether the voter's disk is still there, as far as it was ever seen.
    fn is_intact(&self, voter: Member) -> bool {
        match self.disks.get(&voter.node.0) {
            Some(&member) => member == voter && !self.lost.contains(&voter),
            None => !self.emptied.contains(&voter.node.0),
        }
    }

    /// The disk of a member is gone, or damaged.
    pub(crate) fn lose(&mut self, member: Member) {
        self.lost.insert(member);
    }

    /// A node's disk makes it this member.
    pub(crate) fn knows(&mut self, node: u32, member: Member) {
        self.disks.insert(node, member);
        if self.unknown.remove(&node) {
            self.lose(member);
        }
    }

    /// A node's disk is gone, or damaged.
    pub(crate) fn lose_of(&mut self, node: u32) {
        match self.disks.get(&node) {
            Some(&member) => self.lose(member),
            None => {
                self.unknown.insert(node);
            }
        }
    }

    /// A node was given an empty disk.
    pub(crate) fn emptied(&mut self, node: u32) {
        self.disks.remove(&node);
        self.unknown.remove(&node);
        self.emptied.insert(node);
    }

    /// Whether a node's disk may be damaged.
    pub(crate) fn is_lost_of(&self, node: u32) -> bool {
        let known = self.disks.get(&node).is_some_and(|member| self.lost.contains(member));
        known || self.unknown.contains(&node)
    }
}

#[cfg(test)]
mod tests {
    use kvnode_core::DirectoryId;

    use super::super::checkers::forge::member;
    use super::*;

    fn seen(nodes: u32) -> Atlas {
        let mut atlas = Atlas::default();
        (1..=nodes).for_each(|node| atlas.knows(node, member(node)));
        atlas
    }

    #[test]
    fn a_second_disk_is_lost_only_when_the_first_was_replaced() {
        let mut atlas = seen(3);
        let voters = Voters::new((1..=3).map(member));
        let may = |atlas: &Atlas, node, voters: &Voters, settled| {
            atlas.may_lose(3, node, Some((voters, settled)))
        };
        assert!(atlas.may_lose(3, 1, None), "nothing is founded");
        assert!(may(&atlas, 1, &voters, true) && !may(&atlas, 1, &voters, false));
        atlas.lose_of(1);
        assert!(!may(&atlas, 2, &voters, true), "two of three");
        assert!(may(&atlas, 1, &voters, true), "it has nothing left to lose");
        let two = Voters::new([member(2), member(3)]);
        assert!(!may(&atlas, 2, &two, true), "not complete");
        let new = Member { directory: DirectoryId(77), ..member(1) };
        atlas.knows(1, new);
        assert!(may(&atlas, 2, &Voters::new([new, member(2), member(3)]), true));
    }

    #[test]
    fn a_voter_that_lost_its_disk_before_it_ever_joined_counts_as_lost() {
        let mut atlas = Atlas::default();
        let voters = Voters::new((1..=3).map(member));
        assert!(atlas.may_lose(3, 1, Some((&voters, true))));
        atlas.emptied(1);
        assert!(!atlas.may_lose(3, 2, Some((&voters, true))));
        atlas.lose_of(3);
        atlas.knows(3, member(3));
        assert!(atlas.is_lost_of(3), "it was damaged before it was known");
    }

    #[test]
    fn a_quorum_of_one_loses_no_disk() {
        let atlas = seen(2);
        let one = Voters::new([member(1)]);
        assert!(!atlas.may_lose(2, 1, Some((&one, true))));
        assert!(atlas.may_lose(2, 2, Some((&one, true))), "an observer's");
    }
}
