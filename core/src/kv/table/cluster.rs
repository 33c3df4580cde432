//! The cluster.

use super::{ALWAYS, ALWAYS_FAST};
use crate::kv::command::{Categories, Command, Flags, Group, Handler};
use crate::kv::{cluster, connection, introspect, operator, server, topology};
use Group::Cluster;
use Handler::{Keys, Session};

pub(super) const CLUSTER: &[Command] = &[
    Command::new("cluster", -2, "subcommand [argument ...]", Keys(server::container))
        .docs(Cluster, "3.0.0", "Commands about the cluster.")
        .subcommands(SUBCOMMANDS),
    Command::new("asking", 1, "", Session(topology::asking))
        .docs(Cluster, "3.0.0", "Changes nothing: no slot is ever between two nodes.")
        .flags(Flags::FAST)
        .also(Categories::CONNECTION),
    Command::new("readonly", 1, "", Session(connection::readonly))
        .docs(
            Cluster,
            "3.0.0",
            "Lets this connection's reads be answered by the node's own replica.",
        )
        .flags(ALWAYS_FAST)
        .also(Categories::CONNECTION),
    Command::new("readwrite", 1, "", Session(connection::readwrite))
        .docs(Cluster, "3.0.0", "Ends what READONLY has begun: reads are linearizable again.")
        .flags(ALWAYS_FAST)
        .also(Categories::CONNECTION),
];

/// Asks the controller, by way of any node.
const OPERATOR: Flags =
    Flags::STALE.with(Flags::ADMIN).with(Flags::NO_ASYNC_LOADING).with(Flags::NO_MULTI);

static SUBCOMMANDS: &[Command] = &[
    Command::new("cluster|accept-loss", 3, "partition", Keys(operator::accept_loss))
        .docs(
            Cluster,
            "0.1.0",
            "Takes note that acknowledged writes of a partition may be missing; kvnode's own.",
        )
        .flags(OPERATOR),
    Command::new("cluster|countkeysinslot", 3, "slot", Keys(topology::countkeysinslot))
        .docs(Cluster, "3.0.0", "Counts the keys of a slot, looking at all of its partition.")
        .flags(Flags::STALE),
    Command::new("cluster|elect", 5, "partition node UNCLEAN", Keys(operator::elect))
        .docs(
            Cluster,
            "0.1.0",
            "Lets a replica lead that is not in sync, where nobody in sync is left; kvnode's own.",
        )
        .flags(OPERATOR),
    Command::new("cluster|feature", 3, "level", Keys(operator::feature))
        .docs(Cluster, "0.1.0", "Raises the feature level of the cluster; kvnode's own.")
        .flags(OPERATOR),
    Command::new("cluster|forget", 3, "node", Keys(operator::forget))
        .docs(Cluster, "3.0.0", "Takes a node out of the cluster that does not come back.")
        .flags(OPERATOR),
    Command::new("cluster|getkeysinslot", 4, "slot count", Keys(topology::getkeysinslot))
        .docs(Cluster, "3.0.0", "Returns keys of a slot, looking at all of its partition.")
        .flags(Flags::STALE)
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|help", 2, "", Keys(introspect::cluster_help))
        .docs(Cluster, "5.0.0", "Lists the subcommands.")
        .flags(ALWAYS),
    Command::new("cluster|info", 2, "", Keys(cluster::info))
        .docs(Cluster, "3.0.0", "Tells how the cluster is, as this node sees it.")
        .flags(Flags::STALE)
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|keyslot", 3, "key", Keys(cluster::keyslot))
        .docs(Cluster, "3.0.0", "Returns the slot of a key.")
        .flags(Flags::STALE),
    Command::new("cluster|links", 2, "", Keys(topology::links))
        .docs(Cluster, "7.0.0", "Lists the links to other nodes.")
        .flags(Flags::STALE)
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|move", 4, "partition node", Keys(operator::transfer))
        .docs(Cluster, "0.1.0", "Lets another replica lead that is in sync; kvnode's own.")
        .flags(OPERATOR),
    Command::new("cluster|myid", 2, "", Keys(topology::myid))
        .docs(Cluster, "3.0.0", "Returns this node's id.")
        .flags(Flags::STALE),
    Command::new("cluster|myshardid", 2, "", Keys(topology::myshardid))
        .docs(Cluster, "7.2.0", "Returns the id of the shard that this node leads.")
        .flags(Flags::STALE)
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|nodes", 2, "", Keys(topology::nodes))
        .docs(Cluster, "3.0.0", "Lists the nodes, with the slots that they lead.")
        .flags(Flags::STALE)
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|reassign", -4, "partition node [node ...]", Keys(operator::reassign))
        .docs(
            Cluster,
            "0.1.0",
            "Says which nodes have the replicas of a partition, the preferred leader first; \
             kvnode's own.",
        )
        .flags(OPERATOR),
    Command::new("cluster|replicas", 3, "node-id", Keys(topology::replicas))
        .docs(Cluster, "5.0.0", "Lists who is in sync in partitions that a node leads.")
        .flags(Flags::STALE.with(Flags::ADMIN))
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|shards", 2, "", Keys(topology::shards))
        .docs(Cluster, "7.0.0", "Lists slots by their leader and the others in sync.")
        .flags(Flags::STALE)
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|slaves", 3, "node-id", Keys(topology::replicas))
        .docs(Cluster, "3.0.0", "The old name of CLUSTER REPLICAS.")
        .deprecated("5.0.0", "`CLUSTER REPLICAS`")
        .flags(Flags::STALE.with(Flags::ADMIN))
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|slots", 2, "", Keys(topology::slots))
        .docs(
            Cluster,
            "3.0.0",
            "Lists ranges of slots, each with its leader and the others in sync.",
        )
        .deprecated("7.0.0", "`CLUSTER SHARDS`")
        .flags(Flags::STALE)
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|status", 2, "", Keys(cluster::status))
        .docs(Cluster, "0.1.0", "Returns all that this node knows of the cluster; kvnode's own.")
        .flags(ALWAYS)
        .tips(&["nondeterministic_output"]),
];
