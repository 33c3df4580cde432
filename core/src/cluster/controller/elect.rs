//! Who leads a partition.
//!
//! 1. Only a replica in sync is elected, active and in its present life: it holds all that was ever
//!    acknowledged. Among these, one whose disk is well, that is not stopping, whose wall clock is near
//!    the median of all, that was heard of just now, and whose replica is open; then the one
//!    with the longest log, by epoch and end; then the first by the order of the replicas. All but
//!    the first condition are wishes: whoever fulfils none is elected if nobody else is there.
//! 2. A leader stays while it can. It is replaced when it is gone, wants to stop, or says that it
//!    would rather not, and somebody better is there. One that has resigned, since its log had to be
//!    opened again, is replaced as soon as there is one that is open and whose disk is well, if need
//!    be by itself in another reign: whoever can not log the beginning of one would resign as well,
//!    without end. One that has not opened its replica for the timeout of a session is replaced by
//!    one that has.
//! 3. With nobody in sync the partition is offline until one of them comes back.
//! 4. Where the last one in sync came back from an unclean stop, what it acknowledged may be
//!    missing, from it and not from the others. All who were in sync with it are waited for, until
//!    they report or for the configured time; then the longest log of all replicas is taken. In a
//!    history of clean elections a longer log holds all that a shorter one does. Where its log is
//!    gone, all replicas are waited for, and the wait begins with the first that has something: as
//!    long as none has, nobody leads, for the others would drop what they have.
//! 5. Anything else is an operator's to decide, by name.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::super::command::{Command, ElectLeader, Right};
use super::super::map::Map;
use super::super::message::LogEnd;
use super::super::view::Listed;
use super::super::words::{Life, Partition, Seat};
use super::Controller;
use super::proposals::Key;
use crate::shard::Severity;
use crate::{Epoch, Instant, NodeId, Now, Offset, PartitionId};

/// A partition without a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Offline {
    /// Since when.
    since: Instant,
    /// Whether it was said.
    said: bool,
}

/// How little a candidate is wished for: the least is elected.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Demerits {
    unfit: bool,
    stopping: bool,
    off_clock: bool,
    silent: bool,
    log: Reverse<Option<(Epoch, Offset)>>,
}

/// A partition whose last replica in sync is not whole, and there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Recovery {
    pub(super) since: Instant,
    /// Since when one is there that has something.
    pub(super) something: Option<Instant>,
    /// Whether it was said that it takes longer.
    said: bool,
}

impl Demerits {
    /// Whether it could begin a reign now: its replica is open, and its disk is well.
    fn can_begin(&self) -> bool {
        !self.unfit && self.log.0.is_some()
    }

    /// Whether it is wished for; how long its log is says nothing where another leads.
    pub(super) fn are_none(&self) -> bool {
        let Self { unfit, stopping, off_clock, silent, log: Reverse(log) } = self;
        !(*unfit || *stopping || *off_clock || *silent) && log.is_some()
    }
}

impl Controller {
    /// Proposes a leader for the partition if it needs another.
    pub(super) fn consider(&mut self, now: Now, map: &Map, id: PartitionId) {
        let Some(partition) = map.partition(id) else { return };
        if !map.is_recoverable(partition) {
            self.recoveries.remove(&id);
        }
        match partition.leader {
            Some(leader) => {
                if self.offline.get(&id).is_some_and(|offline| !offline.said) {
                    self.offline.remove(&id);
                }
                self.note_shut(now, id, leader);
                if let Some(better) = self.better_than(now, map, id, partition, leader) {
                    self.propose_leader(now, map, id, better, Right::InSync);
                }
            }
            None => {
                self.offline.entry(id).or_insert(Offline { since: now.mono, said: false });
                if let Some((candidate, _)) = self.best(now, map, id, partition, (None, false)) {
                    self.propose_leader(now, map, id, candidate, Right::InSync);
                } else if map.is_recoverable(partition) {
                    self.recover(now, map, id, partition);
                }
            }
        }
    }

