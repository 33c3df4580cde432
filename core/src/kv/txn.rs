//! One command's view of the keys and the changes that it makes.

use alloc::vec::Vec;

use crate::reply::Reply;
use crate::{Millis, Value};

/// Why an evaluation could not complete. Nothing of it has taken effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// A value must be read from disk first; the view has noted where. Evaluate again after.
    Read,
    /// A key has expired by the clock of now, and that clock is not committed yet: a reply that
    /// depends on it could be taken back by a crash. Evaluate again once it is.
    Clock,
    /// The command fails with this error.
    Error(Reply),
}

/// What is known of a live key without reading its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Length of the value in bytes.
    pub value_len: usize,
    /// When it expires.
    pub expire_at: Option<Millis>,
}

/// A live key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The value.
    pub value: Value,
    /// When it expires.
    pub expire_at: Option<Millis>,
}

/// The state that a command is evaluated against: every write logged before it, committed or not.
/// (The shard holds the reply back until what it depends on is committed.) Expired keys are not
/// there.
pub trait View {
    /// What is known of `key` without its value; `None` if it does not exist.
    fn meta(&mut self, key: &[u8]) -> Result<Option<Meta>, Stop>;
    /// `key`'s value; `None` if it does not exist.
    fn item(&mut self, key: &[u8]) -> Result<Option<Item>, Stop>;
    /// Number of keys. May count keys that have expired and are not swept yet, as in Redis.
    fn len(&mut self) -> Result<usize, Stop>;
    /// Calls `found` with every key that starts with `prefix`, in any order.
    fn for_each_key(&mut self, prefix: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<(), Stop>;
    /// One step of SCAN: visits about `count` keys from `cursor` on and returns the cursor to go
    /// on with, zero at the end. A key that is there from the first step to the last is found at
    /// least once. `prefix` lets an ordered index skip; other keys may be found as well.
    fn scan(
        &mut self,
        cursor: u64,
        count: usize,
        prefix: &[u8],
        found: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, Stop>;
    /// A random key, if there is one.
    fn random_key(&mut self) -> Result<Option<Value>, Stop>;
    /// The log clock: what "now" means for expiry. Never goes back.
    fn now_ms(&self) -> Millis;
    /// The wall clock in microseconds since the Unix epoch, for TIME.
    fn wall_us(&self) -> u64;
    /// Starts to count changes of `key` (WATCH). Each call is undone by one
    /// [`unwatch`](Self::unwatch).
    fn watch(&mut self, key: &[u8]);
    /// Undoes one [`watch`](Self::watch).
    fn unwatch(&mut self, key: &[u8]);
    /// How often a watched `key` was changed, so that two calls tell whether it was in between.
    fn watched_version(&self, key: &[u8]) -> u64;
    /// What INFO reports.
    fn info(&self) -> super::Info;
}

/// What becomes of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// It gets a value and a time of expiry.
    Put {
        /// The value.
        value: Value,
        /// When it expires.
        expire_at: Option<Millis>,
    },
    /// It is deleted.
    Delete,
}

/// The changes of one command (or of one EXEC): at most one for each key, in the order in which
/// the keys were first changed. They are logged as one atomic batch.
#[derive(Debug, Default)]
pub struct Changes {
    /// All keys were deleted before the changes in `ops`.
    flush: bool,
    ops: Vec<(Value, Op)>,
}

/// One command at work: a [`View`] with the command's own changes over it.
pub struct Txn<'a> {
    view: &'a mut dyn View,
    changes: &'a mut Changes,
}

impl Changes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        !self.flush && self.ops.is_empty()
    }

    /// Whether all keys are deleted first.
    pub fn flushes(&self) -> bool {
        self.flush
    }

    /// The changes, each key once.
    pub fn ops(&self) -> &[(Value, Op)] {
        &self.ops
    }

    /// Forgets them all, keeping the memory.
    pub fn clear(&mut self) {
        self.flush = false;
        self.ops.clear();
    }
}

impl<'a> Txn<'a> {
    /// A command about to start: `changes` is empty.
    pub fn new(view: &'a mut dyn View, changes: &'a mut Changes) -> Self {
        assert!(changes.is_empty(), "the changes of the last command were taken");
        Self { view, changes }
    }
}
