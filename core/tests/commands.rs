//! The page of all commands, `core/src/kv/COMMANDS.md`, made from the command table and from what
//! this file adds: where a command differs from Redis 7.2, and which ones are left out and why.
//!
//! `KVNODE_REWRITE=1 cargo test -p kvnode-core --test commands` writes the page anew.

use std::fmt::Write;

use kvnode_core::kv::{Command, Group, commands, find};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/kv/COMMANDS.md");

/// Where a command differs from Redis 7.2.
const DIFFERS: &[(&str, &str)] = &[
    ("acl|load", ACL_FILE),
    ("acl|save", ACL_FILE),
    ("acl|setuser", "Channels are all or none; `+command|argument` names subcommands alone."),
    ("asking", "Changes nothing."),
    ("auth", NO_MULTI),
    ("bgrewriteaof", "Starts no more than the next look for garbage."),
    ("bgsave", "Has the log made durable; see SAVE."),
    (
        "bitfield",
        "`#n` is refused where n times the width is beyond 64 bits; a SET of a number \
     far below the range saturates to the least.",
    ),
    ("client|getredir", "Always -1."),
    (
        "client|list",
        "`argv-mem`, `multi-mem`, `oll` and `omem` are of what waits in the node, `tot-mem` is their sum; \
     of what is in sockets nothing is known: `qbuf`, `rbs`, `obl` and the like are 0. All of CLIENT that \
     is about more than names: not after MULTI.",
    ),
    ("client|no-evict", "No client is ever closed to save memory."),
    ("client|no-touch", "No read leaves a trace in a key."),
    (
        "client|pause",
        "Also holds up what other nodes ask of this one for their clients, which tell these after six \
     seconds that it was not answered: of a write, `UNKNOWN`, though it is dropped unless the pause ends at about that moment. \
     What other nodes lead goes on.",
    ),
    ("cluster|countkeysinslot", NOT_AFTER_MULTI),
    (
        "cluster|forget",
        "By the node's name, once for all nodes; it must be down and hold no replica. See the README.",
    ),
    ("cluster|getkeysinslot", NOT_AFTER_MULTI),
    (
        "command|docs",
        "Texts, and the names of what is only a bracket around arguments, are kvnode's own; there is no \
     history.",
    ),
    (
        "config|get",
        "What is true of this node; `requirepass` shows as `(redacted)`. Not after MULTI.",
    ),
    (
        "config|set",
        "`latency-monitor-threshold`, `maxclients`, `protected-mode`, `requirepass`, \
     `slowlog-log-slower-than`, `slowlog-max-len`, `tcp-keepalive` (up to 32767, for new connections) \
     and `timeout`; all others are immutable.",
    ),
    ("dbsize", NOT_AFTER_MULTI),
    ("debug", "Always refused, as Redis does where it is not enabled."),
    ("delifeq", "Valkey's; Redis 7.2 has none."),
    ("dump", "Never compressed; says RDB version 10, so that Redis 7.0 takes it too."),
    (
        "exec",
        "In a cluster what is about keys is done by their leader; what is about the connection or its \
     node, by that node when EXEC comes, also if EXEC then fails.",
    ),
    ("flushall", NOT_AFTER_MULTI),
    ("flushdb", NOT_AFTER_MULTI),
    ("info", INFO),
    ("keys", NOT_AFTER_MULTI),
    ("lastsave", "When all that was acknowledged was last durable: with `--fsync always`, now."),
    ("latency|doctor", "Says in a line for each event what there was."),
    ("latency|history", "Events are `command`, `fast-command` and `commit`."),
    ("lcs", "The table of lengths may take 64 MiB, as a value may."),
    ("memory|malloc-stats", "Always says what Redis says of an allocator without statistics."),
    (
        "memory|stats",
        "Four figures: the index, the keys, the bytes of index a key, the values cached.",
    ),
    ("memory|usage", "What the index takes for the key, with the value as it is cached."),
    (
        "monitor",
        "Commands as they come, those queued after MULTI too; 1024 bytes of each argument. \
     At most 16 at a time, and one that does not read is closed.",
    ),
    (
        "object|encoding",
        "By the value alone: Redis says `raw` after APPEND, SETRANGE, SETBIT and \
     the like, and `embstr` of a number after INCRBYFLOAT.",
    ),
    ("object|freq", "As Redis without an LFU policy."),
    ("object|idletime", "An error: idle times are not kept."),
    ("object|refcount", "Always 1."),
    (
        "randomkey",
        "In a cluster of each partition as likely as of another, if it has any: a key among few others \
     comes more often. In a cluster not after MULTI.",
    ),
    ("readonly", "Lets the node's own replica answer; see the README."),
    (
        "restore",
        "Strings only, other types are `Bad data format`; IDLETIME and FREQ are checked \
     and have no effect, since nothing is evicted. A time that ends beyond 2^63 is refused, where \
     Redis answers OK and keeps nothing.",
    ),
    ("role", "Always `master`."),
    ("save", "Answers when what was logged is durable; there is nothing else to save."),
    ("scan", NOT_AFTER_MULTI),
    ("select", "There is one database."),
    ("set", "Also Valkey's IFEQ, which needs the right to read the key, as GET does."),
    ("shutdown", "Always a clean stop; NOSAVE and NOW lose nothing."),
    (
        "slowlog|get",
        "The time is that from arrival to reply, with the way to disk and to the replicas.",
    ),
    (
        "slowlog|phases",
        "kvnode's own: `queue`, `append`, `fsync`, `replicate`, `apply`, in microseconds.",
    ),
    ("touch", "The same as EXISTS: nothing is evicted."),
    ("unlink", "The same as DEL."),
    ("wait", "Of the partition where they are fewest; see the README."),
    ("waitaof", "`numreplicas` needs `--fsync always`; see the README."),
];

