//! Who is in sync, who may be, and who should be.
//!
//! Invariants:
//! - One proposal at a time; the next one is made against another version of the partition, or after
//!   a refusal.
//! - Whoever was proposed against the present version may be in sync ([`InSync::others`]) until the
//!   map shows another version or another life of it.
//! - The leader proposes nobody's removal but others', and nobody's entry before it may commit.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::progress::{Progress, Session};
use super::{Leader, Output};
use crate::cluster::{AlterPartition, Life, Map, PartitionEpoch};
use crate::{Incarnation, Instant, NodeId, Offset, PartitionId};

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct InSync {
    me: Life,
    partition_epoch: PartitionEpoch,
    /// The in-sync set of the map, by node.
    committed: Vec<Life>,
    min_isr: usize,
    /// Who was proposed against this version of the partition and is not in the set.
    added: Vec<Life>,
    asked: Asked,
    /// It was elected for the longest log, and the map still has those wait who were in sync before.
    unsaid: bool,
    /// The registered life of every other replica, and whether it is active.
    replicas: BTreeMap<NodeId, (Incarnation, bool)>,
}

/// Whether a proposal is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asked {
    No,
    Pending,
    /// It was refused; not before this moment the next one is made.
    Refused(Instant),
}

impl InSync {
    pub(super) fn new(me: Life, map: &Map, partition: PartitionId) -> Self {
        let entry = map.partition(partition).expect("the map names the leader");
        Self {
            me,
            partition_epoch: entry.partition_epoch,
            committed: Vec::new(),
            min_isr: map.min_isr(),
            added: Vec::new(),
            asked: Asked::No,
            unsaid: false,
            replicas: BTreeMap::new(),
        }
    }

    /// The in-sync set of the map.
    pub(super) fn committed(&self) -> &[Life] {
        &self.committed
    }

    pub(super) fn min_isr(&self) -> usize {
        self.min_isr
    }

    /// The maximal in-sync set without this leader: who is in sync or may be.
    pub(super) fn others(&self) -> impl Iterator<Item = Life> + '_ {
        self.committed.iter().chain(&self.added).copied().filter(|life| life.node != self.me.node)
    }

    /// The registered life of another replica.
    pub(super) fn registered(&self, node: NodeId) -> Option<Incarnation> {
        self.replicas.get(&node).map(|&(incarnation, _)| incarnation)
    }

    pub(super) fn again(&self) -> Option<Instant> {
        match self.asked {
            Asked::Refused(again) => Some(again),
            Asked::No | Asked::Pending => None,
        }
    }

    /// False if it is not the proposal under way that was refused.
    pub(super) fn on_refused(&mut self, partition_epoch: PartitionEpoch, again: Instant) -> bool {
        let is_mine = self.partition_epoch == partition_epoch && self.asked == Asked::Pending;
        if is_mine {
            self.asked = Asked::Refused(again);
        }
        is_mine
    }

    fn is_registered(&self, life: Life) -> bool {
        self.registered(life.node) == Some(life.incarnation)
    }

    fn is_active(&self, life: Life) -> bool {
        self.replicas.get(&life.node) == Some(&(life.incarnation, true))
    }

    fn may_ask(&self, now: Instant) -> bool {
        match self.asked {
            Asked::No => true,
            Asked::Pending => false,
            Asked::Refused(again) => now >= again,
        }
    }
}

impl Leader {
    /// Takes what the map says of this partition and its replicas.
    pub(super) fn take_map(&mut self, map: &Map) {
        let entry = map.partition(self.partition).expect("the map names the leader");
        let leads = entry.leader == Some(self.me.node) && entry.epoch == self.epoch;
        assert!(leads, "the owner drops a leader whose reign is over");
        assert!(entry.partition_epoch >= self.isr.partition_epoch, "a map does not go back");
        let others = entry.replicas.iter().copied().filter(|&node| node != self.me.node);
        let standing = |node| {
            let known = map.node(node).expect("a replica is a registered node");
            (node, (known.incarnation, known.is_active()))
        };
        self.isr.replicas = others.map(standing).collect();
        self.isr.min_isr = map.min_isr();
        self.follow_replicas();
        let entered: Vec<Life> = entry.isr_lives();
        for life in &entered {
            if !self.isr.committed.contains(life)
                && let Some(progress) = self.followers.get_mut(&life.node)
            {
                progress.caught_up = self.now;
            }
        }
        if entry.partition_epoch > self.isr.partition_epoch {
            self.isr.added.clear();
            self.isr.asked = Asked::No;
        }
        self.isr.partition_epoch = entry.partition_epoch;
        let is_wider = entry.last_isr.len() > entered.len();
        self.isr.unsaid = is_wider && entry.longest_log() == Some(self.epoch);
        self.isr.committed = entered;
        let (mut added, isr) = (core::mem::take(&mut self.isr.added), &self.isr);
        added.retain(|&life| isr.is_registered(life));
        self.isr.added = added;
        assert!(self.isr.committed.contains(&self.me), "a leader is in sync in its life");
    }

