//! The commands: the one place where they are listed, a file for each kind.

mod acl;
mod bitmaps;
mod client;
mod cluster;
mod connection;
mod keys;
mod objects;
mod operations;
mod server;
mod strings;
mod transactions;

use super::command::{Command, Flags};

/// All commands.
pub(super) static COMMANDS: &[Command] = &concat::<{ count(GROUPS) }>(GROUPS);

const GROUPS: &[&[Command]] = &[
    strings::STRINGS,
    bitmaps::BITMAPS,
    keys::KEYS,
    objects::OBJECTS,
    transactions::TRANSACTIONS,
    connection::CONNECTION,
    server::SERVER,
    operations::OPERATIONS,
    cluster::CLUSTER,
];

const READ_FAST: Flags = Flags::READONLY.with(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.with(Flags::FAST);
const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.with(Flags::FAST);
const ALWAYS: Flags = Flags::LOADING.with(Flags::STALE);
const ALWAYS_FAST: Flags = ALWAYS.with(Flags::FAST);
const CLIENT_FLAGS: Flags = ALWAYS.with(Flags::NOSCRIPT);
const SESSION: Flags = CLIENT_FLAGS.with(Flags::FAST).with(Flags::ALLOW_BUSY);

const fn count(groups: &[&[Command]]) -> usize {
    let (mut commands, mut group) = (0, 0);
    while group < groups.len() {
        commands += groups[group].len();
        group += 1;
    }
    commands
}

const fn concat<const COMMANDS: usize>(groups: &[&[Command]]) -> [Command; COMMANDS] {
    let mut all = [groups[0][0]; COMMANDS];
    let (mut at, mut group) = (0, 0);
    while group < groups.len() {
        let mut i = 0;
        while i < groups[group].len() {
            all[at] = groups[group][i];
            (at, i) = (at + 1, i + 1);
        }
        group += 1;
    }
    assert!(at == COMMANDS);
    all
}
