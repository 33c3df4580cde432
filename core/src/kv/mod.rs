//! What each command means.
//!
//! [`evaluate`] takes one command of one client and either completes it, giving the reply and the
//! changes it makes, or stops without having changed anything and says what it waits for. A
//! stopped command is evaluated again from the start, so each command takes effect at one point in
//! time, and so does a whole EXEC.
//!
//! Commands read through a [`View`] (committed state, the uncommitted tail over it) and write into
//! [`Changes`]. They log results, not themselves: the value after INCR, the absolute time of
//! expiry, so that replay is deterministic. Semantics and reply texts are those of Redis 7.2, the
//! order in which it finds faults with a command included.
//!
//! Invariants:
//! - A [`Stop`] leaves the [`Session`] as it was.
//! - A command that fails makes no change, also inside EXEC.
//! - A write that depends on nothing (SET, MSET) reads nothing.
//! - The keys of a command, and of a whole transaction, are of one partition, or it is refused; only
//!   a command that can be split into one for each key may have more.
//!
//! # The map
//!
//! - `table` lists the commands, `command` says what an entry is, `find` gets from a name to one,
//!   `syntax` reads the line that describes its arguments.
//! - `session` is what is known of a client; `transaction` is MULTI, EXEC and WATCH.
//! - `txn` and `changes` are what a command works on.
//! - `auth` lets a command in, before anything else is done with it.
//! - `request` is what a command wants of the node beyond its keys.
//! - `strings`, `counters`, `bitmap`, `lcs`, `keys`, `dump`, `object`, `expire`, `acks`,
//!   `connection`, `server`, `cluster`, `topology`, `introspect`, `acl`, `client`, `config`,
//!   `slowlog`, `operations`, `operator` evaluate.
//! - `info` is INFO; `glob`, `number`, `float80` are Redis's ideas of patterns and numbers.

mod acks;
mod acl;
mod auth;
mod bitmap;
mod changes;
mod client;
mod cluster;
mod command;
mod config;
mod connection;
mod counters;
mod dump;
mod expire;
mod find;
mod float80;
mod glob;
mod info;
mod introspect;
mod keys;
mod lcs;
mod number;
mod object;
mod operations;
mod operator;
mod request;
mod server;
mod session;
mod set;
mod slowlog;
mod strings;
mod syntax;
mod table;
#[cfg(test)]
mod tests;
mod topology;
mod transaction;
mod txn;

pub use acks::{Acked, Acks};
pub use changes::{Changes, Op};
pub use cluster::summary;
pub use command::{Categories, Command, Flags, Group, Keys, Standing};
pub(crate) use find::find_full;
pub use find::{commands, find, resolve};
pub(crate) use glob::matches as glob_matches;
pub(crate) use info::stats_lines;
pub use info::{CacheInfo, ClusterInfo, Info, PartitionInfo};
pub(crate) use introspect::access_of;
pub use request::{Chosen, KillFilter, Kind, Pause, Request};
pub use server::{Replica, Role};
pub(crate) use session::Held;
pub use session::{Peer, Session};
pub(crate) use topology::named_slot;
pub use txn::{Item, Meta, Stop, Txn, View};

use alloc::borrow::Cow;

use crate::args::Args;
use crate::reply::Reply;
use crate::slot;

/// The version of Redis whose behaviour this is, as INFO and HELLO report it.
pub const REDIS_VERSION: &str = "7.2.4";

/// Evaluates one command of a client, its name being the first of `args`; `changes` is empty.
///
/// On `Ok` the command has taken effect in `session`, and `changes` is what it does to the keys. A
/// command that fails is an `Ok` with [`Reply::Error`] and no changes. On `Err`, which is never
/// [`Stop::Error`], nothing has happened: clear `changes`, wait, and evaluate again.
pub fn evaluate(
    session: &mut Session,
    args: Args<'_>,
    view: &mut dyn View,
    changes: &mut Changes,
) -> Result<Reply, Stop> {
    let command = match resolve(args) {
        Ok(command) => command,
        Err(error) => {
            session.note_unknown();
            return Ok(session.refuse(args, error, view));
        }
    };
    if let Err(error) = session.authorize(command, args, view.server()) {
        view.server().note_rejected(command);
        return Ok(session.refuse(args, error, view));
    }
    if command.is_atomic_over_keys() && !are_together(view, command.keys(args)) {
        return Ok(session.refuse(args, CROSSSLOT, view));
    }
    if session.queues(command) {
        return Ok(session.queue(command, args));
    }
    let mut txn = Txn::new(view, changes);
    match command.run(args, session, &mut txn) {
        Err(Stop::Error(reply)) => {
            changes.clear();
            Ok(reply)
        }
        result => result,
    }
}

/// For an atomic command with keys in several partitions: each of these commits for itself, so that
/// what was read in one could be dropped there after what was written in another is committed.
const CROSSSLOT: Reply =
    Reply::Error(Cow::Borrowed("CROSSSLOT Keys in request don't hash to the same slot"));

/// Whether one partition holds all the keys.
fn are_together<'a>(view: &dyn View, mut keys: impl Iterator<Item = &'a [u8]>) -> bool {
    let partitions = view.partitions() as u32;
    let home = |key| slot::partition(slot::slot(key), partitions);
    partitions <= 1 || keys.next().map(home).is_none_or(|first| keys.all(|key| home(key) == first))
}
