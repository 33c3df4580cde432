//! How a node runs.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use kvnode_core::acl::Acl;
use kvnode_core::control::{FoundingOptions, Stated};
use kvnode_core::replication;
use kvnode_core::shard::{FsyncMode, IndexKind, Redirect};
use kvnode_core::{NodeId, limits};

/// What [`run`](crate::run) is told. The default is one partition in `kvnode-data`, on Redis's port
/// of this machine alone, with an fsync before every acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The data directory; made if it does not exist.
    pub data: PathBuf,
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// When a write is acknowledged.
    pub fsync: FsyncMode,
    /// Partitions of the data directory, one if not said. An existing directory must agree.
    pub partitions: Option<u32>,
    /// Which index each partition keeps.
    pub index: IndexKind,
    /// Size of the cache of hot values, in bytes; 0 switches it off.
    pub cache_bytes: u64,
    /// Most clients at once; over it a new one gets an error and is closed. Fewer if the limit on
    /// open files is lower, which the log tells.
    pub max_clients: u32,
    /// How long a client may leave a request unfinished without sending more of it. A client that
    /// has asked for nothing may stay for ever.
    pub request_timeout: Duration,
    /// Size at which a segment rolls, in bytes.
    pub segment_bytes: u64,
    /// The users, where they do not come from a file.
    pub acl: Acl,
    /// The file that the users come from.
    pub acl_file: Option<PathBuf>,
    /// Whether clients of other machines are refused while no password is needed.
    pub protected_mode: bool,
    /// The node's place in a cluster; `None` for one that stands alone.
    pub cluster: Option<ClusterOptions>,
}

/// A node's place in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    /// The node.
    pub node: NodeId,
    /// The nodes of the cluster, this one included, and where their peers reach them
    /// (`host:port`).
    pub nodes: Vec<(NodeId, String)>,
    /// Where to listen for peers, if not where the others are told to find this node.
    pub peer_listen: Option<SocketAddr>,
    /// What fails together with this node.
    pub rack: Option<String>,
    /// What a cluster is founded with.
    pub founding: FoundingOptions,
    /// What of that was said; the rest are defaults.
    pub stated: Stated,
    /// How partitions are replicated.
    pub replication: replication::Settings,
    /// How long the preferred leader of a partition is able to lead it before it does; none: never.
    pub balance_after: Option<Duration>,
    /// What becomes of its clients' commands about what another node leads.
    pub redirect: Redirect,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data: PathBuf::from("kvnode-data"),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 6379)),
            fsync: FsyncMode::Always,
            partitions: None,
            index: IndexKind::Hash,
            cache_bytes: 256 << 20,
            max_clients: 10_000,
            request_timeout: Duration::from_secs(60),
            segment_bytes: limits::SEGMENT_BYTES,
            acl: Acl::default(),
            acl_file: None,
            protected_mode: true,
            cluster: None,
        }
    }
}
