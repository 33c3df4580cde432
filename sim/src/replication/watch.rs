//! Looks at every replica after every event of its node, and tells the [checkers](super::checkers) what is
//! new.

mod liveness;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kvnode_core::cluster::{AlterPartition, Cause, Life, Map, Partition, Seat};
use kvnode_core::control::View;
use kvnode_core::disk::{DiskOp, File};
use kvnode_core::shard::{FsyncMode, ReplicaGlance};
use kvnode_core::{DirectoryId, Epoch, Index, IoId, NodeId, Offset, PartitionId};

use super::checkers::acks::{Acks, Written};
use super::checkers::committed::{Committed, NEVER};
use super::checkers::matching::LogMatching;
use super::checkers::progress::Progress;
use super::checkers::reigns::Reigns;
use super::checkers::watermark::{self, Standing};
use super::checkers::{Found, complete, recovered};
use super::log::{Log, written};
use crate::history::Order;

/// See the module's header.
#[derive(Default)]
pub(crate) struct Watch {
    reigns: Reigns,
    matching: LogMatching,
    committed: Committed,
    acks: Acks,
    /// What was acknowledged may be lost with the power: only who speaks in the life of its seat has it.
    relaxed: bool,
    /// What each file holds that no fsync was asked for since, and what one that is under way will make
    /// durable.
    unsynced: BTreeMap<(u32, File), Vec<Written>>,
    syncing: BTreeMap<(u32, IoId), Vec<Written>>,
    logs: BTreeMap<(u32, PartitionId), Log>,
    /// Logs that were lost once: only who speaks in the life of its seat has what came since.
    gone: BTreeSet<(u32, PartitionId)>,
    replicas: BTreeMap<(u32, PartitionId), Seen>,
    /// What the shard of each node was shown last.
    views: BTreeMap<u32, Arc<View>>,
    /// How often its process has said that something may be gone.
    uncleans: BTreeMap<u32, u64>,
    /// What it was shown before, since its replicas were last looked at.
    stale: BTreeMap<u32, Vec<Arc<View>>>,
    /// What a leader last asked for, whatever became of it.
    asked: BTreeMap<PartitionId, AlterPartition>,
    /// The latest clock that a leader has had committed, in ms.
    clocks: BTreeMap<PartitionId, u64>,
    /// From this reign on led by one that may lack what was committed, and has not begun yet.
    unclean: BTreeMap<PartitionId, Epoch>,
    /// The last of those that have.
    begun: BTreeMap<PartitionId, Epoch>,
    /// The committed map that was looked at last, by its place, and whom it had in sync.
    applied: Index,
    in_sync: BTreeMap<PartitionId, Vec<Life>>,
    /// Who was in sync last, and since when the longest log may be taken, in ns.
    last: BTreeMap<PartitionId, Vec<NodeId>>,
    recoverable_ns: BTreeMap<PartitionId, u64>,
    /// What is to become committed.
    progress: Progress,
}

/// A replica as it was seen last.
#[derive(Clone, Copy)]
struct Seen {
    life: u64,
    is_up: bool,
    glance: ReplicaGlance,
}

/// What a look has shown.
#[derive(Default)]
pub(crate) struct Look {
    /// When it is, in the order of the run and in ns.
    at: (Order, u64),
    pub(crate) found: Vec<Found>,
    /// What is new, for the story.
    pub(crate) news: Vec<String>,
    /// Somebody begins or ceases to lead, or to serve.
    pub(crate) leaders_changed: bool,
    /// What is committed in a partition is lost, by a decree, but for what was so before this.
    pub(crate) lost: Vec<(PartitionId, Order)>,
    /// Somebody serves who may lead after such a loss, so that nobody serves any more who did before.
    pub(crate) served: Vec<PartitionId>,
}

impl Watch {
    pub(crate) fn new(fsync: FsyncMode) -> Self {
        Self { relaxed: fsync != FsyncMode::Always, ..Self::default() }
    }

