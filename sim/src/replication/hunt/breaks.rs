//! A copy that is broken off: a replica begins without a log in the midst of a life, and the links between it
//! and its leader break before it has all of its leader's, while clients delete and the leader compacts.

use std::time::Duration;

use kvnode_core::NodeId;
use madsim::time::sleep;

use super::Led;
use crate::chance::Chance;
use crate::lock;
use crate::nemesis::Nemesis;
use crate::plan::{Class, Trap};
use crate::quorum::hunt::MOMENT_MS;

/// Most times that a copy is broken off.
const BREAKS_MAX: u64 = 5;

/// How long nothing gets through.
const BROKEN_MS: u64 = 3_000;

impl Nemesis {
    pub(crate) async fn hunt_breaks(&self, until_ns: u64) {
        while self.goes_on(until_ns) {
            let mut chance = self.chance();
            if let Some(led) = self.led(&mut chance) {
                self.strike_copier(led, &mut chance).await;
            }
            sleep(Duration::from_millis(chance.skewed(50..1500))).await;
        }
    }

    /// The replica is one no more, and one again.
    async fn strike_copier(&self, led: Led, chance: &mut Chance) {
        let Led { partition, epoch, leader, .. } = led;
        let copier = chance.pick(&led.in_sync);
        self.take_away(&led, copier);
        if !self.moment(MOMENT_MS, || !self.is_replica(copier, partition)).await {
            return;
        }
        sleep(Duration::from_millis(chance.skewed(1..500))).await;
        self.bring_back(&led);
        let copies = || {
            let replicas = lock(&self.world.replicas);
            let Some(own) = replicas.replica(copier, partition) else { return false };
            let Some(first) = replicas.replica(leader, partition) else { return false };
            own.follows == Some((NodeId(leader), epoch))
                && own.log_end.0 > 0
                && own.log_end < first.watermark
        };
        for _ in 0..chance.of(1..BREAKS_MAX) {
            let is_struck = self.moment(MOMENT_MS, copies).await;
            if !is_struck || !self.reigns(leader, partition, epoch) || self.is_calm() {
                break;
            }
            self.world.injected(Class::Hunt(Trap::Break));
            let for_ms = chance.skewed(20..BROKEN_MS);
            let parted = self.part([(leader, copier), (copier, leader)], for_ms);
            sleep(Duration::from_millis(for_ms)).await;
            self.rejoin(parted);
        }
        self.bring_back(&led);
    }
}
