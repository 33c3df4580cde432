//! Keeping the quorum complete.
//!
//! Who votes is a member: a node with a directory. A voter is gone for good when its node comes back
//! with another directory, or an operator has taken the node out of the map. The controller then replaces it, one change at a time: the lost one is
//! removed, and an active node that has caught up is added, one of the first voters before any other
//! and low ids before high ones.
//!
//! A voter that is merely down is left alone: it may come back, and every change of voters costs the
//! quorum some of its reserve while it lasts.

use alloc::vec::Vec;

use crate::cluster::Map;
use crate::election::{VoterChange, Voters};
use crate::limits::VOTERS_MAX;
use crate::{Member, NodeId};

/// The next change that brings the voters closer to what they should be. It may have to wait: the
/// quorum's machine refuses to add a member that has not caught up.
pub(super) fn next_change(voters: &Voters, map: &Map, me: Member) -> Option<VoterChange> {
    let founding = map.founding()?;
    let expected: Vec<NodeId> = founding.expected.iter().copied().collect();
    let wanted = super::first_voters(&expected).len().min(VOTERS_MAX);
    let registered =
        |node: NodeId| map.node(node).map(|n| Member { node, directory: n.registration.directory });
    // Before the partitions are placed a node may be there that has not registered yet. One that is
    // late in spite of that is made a voter again when it comes.
    let is_placed = map.partitions().next().is_some();
    let is_lost = |voter: &Member| match registered(voter.node) {
        Some(member) => member != *voter,
        None => is_placed,
    };
    let lost = voters.iter().find(|voter| *voter != me && is_lost(voter));
    if let Some(lost) = lost
        && voters.len() > 1
    {
        return Some(VoterChange::Remove(lost.node));
    }
    if voters.len() >= wanted {
        return None;
    }
    let first = super::first_voters(&expected);
    let candidates = map.nodes().filter(|(_, node)| node.is_active()).map(|(id, _)| id);
    let candidates = candidates.filter(|&node| voters.directory(node).is_none());
    let candidate = candidates.min_by_key(|node| (!first.contains(node), *node));
    candidate.and_then(registered).map(VoterChange::Add)
}