const NOT_AFTER_MULTI: &str = "In a cluster not after MULTI.";

const ACL_FILE: &str = "Without a file the error says how to give one.";

const NO_MULTI: &str =
    "Not after MULTI, and so all that is about users, settings or other connections.";

const INFO: &str = "`used_memory` is all of the process, as `used_memory_rss` is; `total_net_…` and \
     `instantaneous_…` are of clients, not of other nodes; `rdb_…` and `aof_…` tell of the log. \
     Fields of what is not here or not known are left out, so `mem_fragmentation_ratio`, \
     `master_replid` (each partition has a history of its own), `expired_stale_perc` and \
     `aof_last_bgrewrite_status` (a compaction that fails is told of in the log of the node).";

/// Commands of Redis 7.2, of the kinds that are in scope, that are left out.
const LEFT_OUT: &[(Group, &str, &[&str])] = &[
    (
        Group::Generic,
        "Needs the other server's address and password here; DUMP and RESTORE do it \
     through the client.",
        &["migrate"],
    ),
    (Group::Generic, "There is one database.", &["move"]),
    (Group::Generic, "Works on lists and sets.", &["sort", "sort_ro"]),
    (
        Group::Connection,
        "Client-side caching is left out.",
        &["client|caching", "client|tracking", "client|trackinginfo"],
    ),
    (Group::Server, "There are no modules.", &["module|load", "module|loadex", "module|unload"]),
    (Group::Server, "For developers of Redis.", &["lolwut"]),
    (
        Group::Server,
        "Replication is decided by the cluster.",
        &["failover", "psync", "replconf", "replicaof", "restore-asking", "slaveof", "sync"],
    ),
    (
        Group::Server,
        "Nothing here could be purged or found by it.",
        &["memory|doctor", "memory|purge"],
    ),
    (Group::Server, "There is one database.", &["swapdb"]),
    (
        Group::Cluster,
        "Who leads which slots is decided by the controller.",
        &[
            "cluster|addslots",
            "cluster|addslotsrange",
            "cluster|bumpepoch",
            "cluster|delslots",
            "cluster|delslotsrange",
            "cluster|failover",
            "cluster|flushslots",
            "cluster|meet",
            "cluster|replicate",
            "cluster|reset",
            "cluster|saveconfig",
            "cluster|set-config-epoch",
            "cluster|setslot",
        ],
    ),
    (
        Group::Cluster,
        "There is no gossip that would report failures.",
        &["cluster|count-failure-reports"],
    ),
];

