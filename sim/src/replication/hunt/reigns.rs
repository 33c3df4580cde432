//! Logs that part again and again, since nobody leads for long.

use std::collections::BTreeSet;
use std::time::Duration;

use kvnode_core::cluster::controller::Request;
use kvnode_core::{Epoch, NodeId, PartitionId};
use madsim::time::sleep;

use super::{Led, MOVES_MAX};
use crate::chance::Chance;
use crate::disk::{Doom, Unsynced};
use crate::lock;
use crate::nemesis::Nemesis;
use crate::plan::{Class, Trap};
use crate::quorum::hunt::{MOMENT_MS, Until};

/// In how many of a hundred cases a new leader of a partition is struck, before it serves, and dies of it.
const REIGN_PERCENT: u64 = 70;
const AT_ONCE_PERCENT: u64 = 60;
const DEADLY_PERCENT: u64 = 55;

/// In how many of a hundred hunts for reigns one replica misses some.
const MISSED_PERCENT: u64 = 35;

impl Nemesis {
    pub(crate) async fn hunt_reigns(&self, until_ns: u64) {
        let mut met: BTreeSet<(u32, PartitionId, Epoch)> = BTreeSet::new();
        let mut chance = self.chance();
        if chance.percent(MISSED_PERCENT) {
            while self.goes_on(until_ns) {
                if let Some(led) = self.led(&mut chance) {
                    self.strike_missed(led, &mut chance).await;
                }
                sleep(Duration::from_millis(chance.skewed(50..1500))).await;
            }
            return;
        }
        // Who leads already is put out of its place first.
        if let Some(led) = self.led(&mut chance) {
            let heir = NodeId(chance.pick(&led.in_sync));
            self.demand(Request::MoveLeader(led.partition, heir), &mut chance);
        }
        while self.goes_on(until_ns) {
            sleep(Duration::from_millis(1)).await;
            let reigns: Vec<_> = lock(&self.world.replicas).reigns().collect();
            for (node, partition, epoch, _) in reigns {
                if met.insert((node, partition, epoch)) && self.chance().percent(REIGN_PERCENT) {
                    let nemesis = self.clone();
                    self.spawn(async move { nemesis.strike_reign(node, partition, epoch).await });
                }
            }
        }
    }

    /// What the leader logs from now on reaches few of the others, or nobody.
    async fn strike_reign(&self, node: u32, partition: PartitionId, epoch: Epoch) {
        let mut chance = self.chance();
        if !chance.percent(AT_ONCE_PERCENT) {
            let serves = || {
                let replicas = lock(&self.world.replicas);
                replicas.reigns().any(|reign| reign == (node, partition, epoch, true))
            };
            self.moment(MOMENT_MS, serves).await;
            sleep(Duration::from_millis(chance.skewed(1..500))).await;
        }
        if self.is_calm() || !self.reigns(node, partition, epoch) {
            return;
        }
        self.world.injected(Class::Hunt(Trap::Reign));
        let mut others = self.others(node);
        for _ in 0..chance.pick(&[0, 0, 0, 1, 1, 2]).min(others.len()) {
            others.swap_remove(chance.index(others.len()));
        }
        let alone_ms = chance.skewed(50..3000);
        let parted = self.part(others.into_iter().map(|to| (node, to)), alone_ms);
        // Clients go on asking it.
        sleep(Duration::from_millis(chance.skewed(1..400))).await;
        if chance.percent(DEADLY_PERCENT) {
            let doom = chance.pick(&[Doom::Process, Doom::Power(Unsynced::Lost)]);
            let until = if chance.percent(60) {
                Until::Led(partition, epoch, chance.skewed(1..2000))
            } else {
                Until::Ms(chance.skewed(1..2000))
            };
            self.strike_down(node, doom, until);
        } else {
            let heir = {
                let watch = lock(&self.world.watch);
                let isr = watch.map().partition(partition).map(|held| held.isr.clone());
                isr.into_iter().flatten().map(|seat| seat.life.node).find(|heir| heir.0 != node)
            };
            if let Some(heir) = heir {
                self.demand(Request::MoveLeader(partition, heir), &mut chance);
            }
            sleep(Duration::from_millis(alone_ms)).await;
        }
        self.rejoin(parted);
    }

    /// A leader is replaced and leads again, and one that holds what was not committed hears of neither
    /// in time.
    async fn strike_missed(&self, led: Led, chance: &mut Chance) {
        let Led { partition, epoch, leader, .. } = led;
        let next = chance.pick(&led.in_sync);
        let others = led.replicas.iter().map(|node| node.0);
        let others: Vec<u32> = others.filter(|&node| node != leader && node != next).collect();
        if others.is_empty() {
            return;
        }
        let missing = chance.pick(&others);
        self.world.injected(Class::Hunt(Trap::Reign));
        let from = self.others(missing).into_iter().filter(|&node| node != leader);
        let untold = self.part(from.map(|node| (node, missing)), MOMENT_MS);
        let parted = self.part([(leader, next)], MOMENT_MS);
        let focus = self.look_at(partition, chance);
        sleep(Duration::from_millis(chance.skewed(10..300))).await;
        self.demand(Request::MoveLeader(partition, NodeId(next)), chance);
        let is_led = self.moment(MOMENT_MS / 4, || self.is_led_after(partition, epoch)).await;
        self.rejoin(parted);
        let again = || {
            let replicas = lock(&self.world.replicas);
            let mut reigns = replicas.reigns();
            reigns.any(|(n, p, later, _)| n == leader && p == partition && later > epoch)
        };
        if is_led {
            self.moment(MOMENT_MS / 4, || self.serves_after(partition, epoch)).await;
            sleep(Duration::from_millis(chance.skewed(10..600))).await;
            for _ in 0..MOVES_MAX {
                self.demand(Request::MoveLeader(partition, NodeId(leader)), chance);
                if self.moment(chance.of(50..350), again).await {
                    break;
                }
            }
            sleep(Duration::from_millis(chance.skewed(1..300))).await;
        }
        self.look_away(focus);
        self.rejoin(untold);
    }
}
