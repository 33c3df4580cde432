//! What a replica has promised its leaders: to commit nothing as a leader itself for a while.
//!
//! A leader reads by the promises of all who could be elected. Whoever is elected keeps its own first,
//! and so it waits: for time to pass, or for the leader it gave its word to. That one need not be waited
//! for any more once it follows the new reign, since then it reads in none before; so a leader that hands
//! over stops nobody for longer than it takes to say so. What a process promised before it ended is not
//! known by name, and only time settles it.

use alloc::collections::BTreeMap;

use crate::{Instant, NodeId};

/// See the module's header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Promises {
    /// Until when, by whom it was given to; without a name: by an earlier process.
    list: BTreeMap<Option<NodeId>, Instant>,
}

impl Promises {
    /// What an earlier process may have promised lasts until then.
    pub fn unknown(until: Instant) -> Self {
        Self { list: [(None, until)].into() }
    }

    /// This leader has the word of the replica until then.
    pub fn give(&mut self, now: Instant, leader: NodeId, until: Instant) {
        self.list.retain(|_, until| *until > now);
        let known = self.list.entry(Some(leader)).or_default();
        *known = until.max(*known);
    }

    /// This node leads in no earlier reign any more.
    pub fn release(&mut self, node: NodeId) {
        self.list.remove(&Some(node));
    }

    /// When all of them have run out.
    pub fn until(&self) -> Instant {
        self.list.values().copied().max().unwrap_or_default()
    }
}
