//! What keeps a partition from going on, as far as this node knows: it decides nothing, and is for
//! the words of errors alone.

use alloc::vec::Vec;

use super::Shard;
use super::roles::Role;
use crate::cluster::remedy::{Remedy, remedy};
use crate::cluster::view::Quorum;
use crate::replication::TooFew;
use crate::{NodeId, PartitionId};

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lacking {
    /// The node that tells of it.
    pub(super) me: NodeId,
    pub(super) partition: PartitionId,
    /// Who leads it, as the map says.
    pub(super) leader: Option<NodeId>,
    /// There is a link to the leader, or it is this node.
    pub(super) leader_reached: bool,
    /// This node leads it, and these in sync are not reached or have not acknowledged everything.
    pub(super) silent: Vec<NodeId>,
    /// This node leads it, and too few are in sync to commit anything.
    pub(super) few: Option<TooFew>,
    /// There is no controller to decide anything: its voters, and how many of them are reached.
    pub(super) headless: Option<Quorum>,
    /// Nobody leads, and nobody will without an operator: what helps.
    pub(super) remedy: Option<Remedy>,
}

impl Shard {
    /// What keeps the partition from going on.
    pub(super) fn lacking(&self, partition: PartitionId) -> Lacking {
        let view = self.cluster.as_ref();
        let me = self.me();
        let leader = view.and_then(|view| view.map.partition(partition)?.leader);
        let reached = |node: NodeId| node == me || self.linked.contains(&node);
        let role = self.homes.find(partition).map(|at| &self.partitions[at].role);
        let silent = match role {
            Some(Role::Leader(leader)) => {
                let followers = leader.status().into_iter().filter(|follower| follower.in_sync);
                let behind = followers.filter(|f| !reached(f.node) || f.lag != Some(0));
                behind.map(|follower| follower.node).collect()
            }
            Some(Role::Alone | Role::Idle | Role::Follower(_)) | None => Vec::new(),
        };
        let few = match role {
            Some(Role::Leader(leader)) => leader.writable().err(),
            Some(Role::Alone | Role::Idle | Role::Follower(_)) | None => None,
        };
        Lacking {
            me,
            partition,
            leader,
            leader_reached: leader.is_some_and(reached),
            silent,
            few,
            headless: view.and_then(|view| view.headless()),
            remedy: view.and_then(|view| remedy(&view.map, partition)),
        }
    }
}