    /// Whether what was acknowledged may be lost with the power.
    pub(crate) fn is_relaxed(&self) -> bool {
        self.relaxed
    }

    /// A node asks its disk for something.
    pub(crate) fn submits(&mut self, node: u32, io: IoId, op: &DiskOp) -> Vec<Found> {
        if let DiskOp::Sync(file) = op
            && let Some(written) = self.unsynced.remove(&(node, *file))
        {
            self.syncing.insert((node, io), written);
        }
        let who = format!("n{node}");
        let mut found = Vec::new();
        for (partition, offset, entry) in written(op) {
            if let DiskOp::Write { file, .. } = op {
                let record = (partition, entry.content.key, entry.content.value);
                self.unsynced.entry((node, *file)).or_default().push(record);
            }
            let log = self.logs.entry((node, partition)).or_default();
            if log.write(offset, entry) && !entry.is_gap() {
                let before = offset.0.checked_sub(1).and_then(|at| log.at(Offset(at)));
                let before = before.filter(|entry| !entry.is_gap()).map(|entry| entry.epoch);
                found.extend(self.matching.holds(&who, (partition, offset), entry, before));
            }
        }
        found
    }

    /// The disk has answered.
    pub(crate) fn answered(&mut self, node: u32, io: IoId, is_done: bool) {
        let written = self.syncing.remove(&(node, io)).filter(|_| is_done);
        for record in written.into_iter().flatten() {
            self.acks.makes_durable(node, record);
        }
    }

    /// A client whose write this is was told so by WAIT or WAITAOF.
    pub(crate) fn told(&self, written: Written, replicas: i64, local: bool) -> Option<Found> {
        self.acks.told(written, replicas, local)
    }

    /// A node is shown the cluster. What is behind what it has seen it does not act upon: its control
    /// has begun again from its store, and will catch up. Whether it learns of another reign.
    pub(crate) fn shown(&mut self, node: u32, view: &Arc<View>) -> bool {
        let known = self.views.get(&node);
        if known.is_some_and(|known| view.map.applied() < known.map.applied()) {
            return false;
        }
        let before = self.views.insert(node, Arc::clone(view));
        let same = |p| before.as_ref().is_some_and(|b| reign(&b.map, p) == reign(&view.map, p));
        let learns = view.map.partitions().any(|(p, _)| !same(p));
        if let Some(before) = before {
            self.stale.entry(node).or_default().push(before);
        }
        learns
    }

    /// Whether the node does not know who leads the partition by this map.
    pub(crate) fn is_behind(&self, node: u32, partition: PartitionId, map: &Map) -> bool {
        let view = self.views.get(&node);
        view.is_none_or(|view| reign(&view.map, partition) != reign(map, partition))
    }

    /// A leader asks for another in-sync set. What one of an earlier reign asks for is refused.
    pub(crate) fn asks(&mut self, alter: &AlterPartition) {
        let known = self.asked.get(&alter.partition);
        if known.is_none_or(|known| known.epoch <= alter.epoch) {
            self.asked.insert(alter.partition, alter.clone());
        }
    }

    /// The life that the node's shard knows of is over: something that it had may be gone.
    pub(crate) fn says_unclean(&mut self, node: u32) {
        *self.uncleans.entry(node).or_default() += 1;
    }

    /// A process has ended.
    pub(crate) fn died(&mut self, node: u32) {
        self.views.remove(&node);
        self.uncleans.remove(&node);
        self.stale.remove(&node);
        self.unsynced.retain(|(at, _), _| *at != node);
        self.syncing.retain(|(at, _), _| *at != node);
        for (_, seen) in self.replicas.iter_mut().filter(|((at, _), _)| *at == node) {
            seen.is_up = false;
            seen.glance.open = false;
        }
    }

    /// A node was given an empty disk.
    pub(crate) fn emptied(&mut self, node: u32) {
        self.logs.retain(|(at, _), _| *at != node);
        self.replicas.retain(|(at, _), _| *at != node);
    }