    fn better_than(
        &self,
        now: Now,
        map: &Map,
        id: PartitionId,
        partition: &Partition,
        leader: NodeId,
    ) -> Option<NodeId> {
        let alive = self.is_alive(leader);
        let session = self.sessions.get(&leader);
        if alive && session.is_some_and(|session| session.has_resigned(id, partition.epoch)) {
            // Whoever is best, be it the same node in another reign.
            let best = self.best(now, map, id, partition, (None, true));
            return best.map(|(candidate, _)| candidate);
        }
        let demerits = self.demerits(now, id, leader);
        let stopping = demerits.as_ref().is_some_and(|d| d.stopping);
        let unfit = demerits.as_ref().is_some_and(|d| d.unfit);
        let long_shut = self.shut.get(&id).is_some_and(|&(node, since)| {
            node == leader && now.mono >= since.after(self.settings.session_timeout)
        });
        if alive && !stopping && !unfit && !long_shut {
            return None;
        }
        let but = (Some(leader), alive && long_shut);
        let (candidate, theirs) = self.best(now, map, id, partition, but)?;
        let better = !alive || !theirs.stopping && (stopping || !theirs.unfit);
        better.then_some(candidate)
    }

    /// Since when the leader's replica is not open, as far as it has said.
    fn note_shut(&mut self, now: Now, id: PartitionId, leader: NodeId) {
        if self.sessions.get(&leader).is_some_and(|session| session.log_end(id).is_some()) {
            self.shut.remove(&id);
        } else if self.shut.get(&id).is_none_or(|&(node, _)| node != leader) {
            self.shut.insert(id, (leader, now.mono));
        }
    }

    /// The candidate in sync with the fewest demerits, other than `but`; perhaps of those alone that
    /// could begin a reign now.
    fn best(
        &self,
        now: Now,
        map: &Map,
        id: PartitionId,
        partition: &Partition,
        (but, at_once): (Option<NodeId>, bool),
    ) -> Option<(NodeId, Demerits)> {
        let in_sync = partition.replicas.iter().copied();
        let in_sync =
            in_sync.filter(|&node| Some(node) != but && map.is_electable(partition, node));
        let alive = in_sync.filter(|&node| self.is_alive(node));
        alive
            .filter_map(|node| Some((node, self.demerits(now, id, node)?)))
            .filter(|(_, demerits)| !at_once || demerits.can_begin())
            .min_by(|(_, a), (_, b)| a.cmp(b))
    }

    pub(super) fn demerits(&self, now: Now, id: PartitionId, node: NodeId) -> Option<Demerits> {
        let session = self.sessions.get(&node)?;
        let log_end = session.log_end(id);
        Some(Demerits {
            unfit: log_end.is_some_and(|end| !end.fit),
            stopping: session.is_stopping(),
            off_clock: self.is_off_clock(node),
            silent: now.mono.since(session.heard()) > self.settings.session_timeout / 3,
            log: Reverse(log_end.map(length)),
        })
    }

