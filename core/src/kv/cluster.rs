//! CLUSTER: the cluster as this node sees it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use core::fmt::{Display, Write};

use super::{Stop, Txn};
use crate::args::Args;
use crate::cluster::standstill;
use crate::cluster::view::{self, Quorum};
use crate::cluster::{Life, Standing};
use crate::control::View;
use crate::election::Role;
use crate::reply::Reply;
use crate::slot::{self, SLOTS};
use crate::{Member, NodeId, PartitionId};

pub(super) fn keyslot(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    txn.view().cluster()?;
    Ok(Reply::Int(i64::from(slot::slot(args[2]))))
}

/// The fields of Redis that clients look at, with what is true of this cluster.
pub(super) fn info(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let seen = txn.view().cluster()?;
    let map = &seen.map;
    // Without a controller nobody replaces who is not reached.
    let headless = seen.headless().is_some();
    let reaches = |node: NodeId| !headless || seen.quorum.reached.contains(&node);
    let is_served = |partition: &crate::cluster::Partition| {
        partition.leader.is_some_and(reaches)
            && (!headless || standstill::missing(partition, reaches).next().is_none())
    };
    let size = |p: &crate::cluster::Partition| p.slots.last - p.slots.first + 1;
    let assigned: u32 = map.partitions().map(|(_, p)| size(p)).sum();
    let ok: u32 = map.partitions().filter(|(_, p)| is_served(p)).map(|(_, p)| size(p)).sum();
    let epoch = map.partitions().map(|(_, p)| p.epoch.0).max().unwrap_or(0);
    let mine = |p: &crate::cluster::Partition| p.leader == Some(seen.me.node);
    let my_epoch = map.partitions().filter(|(_, p)| mine(p)).map(|(_, p)| p.epoch.0).max();
    let mut leaders: Vec<NodeId> = map.partitions().filter_map(|(_, p)| p.leader).collect();
    leaders.sort_unstable();
    leaders.dedup();
    let fields: [(&str, &dyn Display); 11] = [
        ("cluster_enabled", &1),
        ("cluster_state", &if ok == SLOTS { "ok" } else { "fail" }),
        ("cluster_slots_assigned", &assigned),
        ("cluster_slots_ok", &ok),
        ("cluster_slots_pfail", &0),
        ("cluster_slots_fail", &(assigned - ok)),
        ("cluster_known_nodes", &map.nodes().count()),
        ("cluster_size", &leaders.len()),
        ("cluster_current_epoch", &epoch),
        ("cluster_my_epoch", &my_epoch.unwrap_or(0)),
        ("cluster_controller", &Node(seen.quorum.controller)),
    ];
    let mut text = String::new();
    for (name, value) in fields {
        write!(text, "{name}:{value}\r\n").expect("a String takes all");
    }
    Ok(Reply::Verbatim(text.into()))
}

/// Everything that `kvnode status` shows.
pub(super) fn status(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(describe(txn.view().cluster()?))
}

fn describe(seen: &View) -> Reply {
    let View { me, cluster, missing, quorum, life, unsynced: _, uncleans: _, settles: _, map } =
        seen;
    let founding = map.founding();
    let setting = |of: fn(&crate::cluster::Founding) -> u32| {
        founding.map_or(Reply::Null, |founding| Reply::Int(i64::from(of(founding))))
    };
    object(vec![
        ("cluster", cluster.map_or(Reply::Null, |id| text(&id))),
        ("node", number(u64::from(me.node.0))),
        ("directory", text(&me.directory)),
        ("incarnation", life.map_or(Reply::Null, |life| number(life.incarnation.0))),
        ("waits_for", Reply::Array(missing.iter().map(|n| number(u64::from(n.0))).collect())),
        ("summary", text(&summary(seen))),
        ("controller", node(quorum.controller)),
        ("term", number(quorum.term.0)),
        ("role", text(&role(quorum.role))),
        ("reached", ids(quorum.reached.iter().copied())),
        ("applied", number(quorum.applied.0)),
        ("voters", Reply::Array(quorum.voters.iter().map(voter).collect())),
        ("partitions_max", setting(|f| f.partitions)),
        ("replication_factor", setting(|f| f.replication_factor)),
        ("min_isr", setting(|f| f.min_isr)),
        ("feature_level", number(u64::from(map.level()))),
        ("nodes", Reply::Array(map.nodes().map(|(_, n)| node_entry(n)).collect())),
        ("partitions", Reply::Array(map.partitions().map(|(id, _)| partition(seen, id)).collect())),
    ])
}