const GROUPS: [(Group, &str); 7] = [
    (Group::String, "Strings"),
    (Group::Bitmap, "Bitmaps"),
    (Group::Generic, "Keys"),
    (Group::Transactions, "Transactions"),
    (Group::Connection, "Connection"),
    (Group::Server, "Server"),
    (Group::Cluster, "Cluster"),
];

#[test]
fn the_page_of_all_commands_is_up_to_date() {
    let page = page();
    if std::env::var("KVNODE_REWRITE").is_ok_and(|v| v == "1") {
        std::fs::write(PAGE, &page).expect("the page can be written");
    }
    let there = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        there == page,
        "{PAGE} is out of date: KVNODE_REWRITE=1 cargo test -p kvnode-core --test commands"
    );
}

#[test]
fn what_differs_is_there_and_what_is_left_out_is_not() {
    let known = |name: &str| everything().iter().any(|command| command.name == name);
    for (name, _) in DIFFERS {
        assert!(known(name), "{name} is not in the table");
    }
    for name in LEFT_OUT.iter().flat_map(|(_, _, names)| *names) {
        assert!(!known(name), "{name} is in the table, so it is not left out");
        let container = name.split_once('|').map_or("get", |(container, _)| container);
        assert!(find(container.as_bytes()).is_some(), "{container} is left out as a whole");
    }
}

fn everything() -> Vec<&'static Command> {
    commands().flat_map(|command| std::iter::once(command).chain(command.subcommands)).collect()
}

fn page() -> String {
    let mut page = String::from(
        "# Commands\n\n\
         Every command of Redis 7.2 that is about strings, bits, keys, transactions, the \
         connection, the server or the cluster: what it does here, where it differs, and which \
         ones are left out. Where nothing is said, replies are Redis's, byte for byte, but for HELP, \
         which lists what is here, and the texts of COMMAND DOCS; `tests/differential` compares \
         them.\n\n\
         Other data types, scripting, publish/subscribe, client-side caching and modules are left \
         out on purpose. A command that is left out fails as an unknown command does in Redis.\n\n\
         This page is written by a test, `core/tests/commands.rs`, from the command table.\n",
    );
    for (group, title) in GROUPS {
        put(&mut page, &format!("\n## {title}\n\n| command | | differs |\n|---|---|---|\n"));
        let mut all = everything();
        // Of containers those that are commands by themselves.
        let is_command = |c: &Command| c.subcommands.is_empty() || c.accepts(1);
        all.retain(|command| command.group == group && is_command(command));
        all.sort_by_key(|command| command.name);
        for command in all {
            let line = [&shown(command.name), command.syntax].join(" ").trim().replace('|', "\\|");
            let differs = DIFFERS.iter().find(|(name, _)| *name == command.name);
            // A bare bar would end the cell.
            let differs = differs.map_or("", |(_, how)| how).replace('|', "\\|");
            put(&mut page, &format!("| `{line}` | {} | {differs} |\n", command.summary));
        }
        let mut left_out = LEFT_OUT.iter().filter(|(of, _, _)| *of == group).peekable();
        if left_out.peek().is_some() {
            page.push_str("\nLeft out:\n\n| command | why |\n|---|---|\n");
        }
        for (_, why, names) in left_out {
            let names: Vec<_> = names.iter().map(|name| format!("`{}`", shown(name))).collect();
            put(&mut page, &format!("| {} | {why} |\n", names.join(", ")));
        }
    }
    page
}

fn shown(name: &str) -> String {
    name.replace('|', " ").to_uppercase()
}

fn put(page: &mut String, text: &str) {
    page.write_str(text).expect("a string takes everything");
}