    /// The log of a partition is gone from a node's disk.
    pub(crate) fn lost(&mut self, node: u32, partition: PartitionId) {
        self.logs.remove(&(node, partition));
        self.replicas.remove(&(node, partition));
        self.gone.insert((node, partition));
    }

    /// The latest clock that a leader of the partition has had committed, in ms.
    pub(crate) fn clock(&self, partition: PartitionId) -> u64 {
        self.clocks.get(&partition).copied().unwrap_or(0)
    }

    /// A replica, if its process runs.
    pub(crate) fn replica(&self, node: u32, partition: PartitionId) -> Option<&ReplicaGlance> {
        let seen = self.replicas.get(&(node, partition)).filter(|seen| seen.is_up);
        seen.map(|seen| &seen.glance)
    }

    /// Those who lead partitions, each as often as it leads one.
    pub(crate) fn leaders(&self) -> Vec<u32> {
        let leads = |(_, seen): &(&(u32, PartitionId), &Seen)| seen.glance.leads.is_some();
        let up = self.replicas.iter().filter(|(_, seen)| seen.is_up);
        up.filter(leads).map(|((node, _), _)| *node).collect()
    }

    /// Everybody who takes itself for the leader of a partition: of which, in which reign, and whether
    /// it serves.
    pub(crate) fn reigns(&self) -> impl Iterator<Item = (u32, PartitionId, Epoch, bool)> + '_ {
        let up = self.replicas.iter().filter(|(_, seen)| seen.is_up);
        up.filter_map(|(&(node, p), seen)| Some((node, p, seen.glance.leads?, seen.glance.serves)))
    }

    /// Whether an in-sync set may be about to change, as far as its leader has asked for it.
    pub(crate) fn is_asked(&self, partition: PartitionId, map: &Map) -> bool {
        let Some(held) = map.partition(partition) else { return false };
        let asked = self.asked.get(&partition);
        asked.is_some_and(|asked| {
            asked.epoch == held.epoch && asked.partition_epoch == held.partition_epoch
        })
    }

    /// Whether all that is known to be committed is in the log on a node's disk.
    pub(crate) fn holds_committed(&self, node: u32, partition: PartitionId) -> bool {
        let empty = Log::default();
        let log = self.logs.get(&(node, partition)).unwrap_or(&empty);
        self.committed.leads("", partition, log, NEVER).is_none()
    }

    /// Looks at the replicas of a node after an event, at this moment. `map`: the committed one.
    pub(crate) fn look(
        &mut self,
        (node, life): (u32, u64),
        glances: impl Iterator<Item = ReplicaGlance>,
        map: &Map,
        at: (Order, u64),
    ) -> Look {
        let mut look = Look { at, ..Look::default() };
        look.found.extend(self.enter(map, at.1));
        for glance in glances {
            let key = (node, glance.partition);
            let before = self.replicas.get(&key).filter(|seen| seen.life == life).copied();
            if before.is_some_and(|seen| seen.glance == glance) {
                continue;
            }
            let seen = Seen { life, is_up: true, glance };
            self.replicas.insert(key, seen);
            self.is(node, life, before.map(|seen| seen.glance), glance, map, &mut look);
        }
        self.stale.remove(&node);
        look
    }

    /// Whoever has a seat in the map that it had not before holds all that is committed. Who has lost
    /// its disk since can not lead.
    fn enter(&mut self, map: &Map, now_ns: u64) -> Vec<Found> {
        let mut found = Vec::new();
        if std::mem::replace(&mut self.applied, map.applied()) == map.applied() {
            return found;
        }
        for (p, held) in map.partitions() {
            if self.doubts(p, held) {
                found.extend(self.recovers(p, held, map, now_ns));
            }
            self.last.insert(p, held.last_isr.clone());
            if map.is_recoverable(held) {
                self.recoverable_ns.entry(p).or_insert(now_ns);
            } else {
                self.recoverable_ns.remove(&p);
            }
            let before = self.in_sync.insert(p, held.isr_lives()).unwrap_or_default();
            let entered = held.isr.iter().filter(|seat| !before.contains(&seat.life));
            found.extend(entered.filter_map(|seat| self.enters(seat, p)));
        }
        found
    }

    fn enters(&self, seat: &Seat, p: PartitionId) -> Option<Found> {
        let Seat { life, directory, whole } = *seat;
        // One that is not whole can not be elected without a doubt.
        let may_lead = whole && self.speaks(life, p) && self.has(life.node, directory);
        let is_known = may_lead && !self.unclean.contains_key(&p);
        let log = self.logs.get(&(life.node.0, p)).filter(|_| is_known)?;
        self.committed.enters(&life.node.to_string(), p, log)
    }

    /// A leader is elected that may lack what is committed: which it is shows when it begins. Whether that is
    /// new.
    fn doubts(&mut self, p: PartitionId, held: &Partition) -> bool {
        let Some(doubt) = held.doubt else { return false };
        let is_due = self.begun.get(&p).is_none_or(|begun| *begun < doubt.epoch);
        is_due && self.unclean.insert(p, doubt.epoch) != Some(doubt.epoch)
    }

    /// Whether the longest log is taken, as far as all who were in sync last were waited for.
    fn recovers(&self, p: PartitionId, held: &Partition, map: &Map, now_ns: u64) -> Option<Found> {
        let since_ns = self.recoverable_ns.get(&p).copied().unwrap_or(now_ns);
        let elected = held.leader.filter(|_| now_ns - since_ns < RECOVERY_WAIT_NS)?;
        if held.doubt.is_none_or(|doubt| doubt.cause != Cause::UncleanStop) {
            return None;
        }
        let log = self.logs.get(&(elected.0, p))?;
        let lacks = self.committed.first_lacking(p, log);
        let last = self.last.get(&p).into_iter().flatten();
        let is_there = |node: &&NodeId| {
            let life = map.node(**node).filter(|node| node.is_active()).map(|node| node.life());
            let speaks = self.views.get(&node.0).is_some_and(|view| view.life == life);
            life.is_some() && speaks && self.replica(node.0, p).is_some_and(|own| own.open)
        };
        let holds = |node: &NodeId| {
            let log = self.logs.get(&(node.0, p)).zip(lacks);
            (*node, log.is_some_and(|(log, at)| self.committed.is_in(p, at, log)))
        };
        let there: Vec<_> = last.filter(is_there).map(holds).collect();
        recovered::check(p, elected, lacks, &there)
    }

    /// Whether the node still has this directory, as far as is known.
    fn has(&self, node: NodeId, directory: DirectoryId) -> bool {
        self.views.get(&node.0).is_some_and(|view| view.me.directory == directory)
    }

    /// Whether who speaks for the node has what it acknowledged in this life, as far as is known.
    fn speaks(&self, life: Life, p: PartitionId) -> bool {
        let is_kept = !self.relaxed && !self.gone.contains(&(life.node.0, p));
        let view = self.views.get(&life.node.0).filter(|view| view.life == Some(life));
        let uncleans = self.uncleans.get(&life.node.0).copied().unwrap_or(0);
        is_kept || view.is_some_and(|view| view.uncleans == uncleans)
    }

    fn is(
        &mut self,
        node: u32,
        life: u64,
        before: Option<ReplicaGlance>,
        now: ReplicaGlance,
        map: &Map,
        look: &mut Look,
    ) {
        let (p, who) = (now.partition, format!("n{node}"));
        let log = self.logs.entry((node, p)).or_default();
        // What is behind may be of another by now, which is to be written once there is a segment for it.
        if now.open && log.cut(now.shippable_end) {
            look.news.push(format!("{p}: the log ends at {}", now.shippable_end.0));
        }
        let (led, leads) = (before.and_then(|before| before.leads), now.leads);
        if let Some(epoch) = leads
            && led != leads
        {
            look.leaders_changed = true;
            look.news.push(format!("{p}: leads in {epoch}, log end {}", now.log_end.0));
            look.found.extend(self.reigns.begins(p, epoch, (node, life)));
            let log = &self.logs[&(node, p)];
            if self.unclean.get(&p).is_some_and(|since| epoch >= *since) {
                self.unclean.remove(&p);
                self.begun.insert(p, epoch);
                if let Some((cut, kept)) = self.committed.loses(p, log, epoch) {
                    self.acks.gives_up(p, cut);
                    look.news.push(format!("{p}: what was committed after {kept} is lost"));
                    look.lost.push((p, kept));
                    // Its clock may be behind, too.
                    self.clocks.remove(&p);
                }
            }
            look.found.extend(self.committed.leads(&who, p, log, epoch));
        }
        if led.is_some() && leads.is_none() {
            look.leaders_changed = true;
        }
        if let Some((leader, epoch)) = now.follows
            && before.is_none_or(|before| before.follows != now.follows)
        {
            look.news.push(format!("{p}: follows {leader} in {epoch}, log end {}", now.log_end.0));
        }
        let idle = |glance: ReplicaGlance| glance.leads.is_none() && glance.follows.is_none();
        if idle(now) && before.is_some_and(|before| !idle(before)) {
            look.news.push(format!("{p}: neither leads nor follows"));
        }
        let reigns_on = self.begun.get(&p).is_none_or(|begun| leads >= Some(*begun));
        if now.serves && !before.is_some_and(|before| before.serves) {
            if reigns_on {
                look.served.push(p);
            }
            // What an earlier leader had committed becomes so here, under those who watch already.
            look.leaders_changed = true;
            look.news.push(format!("{p}: serves"));
        }
        if now.serves && reigns_on {
            let clock = self.clocks.entry(p).or_default();
            *clock = now.committed_clock.max(*clock);
        }
        let was = before.filter(|before| before.open).map_or(Offset(0), |b| b.watermark);
        if now.open && now.watermark != was {
            look.news.push(format!("{p}: committed to {}", now.watermark.0));
            if now.watermark > was {
                let log = &self.logs[&(node, p)];
                let range = (was, now.watermark);
                let follows = now.follows.map(|(_, epoch)| epoch);
                let reign = leads.or(follows).unwrap_or(NEVER);
                // Who has just opened knows of it by its log alone, whomever it follows by now.
                let told = leads.or(follows).filter(|_| before.is_some_and(|b| b.open));
                let heard = (reign, told.unwrap_or(now.epoch), look.at.0);
                look.found.extend(self.committed.covers(&who, p, log, range, heard));
            }
        }
        let acked = before.filter(|before| before.open).map_or(Offset(0), |b| b.acked_end);
        if now.open && now.acked_end > acked {
            let (log, range) = (&self.logs[&(node, p)], (acked, now.acked_end));
            let records = log.range(range.0, range.1).map(|(at, entry)| (at, entry.content));
            self.acks.acknowledges(node, p, range, records);
        }
        if let Some(epoch) = leads {
            let stands = |epoch, glance: ReplicaGlance| Standing {
                epoch,
                watermark: glance.watermark,
                acked: glance.acked_end,
            };
            let before = before.and_then(|before| Some(stands(before.leads?, before)));
            let count = self.count(node, p);
            let whose = format!("{who} for {p}");
            look.found.extend(watermark::check(&whose, before, stands(epoch, now), count));
        }
        if now.open && !before.is_some_and(|before| before.open) && self.gone.contains(&(node, p)) {
            let seat = map.partition(p).and_then(|held| held.seat(NodeId(node)));
            look.found.extend(seat.and_then(|seat| self.enters(seat, p)));
        }
        look.found.extend(complete::readable(&who, &now));
        look.found.extend(self.complete(p, map));
    }

    /// How many replicas the node has taken to be in sync since the last look, and how many it needs.
    fn count(&self, node: u32, partition: PartitionId) -> (usize, usize) {
        let Some(view) = self.views.get(&node) else { return (0, 0) };
        let stale = self.stale.get(&node).into_iter().flatten();
        let in_sync = |view: &Arc<View>| view.map.partition(partition).map_or(0, |p| p.isr.len());
        let most = stale.chain([view]).map(in_sync).max();
        (most.unwrap_or(0), view.map.min_isr())
    }

    fn complete(&self, p: PartitionId, map: &Map) -> Option<Found> {
        let held = map.partition(p)?;
        let leader = held.leader?;
        let glance = self.replica(leader.0, p).filter(|own| own.leads == Some(held.epoch))?;
        // Who has lost its disk since holds nothing, and can not lead.
        let seats = held.isr.iter().filter(|seat| self.has(seat.life.node, seat.directory));
        let seats = seats.filter(|seat| self.speaks(seat.life, p));
        let mut members: BTreeSet<NodeId> = seats.map(|seat| seat.life.node).collect();
        if self.is_asked(p, map) {
            let present = |life: &&Life| {
                let node = map.node(life.node).filter(|node| node.life() == **life);
                let has = |directory| self.has(life.node, directory) && self.speaks(**life, p);
                node.is_some_and(|node| has(node.registration.directory))
            };
            members.extend(self.asked[&p].isr.iter().filter(present).map(|life| life.node));
        }
        members.remove(&leader);
        let acked = |node: NodeId| {
            let seen = self.replicas.get(&(node.0, p))?;
            // What it has on disk is known once it is open.
            seen.glance.open.then_some(seen.glance.acked_end)
        };
        let members: Vec<_> = members.into_iter().map(|node| (node, acked(node))).collect();
        complete::check(&format!("{leader}"), p, glance.watermark, &members)
    }
}

