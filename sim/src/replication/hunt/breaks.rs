//! A copy that is broken off: a replica begins without a log in the midst of a life, and the links between it
//! and its leader break as soon as it has something, while clients delete and the leader compacts. Then it
//! leads, and is asked for what was deleted.

use std::ops::Range;
use std::time::Duration;

use kvnode_core::{NodeId, Offset};
use madsim::time::sleep;

use super::{ARRIVE_MS, Led, MOVES_MAX, SERVES_SOON_MS, WRITE_MS};
use crate::chance::Chance;
use crate::history::Group;
use crate::lock;
use crate::nemesis::Nemesis;
use crate::plan::{Class, Trap};
use crate::quorum::hunt::MOMENT_MS;
use crate::replication::scout::{Errand, Scout};

/// Most times that a copy is broken off.
const BREAKS_MAX: u64 = 5;

/// How long nothing gets through: in how many of a hundred cases until that is noticed, and then so long.
const NOTICED_PERCENT: u64 = 75;
const BROKEN_MS: u64 = 5_000;

/// In how many of a hundred cases who was broken off leads in the end.
const LEADS_PERCENT: u64 = 70;

/// Who deletes and writes meanwhile.
const SCOUTS: usize = 2;

/// How often something is written meanwhile, so that what was deleted comes to stand in a sealed segment.
const WRITES_MS: Range<u64> = 20..120;

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

    /// The replica is one no more, and one again, or goes on as it was where nobody can be done without.
    async fn strike_copier(&self, led: Led, chance: &mut Chance) {
        let Led { partition, epoch, leader, .. } = led;
        let copier = chance.pick(&led.in_sync);
        for _ in 0..MOVES_MAX {
            self.take_away(&led, copier);
            if self.moment(chance.of(30..250), || !self.is_replica(copier, partition)).await {
                break;
            }
        }
        let scouts: Vec<Scout> = (0..SCOUTS).filter_map(|_| self.scout(leader)).collect();
        self.moment(ARRIVE_MS, || scouts.iter().all(Scout::is_connected)).await;
        sleep(Duration::from_millis(chance.skewed(1..500))).await;
        self.bring_back(&led);
        let groups = self.world.groups_of(partition);
        let (mut had, mut gone) = (Offset(0), Vec::new());
        for _ in 0..chance.of(1..BREAKS_MAX) {
            let came = || self.copied(&led, copier).is_some_and(|end| end > had);
            let is_struck = self.moment(MOMENT_MS, came).await;
            if !is_struck || !self.reigns(leader, partition, epoch) || self.is_calm() {
                break;
            }
            self.world.injected(Class::Hunt(Trap::Break));
            had = self.copied(&led, copier).unwrap_or(had);
            let more_ms = chance.skewed(20..BROKEN_MS);
            let noticed_ms = self.world.settings.quorum.links.silent_max.as_millis() as u64;
            let is_noticed = chance.percent(NOTICED_PERCENT);
            let for_ms = if is_noticed { noticed_ms + more_ms } else { more_ms };
            let parted = self.part([(leader, copier), (copier, leader)], for_ms);
            gone.push(self.delete_meanwhile(&scouts, &groups, for_ms, chance).await);
            self.rejoin(parted);
        }
        self.bring_back(&led);
        if !gone.is_empty() && chance.percent(LEADS_PERCENT) {
            self.read_through(&led, copier, &gone, chance).await;
        }
    }

    /// Once the copy is whole it leads, and what was deleted is read from it.
    async fn read_through(&self, led: &Led, copier: u32, gone: &[Group], chance: &mut Chance) {
        let reader = self.scout(copier);
        let is_in = self.moment(MOMENT_MS, || self.is_in_sync(copier, led.partition)).await;
        if !is_in || !self.reigns(led.leader, led.partition, led.epoch) || self.is_calm() {
            return;
        }
        self.move_leader(led, copier, chance).await;
        self.moment(SERVES_SOON_MS, || self.serves_after(led.partition, led.epoch)).await;
        for &group in gone {
            reader.iter().for_each(|reader| reader.send(Errand::Read(group)));
            self.moment(WRITE_MS, || reader.iter().all(Scout::is_idle)).await;
        }
    }

    /// The end of what it has of its leader's log, if it follows that.
    fn copied(&self, led: &Led, copier: u32) -> Option<Offset> {
        let replicas = lock(&self.world.replicas);
        let own = replicas.replica(copier, led.partition)?;
        (own.follows == Some((NodeId(led.leader), led.epoch))).then_some(own.log_end)
    }

    /// What the copy may hold is deleted, and more is written, so that the tombstones may be dropped.
    async fn delete_meanwhile(
        &self,
        scouts: &[Scout],
        groups: &[Group],
        ms: u64,
        chance: &mut Chance,
    ) -> Group {
        let until_ns = self.world.now_ns() + ms * 1_000_000;
        let gone = chance.pick(groups);
        let others: Vec<Group> = groups.iter().copied().filter(|&group| group != gone).collect();
        scouts.iter().take(1).for_each(|scout| scout.send(Errand::Delete(gone)));
        while self.world.now_ns() < until_ns {
            let left_ms = (until_ns - self.world.now_ns()) / 1_000_000;
            sleep(Duration::from_millis(chance.of(WRITES_MS).min(left_ms + 1))).await;
            for scout in scouts {
                let written = if others.is_empty() { gone } else { chance.pick(&others) };
                scout.send(Errand::Write(written));
            }
        }
        gone
    }
}
