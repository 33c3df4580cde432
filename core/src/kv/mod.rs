//! What each command means.
//!
//! [`evaluate`] takes one command of one client and either completes it, giving the reply and the
//! changes it makes, or stops without having changed anything and says what it waits for. A
//! stopped command is evaluated again from the start, so each command takes effect at one point in
//! time, and so does a whole EXEC.
//!
//! Commands read through a [`View`] (committed state, the uncommitted tail over it) and write into
//! [`Changes`]. They log results, not themselves: the value after INCR, the absolute time of
//! expiry, so that replay is deterministic.

mod txn;

pub use txn::{Changes, Item, Meta, Op, Stop, Txn, View};

/// What INFO reports; filled by the shard.
#[derive(Clone, Debug, Default)]
pub struct Info {}
