//! The server, and the table itself.

use super::{ALWAYS, ALWAYS_FAST, CLIENT_FLAGS, READ_FAST};
use crate::kv::command::{Categories, Command, Flags, Group, Handler};
use crate::kv::{introspect, keys, server};
use Group::Server;
use Handler::Keys;

pub(super) const SERVER: &[Command] = &[
    Command::new("dbsize", 1, "", Keys(keys::dbsize))
        .docs(Server, "1.0.0", "Returns the number of keys.")
        .flags(READ_FAST)
        .also(Categories::KEYSPACE)
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"]),
    Command::new("flushdb", -1, "[ASYNC | SYNC]", Keys(keys::flush))
        .docs(Server, "1.0.0", "Deletes all keys.")
        .takes("O(N), N being the number of keys there are")
        .flags(Flags::WRITE)
        .also(Categories::KEYSPACE.with(Categories::DANGEROUS))
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    Command::new("flushall", -1, "[ASYNC | SYNC]", Keys(keys::flush))
        .docs(Server, "1.0.0", "Deletes all keys; the same as FLUSHDB here.")
        .takes("O(N), N being the number of keys there are")
        .flags(Flags::WRITE)
        .also(Categories::KEYSPACE.with(Categories::DANGEROUS))
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    Command::new("time", 1, "", Keys(server::time))
        .docs(Server, "2.6.0", "Returns the server's time.")
        .flags(ALWAYS_FAST)
        .tips(&["nondeterministic_output"]),
    Command::new("info", -1, "[section [section ...]]", Keys(server::info))
        .docs(Server, "1.0.0", "Tells how the server is and what it has done.")
        .flags(ALWAYS)
        .also(Categories::DANGEROUS)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    Command::new("role", 1, "", Keys(server::role))
        .docs(
            Server,
            "2.8.12",
            "Tells how far the partitions led here are, and their followers; always as a master, \
             since any node takes writes.",
        )
        .flags(CLIENT_FLAGS.with(Flags::FAST))
        .also(Categories::ADMIN.with(Categories::DANGEROUS)),
    Command::new("acl", -2, "subcommand [argument ...]", Keys(server::container))
        .docs(Server, "6.0.0", "Commands about users and what they may do.")
        .subcommands(super::acl::ACL),
    Command::new("command", -1, "", Keys(introspect::all))
        .docs(Server, "2.8.13", "Tells about all commands.")
        .flags(ALWAYS)
        .also(Categories::CONNECTION)
        .tips(&["nondeterministic_output_order"])
        .subcommands(COMMAND),
];

static COMMAND: &[Command] = &[
    Command::new("command|count", 2, "", Keys(introspect::count))
        .docs(Server, "2.8.13", "Returns the number of commands.")
        .flags(ALWAYS)
        .also(Categories::CONNECTION),
    Command::new("command|docs", -2, "[command-name [command-name ...]]", Keys(introspect::docs))
        .docs(Server, "7.0.0", "Returns the documentation of commands.")
        .takes("O(N), N being the number of commands asked for")
        .flags(ALWAYS)
        .also(Categories::CONNECTION)
        .tips(&["nondeterministic_output_order"]),
    Command::new("command|getkeys", -3, GETKEYS, Keys(introspect::getkeys))
        .docs(Server, "2.8.13", "Returns the keys of a command.")
        .flags(ALWAYS)
        .also(Categories::CONNECTION),
    Command::new("command|getkeysandflags", -3, GETKEYS, Keys(introspect::getkeysandflags))
        .docs(Server, "7.0.0", "Returns the keys of a command and what is done to them.")
        .flags(ALWAYS)
        .also(Categories::CONNECTION),
    Command::new("command|help", 2, "", Keys(introspect::command_help))
        .docs(Server, "5.0.0", "Lists the subcommands.")
        .flags(ALWAYS)
        .also(Categories::CONNECTION),
    Command::new("command|info", -2, "[command-name [command-name ...]]", Keys(introspect::info))
        .docs(Server, "2.8.13", "Tells about commands.")
        .takes("O(N), N being the number of commands asked for")
        .flags(ALWAYS)
        .also(Categories::CONNECTION)
        .tips(&["nondeterministic_output_order"]),
    Command::new("command|list", -2, LIST, Keys(introspect::list))
        .docs(Server, "7.0.0", "Lists the names of commands.")
        .takes("O(N), N being the number of commands")
        .flags(ALWAYS)
        .also(Categories::CONNECTION)
        .tips(&["nondeterministic_output_order"]),
];

const GETKEYS: &str = "command [argument ...]";
const LIST: &str = "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]";
