//! A node of a cluster that has a shard: what control and shard say to each other, and what the checkers
//! see of the replicas.

use std::sync::Arc;

use kvnode_core::control::View;
use kvnode_core::node::{Parcel, ToControl, ToShard};
use kvnode_core::peer::Channel;
use kvnode_core::shard::{Input, Shard};

use super::process::Process;
use crate::lock;
use crate::marks::Seen;
use crate::replication::parcels;
use crate::story::{Kind, Lane};

/// How late a message may come.
const STRAY_MS_MAX: u64 = 4_000;

impl Process {
    /// Control shows the cluster.
    pub(super) fn on_view(&mut self, view: &Arc<View>) {
        let learns = lock(&self.world.replicas).shown(self.id, view);
        if learns {
            // What clients watch through this node was to be watched elsewhere.
            self.world.note_change();
        }
    }

    /// Control says something else to the shard.
    pub(super) fn hand_on(&mut self, said: ToShard) {
        if self.shard.is_none() {
            return;
        }
        if let ToShard::Parcel(parcel) = &said {
            let calm = self.is_calm();
            let precursor = lock(&self.world.post).precursor(self.id, parcel).filter(|_| !calm);
            if let Some(precursor) = precursor {
                self.world.see(Seen::OldReignFirst);
                self.on_stray(precursor);
            }
            let boast = lock(&self.world.post).boast(self.id, parcel).filter(|_| !calm);
            if let Some(boast) = boast {
                self.world.see(Seen::OldAckFirst);
                self.on_stray(boast);
            }
            if self.ended || self.goes_astray(parcel) {
                return;
            }
        }
        match &said {
            ToShard::Parcel(parcel) => {
                self.world.note((self.id, parcel.node, &parcel.body));
                let number = lock(&self.world.parcels).received(parcel.node.0, self.id, parcel);
                if let Some(number) = number {
                    let end = (number, Lane::Node(parcel.node.0));
                    let words = || parcels::words(parcel);
                    self.world.tell_message(self.lane(), Kind::Receive, end, (), words);
                }
            }
            // A client whose leader is not there any more has its WATCH broken.
            ToShard::Linked(_) | ToShard::Unlinked(_) | ToShard::Missed(_) => {
                self.world.note_change();
            }
            ToShard::View(_)
            | ToShard::Taken(_)
            | ToShard::Returned(_)
            | ToShard::Leaving
            | ToShard::Answered(..)
            | ToShard::AlterRefused { .. } => {}
        }
        self.hand_shard(Input::Control(said));
    }

    /// What one replica says to another may come late, twice and out of order, whatever the links of
    /// today do (`core/src/replication/message.rs`). Whether it is not to come now.
    fn goes_astray(&mut self, parcel: &Parcel) -> bool {
        let settings = &self.world.settings;
        let now_ns = self.world.now_ns();
        let calm = self.is_calm();
        let strays = settings.strays_per_mille;
        if !calm && lock(&self.world.post).sees(self.id, parcel) {
            return true;
        }
        if strays == 0
            || calm
            || parcel.channel != Channel::Data
            || self.chance.below(1000) >= strays
        {
            return false;
        }
        let late_ms = self.chance.skewed(1..STRAY_MS_MAX);
        self.strays.insert(now_ns + late_ms * 1_000_000, parcel.clone());
        self.chance.percent(50)
    }

    /// Whether nothing is to go wrong any more.
    pub(super) fn is_calm(&self) -> bool {
        self.world.now_ns() >= self.world.settings.duration_ms * 1_000_000
    }

    /// Hands in what comes late.
    pub(super) fn on_strays(&mut self) {
        let now_ns = self.world.now_ns();
        while let Some(entry) = self.strays.first_entry()
            && *entry.key() <= now_ns
        {
            let parcel = entry.remove();
            self.on_stray(parcel);
        }
    }

    pub(super) fn on_stray(&mut self, parcel: Parcel) {
        self.world.tell(self.lane(), Kind::Receive, &parcel.body, || {
            format!("late, from {}: {}", parcel.node, parcels::words(&parcel))
        });
        self.hand_shard(Input::Control(ToShard::Parcel(parcel)));
    }

    /// The shard says something to control.
    pub(super) fn replication_says(&mut self, said: &ToControl) {
        match said {
            ToControl::Parcel(parcel) => {
                let number = lock(&self.world.parcels).sent(self.id, parcel.node.0, parcel);
                let end = (number, Lane::Node(parcel.node.0));
                if parcels::is_restart(parcel) {
                    self.world.see(Seen::FromZero);
                }
                let words = || parcels::words(parcel);
                self.world.tell_message(self.lane(), Kind::Send, end, (), words);
            }
            ToControl::Alter(alter) => {
                lock(&self.world.replicas).asks(alter);
                let before = lock(&self.world.watch).map().partition(alter.partition).cloned();
                let before = before.map(|partition| partition.isr_lives()).unwrap_or_default();
                if before.iter().any(|life| !alter.isr.contains(life)) {
                    self.world.see(Seen::LeavesInSync);
                }
                if alter.isr.iter().any(|life| !before.contains(life)) {
                    self.world.see(Seen::JoinsInSync);
                }
                self.world.tell(self.lane(), Kind::Role, format!("{alter:?}"), || {
                    let isr: Vec<String> = alter.isr.iter().map(ToString::to_string).collect();
                    format!("{}: wants in sync [{}]", alter.partition, isr.join(" "))
                });
            }
            ToControl::Unclean => lock(&self.world.replicas).says_unclean(self.id),
            ToControl::LogEnds(_)
            | ToControl::Left
            | ToControl::Closed(_)
            | ToControl::Resigned(..)
            | ToControl::Request(..) => {}
        }
    }

    /// The checkers look at the replicas.
    pub(super) fn observe_replicas(&mut self) {
        let Some(shard) = &self.shard else { return };
        let look = {
            let watch = lock(&self.world.watch);
            let life = self.world.life(self.id);
            let at = (self.world.order(), self.world.now_ns());
            let whose = (self.id, life);
            lock(&self.world.replicas).look(whose, shard.replicas(), watch.map(), at)
        };
        for (partition, kept) in look.lost {
            self.world.lose(partition, kept);
        }
        look.served.into_iter().for_each(|partition| self.world.has_lost(partition));
        for news in look.news {
            self.world.tell(self.lane(), Kind::Role, &news, || news.clone());
        }
        self.world.found(look.found);
        if look.leaders_changed {
            self.world.note_change();
        }
        self.observe_clock();
        let marks = self.shard.as_ref().map(Shard::marks);
        self.world.mark(marks.unwrap_or_default());
    }

    /// The clock of a process that has led nothing yet is nobody's: it may be set right.
    fn observe_clock(&mut self) {
        let Some(shard) = &self.shard else { return };
        let clock = shard.glance().clock;
        self.world.clock_is(clock);
        if self.clock.is_none() && shard.replicas().all(|replica| replica.leads.is_none()) {
            return;
        }
        if let Some((before, at)) = self.clock.filter(|(before, _)| clock < *before) {
            let text = format!("of n{} went back from {before} to {clock} after {at:?}", self.id);
            self.world.violation("log clock", text);
        }
        self.clock = Some((clock, self.handled_at));
    }
}