/// The state of the cluster in one line.
pub fn summary(seen: &View) -> String {
    let View { missing, quorum, map, .. } = seen;
    if seen.cluster.is_none() {
        let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
        return match &missing[..] {
            [] => String::from("no cluster yet: it is being founded"),
            _ => format!("no cluster yet: waits for {} to start", missing.join(", ")),
        };
    }
    if let Some(voters) = seen.headless() {
        let reaches = |node| quorum.reached.contains(&node);
        return standstill::standstill(map, voters, reaches).to_string();
    }
    let active = |voter: &Member| map.node(voter.node).is_some_and(|node| node.is_active());
    let alive = match &quorum.heard {
        Some(heard) => heard.len(),
        None => quorum.voters.iter().filter(active).count(),
    };
    view::summary(map, Quorum { voters: quorum.voters.len(), alive }).to_string()
}

fn node_entry(node: &crate::cluster::Node) -> Reply {
    let said = &node.registration;
    object(vec![
        ("id", number(u64::from(said.node.0))),
        ("session", text(&standing(node.standing))),
        ("incarnation", number(node.incarnation.0)),
        ("peer", text(&said.peer)),
        ("client", text(&said.client)),
        ("rack", said.rack.as_ref().map_or(Reply::Null, text)),
        ("version", text(&said.version)),
        ("directory", text(&said.directory)),
    ])
}

fn partition(seen: &View, id: PartitionId) -> Reply {
    let View { quorum, map, .. } = seen;
    let entry = map.partition(id).expect("it is of this map");
    let survival = view::survival(map, entry);
    // Without a controller nobody is elected in a leader's place, and nobody leaves the set.
    let headless = seen.headless().is_some();
    let optional =
        |n: Option<usize>| n.filter(|_| !headless).map_or(Reply::Null, |n| number(n as u64));
    let missing = standstill::missing(entry, |node| quorum.reached.contains(&node));
    object(vec![
        ("id", number(u64::from(id.0))),
        ("slots", text(&entry.slots)),
        ("leader", self::node(entry.leader)),
        ("epoch", number(u64::from(entry.epoch.0))),
        ("partition_epoch", number(entry.partition_epoch.0)),
        ("replicas", ids(entry.replicas.iter().copied())),
        ("isr", ids(entry.isr.iter().map(|seat| seat.life).map(|life: Life| life.node))),
        ("waits_for", ids(missing.filter(|_| headless))),
        ("survives", optional(survival.failures)),
        ("writes_survive", optional(survival.writes)),
        ("writes_may_be_missing", Reply::Int(i64::from(entry.doubt.is_some()))),
    ])
}

fn voter(voter: Member) -> Reply {
    object(vec![("id", number(u64::from(voter.node.0))), ("directory", text(&voter.directory))])
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Fenced => "fenced",
        Standing::Active => "active",
    }
}

fn object(fields: Vec<(&str, Reply)>) -> Reply {
    Reply::Map(
        fields.into_iter().map(|(name, value)| (Reply::bulk(name.as_bytes()), value)).collect(),
    )
}

fn text(value: &impl Display) -> Reply {
    Reply::bulk(value.to_string().as_bytes())
}

fn number(n: u64) -> Reply {
    Reply::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn node(node: Option<NodeId>) -> Reply {
    node.map_or(Reply::Null, |node| number(u64::from(node.0)))
}

fn ids(nodes: impl Iterator<Item = NodeId>) -> Reply {
    Reply::Array(nodes.map(|node| number(u64::from(node.0))).collect())
}

/// A node or none, for texts.
struct Node(Option<NodeId>);

impl Display for Node {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(node) => write!(f, "{}", node.0),
            None => f.write_str("none"),
        }
    }
}