/// Who leads the partition, in which reign.
fn reign(map: &Map, partition: PartitionId) -> Option<(NodeId, Epoch)> {
    let held = map.partition(partition)?;
    Some((held.leader?, held.epoch))
}

/// How long a controller waits for those who were in sync last, less what it may begin before that shows.
const RECOVERY_WAIT_NS: u64 = 29_000_000_000;

#[cfg(test)]
mod tests {
    use kvnode_core::cluster::{Command, Founding};
    use kvnode_core::control::QuorumView;
    use kvnode_core::election::{Role, Voters};
    use kvnode_core::{ClusterId, DirectoryId, Index, Member, Term};

    use super::*;
    use crate::quorum::checkers::seats::forge_registration;
    use crate::replication::log::forge::log;

    const P: PartitionId = PartitionId(0);

    /// The map after each entry by which a cluster of two nodes comes to have a partition.
    fn maps() -> Vec<Map> {
        let nodes = [NodeId(1), NodeId(2)];
        let founding = Founding {
            cluster: ClusterId(1),
            level: 1,
            partitions: 1,
            replication_factor: 2,
            min_isr: 2,
            expected: nodes.into(),
        };
        let mut map = Map::new();
        let mut list = Vec::new();
        let mut apply = |map: &mut Map, command: &Command| {
            map.apply(map.applied().plus(1), command).expect("it is lawful");
            list.push(map.clone());
        };
        apply(&mut map, &Command::Found(founding));
        for node in nodes {
            apply(&mut map, &Command::Register(forge_registration(node.0)));
            let life = map.node(node).expect("it is registered").life();
            apply(&mut map, &Command::Unfence(life));
        }
        apply(&mut map, &Command::CreatePartitions(vec![nodes.to_vec()]));
        list
    }

