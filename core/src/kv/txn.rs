//! One command's view of the keys, and the changes that it makes.
//!
//! A [`Txn`] reads its own [`Changes`] first and the [`View`] under them, so that the commands of
//! one EXEC see each other. What a command does is undone as a whole when it fails inside EXEC.
//!
//! Invariants:
//! - `Changes` holds each key once, in the order in which the keys were first changed.
//! - A write without a condition reads nothing.
//! - Deleting a key that is not there changes nothing; one that may have been lost to damage counts
//!   as there, so that its deletion is logged behind the damage.

use alloc::vec::Vec;

use super::acks::{Acked, Acks};
use super::changes::{Changes, Op};
use super::request::Request;
use crate::limits::{BATCH_BYTES_MAX, VALUE_BYTES_MAX};
use crate::reply::Reply;
use crate::shard::{FsyncMode, Redirect};
use crate::{Millis, NodeId, Value};

/// Why an evaluation could not complete. Nothing of it has taken effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// A value must be read from disk first; the view has noted where. Evaluate again after.
    /// Commands that need several values go on asking after the first such stop, so that all of
    /// them are noted and read together.
    Read,
    /// A key has expired by the clock of now, and that clock is not committed yet: a reply that
    /// depends on it could be taken back by a crash. Evaluate again once it is.
    Clock,
    /// It is to be answered once what its client wrote is on so many replicas. Nothing is evaluated
    /// again: the answer is [`Acks::reply`].
    Acks(Acks),
    /// It is about more than keys: the shard sees to it and answers. Nothing is evaluated again.
    Server(Request),
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
#[expect(clippy::len_without_is_empty, reason = "a count may include keys that are not there")]
pub trait View {
    /// Number of partitions among which the keys are spread by their slots; zero while that is not
    /// known and there are none to be seen.
    fn partitions(&self) -> usize;
    /// What is known of `key` without its value; `None` if it does not exist.
    fn meta(&mut self, key: &[u8]) -> Result<Option<Meta>, Stop>;
    /// Whether `key` may have been lost to damage, so that nothing can be told of it: to ask for it
    /// is an error, to write or delete it is not.
    fn suspect(&mut self, key: &[u8]) -> bool;
    /// Whether there may be keys that were lost to damage.
    fn damaged(&mut self) -> bool;
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
    /// When writes are acknowledged.
    fn fsync(&self) -> FsyncMode {
        FsyncMode::Always
    }
    /// Who has what the client wrote, as far as can be told at once.
    fn acked(&self) -> Acked {
        Acked::default()
    }
    /// What becomes of commands about what another node leads.
    fn redirect(&self) -> Redirect {
        Redirect::Forward
    }
    /// Nodes that this one has a link to.
    fn linked(&self) -> Vec<NodeId> {
        Vec::new()
    }
    /// What ROLE reports.
    fn role(&self) -> super::Role {
        super::Role::default()
    }
    /// What the node knows of itself and of its users.
    fn server(&mut self) -> &mut crate::server::Server;
    /// What INFO reports.
    fn info(&self) -> super::Info;
    /// The cluster; an error if the node stands alone, or knows nothing yet.
    fn cluster(&self) -> Result<&crate::control::View, Stop> {
        Err(Stop::error("ERR This instance has cluster support disabled"))
    }
}

/// One command at work: a [`View`] with the command's own changes over it.
pub struct Txn<'a> {
    view: &'a mut dyn View,
    changes: &'a mut Changes,
}

impl<'a> Txn<'a> {
    /// A command about to start: `changes` is empty.
    pub fn new(view: &'a mut dyn View, changes: &'a mut Changes) -> Self {
        assert!(changes.is_empty(), "the changes of the last command were taken");
        Self { view, changes }
    }

    /// What is known of `key` without its value; `None` if it does not exist.
    pub fn meta(&mut self, key: &[u8]) -> Result<Option<Meta>, Stop> {
        match self.changes.get(key) {
            Some(Op::Put { value, expire_at }) => {
                Ok(Some(Meta { value_len: value.len(), expire_at: *expire_at }))
            }
            Some(Op::Delete) => Ok(None),
            None if self.changes.flushes() => Ok(None),
            None => self.view.meta(key),
        }
    }

    /// `key`'s value; `None` if it does not exist.
    pub fn item(&mut self, key: &[u8]) -> Result<Option<Item>, Stop> {
        match self.changes.get(key) {
            Some(Op::Put { value, expire_at }) => {
                Ok(Some(Item { value: value.clone(), expire_at: *expire_at }))
            }
            Some(Op::Delete) => Ok(None),
            None if self.changes.flushes() => Ok(None),
            None => self.view.item(key),
        }
    }

    /// Whether `key` exists.
    pub fn exists(&mut self, key: &[u8]) -> Result<bool, Stop> {
        Ok(self.meta(key)?.is_some())
    }

