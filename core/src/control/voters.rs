//! Keeping the quorum complete.
//!
//! Who votes is a member: a node with a directory. A voter is gone for good when its node comes back
//! with another directory, or an operator has taken the node out of the map. The controller then
//! replaces it, one change at a time: the lost one is removed, and an active node that has caught up
//! is added, one of the first voters before any other and low ids before high ones.
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
    let candidates = candidates.filter(|&node| voters.directory(node).is_none());
    let candidate = candidates.min_by_key(|node| (!first.contains(node), *node));
    candidate.and_then(registered).map(VoterChange::Add).into_iter().collect()
}
