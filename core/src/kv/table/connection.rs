//! The connection.

use super::{ALWAYS_FAST, SESSION};
use crate::kv::command::{Categories, Command, Flags, Group, Handler};
use crate::kv::{auth, connection, server};
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
        .subcommands(super::client::CLIENT),
];

const HELLO: &str = "[protover [AUTH username password] [SETNAME clientname]]";
