//! A run of whole nodes, from the first start to the verdict.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use madsim::task::{JoinHandle, spawn_local};
use madsim::time::sleep;

use super::rest;
use crate::client::Client;
use crate::disk::Unsynced;
use crate::nemesis::Nemesis;
use crate::node::Mailboxes;
use crate::plan::Plan;
use crate::quorum;
use crate::world::World;

/// How long clients go on after the end of all faults.
const AFTERMATH_MS: u64 = 3_000;

/// Lets faults and clients loose on the nodes, heals everything, and waits for them to be whole; then takes
/// power from all of them at once, and waits again.
pub(crate) async fn unfold(
    world: &Arc<World>,
    mailboxes: &Arc<Mailboxes>,
    nemesis: &Nemesis,
    plan: &Plan,
) {
    quorum::begin(world, mailboxes, nemesis);
    nemesis.spawn(rest::monitor(Arc::clone(world)));
    let stop = Arc::new(AtomicBool::new(false));
    let clients = clients(world, nemesis, &stop);
    nemesis.run(plan).await;
    let left_ms = world.settings.duration_ms.saturating_sub(world.now_ns() / 1_000_000);
    sleep(Duration::from_millis(left_ms)).await;
    nemesis.heal();
    sleep(Duration::from_millis(AFTERMATH_MS)).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        // A client that panics has ended the run.
        let _ = client.await;
    }
    if !rest::settle(world, mailboxes, nemesis).await || !rest::audit(world, nemesis, true).await {
        return;
    }
    if !rest::settle(world, mailboxes, nemesis).await {
        return;
    }
    rest::compare(world, nemesis);
    for node in 1..=world.settings.nodes {
        nemesis.cut_power(node, Unsynced::Lost);
    }
    for node in 1..=world.settings.nodes {
        nemesis.start(node);
    }
    if rest::settle(world, mailboxes, nemesis).await {
        rest::audit(world, nemesis, false).await;
    }
}

fn clients(
    world: &Arc<World>,
    nemesis: &Nemesis,
    stop: &Arc<AtomicBool>,
) -> Vec<JoinHandle<Result<(), madsim::task::JoinError>>> {
    let start = |id| {
        let (world, stop) = (Arc::clone(world), Arc::clone(stop));
        let node = nemesis.client(id);
        node.spawn(async move {
            // A client's tasks stay on its node of madsim.
            spawn_local(async move { Client::new(world, id).run(&stop).await }).await
        })
    };
    (1..=world.settings.clients).map(start).collect()
}
