//! An old copy: everybody in sync is gone, and an operator has one elected that was left behind.
//!
//! The operator is one who looks: whoever is in sync is down, so that nobody serves any more what is given up.
//! What is lost by it is told to the [checkers](crate::replication::checkers::committed).

use std::collections::BTreeSet;
use std::time::Duration;

use kvnode_core::NodeId;
use kvnode_core::cluster::controller::Request;
use madsim::time::sleep;

use super::{Led, SERVES_SOON_MS};
use crate::chance::Chance;
use crate::disk::{Doom, Unsynced};
use crate::lock;
use crate::nemesis::Nemesis;
use crate::plan::{Class, Trap};
use crate::quorum::hunt::{MOMENT_MS, Until};

/// How long a replica that is cut off may be in sync still.
const LEFT_MS: u64 = 7_000;

/// How long those in sync may stay away.
const AWAY_MS: u64 = 12_000;

impl Nemesis {
    pub(crate) async fn hunt_copies(&self, until_ns: u64) {
        while self.goes_on(until_ns) {
            let mut chance = self.chance();
            if let Some(led) = self.led(&mut chance)
                && self.strike_copy(led, &mut chance).await
            {
                return;
            }
            sleep(Duration::from_millis(chance.skewed(50..1500))).await;
        }
    }

    /// Whether it came to an election.
    async fn strike_copy(&self, led: Led, chance: &mut Chance) -> bool {
        let &Led { partition, epoch, leader, .. } = &led;
        let controller = lock(&self.world.watch).controller();
        let behind = led.in_sync.iter().copied().filter(|&node| Some(node) != controller);
        let behind: Vec<u32> = behind.collect();
        if behind.is_empty() {
            return false;
        }
        let behind = chance.pick(&behind);
        if led.replicas.len() > 2 && self.world.settings.quorum.founding.min_isr == 1 {
            // The fewer are in sync the fewer have to go.
            self.world.takes_away();
            self.demand(Request::Reassign(partition, vec![NodeId(leader), NodeId(behind)]));
        }
        let others = self.others(behind).into_iter().filter(|&node| Some(node) != controller);
        let links: Vec<_> = others.flat_map(|node| [(node, behind), (behind, node)]).collect();
        let parted = self.part(links, LEFT_MS);
        let is_left = || {
            let in_sync = self.in_sync(partition);
            !in_sync.contains(&behind) && in_sync.contains(&leader)
        };
        let is_left = self.moment(LEFT_MS, is_left).await;
        // Something is written that it lacks.
        sleep(Duration::from_millis(chance.skewed(50..1500))).await;
        let gone = self.in_sync(partition);
        if !is_left
            || !self.reigns(leader, partition, epoch)
            || self.is_calm()
            || !self.can_do_without(&gone)
        {
            self.rejoin(parted);
            self.bring_back(&led);
            return false;
        }
        self.world.takes_away();
        for &node in &gone {
            let doom = chance.pick(&[Doom::Process, Doom::Power(Unsynced::Lost)]);
            self.strike_down(node, doom, Until::Ms(AWAY_MS + chance.skewed(1..2000)));
        }
        self.rejoin(parted);
        let is_elected = self.moment(AWAY_MS - MOMENT_MS, || self.elects(&led, behind)).await;
        if is_elected {
            self.world.injected(Class::Hunt(Trap::Copy));
            self.moment(SERVES_SOON_MS, || self.serves_after(partition, epoch)).await;
            sleep(Duration::from_millis(chance.skewed(1..1000))).await;
            self.demand(Request::AcceptLoss(partition));
        }
        let early = chance.skewed(1..AWAY_MS);
        sleep(Duration::from_millis(early)).await;
        if !self.is_calm() {
            gone.iter().for_each(|&node| self.raise(node));
        }
        self.bring_back(&led);
        is_elected
    }

    /// Whether there is a majority of voters without these.
    fn can_do_without(&self, gone: &[u32]) -> bool {
        let voters: BTreeSet<u32> = {
            let watch = lock(&self.world.watch);
            let voters = watch.voters().map(|(voters, _)| voters.clone());
            voters.iter().flat_map(|voters| voters.iter()).map(|voter| voter.node.0).collect()
        };
        let up = voters.iter().filter(|node| !gone.contains(node) && self.world.is_up(**node));
        up.count() > voters.len() / 2
    }

    /// Has the replica elected, if nobody else can be and who was in sync is down; whether it is, by the
    /// map.
    fn elects(&self, led: &Led, heir: u32) -> bool {
        let partition = led.partition;
        let is_due = {
            let watch = lock(&self.world.watch);
            let Some(held) = watch.map().partition(partition) else { return false };
            if held.doubt.is_some_and(|doubt| doubt.epoch > led.epoch) {
                return true;
            }
            let is_active = watch.map().node(NodeId(heir)).is_some_and(|node| node.is_active());
            let down = held.isr.iter().all(|seat| !self.world.is_up(seat.life.node.0));
            held.leader.is_none() && down && is_active && held.replicas.contains(&NodeId(heir))
        };
        // Not every millisecond.
        if is_due && self.chance().percent(5) {
            self.demand(Request::ElectUnclean(partition, NodeId(heir)));
        }
        false
    }
}
