//! CLUSTER SLOTS, SHARDS, NODES and the like: the cluster map in the shapes that Redis Cluster gives
//! it, for clients that go straight to a leader.
//!
//! In Redis Cluster a node is a master or the replica of one master. Here it leads some partitions
//! and follows others, which SLOTS and SHARDS can tell, since they go by slots: the leader of a
//! partition is its master, the others in sync are its replicas. NODES goes by node: one that leads
//! anything is a master, with the slots that it leads; one that only follows is the replica of the
//! leader of most of what it follows; one that does neither is a master without slots. Whoever is
//! sent to the wrong node is answered all the same, or sent on, as that node is set.
//!
//! Where this node sends clients to the leader of their keys, SLOTS begins with one slot of each leader,
//! without replicas. For some clients (redis-py) a node is what it is first seen as, and they ask the
//! masters alone for what names no key, which each then answers for what it leads.
//!
//! A node's id is its number and its data directory's: another directory is another node, as in
//! Redis. A partition without a leader is missing from SLOTS, and its slots from NODES. What Redis
//! tells and nobody here knows is zero (when a ping was sent) or left out (buffers of links).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::fmt::Write;

use super::find::shown;
use super::number::integer;
use super::{Session, Stop, Txn};
use crate::args::Args;
use crate::cluster::{Map, Node, Partition};
use crate::control::View;
use crate::reply::Reply;
use crate::shard::Redirect;
use crate::slot::{self, SLOTS};
use crate::{DirectoryId, NodeId, Value};

pub(super) fn slots(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let redirect = txn.view().redirect();
    let map = &txn.view().cluster()?.map;
    let runs = match redirect {
        Redirect::Forward => runs(map),
        Redirect::Moved => leaders_first(runs(map)),
    };
    let range = |run: &Run| {
        let leader = run.leader?;
        let mut entry = vec![number(run.first), number(run.last)];
        let nodes = core::iter::once(leader).chain(run.replicas.iter().copied());
        entry.extend(nodes.filter_map(|id| map.node(id)).map(|node| {
            let (host, port) = node.registration.client_address();
            let id = text(&id_of(node));
            Reply::Array(vec![text(host), number(u32::from(port)), id, Reply::Array(vec![])])
        }));
        Some(Reply::Array(entry))
    };
    Ok(Reply::Array(runs.iter().filter_map(range).collect()))
}

/// Partitions with the same leader and the same others in sync are one shard.
pub(super) fn shards(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let map = &txn.view().cluster()?.map;
    let mut shards: BTreeMap<(Option<NodeId>, Vec<NodeId>), Vec<Reply>> = BTreeMap::new();
    for Run { first, last, leader, replicas } in runs(map) {
        let slots = shards.entry((leader, replicas)).or_default();
        slots.extend([number(first), number(last)]);
    }
    let member = |node: &Node, role: &str| {
        let (host, port) = node.registration.client_address();
        let health = if node.is_active() { "online" } else { "failed" };
        object(vec![
            ("id", text(&id_of(node))),
            ("port", number(u32::from(port))),
            ("ip", text(host)),
            ("endpoint", text(host)),
            ("role", text(role)),
            ("replication-offset", Reply::Int(0)),
            ("health", text(health)),
        ])
    };
    let shard = |((leader, replicas), slots): ((Option<NodeId>, Vec<NodeId>), Vec<Reply>)| {
        let leader = leader.map(|id| (id, "master"));
        let nodes = leader.into_iter().chain(replicas.into_iter().map(|id| (id, "replica")));
        let nodes = nodes.filter_map(|(id, role)| Some(member(map.node(id)?, role)));
        object(vec![("slots", Reply::Array(slots)), ("nodes", Reply::Array(nodes.collect()))])
    };
    Ok(Reply::Array(shards.into_iter().map(shard).collect()))
}

pub(super) fn nodes(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let seen = txn.view().cluster()?;
    let map = &seen.map;
    let mut all = String::new();
    for (id, node) in map.nodes() {
        let leads = map.partitions().any(|(_, p)| p.leader == Some(id));
        let master = if leads { None } else { main_leader(map, id) };
        all.push_str(&line(seen, node, master));
        all.push('\n');
    }
    Ok(Reply::Verbatim(all.into()))
}

/// Those who are in sync in any partition that the node leads.
pub(super) fn replicas(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let seen = txn.view().cluster()?;
    let map = &seen.map;
    let named = map.nodes().find(|(_, node)| id_of(node).as_bytes().eq_ignore_ascii_case(args[2]));
    let Some((master, _)) = named else {
        return Err(Stop::Error(Reply::error_owned(format!(
            "ERR Unknown node {}",
            shown(args[2])
        ))));
    };
    let mut led = map.partitions().filter(|(_, p)| p.leader == Some(master)).peekable();
    if led.peek().is_none() {
        return Err(Stop::error("ERR The specified node is not a master"));
    }
    let others: BTreeSet<NodeId> = led.flat_map(|(_, p)| others_in_sync(p)).collect();
    let others = others.into_iter().filter_map(|id| map.node(id));
    Ok(Reply::Array(others.map(|node| text(&line(seen, node, Some(master)))).collect()))
}

pub(super) fn myid(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let me = txn.view().cluster()?.me;
    Ok(text(&id(me.node, me.directory)))
}

/// The shard that a node leads goes by the node's id.
pub(super) fn myshardid(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    myid(args, txn)
}

/// One link to a node carries both directions.
pub(super) fn links(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let linked = txn.view().linked();
    let map = &txn.view().cluster()?.map;
    let ways = |node: &Node| {
        let way = |way| object(vec![("direction", text(way)), ("node", text(&id_of(node)))]);
        [way("to"), way("from")]
    };
    let nodes = linked.into_iter().filter_map(|id| map.node(id));
    Ok(Reply::Array(nodes.flat_map(ways).collect()))
}

