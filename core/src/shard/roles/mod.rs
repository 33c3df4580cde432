//! What each partition is on a node of a cluster: led here, followed, or neither; as the cluster map
//! says, which control hands in.
//!
//! The [protocol](crate::replication) decides; here its machines meet the replica, whose log they
//! know by numbers alone, and the clients.
//!
//! ```text
//!              the map names this node                  the map names another
//!   Idle ────────────────────────────────▶ Leader ─────────────────────────────▶ Follower
//!    ▲  the epoch's record is logged         │                                      │
//!    └── nobody leads, or the replica is down ◀─────────────────────────────────────┘
//! ```
//!
//! A leader that is none any more answers nothing by itself: reads that wait are told to come again
//! (what they saw may be old by now); writes wait on, for what the next leader takes over from this
//! log will be committed, and then the reply is right.

mod acting;
mod glance;
mod replicas;

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use crate::cluster::{LogEnd, Map};
use crate::control::View;
use crate::disk::ValueCache;
use crate::marks::Mark;
use crate::node::{Parcel, ToControl, ToShard};
use crate::peer::Channel;
use crate::replication::{Envelope, Follower, Leader, LogState, ReadWait};
use crate::reply::Reply;
use crate::shard::waiters::Waits;
use crate::shard::{Output, Partition, Severity, Shard, errors};
use crate::storage::replica::{Dropped, Refusal, Replica};
use crate::{Epoch, Instant, NodeId, Offset, PartitionId};

pub(in crate::shard) use acting::Hold;
pub use glance::ReplicaGlance;

/// See the module's header.
#[derive(Debug)]
pub(in crate::shard) enum Role {
    /// The node stands alone, and is the in-sync set by itself.
    Alone,
    /// Nobody leads, as far as is known, or the replica is not open.
    Idle,
    Leader(Box<Leader>),
    Follower(Box<Follower>),
}

/// What the role's machine was last told of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::shard) struct Seen {
    end: Offset,
    stored: Offset,
    acked: Offset,
    horizon: Offset,
}

/// How far a node that stops is with its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) enum Leaving {
    /// What was taken is being answered.
    Waiting,
    /// All of it is, and control knows.
    Left,
}

/// What a command wants logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) enum Logged {
    /// Its changes.
    Write,
    /// The clock by which a key that it looks at has expired.
    Clock,
}

/// How often the controller is told how far the replicas have come.
pub(super) const REPORT_EVERY: Duration = Duration::from_millis(100);

impl Partition {
    /// Whether commands may be evaluated against it.
    pub(in crate::shard) fn serves(&self) -> bool {
        self.replica.serving()
            && match &self.role {
                Role::Alone => true,
                Role::Leader(leader) => leader.serves(),
                Role::Idle | Role::Follower(_) => false,
            }
    }

    /// The reign in which this node leads it.
    pub(in crate::shard) fn reign(&self) -> Option<Epoch> {
        match &self.role {
            Role::Leader(leader) => Some(leader.epoch()),
            Role::Alone | Role::Idle | Role::Follower(_) => None,
        }
    }

    /// What a read that was evaluated just now waits for.
    pub(in crate::shard) fn read_wait(&mut self, now: Instant) -> ReadWait {
        match &mut self.role {
            Role::Leader(leader) => leader.read(now),
            Role::Alone | Role::Idle | Role::Follower(_) => ReadWait::Now,
        }
    }

    /// Whether that would be logged now; if not, what the client is told.
    pub(in crate::shard) fn takes(&self, what: Logged, now: Instant) -> Result<(), Reply> {
        match &self.role {
            Role::Leader(leader) => {
                leader.writable().map_err(|few| errors::too_few(self.id, few, what))?;
            }
            Role::Alone => {}
            Role::Idle | Role::Follower(_) => return Err(errors::elsewhere()),
        }
        let at = self.id.0 as usize;
        match self.replica.writable(now) {
            // A clock needs no place in the index.
            Err(Refusal::IndexFull) if what == Logged::Clock => Ok(()),
            Err(refusal) => Err(errors::refused(at, self.replica.status_word(), refusal, what)),
            Ok(()) => Ok(()),
        }
    }

    /// What a client is told whose command needs the partition, which does not serve.
    pub(in crate::shard) fn not_serving(&self) -> Reply {
        match self.role {
            Role::Alone => errors::not_serving(self.id.0 as usize, self.replica.status_word()),
            Role::Idle | Role::Leader(_) | Role::Follower(_) => errors::elsewhere(),
        }
    }

