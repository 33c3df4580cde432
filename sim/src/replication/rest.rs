//! What is to be so once all faults are over: every partition is led and served, every replica is in sync
//! and holds what the others do, and clients can read and write every key.

use std::sync::Arc;
use std::time::Duration;

use kvnode_core::PartitionId;
use kvnode_core::cluster::controller::Request;
use madsim::task::spawn_local;
use madsim::time::sleep;

use super::checkers::contents;
use crate::client::Client;
use crate::lock;
use crate::nemesis::Nemesis;
use crate::node::{Mailboxes, NodeEvent};
use crate::quorum::liveness;
use crate::storage;
use crate::story::Lane;
use crate::world::World;

/// How long it may take beyond elections and links: registrations, refused ones that are tried again
/// slowly, recoveries that wait for the longest log, catching up.
const SETTLE_NS: u64 = 60_000_000_000;

/// How long every key may take to be read and written, in half seconds.
const AUDIT_TRIES: u64 = 60;

/// How often it is looked whether watermarks move.
const LOOK_MS: u64 = 50;

/// How long a leader that is in sync alone may take to commit, beyond the promises that it has given.
const ALONE: Duration = Duration::from_millis(500);

/// Watches until the run ends.
pub(super) async fn monitor(world: Arc<World>) {
    let settings = &world.settings;
    // A clock may be slow by the drift.
    let alone = settings.replication.lease_kept() * 11 / 10 + ALONE;
    // A follower that had no answer asks more and more seldom.
    let asks = settings.replication.retry * 64;
    let links = &settings.quorum.links;
    let link = links.dial_max + links.retry_max + links.silent_max;
    let bounds = (alone.as_nanos() as u64, (alone + asks + link * 2).as_nanos() as u64);
    loop {
        sleep(Duration::from_millis(LOOK_MS)).await;
        let now_ns = world.now_ns();
        let found = {
            let (watch, windows) = (lock(&world.watch), lock(&world.windows));
            let sound_ns = |leader: kvnode_core::NodeId, others: &[kvnode_core::NodeId]| {
                let well = |node: u32| {
                    let seen = watch.node(node).filter(|_| world.is_up(node))?;
                    let until_ns = windows.unwell_until(node).max(world.disturbed_ns(node));
                    (!seen.is_stopping).then_some(until_ns)
                };
                let mut since_ns = well(leader.0)?;
                for other in others {
                    let link = (Lane::Node(leader.0), Lane::Node(other.0));
                    since_ns =
                        since_ns.max(well(other.0)?).max(windows.unsound_until(link.0, link.1));
                }
                (since_ns <= now_ns).then_some(since_ns)
            };
            lock(&world.replicas).progress(now_ns, bounds, watch.map(), sound_ns)
        };
        world.found(found);
    }
}

/// Waits until nothing is missing; whether that came to pass in time.
pub(super) async fn settle(world: &Arc<World>, mailboxes: &Mailboxes, nemesis: &Nemesis) -> bool {
    let from_ns = world.now_ns();
    let bound_ns = 2 * liveness::bound_ns(&world.settings) + SETTLE_NS;
    while let Some(missing) = missing(world) {
        let took_ns = world.now_ns() - from_ns;
        if took_ns > bound_ns {
            let text =
                format!("{} s after the end of all faults: {missing}", took_ns / 1_000_000_000);
            world.violation("liveness", text);
            return false;
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
    true
}

fn missing(world: &World) -> Option<String> {
    if let Some(missing) = liveness::missing(world) {
        return Some(missing);
    }
    let (watch, replicas) = (lock(&world.watch), lock(&world.replicas));
    let map = watch.map();
    map.partitions().find_map(|(p, _)| replicas.missing(p, map))
}

/// A partition whose last replica in sync has lost its disk is an operator's to decide: somebody else has
/// all that is committed.
fn ask(world: &World, mailboxes: &Mailboxes) {
    let (mut watch, replicas) = (lock(&world.watch), lock(&world.replicas));
    let Some(controller) = watch.controller() else { return };
    let (map, mut wanted) = (watch.map(), Vec::new());
    for (p, partition) in map.partitions() {
        let lost = partition.isr.iter().all(|seat| {
            let node = map.node(seat.life.node);
            node.is_none_or(|node| node.registration.directory != seat.directory)
        });
        let whole = |node: u32| {
            let active = map.node(kvnode_core::NodeId(node)).is_some_and(|node| node.is_active());
            active && replicas.holds_committed(node, p)
        };
        let heir = partition.replicas.iter().find(|node| whole(node.0));
        if partition.leader.is_none()
            && lost
            && let Some(&heir) = heir
        {
            wanted.push(Request::ElectUnclean(p, heir));
        }
    }
    for request in wanted {
        mailboxes.post(controller, NodeEvent::Request(watch.operator(), request));
    }
}

/// A client reads every key, and writes with `write`; whether it could.
pub(super) async fn audit(world: &Arc<World>, nemesis: &Nemesis, write: bool) -> bool {
    let auditor = world.settings.clients + 1;
    let shared = Arc::clone(world);
    let audit = nemesis.client(auditor).spawn(async move {
        spawn_local(async move { tries(&mut Client::new(shared, auditor), write).await }).await
    });
    let served = matches!(audit.await, Ok(Ok(true)));
    if !served {
        let text =
            format!("not every key is served {} s after the end of all faults", AUDIT_TRIES / 2);
        world.violation("liveness", text);
    }
    served
}

async fn tries(client: &mut Client, write: bool) -> bool {
    for _ in 0..AUDIT_TRIES {
        if client.probe().await && client.audit(write).await {
            client.leave();
            return true;
        }
        sleep(Duration::from_millis(500)).await;
    }
    false
}

/// Every replica holds what the others do, but for those on a damaged disk: what nobody has read there yet
/// is as it is.
pub(super) fn compare(world: &World, nemesis: &Nemesis) {
    let found: Vec<_> = {
        let (watch, clock_ms) = (lock(&world.watch), world.latest_ms());
        let compared = watch.map().partitions().filter_map(|(p, held)| {
            let content = |node| Some((node, content(nemesis, node, p)?));
            let whole = held.replicas.iter().filter(|node| !world.is_damaged(node.0));
            let replicas: Option<Vec<_>> = whole.copied().map(content).collect();
            match replicas {
                Some(replicas) => contents::check(p, &replicas, clock_ms),
                None => Some(("replicas equal", format!("a replica of {p} lacks a file"))),
            }
        });
        compared.collect()
    };
    world.found(found);
}

fn content(
    nemesis: &Nemesis,
    node: kvnode_core::NodeId,
    partition: PartitionId,
) -> Option<storage::Content> {
    storage::content_of(&nemesis.image(node.0), partition)
}