    fn view(map: &Map) -> Arc<View> {
        let quorum = QuorumView {
            role: Role::Follower,
            term: Term(1),
            controller: None,
            voters: Voters::default(),
            heard: None,
            reached: BTreeSet::new(),
            applied: Index(0),
        };
        let me = Member { node: NodeId(1), directory: DirectoryId(1) };
        let map = map.clone();
        Arc::new(View {
            me,
            cluster: None,
            missing: Vec::new(),
            quorum,
            life: None,
            unsynced: false,
            uncleans: 0,
            settles: false,
            map,
        })
    }

    #[test]
    fn what_a_deposed_leader_asks_for_hides_nothing() {
        let maps = maps();
        let map = &maps[maps.len() - 1];
        let held = map.partition(P).expect("it was made");
        let mut alter = AlterPartition {
            partition: P,
            leader: NodeId(1),
            epoch: held.epoch,
            partition_epoch: held.partition_epoch,
            isr: held.isr_lives(),
        };
        let mut watch = Watch::default();
        assert!(!watch.is_asked(P, map));
        watch.asks(&alter);
        alter.epoch = Epoch(0);
        watch.asks(&alter);
        assert!(watch.is_asked(P, map));
    }

    #[test]
    fn a_node_that_is_behind_is_told_from_one_that_learns() {
        let maps = maps();
        let (old, new) = (&maps[0], &maps[maps.len() - 1]);
        let mut watch = Watch::default();
        assert!(watch.is_behind(1, P, new));
        assert!(!watch.shown(1, &view(old)), "it holds no partition");
        assert!(watch.is_behind(1, P, new) && watch.shown(1, &view(new)));
        assert!(!watch.is_behind(1, P, new) && !watch.shown(1, &view(new)));
    }