    /// How many replicas are in sync, as far as is known here.
    pub(in crate::shard) fn in_sync(&self) -> usize {
        match &self.role {
            Role::Alone => usize::from(self.replica.serving()),
            Role::Leader(leader) => leader.status().iter().filter(|f| f.in_sync).count() + 1,
            Role::Idle | Role::Follower(_) => 0,
        }
    }

    /// Whether it can lead or follow. The replica's own word is not enough: it may have opened without
    /// what this node had acknowledged, or the word that it went down is not taken yet. That a cut is
    /// done shows by that word alone.
    fn can_act(&self) -> bool {
        self.ready && !self.cutting && self.replica.serving()
    }

    /// Whether it begins again from zero once it follows.
    fn is_refetched(&self) -> bool {
        self.spoilt || self.forked
    }

    /// How far its log has come, by the reign of its last record and the end.
    fn length(&self) -> (Epoch, Offset) {
        let last = self.replica.epochs().last();
        (last.map_or(Epoch(0), |(epoch, _)| epoch), self.replica.acked_end())
    }

    /// Whether control was told of more than there is, and it was elected for that: in a reign of which the log
    /// knows nothing yet.
    fn has_less_than_told(&self, elected: Option<Epoch>) -> bool {
        let (epoch, end) = self.length();
        elected > Some(epoch) && self.most_told > Some((epoch, end))
    }

    /// What control is told of its log, if that is open.
    fn tell_end(&mut self) -> Option<LogEnd> {
        if !self.can_act() {
            return None;
        }
        let (epoch, end) = self.length();
        self.most_told = self.most_told.max(Some((epoch, end)));
        Some(LogEnd { partition: self.id, epoch, end, fit: self.replica.fit() })
    }

    /// The log is to end at `from`. What was acknowledged before that is to be there still.
    fn cut(&mut self, now: Instant, from: Offset, cache: &mut dyn ValueCache) {
        self.cutting = true;
        self.had_acked = self.told.acked.min(from);
        self.replica.cut(now, from, cache);
    }

    fn seen(&self) -> Seen {
        let end = match &self.role {
            Role::Leader(_) => self.replica.shippable_end(),
            Role::Alone | Role::Idle | Role::Follower(_) => self.replica.log_end(),
        };
        let (stored, acked) = (self.replica.stored_end(), self.replica.acked_end());
        Seen { end, stored, acked, horizon: self.replica.tombstone_horizon() }
    }
}

fn log_state(replica: &Replica, seen: Seen) -> LogState<'_> {
    LogState {
        epochs: replica.epochs(),
        end: seen.end,
        stored: seen.stored,
        acked: seen.acked,
        watermark: replica.high_watermark(),
        tombstone_horizon: seen.horizon,
    }
}

/// What control says.
impl Shard {
    pub(in crate::shard) fn on_control(&mut self, said: ToShard) {
        match said {
            ToShard::View(view) => self.on_view(view),
            ToShard::Linked(node) => {
                self.linked.insert(node);
                self.tell_link(node, true);
                self.look_for_leaders();
            }
            ToShard::Unlinked(node) => {
                self.linked.remove(&node);
                self.tell_link(node, false);
                self.forget_node(node);
            }
            ToShard::Missed(node) => self.lose_asked(node),
            ToShard::Parcel(Parcel { node, channel: Channel::Data, body }) => {
                self.on_data(node, body);
            }
            ToShard::Parcel(Parcel { node, channel: Channel::Forward, body }) => {
                self.on_forward(node, body);
            }
            ToShard::Parcel(_) => {}
            ToShard::Taken(node) => self.on_taken(node),
            ToShard::Returned(Parcel { node, channel: Channel::Forward, body }) => {
                self.on_returned(node, body);
            }
            ToShard::Leaving => {
                self.leaving = Some(Leaving::Waiting);
                self.advance_pauses();
            }
            // Followers ask again for what does not come.
            ToShard::Returned(_) => {}
            ToShard::Answered(client, outcome) => self.on_answered(client, outcome),
            ToShard::AlterRefused { partition, partition_epoch, why } => {
                let Some(at) = self.homes.find(partition) else { return };
                let now = self.now.mono;
                if let Role::Leader(leader) = &mut self.partitions[at].role {
                    leader.on_alter_refused(now, partition_epoch, why);
                }
                self.advance_role(at);
            }
        }
    }