    /// Rule 4.
    fn recover(&mut self, now: Now, map: &Map, id: PartitionId, partition: &Partition) {
        let report = |node: NodeId| {
            let session = self.sessions.get(&node).filter(|session| session.is_alive())?;
            map.node(node).filter(|node| node.is_active())?;
            session.log_end(id)
        };
        let has_nothing = |seat: &Seat| report(seat.life.node).is_some_and(|e| e.end == Offset(0));
        let all = |nodes: &[NodeId]| nodes.iter().all(|&node| report(node).is_some());
        // If its log is gone, somebody who was not in sync may have the longest by far.
        let gone = partition.isr.iter().any(has_nothing);
        let complete = all(&partition.last_isr) && (!gone || all(&partition.replicas));
        let (there, away): (Vec<_>, Vec<_>) =
            partition.replicas.iter().partition(|&&node| report(node).is_some());
        let reports = there.into_iter().filter_map(|&node| Some((node, report(node)?)));
        // The first of the longest, by the order of the replicas.
        let longest = reports.min_by_key(|(_, end)| Reverse(length(end)));
        let nothing = longest.is_none_or(|(_, end)| end.end == Offset(0));
        let recovery = Recovery { since: now.mono, something: None, said: false };
        let recovery = self.recoveries.entry(id).or_insert(recovery);
        recovery.something = recovery.something.or(Some(now.mono)).filter(|_| !nothing);
        let over = |since: Instant| now.mono >= since.after(self.settings.recovery_wait);
        if nothing && !away.is_empty() {
            if gone && over(recovery.since) && !core::mem::replace(&mut recovery.said, true) {
                let away: Vec<_> = away.iter().map(ToString::to_string).collect();
                let text = format!(
                    "{id}: the log of its last replica in sync is gone, and nobody who is there has \
                     anything of it: it waits for {}, or until an operator elects one (kvnode cluster \
                     elect {id} NODE --unclean)",
                    away.join(" and ")
                );
                self.notice(Severity::Error, text);
            }
            return;
        }
        if !complete && !recovery.something.is_some_and(over) {
            return;
        }
        if let Some((candidate, end)) = longest.filter(|_| !self.is_under_way(Key::Elect(id))) {
            let text = format!(
                "{id}: the last replica in sync stopped uncleanly; the longest log is that of \
                 {candidate}, up to {}: acknowledged writes may be missing",
                end.end
            );
            self.notice(Severity::Error, text);
            self.propose_leader(now, map, id, candidate, Right::LongestLog);
        }
    }

    pub(super) fn propose_leader(
        &mut self,
        now: Now,
        map: &Map,
        id: PartitionId,
        candidate: NodeId,
        right: Right,
    ) {
        let node = map.node(candidate).expect("candidates are registered");
        let mut elect = self.election(map, id, node.life(), right);
        let led = map.partition(id).is_some_and(|partition| partition.leader == Some(candidate));
        if led && right == Right::InSync {
            elect.right = Right::Renewal;
        }
        let last = map.partition(id).map_or(elect.above, |p| p.epoch.max(elect.above));
        if last < Epoch(u32::MAX) {
            // Under way already, or too much is: it is looked at again when that has ended.
            let _ = self.propose(now, Key::Elect(id), Command::ElectLeader(elect));
        }
    }

    pub(super) fn election(
        &self,
        map: &Map,
        partition: PartitionId,
        leader: Life,
        right: Right,
    ) -> ElectLeader {
        let reports = self.sessions.values().filter_map(|session| session.log_end(partition));
        ElectLeader {
            partition,
            leader,
            partition_epoch: map
                .partition(partition)
                .map(|p| p.partition_epoch)
                .unwrap_or_default(),
            above: reports.map(|end| end.epoch).max().unwrap_or_default(),
            right,
        }
    }

    /// Says which partitions have had no leader for longer than a restart takes, and which of these
    /// have one again.
    pub(super) fn report_offline(&mut self, now: Now, map: &Map) {
        let led = |id| map.partition(id).is_some_and(|partition| partition.leader.is_some());
        let (mut back, mut lost) = (Vec::new(), Vec::new());
        for (&id, offline) in &mut self.offline {
            if led(id) && offline.said {
                back.push(id);
            }
            let long = now.mono.since(offline.since) >= self.settings.session_timeout;
            if !led(id) && long && !offline.said {
                offline.said = true;
                lost.push(id);
            }
        }
        self.offline.retain(|&id, _| !led(id));
        if !lost.is_empty() {
            let text = format!("offline: {}: no replica in sync is there and whole", Listed(&lost));
            self.notice(Severity::Error, text);
        }
        if !back.is_empty() {
            let text = format!("back with a leader: {}", Listed(&back));
            self.notice(Severity::Info, text);
        }
    }
}

fn length(end: &LogEnd) -> (Epoch, Offset) {
    (end.epoch, end.end)
}
