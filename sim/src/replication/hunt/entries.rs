//! The seat of who lacks what the leader of before had committed, and a leader that is not told who has
//! come in.

use std::time::Duration;

use kvnode_core::cluster::controller::Request;
use kvnode_core::{NodeId, PartitionId};
use madsim::time::sleep;

use super::{Led, SERVES_SOON_MS};
use crate::chance::Chance;
use crate::disk::{Doom, Unsynced};
use crate::lock;
use crate::nemesis::Nemesis;
use crate::plan::{Class, Trap};
use crate::quorum::hunt::{MOMENT_MS, Until};

/// In how many of a hundred cases a leader is not told who has come in.
const UNTOLD_PERCENT: u64 = 25;
const UNTOLD_ALONE_PERCENT: u64 = 60;

/// How long a replica that is away may be in sync, and be away.
const LEAVES_MS: u64 = 7_000;

/// How long a replica that was away may take to follow.
const RETURN_MS: u64 = 3_000;

impl Nemesis {
    pub(crate) async fn hunt_entries(&self, until_ns: u64) {
        while self.goes_on(until_ns) {
            let mut chance = self.chance();
            if let Some(led) = self.led(&mut chance) {
                // Alone it serves only where one is enough.
                let alone = self.world.settings.quorum.founding.min_isr == 1;
                if chance.percent(if alone { UNTOLD_ALONE_PERCENT } else { UNTOLD_PERCENT }) {
                    self.strike_untold(led, &mut chance).await;
                } else {
                    self.strike_entry(led, &mut chance).await;
                }
            }
            sleep(Duration::from_millis(chance.skewed(50..1500))).await;
        }
    }

    /// All others go; one that comes back is let in, and put in the place of the leader, and the leader,
    /// which has asked for it, is told of neither.
    async fn strike_untold(&self, led: Led, chance: &mut Chance) {
        let Led { partition, epoch, leader, .. } = led;
        let controller = lock(&self.world.watch).controller();
        let others = led.in_sync.iter().copied().filter(|&other| Some(other) != controller);
        let others: Vec<u32> = others.collect();
        if others.is_empty() {
            return;
        }
        let back = chance.pick(&others);
        if led.replicas.len() > 2 {
            let pair = vec![NodeId(leader), NodeId(back)];
            self.world.takes_away();
            self.demand(Request::Reassign(partition, pair));
        }
        self.strike_down(back, Doom::Process, Until::Ms(LEAVES_MS));
        let is_in = || self.is_in_sync(back, partition);
        let is_alone = || self.in_sync(partition) == [leader];
        let is_alone = self.moment(LEAVES_MS, is_alone).await;
        if !is_alone || !self.reigns(leader, partition, epoch) {
            return self.bring_back(&led);
        }
        let asked = lock(&self.world.watch).asked(NodeId(back));
        self.raise(back);
        let asks = || lock(&self.world.watch).asked(NodeId(back)) > asked;
        let asks = self.moment(RETURN_MS, asks).await;
        let controller = lock(&self.world.watch).controller().filter(|&node| node != leader);
        let Some(controller) = controller.filter(|_| asks && !self.is_calm()) else {
            return self.bring_back(&led);
        };
        self.world.injected(Class::Hunt(Trap::Entry));
        let mut parted = self.part([(controller, leader)], MOMENT_MS);
        let group = chance.pick(&self.world.groups_of(partition));
        let (reader, writer) = (self.scout(leader), self.scout(back));
        self.world.look_at(group);
        if self.moment(chance.of(100..1500), is_in).await {
            if chance.percent(70) {
                parted.extend(self.part([(back, leader), (leader, back)], MOMENT_MS));
            }
            self.replace(&led, back, chance).await;
            if self.moment(SERVES_SOON_MS, || self.serves_after(partition, epoch)).await {
                for _ in 0..chance.of(2..5) {
                    self.duel(reader.as_slice(), writer.as_ref(), group).await;
                    sleep(Duration::from_millis(chance.skewed(1..150))).await;
                }
            }
        }
        self.rejoin(parted);
        self.world.look_away(group);
        sleep(Duration::from_millis(chance.skewed(1..500))).await;
        self.bring_back(&led);
    }

    pub(super) fn in_sync(&self, partition: PartitionId) -> Vec<u32> {
        let watch = lock(&self.world.watch);
        let held = watch.map().partition(partition);
        held.into_iter().flat_map(|held| &held.isr).map(|seat| seat.life.node.0).collect()
    }

    pub(super) fn is_in_sync(&self, node: u32, partition: PartitionId) -> bool {
        self.in_sync(partition).contains(&node)
    }

    /// A replica goes and comes back; the leader dies when it has what the others know to be committed,
    /// and lacks what is; or when it has just been let in.
    async fn strike_entry(&self, led: Led, chance: &mut Chance) {
        let Led { partition, epoch, leader, .. } = led;
        let back = chance.pick(&led.in_sync);
        let doom = chance.pick(&[Doom::Process, Doom::Power(Unsynced::Lost)]);
        self.strike_down(back, doom, Until::Ms(chance.skewed(1..300)));
        let is_in = || self.is_in_sync(back, partition);
        // It loses its seat when it is back, or before.
        self.moment(RETURN_MS, || !is_in()).await;
        let lacks = || {
            let replicas = lock(&self.world.replicas);
            let Some(own) = replicas.replica(back, partition) else { return false };
            let Some(first) = replicas.replica(leader, partition) else { return false };
            let known = led.in_sync.iter().filter(|&&other| other != back);
            let known = known.filter_map(|&other| replicas.replica(other, partition));
            let known = known.map(|other| other.watermark).min();
            own.follows == Some((NodeId(leader), epoch))
                && own.log_end < first.watermark
                && known.is_some_and(|known| own.log_end >= known)
        };
        let early = chance.percent(65);
        let struck = if early {
            self.moment(RETURN_MS, || lacks() || is_in()).await
        } else {
            self.moment(RETURN_MS, is_in).await
        };
        if !struck || !self.reigns(leader, partition, epoch) || self.is_calm() {
            return;
        }
        if !early {
            sleep(Duration::from_millis(chance.skewed(1..60))).await;
        }
        self.world.injected(Class::Hunt(Trap::Entry));
        let doom = chance.pick(&[Doom::Process, Doom::Process, Doom::Power(Unsynced::Lost)]);
        self.strike_down(leader, doom, Until::Led(partition, epoch, chance.skewed(1..3000)));
        if chance.percent(50) {
            return;
        }
        // The next one falls silent for those who are not in sync yet, or dies too.
        if self.moment(MOMENT_MS, || self.is_led_after(partition, epoch)).await {
            let next = lock(&self.world.replicas)
                .reigns()
                .find(|&(_, p, later, _)| p == partition && later > epoch);
            let Some((next, _, later, _)) = next else { return };
            self.moment(chance.of(100..1500), is_in).await;
            sleep(Duration::from_millis(chance.skewed(1..60))).await;
            let more_ms = chance.skewed(1..2000);
            self.strike_down(next, Doom::Process, Until::Led(partition, later, more_ms));
        }
    }
}
