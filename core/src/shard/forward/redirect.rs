//! Clients that are sent to the leader of their keys, as in Redis Cluster, instead of being answered by
//! way of any node ([`Redirect::Moved`]).
//!
//! A client of Redis Cluster learns from `-MOVED` that its picture of who leads what is old, so this node
//! answers as one of Redis Cluster would:
//! - Keys of several slots are refused, also where they are of one partition, and where they would
//!   be fanned out: what is taken must not depend on how many partitions there are or who leads
//!   them, and to fan out is to forward. Clients cut MGET and the like by slots themselves.
//! - Keys of a slot that another node leads are answered with its address; those of a slot that
//!   nobody leads with `-CLUSTERDOWN`, and at once, for clients wait and ask again.
//! - In a transaction each command is looked at when it would be queued, which aborts the
//!   transaction, and EXEC looks at them all together.
//! - What names no key and is about all (DBSIZE, KEYS, SCAN, RANDOMKEY, FLUSHALL) is about those
//!   that this node leads, for clients ask each master and put the answers together.
//!
//! What this node is to lead and does not yet waits for that, as where it forwards; should another lead
//! instead, that one answers. Reads that a follower may be shown ([`nearby`](crate::shard::nearby)) come
//! first. A node decides for its own clients: it takes what others forward.

use alloc::vec::Vec;

use crate::reply::Reply;
use crate::shard::{Redirect, Shard, errors};
use crate::{PartitionId, slot};

impl Shard {
    /// What a client is told instead of having its command about keys of these slots evaluated, if
    /// this node sends it away.
    pub(super) fn redirect(&self, slots: impl IntoIterator<Item = u32>) -> Option<Reply> {
        if self.config.redirect == Redirect::Forward {
            return None;
        }
        let mut slots = slots.into_iter();
        let slot = slots.next()?;
        if slots.any(|other| other != slot) {
            return Some(errors::scattered());
        }
        let partition = slot::partition(slot, self.homes.count());
        let leader = self.route(partition).map(|(leader, _)| leader);
        if leader == Some(self.me()) {
            return None;
        }
        let map = self.cluster.as_ref().map(|view| &view.map);
        match map.and_then(|map| map.node(leader?)) {
            Some(node) => Some(errors::redirected(slot, node.registration.client_address())),
            None => Some(errors::no_leader(&self.lacking(partition))),
        }
    }

    /// The partitions that a client of this node means when it names no key.
    pub(super) fn all_partitions(&self) -> Vec<PartitionId> {
        let all = (0..self.homes.count()).map(PartitionId);
        match self.config.redirect {
            Redirect::Forward => all.collect(),
            Redirect::Moved => {
                let led = |id: &PartitionId| self.route(*id).is_some_and(|(at, _)| at == self.me());
                all.filter(led).collect()
            }
        }
    }
}