    fn on_view(&mut self, view: alloc::sync::Arc<View>) {
        // Control may have begun again from its store, and be behind what was seen.
        let known = self.cluster.as_ref();
        if known.is_some_and(|known| view.map.applied() < known.map.applied()) {
            return;
        }
        let lives = known.map(|known| known.life) != Some(view.life);
        let me = view.me.node;
        let count = view.map.partitions().count();
        if count > 0 {
            self.homes.set_count(count);
        }
        let held = view.map.partitions().filter(|(_, p)| p.replicas.contains(&me));
        let held: Vec<PartitionId> = held.map(|(id, _)| id).collect();
        self.cluster = Some(view);
        for id in held {
            if self.homes.find(id).is_none() {
                self.open_replica(id);
            }
        }
        for at in 0..self.partitions.len() {
            if lives {
                // What was said in another life is not said in this one.
                self.step_down(at);
            }
            self.settle_role(at);
        }
        self.look_for_leaders();
    }

    fn tell_link(&mut self, node: NodeId, up: bool) {
        let now = self.now.mono;
        for at in 0..self.partitions.len() {
            match &mut self.partitions[at].role {
                Role::Leader(leader) if up => leader.on_linked(now, node),
                Role::Leader(leader) => leader.on_unlinked(now, node),
                Role::Follower(follower) if follower.leader() == node && up => {
                    follower.on_linked(now);
                }
                Role::Follower(follower) if follower.leader() == node => follower.on_unlinked(now),
                Role::Alone | Role::Idle | Role::Follower(_) => continue,
            }
            self.advance_role(at);
        }
    }

    fn on_data(&mut self, from: NodeId, body: Bytes) {
        let Some(envelope) = Envelope::decode(body) else {
            let text = format!("{from} has sent records in a form that this version does not know");
            return self.out.push_back(Output::Notice(Severity::Warn, text));
        };
        let Some(at) = self.homes.find(envelope.partition) else { return };
        self.resign_if_taken_back(at);
        let partition = &mut self.partitions[at];
        let seen = partition.seen();
        let (now, epoch, message) = (self.now.mono, envelope.epoch, envelope.message);
        // A message of another reign is no one's.
        match &mut partition.role {
            Role::Leader(leader) if leader.epoch() == epoch => {
                partition.told = seen;
                leader.on_message(now, from, message, log_state(&partition.replica, seen));
            }
            Role::Follower(follower) if follower.epoch() == epoch && follower.leader() == from => {
                follower.on_message(now, from, message, log_state(&partition.replica, seen));
            }
            Role::Alone | Role::Idle | Role::Leader(_) | Role::Follower(_) => return,
        }
        self.advance_role(at);
    }

    fn with_follower(&mut self, at: usize, f: impl FnOnce(&mut Follower, Instant, LogState<'_>)) {
        let partition = &mut self.partitions[at];
        let seen = partition.seen();
        if let Role::Follower(follower) = &mut partition.role {
            f(follower, self.now.mono, log_state(&partition.replica, seen));
        }
        self.advance_role(at);
    }
}

/// Roles.
impl Shard {
    /// Makes the partition what the map says that it is.
    pub(in crate::shard) fn settle_role(&mut self, at: usize) {
        let Some(view) = self.cluster.clone() else { return };
        let partition = &self.partitions[at];
        let id = partition.id;
        let (Some(life), Some(entry)) = (view.life, view.map.partition(id)) else {
            return self.step_down(at);
        };
        // What is said in the name of a life that has ended is not true.
        if !partition.can_act() || !self.is_heard(&view) || self.stop != crate::shard::Stop::No {
            return self.step_down(at);
        }
        if self.leave_if_spoilt(at) {
            return;
        }
        let partition = &self.partitions[at];
        let (epoch, now) = (entry.epoch, self.now.mono);
        match entry.leader {
            Some(node) if node == life.node => {
                let own = entry.seat(node).is_some_and(|seat| seat.life == life);
                if partition.reign() == Some(epoch) {
                    self.with_leader_map(at, &view.map);
                } else if own && partition.has_less_than_told(entry.longest_log()) {
                    // Elected for what it had: another may have more than it has now.
                    self.begin_unclean();
                } else if own {
                    self.begin_reign(at, epoch, &view);
                } else {
                    self.step_down(at);
                }
            }
            Some(leader) => {
                let known = match &partition.role {
                    Role::Follower(follower) => follower.epoch() == epoch,
                    Role::Alone | Role::Idle | Role::Leader(_) => false,
                };
                if known {
                    return;
                }
                self.step_down(at);
                let settings = self.config.replication;
                let partition = &mut self.partitions[at];
                if partition.is_refetched() {
                    (partition.spoilt, partition.forked) = (false, false);
                    self.marks.hit(Mark::Refetched);
                    return self.cut_log(at, Offset(0));
                }
                let round = partition.next_round;
                let mut follower = Follower::new(now, id, life, epoch, leader, round, settings);
                follower.hold_until(partition.hold.until());
                partition.role = Role::Follower(Box::new(follower));
                partition.spoke_in = Some(life);
                partition.told = partition.seen();
                if self.linked.contains(&leader)
                    && let Role::Follower(follower) = &mut partition.role
                {
                    follower.on_linked(now);
                }
                self.advance_role(at);
            }
            None => self.step_down(at),
        }
    }

