//! What whoever runs the node asks of it: CONFIG, SLOWLOG, LATENCY, MONITOR, SHUTDOWN.

use super::{ALWAYS, CLIENT_FLAGS};
use crate::kv::command::{Categories, Command, Flags, Group, Handler};
use crate::kv::{config, introspect, operations, server, slowlog};
use Group::Server;
use Handler::{Keys, Session};

/// About this node: not inside a transaction, the rest of which another may evaluate.
const ADMIN: Flags = CLIENT_FLAGS.with(Flags::ADMIN).with(Flags::NO_MULTI);

const SAVING: Flags =
    Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::NO_ASYNC_LOADING).with(Flags::NO_MULTI);
const SLOW: Flags = ALWAYS.with(Flags::ADMIN).with(Flags::NO_MULTI);

const ALL_SUCCEED: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];
const ALL_SPECIAL: &[&str] =
    &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];

pub(super) const OPERATIONS: &[Command] = &[
    Command::new("bgrewriteaof", 1, "", Keys(operations::bgrewriteaof))
        .docs(Server, "1.0.0", "Looks for garbage to compact at once.")
        .flags(SAVING),
    Command::new("bgsave", -1, "[SCHEDULE]", Keys(operations::bgsave))
        .docs(Server, "1.0.0", "Makes what is written durable, without waiting for it.")
        .flags(SAVING),
    Command::new("config", -2, "subcommand [argument ...]", Keys(server::container))
        .docs(Server, "2.0.0", "Commands about the configuration.")
        .subcommands(CONFIG),
    Command::new("debug", -2, "subcommand [argument ...]", Keys(operations::debug))
        .docs(Server, "1.0.0", "Is not allowed.")
        .system()
        .flags(ADMIN),
    Command::new("lastsave", 1, "", Keys(operations::lastsave))
        .docs(Server, "1.0.0", "Tells when all that was acknowledged was last durable.")
        .flags(ALWAYS.with(Flags::FAST).with(Flags::NO_MULTI))
        .also(Categories::ADMIN.with(Categories::DANGEROUS))
        .tips(&["nondeterministic_output"]),
    Command::new("latency", -2, "subcommand [argument ...]", Keys(server::container))
        .docs(Server, "2.8.13", "Commands about how long things took.")
        .subcommands(LATENCY),
    Command::new("module", -2, "subcommand [argument ...]", Keys(server::container))
        .docs(Server, "4.0.0", "Commands about modules, of which there are none.")
        .subcommands(MODULE),
    Command::new("monitor", 1, "", Session(operations::monitor))
        .docs(Server, "1.0.0", "Shows the commands of all connections as they come.")
        .flags(ADMIN),
    Command::new("save", 1, "", Keys(operations::save))
        .docs(Server, "1.0.0", "Makes what is written durable, and answers when it is.")
        .flags(SAVING),
    Command::new(
        "shutdown",
        -1,
        "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
        Keys(operations::shutdown),
    )
    .docs(Server, "1.0.0", "Stops the node: what was taken is answered and durable.")
    .flags(ADMIN.with(Flags::ALLOW_BUSY)),
    Command::new("slowlog", -2, "subcommand [argument ...]", Keys(server::container))
        .docs(Server, "2.2.12", "Commands about commands that took long.")
        .subcommands(SLOWLOG),
];

static CONFIG: &[Command] = &[
    Command::new("config|get", -3, "parameter [parameter ...]", Keys(config::get))
        .docs(Server, "2.0.0", "Returns the values of the parameters that match.")
        .flags(ADMIN),
    Command::new("config|help", 2, "", Keys(introspect::config_help))
        .docs(Server, "5.0.0", "Lists the subcommands.")
        .flags(ALWAYS),
    Command::new("config|resetstat", 2, "", Keys(config::resetstat))
        .docs(Server, "2.0.0", "Begins to count anew what INFO tells.")
        .flags(ADMIN),
    Command::new("config|rewrite", 2, "", Keys(config::rewrite))
        .docs(Server, "2.8.0", "Is refused: there is no configuration file.")
        .flags(ADMIN),
    Command::new("config|set", -4, "parameter value [parameter value ...]", Keys(config::set))
        .docs(Server, "2.0.0", "Changes parameters, all of those named or none.")
        .flags(ADMIN)
        .tips(ALL_SUCCEED),
];

static LATENCY: &[Command] = &[
    Command::new("latency|doctor", 2, "", Keys(slowlog::doctor))
        .docs(Server, "2.8.13", "Tells in words what took long.")
        .flags(ADMIN)
        .tips(ALL_SPECIAL),
    Command::new("latency|graph", 3, "event", Keys(slowlog::latency_graph))
        .docs(Server, "2.8.13", "Draws the samples of an event.")
        .flags(ADMIN)
        .tips(ALL_SPECIAL),
    Command::new("latency|help", 2, "", Keys(introspect::latency_help))
        .docs(Server, "2.8.13", "Lists the subcommands.")
        .flags(ALWAYS),
    Command::new("latency|histogram", -2, "[command [command ...]]", Keys(slowlog::histogram))
        .docs(Server, "7.0.0", "Counts evaluations of commands by how long they took.")
        .flags(ADMIN)
        .tips(ALL_SPECIAL),
    Command::new("latency|history", 3, "event", Keys(slowlog::history))
        .docs(Server, "2.8.13", "Returns the samples of an event.")
        .flags(ADMIN)
        .tips(ALL_SPECIAL),
    Command::new("latency|latest", 2, "", Keys(slowlog::latest))
        .docs(Server, "2.8.13", "Returns the latest sample of each event.")
        .flags(ADMIN)
        .tips(ALL_SPECIAL),
    Command::new("latency|reset", -2, "[event [event ...]]", Keys(slowlog::latency_reset))
        .docs(Server, "2.8.13", "Forgets the samples of events.")
        .flags(ADMIN)
        .tips(ALL_SUCCEED),
];

static MODULE: &[Command] = &[
    Command::new("module|help", 2, "", Keys(introspect::module_help))
        .docs(Server, "5.0.0", "Lists the subcommands.")
        .flags(ALWAYS),
    Command::new("module|list", 2, "", Keys(operations::modules))
        .docs(Server, "4.0.0", "Lists no module: none can be loaded.")
        .flags(Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::NO_MULTI))
        .tips(&["nondeterministic_output_order"]),
];

static SLOWLOG: &[Command] = &[
    Command::new("slowlog|get", -2, "[count]", Keys(slowlog::get))
        .docs(Server, "2.2.12", "Returns the last commands that took long.")
        .flags(SLOW)
        .tips(&["request_policy:all_nodes", "nondeterministic_output"]),
    Command::new("slowlog|help", 2, "", Keys(introspect::slowlog_help))
        .docs(Server, "6.2.0", "Lists the subcommands.")
        .flags(ALWAYS),
    Command::new("slowlog|len", 2, "", Keys(slowlog::len))
        .docs(Server, "2.2.12", "Counts the entries.")
        .flags(SLOW)
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"]),
    Command::new("slowlog|phases", -2, "[count]", Keys(slowlog::phases))
        .docs(Server, "0.1.0", "Tells what slow commands waited for; kvnode's own.")
        .flags(SLOW)
        .tips(&["nondeterministic_output"]),
    Command::new("slowlog|reset", 2, "", Keys(slowlog::reset))
        .docs(Server, "2.2.12", "Forgets the entries.")
        .flags(SLOW)
        .tips(ALL_SUCCEED),
];
