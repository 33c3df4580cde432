//! How a cluster begins, and how a new member gets into one.
//!
//! A directory that has never belonged to a cluster is *fresh*, and so is its node: it can not tell
//! whether it is the first of a new cluster or one of an old cluster whose disk was emptied. It must
//! not vote before it knows, or it could give a second vote in a term. So it says to everyone that
//! it is fresh, and waits for one of two answers:
//!
//! - **Join**: somebody belongs to a cluster. The node takes that one's snapshot and begins from it.
//!   It votes only if the snapshot (or what the leader sends later) names it with this very
//!   directory; otherwise it is an observer until the controller makes it a voter.
//! - **Everyone is fresh**: all the nodes that the command line lists have said so, and are linked. Then one of them,
//!   the *founder* (the lowest id), draws the cluster's id, stores the founding snapshot with the
//!   first voters, and is the first to answer with Join.
//!
//! A single one that is not fresh keeps a second cluster from being founded, so all the nodes must
//! be up once, at the first start. From then on a majority of the voters will do.
//!
//! If the founder dies while it founds, before its store is durable, nothing has happened; after, it
//! comes back as the member of a cluster and answers the others. If its disk is lost in between,
//! either nobody had heard of that cluster and another is founded, or somebody had and answers it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::{DirectoryId, Member, NodeId};

/// What a fresh node has heard from others.
#[derive(Debug)]
pub(super) struct Founding {
    me: Member,
    /// The nodes of the cluster, lowest first.
    nodes: Vec<NodeId>,
    fresh: BTreeMap<NodeId, DirectoryId>,
}

impl Founding {
    /// Of a node in a cluster of these nodes.
    pub(super) fn new(me: Member, nodes: &[NodeId]) -> Self {
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable();
        Self { me, nodes, fresh: BTreeMap::from([(me.node, me.directory)]) }
    }

    /// A member has said that it is fresh.
    pub(super) fn on_fresh(&mut self, from: Member) {
        if from.node != self.me.node && self.nodes.contains(&from.node) {
            self.fresh.insert(from.node, from.directory);
        }
    }

    /// The link to a node broke: it may come back as another, or not at all.
    pub(super) fn on_down(&mut self, node: NodeId) {
        if node != self.me.node {
            self.fresh.remove(&node);
        }
    }

    /// The first voters, if this node is to found the cluster now.
    pub(super) fn complete(&self) -> Option<Vec<Member>> {
        if self.nodes.first() != Some(&self.me.node) || !self.missing().is_empty() {
            return None;
        }
        let member = |node: NodeId| Some(Member { node, directory: *self.fresh.get(&node)? });
        first_voters(&self.nodes).into_iter().map(member).collect()
    }

    /// Nodes that have not said that they are fresh.
    pub(super) fn missing(&self) -> Vec<NodeId> {
        self.nodes.iter().copied().filter(|node| !self.fresh.contains_key(node)).collect()
    }
}

/// Who of these nodes votes at first: five where there are as many, else three, else one. An even
/// number would survive no more failures than one less.
pub fn first_voters(nodes: &[NodeId]) -> Vec<NodeId> {
    let mut nodes = nodes.to_vec();
    nodes.sort_unstable();
    nodes.dedup();
    nodes.truncate(match nodes.len() {
        5.. => 5,
        3 | 4 => 3,
        0..=2 => 1,
    });
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn member(node: u32) -> Member {
        Member { node: NodeId(node), directory: DirectoryId(u128::from(node) * 7) }
    }

    fn nodes(count: u32) -> Vec<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    #[test]
    fn an_odd_number_of_the_lowest_ids_votes_at_first() {
        for (count, voters) in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (7, 5)] {
            assert_eq!(first_voters(&nodes(count)), nodes(voters));
        }
        assert_eq!(first_voters(&[NodeId(9), NodeId(2), NodeId(4), NodeId(9)]).len(), 3);
    }

    #[test]
    fn the_founder_waits_for_every_node_voter_or_not() {
        let mut founding = Founding::new(member(1), &nodes(4));
        founding.on_fresh(member(3));
        founding.on_fresh(member(2));
        founding.on_fresh(member(9));
        assert_eq!(founding.complete(), None);
        assert_eq!(founding.missing(), vec![NodeId(4)]);
        founding.on_fresh(member(4));
        assert_eq!(founding.complete(), Some(vec![member(1), member(2), member(3)]));
    }

    #[test]
    fn who_is_gone_is_waited_for_again() {
        let mut founding = Founding::new(member(1), &nodes(3));
        founding.on_fresh(member(2));
        founding.on_down(NodeId(2));
        founding.on_down(NodeId(1));
        founding.on_fresh(member(3));
        assert_eq!((founding.complete(), founding.missing()), (None, vec![NodeId(2)]));
        founding.on_fresh(member(2));
        assert_eq!(founding.complete(), Some(vec![member(1), member(2), member(3)]));
    }

    #[test]
    fn nobody_but_the_founder_founds() {
        let mut founding = Founding::new(member(2), &nodes(3));
        founding.on_fresh(member(1));
        founding.on_fresh(member(3));
        assert_eq!(founding.complete(), None);
    }

    #[test]
    fn a_single_node_founds_alone_and_a_swapped_disk_counts_as_it_is_now() {
        assert_eq!(Founding::new(member(5), &[NodeId(5)]).complete(), Some(vec![member(5)]));
        let mut founding = Founding::new(member(1), &nodes(3));
        founding.on_fresh(member(2));
        founding.on_fresh(member(3));
        let swapped = Member { node: NodeId(2), directory: DirectoryId(99) };
        founding.on_fresh(swapped);
        assert_eq!(founding.complete().map(|members| members[1]), Some(swapped));
    }
}
