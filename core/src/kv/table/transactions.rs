//! Transactions.

use super::{ALWAYS, SESSION};
use crate::kv::command::{Command, Flags, Group, Handler};
use crate::kv::transaction;
use Group::Transactions;
use Handler::Session;

pub(super) const TRANSACTIONS: &[Command] = &[
    Command::new("multi", 1, "", Session(transaction::multi))
        .docs(Transactions, "1.2.0", "Starts a transaction.")
        .flags(SESSION),
    Command::new("exec", 1, "", Session(transaction::exec))
        .docs(Transactions, "1.2.0", "Runs all commands of the transaction at once.")
        .takes("That of the commands queued")
        .flags(Flags::NOSCRIPT.with(ALWAYS).with(Flags::SKIP_SLOWLOG)),
    Command::new("discard", 1, "", Session(transaction::discard))
        .docs(Transactions, "2.0.0", "Discards the transaction.")
        .takes("O(N), N being the number of commands queued")
        .flags(SESSION),
    Command::new("watch", -2, "key [key ...]", Session(transaction::watch))
        .docs(Transactions, "2.2.0", "Lets the next EXEC fail if one of the keys has changed.")
        .takes("O(N), N being the number of keys")
        .flags(SESSION)
        .keys_at(-1, 1, &["RO"]),
    Command::new("unwatch", 1, "", Session(transaction::unwatch))
        .docs(Transactions, "2.2.0", "Forgets the watched keys.")
        .takes("O(N), N being the number of keys watched")
        .flags(SESSION),
];
