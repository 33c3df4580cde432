//! What a client talks to, and what is killed under it.

use std::net::Ipv4Addr;

use crate::common::cluster::{Cluster, free_ports};
use crate::common::{Frame, Node, NodeBuilder, Signal};

/// A node alone, or three.
pub(crate) enum Servers {
    /// It comes back when it is killed.
    Alone(Option<Node>),
    /// A cluster, of which one can be killed.
    Three(Cluster),
}

impl Servers {
    /// A node alone.
    pub(crate) fn alone() -> Self {
        let addr = (Ipv4Addr::LOCALHOST, free_ports(1)[0]).into();
        Self::Alone(Some(NodeBuilder::new().listen(addr).start()))
    }

    /// Three nodes of which any answers.
    pub(crate) fn forwarding() -> Self {
        Self::three("forward")
    }

    /// Three nodes that send clients to the leaders of their keys.
    pub(crate) fn redirecting() -> Self {
        Self::three("moved")
    }

    fn three(redirect: &str) -> Self {
        let cluster = Cluster::started(3, &["--partitions", "8", "--redirect", redirect]);
        cluster.whole();
        Self::Three(cluster)
    }

    /// What the scripts call it.
    pub(crate) fn mode(&self) -> &'static str {
        match self {
            Self::Alone(_) => "single",
            Self::Three(_) => "cluster",
        }
    }

    /// Where the nodes that run take clients, as `host:port`.
    pub(crate) fn addresses(&self) -> Vec<String> {
        match self {
            Self::Alone(node) => node.iter().map(|node| node.addr().to_string()).collect(),
            Self::Three(cluster) => cluster.live().map(|node| node.addr().to_string()).collect(),
        }
    }

    /// Where the leader of the key takes clients.
    pub(crate) fn address_of(&self, key: &str) -> String {
        let node = match self {
            Self::Alone(node) => node.as_ref().expect("it runs"),
            Self::Three(cluster) => cluster.node(leader(cluster, key)),
        };
        node.addr().to_string()
    }

    /// Kills the leader of the key for good, or the node alone, which comes back at its address.
    pub(crate) fn kill(&mut self, key: &str) {
        match self {
            Self::Alone(node) => {
                let killed = node.take().expect("it runs");
                let addr = killed.addr();
                let (builder, _) = killed.end(Signal::Kill);
                *node = Some(builder.listen(addr).start());
            }
            Self::Three(cluster) => {
                let leader = leader(cluster, key);
                cluster.kill(leader);
            }
        }
    }
}

/// The node that leads the key's partition, as a node says that runs.
fn leader(cluster: &Cluster, key: &str) -> usize {
    let mut client = cluster.live().next().expect("one runs").client();
    let slot = client.call(["CLUSTER", "KEYSLOT", key]);
    let ranges = client.call(["CLUSTER", "SLOTS"]);
    let port = ranges.elements().expect("a list").iter().find_map(|range| {
        let [first, last, leader, ..] = range.elements()? else { panic!("{range:?}") };
        (first <= &slot && &slot <= last).then(|| leader.elements().expect("a node")[1].clone())
    });
    let is = |node: &Option<Node>| {
        let node = node.as_ref().map(|node| Frame::Int(i64::from(node.addr().port())));
        node.is_some() && node == port
    };
    1 + cluster.nodes.iter().position(is).expect("the leader runs")
}
