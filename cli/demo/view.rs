//! What a node says of its cluster, and what all of them together do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use serde::Deserialize;

/// The answer to `CLUSTER STATUS`, as far as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct View {
    /// Who says it.
    pub node: u32,
    /// The controller it knows.
    pub controller: Option<u32>,
    /// Its term.
    pub term: u64,
    /// How much of the controllers' log it has applied: more is newer.
    pub applied: u64,
    /// How the cluster is, in a line.
    pub summary: String,
    /// The registered nodes.
    pub nodes: Vec<Session>,
    /// The partitions, in order.
    pub partitions: Vec<Partition>,
}

/// A registered node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Session {
    /// The node.
    pub id: u32,
    /// `active` or `fenced`.
    pub session: String,
}

/// A partition as the cluster map has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Partition {
    /// The partition.
    pub id: u32,
    /// Who leads it.
    pub leader: Option<u32>,
    /// In which epoch.
    pub epoch: u64,
    /// Its in-sync replicas.
    pub isr: Vec<u32>,
    /// All its replicas.
    pub replicas: Vec<u32>,
}

/// Where a node's log of a partition ends.
pub(super) type LogEnds = BTreeMap<u32, u64>;

/// The same at the last few moments at which the node was asked, the newest last.
pub(super) type LogEndsThen = VecDeque<(Instant, LogEnds)>;

/// What is known of the cluster at a moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// What the node says that knows most; none while none answers.
    pub view: Option<View>,
    /// The nodes that answer.
    pub answering: BTreeSet<u32>,
    /// By node, of those that answer.
    pub log_ends: BTreeMap<u32, LogEndsThen>,
}

impl View {
    /// The node's session is active.
    pub(super) fn is_active(&self, node: u32) -> bool {
        self.nodes.iter().any(|entry| entry.id == node && entry.session == "active")
    }

    /// How many partitions it leads.
    pub(super) fn led_by(&self, node: u32) -> usize {
        self.partitions.iter().filter(|partition| partition.leader == Some(node)).count()
    }

    /// How many partitions it is in sync in.
    pub(super) fn in_sync(&self, node: u32) -> usize {
        self.partitions.iter().filter(|partition| partition.isr.contains(&node)).count()
    }

    /// Every partition is led and all its replicas are in sync.
    pub(super) fn is_whole(&self) -> bool {
        let whole = |p: &Partition| p.leader.is_some() && p.isr.len() == p.replicas.len();
        self.controller.is_some()
            && !self.partitions.is_empty()
            && self.partitions.iter().all(whole)
    }
}

impl Seen {
    /// What all together know.
    pub(super) fn of(reports: impl IntoIterator<Item = (View, LogEndsThen)>) -> Self {
        let mut seen = Self::default();
        for (view, log_ends) in reports {
            seen.answering.insert(view.node);
            seen.log_ends.insert(view.node, log_ends);
            let newer = |old: &View| (view.term, view.applied) > (old.term, old.applied);
            if seen.view.as_ref().is_none_or(newer) {
                seen.view = Some(view);
            }
        }
        seen
    }

    /// How far a replica of the partition is behind its leader, in records; `None` where either
    /// does not say. The replica was asked a little after the leader, so what the leader took in
    /// between does not count, and a replica that keeps up is not behind.
    pub(super) fn lag(&self, partition: &Partition, node: u32) -> Option<u64> {
        let (at, mine) = self.log_ends.get(&node)?.back()?;
        let leader = self.log_ends.get(&partition.leader?)?;
        let (_, theirs) = leader.iter().rev().find(|(then, _)| then <= at)?;
        Some(theirs.get(&partition.id)?.saturating_sub(*mine.get(&partition.id)?))
    }
}

/// Reads the log ends out of `INFO kvnode`: lines like `p3:epoch=1,log_end=17,…`.
pub(super) fn log_ends(info: &str) -> LogEnds {
    let line = |line: &str| {
        let (id, fields) = line.strip_prefix('p')?.split_once(':')?;
        let end = fields.split(',').find_map(|field| field.strip_prefix("log_end="))?;
        Some((id.parse().ok()?, end.parse().ok()?))
    };
    info.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(node: u32, term: u64, applied: u64) -> View {
        let partition =
            Partition { id: 0, leader: Some(1), epoch: 1, isr: vec![1, 2], replicas: vec![1, 2] };
        View { node, term, applied, partitions: vec![partition], ..View::default() }
    }

    #[test]
    fn who_knows_most_is_believed() {
        let all = [view(1, 2, 9), view(2, 3, 4), view(3, 3, 3)];
        let seen = Seen::of(all.map(|view| (view, LogEndsThen::new())));
        assert_eq!(seen.view.unwrap().node, 2);
        assert_eq!(seen.answering, BTreeSet::from([1, 2, 3]));
        assert!(Seen::of([]).view.is_none());
    }

    #[test]
    fn lag_is_told_of_nodes_that_answer() {
        let start = Instant::now();
        let ends = |at: u64, end: u64| {
            let info = format!("# kvnode\r\npartitions:1\r\np0:epoch=1,log_end={end},isr=2\r\n");
            (start + std::time::Duration::from_millis(at), log_ends(&info))
        };
        let (leader, follower) = ([ends(1, 17), ends(3, 90)].into(), [ends(2, 12)].into());
        let seen = Seen::of([(view(1, 1, 1), leader), (view(2, 1, 1), follower)]);
        let partition = &view(1, 1, 1).partitions[0];
        assert_eq!(seen.lag(partition, 2), Some(5));
        assert_eq!(seen.lag(partition, 1), Some(0));
        assert_eq!(seen.lag(partition, 3), None);
    }
}
