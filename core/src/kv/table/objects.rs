//! Values as objects: how they are kept, and how they are carried to other servers.

use super::{ALWAYS, GROW};
use crate::args::Args;
use crate::kv::command::{Categories, Command, Flags, Group, Handler};
use crate::kv::{Stop, Txn, dump, introspect, object, server};
use crate::reply::Reply;
use Group::{Generic, Server};
use Handler::Keys;

pub(super) const OBJECTS: &[Command] = &[
    Command::new("dump", 2, "key", Keys(dump::dump))
        .docs(Generic, "2.6.0", "Returns a key's value in a form that RESTORE takes.")
        .takes("O(N), N being the length of the value")
        .flags(Flags::READONLY)
        .key(&["RO access"])
        .tips(&["nondeterministic_output"]),
    Command::new("restore", -4, RESTORE, Keys(dump::restore))
        .docs(Generic, "2.6.0", "Creates a key from what DUMP has returned, here or by Redis.")
        .takes("O(N), N being the length of the value")
        .flags(GROW)
        .also(Categories::DANGEROUS)
        .key(&["OW update"]),
    Command::new("object", -2, "subcommand [argument ...]", Keys(server::container))
        .docs(Generic, "2.2.3", "Commands about how a value is kept.")
        .except(Categories::KEYSPACE)
        .subcommands(OBJECT),
    Command::new("memory", -2, "subcommand [argument ...]", Keys(server::container))
        .docs(Server, "4.0.0", "Commands about memory.")
        .subcommands(MEMORY),
];

static OBJECT: &[Command] = &[
    of_a_key("object|encoding", object::encoding).docs(
        Generic,
        "2.2.3",
        "Tells how Redis would keep a key's value if it were set as it is.",
    ),
    of_a_key("object|freq", object::freq).docs(
        Generic,
        "4.0.0",
        "Fails for a key that is there: how often it is used is not counted.",
    ),
    Command::new("object|help", 2, "", Keys(introspect::object_help))
        .docs(Generic, "6.2.0", "Lists the subcommands.")
        .flags(ALWAYS),
    of_a_key("object|idletime", object::idletime).docs(
        Generic,
        "2.2.3",
        "Fails for a key that is there: when it was used is not kept.",
    ),
    of_a_key("object|refcount", object::refcount).docs(
        Generic,
        "2.2.3",
        "Returns the number of references to a key's value, which is one.",
    ),
];

static MEMORY: &[Command] = &[
    Command::new("memory|help", 2, "", Keys(introspect::memory_help))
        .docs(Server, "4.0.0", "Lists the subcommands.")
        .flags(ALWAYS),
    Command::new("memory|malloc-stats", 2, "", Keys(object::malloc_stats))
        .docs(Server, "4.0.0", "Tells that the allocator has no statistics.")
        .tips(MEMORY_TIPS),
    Command::new("memory|stats", 2, "", Keys(object::stats))
        .docs(Server, "4.0.0", "Tells what memory the index and the cached values take.")
        .tips(MEMORY_TIPS),
    Command::new("memory|usage", -3, "key [SAMPLES count]", Keys(object::usage))
        .docs(Server, "4.0.0", "Returns the memory that a key takes while its value is cached.")
        .flags(Flags::READONLY)
        .key(&["RO"])
        .keys_behind_a_word(2),
];

const fn of_a_key(
    name: &'static str,
    handler: fn(Args<'_>, &mut Txn<'_>) -> Result<Reply, Stop>,
) -> Command {
    Command::new(name, 3, "key", Keys(handler))
        .flags(Flags::READONLY)
        .key(&["RO"])
        .keys_behind_a_word(2)
        .tips(&["nondeterministic_output"])
}

const RESTORE: &str =
    "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]";

const MEMORY_TIPS: &[&str] =
    &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];
