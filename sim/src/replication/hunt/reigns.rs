//! Logs that part again and again, since nobody leads for long.

use std::collections::BTreeSet;
use std::time::Duration;

use kvnode_core::cluster::controller::Request;
use kvnode_core::{Epoch, NodeId, PartitionId};
use madsim::time::sleep;

use super::{ARRIVE_MS, Led, MOVES_MAX, SERVES_SOON_MS, WRITE_MS};
use crate::chance::Chance;
use crate::disk::{Doom, Unsynced};
use crate::history::Group;
use crate::lock;
use crate::nemesis::Nemesis;
use crate::node::NodeEvent;
use crate::plan::{Class, Trap};
use crate::quorum::hunt::{MOMENT_MS, Until};
use crate::replication::post::Interest;
use crate::replication::scout::{Errand, Scout};

/// In how many of a hundred cases a new leader of a partition is struck, before it serves, and dies of it.
const REIGN_PERCENT: u64 = 70;
const AT_ONCE_PERCENT: u64 = 60;
const DEADLY_PERCENT: u64 = 55;

/// In how many of a hundred hunts for reigns one replica misses some.
const MISSED_PERCENT: u64 = 50;

/// In how many of a hundred cases what it is sent before does not come to it until it is over.
const WITHHELD_PERCENT: u64 = 50;

/// In how many of a hundred cases such a one stays in sync.
const STAYS_PERCENT: u64 = 50;

/// How long it may take that one which was told follows, how long it then hears again what is over, and how
/// much at a time.
const FOLLOWS_MS: u64 = 3_000;
const AGAIN_MS: u64 = 60;
const COPIES: usize = 4;

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
            self.demand(Request::MoveLeader(led.partition, heir));
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
                self.demand(Request::MoveLeader(partition, heir));
            }
            sleep(Duration::from_millis(alone_ms)).await;
        }
        self.rejoin(parted);
    }

    /// A leader is replaced and leads again, and one that holds what was not committed hears of neither in
    /// time. When it does, it hears once more what the leader said in its first reign, and so does the
    /// leader of it.
    async fn strike_missed(&self, led: Led, chance: &mut Chance) {
        let Led { partition, epoch, leader, .. } = led;
        let Some((next, missing)) = self.next_and_missing(&led, chance) else { return };
        self.world.injected(Class::Hunt(Trap::Reign));
        // What was sent in the first reign comes to it then for the first time, or a second one.
        let withholds = chance.percent(WITHHELD_PERCENT);
        let interests = [
            Interest { from: leader, to: missing, partition, withholds },
            Interest { from: missing, to: leader, partition, withholds: false },
        ];
        interests.iter().for_each(|&interest| lock(&self.world.post).begin(interest));
        let group = chance.pick(&self.world.groups_of(partition));
        let first: Vec<Scout> = (0..2).filter_map(|_| self.scout(leader)).collect();
        self.moment(ARRIVE_MS, || first.iter().all(Scout::is_connected)).await;
        let from = self.others(missing).into_iter().filter(|&node| node != leader);
        let untold = self.part(from.map(|node| (node, missing)), MOMENT_MS);
        let parted = self.part([(leader, next)], MOMENT_MS);
        self.world.look_at(group);
        first.iter().for_each(|scout| scout.send(Errand::Write(group)));
        sleep(Duration::from_millis(chance.skewed(10..300))).await;
        self.demand(Request::MoveLeader(partition, NodeId(next)));
        let is_led = self.moment(MOMENT_MS / 4, || self.is_led_after(partition, epoch)).await;
        interests.iter().for_each(|&interest| lock(&self.world.post).end(interest));
        self.rejoin(parted);
        // Who hears of nothing leaves the in-sync set before the next one serves, or is in it still when
        // the first one leads again.
        let stays = chance.percent(STAYS_PERCENT);
        let next_serves = || self.serves_after(partition, epoch);
        let first_follows = || self.follows_after(leader, next, partition, epoch);
        let is_settled = match stays {
            true => self.moment(FOLLOWS_MS, first_follows).await,
            false => self.moment(SERVES_SOON_MS, next_serves).await,
        };
        if is_led && is_settled {
            if stays {
                sleep(Duration::from_millis(chance.skewed(5..100))).await;
            } else {
                self.fill(next, group, chance.of(1..6)).await;
            }
            for _ in 0..MOVES_MAX {
                self.demand(Request::MoveLeader(partition, NodeId(leader)));
                let again = || self.leads_after(leader, partition, epoch);
                if self.moment(chance.of(50..350), again).await {
                    if !stays {
                        self.fill(leader, group, chance.of(1..4)).await;
                    }
                    break;
                }
            }
        }
        self.world.look_away(group);
        self.rejoin(untold);
        let follows = || self.follows_after(missing, leader, partition, epoch);
        if self.moment(FOLLOWS_MS, follows).await {
            for _ in 0..AGAIN_MS {
                interests.iter().for_each(|&interest| self.deliver_again(interest));
                sleep(Duration::from_millis(1)).await;
            }
        }
        interests.iter().for_each(|&interest| lock(&self.world.post).forget(interest));
    }

    /// Who is to lead in between, and who is not to hear of it. The controller is the former, or neither.
    fn next_and_missing(&self, led: &Led, chance: &mut Chance) -> Option<(u32, u32)> {
        let controller = lock(&self.world.watch).controller()?;
        if controller == led.leader {
            return None;
        }
        let next = match led.in_sync.contains(&controller) {
            true => controller,
            false => chance.pick(&led.in_sync),
        };
        let others = led.replicas.iter().map(|node| node.0);
        let is_other = |node: &u32| ![led.leader, next, controller].contains(node);
        let others: Vec<u32> = others.filter(is_other).collect();
        (!others.is_empty()).then(|| (next, chance.pick(&others)))
    }

    fn leads_after(&self, node: u32, partition: PartitionId, epoch: Epoch) -> bool {
        let replicas = lock(&self.world.replicas);
        replicas.reigns().any(|(n, p, later, _)| n == node && p == partition && later > epoch)
    }

    fn follows_after(&self, node: u32, leader: u32, partition: PartitionId, epoch: Epoch) -> bool {
        let replicas = lock(&self.world.replicas);
        let follows = replicas.replica(node, partition).and_then(|own| own.follows);
        follows.is_some_and(|(first, later)| first.0 == leader && later > epoch)
    }

    /// A log grows by some writes.
    async fn fill(&self, node: u32, group: Group, count: u64) {
        let Some(writer) = self.scout(node) else { return };
        self.moment(ARRIVE_MS, || writer.is_connected()).await;
        for _ in 0..count {
            writer.send(Errand::Write(group));
            self.moment(WRITE_MS, || writer.is_idle()).await;
        }
    }

    /// What was copied comes once more, the first and the last of it.
    fn deliver_again(&self, interest: Interest) {
        let copies = lock(&self.world.post).copies(interest);
        let few = copies.len().min(COPIES);
        let last = copies[few..].iter().rev().take(COPIES);
        for parcel in copies[..few].iter().chain(last) {
            self.mailboxes.post(interest.to, NodeEvent::Stray(parcel.clone()));
        }
    }
}
