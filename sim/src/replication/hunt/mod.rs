//! Faults that lie in wait for replicas, as [`quorum::hunt`](crate::quorum::hunt) does for the quorum.
//!
//! - [`Trap::Reign`](crate::plan::Trap::Reign): logs that part again and again, since nobody leads for long (KIP-101, KIP-279).
//! - [`Trap::Lease`](crate::plan::Trap::Lease): two who take themselves for the leader, and clients that read through the old one
//!   (Gray and Cheriton, 1989; dissertation §6.4).
//! - [`Trap::Entry`](crate::plan::Trap::Entry): the seat of who lacks what the leader of before had committed (KIP-966).
//! - [`Trap::Copy`](crate::plan::Trap::Copy): an operator's election, of one that is not in sync, once all who are do not come back.
//! - [`Trap::Break`](crate::plan::Trap::Break): a copy from the log's beginning that is broken off while tombstones go
//!   (KAFKA-4545).
//!
//! Whoever is put in the place of another is so by an operator's word; that an old leader is no replica
//! any more spares the new one the wait for it, and it becomes one again later.

mod breaks;
mod copies;
mod entries;
mod leases;
mod reigns;

use kvnode_core::cluster::controller::Request;
use kvnode_core::{Epoch, NodeId, PartitionId};

use crate::chance::Chance;
use crate::lock;
use crate::nemesis::Nemesis;
use crate::node::NodeEvent;
use crate::replication::atlas::{Part, may_lose};
use crate::story::{Kind, Lane};
use crate::windows::WindowId;

/// How often an operator asks for another leader.
const MOVES_MAX: u64 = 5;

/// In how many of a hundred cases a leader is struck that is not the controller, and so can be replaced at
/// once.
const OTHER_PERCENT: u64 = 85;

/// In how many of a hundred cases the partition is struck that has most records.
const BUSIEST_PERCENT: u64 = 70;

/// How long a new leader may take to serve that was asked for: it waits out a promise first.
const SERVES_SOON_MS: u64 = 3_500;

/// How long scouts may take to arrive, and a write to be answered.
const ARRIVE_MS: u64 = 300;
const WRITE_MS: u64 = 600;

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
    fn demand(&self, request: Request) {
        let Some(controller) = lock(&self.world.watch).controller() else { return };
        let id = lock(&self.world.watch).operator();
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

    /// The node is no replica any more, if enough are left without it.
    fn take_away(&self, led: &Led, node: u32) {
        let mut replicas = led.replicas.clone();
        replicas.retain(|&replica| replica.0 != node);
        if replicas.len() < self.world.settings.quorum.founding.min_isr as usize {
            return;
        }
        let survives = {
            let (watch, atlas) = (lock(&self.world.watch), lock(&self.world.atlas));
            let replicas = lock(&self.world.replicas);
            let is_intact = |node| !atlas.is_lost_of(node);
            may_lose(&replicas, watch.map(), (node, Part::All), is_intact)
        };
        if survives {
            self.world.takes_away();
            self.demand(Request::Reassign(led.partition, replicas));
        }
    }

    /// Who was a replica is to be one again, as far as there is room.
    fn bring_back(&self, led: &Led) {
        let replicas = {
            let watch = lock(&self.world.watch);
            watch.map().partition(led.partition).map(|held| held.replicas.clone())
        };
        let Some(mut replicas) = replicas else { return };
        let factor = self.world.settings.quorum.founding.replication_factor as usize;
        let before = replicas.len();
        let away = led.replicas.iter().filter(|node| !replicas.contains(node));
        let away: Vec<NodeId> = away.copied().take(factor.saturating_sub(before)).collect();
        replicas.extend(away);
        if replicas.len() > before {
            self.demand(Request::Reassign(led.partition, replicas));
        }
    }

    fn is_replica(&self, node: u32, partition: PartitionId) -> bool {
        let watch = lock(&self.world.watch);
        watch.map().partition(partition).is_some_and(|held| held.replicas.contains(&NodeId(node)))
    }
}

/// A direction that is cut, from where.
type Parted = (u32, (u32, WindowId));