    fn with_leader_map(&mut self, at: usize, map: &Map) {
        if let Role::Leader(leader) = &mut self.partitions[at].role {
            leader.on_map(self.now.mono, map);
        }
        self.advance_role(at);
    }

    /// The log is to end at `from`. Until it does nothing counts that was said of it: a full disk can
    /// take its time, and whoever is elected meanwhile for what it had leads with what is left.
    fn cut_log(&mut self, at: usize, from: Offset) {
        let partition = &mut self.partitions[at];
        partition.cut(self.now.mono, from, &mut *self.config.cache);
        let id = partition.id;
        self.out.push_back(Output::Control(ToControl::Closed(id)));
        self.touch(at);
    }

    fn begin_reign(&mut self, at: usize, epoch: Epoch, view: &View) {
        self.step_down(at);
        let now = self.now.mono;
        let partition = &mut self.partitions[at];
        if let Some(from) = partition.replica.open_batch() {
            // The rest of it will never come; the reign begins once the log is open again.
            return self.cut_log(at, from);
        }
        let last = partition.begun.max(partition.replica.epoch());
        if last >= epoch || !partition.replica.fit() {
            // It led in this reign before its replica failed, or can not lead now.
            self.resign(at, epoch);
            return;
        }
        let log_clock = partition.replica.log_clock();
        if self.partitions.iter().all(|partition| partition.begun == Epoch(0)) {
            self.clock.take_back(self.now);
        }
        self.clock.raise(log_clock);
        let partition = &mut self.partitions[at];
        partition.begun = epoch;
        let start = partition.replica.begin_reign(epoch);
        // What others have instead does not count any more.
        partition.forked = false;
        let life = view.life.expect("the caller has looked");
        let (id, promises) = (partition.id, partition.promises.clone());
        let settings = self.config.replication;
        let mut leader = Leader::new(now, id, life, epoch, start, promises, &view.map, settings);
        for &node in &self.linked {
            leader.on_linked(now, node);
        }
        partition.role = Role::Leader(Box::new(leader));
        partition.spoke_in = Some(life);
        // The role has yet to hear of its log; what was acknowledged stays so.
        partition.told = Seen { acked: partition.seen().acked, ..Seen::default() };
        self.marks.hit(Mark::ReignBegun);
        self.touch(at);
    }

    /// The partition is neither led nor followed here any more.
    pub(in crate::shard) fn step_down(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        match core::mem::replace(&mut partition.role, Role::Idle) {
            Role::Alone => partition.role = Role::Alone,
            Role::Idle => {}
            Role::Follower(follower) => {
                partition.promises.give(self.now.mono, follower.leader(), follower.promised());
                partition.next_round = follower.next_round();
            }
            Role::Leader(_) => {
                partition.replica.set_retain(Offset(u64::MAX));
                self.marks.hit(Mark::ReignEnded);
                let homes = &self.homes;
                self.watched.on_lost(|key| homes.at(key) == Some(at));
                self.fail_reads(at);
            }
        }
    }