    /// Seed 80011128: half a batch was cut off, and the beginning of the reign waited for a new segment.
    #[test]
    fn what_stood_where_a_reign_begins_is_lost_before_anything_is_written_there() {
        let maps = maps();
        let (mut watch, mut look) = (Watch::default(), Look::default());
        let (all, first) = ((Offset(0), Offset(3)), (Epoch(1), Epoch(1), 5));
        assert_eq!(watch.committed.covers("n2", P, &log(&[1, 1, 1]), all, first), None);
        watch.logs.insert((1, P), log(&[1, 1, 1]));
        watch.unclean.insert(P, Epoch(2));
        let begins = ReplicaGlance {
            partition: P,
            leads: Some(Epoch(2)),
            follows: None,
            serves: false,
            open: true,
            damaged: false,
            epoch: Epoch(2),
            log_end: Offset(3),
            shippable_end: Offset(2),
            acked_end: Offset(2),
            watermark: Offset(0),
            committed_clock: 0,
        };
        watch.is(1, 1, None, begins, &maps[maps.len() - 1], &mut look);
        assert_eq!((look.lost, look.found), (vec![(P, 5)], vec![]));
    }

    #[test]
    fn a_map_that_is_behind_what_a_leader_has_seen_does_not_count() {
        let maps = maps();
        let (old, new) = (&maps[0], &maps[maps.len() - 1]);
        let mut watch = Watch::default();
        watch.shown(1, &view(new));
        watch.stale.clear();
        assert_eq!(watch.count(1, P), (2, 2));
        // Its control begins again from what it has on disk, and is read to the end later.
        watch.shown(1, &view(old));
        watch.stale.clear();
        assert_eq!(watch.count(1, P), (2, 2));
        watch.died(1);
        watch.shown(1, &view(old));
        assert_eq!(watch.count(1, P), (0, 2), "another process has seen nothing yet");
    }

    /// Seed 2110334: a leader took in who had acknowledged all, and had lost its power before the
    /// controller agreed; its next process had read the map and not yet registered.
    #[test]
    fn a_process_speaks_for_the_life_that_it_has_registered() {
        let maps = maps();
        let map = &maps[maps.len() - 1];
        let life = map.node(NodeId(1)).expect("it is registered").life();
        let mut watch = Watch::new(FsyncMode::Never);
        watch.shown(1, &view(map));
        assert!(!watch.speaks(life, P), "it has not registered");
        let registered = View { life: Some(life), ..(*view(map)).clone() };
        watch.shown(1, &Arc::new(registered));
        assert!(watch.speaks(life, P));
        // Seed 40000928: control had registered when the shard found the log gone, and had not heard yet.
        watch.says_unclean(1);
        assert!(!watch.speaks(life, P));
        watch.died(1);
        assert!(!watch.speaks(life, P));
        let mut watch = Watch::new(FsyncMode::Always);
        assert!(watch.speaks(life, P), "nothing is lost with the power");
        watch.lost(1, P);
        assert!(!watch.speaks(life, P), "but the log");
    }
}
