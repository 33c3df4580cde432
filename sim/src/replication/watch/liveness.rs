//! What is to happen: what all in sync have acknowledged becomes committed, and at rest everybody has
//! everything.

use kvnode_core::cluster::{Map, Partition};
use kvnode_core::shard::ReplicaGlance;
use kvnode_core::{NodeId, PartitionId};

use super::super::checkers::{Found, progress};
use super::Watch;

impl Watch {
    /// Whether what all in sync have acknowledged becomes committed. `sound_ns`: since when a leader and
    /// those who follow it are well and well connected, if they are.
    pub(crate) fn progress(
        &mut self,
        now_ns: u64,
        (alone_ns, bound_ns): (u64, u64),
        map: &Map,
        sound_ns: impl Fn(NodeId, &[NodeId]) -> Option<u64>,
    ) -> Option<Found> {
        let mut found = None;
        for (p, held) in map.partitions() {
            let standing = self.due(p, held, map).and_then(|(leader, others, standing)| {
                let bound_ns = if others.is_empty() { alone_ns } else { bound_ns };
                Some((sound_ns(leader, &others)?, bound_ns, standing))
            });
            found = self.progress.look(p, now_ns, standing).or(found);
        }
        found
    }

    /// The leader of a partition, who else is in sync, and what they all have acknowledged, unless the
    /// in-sync set is not known to the leader, may be about to change or is too small.
    fn due(
        &self,
        p: PartitionId,
        held: &Partition,
        map: &Map,
    ) -> Option<(NodeId, Vec<NodeId>, progress::Standing)> {
        let leader = held.leader?;
        let own = self.replica(leader.0, p).filter(|own| own.leads == Some(held.epoch))?;
        let shown = self.views.get(&leader.0).and_then(|view| view.map.partition(p));
        let is_told = shown.is_some_and(|shown| shown.partition_epoch == held.partition_epoch);
        if !is_told || self.is_asked(p, map) || held.isr.len() < map.min_isr() {
            return None;
        }
        let others: Vec<NodeId> =
            held.isr.iter().map(|seat| seat.life.node).filter(|&node| node != leader).collect();
        let mut end = own.acked_end;
        for node in &others {
            let follower = self.replica(node.0, p)?;
            if follower.follows != Some((leader, held.epoch)) {
                return None;
            }
            end = end.min(follower.acked_end);
        }
        let version = (held.epoch, held.partition_epoch);
        Some((leader, others, progress::Standing { version, watermark: own.watermark, end }))
    }

    /// In which reign everything is as it should be at rest; if it is not, what is missing.
    pub(crate) fn missing(&self, p: PartitionId, map: &Map) -> Option<String> {
        let held = map.partition(p)?;
        let Some(leader) = held.leader else {
            return Some(format!("{p} is not led: in sync {:?}", held.isr_lives()));
        };
        let Some(own) = self.replica(leader.0, p) else {
            return Some(format!("{leader}, which is to lead {p}, has no replica"));
        };
        if own.leads != Some(held.epoch) || !own.serves {
            return Some(format!("{leader} does not serve {p} in {}", held.epoch));
        }
        for &node in &held.replicas {
            let present = map.node(node).map(|node| node.life());
            if held.seat(node).is_none_or(|seat| Some(seat.life) != present) {
                return Some(format!("{node} is not in sync with {leader} for {p}"));
            }
            if node == leader {
                continue;
            }
            let follows = Some((leader, held.epoch));
            let Some(replica) = self.replica(node.0, p).filter(|r| r.follows == follows) else {
                return Some(format!("{node} does not follow {leader} for {p}"));
            };
            let at = |glance: &ReplicaGlance| (glance.log_end, glance.acked_end, glance.watermark);
            if at(replica) != at(own) {
                return Some(format!(
                    "{node} stands at {:?} of {p}, {leader} at {:?}",
                    at(replica),
                    at(own)
                ));
            }
        }
        (own.watermark != own.log_end).then(|| format!("{p} is not committed to its end"))
    }
}