/// Looks at every key of the slot's partition.
pub(super) fn countkeysinslot(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    txn.view().cluster()?;
    let wanted = in_range(integer(args[2])?).ok_or(Stop::error("ERR Invalid slot"))?;
    let mut count = 0;
    txn.for_each_key(b"", &mut |key| count += i64::from(slot::slot(key) == wanted))?;
    Ok(Reply::Int(count))
}

/// The same; the keys come in no order, as in Redis.
pub(super) fn getkeysinslot(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    txn.view().cluster()?;
    let (wanted, most) = (in_range(integer(args[2])?), usize::try_from(integer(args[3])?));
    let (Some(wanted), Ok(most)) = (wanted, most) else {
        return Err(Stop::error("ERR Invalid slot or number of keys"));
    };
    let mut keys = Vec::new();
    txn.for_each_key(b"", &mut |key| {
        if keys.len() < most && slot::slot(key) == wanted {
            keys.push(Reply::Bulk(Value::copy_from(key)));
        }
    })?;
    Ok(Reply::Array(keys))
}

/// Nothing is ever on its way from one node to another, so that there is nothing to ask for.
pub(super) fn asking(_: Args<'_>, _: &mut Session, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    txn.view().cluster()?;
    Ok(Reply::OK)
}

/// The slot that a command about a slot names, if it is one.
pub(crate) fn named_slot(args: Args<'_>) -> Option<u32> {
    integer(args.get(2)?).ok().and_then(in_range)
}

fn in_range(slot: i64) -> Option<u32> {
    u32::try_from(slot).ok().filter(|&slot| slot < SLOTS)
}

/// A run of slots whose partitions have the same leader and others in sync.
struct Run {
    first: u32,
    last: u32,
    leader: Option<NodeId>,
    replicas: Vec<NodeId>,
}

/// All slots in order.
fn runs(map: &Map) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (_, partition) in map.partitions() {
        let (leader, replicas) = (partition.leader, others_in_sync(partition).collect());
        match runs.last_mut() {
            Some(run) if run.leader == leader && run.replicas == replicas => {
                run.last = partition.slots.last;
            }
            Some(_) | None => {
                let slots = partition.slots;
                runs.push(Run { first: slots.first, last: slots.last, leader, replicas });
            }
        }
    }
    runs
}

/// The same slots, those first that are the first of their leader's.
fn leaders_first(mut runs: Vec<Run>) -> Vec<Run> {
    let mut leaders = BTreeSet::new();
    let mut all = Vec::new();
    for run in runs.iter_mut().filter(|run| leaders.insert(run.leader)) {
        let first = run.first;
        all.push(Run { first, last: first, leader: run.leader, replicas: Vec::new() });
        run.first += 1;
    }
    all.extend(runs.into_iter().filter(|run| run.first <= run.last));
    all
}

fn others_in_sync(partition: &Partition) -> impl Iterator<Item = NodeId> {
    let nodes = partition.isr.iter().map(|seat| seat.life.node);
    nodes.filter(|&node| partition.leader != Some(node))
}

/// Who leads most of what the node follows.
fn main_leader(map: &Map, node: NodeId) -> Option<NodeId> {
    let mut led: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (_, partition) in map.partitions().filter(|(_, p)| p.replicas.contains(&node)) {
        if let Some(leader) = partition.leader {
            *led.entry(leader).or_default() += 1;
        }
    }
    // The first of those who lead as many.
    led.into_iter().rev().max_by_key(|&(_, count)| count).map(|(leader, _)| leader)
}

/// A node's line in NODES, as a master or as this one's replica.
fn line(seen: &View, node: &Node, master: Option<NodeId>) -> String {
    let map = &seen.map;
    let id = node.registration.node;
    let (host, port) = node.registration.client_address();
    let (_, bus) = node.registration.peer_address();
    let me = if id == seen.me.node { "myself," } else { "" };
    let role = if master.is_some() { "slave" } else { "master" };
    let (fail, link) = if node.is_active() { ("", "connected") } else { (",fail", "disconnected") };
    let master_id = master.and_then(|id| map.node(id)).map_or(String::from("-"), id_of);
    let led = || map.partitions().filter(|(_, p)| p.leader == Some(id)).map(|(_, p)| p);
    let epoch = led().map(|p| p.epoch.0).max().unwrap_or(0);
    let mut text = format!(
        "{} {host}:{port}@{bus} {me}{role}{fail} {master_id} 0 0 {epoch} {link}",
        id_of(node)
    );
    if master.is_none() {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for slots in led().map(|p| p.slots) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == slots.first => *last = slots.last,
                Some(_) | None => ranges.push((slots.first, slots.last)),
            }
        }
        for (first, last) in ranges {
            match first == last {
                true => write!(text, " {first}"),
                false => write!(text, " {first}-{last}"),
            }
            .expect("a String takes all");
        }
    }
    text
}

fn id_of(node: &Node) -> String {
    id(node.registration.node, node.registration.directory)
}

/// 40 hexadecimal digits, as clients expect.
fn id(node: NodeId, directory: DirectoryId) -> String {
    format!("{:08x}{:032x}", node.0, directory.0)
}

fn object(fields: Vec<(&str, Reply)>) -> Reply {
    Reply::Map(fields.into_iter().map(|(name, value)| (text(name), value)).collect())
}

fn text(value: &str) -> Reply {
    Reply::bulk(value.as_bytes())
}

fn number(n: u32) -> Reply {
    Reply::Int(i64::from(n))
}
