//! The options of `kvnode run` that make the node one of a cluster.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use kvnode_core::NodeId;
use kvnode_core::control::{FoundingOptions, Stated};
use kvnode_core::limits::{NODES_MAX, PARTITIONS_MAX, REPLICAS_MAX};
use kvnode_core::replication;
use kvnode_core::shard::Redirect;
use kvnode_io::ClusterOptions;

/// Partitions of a cluster, if not said.
const PARTITIONS: u32 = 16;

/// How long a preferred leader is well before it leads again, in seconds.
const BALANCE_AFTER_S: u64 = 30;

#[derive(clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct Membership {
    /// This node's number in the cluster; needs --cluster
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    id: Option<u32>,

    /// Every node of the cluster, this one included, and where the others reach it. The lowest one,
    /// three or five ids vote
    #[arg(long, value_name = "ID@HOST:PORT,…")]
    cluster: Option<String>,

    /// Address to listen for the other nodes on, if it is not this node's in --cluster
    #[arg(long, value_name = "ADDR:PORT")]
    peer_listen: Option<SocketAddr>,

    /// Replicas of each partition; taken by the first boot. 3 if not said, or as many as there are
    /// nodes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    replication_factor: Option<u32>,

    /// In-sync replicas below which a partition takes no writes; taken by the first boot. A majority
    /// if not said, 1 of two
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    min_isr: Option<u32>,

    /// How a leader makes sure that it still leads before it answers a read: by promises of its
    /// followers, which trusts clocks to run alike within a hundredth (not to be set alike), or by
    /// asking them each time. The same on every node
    #[arg(long, value_name = "MODE", value_enum, default_value_t = ReadMode::Lease)]
    read_mode: ReadMode,

    /// What a command gets whose keys another node leads: that node's answer (forward), or where to
    /// ask (moved), as in Redis Cluster, so that its clients learn of new leaders and DBSIZE, KEYS
    /// and SCAN are about what the asked node leads. Keys are then to be of one slot
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Redirection::Forward)]
    redirect: Redirection,

    /// Milliseconds after which a follower that has not caught up leaves the in-sync set
    #[arg(long, value_name = "MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(500..=600_000))]
    replica_lag_max: u64,

    /// Seconds for which the first of a partition's replicas, its preferred leader, is in sync and
    /// well before it leads again; 0: never. The same on every node
    #[arg(long, value_name = "S", default_value_t = BALANCE_AFTER_S, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    balance_after: u64,

    /// What fails together with this node: replicas are spread over racks
    #[arg(long, value_name = "NAME")]
    rack: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ReadMode {
    Lease,
    Confirm,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Redirection {
    Forward,
    Moved,
}

impl Membership {
    fn replication(&self) -> replication::Settings {
        replication::Settings {
            reads: match self.read_mode {
                ReadMode::Lease => replication::ReadMode::Lease,
                ReadMode::Confirm => replication::ReadMode::Confirm,
            },
            replica_lag_max: Duration::from_millis(self.replica_lag_max),
            ..replication::Settings::default()
        }
    }

    /// The node's place in a cluster, if it is to have one; else what is wrong.
    pub(super) fn options(self, partitions: Option<u32>) -> Result<Option<ClusterOptions>, String> {
        let (id, cluster) = match (self.id, &self.cluster) {
            (Some(id), Some(cluster)) => (id, cluster),
            (Some(_), None) => {
                return Err("--id is a node's number in a cluster: name its nodes with --cluster \
                            1@host:port,2@host:port,3@host:port, or leave --id out"
                    .into());
            }
            (None, Some(_)) => {
                return Err("--cluster needs --id: which of its nodes is this one?".into());
            }
            (None, None) => return self.without_cluster(),
        };
        let nodes = parse(cluster)?;
        let node = NodeId(id);
        if !nodes.iter().any(|(listed, _)| *listed == node) {
            let ids: Vec<String> = nodes.iter().map(|(node, _)| node.0.to_string()).collect();
            return Err(format!(
                "--id {id} is not in --cluster, which has {}: add it as {id}@host:port, the same \
                 on every node",
                ids.join(", ")
            ));
        }
        let count = u32::try_from(nodes.len()).expect("parse bounds it");
        let replication_factor = self.replication_factor.unwrap_or(count.min(3));
        if replication_factor > count {
            return Err(format!(
                "--replication-factor {replication_factor} needs as many nodes, and --cluster has \
                 {count}"
            ));
        }
        if replication_factor as usize > REPLICAS_MAX {
            return Err(format!(
                "--replication-factor {replication_factor} is too many: a partition has at most \
                 {REPLICAS_MAX} replicas"
            ));
        }
        let majority = if replication_factor > 2 { replication_factor / 2 + 1 } else { 1 };
        let min_isr = self.min_isr.unwrap_or(majority);
        if min_isr > replication_factor {
            return Err(format!(
                "--min-isr {min_isr} is more than --replication-factor {replication_factor}: no \
                 write would ever be taken"
            ));
        }
        let stated = Stated {
            partitions,
            replication_factor: self.replication_factor,
            min_isr: self.min_isr,
        };
        let partitions = partitions.unwrap_or(PARTITIONS);
        let replication = self.replication();
        let redirect = match self.redirect {
            Redirection::Forward => Redirect::Forward,
            Redirection::Moved => Redirect::Moved,
        };
        Ok(Some(ClusterOptions {
            node,
            nodes,
            peer_listen: self.peer_listen,
            rack: self.rack,
            founding: FoundingOptions { partitions, replication_factor, min_isr },
            stated,
            replication,
            balance_after: (self.balance_after > 0)
                .then(|| Duration::from_secs(self.balance_after)),
            redirect,
        }))
    }

    fn without_cluster(self) -> Result<Option<ClusterOptions>, String> {
        let given = [
            ("--peer-listen", self.peer_listen.is_some()),
            ("--replication-factor", self.replication_factor.is_some()),
            ("--min-isr", self.min_isr.is_some()),
            ("--rack", self.rack.is_some()),
            ("--read-mode", self.read_mode != ReadMode::Lease),
            ("--redirect", self.redirect != Redirection::Forward),
            ("--balance-after", self.balance_after != BALANCE_AFTER_S),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((name, _)) => {
                Err(format!("{name} is for a node of a cluster: it needs --cluster"))
            }
            None => Ok(None),
        }
    }
}

fn parse(list: &str) -> Result<Vec<(NodeId, String)>, String> {
    let mut seen = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    let mut nodes = Vec::new();
    for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let wrong = || format!("{entry:?} in --cluster is no ID@HOST:PORT, as in 1@10.0.0.1:7001");
        let (id, address) = entry.split_once('@').ok_or_else(wrong)?;
        let id: u32 = id.parse().ok().filter(|&id| id > 0).ok_or_else(wrong)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if host.is_empty() || port == 0 {
            return Err(wrong());
        }
        if !seen.insert(id) {
            return Err(format!(
                "--cluster names node {id} twice: every node has an id of its own"
            ));
        }
        if !addresses.insert(address.to_owned()) {
            return Err(format!("--cluster gives {address} to two nodes"));
        }
        nodes.push((NodeId(id), address.to_owned()));
    }
    if nodes.is_empty() {
        return Err("--cluster names no node: 1@host:port,2@host:port,3@host:port".into());
    }
    if nodes.len() > NODES_MAX {
        return Err(format!("--cluster names {} nodes, at most {NODES_MAX} can be", nodes.len()));
    }
    nodes.sort();
    Ok(nodes)
}

