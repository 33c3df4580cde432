//! Faults that lie in wait for replicas, as [`quorum::hunt`](crate::quorum::hunt) does for the quorum.
//!
//! - [`Trap::Reign`]: logs that part again and again, since nobody leads for long (KIP-101, KIP-279).
//! - [`Trap::Lease`]: two who take themselves for the leader, and clients that read through the old one
//!   (Gray and Cheriton, 1989; dissertation §6.4).
//! - [`Trap::Entry`]: the seat of who lacks what the leader of before had committed (KIP-966).
//!
//! Whoever is put in the place of another is so by an operator's word; that an old leader is no replica
//! any more spares the new one the wait for it, and it becomes one again later.

use std::collections::BTreeSet;
use std::time::Duration;

use kvnode_core::cluster::controller::{Request, RequestId};
use kvnode_core::{Epoch, NodeId, PartitionId};
use madsim::time::sleep;

use crate::chance::Chance;
use crate::disk::{Doom, Unsynced};
use crate::history::Group;
use crate::lock;
use crate::nemesis::Nemesis;
use crate::node::NodeEvent;
use crate::plan::{Class, Trap};
use crate::quorum::hunt::{MOMENT_MS, Until};
use crate::replication::atlas::may_lose;
use crate::story::{Kind, Lane};
use crate::windows::WindowId;

/// In how many of a hundred cases a new leader of a partition is struck, before it serves, and dies of it.
const REIGN_PERCENT: u64 = 70;
const AT_ONCE_PERCENT: u64 = 60;
const DEADLY_PERCENT: u64 = 55;

/// In how many of a hundred hunts for reigns one replica misses some.
const MISSED_PERCENT: u64 = 35;

/// In how many of a hundred cases an old leader's clock is set back, it stands still for a while, or who
/// has promised not to commit is started again.
const SET_BACK_PERCENT: u64 = 35;
const STANDS_STILL_PERCENT: u64 = 20;
const STARTED_AGAIN_PERCENT: u64 = 40;

/// In how many of a hundred cases an operator puts another in the place of a leader, and in how many of
/// these it is no replica any more.
const ASKS_PERCENT: u64 = 80;
const NO_REPLICA_PERCENT: u64 = 80;

/// How often an operator asks for another leader.
const MOVES_MAX: u64 = 5;

/// In how many of a hundred cases a leader is struck that is not the controller, and so can be replaced at
/// once.
const OTHER_PERCENT: u64 = 85;

/// In how many of a hundred cases the partition is struck that has most records.
const BUSIEST_PERCENT: u64 = 70;

/// How long a new leader may take to serve: it waits out a promise first, and who is gone.
const SERVES_MS: u64 = 9_000;
const SERVES_SOON_MS: u64 = 3_500;

/// How long a client that reads is waited for.
const CLIENT_MS: u64 = 1_500;

/// In how many of a hundred cases a leader is not told who has come in.
const UNTOLD_PERCENT: u64 = 15;
const UNTOLD_ALONE_PERCENT: u64 = 60;

/// How long a replica that was away may take to follow.
const RETURN_MS: u64 = 3_000;

/// A partition and who leads it.
#[derive(Clone)]
struct Led {
    partition: PartitionId,
    epoch: Epoch,
    leader: u32,
    /// Who else is in sync.
    in_sync: Vec<u32>,
    replicas: Vec<NodeId>,
}

impl Nemesis {
    /// Whether somebody leads the partition in a later reign.
    pub(crate) fn is_led_after(&self, partition: PartitionId, epoch: Epoch) -> bool {
        lock(&self.world.replicas).reigns().any(|(_, p, later, _)| p == partition && later > epoch)
    }

    fn serves_after(&self, partition: PartitionId, epoch: Epoch) -> bool {
        let replicas = lock(&self.world.replicas);
        replicas.reigns().any(|(_, p, later, serves)| p == partition && later > epoch && serves)
    }

