//! A cluster of kvnode processes.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use serde_json::Value;

use super::{Node, NodeBuilder, Signal, wait_until};

/// Some nodes of one cluster on loopback.
pub(crate) struct Cluster {
    pub(crate) list: String,
    pub(crate) builders: Vec<NodeBuilder>,
    pub(crate) nodes: Vec<Option<Node>>,
}

/// Ports that nobody listens on, from below those that the system gives to connections: one that a
/// connection has taken meanwhile can not be listened on.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    const PORTS: std::ops::Range<u32> = 10_000..30_000;
    static TRIED: AtomicU32 = AtomicU32::new(0);
    // Processes that run side by side begin at different places.
    let first = std::process::id().wrapping_mul(97);
    let next = || {
        let at = first.wrapping_add(TRIED.fetch_add(1, Relaxed)) % PORTS.len() as u32;
        u16::try_from(PORTS.start + at).expect("a port")
    };
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    std::iter::repeat_with(next).filter(free).take(count).collect()
}

impl Cluster {
    /// Of `count` nodes, which are not started yet.
    pub(crate) fn new(count: usize, more: &[&str]) -> Self {
        let ports = free_ports(count);
        let entry = |(at, port): (usize, &u16)| format!("{}@127.0.0.1:{port}", at + 1);
        let list = ports.iter().enumerate().map(entry).collect::<Vec<_>>().join(",");
        let builders = (1..=count).map(|id| builder(id, &list, more)).collect();
        Self { list, builders, nodes: (0..count).map(|_| None).collect() }
    }

    pub(crate) fn started(count: usize, more: &[&str]) -> Self {
        let mut cluster = Self::new(count, more);
        (1..=count).for_each(|id| cluster.start(id));
        cluster
    }

    pub(crate) fn start(&mut self, id: usize) {
        self.nodes[id - 1] = Some(self.builders[id - 1].start());
    }

    pub(crate) fn kill(&mut self, id: usize) {
        self.nodes[id - 1].take().expect("it runs").end(Signal::Kill);
    }

    /// All of them at once: none that still lives can act on the death of another.
    pub(crate) fn kill_together(&mut self, ids: &[usize]) {
        for id in ids {
            self.node(*id).signal(Signal::Kill);
        }
        ids.iter().for_each(|id| self.kill(*id));
    }

    /// One that runs.
    pub(crate) fn node(&self, id: usize) -> &Node {
        self.nodes[id - 1].as_ref().expect("it runs")
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    /// What the nodes that run say, once they agree that all of them, and no other, are active, and
    /// that every partition is led by one of them with all that can be in sync.
    pub(crate) fn whole(&self) -> Value {
        let running: Vec<u64> =
            (1..).zip(&self.nodes).filter_map(|(id, node)| node.as_ref().map(|_| id)).collect();
        wait_until("every node that runs to be active", || {
            let all: Vec<Value> = self.live().map(status).collect();
            let first = all.first()?;
            let agreed = all.iter().all(|said| {
                ["controller", "term", "nodes", "partitions"].iter().all(|f| said[f] == first[f])
            });
            let ids = |all: &Value, is: &dyn Fn(&Value) -> bool| -> Vec<u64> {
                let all = all.as_array().expect("a list").iter();
                all.filter(|entry| is(entry)).filter_map(|entry| entry["id"].as_u64()).collect()
            };
            let active = ids(&first["nodes"], &|node| node["session"] == "active");
            let partitions = first["partitions"].as_array()?;
            let led = partitions.iter().all(|partition| {
                let leader = partition["leader"].as_u64();
                let isr = self::ids(&partition["isr"]);
                let replicas = self::ids(&partition["replicas"]);
                let mut able = replicas.iter().filter(|id| running.contains(id));
                leader.is_some_and(|leader| running.contains(&leader))
                    && able.all(|id| isr.contains(id))
            });
            let controlled = first["controller"].as_u64().is_some_and(|c| running.contains(&c));
            (agreed && controlled && active == running && led && !partitions.is_empty())
                .then(|| first.clone())
        })
    }
}

pub(crate) fn builder(id: usize, list: &str, more: &[&str]) -> NodeBuilder {
    let id = id.to_string();
    NodeBuilder::new().options(["--id", &id, "--cluster", list]).options(more.iter().copied())
}

/// What `kvnode status --json` says of a node, once that knows anything.
pub(crate) fn status(node: &Node) -> Value {
    wait_until("the node to know its directory", || {
        let output = ask(node, &["--json"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || said.contains("only just starting"), "{said}");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    })
}

pub(crate) fn ask(node: &Node, more: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_kvnode"))
        .args(["status", "-p", &node.addr().port().to_string()])
        .args(more)
        .output()
        .expect("kvnode starts")
}

pub(crate) fn ids(of: &Value) -> Vec<u64> {
    of.as_array().expect("a list").iter().filter_map(Value::as_u64).collect()
}
