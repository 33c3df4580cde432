//! A replica opens, goes down, or turns out to lack what this node had acknowledged.

use super::Role;
use crate::Offset;
use crate::control::View;
use crate::marks::Mark;
use crate::node::ToControl;
use crate::shard::{Output, Shard, Stop};

impl Shard {
    /// Whether this node may have acknowledged what is in the log, as far as is known.
    fn is_seated(&self, at: usize) -> bool {
        let partition = &self.partitions[at];
        let Some(view) = &self.cluster else { return false };
        let Some(entry) = view.map.partition(partition.id) else { return false };
        let seat = entry.seat(view.me.node);
        seat.is_some_and(|seat| seat.directory == view.me.directory)
            || view.life.is_some() && partition.spoke_in == view.life
    }

    /// The log is gone. Control knows before another takes its place: until one can, this node would be
    /// in sync with nothing, and elected.
    pub(in crate::shard) fn on_lost(&mut self, at: usize) {
        // A process that is not registered yet knows no seat for sure: what it saw of the map may be old.
        let unregistered = self.cluster.as_ref().is_some_and(|view| view.life.is_none());
        let told = core::mem::replace(&mut self.partitions[at].lost, true);
        if !told && (unregistered || self.is_seated(at)) {
            self.begin_unclean();
        }
    }

    /// Whether the replica that has just opened lacks what this node may have acknowledged: its log ends
    /// too early, or a part of it can not be read and others have it.
    fn may_have_lost(&mut self, at: usize) -> bool {
        let seated = self.is_seated(at);
        let partition = &mut self.partitions[at];
        let Some(view) = &self.cluster else { return false };
        let Some(entry) = view.map.partition(partition.id) else { return false };
        if matches!(partition.role, Role::Alone) {
            return false;
        }
        let node = view.me.node;
        let others = entry.isr.iter().any(|seat| seat.life.node != node);
        // A log that could not be cut where the leader said is fetched again, as if it had said zero.
        let anew = partition.replica.has_begun_anew() && entry.seat(node).is_none();
        // What is gone as a whole was dealt with when that was found.
        let lost = core::mem::take(&mut partition.lost);
        let short = partition.replica.log_end() < partition.had_acked && !anew && !lost;
        partition.had_acked = Offset(0);
        let lacks = partition.replica.lacks_records();
        // What was met while it ran may not be met again by an opening.
        partition.spoilt = lacks || partition.spoilt && !partition.replica.has_begun_anew();
        seated && (short || lacks && others)
    }

    /// The replica has opened, for the first time or again.
    pub(in crate::shard) fn on_replica_opened(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        partition.ready = true;
        let cut = core::mem::take(&mut partition.cutting);
        // An end that was given to the log excuses nothing that was met on the way.
        if self.may_have_lost(at) {
            return self.begin_unclean();
        }
        let partition = &mut self.partitions[at];
        if cut && partition.is_refetched() {
            self.step_down(at);
            return self.settle_role(at);
        }
        match &partition.role {
            Role::Follower(_) if cut => {
                self.with_follower(at, |follower, now, log| follower.on_cut(now, log));
            }
            Role::Alone => {}
            Role::Idle | Role::Leader(_) | Role::Follower(_) => self.settle_role(at),
        }
    }

    /// A part of the log can not be read any more. Where others have it, the replica begins again from
    /// theirs; else it keeps what it has, and what it lacks is answered with an error.
    pub(in crate::shard) fn on_damage(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        let alone = matches!(partition.role, Role::Alone);
        if alone || core::mem::replace(&mut partition.spoilt, true) {
            return;
        }
        if matches!(partition.role, Role::Follower(_)) {
            self.step_down(at);
        }
        // A leader that stops finishes what it has begun.
        if self.stop == Stop::No {
            self.settle_role(at);
        }
    }

    /// Whether the replica is damaged, and is in sync, or may be by now, and not alone in that: then this
    /// node begins another life, in which it is in sync nowhere, and follows those who have what it
    /// lacks.
    pub(super) fn leave_if_spoilt(&mut self, at: usize) -> bool {
        let partition = &self.partitions[at];
        let Some(view) = self.cluster.as_ref().filter(|_| partition.is_refetched()) else {
            return false;
        };
        let (Some(life), Some(entry)) = (view.life, view.map.partition(partition.id)) else {
            return false;
        };
        let others = entry.isr.iter().any(|seat| seat.life.node != life.node);
        let may_be_in = entry.seat(life.node).is_some() || partition.spoke_in == Some(life);
        if !may_be_in || !others {
            return false;
        }
        self.begin_unclean();
        true
    }

    /// What this node had acknowledged may be gone: control is to begin a life that claims no seat.
    /// Until it shows one nothing is led or followed: nothing more is acknowledged in the name of the
    /// old one, so that what is said of the logs now stays true of it.
    pub(super) fn begin_unclean(&mut self) {
        self.marks.hit(Mark::BeganUnclean);
        self.uncleans += 1;
        self.out.push_back(Output::Control(ToControl::Unclean));
        for at in 0..self.partitions.len() {
            self.step_down(at);
            self.partitions[at].most_told = None;
        }
        self.report();
    }

    /// Whether control had heard of all that may be gone when it showed this.
    pub(in crate::shard) fn is_heard(&self, view: &View) -> bool {
        view.uncleans == self.uncleans
    }

    /// The replica has dropped a part of its log, or has stopped on a fault and is what it was no more.
    pub(in crate::shard) fn on_replica_down(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        if partition.cutting || matches!(partition.role, Role::Alone) {
            return;
        }
        if partition.replica.serving() {
            // What was to be in the log is not.
            match &partition.role {
                Role::Leader(leader) => {
                    let epoch = leader.epoch();
                    self.resign(at, epoch);
                }
                Role::Follower(_) => {
                    partition.hold.prolong(self.now.mono, self.config.replication.retry);
                    self.step_down(at);
                    self.settle_role(at);
                }
                Role::Alone | Role::Idle => {}
            }
            return;
        }
        partition.ready = false;
        let id = partition.id;
        partition.had_acked = partition.had_acked.max(partition.told.acked);
        let reign = partition.reign();
        // First, or this node would be elected once more for the log that it had.
        self.out.push_back(Output::Control(ToControl::Closed(id)));
        match reign {
            Some(epoch) => self.resign(at, epoch),
            None => self.step_down(at),
        }
    }
}
