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

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::client::Waits;
use super::{Output, Partition, Severity, Shard, errors};
use crate::cluster::{LogEnd, Map};
use crate::control::View;
use crate::marks::Mark;
use crate::node::{Parcel, ToControl, ToShard};
use crate::peer::Channel;
use crate::replication::{
    Envelope, Follower, Leader, LogState, Message, ReadWait, Round, follower, leader,
};
use crate::reply::Reply;
use crate::storage::replica::{Chunk, Dropped, LogFault, ReadToken, Replica};
use crate::{Epoch, Instant, Millis, NodeId, Offset, PartitionId};

/// See the module's header.
#[derive(Debug)]
pub(super) enum Role {
    /// The node stands alone, and is the in-sync set by itself.
    Alone,
    /// Nobody leads, as far as is known, or the replica is not open.
    Idle,
    Leader(Box<Leader>),
    Follower(Box<Follower>),
}

/// What the role's machine was last told of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    end: Offset,
    acked: Offset,
    horizon: Offset,
}

/// How far a node that stops is with its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// What was taken is being answered.
    Waiting,
    /// All of it is, and control knows.
    Left,
}

/// How often the controller is told how far the replicas have come.
pub(super) const REPORT_EVERY: Duration = Duration::from_millis(100);

impl Partition {
    /// Whether commands may be evaluated against it.
    pub(super) fn serves(&self) -> bool {
        self.replica.serving()
            && match &self.role {
                Role::Alone => true,
                Role::Leader(leader) => leader.serves(),
                Role::Idle | Role::Follower(_) => false,
            }
    }

    /// The reign in which this node leads it.
    pub(super) fn reign(&self) -> Option<Epoch> {
        match &self.role {
            Role::Leader(leader) => Some(leader.epoch()),
            Role::Alone | Role::Idle | Role::Follower(_) => None,
        }
    }

    /// What a read that was evaluated just now waits for.
    pub(super) fn read_wait(&mut self, now: Instant) -> ReadWait {
        match &mut self.role {
            Role::Leader(leader) => leader.read(now),
            Role::Alone | Role::Idle | Role::Follower(_) => ReadWait::Now,
        }
    }

    /// Whether a write would be taken now; if not, what its client is told.
    pub(super) fn takes_writes(&self, now: Instant) -> Result<(), Reply> {
        match &self.role {
            Role::Leader(leader) => {
                leader.writable().map_err(|few| errors::too_few(self.id, few))?;
            }
            Role::Alone => {}
            Role::Idle | Role::Follower(_) => return Err(errors::elsewhere()),
        }
        let writable = self.replica.writable(now);
        let at = self.id.0 as usize;
        writable.map_err(|refusal| errors::refused(at, self.replica.status_word(), refusal))
    }

    /// What a client is told whose command needs the partition, which does not serve.
    pub(super) fn not_serving(&self) -> Reply {
        match self.role {
            Role::Alone => errors::not_serving(self.id.0 as usize, self.replica.status_word()),
            Role::Idle | Role::Leader(_) | Role::Follower(_) => errors::elsewhere(),
        }
    }

    /// How many replicas are in sync, as far as is known here.
    pub(super) fn in_sync(&self) -> usize {
        match &self.role {
            Role::Alone => usize::from(self.replica.serving()),
            Role::Leader(leader) => leader.status().iter().filter(|f| f.in_sync).count() + 1,
            Role::Idle | Role::Follower(_) => 0,
        }
    }

    fn seen(&self) -> Seen {
        let end = match &self.role {
            Role::Leader(_) => self.replica.shippable_end(),
            Role::Alone | Role::Idle | Role::Follower(_) => self.replica.log_end(),
        };
        let (acked, horizon) = (self.replica.acked_end(), self.replica.tombstone_horizon());
        Seen { end, acked, horizon }
    }
}

fn log_state(replica: &Replica, seen: Seen) -> LogState<'_> {
    LogState {
        epochs: replica.epochs(),
        end: seen.end,
        acked: seen.acked,
        watermark: replica.high_watermark(),
        tombstone_horizon: seen.horizon,
    }
}