    /// Reads that wait may be of a state that is old by now.
    fn fail_reads(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        let confirms = core::mem::take(&mut partition.confirms);
        let waiters = core::mem::take(&mut partition.waiters);
        let (writes, others) = waiters
            .into_iter()
            .partition(|waiter| matches!(waiter.what, Waits::Reply { wrote: Some(_), .. }));
        partition.waiters = writes;
        for confirm in confirms {
            self.settle_moved(confirm.client, confirm.number, at);
        }
        let others: alloc::collections::VecDeque<crate::shard::waiters::Waiter> = others;
        for waiter in others {
            match waiter.what {
                Waits::Reply { number, .. } => self.settle_moved(waiter.client, number, at),
                Waits::Command => self.on_commit_for_command(waiter.client),
            }
        }
    }
}

/// Time, and the end.
impl Shard {
    pub(in crate::shard) fn tick_roles(&mut self) {
        let now = self.now.mono;
        for at in 0..self.partitions.len() {
            self.resign_if_taken_back(at);
            let partition = &mut self.partitions[at];
            let seen = partition.seen();
            let due = role_deadline(partition).is_some_and(|due| due <= now);
            if !due {
                continue;
            }
            let log = log_state(&partition.replica, seen);
            match &mut partition.role {
                Role::Leader(leader) => {
                    partition.told = seen;
                    leader.on_tick(now, log);
                }
                Role::Follower(follower) => follower.on_tick(now, log),
                Role::Alone | Role::Idle => {}
            }
            self.advance_role(at);
        }
        if self.report_at.is_some_and(|due| due <= now) {
            self.report();
            (0..self.partitions.len()).for_each(|at| self.give_up_waiters(at));
        }
    }

    /// Tells the controller how far the replicas have come.
    pub(super) fn report(&mut self) {
        let now = self.now.mono;
        self.report_at = Some(now.after(REPORT_EVERY));
        let ends: Vec<LogEnd> =
            self.partitions.iter_mut().filter_map(Partition::tell_end).collect();
        self.out.push_back(Output::Control(ToControl::LogEnds(ends)));
    }

    /// When a role wants to be called again.
    pub(in crate::shard) fn roles_deadline(&self) -> Option<Instant> {
        let roles = self.partitions.iter().filter_map(role_deadline);
        roles.chain(self.report_at).min()
    }

    /// What was handed to the disk and found no room may have been shipped: the reign ends with it.
    fn resign_if_taken_back(&mut self, at: usize) {
        let partition = &self.partitions[at];
        let (seen, told) = (partition.seen(), partition.told);
        if let Some(epoch) = partition.reign()
            && (seen.end < told.end || seen.acked < told.acked)
        {
            self.resign(at, epoch);
        }
    }

    /// This node can not go on in this reign of the partition: another is to begin. Whether one could
    /// begin here is said first, or this node would be elected until it says so.
    fn resign(&mut self, at: usize, epoch: Epoch) {
        self.step_down(at);
        self.marks.hit(Mark::Resigned);
        let partition = &mut self.partitions[at];
        let (id, end) = (partition.id, partition.tell_end());
        self.out.push_back(Output::Control(ToControl::LogEnds(end.into_iter().collect())));
        self.out.push_back(Output::Control(ToControl::Resigned(id, epoch)));
    }

    /// Tells control that nobody waits for this node any more, once.
    pub(in crate::shard) fn leave(&mut self) -> Option<Output> {
        let waited_for = || {
            self.clients.values().any(crate::shard::client::Client::is_waiting)
                || self.partitions.iter().any(|p| !p.waiters.is_empty() || !p.confirms.is_empty())
                || !self.forwarding.is_sent()
        };
        if self.leaving != Some(Leaving::Waiting) || waited_for() {
            return None;
        }
        self.leaving = Some(Leaving::Left);
        Some(Output::Control(ToControl::Left))
    }

    /// What a leader's writes that wait are told when the node stops.
    pub(in crate::shard) fn fail_waiters(&mut self) {
        for at in 0..self.partitions.len() {
            if !matches!(self.partitions[at].role, Role::Alone) {
                self.step_down(at);
                let from = Offset(0);
                self.on_dropped(at, from, Dropped::Unknown);
            }
        }
    }
}

fn role_deadline(partition: &Partition) -> Option<Instant> {
    match &partition.role {
        Role::Leader(leader) => leader.deadline().map(|(at, _)| at),
        Role::Follower(follower) => follower.deadline().map(|(at, _)| at),
        Role::Alone | Role::Idle => None,
    }
}