const _: () = assert!(PARTITIONS <= PARTITIONS_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn args(id: Option<u32>, cluster: Option<&str>) -> Membership {
        Membership {
            id,
            cluster: cluster.map(str::to_owned),
            peer_listen: None,
            replication_factor: None,
            min_isr: None,
            read_mode: ReadMode::Lease,
            redirect: Redirection::Forward,
            replica_lag_max: 2_000,
            balance_after: BALANCE_AFTER_S,
            rack: None,
        }
    }

    #[test]
    fn the_defaults_fit_the_number_of_nodes() {
        for (list, factor, min) in
            [("1@a:1", 1, 1), ("1@a:1,2@b:1", 2, 1), ("1@a:1,2@b:1,3@c:1,4@d:1", 3, 2)]
        {
            let options = args(Some(1), Some(list)).options(None).unwrap().unwrap();
            assert_eq!(options.founding.replication_factor, factor, "{list}");
            assert_eq!(options.founding.min_isr, min, "{list}");
            assert_eq!(options.founding.partitions, PARTITIONS);
        }
    }

    #[test]
    fn a_wrong_list_is_told_what_is_wrong_with_it() {
        for (list, what) in [
            ("", "names no node"),
            ("1", "is no ID@HOST:PORT"),
            ("1@a", "is no ID@HOST:PORT"),
            ("1@:7", "is no ID@HOST:PORT"),
            ("0@a:7", "is no ID@HOST:PORT"),
            ("1@a:0", "is no ID@HOST:PORT"),
            ("1@a:70000", "is no ID@HOST:PORT"),
            ("1@a:1,1@b:1", "names node 1 twice"),
            ("1@a:1,2@a:1", "to two nodes"),
            ("2@a:1,3@b:1", "--id 1 is not in --cluster"),
        ] {
            let error = args(Some(1), Some(list)).options(None).unwrap_err();
            assert!(error.contains(what), "{list}: {error}");
        }
    }

    #[test]
    fn options_of_a_cluster_need_one() {
        assert_eq!(args(None, None).options(None), Ok(None));
        assert!(args(Some(1), None).options(None).unwrap_err().contains("--cluster"));
        assert!(args(None, Some("1@a:1")).options(None).unwrap_err().contains("--id"));
        let rack = Membership { rack: Some("r".into()), ..args(None, None) };
        assert!(rack.options(None).unwrap_err().contains("--rack"));
        let moved = Membership { redirect: Redirection::Moved, ..args(None, None) };
        assert!(moved.options(None).unwrap_err().contains("--redirect"));
        let factor = Membership { replication_factor: Some(2), ..args(Some(1), Some("1@a:1")) };
        assert!(factor.options(None).unwrap_err().contains("as many nodes"));
        let min = Membership { min_isr: Some(2), ..args(Some(1), Some("1@a:1")) };
        assert!(min.options(None).unwrap_err().contains("--min-isr"));
    }
}
