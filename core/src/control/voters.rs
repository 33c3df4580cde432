//! Keeping the quorum complete.
//!
//! Who votes is a member: a node with a directory. A voter is gone for good when its node comes back
//! with another directory, or an operator has taken the node out of the map. The controller then
//! replaces it, one change at a time: the lost one is removed, and an active node that has caught up
//! is added, one of the first voters before any other and low ids before high ones. One that does not
//! catch up holds up no other.
//!
//! A voter that is merely down is left alone: it may come back, and every change of voters costs the
//! quorum some of its reserve while it lasts. The quorum's machine refuses a change after which it
//! would hear no majority; so another may have to come first: the removal of a directory that is
//! lost, before that of a node that was taken out and whose vote still counts.

use alloc::vec::Vec;

use crate::cluster::Map;
use crate::election::{VoterChange, Voters};
use crate::limits::VOTERS_MAX;
use crate::{Member, NodeId};

/// Changes that bring the voters closer to what they should be, of which the first that is possible is
/// made. All may have to wait: the quorum's machine refuses to add a member that has not caught up.
pub(super) fn changes(voters: &Voters, map: &Map, me: Member) -> Vec<VoterChange> {
    let Some(founding) = map.founding() else { return Vec::new() };
    let expected: Vec<NodeId> = founding.expected.iter().copied().collect();
    let wanted = super::first_voters(&expected).len().min(VOTERS_MAX);
    let registered =
        |node: NodeId| map.node(node).map(|n| Member { node, directory: n.registration.directory });
    // Before the partitions are placed a node may be there that has not registered yet. One that is
    // late in spite of that is made a voter again when it comes.
    let is_placed = map.partitions().next().is_some();
    let others = || voters.iter().filter(|voter| *voter != me);
    let is_replaced = |voter: &Member| registered(voter.node).is_some_and(|now| now != *voter);
    let is_removed = |voter: &Member| registered(voter.node).is_none() && is_placed;
    let lost = others().filter(is_replaced).chain(others().filter(is_removed));
    let removals: Vec<_> = lost.map(|voter| VoterChange::Remove(voter.node)).collect();
    if !removals.is_empty() && voters.len() > 1 {
        return removals;
    }
    if voters.len() >= wanted {
        return Vec::new();
    }
    let first = super::first_voters(&expected);
    let candidates = map.nodes().filter(|(_, node)| node.is_active()).map(|(id, _)| id);
    let mut candidates: Vec<NodeId> =
        candidates.filter(|&node| voters.directory(node).is_none()).collect();
    candidates.sort_unstable_by_key(|node| (!first.contains(node), *node));
    candidates.into_iter().filter_map(registered).map(VoterChange::Add).collect()
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::string::ToString;

    use super::*;
    use crate::cluster::{Command, Features, Founding, Registration};
    use crate::{ClusterId, DirectoryId};

    fn member(node: u32) -> Member {
        Member { node: NodeId(node), directory: DirectoryId(u128::from(node)) }
    }

    /// Five nodes, of which all but these are active.
    fn map(fenced: &[u32]) -> Map {
        let mut map = Map::new();
        let mut apply = |command: Command| {
            map.apply(map.applied().plus(1), &command).expect("it is lawful");
            map.clone()
        };
        let expected: BTreeSet<NodeId> = (1..=5).map(NodeId).collect();
        let (partitions, replication_factor, min_isr) = (1, 3, 2);
        let founding = Founding {
            cluster: ClusterId(1),
            level: 1,
            partitions,
            replication_factor,
            min_isr,
            expected,
        };
        apply(Command::Found(founding));
        for node in 1..=5 {
            let registered = apply(Command::Register(Registration {
                node: NodeId(node),
                directory: member(node).directory,
                nonce: 1,
                clean: true,
                peer: "p:1".to_string(),
                client: "c:1".to_string(),
                rack: None,
                version: "1".to_string(),
                features: Features { min: 1, max: 1 },
            }));
            if !fenced.contains(&node) {
                let life = registered.node(NodeId(node)).expect("it is registered").life();
                apply(Command::Unfence(life));
            }
        }
        map
    }

    #[test]
    fn every_active_node_may_take_the_place_of_a_lost_voter() {
        let voters: Voters = Voters::new([2, 3].map(member));
        let changes = |fenced: &[u32]| changes(&voters, &map(fenced), member(2));
        let adds = |nodes: &[u32]| -> Vec<VoterChange> {
            nodes.iter().map(|&node| VoterChange::Add(member(node))).collect()
        };
        assert_eq!(changes(&[]), adds(&[1, 4, 5]), "of which the first may not have caught up");
        assert_eq!(changes(&[1, 5]), adds(&[4]));
        assert_eq!(changes(&[1, 4, 5]), []);
    }
}
