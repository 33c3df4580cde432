//! Three processes that make a cluster, with a [`Wire`] between them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::{Endpoint, Node, NodeBuilder, Rng, Signal, wait_until};
use crate::wire::Wire;

/// Nodes of the cluster; each has a replica of everything.
pub(crate) const NODES: usize = 3;

/// Partitions of the cluster.
pub(crate) const PARTITIONS: u32 = 4;

/// Below the ports that the system gives to connections: a node that comes back finds its own.
const PORTS: std::ops::Range<u64> = 12_000..32_000;

pub(crate) struct Cluster {
    pub(crate) wire: Wire,
    builders: Vec<NodeBuilder>,
    nodes: Vec<Option<Node>>,
    addresses: Vec<SocketAddr>,
    /// What each said in the lives before the present one.
    logs: Vec<String>,
}

impl Cluster {
    /// Founds a cluster.
    pub(crate) fn found(rng: &mut Rng) -> Self {
        let ports = free_ports(2 * NODES, rng);
        let (peers, addresses) = ports.split_at(NODES);
        let wire = Wire::new(peers);
        let builders = (1..=NODES).map(|id| {
            let entry = |to: usize| {
                let at = if to == id { peers[id - 1] } else { wire.address(id, to) };
                format!("{to}@{at}")
            };
            let list = (1..=NODES).map(entry).collect::<Vec<_>>().join(",");
            let partitions = PARTITIONS.to_string();
            NodeBuilder::new()
                .listen(addresses[id - 1])
                .options(["--id", &id.to_string(), "--cluster", &list])
                .options(["--peer-listen", &peers[id - 1].to_string()])
                // Small segments, so that a node that was away also reads what was compacted.
                .options(["--partitions", &partitions, "--segment", "256kb"])
        });
        let builders = builders.collect();
        let nodes = (0..NODES).map(|_| None).collect();
        let logs = vec![String::new(); NODES];
        let mut cluster = Self { wire, builders, nodes, addresses: addresses.to_vec(), logs };
        (1..=NODES).for_each(|id| cluster.start(id));
        cluster.whole();
        cluster
    }

    pub(crate) fn start(&mut self, id: usize) {
        self.nodes[id - 1] = Some(self.builders[id - 1].start());
    }

    /// Ends a node by a signal and keeps its log. SIGTERM must give 0.
    pub(crate) fn end(&mut self, id: usize, signal: Signal) {
        let (builder, status) = self.nodes[id - 1].take().expect("it runs").end(signal);
        self.logs[id - 1] += &format!("{}--- ended: {status}\n", builder.log());
        if matches!(signal, Signal::Term) {
            assert_eq!(status.code(), Some(0), "n{id} did not stop well");
        }
    }

    pub(crate) fn signal(&self, id: usize, signal: Signal) {
        self.nodes[id - 1].as_ref().expect("it runs").signal(signal);
    }

    /// Where clients reach it.
    pub(crate) fn endpoint(&self, id: usize) -> Endpoint {
        Endpoint::Tcp(self.addresses[id - 1])
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        (1..=NODES).map(|id| self.endpoint(id)).collect()
    }

    /// Who leads a partition, of which all replicas are in sync.
    pub(crate) fn leader(&self, partition: usize) -> usize {
        let said = self.whole();
        let leader = said["partitions"][partition]["leader"].as_u64();
        usize::try_from(leader.expect("it is led")).expect("ids are small")
    }

    /// Who leads a partition, as one node sees it.
    pub(crate) fn leader_for(&self, id: usize, partition: usize) -> Option<usize> {
        let leader = self.status(id)?["partitions"][partition]["leader"].as_u64()?;
        usize::try_from(leader).ok()
    }

    /// Empties the directory of a node that does not run.
    pub(crate) fn wipe(&self, id: usize) {
        let data = self.builders[id - 1].data();
        std::fs::remove_dir_all(data).expect("it has a directory");
    }

    /// What every node says, once they agree: all are active, every partition is led and has all
    /// its replicas in sync, and all vote.
    pub(crate) fn whole(&self) -> Value {
        wait_until("all replicas to be in sync", || {
            let all: Option<Vec<Value>> = (1..=NODES).map(|id| self.status(id)).collect();
            let all = all?;
            let first = all.first()?;
            let agreed = all.iter().all(|said| {
                let fields = ["controller", "term", "voters", "nodes", "partitions"];
                fields.iter().all(|field| said[field] == first[field])
            });
            let nodes = first["nodes"].as_array()?;
            // Until it registers, a node that came back is seen as it was before.
            let lives = all.iter().all(|said| {
                let its = nodes.iter().find(|node| node["id"] == said["node"]);
                its.is_some_and(|node| node["incarnation"] == said["incarnation"])
            });
            // A node that came back with nothing votes again once it has the log, by its new
            // directory; until then the quorum can do without no other.
            let voters = first["voters"].as_array()?;
            let votes = |node: &Value| {
                let is = |voter: &Value| {
                    ["id", "directory"].iter().all(|field| voter[field] == node[field])
                };
                voters.iter().any(is)
            };
            let voting = voters.len() == NODES && nodes.iter().all(votes);
            let active = nodes.iter().filter(|node| node["session"] == "active").count();
            let partitions = first["partitions"].as_array()?;
            let synced = partitions.iter().all(|partition| {
                partition["leader"].is_u64()
                    && partition["isr"].as_array().is_some_and(|isr| isr.len() == NODES)
            });
            let whole = agreed && lives && active == NODES && voting && synced;
            (whole && partitions.len() == PARTITIONS as usize).then(|| first.clone())
        })
    }

    /// Stops all nodes and has their directories checked.
    pub(crate) fn check(&mut self) {
        for id in 1..=NODES {
            self.end(id, Signal::Term);
        }
        for builder in &self.builders {
            let output = kvnode(&["check", &builder.data().display().to_string()]);
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{}: {said}", builder.data().display());
        }
    }

    /// Writes down what the nodes have said.
    pub(crate) fn keep_logs(&self, dir: &Path) {
        for (id, builder) in (1..).zip(&self.builders) {
            let runs = self.nodes[id - 1].is_some();
            let now = if runs { builder.log() } else { String::new() };
            let text = self.logs[id - 1].clone() + &now;
            std::fs::write(dir.join(format!("n{id}.log")), text).expect("the log is written");
            if runs && let Some(status) = self.status(id) {
                let text = format!("{status:#}");
                std::fs::write(dir.join(format!("n{id}.status")), text).expect("it is written");
            }
        }
    }

    fn status(&self, id: usize) -> Option<Value> {
        let port = self.addresses[id - 1].port().to_string();
        let output = kvnode(&["status", "--json", "-p", &port]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }
}

fn kvnode(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_kvnode")).args(args).output().expect("kvnode starts")
}

fn free_ports(count: usize, rng: &mut Rng) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    while found.len() < count {
        let port = PORTS.start + rng.below(PORTS.end - PORTS.start);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16));
        if !found.contains(&address) && TcpListener::bind(address).is_ok() {
            found.push(address);
        }
    }
    found
}
