//! CLIENT and its subcommands.

use super::{ALWAYS, CLIENT_FLAGS};
use crate::kv::client;
use crate::kv::command::{Command, Flags, Group, Handler};
use crate::kv::introspect;
use Group::Connection;
use Handler::{Keys, Session};

/// About this node: not inside a transaction, the rest of which another may evaluate.
const HERE: Flags = CLIENT_FLAGS.with(Flags::NO_MULTI);
const ADMIN: Flags = HERE.with(Flags::ADMIN);

pub(super) static CLIENT: &[Command] = &[
    Command::new("client|getname", 2, "", Session(client::getname))
        .docs(Connection, "2.6.9", "Returns the name of the connection.")
        .flags(CLIENT_FLAGS),
    Command::new("client|getredir", 2, "", Keys(client::getredir))
        .docs(Connection, "6.0.0", "Answers -1: no invalidations are sent to anybody.")
        .flags(CLIENT_FLAGS),
    Command::new("client|help", 2, "", Keys(introspect::client_help))
        .docs(Connection, "5.0.0", "Lists the subcommands.")
        .flags(ALWAYS),
    Command::new("client|id", 2, "", Session(client::client_id))
        .docs(Connection, "5.0.0", "Returns the number of the connection.")
        .flags(CLIENT_FLAGS),
    Command::new("client|info", 2, "", Session(client::info))
        .docs(Connection, "6.2.0", "Tells about this connection.")
        .flags(HERE)
        .tips(&["nondeterministic_output"]),
    Command::new("client|kill", -3, KILL, Keys(client::kill))
        .docs(Connection, "2.4.0", "Closes connections.")
        .flags(ADMIN),
    Command::new("client|list", -2, LIST, Keys(client::list))
        .docs(Connection, "2.4.0", "Tells about connections.")
        .flags(ADMIN)
        .tips(&["nondeterministic_output"]),
    Command::new("client|no-evict", 3, "ON | OFF", Keys(client::no_evict))
        .docs(Connection, "7.0.0", "Changes nothing: no client is closed to save memory.")
        .flags(ADMIN),
    Command::new("client|no-touch", 3, "ON | OFF", Keys(client::no_evict))
        .docs(Connection, "7.2.0", "Changes nothing: reading a key leaves no trace in it.")
        .flags(CLIENT_FLAGS),
    Command::new("client|pause", -3, "timeout [WRITE | ALL]", Keys(client::pause))
        .docs(Connection, "2.9.50", "Has clients of this node wait.")
        .flags(ADMIN),
    Command::new("client|reply", 3, "ON | OFF | SKIP", Session(client::reply))
        .docs(Connection, "3.2.0", "Tells which replies this connection gets.")
        .flags(HERE),
    Command::new(
        "client|setinfo",
        4,
        "LIB-NAME libname | LIB-VER libver",
        Session(client::setinfo),
    )
    .docs(Connection, "7.2.0", "Sets what is known of the client's library.")
    .flags(CLIENT_FLAGS),
    Command::new("client|setname", 3, "connection-name", Session(client::setname))
        .docs(Connection, "2.6.9", "Sets the name of the connection.")
        .flags(CLIENT_FLAGS),
    Command::new("client|unblock", -3, "client-id [TIMEOUT | ERROR]", Keys(client::unblock))
        .docs(Connection, "5.0.0", "Ends the wait of a connection.")
        .flags(ADMIN),
    Command::new("client|unpause", 2, "", Keys(client::unpause))
        .docs(Connection, "6.2.0", "Lets clients go on that PAUSE has wait.")
        .flags(ADMIN),
];

const LIST: &str = "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]";
const KILL: &str = "[address] [ID client-id] [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] \
    [USER username] [ADDR address] [LADDR address] [SKIPME <YES | NO>]";
