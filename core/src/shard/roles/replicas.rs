//! A replica opens, goes down, or turns out to lack what this node had acknowledged.

use super::Role;
use crate::Offset;
use crate::control::View;
use crate::marks::Mark;
use crate::node::ToControl;
use crate::shard::{Output, Shard, Stop};

impl Shard {
    /// Whether the replica that has just opened lacks what this node may have acknowledged: its log is
    /// gone, or ends too early, or a part of it can not be read and others have it.
    fn may_have_lost(&mut self, at: usize) -> bool {
        let partition = &mut self.partitions[at];
        let Some(view) = &self.cluster else { return false };
        let Some(entry) = view.map.partition(partition.id) else { return false };
        if matches!(partition.role, Role::Alone) {
            return false;
        }
        let node = view.me.node;
        let seated = entry.seat(node).is_some_and(|seat| seat.directory == view.me.directory);
        let seated = seated || view.life.is_some() && partition.spoke_in == view.life;
        let others = entry.isr.iter().any(|seat| seat.life.node != node);
        let losses = partition.replica.losses();
        let gone = losses > core::mem::replace(&mut partition.losses_told, losses);
        // A log that could not be cut where the leader said is fetched again, as if it had said zero.
        let anew = partition.replica.has_begun_anew() && entry.seat(node).is_none();
        let short = partition.replica.log_end() < partition.had_acked && !anew;
        partition.had_acked = Offset(0);
        let lacks = partition.replica.lacks_records();
        // What was met while it ran may not be met again by an opening.
        partition.spoilt = lacks || partition.spoilt && !partition.replica.has_begun_anew();
        // A process that is not registered yet knows no seat for sure: what it saw of the map may be old.
        let is_unregistered = view.life.is_none();
        is_unregistered && gone || seated && (gone || short || lacks && others)
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
    fn begin_unclean(&mut self) {
        self.marks.hit(Mark::BeganUnclean);
        self.uncleans += 1;
        self.out.push_back(Output::Control(ToControl::Unclean));
        (0..self.partitions.len()).for_each(|at| self.step_down(at));
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
