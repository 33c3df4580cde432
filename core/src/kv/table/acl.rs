//! ACL and its subcommands.

use super::{ALWAYS, CLIENT_FLAGS};
use crate::kv::acl;
use crate::kv::command::{Command, Flags, Group, Handler};
use crate::kv::introspect;
use Group::Server;
use Handler::{Keys, Session};

/// Not inside a transaction, the rest of which another node may evaluate.
const USERS: Flags = CLIENT_FLAGS.with(Flags::ADMIN).with(Flags::NO_MULTI);

pub(super) static ACL: &[Command] = &[
    Command::new("acl|cat", -2, "[category]", Keys(acl::cat))
        .docs(Server, "6.0.0", "Lists the categories, or the commands of one.")
        .flags(CLIENT_FLAGS),
    Command::new("acl|deluser", -3, "username [username ...]", Keys(acl::deluser))
        .docs(Server, "6.0.0", "Deletes users and closes their connections.")
        .flags(USERS),
    Command::new("acl|dryrun", -4, "username command [arg [arg ...]]", Keys(acl::dryrun))
        .docs(Server, "7.0.0", "Tells whether a user may run a command, without running it.")
        .flags(USERS),
    Command::new("acl|genpass", -2, "[bits]", Keys(acl::genpass))
        .docs(Server, "6.0.0", "Returns a new password that nobody can guess.")
        .flags(CLIENT_FLAGS),
    Command::new("acl|getuser", 3, "username", Keys(acl::getuser))
        .docs(Server, "6.0.0", "Returns the rules of a user.")
        .flags(USERS),
    Command::new("acl|help", 2, "", Keys(introspect::acl_help))
        .docs(Server, "6.0.0", "Lists the subcommands.")
        .flags(ALWAYS),
    Command::new("acl|list", 2, "", Keys(acl::list))
        .docs(Server, "6.0.0", "Lists the users with their rules, as the ACL file has them.")
        .flags(USERS),
    Command::new("acl|load", 2, "", Keys(acl::load))
        .docs(Server, "6.0.0", "Reads the users from the ACL file, all or none of them.")
        .flags(USERS),
    Command::new("acl|log", -2, "[count | RESET]", Keys(acl::log))
        .docs(Server, "6.0.0", "Lists what was refused lately.")
        .flags(USERS),
    Command::new("acl|save", 2, "", Keys(acl::save))
        .docs(Server, "6.0.0", "Writes the users to the ACL file.")
        .flags(USERS),
    Command::new("acl|setuser", -3, "username [rule [rule ...]]", Keys(acl::setuser))
        .docs(Server, "6.0.0", "Makes a user, or changes one, by all of the rules or none.")
        .flags(USERS),
    Command::new("acl|users", 2, "", Keys(acl::users))
        .docs(Server, "6.0.0", "Lists the names of the users.")
        .flags(USERS),
    Command::new("acl|whoami", 2, "", Session(acl::whoami))
        .docs(Server, "6.0.0", "Returns the user of this connection.")
        .flags(CLIENT_FLAGS.with(Flags::NO_MULTI)),
];