    fn reigns(&self, node: u32, partition: PartitionId, epoch: Epoch) -> bool {
        let replicas = lock(&self.world.replicas);
        replicas.reigns().any(|(n, p, e, _)| (n, p, e) == (node, partition, epoch))
    }

    /// A partition that is led by one who serves, mostly by another than the controller, and has others
    /// in sync.
    fn led(&self, chance: &mut Chance) -> Option<Led> {
        let controller = lock(&self.world.watch).controller();
        let but = controller.filter(|_| chance.percent(OTHER_PERCENT));
        let serving: Vec<(u32, PartitionId, Epoch)> = {
            let replicas = lock(&self.world.replicas);
            let serving =
                replicas.reigns().filter(|&(node, .., serves)| serves && Some(node) != but);
            serving.map(|(node, partition, epoch, _)| (node, partition, epoch)).collect()
        };
        let watch = lock(&self.world.watch);
        let led: Vec<Led> = serving
            .into_iter()
            .filter_map(|(leader, partition, epoch)| {
                let held = watch.map().partition(partition)?;
                let presides = held.leader == Some(NodeId(leader)) && held.epoch == epoch;
                let others = held.isr.iter().map(|seat| seat.life.node.0);
                let in_sync: Vec<u32> = others.filter(|&other| other != leader).collect();
                let replicas = held.replicas.clone();
                let is_asked = !self.world.groups_of(partition).is_empty();
                (presides && is_asked && !in_sync.is_empty()).then_some(Led {
                    partition,
                    epoch,
                    leader,
                    in_sync,
                    replicas,
                })
            })
            .collect();
        let one = led.get(chance.index(led.len().max(1)))?.clone();
        // Where most is written there is most to see.
        let replicas = lock(&self.world.replicas);
        let end = |led: &Led| replicas.replica(led.leader, led.partition).map(|own| own.log_end);
        let busiest = led.into_iter().max_by_key(end);
        if chance.percent(BUSIEST_PERCENT) { busiest } else { Some(one) }
    }

    /// The controller is asked for something.
    fn demand(&self, request: Request, chance: &mut Chance) {
        let Some(controller) = lock(&self.world.watch).controller() else { return };
        let id = RequestId(self.world.now_ns() + chance.below(1000));
        self.world.tell(Lane::Node(controller), Kind::Call, (id, format!("{request:?}")), || {
            format!("is asked for {request:?}")
        });
        self.mailboxes.post(controller, NodeEvent::Request(id, request));
    }

    fn others(&self, node: u32) -> Vec<u32> {
        (1..=self.world.settings.nodes).filter(|&other| other != node).collect()
    }

    /// Nothing gets from one to the other, in this order.
    fn part(&self, links: impl IntoIterator<Item = (u32, u32)>, for_ms: u64) -> Vec<Parted> {
        links.into_iter().map(|(from, to)| (from, self.mute(from, to, for_ms))).collect()
    }

    fn rejoin(&self, parted: impl IntoIterator<Item = Parted>) {
        parted.into_iter().for_each(|(from, cut)| self.unmute(from, cut));
    }

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

    pub(crate) async fn hunt_leases(&self, until_ns: u64) {
        while self.goes_on(until_ns) {
            let mut chance = self.chance();
            if let Some(led) = self.led(&mut chance) {
                self.strike_lease(led, &mut chance).await;
            }
            sleep(Duration::from_millis(chance.skewed(50..1500))).await;
        }
    }

