//! The cluster as one node sees it: for INFO, CLUSTER and `kvnode status`.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::cluster::view::Quorum;
use crate::cluster::{Life, Map};
use crate::election::{Role, Voters};
use crate::{ClusterId, Index, Member, NodeId, Term};

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The node that looks.
    pub me: Member,
    /// Its cluster; `None` before it has founded or joined one.
    pub cluster: Option<ClusterId>,
    /// Nodes for which a node that knows no cluster waits.
    pub missing: Vec<NodeId>,
    /// The quorum.
    pub quorum: QuorumView,
    /// Its registered life, once the map shows it.
    pub life: Option<Life>,
    /// UNSYNCED was there when this process began, or was made [then](crate::directory).
    pub unsynced: bool,
    /// How often the shard had said that something may be gone ([`ToControl::Unclean`]) when this was
    /// shown. What was shown before control heard of it is of a life that has ended.
    ///
    /// [`ToControl::Unclean`]: crate::node::ToControl::Unclean
    pub uncleans: u64,
    /// A stop that makes everything durable may take UNSYNCED away: the map is owed no [unclean
    /// registration](crate::cluster::broker).
    pub settles: bool,
    /// The cluster map as far as this node has applied it.
    pub map: Map,
}

impl View {
    /// The voters, and how many of them this node reaches; `None` while a controller is known, which
    /// knows better.
    pub fn headless(&self) -> Option<Quorum> {
        let QuorumView { controller, voters, reached, .. } = &self.quorum;
        let alive = voters.iter().filter(|voter| reached.contains(&voter.node)).count();
        controller.is_none().then_some(Quorum { voters: voters.len(), alive })
    }

    /// Of a node that knows no cluster, and waits for these.
    pub(super) fn fresh(me: Member, missing: Vec<NodeId>) -> Self {
        let quorum = QuorumView {
            role: Role::Follower,
            term: Term(0),
            controller: None,
            voters: Voters::default(),
            heard: None,
            reached: BTreeSet::from([me.node]),
            applied: Index(0),
        };
        Self {
            me,
            cluster: None,
            missing,
            quorum,
            life: None,
            unsynced: false,
            uncleans: 0,
            settles: false,
            map: Map::new(),
        }
    }
}

/// The quorum as one of its members (or an observer) sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumView {
    /// What this node is in it.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Who leads it, as far as this node knows: the controller.
    pub controller: Option<NodeId>,
    /// Who votes.
    pub voters: Voters,
    /// Voters of which the controller has heard lately; only the controller knows.
    pub heard: Option<Vec<NodeId>>,
    /// Nodes to which this one has a link, and itself.
    pub reached: BTreeSet<NodeId>,
    /// How far the log is applied here.
    pub applied: Index,
}