    /// Watches new replicas and forgets those that are none any more.
    fn follow_replicas(&mut self) {
        let replicas = &self.isr.replicas;
        self.followers.retain(|node, _| replicas.contains_key(node));
        for &node in replicas.keys() {
            if !self.followers.contains_key(&node) {
                self.followers.insert(node, Progress::new(self.now));
                if self.linked.contains(&node) {
                    self.out.push_back(Output::Send(node, super::Message::Lead));
                }
            }
        }
    }

    /// Asks for the in-sync set that should be, if it is another. The same set is asked for if somebody else
    /// may have come in by an earlier proposal, which is void once the map has it; and once by a leader that
    /// was elected for the longest log and has begun to lead: nobody else is waited for after that.
    pub(super) fn propose(&mut self) {
        if !self.isr.may_ask(self.now) {
            return;
        }
        self.isr.asked = Asked::No;
        let mut isr: Vec<Life> = self.isr.committed.clone();
        isr.retain(|&life| life == self.me || self.may_stay(life));
        let entering = self.entering();
        isr.extend(&entering);
        isr.sort();
        let has_begun = self.log.acked > self.start;
        let says_nothing = self.isr.added.is_empty() && !(self.isr.unsaid && has_begun);
        if isr == self.isr.committed && says_nothing {
            return;
        }
        for life in entering {
            if !self.isr.added.contains(&life) {
                self.isr.added.push(life);
            }
        }
        self.isr.asked = Asked::Pending;
        self.out.push_back(Output::Alter(AlterPartition {
            partition: self.partition,
            leader: self.me.node,
            epoch: self.epoch,
            partition_epoch: self.isr.partition_epoch,
            isr,
        }));
    }

    fn may_stay(&self, life: Life) -> bool {
        let Some(progress) = self.followers.get(&life.node) else { return false };
        let keeps_up = self.now < progress.caught_up.after(self.settings.replica_lag_max);
        keeps_up && !progress.unfit && self.isr.is_active(life)
    }

    /// Who is not in the set and has all that an in-sync replica must have.
    fn entering(&self) -> Vec<Life> {
        if self.now < self.promises.until() {
            return Vec::new();
        }
        let needed = self.watermark.max(self.start.plus(1));
        let has_it = |session: &Session| session.acked.is_some_and(|acked: Offset| acked >= needed);
        let lives = self.followers.iter().filter_map(|(&node, progress)| {
            let session = progress.session.as_ref().filter(|session| session.is_open())?;
            let life = Life { node, incarnation: session.round.incarnation };
            (has_it(session) && self.isr.is_active(life)).then_some(life)
        });
        lives.filter(|life| !self.isr.committed.contains(life)).collect()
    }

    /// When the next member of the in-sync set has lagged too long.
    pub(super) fn lag_due(&self) -> Option<Instant> {
        if self.isr.asked != Asked::No {
            return None;
        }
        let others = self.isr.committed.iter().filter(|life| life.node != self.me.node);
        let progress = others.filter_map(|life| self.followers.get(&life.node));
        progress.map(|progress| progress.caught_up.after(self.settings.replica_lag_max)).min()
    }

    /// The session of just this life, if it has one.
    pub(super) fn session_of(&self, life: Life) -> Option<&Session> {
        let session = self.followers.get(&life.node)?.session.as_ref()?;
        (session.round.incarnation == life.incarnation).then_some(session)
    }

    pub(super) fn session_mut(&mut self, node: NodeId) -> Option<&mut Session> {
        self.followers.get_mut(&node)?.session.as_mut()
    }

    pub(super) fn progress_mut(&mut self, node: NodeId) -> &mut Progress {
        self.followers.get_mut(&node).expect("strangers are ignored")
    }
}
