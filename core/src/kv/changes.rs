//! What a command changes: at most one operation for each key.
//!
//! One change is the common case and is found by looking; many are found through an ordered index,
//! so that neither a large MSET nor keys chosen by an attacker make it slow.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;

use super::Stop;
use crate::{Millis, Value};

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
///
/// A key that an EXEC creates and deletes again is left as a [`Op::Delete`].
#[derive(Debug, Default)]
pub struct Changes {
    /// All keys were deleted before the changes in `ops`.
    flush: bool,
    ops: Vec<(Value, Op)>,
    /// Where each key is in `ops`; empty while they are few.
    index: BTreeMap<Value, usize>,
    /// Bytes of keys and values in `ops`, with [`OP_BYTES`] for each.
    bytes: usize,
    /// Length of `ops` when the command at work started.
    mark: usize,
    /// What that command has replaced below `mark`, the latest last.
    replaced: Vec<(usize, Op)>,
    /// How many of `ops` are counted in `gained`.
    counted: usize,
    /// How many keys there are more than in the view, by the first `counted` of `ops`.
    gained: isize,
}

/// Changes that are looked through one by one before an index is made.
const FEW: usize = 16;

/// Bytes that a change takes in the log besides its key and value, counted amply.
const OP_BYTES: usize = 64;

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
        if self.ops.len() > FEW {
            // Not the memory of an unusually large transaction, though.
            self.ops.truncate(FEW);
            self.ops.shrink_to(FEW);
            self.index.clear();
        }
        self.ops.clear();
        self.replaced = Vec::new();
        (self.flush, self.bytes, self.mark) = (false, 0, 0);
        (self.counted, self.gained) = (0, 0);
    }

    /// What becomes of `key`, if it was changed by one of [`Self::ops`].
    pub(super) fn get(&self, key: &[u8]) -> Option<&Op> {
        self.position(key).map(|at| &self.ops[at].1)
    }

    /// Calls `found` with each key that gets a value and starts with `prefix`.
    pub(super) fn for_each_put(&self, prefix: &[u8], found: &mut dyn FnMut(&[u8])) {
        for (key, op) in &self.ops {
            if matches!(op, Op::Put { .. }) && key.starts_with(prefix) {
                found(key);
            }
        }
    }

    /// The bytes of the batch if `op` became `key`'s.
    pub(super) fn bytes_with(&self, key: &[u8], op: &Op) -> usize {
        self.bytes + key.len() + op.value_len() + OP_BYTES
    }

    /// Makes `op` what becomes of `key`.
    pub(super) fn set(&mut self, key: &[u8], op: Op) {
        match self.position(key) {
            Some(at) => {
                let old = self.replace(at, op);
                if at < self.mark {
                    self.replaced.push((at, old));
                }
            }
            None => self.push(Value::copy_from(key), op),
        }
    }

    /// Deletes all keys, and with them what was to become of them.
    pub(super) fn flush(&mut self) {
        self.clear();
        self.flush = true;
    }

    /// Starts a command that [`undo`](Self::undo) takes back alone.
    pub(super) fn mark(&mut self) {
        self.mark = self.ops.len();
        self.replaced.clear();
    }

    /// Takes back what was set since [`mark`](Self::mark).
    pub(super) fn undo(&mut self) {
        while let Some((at, op)) = self.replaced.pop() {
            self.replace(at, op);
        }
        while self.ops.len() > self.mark {
            let (key, op) = self.ops.pop().expect("longer than the mark");
            self.bytes -= key.len() + op.value_len() + OP_BYTES;
            self.index.remove(&key);
        }
        if self.counted > self.mark {
            self.counted = 0;
            self.gained = 0;
        }
    }

    /// How many keys there are more than in the view (than none, after a flush). `in_view` tells
    /// whether the view has a key; it is asked once for each change.
    pub(super) fn gained(
        &mut self,
        in_view: &mut dyn FnMut(&[u8]) -> Result<bool, Stop>,
    ) -> Result<isize, Stop> {
        for (key, op) in &self.ops[self.counted..] {
            let before = !self.flush && in_view(key)?;
            self.gained += op.keys() - isize::from(before);
            self.counted += 1;
        }
        Ok(self.gained)
    }

    fn position(&self, key: &[u8]) -> Option<usize> {
        if self.ops.len() <= FEW {
            self.ops.iter().position(|(changed, _)| **changed == *key)
        } else {
            self.index.get(key).copied()
        }
    }

    fn push(&mut self, key: Value, op: Op) {
        self.bytes += key.len() + op.value_len() + OP_BYTES;
        if self.ops.len() == FEW {
            self.index = self.ops.iter().map(|(key, _)| key.clone()).zip(0..).collect();
        }
        if self.ops.len() >= FEW {
            self.index.insert(key.clone(), self.ops.len());
        }
        self.ops.push((key, op));
    }

    fn replace(&mut self, at: usize, op: Op) -> Op {
        let old = mem::replace(&mut self.ops[at].1, op);
        let new = &self.ops[at].1;
        self.bytes = self.bytes + new.value_len() - old.value_len();
        if at < self.counted {
            self.gained += new.keys() - old.keys();
        }
        old
    }
}

#[cfg(test)]
impl Changes {
    /// Asserts what its methods rely on.
    pub(super) fn check(&self) {
        let size = |(key, op): &(Value, Op)| key.len() + op.value_len() + OP_BYTES;
        assert_eq!(self.bytes, self.ops.iter().map(size).sum::<usize>());
        assert!(self.counted <= self.ops.len() && self.mark <= self.ops.len());
        for (at, (key, _)) in self.ops.iter().enumerate() {
            assert_eq!(self.position(key), Some(at), "each key once, and found");
        }
    }
}

impl Op {
    fn value_len(&self) -> usize {
        match self {
            Self::Put { value, .. } => value.len(),
            Self::Delete => 0,
        }
    }

    /// How many keys there are by it: one or none.
    fn keys(&self) -> isize {
        isize::from(matches!(self, Self::Put { .. }))
    }
}