    /// Somebody is put in the place of a leader that does not hear of it.
    async fn strike_lease(&self, led: Led, chance: &mut Chance) {
        let Led { partition, epoch, leader, .. } = led;
        // Best while somebody reads there.
        let readers = self.world.settings.readers;
        let is_asked =
            || lock(&self.world.wires).clients_of(leader).any(|client| client <= readers);
        self.moment(CLIENT_MS, is_asked).await;
        let Some(controller) = lock(&self.world.watch).controller() else { return };
        if self.is_calm() || !self.reigns(leader, partition, epoch) {
            return;
        }
        self.world.injected(Class::Hunt(Trap::Lease));
        let others = self.others(leader);
        // Its followers last or first: what they have said to it may come before what they say next.
        let (followers, rest): (Vec<u32>, Vec<u32>) =
            others.iter().partition(|other| led.in_sync.contains(other));
        let into = |from: &[u32]| from.iter().map(|&from| (from, leader)).collect::<Vec<_>>();
        let kind = chance.below(10);
        let deaf_ms = MOMENT_MS;
        let focus = self.look_at(partition, chance);
        let (first, last) = if kind < 4 && controller != leader {
            // The controller alone: who follows goes on promising until it is told.
            (Vec::new(), self.part([(leader, controller), (controller, leader)], deaf_ms))
        } else if kind < 7 {
            // It reaches everybody, and hears nobody.
            (self.part(into(&followers), deaf_ms), self.part(into(&rest), deaf_ms))
        } else {
            let out = others.iter().map(|&to| (leader, to));
            (Vec::new(), self.part(into(&others).into_iter().chain(out), deaf_ms))
        };
        if chance.percent(SET_BACK_PERCENT) {
            let by_ms = -(chance.skewed(100..60_000) as i64);
            self.world.injected(Class::Jump);
            self.world.tell(Lane::World, Kind::Nemesis, by_ms, || {
                format!("the clock of n{leader} is set by {by_ms} ms")
            });
            self.world.set_clock(leader, |clock, now_ns| clock.jump(now_ns, by_ms * 1000));
        }
        let heir = chance.pick(&led.in_sync);
        if chance.percent(STARTED_AGAIN_PERCENT) {
            sleep(Duration::from_millis(chance.skewed(1..30))).await;
            for &node in led.in_sync.iter().filter(|&&node| node != controller) {
                if node == heir || chance.percent(50) {
                    self.strike_down(node, Doom::Process, Until::Ms(chance.skewed(1..40)));
                }
            }
        }
        if chance.percent(STANDS_STILL_PERCENT) {
            let (nemesis, for_ms) = (self.clone(), chance.of(300..2500));
            self.spawn(async move { nemesis.stand_still(leader, for_ms).await });
        }
        sleep(Duration::from_millis(chance.skewed(1..40))).await;
        let asks = chance.percent(ASKS_PERCENT);
        if asks {
            for _ in 0..MOVES_MAX {
                self.demand(Request::MoveLeader(partition, NodeId(heir)), chance);
                if self.moment(chance.of(50..350), || self.is_led_after(partition, epoch)).await {
                    break;
                }
            }
            if chance.percent(NO_REPLICA_PERCENT) {
                self.take_away(&led, chance);
            }
        }
        let patience_ms = if asks { SERVES_SOON_MS } else { SERVES_MS };
        if self.moment(patience_ms, || self.serves_after(partition, epoch)).await {
            // Clients write through the new one, and read through the old one.
            sleep(Duration::from_millis(chance.skewed(20..1500))).await;
        }
        self.rejoin(first);
        if chance.percent(60) {
            sleep(Duration::from_millis(chance.skewed(1..300))).await;
        }
        self.rejoin(last);
        self.look_away(focus);
        if asks {
            sleep(Duration::from_millis(chance.skewed(1..500))).await;
            self.bring_back(partition, leader, chance);
        }
    }

    /// An old leader is no replica any more, if enough are left without it.
    fn take_away(&self, led: &Led, chance: &mut Chance) {
        let mut replicas = led.replicas.clone();
        replicas.retain(|&node| node.0 != led.leader);
        if replicas.len() < self.world.settings.quorum.founding.min_isr as usize {
            return;
        }
        let survives = {
            let (watch, atlas) = (lock(&self.world.watch), lock(&self.world.atlas));
            let replicas = lock(&self.world.replicas);
            let is_intact = |node| !atlas.is_lost_of(node);
            may_lose(&replicas, watch.map(), led.leader, is_intact)
        };
        if survives {
            self.world.takes_away();
            self.demand(Request::Reassign(led.partition, replicas), chance);
        }
    }

