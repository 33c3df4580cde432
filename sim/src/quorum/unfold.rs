//! A run of the quorum, from the first start to the verdict.

use std::sync::Arc;
use std::time::Duration;

use kvnode_core::NodeId;
use kvnode_core::cluster::controller::Request;
use madsim::time::sleep;

use super::liveness;
use crate::disk::Unsynced;
use crate::lock;
use crate::nemesis::Nemesis;
use crate::node::{Mailboxes, NodeEvent};
use crate::plan::Plan;
use crate::world::World;

/// Lets the faults loose on the nodes, heals everything, and waits for them to be whole; then takes
/// power from all of them at once, and waits again.
pub(crate) async fn unfold(
    world: &Arc<World>,
    mailboxes: &Arc<Mailboxes>,
    nemesis: &Nemesis,
    plan: &Plan,
) {
    begin(world, mailboxes, nemesis);
    nemesis.run(plan).await;
    let left_ms = world.settings.duration_ms.saturating_sub(world.now_ns() / 1_000_000);
    sleep(Duration::from_millis(left_ms)).await;
    nemesis.heal();
    settle(world, mailboxes, nemesis).await;
    for node in 1..=world.settings.nodes {
        nemesis.cut_power(node, Unsynced::Lost);
    }
    for node in 1..=world.settings.nodes {
        nemesis.start(node);
    }
    settle(world, mailboxes, nemesis).await;
}

/// Connects the nodes, watches them, and starts the last one late if it is to be.
pub(crate) fn begin(world: &Arc<World>, mailboxes: &Arc<Mailboxes>, nemesis: &Nemesis) {
    nemesis.spawn(Arc::clone(world).carry(Arc::clone(mailboxes)));
    nemesis.spawn(liveness::monitor(Arc::clone(world)));
    let late_ms = world.settings.quorum.late_ms;
    if late_ms > 0 {
        let nemesis_too = nemesis.clone();
        let nodes = world.settings.nodes;
        nemesis.spawn(async move {
            sleep(Duration::from_millis(late_ms + 1)).await;
            nemesis_too.start(nodes);
        });
    }
}

/// Waits until nothing is missing.
async fn settle(world: &Arc<World>, mailboxes: &Mailboxes, nemesis: &Nemesis) {
    let from_ns = world.now_ns();
    let bound_ns = 2 * liveness::bound_ns(&world.settings) + SETTLE_NS;
    while let Some(missing) = liveness::missing(world) {
        let took_ns = world.now_ns() - from_ns;
        if took_ns > bound_ns {
            let text =
                format!("{} s after the end of all faults: {missing}", took_ns / 1_000_000_000);
            return world.violation("liveness", text);
        }
        if took_ns > bound_ns / 2 {
            ask(world, mailboxes);
        }
        // A stop that was asked for before may have ended since.
        for node in (1..=world.settings.nodes).filter(|&node| world.refused(node).is_none()) {
            nemesis.start(node);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// How long it may take beyond elections and links: registrations, refused ones that are tried again
/// slowly, recoveries that wait for the longest log, catching up.
const SETTLE_NS: u64 = 60_000_000_000;

/// A partition whose last replica in sync has lost its disk is an operator's to decide.
fn ask(world: &World, mailboxes: &Mailboxes) {
    let mut watch = lock(&world.watch);
    let Some(controller) = watch.controller() else { return };
    let (map, mut wanted) = (watch.map(), Vec::new());
    for (id, partition) in map.partitions() {
        let lost = partition.isr.iter().all(|seat| {
            map.node(seat.life.node).is_none_or(|n| n.registration.directory != seat.directory)
        });
        let active = |node: &&NodeId| map.node(**node).is_some_and(|node| node.is_active());
        if partition.leader.is_none()
            && lost
            && let Some(&node) = partition.replicas.iter().find(active)
        {
            wanted.push(Request::ElectUnclean(id, node));
        }
    }
    for request in wanted {
        mailboxes.post(controller, NodeEvent::Request(watch.operator(), request));
    }
}