    /// Gives `key` a value and a time of expiry, reading nothing.
    pub fn put(&mut self, key: &[u8], value: Value, expire_at: Option<Millis>) -> Result<(), Stop> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(Stop::TOO_LONG);
        }
        self.set(key, Op::Put { value, expire_at })
    }

    /// Deletes `key`; whether it was there, or may have been.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, Stop> {
        let changed = self.changes.flushes() || self.changes.get(key).is_some();
        let existed = (!changed && self.view.suspect(key)) || self.exists(key)?;
        if existed {
            self.set(key, Op::Delete)?;
        }
        Ok(existed)
    }

    /// Deletes all keys. Must be the last thing a command does: it can not be undone alone.
    pub fn flush(&mut self) -> Result<(), Stop> {
        if self.view.damaged() || !self.is_empty()? {
            self.changes.flush();
        }
        Ok(())
    }

    /// Number of keys.
    pub fn len(&mut self) -> Result<usize, Stop> {
        let below = if self.changes.flushes() { 0 } else { self.view.len()? };
        let view = &mut *self.view;
        let gained = self.changes.gained(&mut |key| Ok(view.meta(key)?.is_some()))?;
        Ok(below.saturating_add_signed(gained))
    }

    /// Whether there are no keys.
    pub fn is_empty(&mut self) -> Result<bool, Stop> {
        Ok(self.len()? == 0)
    }

    /// Calls `found` with every key that starts with `prefix`, in any order.
    pub fn for_each_key(
        &mut self,
        prefix: &[u8],
        found: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Stop> {
        let changes = &*self.changes;
        if !changes.flushes() {
            self.view.for_each_key(prefix, &mut |key| {
                if changes.get(key).is_none() {
                    found(key);
                }
            })?;
        }
        changes.for_each_put(prefix, found);
        Ok(())
    }

    /// One step of SCAN, as [`View::scan`]. The transaction's own keys come with the first step.
    pub fn scan(
        &mut self,
        cursor: u64,
        count: usize,
        prefix: &[u8],
        found: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, Stop> {
        let changes = &*self.changes;
        if cursor == 0 {
            changes.for_each_put(prefix, found);
        }
        if changes.flushes() {
            return Ok(0);
        }
        self.view.scan(cursor, count, prefix, &mut |key| match changes.get(key) {
            // Found with the first step, unless that was before the change.
            Some(Op::Put { .. }) if cursor != 0 => found(key),
            Some(Op::Put { .. } | Op::Delete) => {}
            None => found(key),
        })
    }

    /// A random key, if there is one. Inside EXEC, after changes, not every key is as likely.
    pub fn random_key(&mut self) -> Result<Option<Value>, Stop> {
        const TRIES: usize = 16;
        for _ in 0..TRIES {
            if self.changes.flushes() {
                break;
            }
            match self.view.random_key()? {
                Some(key) if self.changes.get(&key) == Some(&Op::Delete) => {}
                Some(key) => return Ok(Some(key)),
                None => break,
            }
        }
        let mut first = None;
        self.for_each_key(b"", &mut |key| {
            if first.is_none() {
                first = Some(Value::copy_from(key));
            }
        })?;
        Ok(first)
    }

    /// The log clock: what "now" means for expiry.
    pub fn now_ms(&self) -> Millis {
        self.view.now_ms()
    }

    /// What lies under the changes, for what is not about keys.
    pub(super) fn view(&mut self) -> &mut dyn View {
        self.view
    }

    /// Starts a command whose changes [`undo`](Self::undo) can take back alone.
    pub(super) fn mark(&mut self) {
        self.changes.mark();
    }

    /// Takes back what was changed since the last [`mark`](Self::mark).
    pub(super) fn undo(&mut self) {
        self.changes.undo();
    }

    fn set(&mut self, key: &[u8], op: Op) -> Result<(), Stop> {
        if self.changes.bytes_with(key, &op) > BATCH_BYTES_MAX {
            return Err(Stop::error(
                "ERR the changes of one command or transaction exceed the limit of 512 MiB; \
                 this one was not made",
            ));
        }
        self.changes.set(key, op);
        Ok(())
    }
}

impl Stop {
    /// A value longer than [`VALUE_BYTES_MAX`].
    pub(super) const TOO_LONG: Self =
        Self::error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

    /// The command fails with this text, its code included.
    pub(super) const fn error(text: &'static str) -> Self {
        Self::Error(Reply::Error(alloc::borrow::Cow::Borrowed(text)))
    }
}

/// Asks for each of `keys`, going on after [`Stop::Read`] so that the view notes all reads.
pub(super) fn for_all<K, T>(
    keys: impl Iterator<Item = K>,
    mut ask: impl FnMut(K) -> Result<T, Stop>,
) -> Result<Vec<T>, Stop> {
    let mut answers = Vec::with_capacity(keys.size_hint().0);
    let mut read = false;
    for key in keys {
        match ask(key) {
            Ok(answer) => answers.push(answer),
            Err(Stop::Read) => read = true,
            Err(stop @ (Stop::Clock | Stop::Acks(_) | Stop::Server(_) | Stop::Error(_))) => {
                return Err(stop);
            }
        }
    }
    if read { Err(Stop::Read) } else { Ok(answers) }
}

const _: () = assert!(BATCH_BYTES_MAX == 512 << 20, "the error text names it");
