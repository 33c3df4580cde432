//! The connection.

use super::{ALWAYS, ALWAYS_FAST, CLIENT_FLAGS, SESSION};
use crate::kv::command::{Categories, Command, Flags, Group, Handler};
use crate::kv::{auth, connection, introspect, server};
use Group::Connection;
use Handler::{Keys, Session};

pub(super) const CONNECTION: &[Command] = &[
    Command::new("ping", -1, "[message]", Keys(connection::ping))
        .docs(Connection, "1.0.0", "Answers PONG, or with the message.")
        .flags(Flags::FAST)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    Command::new("echo", 2, "message", Keys(connection::echo))
        .docs(Connection, "1.0.0", "Answers with the message.")
        .flags(ALWAYS_FAST),
    Command::new("select", 2, "index", Keys(connection::select))
        .docs(Connection, "1.0.0", "Selects the database, of which there is one: 0.")
        .flags(ALWAYS_FAST),
    Command::new("hello", -1, HELLO, Session(connection::hello))
        .docs(Connection, "6.0.0", "Chooses the protocol and tells about the server.")
        .flags(SESSION.with(Flags::NO_AUTH)),
    Command::new("auth", -2, "[username] password", Session(auth::auth))
        .docs(Connection, "1.0.0", "Authenticates the connection.")
        .flags(SESSION.with(Flags::NO_AUTH).with(Flags::NO_MULTI)),
    Command::new("quit", -1, "", Session(connection::quit))
        .docs(Connection, "1.0.0", "Closes the connection.")
        .flags(SESSION.with(Flags::NO_AUTH)),
    Command::new("reset", 1, "", Session(connection::reset))
        .docs(Connection, "6.2.0", "Puts the connection back to how it started.")
        .flags(SESSION.with(Flags::NO_AUTH)),
    Command::new("client", -2, "subcommand [argument ...]", Keys(server::container))
        .docs(Connection, "2.4.0", "Commands about this connection.")
        .except(Categories::CONNECTION)
        .subcommands(CLIENT),
];

static CLIENT: &[Command] = &[
    Command::new("client|getname", 2, "", Session(connection::client_getname))
        .docs(Connection, "2.6.9", "Returns the name of the connection.")
        .flags(CLIENT_FLAGS),
    Command::new("client|help", 2, "", Keys(introspect::client_help))
        .docs(Connection, "5.0.0", "Lists the subcommands.")
        .flags(ALWAYS),
    Command::new("client|id", 2, "", Session(connection::client_id))
        .docs(Connection, "5.0.0", "Returns the number of the connection.")
        .flags(CLIENT_FLAGS),
    Command::new(
        "client|setinfo",
        4,
        "LIB-NAME libname | LIB-VER libver",
        Session(connection::client_setinfo),
    )
    .docs(Connection, "7.2.0", "Sets what is known of the client's library.")
    .flags(CLIENT_FLAGS),
    Command::new("client|setname", 3, "connection-name", Session(connection::client_setname))
        .docs(Connection, "2.6.9", "Sets the name of the connection.")
        .flags(CLIENT_FLAGS),
];

const HELLO: &str = "[protover [AUTH username password] [SETNAME clientname]]";