/// What control says.
impl Shard {
    pub(super) fn on_control(&mut self, said: ToShard) {
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
            ToShard::Parcel(Parcel { node, channel: Channel::Data, body }) => {
                self.on_data(node, body);
            }
            ToShard::Parcel(Parcel { node, channel: Channel::Forward, body }) => {
                self.on_forward(node, body);
            }
            ToShard::Parcel(_) => {}
            ToShard::Returned(Parcel { channel: Channel::Forward, body, .. }) => {
                self.on_returned(body);
            }
            ToShard::Leaving => self.leaving = Some(Leaving::Waiting),
            // Followers ask again for what does not come.
            ToShard::Returned(_) => {}
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
    pub(super) fn settle_role(&mut self, at: usize) {
        let Some(view) = self.cluster.clone() else { return };
        let partition = &self.partitions[at];
        let id = partition.id;
        let (Some(life), Some(entry)) = (view.life, view.map.partition(id)) else {
            return self.step_down(at);
        };
        // That a cut is done shows by the replica's word alone.
        if !partition.replica.serving() || partition.cutting || self.stop != super::Stop::No {
            return self.step_down(at);
        }
        let (epoch, now) = (entry.epoch, self.now.mono);
        match entry.leader {
            Some(node) if node == life.node => {
                let own = entry.seat(node).is_some_and(|seat| seat.life == life);
                if partition.reign() == Some(epoch) {
                    self.with_leader_map(at, &view.map);
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
                let in_sync = entry.seat(life.node).is_some();
                let settings = self.config.replication;
                let partition = &mut self.partitions[at];
                if core::mem::take(&mut partition.spoilt) && !in_sync {
                    self.marks.hit(Mark::Refetched);
                    partition.cutting = true;
                    partition.replica.cut(now, Offset(0));
                    return self.touch(at);
                }
                let round = partition.next_round;
                let follower = Follower::new(now, id, life, epoch, leader, round, settings);
                partition.role = Role::Follower(Box::new(follower));
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

    fn begin_reign(&mut self, at: usize, epoch: Epoch, view: &View) {
        self.step_down(at);
        let now = self.now.mono;
        let partition = &mut self.partitions[at];
        if let Some(from) = partition.replica.open_batch() {
            // The rest of it will never come; the reign begins once the log is open again.
            partition.cutting = true;
            partition.replica.cut(now, from);
            return self.touch(at);
        }
        if partition.replica.epoch() >= epoch || !partition.replica.fit() {
            // It led in this reign before its replica failed, or can not lead now.
            self.resign(at, epoch);
            return;
        }
        self.clock.raise(partition.replica.log_clock());
        let start = partition.replica.begin_reign(epoch);
        let life = view.life.expect("the caller has looked");
        let (id, until) = (partition.id, partition.promised);
        let settings = self.config.replication;
        let mut leader = Leader::new(now, id, life, epoch, start, until, &view.map, settings);
        for &node in &self.linked {
            leader.on_linked(now, node);
        }
        partition.role = Role::Leader(Box::new(leader));
        partition.told = Seen::default();
        self.marks.hit(Mark::ReignBegun);
        self.touch(at);
    }

    /// The partition is neither led nor followed here any more.
    pub(super) fn step_down(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        match core::mem::replace(&mut partition.role, Role::Idle) {
            Role::Alone => partition.role = Role::Alone,
            Role::Idle => {}
            Role::Follower(follower) => {
                partition.promised = partition.promised.max(follower.promised());
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
            .partition(|waiter| matches!(waiter.what, Waits::Reply { wrote: true, .. }));
        partition.waiters = writes;
        for confirm in confirms {
            self.settle_moved(confirm.client, confirm.number, at);
        }
        let others: alloc::collections::VecDeque<super::client::Waiter> = others;
        for waiter in others {
            match waiter.what {
                Waits::Reply { number, .. } => self.settle_moved(waiter.client, number, at),
                Waits::Command => self.on_commit_for_command(waiter.client),
            }
        }
    }

    /// Tells the role what has become of the log, and does what it wants.
    pub(super) fn advance_role(&mut self, at: usize) {
        if matches!(self.partitions[at].role, Role::Alone | Role::Idle) {
            return;
        }
        self.resign_if_taken_back(at);
        let now = self.now.mono;
        let partition = &mut self.partitions[at];
        let seen = partition.seen();
        if core::mem::replace(&mut partition.told, seen) != seen {
            let log = log_state(&partition.replica, seen);
            match &mut partition.role {
                Role::Leader(leader) => leader.on_log(now, log),
                Role::Follower(follower) => {
                    follower.on_log(now, log);
                    // It may have known that before the replica could acknowledge it.
                    let watermark = follower.watermark();
                    if watermark > partition.replica.high_watermark() {
                        self.commit(at, watermark);
                    }
                }
                Role::Alone | Role::Idle => {}
            }
        }
        // Each turn takes an output; what it brings about is bounded by what the machine was told.
        loop {
            match &mut self.partitions[at].role {
                Role::Leader(leader) => match leader.poll() {
                    Some(output) => self.on_leader(at, output),
                    None => {
                        let retain = leader.retain();
                        self.partitions[at].replica.set_retain(retain);
                        return;
                    }
                },
                Role::Follower(follower) => match follower.poll() {
                    Some(output) => self.on_follower(at, output),
                    None => return,
                },
                Role::Alone | Role::Idle => return,
            }
        }
    }

    fn on_leader(&mut self, at: usize, output: leader::Output) {
        match output {
            leader::Output::Send(to, message) => self.send_data(at, to, message),
            leader::Output::Ship { to, round, from, bytes } => {
                match self.partitions[at].replica.recent(from, bytes) {
                    Some(chunk) => self.ship(at, to, round, Ok(chunk)),
                    None => {
                        let token = ReadToken(self.next_read);
                        self.next_read += 1;
                        self.shipping.insert(token, (to, round));
                        self.partitions[at].replica.read_log(token, from, bytes);
                        self.marks.hit(Mark::CaughtUpFromDisk);
                        self.touch(at);
                    }
                }
            }
            leader::Output::Commit(watermark) => self.commit(at, watermark),
            leader::Output::Confirmed(beat) => self.on_confirmed(at, beat),
            leader::Output::Alter(alter) => {
                self.out.push_back(Output::Control(ToControl::Alter(alter)));
            }
            leader::Output::Ignored(..) => {}
            leader::Output::Notice(severity, text) => {
                self.out.push_back(Output::Notice(severity, text));
            }
        }
    }

    fn on_follower(&mut self, at: usize, output: follower::Output) {
        let now = self.now.mono;
        let partition = &mut self.partitions[at];
        match output {
            follower::Output::Send(to, message) => self.send_data(at, to, message),
            follower::Output::Store { base, end, records } => {
                let taken = partition.replica.append_copied(base, end, records);
                if let Err(why) = taken {
                    let text =
                        format!("{}: records of the leader are refused: {why:?}", partition.id);
                    self.out.push_back(Output::Notice(Severity::Warn, text));
                    self.with_follower(at, |follower, now, log| follower.on_bad_records(now, log));
                }
                self.touch(at);
            }
            follower::Output::Commit(watermark) => self.commit(at, watermark),
            follower::Output::Cut(from) => {
                self.marks.hit(Mark::LogCut);
                partition.cutting = true;
                partition.replica.cut(now, from);
                self.touch(at);
            }
            follower::Output::Ignored(..) => {}
            follower::Output::Notice(severity, text) => {
                self.out.push_back(Output::Notice(severity, text));
            }
        }
    }

    fn commit(&mut self, at: usize, watermark: Offset) {
        self.partitions[at].replica.commit_to(watermark, &mut *self.config.cache);
        self.touch(at);
    }

    fn send_data(&mut self, at: usize, to: NodeId, message: Message) {
        let partition = &self.partitions[at];
        let epoch = match &partition.role {
            Role::Leader(leader) => leader.epoch(),
            Role::Follower(follower) => follower.epoch(),
            Role::Alone | Role::Idle => return,
        };
        let body = Envelope { partition: partition.id, epoch, message }.encode();
        let parcel = Parcel { node: to, channel: Channel::Data, body };
        self.out.push_back(Output::Control(ToControl::Parcel(parcel)));
    }

    fn ship(&mut self, at: usize, to: NodeId, round: Round, chunk: Result<Chunk, LogFault>) {
        let now = self.now.mono;
        let Role::Leader(leader) = &mut self.partitions[at].role else { return };
        match chunk {
            Ok(Chunk { base, end, records }) => {
                if let Some(message) = leader.ship(now, to, round, base, end, records) {
                    self.send_data(at, to, message);
                }
            }
            Err(_) => leader.ship_failed(now, to, round),
        }
    }

    /// A part of the log that a follower lacks has been read.
    pub(super) fn on_log_read(
        &mut self,
        at: usize,
        token: ReadToken,
        read: Result<Chunk, LogFault>,
    ) {
        if let Some((to, round)) = self.shipping.remove(&token) {
            self.ship(at, to, round, read);
            self.advance_role(at);
        }
    }

    fn on_confirmed(&mut self, at: usize, beat: u64) {
        let due = |confirm: &mut super::client::Confirm| confirm.beat <= beat;
        while let Some(confirm) = self.partitions[at].confirms.pop_front_if(due) {
            self.settle_read(confirm.client, confirm.number);
        }
    }

    /// The reign of the partition that the map shows.
    pub(super) fn known_epoch(&self, id: PartitionId) -> Epoch {
        let entry = self.cluster.as_ref().and_then(|view| view.map.partition(id));
        entry.map_or(Epoch(0), |entry| entry.epoch)
    }

    /// Whether the replica that has just opened lacks what this node may have acknowledged: its
    /// directory is gone although the map gives it a seat, its log ends too early, or a part of it can
    /// not be read and others have it.
    fn may_have_lost(&mut self, at: usize) -> bool {
        let partition = &mut self.partitions[at];
        let Some(view) = &self.cluster else { return false };
        let Some(entry) = view.map.partition(partition.id) else { return false };
        if matches!(partition.role, Role::Alone) {
            return false;
        }
        let node = view.me.node;
        let seated = entry.seat(node).is_some_and(|seat| seat.directory == view.me.directory);
        let others = entry.isr.iter().any(|seat| seat.life.node != node);
        let gone = partition.replica.made_anew() && partition.opened_in > Epoch(0);
        let short = partition.replica.log_end() < partition.had_acked;
        partition.had_acked = Offset(0);
        partition.spoilt = partition.replica.damaged();
        seated && (gone || short || partition.spoilt && others)
    }

    /// The replica has opened, for the first time or again.
    pub(super) fn on_replica_opened(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        let cut = core::mem::take(&mut partition.cutting);
        if !cut && self.may_have_lost(at) {
            // Nothing is said in the name of the old life any more.
            self.step_down(at);
            self.marks.hit(Mark::BeganUnclean);
            self.out.push_back(Output::Control(ToControl::Unclean));
            return;
        }
        let partition = &mut self.partitions[at];
        match &partition.role {
            Role::Follower(_) if cut => {
                self.with_follower(at, |follower, now, log| follower.on_cut(now, log));
            }
            Role::Alone => {}
            Role::Idle | Role::Leader(_) | Role::Follower(_) => self.settle_role(at),
        }
    }

    /// The replica has stopped on a fault: whatever it was, it is that no more.
    pub(super) fn on_replica_down(&mut self, at: usize) {
        let partition = &self.partitions[at];
        if partition.replica.serving() && !partition.cutting {
            // What was to be in the log is not.
            match &partition.role {
                Role::Leader(leader) => {
                    let epoch = leader.epoch();
                    self.resign(at, epoch);
                }
                Role::Follower(_) => {
                    self.step_down(at);
                    self.settle_role(at);
                }
                Role::Alone | Role::Idle => {}
            }
            return;
        }
        let partition = &mut self.partitions[at];
        if partition.cutting || partition.replica.serving() || matches!(partition.role, Role::Alone)
        {
            return;
        }
        let id = partition.id;
        partition.had_acked = partition.had_acked.max(partition.told.acked);
        match partition.reign() {
            Some(epoch) => self.resign(at, epoch),
            None => self.step_down(at),
        }
        self.out.push_back(Output::Control(ToControl::Closed(id)));
    }

    pub(super) fn tick_roles(&mut self) {
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
    fn report(&mut self) {
        let now = self.now.mono;
        self.report_at = Some(now.after(REPORT_EVERY));
        let open = self.partitions.iter().filter(|p| p.replica.serving());
        let end = |p: &Partition| LogEnd {
            partition: p.id,
            epoch: p.replica.epochs().last().map_or(Epoch(0), |(epoch, _)| epoch),
            end: p.replica.acked_end(),
            fit: p.replica.fit(),
        };
        let ends: Vec<LogEnd> = open.map(end).collect();
        self.out.push_back(Output::Control(ToControl::LogEnds(ends)));
    }

    /// When a role wants to be called again.
    pub(super) fn roles_deadline(&self) -> Option<Instant> {
        let roles = self.partitions.iter().filter_map(role_deadline);
        roles.chain(self.report_at).min()
    }

    /// This node can not go on in this reign of the partition: another is to begin.
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

    fn resign(&mut self, at: usize, epoch: Epoch) {
        self.step_down(at);
        self.marks.hit(Mark::Resigned);
        let id = self.partitions[at].id;
        self.out.push_back(Output::Control(ToControl::Resigned(id, epoch)));
    }

    /// Tells control that nobody waits for this node any more, once.
    pub(super) fn leave(&mut self) -> Option<Output> {
        let waited_for = || {
            self.clients.values().any(super::client::Client::is_waiting)
                || self.partitions.iter().any(|p| !p.waiters.is_empty() || !p.confirms.is_empty())
        };
        if self.leaving != Some(Leaving::Waiting) || waited_for() {
            return None;
        }
        self.leaving = Some(Leaving::Left);
        Some(Output::Control(ToControl::Left))
    }

    /// What a leader's writes that wait are told when the node stops.
    pub(super) fn fail_waiters(&mut self) {
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

/// Where a replica stands, for those who watch it; see [`Shard::replicas`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplicaGlance {
    /// The partition.
    pub partition: PartitionId,
    /// It leads in this reign.
    pub leads: Option<Epoch>,
    /// It follows this node in this reign.
    pub follows: Option<(NodeId, Epoch)>,
    /// It leads and its reign's own record is committed, so that commands are evaluated.
    pub serves: bool,
    /// The replica's log is open.
    pub open: bool,
    /// The reign of its last record.
    pub epoch: Epoch,
    /// The next offset to write.
    pub log_end: Offset,
    /// The first offset that it does not acknowledge.
    pub acked_end: Offset,
    /// The first offset that it does not know to be committed.
    pub watermark: Offset,
    /// The clock of what its log holds, committed where it serves.
    pub committed_clock: Millis,
}

impl Shard {
    /// The replicas of this node. Nothing is decided by it: it is for checkers and dashboards.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaGlance> {
        self.partitions.iter().map(|partition| {
            let replica = &partition.replica;
            ReplicaGlance {
                partition: partition.id,
                leads: partition.reign(),
                follows: match &partition.role {
                    Role::Follower(follower) => Some((follower.leader(), follower.epoch())),
                    Role::Alone | Role::Idle | Role::Leader(_) => None,
                },
                serves: partition.serves(),
                open: replica.serving(),
                epoch: replica.epochs().last().map_or(Epoch(0), |(epoch, _)| epoch),
                log_end: replica.log_end(),
                acked_end: replica.acked_end(),
                watermark: replica.high_watermark(),
                committed_clock: replica.committed_clock(),
            }
        })
    }
}