    /// Who was a replica is to be one again.
    fn bring_back(&self, partition: PartitionId, node: u32, chance: &mut Chance) {
        let replicas = {
            let watch = lock(&self.world.watch);
            watch.map().partition(partition).map(|held| held.replicas.clone())
        };
        let Some(mut replicas) = replicas else { return };
        let factor = self.world.settings.quorum.founding.replication_factor as usize;
        if !replicas.contains(&NodeId(node)) && replicas.len() < factor {
            replicas.push(NodeId(node));
            self.demand(Request::Reassign(partition, replicas), chance);
        }
    }

    async fn stand_still(&self, node: u32, for_ms: u64) {
        if !self.is_calm() {
            self.pause(node, for_ms).await;
        }
    }

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
        let Some(controller) = lock(&self.world.watch).controller() else { return };
        let back = chance.pick(&led.in_sync);
        let away = led.in_sync.iter().filter(|&&node| node != back && node != controller);
        for &node in away {
            self.strike_down(node, Doom::Process, Until::Ms(chance.of(2000..5000)));
        }
        self.strike_down(back, Doom::Process, Until::Ms(chance.skewed(1..600)));
        let asked = lock(&self.world.watch).asked(NodeId(back));
        let asks = || lock(&self.world.watch).asked(NodeId(back)) > asked;
        if !self.moment(RETURN_MS, asks).await || !self.reigns(leader, partition, epoch) {
            return;
        }
        let Some(controller) = lock(&self.world.watch).controller() else { return };
        if controller == leader || self.is_calm() {
            return;
        }
        self.world.injected(Class::Hunt(Trap::Entry));
        let mut parted = self.part([(controller, leader)], MOMENT_MS);
        let focus = self.look_at(partition, chance);
        let is_in = || {
            let watch = lock(&self.world.watch);
            watch.map().partition(partition).is_some_and(|held| held.seat(NodeId(back)).is_some())
        };
        if self.moment(chance.of(100..1500), is_in).await {
            if chance.percent(50) {
                parted.extend(self.part([(back, leader), (leader, back)], MOMENT_MS));
            }
            self.demand(Request::MoveLeader(partition, NodeId(back)), chance);
            if self.moment(MOMENT_MS / 4, || self.is_led_after(partition, epoch)).await {
                self.take_away(&led, chance);
                self.moment(SERVES_SOON_MS, || self.serves_after(partition, epoch)).await;
                sleep(Duration::from_millis(chance.skewed(20..1000))).await;
            }
        }
        self.rejoin(parted);
        self.look_away(focus);
        sleep(Duration::from_millis(chance.skewed(1..500))).await;
        self.bring_back(partition, leader, chance);
    }

    /// Clients look at keys of this partition from now on.
    fn look_at(&self, partition: PartitionId, chance: &mut Chance) -> Option<Group> {
        let groups = self.world.groups_of(partition);
        let focus = (!groups.is_empty()).then(|| chance.pick(&groups));
        focus.inspect(|&group| self.world.look_at(group))
    }

    fn look_away(&self, focus: Option<Group>) {
        focus.into_iter().for_each(|group| self.world.look_away(group));
    }

    /// A replica goes and comes back; the leader dies when it has what the others know to be committed,
    /// and lacks what is; or when it has just been let in.
    async fn strike_entry(&self, led: Led, chance: &mut Chance) {
        let Led { partition, epoch, leader, .. } = led;
        let back = chance.pick(&led.in_sync);
        let doom = chance.pick(&[Doom::Process, Doom::Power(Unsynced::Lost)]);
        self.strike_down(back, doom, Until::Ms(chance.skewed(1..300)));
        let is_in = || {
            let watch = lock(&self.world.watch);
            watch.map().partition(partition).is_some_and(|held| held.seat(NodeId(back)).is_some())
        };
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

/// A direction that is cut, from where.
type Parted = (u32, (u32, WindowId));
